/* backend.h - the seam between the scheduler and what computes: a request, its responses, a vtable.
 *
 * A protocol fills an infer_request in the wire's words, infer_request_check() holds it to the
 * model's description, the scheduler queues it, a backend answers it with 0..N responses.
 *
 * Threads: a request is owned by one side at a time: the protocol until it is pushed, then the
 * scheduler and the backend until the response that is_last, then the protocol again.
 * Only cancel() may be called from another thread meanwhile. */
#ifndef SERVER_BACKEND_BACKEND_H
#define SERVER_BACKEND_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/tensor.h"

enum {
    MODEL_TENSORS_MAX = 1024, /* inputs or outputs of one model */
    MODEL_BATCH_MAX = 65536   /* max_batch_size of a configuration */
};

/* One input or output as the client sees it (dims, -1: any) and as the backend does (reshape). */
struct io_spec {
    str name;
    dtype dtype;
    uint8_t rank, reshape_rank;
    int64_t dims[TENSOR_RANK_MAX]; /* without the batch dimension */
    int64_t reshape[TENSOR_RANK_MAX];
    bool has_reshape;
    bool is_optional, allows_ragged;
    const str *labels; /* outputs: one name a class, or NULL */
    size_t n_labels;
};

struct model_parameter {
    str name, value;
};

/* What everybody may know of one loaded version; immutable once loaded. */
struct model_spec {
    str name;
    int64_t version;
    int64_t max_batch_size; /* 0: no batch dimension */
    struct io_spec *inputs, *outputs;
    size_t n_inputs, n_outputs;
    bool has_optional_inputs;
    const struct model_parameter *parameters;
    size_t n_parameters;
};

typedef enum parameter_kind {
    PARAMETER_BOOL,
    PARAMETER_INT,
    PARAMETER_REAL,
    PARAMETER_TEXT,
} parameter_kind;

struct infer_parameter {
    str name;
    parameter_kind kind;
    int64_t integer; /* also the bool */
    double real;
    str text;
};

struct infer_request;
struct infer_response;
struct infer_batch;

/* Takes the response's tensors (and releases them when it is done with them); everything else in
 * `response` is valid during the call only. Runs on the backend's thread, or on the pusher's. */
typedef void (*infer_respond_fn)(struct infer_request *r, struct infer_response *response);

enum { SEQUENCE_START = 1, SEQUENCE_END = 2 };

struct infer_request {
    const struct model_spec *model;
    str id; /* empty: the client gave none */

    struct tensor *inputs; /* [model->n_inputs], model's order, client's dims; dtype NONE: absent */
    const bool *is_wanted; /* [model->n_outputs]; NULL: all */
    int64_t n_batch;       /* batch elements; 1 without a batch dimension */
    const struct infer_parameter *parameters;
    size_t n_parameters;

    uint64_t priority;   /* 0: the model's default */
    uint64_t timeout_us; /* 0: the model's default */
    uint64_t sequence_id;
    str sequence_name; /* a sequence id that is text; then sequence_id is 0 */
    unsigned sequence_flags;

    infer_respond_fn respond;
    void *owner; /* the protocol's */

    /* Set by infer_request_cancel(): whoever holds the request may answer CANCELLED early. */
    _Atomic bool is_cancelled;

    /* The scheduler's. */
    struct infer_request *next;
    infer_respond_fn tap; /* sees every response before `respond` */
    void *queue;
    struct infer_batch *batch; /* while a backend's run() has it */
    int64_t start_ns, deadline_ns;
    bool is_answered; /* the last response has passed */
};

struct infer_response {
    status code;
    const char *text; /* why, when code is not OK */
    struct tensor
        *outputs; /* [model->n_outputs], model's order, client's dims; NONE: not produced */
    bool is_last; /* no more responses: the request is the protocol's again */
};

/* Some requests that run together (a backend may also run them in pieces). run() notes when its
 * inputs were gathered and its outputs began, so that statistics can tell the parts apart. */
struct infer_batch {
    struct infer_request **requests;
    size_t n;
    int64_t n_elements; /* sum of n_batch */
    const struct clock *clock;
    int64_t start_ns, input_end_ns, output_start_ns;
    size_t n_answered; /* the scheduler's, as is its place among the model's batches */
    uint64_t turn;
};

/* Sends a response on its way; after the one that is_last the request is not the caller's. */
void infer_respond(struct infer_request *r, struct infer_response *response);

/* Answers with an error, as the last response. */
void infer_respond_error(struct infer_request *r, status code, const char *text);

void infer_request_cancel(struct infer_request *r); /* any thread */

static inline bool infer_wants(const struct infer_request *r, size_t output) {
    return !r->is_wanted || r->is_wanted[output];
}

/* A version of another model that a backend holds on to. */
struct model_ref {
    const struct model_spec *spec;
    void *handle;
};

/* Calls other models; given to a backend at its start, so that ensembles and business logic need
 * not know the scheduler. Any thread.
 *   find     NOT_FOUND, UNAVAILABLE; `version` < 0: the newest. Ends with release().
 *   push     sends a request that infer_request_bind() accepted for out->spec; it comes back
 *            through its respond. UNAVAILABLE: not sent, the caller keeps it. */
struct model_caller {
    status (*find)(const struct model_caller *c, str model, int64_t version, struct model_ref *out,
                   struct error *err);
    status (*push)(const struct model_caller *c, const struct model_ref *m, struct infer_request *r,
                   struct error *err);
    void (*release)(const struct model_caller *c, struct model_ref *m);
};

struct backend_model;
struct backend_instance;

/* What model_open() gets. */
struct backend_source {
    const char *path;       /* the version's model file */
    int64_t max_batch_size; /* as configured; -1: not configured */
    const struct model_parameter *parameters;
    size_t n_parameters;
    size_t n_instances; /* that the model will have: they share the cores */
};

/* What a model's file says of itself, for auto-complete and to check a configuration.
 * Dims are the file's, with the batch dimension where there is one. */
struct backend_signature {
    struct io_spec *inputs, *outputs; /* in the arena that describe() got */
    size_t n_inputs, n_outputs;
    bool can_batch;    /* every input and output has a variable first dimension */
    int64_t batch_max; /* largest batch that it can run; 0: any */
};

struct backend {
    const char *name;
    const char *version_path; /* for the start-up table */

    /* Once, before any model; may be NULL. */
    status (*start)(const struct model_caller *caller, struct error *err);

    status (*model_open)(struct backend_model **out, const struct backend_source *source,
                         struct error *err);
    void (*model_close)(struct backend_model *m); /* after its instances */
    /* NULL: the model's file says nothing of itself. */
    status (*describe)(struct backend_model *m, struct arena *a, struct backend_signature *out,
                       struct error *err);

    /* An instance is used by one thread at a time, not always by the same. `spec` outlives it. */
    status (*instance_open)(struct backend_instance **out, struct backend_model *m,
                            const struct model_spec *spec, struct error *err);
    void (*instance_close)(struct backend_instance *i);

    /* Answers every request of the batch before it returns; one that is answered later must have
     * its `batch` set to NULL before. */
    void (*run)(struct backend_instance *i, struct infer_batch *batch);
};

#endif
