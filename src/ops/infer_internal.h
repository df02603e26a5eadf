/* infer_internal.h - what shape functions share. For the files of src/ops only. */
#ifndef OPS_INFER_INTERNAL_H
#define OPS_INFER_INTERNAL_H

#include "ops/op.h"

#define OP_WHOLE_MAX 16777216 /* floats beyond do not hold every whole number */

/* Operand i, or NULL when it is absent. */
static inline const struct op_value *op_in(const struct op_call *c, size_t i) {
    return i < c->n_in ? c->in[i] : NULL;
}

static inline bool op_rank_known(const struct op_call *c, size_t i) {
    return op_in(c, i) && c->in[i]->rank >= 0;
}

/* Output i gets dtype and rank; the dims are DIM_UNKNOWN until set. No-op without output i. */
struct op_value *op_out(const struct op_call *c, size_t i, dtype t, int rank);

/* Every output has dtype t (NONE: that of input 0) and nothing else is known. */
status op_unknown(const struct op_call *c, dtype t);

/* Output i has the dims of `like` and dtype t. */
struct op_value *op_out_like(const struct op_call *c, size_t i, dtype t,
                             const struct op_value *like);

/* Dims of the broadcast of inputs `from` .. n_in - 1 (ONNX's multidirectional rule). *rank is -1
 * when a rank is not known. */
status op_broadcast(const struct op_call *c, size_t from, int *rank, dim *dims, struct error *err);
status op_broadcast_dims(const struct op_call *c, int *rank, dim *dims, int b_rank, const dim *b,
                         struct error *err);

/* Number of elements. */
dim op_n_elements(const struct op_call *c, const struct op_value *v);
dim op_product(const struct op_call *c, const dim *dims, size_t n);

/* Known contents of output i: n_contents elements to be filled; NULL: too many to follow, or the
 * number of elements or the dtype says that nobody follows them. */
dim *op_new_contents(const struct op_call *c, size_t i);

/* An axis within -rank .. rank - 1 as 0 .. rank - 1. */
status op_axis(const struct op_call *c, int64_t axis, int rank, int *out, struct error *err);

/* Axes from input `input` (opset >= since) or attribute "axes" before, as a sorted set in *mask.
 * *n = 0: none given. False in *is_known: the input's value is not known. */
struct op_axes {
    bool is_given, is_known;
    size_t n;                      /* SIZE_MAX: not known either */
    int64_t axes[TENSOR_RANK_MAX]; /* as written */
};
status op_axes_read(const struct op_call *c, size_t input, const char *attribute,
                    struct op_axes *out, struct error *err);

/* The ints of an attribute as dims: numbers that are no dims come as the nearest one that is. NULL
 * and 0: not given. */
const dim *op_attr_dims(const struct op_call *c, const char *name, size_t *n);

/* The elements of a known numeric input as doubles, at most n_max; 0 when it is not there. */
size_t op_doubles(const struct op_call *c, size_t input, double *out, size_t n_max);

/* The only element of an integer input; false when it is not known. */
bool op_int_scalar(const struct op_call *c, size_t input, dim *out);

/* INVALID_ARGUMENT unless the operand has that rank (or its rank is not known). */
status op_want_rank(const struct op_call *c, size_t input, int rank, struct error *err);

/* INVALID_ARGUMENT when two dims are different numbers; else the better known of the two. */
status op_same(const struct op_call *c, const char *what, dim a, dim b, dim *out,
               struct error *err);

/* `out` gets the dims of numpy's matmul of a and b, both of known rank; a vector is a row or a
 * column that vanishes from the result. */
status op_matmul_dims(const struct op_call *c, const struct op_value *a, const struct op_value *b,
                      struct op_value *out, struct error *err);

/* "f32[batch,128]" for messages, from the call's arena. */
const char *op_show(const struct op_call *c, const struct op_value *v);
const char *op_show_dim(const struct op_call *c, dim d);

#define OP(name, domain, infer, min_in, max_in, max_out)                                           \
    status infer(const struct op_call *call, struct error *err);
#include "ops/ops.def"
#undef OP

#endif
