/* service.h - the API behind exchanges: handlers block, so they run on threads of their own.
 *
 * A reply that waits for an operation (a deploy that may be quick, operations.wait) holds its
 * exchange, not a thread. */
#ifndef CONTROL_API_SERVICE_H
#define CONTROL_API_SERVICE_H

#include "control/api/api.h"
#include "net/exchange.h"

enum {
    SERVICE_THREADS = 4,
    SERVICE_QUEUE_MAX = 1024, /* calls that wait for a thread; past it 503 */
    SERVICE_HELD_MAX = 1024,  /* calls that wait for an operation; past it they are answered */
};

struct service;

/* `api` is borrowed. */
NODISCARD status service_start(struct service **out, const struct api *api, struct error *err);

/* For struct server_listen: `arg` is the service. */
void service_handle(void *arg, struct exchange *x);

/* Answers what waits and ends the threads; new calls are refused with 503 from here on. The
 * loops must still run. */
void service_stop(struct service *s);
void service_free(struct service *s); /* after service_stop() and the end of the loops */
DEFINE_CLEANUP(struct service, service_free)

#endif
