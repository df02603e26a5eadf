/* softmax.h - ONNX Softmax over the last axis (template; see README). */
#ifndef KERNELS_SIMD_SOFTMAX_H
#define KERNELS_SIMD_SOFTMAX_H

#include "kernels/kernel.h"
#include "kernels/simd/math.h"

static bool softmax_is_float(const struct tensor *t) {
    return t->dtype == DTYPE_F32 || t->dtype == DTYPE_BF16;
}

static bool softmax_accepts(const struct kernel_call *c) {
    const struct tensor *x = c->in[0];
    int64_t axis = attr_int(c->attrs, "axis", c->opset >= 13 ? -1 : 1);
    return softmax_is_float(x) && softmax_is_float(c->out[0]) && x->rank >= 1 &&
           (axis == -1 || axis == x->rank - 1);
}

/* Lanes past the first n become `value`. */
SIMD_INLINE vf softmax_fill(vf v, int64_t n, float value) {
    if (n >= VL)
        return v;
    float lanes[VL];
    vf_store(lanes, vf_set(value));
    vf_store_n(lanes, v, n);
    return vf_load(lanes);
}

static void softmax_row(bool x_is_bf16, const void *x, bool y_is_bf16, void *y, int64_t row,
                        int64_t n) {
    vf max = vf_set(-INFINITY), total = vf_set(0);
    for (int64_t i = 0; i < n; i += VL)
        max = vf_max(max, softmax_fill(vf_load_as(x_is_bf16, x, row + i, n - i), n - i, -INFINITY));
    vf top = vf_set(vf_reduce_max(max));
    for (int64_t i = 0; i < n; i += VL) {
        vf e = vf_exp(vf_load_as(x_is_bf16, x, row + i, n - i) - top);
        e = softmax_fill(e, n - i, 0);
        total += e;
        if (!y_is_bf16)
            vf_store_as(false, y, row + i, e, n - i);
    }
    vf factor = vf_set(1 / vf_reduce_add(total));
    for (int64_t i = 0; i < n; i += VL) {
        /* bf16: computed again, a rounded e would be rounded twice. */
        vf e = y_is_bf16 ? vf_exp(vf_load_as(x_is_bf16, x, row + i, n - i) - top)
                         : vf_load_as(false, y, row + i, n - i);
        vf_store_as(y_is_bf16, y, row + i, e * factor, n - i);
    }
}

static status softmax_run(const struct kernel_call *c, const struct kernel_team *t,
                          struct error *err) {
    (void)err;
    const struct tensor *x = c->in[0];
    int64_t n = x->dims[x->rank - 1], from, to;
    kernel_share(t, dims_product(x->dims, x->rank - 1u), 1, &from, &to);
    for (int64_t i = from; i < to; i++)
        softmax_row(x->dtype == DTYPE_BF16, x->data, c->out[0]->dtype == DTYPE_BF16,
                    c->out[0]->data, i * n, n);
    return STATUS_OK;
}

const struct kernel LEVEL(softmax) = {
    .name = LEVEL_NAME ".softmax",
    .isa = LEVEL_ISA,
    .op = OP_Softmax,
    .accepts = softmax_accepts,
    .run = softmax_run,
};

#endif
