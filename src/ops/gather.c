/* Shapes and known contents of operators that take or put elements by index. */
#include <inttypes.h>

#include "ops/infer_internal.h"

static status check_index_dtype(const struct op_call *c, size_t input, struct error *err) {
    dtype t = c->in[input]->dtype;
    if (t != DTYPE_I64 && t != DTYPE_I32 && t != DTYPE_NONE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is %s, wanted i64 or i32", input,
                         dtype_name(t));
    return STATUS_OK;
}

static void follow_gather(const struct op_call *c) {
    const dim *values, *indices;
    size_t n, n_indices;
    if (c->in[0]->rank != 1 || !op_ints(c, 0, &values, &n) || !op_ints(c, 1, &indices, &n_indices))
        return;
    dim *contents = op_new_contents(c, 0);
    for (size_t i = 0; contents && i < n_indices; i++) {
        dim at = dim_is_number(indices[i]) && indices[i] < 0 ? indices[i] + (dim)n : indices[i];
        contents[i] = at >= 0 && at < (dim)n ? values[at] : DIM_UNKNOWN;
    }
}

status infer_gather(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0], *indices = c->in[1];
    int axis;
    TRY(check_index_dtype(c, 1, err));
    if (in->rank < 0 || indices->rank < 0)
        return op_unknown(c, in->dtype);
    TRY(op_axis(c, attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    int rank = in->rank - 1 + indices->rank;
    if (rank > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has rank %d, wanted at most %d",
                         rank, TENSOR_RANK_MAX);
    struct op_value *out = op_out(c, 0, in->dtype, rank);
    for (int i = 0; i < rank; i++)
        out->dims[i] = i < axis                   ? in->dims[i]
                       : i < axis + indices->rank ? indices->dims[i - axis]
                                                  : in->dims[i - indices->rank + 1];
    if (c->n_out)
        follow_gather(c);
    return STATUS_OK;
}

status infer_gather_elements(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0], *indices = c->in[1];
    int axis;
    TRY(check_index_dtype(c, 1, err));
    if (in->rank >= 0) {
        TRY(op_axis(c, attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
        TRY(op_want_rank(c, 1, in->rank, err));
    }
    op_out_like(c, 0, in->dtype, indices);
    return STATUS_OK;
}

status infer_gather_nd(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0], *indices = c->in[1];
    int64_t batch = attr_int(c->attrs, "batch_dims", 0);
    TRY(check_index_dtype(c, 1, err));
    if (in->rank < 0 || indices->rank < 1 || !dim_is_number(indices->dims[indices->rank - 1])) {
        if (indices->rank == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "indices have rank 0");
        return op_unknown(c, in->dtype);
    }
    int64_t depth = indices->dims[indices->rank - 1];
    if (batch < 0 || batch >= indices->rank || batch >= in->rank || depth < 1 ||
        batch + depth > in->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "indices %s with batch_dims %" PRId64 " into %s", op_show(c, indices),
                         batch, op_show(c, in));
    int tail = in->rank - (int)(batch + depth), rank = indices->rank - 1 + tail;
    if (rank > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has rank %d, wanted at most %d",
                         rank, TENSOR_RANK_MAX);
    struct op_value *out = op_out(c, 0, in->dtype, rank);
    for (int i = 0; i < indices->rank - 1; i++)
        out->dims[i] = indices->dims[i];
    for (int i = 0; i < tail; i++)
        out->dims[indices->rank - 1 + i] = in->dims[batch + depth + i];
    return STATUS_OK;
}

status infer_scatter_elements(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0], *indices = c->in[1], *updates = c->in[2];
    int axis;
    TRY(check_index_dtype(c, 1, err));
    op_out_like(c, 0, in->dtype, in);
    if (in->rank < 0)
        return STATUS_OK;
    TRY(op_axis(c, attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    TRY(op_want_rank(c, 1, in->rank, err));
    TRY(op_want_rank(c, 2, in->rank, err));
    for (int i = 0; i < in->rank && indices->rank >= 0 && updates->rank >= 0; i++) {
        dim same;
        TRY(op_same(c, "dims of indices and updates", indices->dims[i], updates->dims[i], &same,
                    err));
    }
    return STATUS_OK;
}

status infer_scatter_nd(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0], *indices = c->in[1];
    TRY(check_index_dtype(c, 1, err));
    if (in->dtype != c->in[2]->dtype)
        return error_set(err, STATUS_INVALID_ARGUMENT, "data is %s, updates are %s",
                         dtype_name(in->dtype), dtype_name(c->in[2]->dtype));
    op_out_like(c, 0, in->dtype, in);
    if (in->rank < 0 || indices->rank < 0)
        return STATUS_OK;
    dim depth = indices->rank ? indices->dims[indices->rank - 1] : 0;
    if (dim_is_number(depth) && (depth < 1 || depth > in->rank))
        return error_set(err, STATUS_INVALID_ARGUMENT, "indices %s into %s", op_show(c, indices),
                         op_show(c, in));
    return STATUS_OK;
}

status infer_compress(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    bool has_axis = attr_find(c->attrs, "axis") != NULL;
    int axis = 0;
    TRY(op_want_rank(c, 1, 1, err));
    if (!has_axis) {
        struct op_value *flat = op_out(c, 0, in->dtype, 1);
        flat->dims[0] = op_n_elements(c, in);
        flat->is_bound = true;
        return STATUS_OK;
    }
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    TRY(op_axis(c, attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    op_out_like(c, 0, in->dtype, in)->is_bound = true;
    return STATUS_OK;
}
