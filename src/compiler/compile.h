/* compile.h - from an ONNX model to a plan: import, passes, lowering, in that order.
 *
 *     compile_model(&c, "model.onnx", &options, &err);
 *     plan_write(compiled_plan(c), "model.plan", &err);
 *     compiled_free(c);
 *
 * Owned by one thread. */
#ifndef COMPILER_COMPILE_H
#define COMPILER_COMPILE_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/isa.h"
#include "base/status.h"
#include "base/str.h"
#include "plan/plan.h"
#include "tensor/tensor.h"

typedef enum precision { PRECISION_FP32, PRECISION_BF16 } precision;
const char *precision_name(precision p); /* "fp32" */
NODISCARD status precision_parse(precision *out, str name, struct error *err);

/* --shape=NAME:1x128, or with the range of a dim that stays free: NAME:1..64x128. */
struct compile_shape {
    str input;
    size_t rank;
    int64_t dims[TENSOR_RANK_MAX];                      /* -1 ("?"): as the model says */
    int64_t min[TENSOR_RANK_MAX], max[TENSOR_RANK_MAX]; /* max 0: no range is given */
};
NODISCARD status compile_shape_parse(struct compile_shape *out, const char *text,
                                     struct error *err);

enum { COMPILE_SHAPES_MAX = 64 };

struct compile_options {
    precision precision;
    isa isa;
    struct compile_shape shapes[COMPILE_SHAPES_MAX];
    size_t n_shapes;
    const char *const *disabled_passes; /* names */
    size_t n_disabled_passes;
    const char *print_after; /* a pass, "import", or NULL: IR text to stdout */

    /* Told before each phase begins; may be NULL. */
    void (*on_phase)(void *arg, const char *phase);
    void *on_phase_arg;
};

struct compiled;

/* INVALID_ARGUMENT: no ONNX model, or one that breaks ONNX's rules; UNIMPLEMENTED: something that
 * we lack: compiled_diagnostics() then has a line for every node concerned. *out is set in any
 * case, and the caller frees it. */
NODISCARD status compile_model(struct compiled **out, const char *path,
                               const struct compile_options *options, struct error *err);
void compiled_free(struct compiled *c);
DEFINE_CLEANUP(struct compiled, compiled_free)

/* What the caller does with the plan is a phase of the report too: begins it, and ends the one
 * before. NULL: the last has ended. */
void compiled_begin_phase(struct compiled *c, const char *name);

const struct plan *compiled_plan(const struct compiled *c);
str compiled_diagnostics(const struct compiled *c);

/* What was done, as JSON: operators before and after, fused groups, kernels, weights, memory,
 * time per phase. */
NODISCARD status compiled_report(const struct compiled *c, struct buffer *out, struct error *err);

#endif
