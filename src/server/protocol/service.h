/* service.h - what every protocol handler of the server shares. Set up before the first request;
 * afterwards only the atomics change. */
#ifndef SERVER_PROTOCOL_SERVICE_H
#define SERVER_PROTOCOL_SERVICE_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "net/exchange.h"
#include "server/backend/backend.h"
#include "server/repository/repository.h"

enum {
    INPUT_SIZE_MAX = 64 * 1024 * 1024, /* default of --http-max-input-size: a JSON body */
    BINARY_BODY_FACTOR = 8,            /* a body with binary tensors may be so many times that */
    SCRATCH_KEEP_MAX = 4 * 1024 * 1024 /* bytes of a loop's scratch buffer that are kept */
};

struct service {
    struct repository *repository;
    const char *server_id;
    const char *log_file; /* NULL: stderr */
    bool is_strict_readiness;
    size_t input_size_max;
    _Atomic bool is_draining; /* readiness says no */
    _Atomic bool is_failed;   /* not every model could be loaded at start */

    /* The container contract; predict_route.n == 0: off. */
    str predict_route, health_route;
    str default_model; /* n == 0: the only one */

    bool has_access_log;
};

/* What a handler keeps per loop (loop_user()). */
struct service_loop {
    struct buffer scratch; /* bodies are written here and leave it before the handler returns */
};

/* An empty buffer for one response's body. */
struct buffer *service_scratch(struct exchange *x);
void service_loop_started(void *arg, struct loop *l, int index);
void service_loop_ending(void *arg, struct loop *l, int index);

bool service_is_ready(struct service *s);

/* Triton's HTTP status for a status of ours. */
int http_status_of(status code);

/* --- answers; each ends the exchange for the handler --- */
void reply_error(struct exchange *x, status code, const char *text);
void reply_error_http(struct exchange *x, int http_status, const char *text);
void reply_empty(struct exchange *x, int http_status); /* text/plain, as health has it */
void reply_done(struct exchange *x); /* 200 and nothing, called JSON: loads, unloads */
/* `body` is the loop's scratch buffer; `code` tells whether it could be filled. */
void reply_json(struct exchange *x, status code, const struct buffer *body,
                const struct error *err);

/* Has the request logged once it is over; before anything else is deferred in its arena. */
void service_log_access(struct service *s, struct exchange *x);

/* The handlers of the listeners. `arg` is the service. */
void service_handle_http(void *arg, struct exchange *x);
void service_handle_metrics(void *arg, struct exchange *x);
void service_handle_vertex(void *arg, struct exchange *x);
/* An inherited socket: the container contract, and everything of the other two. */
void service_handle_replica(void *arg, struct exchange *x);

void service_answer_metrics(struct service *s, struct exchange *x);

/* The predict route has a model to ask: the one of the options, or the only one there is. */
NODISCARD status service_check_vertex(struct service *s, struct error *err);

#endif
