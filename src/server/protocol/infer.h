/* infer.h - one inference over HTTP: from a collected body to the answer.
 *
 * An infer_call lives in its exchange's arena and holds everything until the exchange is over:
 * the tensors that came, those that go, the model's version. */
#ifndef SERVER_PROTOCOL_INFER_H
#define SERVER_PROTOCOL_INFER_H

#include "server/backend/request.h"
#include "server/protocol/route.h"

enum {
    INFER_INPUTS_MAX = MODEL_TENSORS_MAX, /* inputs of one request */
    INFER_PARAMETERS_MAX = 64,
    INFER_SMALL_TENSOR = 4096, /* bytes of a tensor that live in the arena */
};

/* What the client wants done with one output. */
struct output_wish {
    bool is_binary;
    uint64_t n_classes; /* 0: the tensor as it is */
};

struct infer_call {
    struct infer_request request;
    struct exchange *x;
    struct service *service;
    struct model_version *version;

    /* While parsing. */
    struct infer_named *named; /* client's order */
    size_t *binary_sizes;      /* [n_named]; SIZE_MAX: not binary */
    size_t n_named, capacity;
    str tail;                /* binary tensors */
    bool are_outputs_binary; /* the default of this request */

    struct output_wish *wishes; /* [n_outputs] */
    bool *is_wanted;            /* [n_outputs] */

    /* The answer. */
    struct tensor *results; /* [n_outputs], owned */
    status code;
    char text[512];
    void (*finish)(struct exchange *x);
    bool accepts_encoding;       /* the answer may be packed as the client likes it */
    bool is_unstacked;           /* vertex: one instance, not in a batch dimension */
    struct predict_split *split; /* vertex: of more instances than a batch takes */
};

/* Makes a call for the model that the route names; the arena will free it. On an error the
 * exchange has been answered and NULL is returned. */
struct infer_call *infer_call_new(struct route_call *c, struct exchange *x,
                                  void (*finish)(struct exchange *x));

/* Appends an input; NULL: too many. */
struct infer_named *infer_call_input(struct infer_call *c, struct error *err);

/* Memory for `size` bytes of an input, freed with the call. */
NODISCARD status infer_call_space(struct infer_call *c, size_t size, void **out, struct error *err);

/* Checks the inputs and sends the request off; the answer goes through c->finish. */
void infer_call_start(struct infer_call *c);

/* kserve_infer.c: the JSON and binary body, and its answer. */
NODISCARD status kserve_read(struct infer_call *c, str header_length, struct error *err);
void kserve_answer(struct exchange *x);
void infer_body_done(struct exchange *x); /* x->user is the route_call */
size_t infer_body_max(const struct service *s, bool is_binary);

#endif
