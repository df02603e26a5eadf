/* Shapes of matrix products. */
#include <inttypes.h>

#include "ops/infer_internal.h"

status op_matmul_dims(const struct op_call *c, const struct op_value *a, const struct op_value *b,
                      struct op_value *out, struct error *err) {
    if (a->rank == 0 || b->rank == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "operands are %s and %s, wanted rank 1 or "
                         "more",
                         op_show(c, a), op_show(c, b));
    dim ka = a->dims[a->rank - 1], kb = b->dims[b->rank == 1 ? 0 : b->rank - 2], k;
    TRY(op_same(c, "inner dims", ka, kb, &k, err));
    int rank = a->rank > 2 ? a->rank - 2 : 0;
    dim dims[TENSOR_RANK_MAX];
    for (int i = 0; i < rank; i++)
        dims[i] = a->dims[i];
    TRY(op_broadcast_dims(c, &rank, dims, b->rank > 2 ? b->rank - 2 : 0, b->dims, err));
    for (int i = 0; i < rank; i++)
        out->dims[i] = dims[i];
    if (a->rank > 1)
        out->dims[rank++] = a->dims[a->rank - 2];
    if (b->rank > 1)
        out->dims[rank++] = b->dims[b->rank - 1];
    out->rank = (int8_t)rank;
    return STATUS_OK;
}

status infer_matmul(const struct op_call *c, struct error *err) {
    const struct op_value *a = c->in[0], *b = c->in[1];
    if (a->dtype != b->dtype)
        return error_set(err, STATUS_INVALID_ARGUMENT, "operands are %s and %s", op_show(c, a),
                         op_show(c, b));
    if (a->rank < 0 || b->rank < 0)
        return op_unknown(c, a->dtype);
    return op_matmul_dims(c, a, b, op_out(c, 0, a->dtype, 0), err);
}

status infer_gemm(const struct op_call *c, struct error *err) {
    const struct op_value *a = c->in[0], *b = c->in[1], *bias = op_in(c, 2);
    bool ta = attr_int(c->attrs, "transA", 0) != 0, tb = attr_int(c->attrs, "transB", 0) != 0;
    dim k;
    TRY(op_want_rank(c, 0, 2, err));
    TRY(op_want_rank(c, 1, 2, err));
    struct op_value *out = op_out(c, 0, a->dtype, 2);
    if (a->rank < 0 || b->rank < 0)
        return STATUS_OK;
    TRY(op_same(c, "inner dims", a->dims[!ta], b->dims[tb], &k, err));
    out->dims[0] = a->dims[ta];
    out->dims[1] = b->dims[!tb];
    if (!bias || bias->rank < 0)
        return STATUS_OK;
    for (int i = 0; i < bias->rank; i++) {
        dim have = bias->dims[i], want = i + 2 - bias->rank < 0 ? 1 : out->dims[i + 2 - bias->rank];
        if (dim_is_number(have) && have != 1 && dim_is_number(want) && have != want)
            return error_set(err, STATUS_INVALID_ARGUMENT, "input 2 %s does not broadcast to %s",
                             op_show(c, bias), op_show(c, out));
    }
    return STATUS_OK;
}
