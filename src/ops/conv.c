/* Shapes of convolutions in ONNX's layout: x [B, C, ...], w [M, C / group, ...]. */
#include <inttypes.h>

#include "ops/infer_internal.h"
#include "ops/window.h"

/* The window of operand `w` [_, _, ...]. False in *is_known: its sizes are not numbers. */
static status read_window(const struct op_call *c, size_t w, struct window *window, bool *is_known,
                          struct error *err) {
    const struct op_value *x = c->in[0], *weights = c->in[w];
    *is_known = x->rank >= 0 && weights->rank >= 0;
    if (!*is_known)
        return STATUS_OK;
    if (x->rank < 3 || x->rank != weights->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, weights are %s", op_show(c, x),
                         op_show(c, weights));
    int64_t size[TENSOR_RANK_MAX];
    for (int i = 2; i < x->rank; i++) {
        *is_known &= dim_is_number(weights->dims[i]);
        size[i - 2] = weights->dims[i];
    }
    return *is_known ? window_read(window, c->attrs, x->rank - 2, size, err) : STATUS_OK;
}

static status read_group(const struct op_call *c, int64_t *group, struct error *err) {
    *group = attr_int(c->attrs, "group", 1);
    if (*group < 1 || *group > INT32_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "group is %" PRId64, *group);
    return STATUS_OK;
}

static status check_bias(const struct op_call *c, size_t input, dim channels, struct error *err) {
    const struct op_value *bias = op_in(c, input);
    dim same;
    if (!bias || bias->rank < 0)
        return STATUS_OK;
    TRY(op_want_rank(c, input, 1, err));
    return op_same(c, "output channels and bias", channels, bias->dims[0], &same, err);
}

static status infer_convolution(const struct op_call *c, size_t weights, size_t bias, dtype t,
                                struct error *err) {
    const struct op_value *x = c->in[0], *w = c->in[weights];
    struct window window;
    bool is_known;
    int64_t group;
    dim channels;
    TRY(read_window(c, weights, &window, &is_known, err));
    TRY(read_group(c, &group, err));
    struct op_value *out = op_out(c, 0, t, x->rank);
    if (x->rank < 0 || w->rank < 0)
        return STATUS_OK;
    TRY(op_same(c, "channels of input and weights", x->dims[1], dim_mul(c->pool, w->dims[1], group),
                &channels, err));
    if (dim_is_number(w->dims[0]) && w->dims[0] % group != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "weights %s with group %" PRId64,
                         op_show(c, w), group);
    TRY(check_bias(c, bias, w->dims[0], err));
    out->dims[0] = x->dims[0];
    out->dims[1] = w->dims[0];
    for (int i = 0; is_known && i < window.n; i++)
        out->dims[i + 2] = window_count(c->pool, &window, i, x->dims[i + 2]);
    return STATUS_OK;
}

status infer_conv(const struct op_call *c, struct error *err) {
    if (c->in[0]->dtype != c->in[1]->dtype)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, weights are %s",
                         op_show(c, c->in[0]), op_show(c, c->in[1]));
    return infer_convolution(c, 1, 2, c->in[0]->dtype, err);
}

status infer_conv_integer(const struct op_call *c, struct error *err) {
    return infer_convolution(c, 1, SIZE_MAX, DTYPE_I32, err);
}

status infer_qlinear_conv(const struct op_call *c, struct error *err) {
    return infer_convolution(c, 3, 8, c->in[7]->dtype, err);
}

status infer_conv_transpose(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0], *w = c->in[1];
    struct window window;
    bool is_known;
    int64_t group;
    size_t n_extra, n_shape;
    const int64_t *extra = attr_ints(c->attrs, "output_padding", &n_extra);
    const dim *shape = op_attr_dims(c, "output_shape", &n_shape);
    dim channels;
    TRY(read_window(c, 1, &window, &is_known, err));
    TRY(read_group(c, &group, err));
    struct op_value *out = op_out(c, 0, x->dtype, x->rank);
    if (x->rank < 0 || w->rank < 0)
        return STATUS_OK;
    size_t n = (size_t)x->rank - 2;
    if ((extra && n_extra != n) || (shape && n_shape != n && n_shape != n + 2))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "output_padding has %zu and output_shape %zu elements, wanted %zu",
                         n_extra, n_shape, n);
    TRY(op_same(c, "channels of input and weights", x->dims[1], w->dims[0], &channels, err));
    if (dim_is_number(channels) && channels % group != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " channels with group %" PRId64,
                         channels, group);
    out->dims[0] = x->dims[0];
    out->dims[1] = dim_mul(c->pool, w->dims[1], group);
    TRY(check_bias(c, 2, out->dims[1], err));
    for (size_t i = 0; i < n; i++) {
        if (extra && (extra[i] < 0 || extra[i] > INT32_MAX))
            return error_set(err, STATUS_INVALID_ARGUMENT, "output_padding[%zu] is %" PRId64, i,
                             extra[i]);
        if (shape)
            out->dims[i + 2] = shape[n_shape - n + i];
        else if (is_known)
            out->dims[i + 2] =
                window_transposed(c->pool, &window, (int)i, x->dims[i + 2], extra ? extra[i] : 0);
    }
    return STATUS_OK;
}
