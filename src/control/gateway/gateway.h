/* gateway.h - the data plane: takes predicts to replicas, and everything else to control.
 *
 * It needs the last route snapshot (route.h) and nothing of the control process: predicts go on
 * while control is dead. A request for a predict is collected (up to REPLAY_SIZE_MAX, larger ones
 * are passed on as they come), sent to the replica that is expected to answer first, and sent
 * again elsewhere as long as that is safe: always when nothing reached a replica, and for models
 * that are idempotent as long as no byte of an answer has gone to the client. When no replica can
 * be reached the request is held until one can, up to HOLD_MS. Only a share of what is in flight is
 * sent again at a time (RETRIES_PERCENT), so that a replica that dies under load does not take the
 * others with it: the rest waits its turn. */
#ifndef CONTROL_GATEWAY_GATEWAY_H
#define CONTROL_GATEWAY_GATEWAY_H

#include <stddef.h>

#include "base/attr.h"
#include "base/status.h"
#include "net/server.h"

enum {
    REPLAY_SIZE_MAX = 10 * 1024 * 1024,  /* of a body that can be sent again (Vertex's limit) */
    PREDICT_SIZE_MAX = 64 * 1024 * 1024, /* of any predict's body */
    ANSWER_SIZE_MAX = 64 * 1024 * 1024,  /* of a predict's answer, which gets its model's names */
    ATTEMPTS_MAX = 4,                    /* of one request, those that reached a replica */
    RETRIES_MIN = 3,                     /* requests at a time that are sent again, whatever ... */
    RETRIES_PERCENT = 20,                /* ... share of all in flight they are; more wait */
    HOLD_MS = 10000,                     /* waiting for a replica, or for control */
    HOLD_STEP_MS = 20,
    CONTROL_TIMEOUT_MS = 120000, /* of a request to control: operations.wait waits long */
    HELD_MAX = 4096,             /* requests per loop that wait; more are answered with 429 */
};

struct gateway;

struct gateway_options {
    /* Sockets to listen on; of each only `address` or `fd` counts. */
    const struct server_listen *listens;
    size_t n_listens;
    const char *routes_path;     /* watched; need not exist yet */
    const char *control_address; /* net/address.h, numeric */
    int n_loops;                 /* 0: 1 */
};

NODISCARD status gateway_start(struct gateway **out, const struct gateway_options *o,
                               struct error *err);
int gateway_port(const struct gateway *g, size_t index); /* of listener `index` */

/* Stops accepting, finishes what is in flight (at most `timeout_ms`), frees. Blocks. */
void gateway_stop(struct gateway *g, int64_t timeout_ms);

#endif
