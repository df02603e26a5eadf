/* Shapes of normalisations: those of their input. */
#include <inttypes.h>

#include "ops/infer_internal.h"

static status like_input(const struct op_call *c, struct error *err) {
    (void)err;
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    return STATUS_OK;
}

/* Input `input` is a vector with an element for each channel of input 0. */
static status want_per_channel(const struct op_call *c, size_t input, struct error *err) {
    const struct op_value *x = c->in[0], *v = c->in[input];
    dim same;
    TRY(op_want_rank(c, input, 1, err));
    if (x->rank < 0 || v->rank < 0)
        return STATUS_OK;
    if (x->rank < 2)
        return x->rank == 1 && input
                   ? STATUS_OK
                   : error_set(err, STATUS_INVALID_ARGUMENT, "input 0 is %s, wanted rank 2 or more",
                               op_show(c, x));
    return op_same(c, "channels of input 0 and of its parameters", x->dims[1], v->dims[0], &same,
                   err);
}

status infer_batch_normalization(const struct op_call *c, struct error *err) {
    bool is_old_training = c->opset > 0 && c->opset < 7 && attr_int(c->attrs, "is_test", 0) == 0;
    if (attr_int(c->attrs, "training_mode", 0) != 0 || is_old_training || c->n_out > 1)
        return error_set(err, STATUS_UNIMPLEMENTED, "training mode");
    for (size_t i = 1; i < 5; i++)
        TRY(want_per_channel(c, i, err));
    return like_input(c, err);
}

status infer_instance_normalization(const struct op_call *c, struct error *err) {
    TRY(want_per_channel(c, 1, err));
    TRY(want_per_channel(c, 2, err));
    return like_input(c, err);
}

status infer_group_normalization(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    int64_t groups = attr_int(c->attrs, "num_groups", 0);
    if (groups < 1 || (x->rank >= 2 && dim_is_number(x->dims[1]) && x->dims[1] % groups != 0))
        return error_set(err, STATUS_INVALID_ARGUMENT, "num_groups is %" PRId64 " for input %s",
                         groups, op_show(c, x));
    TRY(op_want_rank(c, 1, 1, err));
    TRY(op_want_rank(c, 2, 1, err));
    return like_input(c, err);
}

status infer_lrn(const struct op_call *c, struct error *err) {
    int64_t size = attr_int(c->attrs, "size", 0);
    if (size < 1 || (c->in[0]->rank >= 0 && c->in[0]->rank < 2))
        return error_set(err, STATUS_INVALID_ARGUMENT, "size %" PRId64 " for input %s", size,
                         op_show(c, c->in[0]));
    return like_input(c, err);
}

status infer_lp_normalization(const struct op_call *c, struct error *err) {
    int axis;
    if (c->in[0]->rank >= 0)
        TRY(op_axis(c, attr_int(c->attrs, "axis", -1), c->in[0]->rank, &axis, err));
    return like_input(c, err);
}

status infer_mean_variance(const struct op_call *c, struct error *err) {
    return like_input(c, err);
}

/* Scale and bias broadcast to the normalised dims axis .. rank - 1. */
static status check_scale(const struct op_call *c, size_t input, int axis, struct error *err) {
    const struct op_value *x = c->in[0], *v = op_in(c, input);
    for (int i = 0; v && i < v->rank; i++) {
        int d = x->rank - v->rank + i;
        if (d < axis ? dim_is_number(v->dims[i]) && v->dims[i] != 1
                     : dim_is_number(v->dims[i]) && dim_is_number(x->dims[d]) && v->dims[i] != 1 &&
                           v->dims[i] != x->dims[d])
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu %s does not fit input %s",
                             input, op_show(c, v), op_show(c, x));
    }
    return STATUS_OK;
}

static status infer_normalized(const struct op_call *c, int *axis, struct error *err) {
    TRY(op_axis(c, attr_int(c->attrs, "axis", -1), c->in[0]->rank, axis, err));
    TRY(check_scale(c, 1, *axis, err));
    return check_scale(c, 2, *axis, err);
}

status infer_layer_normalization(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    int axis = 0;
    dtype t = dtype_from_onnx(attr_int(c->attrs, "stash_type", 1));
    if (x->rank >= 0)
        TRY(infer_normalized(c, &axis, err));
    for (size_t i = 1; i < c->n_out; i++) {
        struct op_value *out = op_out_like(c, i, t, x);
        for (int d = axis; d < x->rank; d++)
            out->dims[d] = 1;
    }
    return like_input(c, err);
}

status infer_rms_normalization(const struct op_call *c, struct error *err) {
    int axis;
    if (c->in[0]->rank >= 0)
        TRY(infer_normalized(c, &axis, err));
    return like_input(c, err);
}
