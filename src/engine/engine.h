/* engine.h - a plan, opened and ready to run, and the sessions that run it.
 *
 * An engine is immutable: any thread may read it, all sessions share it and its mapped file.
 * A session is the mutable state of one run at a time: the memory of the values between the
 * steps, and a team of threads. It is owned by one thread at a time, not always the same; the
 * thread that calls session_run() works as thread 0 of the team.
 *
 *     engine_open(&e, "model.plan", &err);
 *     session_new(&s, e, &(struct session_options){.n_threads = 2}, &err);
 *     session_set_input(s, 0, &tensor, &err);      // borrowed until the run is over
 *     session_run(s, &err);
 *     const struct tensor *y = session_output(s, 0);  // valid until the next bind or run
 *
 * To let the answer land in your own memory:
 *
 *     session_set_input(...); session_bind(s, &err);
 *     const struct tensor *y = session_output(s, 0);  // dtype, dims, size; data is not there yet
 *     session_set_output(s, 0, p, y->size, &err);
 *     session_run(s, &err); */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/tensor.h"

struct engine;
struct session;
struct plan;

enum {
    SESSION_THREADS_MAX = 256,
    SESSION_BINDINGS_MAX = 16, /* memory layouts of the latest combinations of dims that are kept */
};

/* One input or output. Where dims is -1 the size is chosen by the caller (input) or follows
 * (output); it lies within min..max, and inputs with the same symbol agree in it. */
struct engine_io {
    str name;
    dtype dtype;
    uint8_t rank;
    int64_t dims[TENSOR_RANK_MAX];
    int64_t min[TENSOR_RANK_MAX], max[TENSOR_RANK_MAX]; /* both dims[i] for a number */
    str symbols[TENSOR_RANK_MAX]; /* "batch", "(seq + 1)"; "" for a number; "?" depends on data */
    bool is_unused;               /* an input that nothing reads: it may be left out */
};

/* Maps the plan at `path`, checks it and finds its kernels. DATA_LOSS: damaged (section, offset,
 * wanted, found); FAILED_PRECONDITION: another version or instruction set (with the command
 * that compiles again); NOT_FOUND, PERMISSION_DENIED. */
NODISCARD status engine_open(struct engine **out, const char *path, struct error *err);

/* The same for bytes that the caller keeps, 64-byte aligned, until the engine is gone. */
NODISCARD status engine_open_bytes(struct engine **out, const void *bytes, size_t size,
                                   struct error *err);

struct engine *engine_ref(struct engine *e); /* any thread */
void engine_unref(struct engine *e);         /* any thread; the last one frees */
DEFINE_CLEANUP(struct engine, engine_unref)

const struct engine_io *engine_inputs(const struct engine *e, size_t *n);
const struct engine_io *engine_outputs(const struct engine *e, size_t *n);
const struct plan *engine_plan(const struct engine *e);

/* Index of the input / output called `name`, or -1. */
ptrdiff_t engine_find_input(const struct engine *e, str name);
ptrdiff_t engine_find_output(const struct engine *e, str name);

struct session_options {
    unsigned n_threads; /* 0: 1 */
    const char *name;   /* of the team's threads; NULL: "session" */
    size_t memory_max;  /* most bytes for values between steps; 0: three quarters of the machine */
    bool keeps_times;   /* session_step_times() */
};

/* Takes a reference to `e`, starts the team's threads (n_threads - 1). */
NODISCARD status session_new(struct session **out, struct engine *e,
                             const struct session_options *options, struct error *err);
void session_free(struct session *s);
DEFINE_CLEANUP(struct session, session_free)

/* Input i is `t` from now on: dtype and dims are looked at, the bytes are borrowed and read in
 * session_run(). INVALID_ARGUMENT names input, dim, wanted and found; the session keeps what it
 * had. */
NODISCARD status session_set_input(struct session *s, size_t i, const struct tensor *t,
                                   struct error *err);

/* The session's own memory for an input of these dims, which is set by it: the place to gather
 * a batch. Valid until the next call for the same input. */
NODISCARD status session_input_space(struct session *s, size_t i, const int64_t *dims, size_t rank,
                                     void **data, size_t *size, struct error *err);

/* Works out what follows from the inputs' dims: symbols, output dims, memory. Allocates only when
 * dims come that were not among the latest ones. session_run() does it when needed.
 * RESOURCE_EXHAUSTED: more than memory_max. */
NODISCARD status session_bind(struct session *s, struct error *err);

/* Output i is written to `data` (of `size` bytes) in the next runs; NULL: to the session's
 * memory. A run fails with INVALID_ARGUMENT when it does not fit. */
NODISCARD status session_set_output(struct session *s, size_t i, void *data, size_t size,
                                    struct error *err);

/* Runs all steps. What it fails with names the step. Allocates nothing once the dims have been
 * seen (data-dependent sizes: once the largest has been seen). */
NODISCARD status session_run(struct session *s, struct error *err);

/* Output i. After session_bind(): dtype, dims (-1: depends on data) and size, data NULL. After
 * session_run(): all of it, until the next call that changes the session. */
const struct tensor *session_output(const struct session *s, size_t i);

/* Nanoseconds that each step of the plan has taken in all runs, as thread 0 saw it; NULL without
 * keeps_times. */
const int64_t *session_step_times(const struct session *s);

size_t session_memory(const struct session *s); /* bytes mapped for values between steps */

#endif
