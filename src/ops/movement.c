/* Shapes and known contents of operators that move elements. */
#include <inttypes.h>

#include "ops/infer_internal.h"

/* Output 0 holds the elements of input 0 in the same order. */
static void follow_copy(const struct op_call *c) {
    const dim *values;
    size_t n;
    dim *contents = op_ints(c, 0, &values, &n) ? op_new_contents(c, 0) : NULL;
    for (size_t i = 0; contents && i < n && i < c->out[0].n_contents; i++)
        contents[i] = values[i];
}

status infer_identity(const struct op_call *c, struct error *err) {
    (void)err;
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    follow_copy(c);
    return STATUS_OK;
}

status infer_dropout(const struct op_call *c, struct error *err) {
    const struct op_value *training = op_in(c, 2);
    dim mode = 0;
    bool is_known = op_int_scalar(c, 2, &mode);
    if ((training && (!is_known || mode != 0)) ||
        (c->opset > 0 && c->opset < 7 && attr_int(c->attrs, "is_test", 0) == 0))
        return error_set(err, STATUS_UNIMPLEMENTED, "training mode");
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    op_out_like(c, 1, c->opset > 0 && c->opset < 10 ? c->in[0]->dtype : DTYPE_BOOL, c->in[0]);
    follow_copy(c);
    return STATUS_OK;
}

/* --- Reshape --- */

/* The wanted dims, one of which may be -1 or not known: it follows from the others. */
static status reshape_dims(const struct op_call *c, const dim *shape, size_t n,
                           struct op_value *out, struct error *err) {
    const struct op_value *in = c->in[0];
    bool allows_zero = attr_int(c->attrs, "allowzero", 0) != 0;
    int inferred = -1, n_unknown = 0, unknown = -1;
    for (size_t i = 0; i < n; i++) {
        dim d = shape[i];
        if (d == 0 && !allows_zero) {
            if (in->rank >= 0 && (int)i >= in->rank)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "shape[%zu] is 0, but the input is %s", i, op_show(c, in));
            d = in->rank < 0 ? DIM_UNKNOWN : in->dims[i];
        }
        if (d < -1 || (d == -1 && inferred >= 0))
            return error_set(err, STATUS_INVALID_ARGUMENT, "shape[%zu] is %" PRId64 "%s", i, d,
                             d == -1 ? " for the second time" : "");
        if (d == -1)
            inferred = (int)i;
        if (d == DIM_UNKNOWN) {
            unknown = (int)i;
            n_unknown++;
        }
        out->dims[i] = d == -1 ? 1 : d;
    }
    dim n_in = op_n_elements(c, in);
    if (inferred < 0 && n_unknown == 1) { /* whatever it is, the elements must fit */
        inferred = unknown;
        out->dims[inferred] = 1;
        n_unknown = 0;
    }
    dim known = n_unknown ? DIM_UNKNOWN : op_product(c, out->dims, n);
    if (inferred >= 0) {
        dim q = known == 0 ? (n_in == 0 ? 0 : DIM_UNKNOWN) : dim_floordiv(c->pool, n_in, known);
        if (dim_is_number(n_in) && dim_is_number(known) &&
            (known == 0 ? n_in != 0 : n_in % known != 0))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%" PRId64 " elements do not divide by %" PRId64, n_in, known);
        out->dims[inferred] = q;
    } else if (dim_is_number(n_in) && dim_is_number(known) && n_in != known) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "input %s has %" PRId64 " elements, the shape has %" PRId64,
                         op_show(c, in), n_in, known);
    }
    return STATUS_OK;
}

status infer_reshape(const struct op_call *c, struct error *err) {
    const struct op_value *shape = op_in(c, 1);
    const dim *values;
    size_t n;
    if (!shape) { /* opset 1 */
        values = op_attr_dims(c, "shape", &n);
        if (!values && !attr_find(c->attrs, "shape"))
            return error_set(err, STATUS_INVALID_ARGUMENT, "input 1 is missing");
    } else if (!op_ints(c, 1, &values, &n)) {
        TRY(op_want_rank(c, 1, 1, err));
        bool is_rank_known = shape->rank == 1 && dim_is_number(shape->dims[0]);
        if (is_rank_known && shape->dims[0] > TENSOR_RANK_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "shape has rank %" PRId64 ", wanted at most %d", shape->dims[0],
                             TENSOR_RANK_MAX);
        struct op_value *out =
            op_out(c, 0, c->in[0]->dtype, is_rank_known ? (int)shape->dims[0] : -1);
        if (out->rank == 1)
            out->dims[0] = op_n_elements(c, c->in[0]);
        return STATUS_OK;
    }
    if (n > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "shape has rank %zu, wanted at most %d", n,
                         TENSOR_RANK_MAX);
    struct op_value *out = op_out(c, 0, c->in[0]->dtype, (int)n);
    TRY(reshape_dims(c, values, n, out, err));
    follow_copy(c);
    return STATUS_OK;
}

status infer_flatten(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    int64_t axis = attr_int(c->attrs, "axis", 1);
    struct op_value *out = op_out(c, 0, in->dtype, 2);
    if (in->rank < 0)
        return STATUS_OK;
    if (axis < -in->rank || axis > in->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "axis is %" PRId64 ", wanted %d to %d", axis,
                         -in->rank, in->rank);
    size_t k = (size_t)(axis < 0 ? axis + in->rank : axis);
    out->dims[0] = op_product(c, in->dims, k);
    out->dims[1] = op_product(c, in->dims + k, (size_t)in->rank - k);
    follow_copy(c);
    return STATUS_OK;
}

/* --- Squeeze, Unsqueeze --- */

status infer_squeeze(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    struct op_axes axes;
    bool is_gone[TENSOR_RANK_MAX] = {false};
    TRY(op_axes_read(c, 1, "axes", &axes, err));
    if (in->rank < 0 || !axes.is_known) {
        bool has_rank = in->rank >= 0 && axes.n <= (size_t)in->rank && axes.n > 0;
        op_out(c, 0, in->dtype, has_rank ? in->rank - (int)axes.n : -1);
        return STATUS_OK;
    }
    for (size_t i = 0; i < axes.n; i++) {
        int a;
        TRY(op_axis(c, axes.axes[i], in->rank, &a, err));
        if (is_gone[a])
            return error_set(err, STATUS_INVALID_ARGUMENT, "axis %d is given twice", a);
        if (dim_is_number(in->dims[a]) && in->dims[a] != 1)
            return error_set(err, STATUS_INVALID_ARGUMENT, "axis %d of input %s is not 1", a,
                             op_show(c, in));
        is_gone[a] = true;
    }
    for (int i = 0; i < in->rank && !axes.is_given; i++) {
        if (in->dims[i] == DIM_UNKNOWN)
            return op_unknown(c, in->dtype);
        is_gone[i] = in->dims[i] == 1;
    }
    int rank = 0;
    struct op_value *out = op_out(c, 0, in->dtype, in->rank);
    for (int i = 0; i < in->rank; i++)
        if (!is_gone[i])
            out->dims[rank++] = in->dims[i];
    out->rank = (int8_t)rank;
    follow_copy(c);
    return STATUS_OK;
}

status infer_unsqueeze(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    struct op_axes axes;
    bool is_new[TENSOR_RANK_MAX] = {false};
    TRY(op_axes_read(c, 1, "axes", &axes, err));
    if (!axes.is_given)
        return error_set(err, STATUS_INVALID_ARGUMENT, "axes are missing");
    if (in->rank < 0 || axes.n == SIZE_MAX)
        return op_unknown(c, in->dtype);
    int rank = in->rank + (int)axes.n;
    if (rank > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has rank %d, wanted at most %d",
                         rank, TENSOR_RANK_MAX);
    struct op_value *out = op_out(c, 0, in->dtype, rank);
    if (!axes.is_known)
        return STATUS_OK;
    for (size_t i = 0; i < axes.n; i++) {
        int a;
        TRY(op_axis(c, axes.axes[i], rank, &a, err));
        if (is_new[a])
            return error_set(err, STATUS_INVALID_ARGUMENT, "axis %d is given twice", a);
        is_new[a] = true;
    }
    for (int i = 0, k = 0; i < rank; i++)
        out->dims[i] = is_new[i] ? 1 : in->dims[k++];
    follow_copy(c);
    return STATUS_OK;
}

status infer_transpose(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    size_t n;
    const int64_t *perm = attr_ints(c->attrs, "perm", &n);
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    if (perm && n != (size_t)in->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "perm has %zu axes, input is %s", n,
                         op_show(c, in));
    struct op_value *out = op_out(c, 0, in->dtype, in->rank);
    unsigned seen = 0;
    for (int i = 0; i < in->rank; i++) {
        int64_t from = perm ? perm[i] : in->rank - 1 - i;
        if (from < 0 || from >= in->rank || seen & 1u << from)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "perm[%d] is %" PRId64 ", wanted each of 0 to %d once", i, from,
                             in->rank - 1);
        seen |= 1u << from;
        out->dims[i] = in->dims[from];
    }
    if (in->rank < 2)
        follow_copy(c);
    return STATUS_OK;
}

/* --- Concat, Split --- */

static void follow_concat(const struct op_call *c) {
    dim *contents = c->out[0].rank == 1 ? op_new_contents(c, 0) : NULL;
    size_t at = 0;
    if (!contents)
        return;
    for (size_t i = 0; i < c->n_in; i++) {
        const dim *values;
        size_t n = (size_t)c->in[i]->dims[0];
        bool is_known = op_ints(c, i, &values, &n);
        for (size_t k = 0; k < n && at < c->out[0].n_contents; k++)
            contents[at++] = is_known ? values[k] : DIM_UNKNOWN;
    }
}

status infer_concat(const struct op_call *c, struct error *err) {
    const struct op_value *first = c->in[0];
    int axis;
    for (size_t i = 0; i < c->n_in; i++) {
        if (!c->in[i])
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is missing", i);
        if (c->in[i]->dtype != first->dtype)
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is %s, input 0 is %s", i,
                             dtype_name(c->in[i]->dtype), dtype_name(first->dtype));
        if (c->in[i]->rank < 0)
            return op_unknown(c, first->dtype);
        TRY(op_want_rank(c, i, first->rank, err));
    }
    TRY(op_axis(c, attr_int(c->attrs, "axis", 1), first->rank, &axis, err));
    struct op_value *out = op_out_like(c, 0, first->dtype, first);
    for (size_t i = 1; i < c->n_in; i++)
        for (int d = 0; d < first->rank; d++) {
            dim other = c->in[i]->dims[d];
            if (d == axis)
                out->dims[d] = dim_add(c->pool, out->dims[d], other);
            else
                TRY(op_same(c, "dims besides the axis", out->dims[d], other, &out->dims[d], err));
        }
    if (c->n_out)
        follow_concat(c);
    return STATUS_OK;
}

/* Sizes of the parts from input 1 or the attribute; else equal parts, the last one smaller. */
static status split_sizes(const struct op_call *c, dim whole, dim *sizes, struct error *err) {
    size_t n;
    const dim *given = op_attr_dims(c, "split", &n);
    int64_t n_parts = attr_int(c->attrs, "num_outputs", (int64_t)c->n_out);
    if (op_in(c, 1) && !op_ints(c, 1, &given, &n)) {
        for (size_t i = 0; i < c->n_out; i++)
            sizes[i] = DIM_UNKNOWN;
        return STATUS_OK;
    }
    if (!given) {
        if (n_parts != (int64_t)c->n_out)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "num_outputs is %" PRId64 " with %zu outputs", n_parts, c->n_out);
        dim part = dim_ceildiv(c->pool, whole, n_parts);
        if (dim_is_number(whole) && part * (n_parts - 1) > whole)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " does not split in %" PRId64,
                             whole, n_parts);
        for (size_t i = 0; i < c->n_out; i++)
            sizes[i] = part;
        if (c->n_out)
            sizes[c->n_out - 1] = dim_sub(c->pool, whole, dim_mul(c->pool, part, n_parts - 1));
        return STATUS_OK;
    }
    if (n != c->n_out)
        return error_set(err, STATUS_INVALID_ARGUMENT, "split has %zu parts with %zu outputs", n,
                         c->n_out);
    dim sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (given[i] < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "split[%zu] is %" PRId64, i, given[i]);
        sizes[i] = given[i];
        sum = dim_add(c->pool, sum, given[i]);
    }
    if (dim_is_number(sum) && dim_is_number(whole) && sum != whole)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "split adds up to %" PRId64 ", the axis has %" PRId64, sum, whole);
    return STATUS_OK;
}

status infer_split(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    int axis;
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    TRY(op_axis(c, attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    dim *sizes = arena_array(c->arena, dim, c->n_out + 1);
    TRY(split_sizes(c, in->dims[axis], sizes, err));
    const dim *values;
    size_t n, at = 0;
    bool is_followed = in->rank == 1 && op_ints(c, 0, &values, &n);
    for (size_t i = 0; i < c->n_out; i++) {
        op_out_like(c, i, in->dtype, in)->dims[axis] = sizes[i];
        dim *contents = is_followed ? op_new_contents(c, i) : NULL;
        for (size_t k = 0; contents && k < c->out[i].n_contents; k++)
            contents[k] = at < n ? values[at++] : DIM_UNKNOWN;
        is_followed &= contents != NULL;
    }
    return STATUS_OK;
}

/* --- Slice --- */

struct slice_args {
    bool is_known; /* false: only the rank of the output is */
    size_t n;
    dim starts[TENSOR_RANK_MAX], ends[TENSOR_RANK_MAX], steps[TENSOR_RANK_MAX];
    int axes[TENSOR_RANK_MAX];
};

/* One list of Slice: input i from opset 10 on, an attribute before. */
static status slice_list(const struct op_call *c, size_t input, const char *attribute,
                         const dim **values, size_t *n, bool *is_known, struct error *err) {
    *n = 0;
    *values = c->opset > 0 && c->opset < 10 ? op_attr_dims(c, attribute, n) : NULL;
    if (op_in(c, input) && !op_ints(c, input, values, n))
        *is_known = false;
    if (*n > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu elements", attribute, *n);
    return STATUS_OK;
}

static status slice_read(const struct op_call *c, int rank, struct slice_args *a,
                         struct error *err) {
    const dim *starts, *ends, *axes, *steps;
    size_t n_ends, n_axes, n_steps;
    a->is_known = true;
    TRY(slice_list(c, 1, "starts", &starts, &a->n, &a->is_known, err));
    TRY(slice_list(c, 2, "ends", &ends, &n_ends, &a->is_known, err));
    TRY(slice_list(c, 3, "axes", &axes, &n_axes, &a->is_known, err));
    TRY(slice_list(c, 4, "steps", &steps, &n_steps, &a->is_known, err));
    if (!a->is_known)
        return STATUS_OK;
    if (n_ends != a->n || (axes && n_axes != a->n) || (steps && n_steps != a->n) ||
        a->n > (size_t)rank)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%zu starts, %zu ends, %zu axes, %zu steps for rank %d", a->n, n_ends,
                         n_axes, n_steps, rank);
    for (size_t i = 0; i < a->n; i++) {
        a->starts[i] = starts[i];
        a->ends[i] = ends[i];
        a->steps[i] = steps ? steps[i] : 1;
        if (axes && !dim_is_number(axes[i]))
            a->is_known = false;
        else
            TRY(op_axis(c, axes ? axes[i] : (int64_t)i, rank, &a->axes[i], err));
        if (a->steps[i] == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "step %zu is 0", i);
    }
    return STATUS_OK;
}

/* A start or end within the axis: negative ones count from the end, all are clipped. */
static dim slice_bound(const struct op_call *c, dim at, dim size, dim low, dim high) {
    if (at == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    if (dim_is_number(at) ? at < 0 : dim_upper_bound(c->pool, at) < 0)
        at = dim_is_number(at) && at < -DIM_EXPR / 2 ? low : dim_add(c->pool, at, size);
    else if (dim_is_expr(at) && dim_lower_bound(c->pool, at) < 0)
        return DIM_UNKNOWN; /* its sign is not known */
    return dim_max(c->pool, dim_min(c->pool, at, high), low);
}

static dim slice_size(const struct op_call *c, dim start, dim end, dim step, dim size) {
    if (!dim_is_number(step))
        return DIM_UNKNOWN;
    if (step > 0) {
        dim a = slice_bound(c, start, size, 0, size), b = slice_bound(c, end, size, 0, size);
        return dim_max(c->pool, 0, dim_ceildiv(c->pool, dim_sub(c->pool, b, a), step));
    }
    dim last = dim_sub(c->pool, size, 1);
    dim a = slice_bound(c, start, size, 0, last), b = slice_bound(c, end, size, -1, last);
    if (step < -DIM_EXPR / 2)
        step = -DIM_EXPR / 2;
    return dim_max(c->pool, 0, dim_ceildiv(c->pool, dim_sub(c->pool, a, b), -step));
}

static void follow_slice(const struct op_call *c, const struct slice_args *a) {
    const dim *values;
    size_t n;
    if (c->in[0]->rank != 1 || a->n != 1 || !op_ints(c, 0, &values, &n) ||
        !dim_is_number(a->starts[0]) || !dim_is_number(a->steps[0]) || n == 0)
        return;
    dim *contents = op_new_contents(c, 0);
    dim high = a->steps[0] > 0 ? (dim)n : (dim)n - 1;
    dim at = slice_bound(c, a->starts[0], (dim)n, 0, high);
    for (size_t i = 0; contents && i < c->out[0].n_contents; i++, at += a->steps[0])
        contents[i] = at >= 0 && at < (dim)n ? values[at] : DIM_UNKNOWN;
}

status infer_slice(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    struct slice_args a;
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    TRY(slice_read(c, in->rank, &a, err));
    struct op_value *out = op_out_like(c, 0, in->dtype, in);
    if (!a.is_known) {
        const dim *axes;
        size_t n;
        bool knows_axes = op_in(c, 3) && op_ints(c, 3, &axes, &n);
        for (int d = 0; d < in->rank; d++) {
            bool is_cut = !knows_axes;
            for (size_t i = 0; knows_axes && i < n; i++)
                is_cut |= axes[i] == d || axes[i] == d - in->rank || !dim_is_number(axes[i]);
            if (is_cut)
                out->dims[d] = DIM_UNKNOWN;
        }
        return STATUS_OK;
    }
    for (size_t i = 0; i < a.n; i++) {
        dim *d = &out->dims[a.axes[i]];
        *d = slice_size(c, a.starts[i], a.ends[i], a.steps[i], *d);
    }
    if (c->n_out)
        follow_slice(c, &a);
    return STATUS_OK;
}

/* --- Expand, Tile --- */

status infer_expand(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0], *shape = c->in[1];
    const dim *values;
    size_t n;
    TRY(op_want_rank(c, 1, 1, err));
    if (!op_ints(c, 1, &values, &n)) {
        int rank = -1;
        if (in->rank >= 0 && shape->rank == 1 && dim_is_number(shape->dims[0]) &&
            shape->dims[0] <= TENSOR_RANK_MAX)
            rank = shape->dims[0] > in->rank ? (int)shape->dims[0] : in->rank;
        op_out(c, 0, in->dtype, rank);
        return STATUS_OK;
    }
    if (n > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "shape has rank %zu, wanted at most %d", n,
                         TENSOR_RANK_MAX);
    for (size_t i = 0; i < n; i++)
        if (values[i] < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "shape[%zu] is %" PRId64, i, values[i]);
    int rank = in->rank;
    dim dims[TENSOR_RANK_MAX];
    for (int i = 0; i < rank; i++)
        dims[i] = in->dims[i];
    TRY(op_broadcast_dims(c, &rank, dims, (int)n, values, err));
    struct op_value *out = op_out(c, 0, in->dtype, rank);
    for (int i = 0; i < rank; i++)
        out->dims[i] = dims[i];
    size_t n_in;
    dim *contents = op_ints(c, 0, &values, &n_in) && n_in == 1 ? op_new_contents(c, 0) : NULL;
    for (size_t i = 0; contents && i < c->out[0].n_contents; i++)
        contents[i] = values[0];
    return STATUS_OK;
}

status infer_tile(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    const dim *values;
    size_t n;
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    struct op_value *out = op_out(c, 0, in->dtype, in->rank);
    if (c->opset > 0 && c->opset < 6)
        return error_set(err, STATUS_UNIMPLEMENTED, "opset %d, wanted at least 6", c->opset);
    if (!op_ints(c, 1, &values, &n))
        return STATUS_OK;
    if (n != (size_t)in->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu repeats for input %s", n,
                         op_show(c, in));
    for (int i = 0; i < in->rank; i++) {
        if (values[i] < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "repeats[%d] is %" PRId64, i, values[i]);
        out->dims[i] = dim_mul(c->pool, in->dims[i], values[i]);
    }
    return STATUS_OK;
}

/* --- DepthToSpace, SpaceToDepth, Trilu, ReverseSequence --- */

static status block_args(const struct op_call *c, int64_t *block, struct error *err) {
    *block = attr_int(c->attrs, "blocksize", 0);
    if (*block < 1 || *block > INT32_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "blocksize is %" PRId64, *block);
    return op_want_rank(c, 0, 4, err);
}

static status divide(const struct op_call *c, dim d, int64_t by, dim *out, struct error *err) {
    if (dim_is_number(d) && d % by != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " does not divide by %" PRId64, d,
                         by);
    *out = dim_floordiv(c->pool, d, by);
    return STATUS_OK;
}

status infer_depth_to_space(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    int64_t block;
    TRY(block_args(c, &block, err));
    struct op_value *out = op_out(c, 0, in->dtype, 4);
    if (in->rank < 0)
        return STATUS_OK;
    out->dims[0] = in->dims[0];
    TRY(divide(c, in->dims[1], block * block, &out->dims[1], err));
    out->dims[2] = dim_mul(c->pool, in->dims[2], block);
    out->dims[3] = dim_mul(c->pool, in->dims[3], block);
    return STATUS_OK;
}

status infer_space_to_depth(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    int64_t block;
    TRY(block_args(c, &block, err));
    struct op_value *out = op_out(c, 0, in->dtype, 4);
    if (in->rank < 0)
        return STATUS_OK;
    out->dims[0] = in->dims[0];
    out->dims[1] = dim_mul(c->pool, in->dims[1], block * block);
    TRY(divide(c, in->dims[2], block, &out->dims[2], err));
    return divide(c, in->dims[3], block, &out->dims[3], err);
}

status infer_trilu(const struct op_call *c, struct error *err) {
    if (c->in[0]->rank >= 0 && c->in[0]->rank < 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, wanted rank 2 or more",
                         op_show(c, c->in[0]));
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    return STATUS_OK;
}

status infer_reverse_sequence(const struct op_call *c, struct error *err) {
    int64_t time = attr_int(c->attrs, "time_axis", 0), batch = attr_int(c->attrs, "batch_axis", 1);
    if (time + batch != 1 || (time != 0 && time != 1))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "time_axis %" PRId64 " and batch_axis %" PRId64 ", wanted 0 and 1", time,
                         batch);
    if (c->in[0]->rank >= 0 && c->in[0]->rank < 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, wanted rank 2 or more",
                         op_show(c, c->in[0]));
    TRY(op_want_rank(c, 1, 1, err));
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    return STATUS_OK;
}
