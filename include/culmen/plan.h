/* plan.h - runs models that `culmen compile` made, from C or C++.
 *
 *     struct culmen_error err;
 *     struct culmen_plan *plan;
 *     struct culmen_session *session;
 *     if (culmen_plan_load(&plan, "model.plan", &err) ||
 *         culmen_session_new(&session, plan, NULL, &err))
 *         return puts(err.text), 1;
 *     int64_t dims[] = {1, 128};
 *     culmen_bind_input(session, 0, ids, dims, 2, &err);
 *     culmen_run(session, &err);
 *     struct culmen_tensor y;
 *     culmen_get_output(session, 0, &y, &err);
 *
 * A plan is read-only and may be used by any number of threads and sessions. A session is used by
 * one thread at a time and runs one inference at a time; make one per concurrent run. Functions
 * that can fail return a culmen_status, CULMEN_OK being 0, and explain themselves in *err, which
 * may be NULL; *out is written on success only. Nothing here prints, exits or aborts on bad input.
 *
 * Shapes are row-major and dense, the last dim varies fastest. Names and other texts are UTF-8, end
 * in a NUL and belong to the plan.
 *
 * Link with `pkg-config --cflags --libs culmen`. */
#ifndef CULMEN_PLAN_H
#define CULMEN_PLAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CULMEN_API __attribute__((visibility("default")))
#else
#define CULMEN_API
#endif

enum { CULMEN_RANK_MAX = 8, CULMEN_ERROR_SIZE = 512 };

/* The canonical codes of gRPC. */
typedef enum culmen_status {
    CULMEN_OK = 0,
    CULMEN_UNKNOWN = 2,             /* the system says no: the text has its words */
    CULMEN_INVALID_ARGUMENT = 3,    /* an input does not fit the model */
    CULMEN_NOT_FOUND = 5,           /* no such file */
    CULMEN_PERMISSION_DENIED = 7,   /* the file may not be read */
    CULMEN_RESOURCE_EXHAUSTED = 8,  /* no memory, or a limit */
    CULMEN_FAILED_PRECONDITION = 9, /* compiled by another version or for another CPU */
    CULMEN_UNIMPLEMENTED = 12,
    CULMEN_INTERNAL = 13,
    CULMEN_DATA_LOSS = 15 /* the plan is damaged */
} culmen_status;

CULMEN_API const char *culmen_status_name(culmen_status code); /* "INVALID_ARGUMENT" */

struct culmen_error {
    culmen_status code;
    char text[CULMEN_ERROR_SIZE]; /* one line */
};

/* Element types, with ONNX's numbers. */
typedef enum culmen_dtype {
    CULMEN_FLOAT32 = 1,
    CULMEN_UINT8 = 2,
    CULMEN_INT8 = 3,
    CULMEN_UINT16 = 4,
    CULMEN_INT16 = 5,
    CULMEN_INT32 = 6,
    CULMEN_INT64 = 7,
    CULMEN_BYTES = 8, /* elements of {uint32 length, bytes} */
    CULMEN_BOOL = 9,
    CULMEN_FLOAT16 = 10,
    CULMEN_FLOAT64 = 11,
    CULMEN_UINT32 = 12,
    CULMEN_UINT64 = 13,
    CULMEN_BFLOAT16 = 16
} culmen_dtype;

CULMEN_API const char *culmen_dtype_name(culmen_dtype type); /* "f32" */
CULMEN_API size_t culmen_dtype_size(culmen_dtype type);      /* 4; 0 for CULMEN_BYTES */

/* One dimension of an input or output. Inputs with the same symbol must agree in it. */
struct culmen_dim {
    int64_t size;       /* -1: chosen by the caller (input), or follows from the inputs (output) */
    int64_t min, max;   /* its range; both are `size` when that is a number */
    const char *symbol; /* "batch", "(seq + 1)"; "" when size is a number; "?": depends on data */
};

struct culmen_io {
    const char *name;
    culmen_dtype dtype;
    int rank;
    struct culmen_dim dims[CULMEN_RANK_MAX];
};

struct culmen_plan;
struct culmen_session;

/* Opens a plan, which the caller frees; takes milliseconds, since its weights are mapped, not read.
 * While a plan is loaded its file must be neither written to nor cut: replace it by renaming
 * another over it. CULMEN_DATA_LOSS names section, offset, wanted and found; weights are not looked
 * at (`culmen inspect --verify` does). CULMEN_FAILED_PRECONDITION comes with the command that
 * compiles the plan again. */
CULMEN_API culmen_status culmen_plan_load(struct culmen_plan **out, const char *path,
                                          struct culmen_error *err);

/* The same for bytes in memory, 64-byte aligned, which the caller keeps until the plan and its
 * sessions are freed. */
CULMEN_API culmen_status culmen_plan_load_memory(struct culmen_plan **out, const void *bytes,
                                                 size_t size, struct culmen_error *err);

/* Sessions that are still open keep what they need of the plan. */
CULMEN_API void culmen_plan_free(struct culmen_plan *plan); /* NULL is fine */

/* The model's inputs and outputs, in its order; NULL past the end. They live as long as the
 * plan. */
CULMEN_API size_t culmen_plan_n_inputs(const struct culmen_plan *plan);
CULMEN_API size_t culmen_plan_n_outputs(const struct culmen_plan *plan);
CULMEN_API const struct culmen_io *culmen_plan_input(const struct culmen_plan *plan, size_t i);
CULMEN_API const struct culmen_io *culmen_plan_output(const struct culmen_plan *plan, size_t i);

/* The index of an input / output, or -1. */
CULMEN_API ptrdiff_t culmen_plan_find_input(const struct culmen_plan *plan, const char *name);
CULMEN_API ptrdiff_t culmen_plan_find_output(const struct culmen_plan *plan, const char *name);

/* What the compiler noted, as JSON: model, precision, the ONNX file's metadata. */
CULMEN_API const char *culmen_plan_metadata(const struct culmen_plan *plan);

struct culmen_session_options {
    unsigned n_threads; /* up to 256, the caller of culmen_run() being one; 0: 1 */
    size_t memory_max;  /* bytes between the steps; 0: three quarters of the machine's */
};

/* A session, which the caller frees; `options` may be NULL. Starts n_threads - 1 threads, which
 * sleep between runs. Memory comes with the first run of each size. */
CULMEN_API culmen_status culmen_session_new(struct culmen_session **out,
                                            const struct culmen_plan *plan,
                                            const struct culmen_session_options *options,
                                            struct culmen_error *err);
CULMEN_API void culmen_session_free(struct culmen_session *session); /* NULL is fine */

/* Input i is `data`, elements of the input's dtype, of these dims, in all runs from now on. The
 * bytes are borrowed and read in each culmen_run(); `dims` is copied. CULMEN_INVALID_ARGUMENT names
 * input, dim, wanted and found, and the session keeps what it had. Not for CULMEN_BYTES. */
CULMEN_API culmen_status culmen_bind_input(struct culmen_session *session, size_t i,
                                           const void *data, const int64_t *dims, int rank,
                                           struct culmen_error *err);

/* Output i is written to `data`, borrowed, in all runs from now on; NULL: to the session's own
 * memory. A run fails with CULMEN_INVALID_ARGUMENT when `size` is too small: culmen_get_output()
 * tells the size before the run. */
CULMEN_API culmen_status culmen_bind_output(struct culmen_session *session, size_t i, void *data,
                                            size_t size, struct culmen_error *err);

/* Runs the model once, on the calling thread and the session's. Allocates nothing when the same
 * dims were among the latest sixteen. CULMEN_INVALID_ARGUMENT: an input is not bound;
 * CULMEN_RESOURCE_EXHAUSTED: more than memory_max. After an error the session can be used again. */
CULMEN_API culmen_status culmen_run(struct culmen_session *session, struct culmen_error *err);

struct culmen_tensor {
    culmen_dtype dtype;
    int rank;
    int64_t dims[CULMEN_RANK_MAX];
    const void *data; /* NULL before the first run with these dims */
    size_t size;      /* bytes */
};

/* Output i: of the last run; or, when inputs were bound since, the dims and size that the next run
 * will give (a dim is -1 and the size 0 where they depend on the data). Valid until the next call
 * for the session. */
CULMEN_API culmen_status culmen_get_output(struct culmen_session *session, size_t i,
                                           struct culmen_tensor *out, struct culmen_error *err);

CULMEN_API const char *culmen_version(void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif
