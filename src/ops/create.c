/* Shapes and known contents of operators that make tensors from shapes and attributes. */
#include <inttypes.h>
#include <math.h>

#include "ops/infer_internal.h"

status infer_shape(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    (void)err;
    struct op_value *out = op_out(c, 0, DTYPE_I64, 1);
    if (in->rank < 0)
        return STATUS_OK;
    int64_t start = attr_int(c->attrs, "start", 0), end = attr_int(c->attrs, "end", in->rank);
    start += start < 0 ? in->rank : 0;
    end += end < 0 ? in->rank : 0;
    start = start < 0 ? 0 : start > in->rank ? in->rank : start;
    end = end < start ? start : end > in->rank ? in->rank : end;
    out->dims[0] = end - start;
    dim *contents = op_new_contents(c, 0);
    for (int64_t i = start; contents && i < end; i++)
        contents[i - start] = in->dims[i];
    return STATUS_OK;
}

status infer_size(const struct op_call *c, struct error *err) {
    (void)err;
    op_out(c, 0, DTYPE_I64, 0);
    dim *contents = op_new_contents(c, 0);
    if (contents)
        contents[0] = op_n_elements(c, c->in[0]);
    return STATUS_OK;
}

static const char *const constant_lists[] = {"value_ints", "value_floats"};

status infer_constant(const struct op_call *c, struct error *err) {
    const struct attr *a = attr_find(c->attrs, "value");
    if (a && a->kind == ATTR_TENSOR) {
        struct op_value *out = op_out(c, 0, a->tensor->dtype, a->tensor->rank);
        for (int i = 0; i < out->rank; i++)
            out->dims[i] = a->tensor->dims[i];
        out->constant = a->tensor;
        return STATUS_OK;
    }
    if ((a = attr_find(c->attrs, "value_int")) || (a = attr_find(c->attrs, "value_float"))) {
        op_out(c, 0, a->kind == ATTR_INT ? DTYPE_I64 : DTYPE_F32, 0);
        dim *contents = op_new_contents(c, 0);
        if (contents && a->kind == ATTR_INT)
            contents[0] = a->i < DIM_EXPR ? a->i : DIM_EXPR - 1;
        return STATUS_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(constant_lists); i++)
        if ((a = attr_find(c->attrs, constant_lists[i]))) {
            op_out(c, 0, a->kind == ATTR_INTS ? DTYPE_I64 : DTYPE_F32, 1)->dims[0] = (dim)a->n;
            dim *contents = op_new_contents(c, 0);
            for (size_t k = 0; contents && a->kind == ATTR_INTS && k < a->n; k++)
                contents[k] = a->ints[k] < DIM_EXPR ? a->ints[k] : DIM_EXPR - 1;
            return STATUS_OK;
        }
    return error_set(err, STATUS_UNIMPLEMENTED, "a value that is no number or tensor");
}

/* The dims that input `input` holds; rank -1 when even their number is not known. */
static status dims_from(const struct op_call *c, size_t input, dtype t, struct error *err) {
    const struct op_value *shape = c->in[input];
    const dim *values;
    size_t n;
    TRY(op_want_rank(c, input, 1, err));
    if (!op_ints(c, input, &values, &n)) {
        bool is_known =
            shape->rank == 1 && dim_is_number(shape->dims[0]) && shape->dims[0] <= TENSOR_RANK_MAX;
        op_out(c, 0, t, is_known ? (int)shape->dims[0] : -1);
        return STATUS_OK;
    }
    if (n > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "shape has rank %zu, wanted at most %d", n,
                         TENSOR_RANK_MAX);
    struct op_value *out = op_out(c, 0, t, (int)n);
    for (size_t i = 0; i < n; i++) {
        if (values[i] < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "shape[%zu] is %" PRId64, i, values[i]);
        out->dims[i] = values[i];
    }
    return STATUS_OK;
}

status infer_constant_of_shape(const struct op_call *c, struct error *err) {
    const struct attr *a = attr_find(c->attrs, "value");
    const struct tensor *value = a && a->kind == ATTR_TENSOR ? a->tensor : NULL;
    if (a && (!value || tensor_n_elements(value) != 1))
        return error_set(err, STATUS_INVALID_ARGUMENT, "value is no tensor of one element");
    TRY(dims_from(c, 0, value ? value->dtype : DTYPE_F32, err));
    if (!value || c->n_out == 0)
        return STATUS_OK;
    struct op_value v = {.dtype = value->dtype, .rank = 1, .dims = {1}, .constant = value};
    struct tensor flat = *value;
    flat.rank = 1;
    flat.dims[0] = 1;
    v.constant = &flat;
    const struct op_value *in[] = {&v};
    struct op_call scalar = *c;
    scalar.in = in;
    scalar.n_in = 1;
    dim filler;
    dim *contents = op_int_scalar(&scalar, 0, &filler) ? op_new_contents(c, 0) : NULL;
    for (size_t i = 0; contents && i < c->out[0].n_contents; i++)
        contents[i] = filler;
    return STATUS_OK;
}

status infer_eye_like(const struct op_call *c, struct error *err) {
    int64_t t = attr_int(c->attrs, "dtype", 0);
    TRY(op_want_rank(c, 0, 2, err));
    op_out_like(c, 0, t ? dtype_from_onnx(t) : c->in[0]->dtype, c->in[0]);
    return STATUS_OK;
}

status infer_one_hot(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    int64_t axis = attr_int(c->attrs, "axis", -1);
    int at;
    double depth;
    if (in->rank < 0)
        return op_unknown(c, c->in[2]->dtype);
    if (in->rank == TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has rank %d, wanted at most %d",
                         in->rank + 1, TENSOR_RANK_MAX);
    TRY(op_axis(c, axis, in->rank + 1, &at, err));
    dim n = op_n_elements(c, c->in[2]);
    if (dim_is_number(n) && n != 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "values are %s, wanted two elements",
                         op_show(c, c->in[2]));
    struct op_value *out = op_out(c, 0, c->in[2]->dtype, in->rank + 1);
    for (int i = 0, k = 0; i <= in->rank; i++)
        if (i != at)
            out->dims[i] = in->dims[k++];
    if (op_int_scalar(c, 1, &n))
        out->dims[at] = n;
    else if (op_doubles(c, 1, &depth, 1) && fabs(depth) < 1e9)
        out->dims[at] = (dim)depth;
    return STATUS_OK;
}

/* Range over known numbers or expressions: max(ceil((limit - start) / delta), 0). */
status infer_range(const struct op_call *c, struct error *err) {
    dim start, limit, delta;
    double v[3];
    struct op_value *out = op_out(c, 0, c->in[0]->dtype, 1);
    if (op_int_scalar(c, 0, &start) && op_int_scalar(c, 1, &limit) && op_int_scalar(c, 2, &delta)) {
        if (delta == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "delta is 0");
        if (dim_is_expr(delta) && dim_lower_bound(c->pool, delta) < 1)
            return STATUS_OK; /* its sign is not known */
        bool is_down = dim_is_number(delta) && delta < 0;
        dim length = is_down ? dim_sub(c->pool, start, limit) : dim_sub(c->pool, limit, start);
        length = dim_ceildiv(c->pool, length, is_down ? -delta : delta);
        out->dims[0] = dim_max(c->pool, 0, length);
        dim *contents = op_new_contents(c, 0);
        for (size_t i = 0; contents && i < c->out[0].n_contents; i++) {
            contents[i] = start;
            start = dim_add(c->pool, start, delta);
        }
        return STATUS_OK;
    }
    for (size_t i = 0; i < 3; i++)
        if (op_doubles(c, i, &v[i], 1) != 1)
            return STATUS_OK;
    double length = ceil((v[1] - v[0]) / v[2]);
    if (!(length < 1e15))
        return error_set(err, STATUS_INVALID_ARGUMENT, "range has no end");
    out->dims[0] = length > 0 ? (dim)length : 0;
    return STATUS_OK;
}
