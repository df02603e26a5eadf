/* op.h - what an operator is: its name, what it accepts, and the shapes that it gives.
 *
 * ops.def has a row for each operator of ONNX's default domain that we know, and for each
 * fused operator of the domain "culmen" that passes make and kernels run (fused.h). The one
 * shape function of an operator serves shape inference at compile time (dims may be
 * expressions) and steps whose shapes depend on data at run time (dims are numbers). */
#ifndef OPS_OP_H
#define OPS_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "ops/attr.h"
#include "ops/dim.h"
#include "tensor/tensor.h"

enum { OP_VARIADIC = 65535 }; /* as the most inputs or outputs: any number */

/* The operator's number inside this build; plans store names. OP_Add, OP_Conv2d, ... */
typedef enum op_id {
    OP_NONE = 0,
#define OP(name, domain, infer, min_in, max_in, max_out) OP_##name,
#include "ops/ops.def"
#undef OP
    OP_COUNT
} op_id;

/* What is known of one operand while shapes are worked out. */
struct op_value {
    dtype dtype; /* DTYPE_NONE: not known (only before inference) */
    int8_t rank; /* -1: not known */
    dim dims[TENSOR_RANK_MAX];

    /* Elements of a small tensor (row-major), each a number, an expression or DIM_UNKNOWN; NULL
     * when nothing is known. Floats too, where they are whole: exporters compute sizes in them. */
    const dim *contents;
    size_t n_contents;

    /* The whole value, when it is a constant (compile time) or simply there (run time); or NULL. */
    const struct tensor *constant;

    /* Output only: the dims are upper bounds, the kernel writes the real ones (NonZero, NMS). */
    bool is_bound;
};

enum { OP_CONTENTS_MAX = 1024 }; /* larger integer tensors are not followed */

/* One question to a shape function. Absent optional inputs are NULL. */
struct op_call {
    const struct op *op;
    int opset; /* of the model's default domain; 0 for culmen */
    const struct attr_list *attrs;
    const struct op_value *const *in;
    struct op_value *out; /* [n_out], zeroed before */
    size_t n_in, n_out;
    struct dim_pool *pool; /* NULL at run time */
    struct arena *arena;   /* for contents */
};

/* Fills dtype, rank, dims of each output, and contents where they follow. A dim that depends on
 * data that is not known is DIM_UNKNOWN (rank still given where possible).
 * INVALID_ARGUMENT: the operands do not fit; the text says operand, wanted, found. */
typedef status (*op_infer_fn)(const struct op_call *call, struct error *err);

struct op {
    const char *name, *domain; /* "" is ONNX's default domain */
    op_infer_fn infer;
    uint8_t min_in;
    uint16_t max_in, max_out;
};

const struct op *op_get(op_id id);
op_id op_id_of(const struct op *op); /* the inverse of op_get */
op_id op_find(str domain, str name); /* OP_NONE: unknown; "ai.onnx" equals "" */

/* Checks the number of operands, then asks the operator's shape function. */
NODISCARD status op_infer(const struct op_call *call, struct error *err);

/* The elements of an input as dims, from contents or constant; single ones may be DIM_UNKNOWN, as
 * floats are that are not whole. Numbers that are no dims (INT64_MAX: "to the end") come as the
 * nearest one that is. False: nothing is known, or there are more than OP_CONTENTS_MAX. */
bool op_ints(const struct op_call *call, size_t input, const dim **out, size_t *n);

#endif
