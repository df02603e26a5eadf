/* gateway_internal.h - what gateway.c and relay.c share. */
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
    size_t n_held; /* requests that wait */
    struct relay *spare_relays;
};

/* Takes an exchange: to a replica or to control. `arg` is not used. */
void relay_handle(void *arg, struct exchange *x);

void relay_free_spare(struct gateway_loop *home);

/* {"error": {"code": CODE, "message": TEXT, "status": "NAME"}} */
str error_body(struct arena *a, int code, str text);

#endif
