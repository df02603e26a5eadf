/* Shapes of pools in ONNX's layout, [B, C, ...]. */
#include "ops/infer_internal.h"
#include "ops/window.h"

status infer_pool(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    struct window w;
    if (x->rank < 0)
        return op_unknown(c, x->dtype);
    if (x->rank < 3)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, wanted rank 3 or more",
                         op_show(c, x));
    TRY(window_read(&w, c->attrs, x->rank - 2, NULL, err));
    struct op_value *out = op_out_like(c, 0, x->dtype, x);
    for (int i = 0; i < w.n; i++)
        out->dims[i + 2] = window_count(c->pool, &w, i, x->dims[i + 2]);
    if (c->n_out > 1)
        op_out_like(c, 1, DTYPE_I64, out);
    return STATUS_OK;
}

status infer_global_pool(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    if (x->rank >= 0 && x->rank < 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, wanted rank 2 or more",
                         op_show(c, x));
    struct op_value *out = op_out_like(c, 0, x->dtype, x);
    for (int i = 2; i < x->rank; i++)
        out->dims[i] = 1;
    return STATUS_OK;
}
