/* reconciler.h - makes what runs equal to what the store says.
 *
 * Level-triggered: a pass reads the desired state and what the runtime driver has, does what is
 * due, and may be repeated or cut off at any point; the next one goes on from what is there.
 * Each step that callers can see (a model in its endpoint, an operation that ended) is one commit.
 * A route is published before the commit that tells its callers to use it, and withdrawn before
 * its replicas are stopped.
 *
 * One thread runs passes; reconciler_wake() and reconciler_stop() may come from any. */
#ifndef CONTROL_RECONCILER_H
#define CONTROL_RECONCILER_H

#include "codec/json.h"
#include "control/runtime/runtime.h"
#include "control/store/store.h"

enum {
    DEPLOY_EXITS_MAX = 3,         /* exits without having been ready that fail a deployment */
    RECONCILE_INTERVAL_MS = 5000, /* a pass at least so often */
    RECONCILE_RETRY_MS = 200,     /* after one that failed */
    OPERATIONS_TRIM_MS = 10000,
    SETTLE_MS = 1000,
    DRAIN_MS = 30000,    /* from a replica's SIGTERM to its SIGKILL */
    LOG_TAIL_LINES = 20, /* of a replica's log that go into an operation's error */
};

/* What the routes are made of. */
struct served_model {
    const struct json_value *deployed_model; /* DeployedModel */
    str predict_route;                       /* of the replicas */
    str model_display_name;                  /* of the Model */
    const struct replica_status *replicas;   /* those that may get requests */
    size_t n_replicas;
};

struct served_endpoint {
    str name;
    const struct json_value *endpoint; /* Endpoint, as soon as its routes are published */
    struct served_model *models;
    size_t n_models;
};

struct reconciler_options {
    struct store *store;
    struct runtime *runtime; /* watched by the reconciler */
    const struct clock *clock;
    const char *cache_folder; /* CULMEN_CACHE_DIR of replicas */

    /* Writes the routes down where the gateway finds them; called in each pass. */
    status (*publish)(void *arg, const struct served_endpoint *endpoints, size_t n,
                      struct error *err);
    void *publish_arg;
};

struct reconciler;

NODISCARD status reconciler_new(struct reconciler **out, const struct reconciler_options *o,
                                struct error *err);
void reconciler_free(struct reconciler *r);
DEFINE_CLEANUP(struct reconciler, reconciler_free)

/* One pass; `wake_ns` is when the next one is due even if nothing happens. */
NODISCARD status reconciler_pass(struct reconciler *r, int64_t *wake_ns, struct error *err);

/* Waits until the routes say what the store said at `revision`, at most SETTLE_MS. Any thread. */
void reconciler_settle(struct reconciler *r, int64_t revision);

/* Passes whenever something changed, until reconciler_stop(). */
void reconciler_run(struct reconciler *r);
void reconciler_stop(struct reconciler *r);

#endif
