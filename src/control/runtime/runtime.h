/* runtime.h - where replicas run, behind one interface that speaks of replica sets.
 *
 * The control plane says: set S, generation G, N replicas, each like this. Who counts and
 * starts single replicas is the driver's business. A driver is level-triggered: apply() may be
 * called with the same words any number of times and does what is due now.
 *
 * apply() and list() belong to one thread, which they may block (for a fork, a disk write);
 * the callback of watch() comes from a thread of the driver's. */
#ifndef CONTROL_RUNTIME_RUNTIME_H
#define CONTROL_RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/status.h"
#include "base/str.h"

enum {
    RUNTIME_NAME_MAX = 200,        /* bytes of a set's name */
    RUNTIME_REPLICAS_MAX = 64,     /* of one set */
    RUNTIME_ENVIRONMENT_MAX = 512, /* variables of a replica */
    RUNTIME_NEVER_NS = 0,          /* apply() need not be called again by the clock */
};

/* What the caller wants. */
struct runtime_set {
    str name;            /* letters, digits and . - _ : only; part of file names */
    uint64_t generation; /* another one replaces the replicas: new ones first, then the old go */
    unsigned n;          /* replicas; 0 stops and forgets the set */

    /* "NAME=value" for each replica. The driver adds where to listen. */
    const char *const *environment;
    size_t n_environment;
    const char *health_route; /* GET answers 200 when the replica is ready */
    int64_t drain_ms;         /* from SIGTERM to SIGKILL */
};

typedef enum replica_state {
    REPLICA_WAITING,  /* no process; started again after a back-off */
    REPLICA_STARTING, /* running, not ready since it was started */
    REPLICA_READY,
    REPLICA_UNREADY, /* was ready, its health route fails now */
    REPLICA_STOPPING,
} replica_state;
const char *replica_state_name(replica_state s); /* "ready" */

/* What is there. */
struct replica_status {
    str set;
    uint64_t generation;
    unsigned ordinal;
    str address; /* "127.0.0.1:41234" */
    replica_state state;
    bool is_open;   /* its socket takes connections, if need be until a process accepts them */
    bool was_ready; /* since the set was applied, or before it was adopted */
    int n_exits;    /* in a row, without having been ready for a while between */
    str exit_text;  /* how it ended last: "exited with status 1"; empty: it never did */
    str log_path;
};

struct runtime;

struct runtime_driver {
    const char *name;

    /* Does what is due for one set. `wake_ns` (monotonic): call again then at the latest;
     * RUNTIME_NEVER_NS: when watch() says so. */
    status (*apply)(struct runtime *r, const struct runtime_set *set, int64_t *wake_ns,
                    struct error *err);

    /* All replicas, those of sets that were never applied in this process included (they
     * were adopted). */
    status (*list)(struct runtime *r, struct arena *a, struct replica_status **out, size_t *n,
                   struct error *err);

    /* changed(arg) after any change of what list() gives. Once, before the first apply(). */
    void (*watch)(struct runtime *r, void (*changed)(void *arg), void *arg);

    void (*close)(struct runtime *r); /* replicas go on running */
};

/* A driver's own struct begins with one. */
struct runtime {
    const struct runtime_driver *driver;
};

static inline void runtime_close(struct runtime *r) {
    if (r)
        r->driver->close(r);
}
DEFINE_CLEANUP(struct runtime, runtime_close)

#endif
