/* reduce.h - ReduceMean, ReduceSum, ReduceMax, ReduceMin over neighbouring axes (template; see
 * README): the last ones, or in the middle with channels after them; and ONNX's global pools. */
#ifndef KERNELS_SIMD_REDUCE_H
#define KERNELS_SIMD_REDUCE_H

#include "kernels/kernel.h"
#include "kernels/simd/math.h"

/* x is [outer, n, inner], n is reduced. */
struct reduce {
    int64_t outer, n, inner;
};

/* Finds the axes; false: not known yet, none, or not side by side. Dims may be unknown. */
static bool reduce_axes(const struct kernel_call *c, int *first, int *last) {
    const struct tensor *x = c->in[0];
    const int64_t *axes = NULL;
    size_t n = 0;
    if (c->op == OP_GlobalMaxPool || c->op == OP_GlobalAveragePool) {
        *first = 2;
        *last = x->rank - 1;
        return x->rank > 2;
    }
    if (c->n_in > 1 && c->in[1]) {
        axes = c->in[1]->data;
        n = c->in[1]->rank == 1 && c->in[1]->dims[0] > 0 ? (size_t)c->in[1]->dims[0] : 0;
    } else {
        axes = attr_ints(c->attrs, "axes", &n);
    }
    if (!axes || !n || n > TENSOR_RANK_MAX)
        return false;
    unsigned set = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (a < 0 || a >= x->rank)
            return false;
        set |= 1u << a;
    }
    *first = __builtin_ctz(set);
    *last = 31 - __builtin_clz(set);
    return set == (((1u << (*last - *first + 1)) - 1) << *first);
}

static bool reduce_accepts(const struct kernel_call *c) {
    int first, last;
    return c->in[0]->dtype == DTYPE_F32 && c->out[0]->dtype == DTYPE_F32 &&
           reduce_axes(c, &first, &last);
}

static bool reduce_is_mean(op_id op) {
    return op == OP_ReduceMean || op == OP_GlobalAveragePool;
}

static bool reduce_is_max(op_id op) {
    return op == OP_ReduceMax || op == OP_GlobalMaxPool;
}

SIMD_INLINE vf reduce_two(op_id op, vf a, vf b) {
    if (reduce_is_max(op))
        return vf_max(a, b);
    if (op == OP_ReduceMin)
        return vf_min(a, b);
    return a + b;
}

SIMD_INLINE float reduce_start(op_id op) {
    return reduce_is_max(op) ? -INFINITY : op == OP_ReduceMin ? INFINITY : 0;
}

/* One row of n elements side by side. */
static float reduce_row(op_id op, const float *x, int64_t n) {
    vf sum = vf_set(reduce_start(op));
    float rest[VL];
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        sum = reduce_two(op, sum, vf_load(x + i));
    vf_store(rest, vf_set(reduce_start(op)));
    vf_store_n(rest, vf_load_n(x + i, n - i), n - i);
    sum = reduce_two(op, sum, vf_load(rest));
    float s = reduce_is_max(op)    ? vf_reduce_max(sum)
              : op == OP_ReduceMin ? vf_reduce_min(sum)
                                   : vf_reduce_add(sum);
    return reduce_is_mean(op) ? s / (float)n : s;
}

/* n rows of `inner` elements into one. */
static void reduce_columns(op_id op, const float *x, int64_t n, int64_t inner, float *y) {
    vf factor = vf_set(reduce_is_mean(op) ? 1 / (float)n : 1);
    for (int64_t j = 0; j < inner; j += VL) {
        vf sum = vf_set(reduce_start(op));
        for (int64_t i = 0; i < n; i++)
            sum = reduce_two(op, sum, vf_load_as(false, x, i * inner + j, inner - j));
        if (reduce_is_mean(op))
            sum *= factor;
        vf_store_as(false, y, j, sum, inner - j);
    }
}

static status reduce_run(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    const struct tensor *x = c->in[0];
    const float *data = x->data;
    float *y = c->out[0]->data;
    int first, last;
    if (!reduce_axes(c, &first, &last))
        return error_set(err, STATUS_INVALID_ARGUMENT, "reduction over axes that do not exist");
    struct reduce r = {
        .outer = dims_product(x->dims, (size_t)first),
        .n = dims_product(x->dims + first, (size_t)(last - first + 1)),
        .inner = dims_product(x->dims + last + 1, (size_t)(x->rank - 1 - last)),
    };
    int64_t from, to;
    kernel_share(t, r.outer, 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        if (r.inner == 1)
            y[i] = reduce_row(c->op, data + i * r.n, r.n);
        else
            reduce_columns(c->op, data + i * r.n * r.inner, r.n, r.inner, y + i * r.inner);
    }
    return STATUS_OK;
}

#define REDUCE_KERNEL(symbol, label, onnx)                                                         \
    const struct kernel LEVEL(symbol) = {                                                          \
        .name = LEVEL_NAME "." label,                                                              \
        .isa = LEVEL_ISA,                                                                          \
        .op = onnx,                                                                                \
        .accepts = reduce_accepts,                                                                 \
        .run = reduce_run,                                                                         \
    };
REDUCE_KERNEL(reduce_mean, "reduce_mean", OP_ReduceMean)
REDUCE_KERNEL(reduce_sum, "reduce_sum", OP_ReduceSum)
REDUCE_KERNEL(reduce_max, "reduce_max", OP_ReduceMax)
REDUCE_KERNEL(reduce_min, "reduce_min", OP_ReduceMin)
REDUCE_KERNEL(global_average_pool, "global_average_pool", OP_GlobalAveragePool)
REDUCE_KERNEL(global_max_pool, "global_max_pool", OP_GlobalMaxPool)

#endif
