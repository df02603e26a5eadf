/* Shapes of operators whose outputs are as large as their data says: upper bounds. */
#include <inttypes.h>

#include "ops/infer_internal.h"

status infer_non_zero(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    (void)err;
    struct op_value *out = op_out(c, 0, DTYPE_I64, 2);
    out->is_bound = true;
    if (in->rank < 0)
        return STATUS_OK;
    out->dims[0] = in->rank;
    out->dims[1] = op_n_elements(c, in);
    return STATUS_OK;
}

status infer_topk(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    dim k = attr_int(c->attrs, "k", -1); /* below opset 10 */
    bool is_known = !op_in(c, 1);
    int axis;
    if (!dim_is_number(k))
        k = -1;
    if (op_in(c, 1))
        is_known = op_int_scalar(c, 1, &k);
    for (size_t i = 0; i < 2; i++)
        op_out(c, i, i ? DTYPE_I64 : in->dtype, in->rank);
    if (in->rank < 0)
        return STATUS_OK;
    TRY(op_axis(c, attr_int(c->attrs, "axis", -1), in->rank, &axis, err));
    dim size = in->dims[axis];
    if (is_known && dim_is_number(k) && (k < 0 || (dim_is_number(size) && k > size)))
        return error_set(err, STATUS_INVALID_ARGUMENT, "k is %" PRId64 ", axis %d of %s", k, axis,
                         op_show(c, in));
    for (size_t i = 0; i < 2; i++) {
        struct op_value *out = op_out_like(c, i, i ? DTYPE_I64 : in->dtype, in);
        out->dims[axis] = is_known ? k : size;
        out->is_bound = !is_known;
    }
    return STATUS_OK;
}

/* boxes [B, N, 4], scores [B, C, N] -> rows of (batch, class, box). */
status infer_nms(const struct op_call *c, struct error *err) {
    const struct op_value *boxes = c->in[0], *scores = c->in[1];
    dim most = 0, same;
    TRY(op_want_rank(c, 0, 3, err));
    TRY(op_want_rank(c, 1, 3, err));
    struct op_value *out = op_out(c, 0, DTYPE_I64, 2);
    out->dims[1] = 3;
    out->is_bound = true;
    if (boxes->rank < 0 || scores->rank < 0)
        return STATUS_OK;
    if (dim_is_number(boxes->dims[2]) && boxes->dims[2] != 4)
        return error_set(err, STATUS_INVALID_ARGUMENT, "boxes are %s, wanted [B,N,4]",
                         op_show(c, boxes));
    TRY(op_same(c, "batches of boxes and scores", boxes->dims[0], scores->dims[0], &same, err));
    TRY(op_same(c, "numbers of boxes and scores", boxes->dims[1], scores->dims[2], &same, err));
    if (!op_in(c, 2))
        most = 0; /* the default: nothing is selected */
    else if (!op_int_scalar(c, 2, &most))
        most = same;
    most = dim_is_number(most) && most < 0 ? 0 : dim_min(c->pool, most, same);
    out->dims[0] = dim_mul(c->pool, dim_mul(c->pool, boxes->dims[0], scores->dims[1]), most);
    return STATUS_OK;
}
