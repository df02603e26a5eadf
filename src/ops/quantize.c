/* Shapes of quantization and of integer products. */
#include <inttypes.h>

#include "ops/infer_internal.h"

/* Scale and zero point: one element, one for each along the axis, or blocks of the input's rank. */
static status check_scale(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0], *scale = c->in[1];
    int axis;
    dim same;
    if (x->rank < 0 || scale->rank < 0)
        return STATUS_OK;
    if (scale->rank > 1 && scale->rank != x->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "scale is %s for input %s",
                         op_show(c, scale), op_show(c, x));
    if (scale->rank == 1 && dim_is_number(scale->dims[0]) && scale->dims[0] != 1 &&
        attr_int(c->attrs, "block_size", 0) == 0) {
        TRY(op_axis(c, attr_int(c->attrs, "axis", 1), x->rank, &axis, err));
        return op_same(c, "axis and scale", x->dims[axis], scale->dims[0], &same, err);
    }
    return STATUS_OK;
}

static status wanted_dtype(const struct op_call *c, dtype fallback, dtype *out, struct error *err) {
    int64_t wanted = attr_int(c->attrs, "output_dtype", 0);
    *out = wanted ? dtype_from_onnx(wanted) : fallback;
    if (*out == DTYPE_NONE)
        return error_set(err, STATUS_UNIMPLEMENTED, "to ONNX type %" PRId64, wanted);
    return STATUS_OK;
}

status infer_quantize(const struct op_call *c, struct error *err) {
    const struct op_value *zero = op_in(c, 2);
    dtype t;
    TRY(check_scale(c, err));
    TRY(wanted_dtype(c, zero ? zero->dtype : DTYPE_U8, &t, err));
    op_out_like(c, 0, t, c->in[0]);
    return STATUS_OK;
}

status infer_dequantize(const struct op_call *c, struct error *err) {
    dtype t;
    TRY(check_scale(c, err));
    TRY(wanted_dtype(c, c->in[1]->dtype, &t, err));
    op_out_like(c, 0, t, c->in[0]);
    return STATUS_OK;
}

status infer_dynamic_quantize(const struct op_call *c, struct error *err) {
    (void)err;
    op_out_like(c, 0, DTYPE_U8, c->in[0]);
    op_out(c, 1, DTYPE_F32, 0);
    op_out(c, 2, DTYPE_U8, 0);
    return STATUS_OK;
}

static status product(const struct op_call *c, const struct op_value *a, const struct op_value *b,
                      dtype t, struct error *err) {
    if (a->rank < 0 || b->rank < 0)
        return op_unknown(c, t);
    return op_matmul_dims(c, a, b, op_out(c, 0, t, 0), err);
}

status infer_matmul_integer(const struct op_call *c, struct error *err) {
    return product(c, c->in[0], c->in[1], DTYPE_I32, err);
}

status infer_qlinear_matmul(const struct op_call *c, struct error *err) {
    return product(c, c->in[0], c->in[3], c->in[7]->dtype, err);
}
