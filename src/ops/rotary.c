/* The shape of RotaryEmbedding: that of its input. */
#include <inttypes.h>

#include "ops/infer_internal.h"

status infer_rotary(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    if (x->rank >= 0 && x->rank != 3 && x->rank != 4)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, wanted rank 3 or 4",
                         op_show(c, x));
    if (x->rank == 3 && attr_int(c->attrs, "num_heads", 0) < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "num_heads is missing for input %s",
                         op_show(c, x));
    op_out_like(c, 0, x->dtype, x);
    return STATUS_OK;
}
