/* norm.h - LayerNorm, RMSNorm and L2 normalisation of the last axis, with the residual that comes
 * before it and a second output (template; see README). */
#ifndef KERNELS_SIMD_NORM_H
#define KERNELS_SIMD_NORM_H

#include "kernels/kernel.h"
#include "kernels/simd/math.h"

struct norm {
    const void *x, *residual;  /* [rows, d] */
    const float *scale, *bias; /* [d] or NULL */
    void *y, *y2, *sum;        /* [rows, d]; y2 and sum may be NULL */
    bool x_is_bf16, residual_is_bf16, y_is_bf16, y2_is_bf16, sum_is_bf16;
    bool is_layer, is_l2;
    int64_t d;
    float epsilon;
};

static bool norm_accepts(const struct kernel_call *c) {
    bool has_bf16 = false;
    for (size_t i = 0; i < c->n_in + c->n_out; i++) {
        const struct tensor *t = i < c->n_in ? c->in[i] : c->out[i - c->n_in];
        bool is_vector = i < c->n_in && (i == 1 || i == 2); /* scale, bias */
        if (t && t->dtype != DTYPE_F32 && (t->dtype != DTYPE_BF16 || is_vector))
            return false;
        has_bf16 = has_bf16 || (t && t->dtype == DTYPE_BF16);
    }
    return c->in[0]->rank >= 1 && (LEVEL_TAKES_F32 || has_bf16);
}

/* s = x + residual at element i of the row that starts at `row`. */
SIMD_INLINE vf norm_load(const struct norm *n, int64_t row, int64_t i, bool whole) {
    int64_t left = whole ? VL : n->d - i;
    vf v = vf_load_as(n->x_is_bf16, n->x, row + i, left);
    if (n->residual)
        v += vf_load_as(n->residual_is_bf16, n->residual, row + i, left);
    return v;
}

/* The first n lanes; the others zero. */
SIMD_INLINE vf norm_lanes(vf v, int64_t n) {
    if (n >= VL)
        return v;
    float lanes[VL] = {0};
    vf_store_n(lanes, v, n);
    return vf_load(lanes);
}

/* `whole` is a constant: d is a multiple of VL. */
SIMD_INLINE void norm_row(const struct norm *n, int64_t row, bool whole) {
    vf total = vf_set(0), squares = vf_set(0);
    float mean = 0;
    if (n->is_layer) {
        for (int64_t i = 0; i < n->d; i += VL)
            total += norm_load(n, row, i, whole);
        mean = vf_reduce_add(total) / (float)n->d;
    }
    for (int64_t i = 0; i < n->d; i += VL) {
        vf v = norm_lanes(norm_load(n, row, i, whole) - vf_set(mean), whole ? VL : n->d - i);
        squares = vf_fma(v, v, squares);
    }
    float s = vf_reduce_add(squares), root = sqrtf(s), factor;
    if (n->is_l2)
        factor = 1 / (root > n->epsilon ? root : n->epsilon);
    else
        factor = 1 / sqrtf(s / (float)n->d + n->epsilon);
    for (int64_t i = 0; i < n->d; i += VL) {
        int64_t left = whole ? VL : n->d - i;
        vf v = norm_load(n, row, i, whole);
        if (n->sum)
            vf_store_as(n->sum_is_bf16, n->sum, row + i, v, left);
        v = (v - vf_set(mean)) * vf_set(factor);
        if (n->scale)
            v *= vf_load_as(false, n->scale, i, left);
        if (n->bias)
            v += vf_load_as(false, n->bias, i, left);
        if (n->y)
            vf_store_as(n->y_is_bf16, n->y, row + i, v, left);
        if (n->y2)
            vf_store_as(n->y2_is_bf16, n->y2, row + i, v, left);
    }
}

static const struct tensor *norm_operand(const struct kernel_call *c, size_t i) {
    return i < c->n_in ? c->in[i] : NULL;
}

static status norm_run(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    (void)err;
    const struct tensor *x = c->in[0], *residual = norm_operand(c, 3);
    const struct tensor *scale = norm_operand(c, 1), *bias = norm_operand(c, 2);
    struct tensor *y = c->out[0], /* NULL: only the others are read */
        *y2 = c->n_out > 1 ? c->out[1] : NULL;
    struct tensor *sum = c->n_out > 2 ? c->out[2] : NULL;
    str kind = attr_string(c->attrs, "kind", "layer");
    struct norm n = {
        .x = x->data,
        .x_is_bf16 = x->dtype == DTYPE_BF16,
        .residual = residual ? residual->data : NULL,
        .residual_is_bf16 = residual && residual->dtype == DTYPE_BF16,
        .scale = scale ? scale->data : NULL,
        .bias = bias ? bias->data : NULL,
        .y = y ? y->data : NULL,
        .y_is_bf16 = y && y->dtype == DTYPE_BF16,
        .y2 = y2 ? y2->data : NULL,
        .y2_is_bf16 = y2 && y2->dtype == DTYPE_BF16,
        .sum = sum ? sum->data : NULL,
        .sum_is_bf16 = sum && sum->dtype == DTYPE_BF16,
        .is_layer = str_eq_c(kind, "layer"),
        .is_l2 = str_eq_c(kind, "l2"),
        .d = x->dims[x->rank - 1],
        .epsilon = attr_float(c->attrs, "epsilon", 1e-5f),
    };
    int64_t from, to;
    kernel_share(t, dims_product(x->dims, x->rank - 1u), 1, &from, &to);
    for (int64_t i = from; i < to; i++)
        if (n.d % VL == 0)
            norm_row(&n, i * n.d, true);
        else
            norm_row(&n, i * n.d, false);
    return STATUS_OK;
}

const struct kernel LEVEL(norm) = {
    .name = LEVEL_NAME ".norm",
    .isa = LEVEL_ISA,
    .op = OP_Norm,
    .accepts = norm_accepts,
    .run = norm_run,
};

#endif
