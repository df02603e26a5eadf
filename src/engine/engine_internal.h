/* engine_internal.h - what the files of the engine share: the opened plan, the session, a
 * binding. */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/guard.h"
#include "engine/depth.h"
#include "engine/device.h"
#include "engine/engine.h"
#include "engine/pool.h"
#include "engine/team.h"
#include "kernels/kernel.h"
#include "plan/memory.h"
#include "plan/plan.h"

struct engine_step {
    const struct kernel *kernel;
    const struct op *op;
    op_id id;
    void *state;     /* what prepare() filled */
    bool is_dynamic; /* some operand's dims are known only at run time */
};

struct engine {
    _Atomic unsigned n_refs;
    struct arena arena; /* of everything below */
    struct file_map map;
    struct guard *guard; /* of map; NULL: bytes of the caller */
    struct plan plan;
    const struct device *device;
    struct engine_io *inputs, *outputs;
    struct engine_step *steps;
    struct plan_lifetime *lifetimes; /* [n_values] */
    uint32_t *shares;                /* [n_values] plan_shares() */
    bool *is_direct;     /* [n_outputs] it can land in the caller's memory without a copy */
    uint32_t n_operands; /* of all steps together */
    struct span *spans;  /* [n_spans] runs of steps that may be run depth first */
    uint32_t n_spans;
};

/* One value under a binding. */
struct bound_value {
    int64_t dims[TENSOR_RANK_MAX]; /* -1: known at run time */
    size_t size;                   /* bytes */
    size_t offset;                 /* in the arena, or in each lane; PLANNED only */
    bool is_sliced;                /* lives within a span: memory for one slice, in each lane */
};

/* What follows from one combination of input dims. */
struct binding {
    int64_t *symbols;           /* [n_symbols] the key */
    struct bound_value *values; /* [n_values] */
    struct span *spans;         /* [n_spans] */
    uint32_t n_spans;
    size_t arena_size; /* values, then scratch, then lanes */
    size_t scratch_offset, scratch_size;
    size_t lanes_offset, lane_size;                /* each lane: values, then scratch */
    size_t lane_scratch_offset, lane_scratch_size; /* in a lane */
    uint64_t last_use;                             /* 0: empty */
};

struct session_input {
    struct tensor tensor; /* dtype NONE: not set */
    struct region space;
};

struct session_output {
    struct tensor tensor;
    void *user; /* caller's memory, or NULL */
    size_t user_size;
    struct region space; /* for an output that is an input's bytes */
};

/* What one thread works on in a span. */
struct lane {
    struct tensor *tensors;    /* [n_values] of its slice */
    struct kernel_call *calls; /* [n_steps] */
};

struct session {
    struct arena arena; /* of everything that keeps its size */
    struct engine *engine;
    struct team *team;
    size_t memory_max;
    struct session_input *inputs;
    struct session_output *outputs;

    /* [n_values] the operands of the calls, by value; set up before each run. */
    struct tensor *tensors;
    struct kernel_call *calls; /* [n_steps] */
    struct lane *lanes;        /* [n_threads], or NULL as long as no binding has spans */
    size_t cache_size;         /* depth_cache_size() */

    struct binding bindings[SESSION_BINDINGS_MAX];
    struct binding *current; /* NULL: the inputs' dims have changed since */
    uint64_t n_binds;
    struct region memory; /* of values and scratch */
    struct pool dynamic;  /* values with data-dependent dims, reset by each run */
    struct arena shapes;  /* of shape functions, reset by each use */
    int64_t *symbols;     /* [n_symbols] scratch of session_bind() */

    int64_t *step_ns; /* [n_steps], or NULL */

    /* The run in progress. */
    struct op_value *operand_values; /* [n_values] operands of shape functions */
    struct error *errors;            /* [n_threads] */
    _Atomic int64_t next_slice;      /* of the span in progress */
    _Atomic bool failed;
    unsigned failed_thread;
    uint32_t failed_step;
};

/* "step 12 (Gather \"/embeddings/Gather\")" in front of the error. */
status step_error(const struct engine *e, uint32_t step, status code, struct error *err);

/* Asks the shape function of step i, with s->operand_values as operands, and compares the
 * outputs with what `want` holds (dims -1: takes what is found). Answers go to operand_values. */
status step_infer(struct session *s, uint32_t i, struct error *err);

/* The calls of all steps, with operands in `tensors` [n_values] for good. */
struct kernel_call *session_make_calls(struct session *s, struct tensor *tensors);

/* Within a run: step `step` has failed on `thread`, with s->errors[thread]; all threads stop at the
 * next barrier. */
void session_fail(struct session *s, unsigned thread, uint32_t step);

/* op_value of a tensor with known dims; `data` may be NULL. */
void op_value_of(struct op_value *out, const struct tensor *t, bool with_data);

/* Fills *b (allocated by session_new) for s->symbols. */
status binding_make(struct session *s, struct binding *b, struct error *err);

/* Sets dtype, dims and size of s->tensors from the binding. */
void binding_apply_dims(struct session *s, const struct binding *b);

/* DATA_LOSS: somebody cut the plan's file since it was opened; what was computed is not to be
 * believed. */
NODISCARD status engine_check_file(const struct engine *e, struct error *err);

#endif
