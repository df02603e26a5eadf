/* Shapes of operators that work along axes. */
#include <inttypes.h>

#include "ops/infer_internal.h"

/* Axes came as an attribute before opset 18 (ReduceSum: 13). */
static void follow_reduce(const struct op_call *c) {
    op_id op = op_id_of(c->op);
    const dim *values;
    size_t n;
    if (c->in[0]->rank > 1 ||
        (op != OP_ReduceProd && op != OP_ReduceSum && op != OP_ReduceMax && op != OP_ReduceMin) ||
        !op_ints(c, 0, &values, &n) || n == 0)
        return;
    dim *contents = op_new_contents(c, 0);
    if (!contents || c->out[0].n_contents != 1)
        return;
    contents[0] = values[0];
    for (size_t i = 1; i < n; i++)
        contents[0] = op == OP_ReduceProd  ? dim_mul(c->pool, contents[0], values[i])
                      : op == OP_ReduceSum ? dim_add(c->pool, contents[0], values[i])
                      : op == OP_ReduceMax ? dim_max(c->pool, contents[0], values[i])
                                           : dim_min(c->pool, contents[0], values[i]);
}

status infer_reduce(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    bool keeps = attr_int(c->attrs, "keepdims", 1) != 0;
    struct op_axes axes;
    TRY(op_axes_read(c, 1, "axes", &axes, err));
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    if (!axes.is_known) {
        bool has_count = axes.n > 0 && axes.n <= (size_t)in->rank;
        op_out(c, 0, in->dtype, keeps ? in->rank : has_count ? in->rank - (int)axes.n : -1);
        return STATUS_OK;
    }
    bool is_reduced[TENSOR_RANK_MAX] = {false};
    for (size_t i = 0; i < axes.n; i++) {
        int a;
        TRY(op_axis(c, axes.axes[i], in->rank, &a, err));
        if (is_reduced[a])
            return error_set(err, STATUS_INVALID_ARGUMENT, "axis %d is given twice", a);
        is_reduced[a] = true;
    }
    bool is_all = axes.n == 0 && attr_int(c->attrs, "noop_with_empty_axes", 0) == 0;
    struct op_value *out = op_out(c, 0, in->dtype, in->rank);
    int rank = 0;
    for (int i = 0; i < in->rank; i++)
        if (!is_reduced[i] && !is_all)
            out->dims[rank++] = in->dims[i];
        else if (keeps)
            out->dims[rank++] = 1;
    out->rank = (int8_t)rank;
    if (c->n_out)
        follow_reduce(c);
    return STATUS_OK;
}

status infer_arg(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    bool keeps = attr_int(c->attrs, "keepdims", 1) != 0;
    int axis;
    if (in->rank < 0)
        return op_unknown(c, DTYPE_I64);
    TRY(op_axis(c, attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    if (in->dims[axis] == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "axis %d of %s is empty", axis,
                         op_show(c, in));
    struct op_value *out = op_out(c, 0, DTYPE_I64, in->rank - !keeps);
    for (int i = 0, k = 0; i < in->rank; i++)
        if (i != axis)
            out->dims[k++] = in->dims[i];
        else if (keeps)
            out->dims[k++] = 1;
    return STATUS_OK;
}

status infer_cumulate(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    dim at;
    int axis;
    if (in->rank >= 0 && op_int_scalar(c, 1, &at) && dim_is_number(at))
        TRY(op_axis(c, at, in->rank, &axis, err));
    op_out_like(c, 0, in->dtype, in);
    return STATUS_OK;
}

status infer_softmax(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    int64_t axis = attr_int(c->attrs, "axis", c->opset > 0 && c->opset < 13 ? 1 : -1);
    bool is_flat = c->opset > 0 && c->opset < 13; /* then axis may be the rank */
    if (in->rank >= 0 && (axis < -in->rank || axis >= in->rank + is_flat) && in->rank > 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "axis is %" PRId64 " for input %s", axis,
                         op_show(c, in));
    op_out_like(c, 0, in->dtype, in);
    return STATUS_OK;
}
