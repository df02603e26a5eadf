/* The shape of Pad. */
#include <inttypes.h>

#include "ops/infer_internal.h"

/* Below opset 11 pads are an attribute ("paddings" in opset 1). */
static bool read_pads(const struct op_call *c, const dim **pads, size_t *n) {
    if (op_in(c, 1))
        return op_ints(c, 1, pads, n);
    *pads = op_attr_dims(c, "pads", n);
    if (!*pads)
        *pads = op_attr_dims(c, "paddings", n);
    return true;
}

status infer_pad(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    str mode = attr_string(c->attrs, "mode", "constant");
    const dim *pads = NULL;
    size_t n;
    struct op_axes axes;
    if (!str_eq_c(mode, "constant") && !str_eq_c(mode, "reflect") && !str_eq_c(mode, "edge") &&
        !str_eq_c(mode, "wrap"))
        return error_set(err, STATUS_UNIMPLEMENTED, "mode \"%.*s\"", STR_ARG(mode));
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    TRY(op_axes_read(c, 3, "", &axes, err));
    struct op_value *out = op_out_like(c, 0, in->dtype, in);
    size_t n_axes = axes.is_given ? axes.n : (size_t)in->rank;
    if (!axes.is_known || !read_pads(c, &pads, &n)) {
        op_out(c, 0, in->dtype, in->rank);
        return STATUS_OK;
    }
    if (n != 2 * n_axes)
        return error_set(err, STATUS_INVALID_ARGUMENT, "pads has %zu elements, wanted %zu", n,
                         2 * n_axes);
    for (size_t i = 0; i < n_axes; i++) {
        int d;
        TRY(op_axis(c, axes.is_given ? axes.axes[i] : (int64_t)i, in->rank, &d, err));
        dim before = pads[i], after = pads[n_axes + i];
        bool is_odd = (dim_is_number(before) && (before < INT32_MIN || before > INT32_MAX)) ||
                      (dim_is_number(after) && (after < INT32_MIN || after > INT32_MAX));
        if (is_odd)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "pads of axis %d are %" PRId64 " and %" PRId64, d, before, after);
        out->dims[d] = dim_add(c->pool, out->dims[d], dim_add(c->pool, before, after));
    }
    return STATUS_OK;
}
