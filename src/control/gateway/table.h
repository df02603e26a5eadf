/* table.h - one loop's view of the routes: endpoints by name, and what this loop has learnt about
 * each replica. Owned by the loop; a table lives as long as a request uses it. */
#ifndef CONTROL_GATEWAY_TABLE_H
#define CONTROL_GATEWAY_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "control/gateway/route.h"
#include "net/client.h"

enum {
    SCAN_MAX = 32,            /* replicas that are all compared; beyond, two chosen at random */
    LATENCY_DECAY_MS = 10000, /* a replica that was slow is tried again after about this time */
    EJECT_MS = 100,           /* after a failure, doubled for each further one in a row */
    EJECT_MS_MAX = 10000,
};

/* A route table that several loops read. Immutable. */
struct shared_table {
    atomic_int refs;
    struct route_table routes;
};
struct shared_table *shared_table_ref(struct shared_table *t);
void shared_table_unref(struct shared_table *t); /* any thread */

/* A server that requests are sent to, and how it does. Outlives the tables that name it. */
struct backend {
    str address;
    struct client_peer *peer;
    size_t n_in_flight;
    int64_t latency_ns; /* weighted mean; grows at once, shrinks slowly */
    int64_t measured_ns;
    int n_failures; /* in a row */
    int64_t ejected_until_ns;
    uint64_t mark; /* the last table that names it */
};

struct table_model {
    const struct route_model *route;
    struct backend **backends; /* the ready ones, then those that wait for their process */
    size_t n_backends, n_waiting;
    str splice;                    /* what a predict answer gets: ,"deployedModelId":...} */
    struct http_header headers[4]; /* what a raw answer gets: X-Vertex-AI-... */
};

struct table_endpoint {
    const struct route_endpoint *route;
    struct table_model *models;
    unsigned total_weight;
};

struct table {
    size_t refs; /* requests, and the loop as long as it is the newest */
    struct shared_table *shared;
    struct map endpoints; /* by name */
    struct arena arena;
};

/* What a loop keeps between tables. */
struct backends {
    struct client *client;
    struct map by_address;
    uint64_t mark;
    uint64_t random; /* state; never 0 */
};

/* Takes a reference to `shared`. Replicas that no table names any more and that are idle are
 * forgotten. */
struct table *table_new(struct backends *b, struct shared_table *shared);
void table_unref(struct table *t);

void backends_done(struct backends *b);

/* NULL: not there. */
const struct table_endpoint *table_find(const struct table *t, str name);

/* A model by weight; NULL: none takes traffic. */
const struct table_model *table_pick_model(struct backends *b, const struct table_endpoint *e);

/* The best ready backend that is not in tried[0..n_tried), ejected ones only when there is no
 * other, waiting ones only when none is ready; NULL: all were tried or there is none. */
struct backend *table_pick_backend(struct backends *b, const struct table_model *m,
                                   struct backend *const *tried, size_t n_tried, int64_t now_ns);

/* Whether `b` waits for its process: nobody works on what was sent to it. */
bool table_is_waiting(const struct table_model *m, const struct backend *b);

void backend_succeeded(struct backend *b, int64_t latency_ns, int64_t now_ns);
void backend_failed(struct backend *b, int64_t now_ns);

#endif
