/* relay_internal.h - one request on its way through the gateway: what request.c, which reads it,
 * relay.c, which sends it, and answer.c, which answers it, share. */
#ifndef CONTROL_GATEWAY_RELAY_INTERNAL_H
#define CONTROL_GATEWAY_RELAY_INTERNAL_H

#include "base/buffer.h"
#include "control/gateway/gateway_internal.h"

/* What happens to the answer of a replica. */
typedef enum relay_kind {
    RELAY_PREDICT, /* JSON: gets the names of the model that answered */
    RELAY_RAW,     /* goes through as it is, with the names in headers */
    RELAY_WRAPPED, /* a rawPredict whose bodies are google.api.HttpBody in JSON */
    RELAY_CONTROL, /* goes through as it is */
} relay_kind;

/* Lives until the exchange is answered and the call has ended, whichever is later. */
struct relay {
    struct client_call call;
    struct loop_timer hold;
    struct gateway_loop *home;
    struct exchange *x;         /* NULL: answered */
    struct relay *next, **link; /* among those that are under way; the spare ones have no link */
    relay_kind kind;

    struct table *table; /* the exchange holds a reference; NULL for control */
    const struct table_endpoint *endpoint;
    const struct table_model *model;
    struct backend *backend;             /* of the attempt that is under way */
    struct backend *tried[ATTEMPTS_MAX]; /* since the last hold */
    size_t n_tried, n_reached;

    str target;     /* for control */
    str body;       /* the exchange's, or what was wrapped in it */
    str inner_type; /* RELAY_WRAPPED: the Content-Type of `body` */
    struct http_header *headers;
    size_t n_headers;
    int64_t attempt_ns, deadline_ns, hold_end_ns;

    bool is_streamed;     /* the body is passed on as it comes */
    bool has_sent_pieces; /* of it: it cannot be sent again */
    bool is_list;         /* RELAY_WRAPPED: of streamRawPredict, whose answer is a list */
    bool is_held;         /* waits for a replica, or for a retry that the budget allows */
    bool is_retry;        /* counted in the budget */
    bool needs_retry;     /* to be counted before the next attempt */
    bool wants_again;     /* the answer asks for another attempt */
    bool is_moved;        /* the call is cancelled in favour of another replica */
    int status;           /* of the replica's answer, while it is collected; 0: none yet */
    str answer_type;      /* its Content-Type */
    struct buffer answer; /* what there is of it */
};

/* Whether the answer is read as a whole before it goes on. */
static inline bool relay_is_collected(const struct relay *r) {
    return r->kind == RELAY_PREDICT || r->kind == RELAY_WRAPPED;
}

/* --- relay.c --- */

struct relay *relay_new(struct exchange *x, relay_kind kind);

/* Says which model answers. The response may borrow from the table: the exchange keeps it. */
void relay_aim(struct relay *r, struct table *t, const struct table_endpoint *e,
               const struct table_model *m);

/* Sends the request, or holds it. The last thing that its caller does: the relay may be over. */
void relay_attempt(struct relay *r);

/* Answers with an error; the relay is over. */
void relay_fail(struct relay *r, int code, str text);

/* --- answer.c --- */

/* True for headers that are about one connection: the known ones, and those that the message's
 * Connection headers name. */
bool is_hop_by_hop(str name, const struct http_header *headers, size_t n);

/* Each ends the exchange: r->x is NULL afterwards. */
void answer_error(struct relay *r, int code, str text);
void answer_collected(struct relay *r, int code, struct segment body); /* takes `body` */

/* A raw answer: as much as there is goes to the client now. Ends the exchange if that is all. */
void answer_pass_on(struct relay *r, const struct client_response *in);

#endif
