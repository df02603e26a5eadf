/* gateway_internal.h - one loop of the gateway, and what comes to it. */
#ifndef CONTROL_GATEWAY_GATEWAY_INTERNAL_H
#define CONTROL_GATEWAY_GATEWAY_INTERNAL_H

#include <pthread.h>

#include "control/gateway/gateway.h"
#include "control/gateway/table.h"

/* One loop's side of the gateway; the loop's user. Owned by its thread. */
struct gateway_loop {
    struct gateway *gateway;
    struct loop *loop;
    struct client *client;
    struct backends backends;
    struct table *table; /* the newest; NULL: none yet */
    struct backend control;
    struct relay *relays; /* all that are under way */
    size_t n_relays;
    size_t n_held;    /* of them: those that wait */
    size_t n_retries; /* of them: those that were sent more than once */
    struct relay *spare_relays;
};

/* Takes an exchange: to a replica or to control. `arg` is not used. */
void relay_handle(void *arg, struct exchange *x);

/* After a new table: sends again what waits at replicas that are no more, where others are. */
void relay_rescue(struct gateway_loop *home);

void relay_free_spare(struct gateway_loop *home);

/* {"error": {"code": CODE, "message": TEXT, "status": "NAME"}} */
str error_body(struct arena *a, int code, str text);

#endif
