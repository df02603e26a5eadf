/* Shapes and known contents of operators that work element by element. */
#include "ops/infer_internal.h"

/* The element of `v` that element `at` of the broadcast output comes from; all dims numbers. */
static size_t source_index(const struct op_value *out, const struct op_value *v, size_t at) {
    size_t index = 0, stride = 1;
    for (int i = out->rank - 1, j = v->rank - 1; i >= 0; i--, j--) {
        size_t coordinate = at % (size_t)out->dims[i];
        at /= (size_t)out->dims[i];
        if (j < 0)
            continue;
        if (v->dims[j] != 1)
            index += coordinate * stride;
        stride *= (size_t)v->dims[j];
    }
    return index;
}

static bool is_at_least(const struct op_call *c, dim d, int64_t least) {
    return d != DIM_UNKNOWN && dim_lower_bound(c->pool, d) >= least;
}

/* 1, 0, or DIM_UNKNOWN for a < b, a == b. */
static dim is_less(const struct op_call *c, dim a, dim b) {
    dim d = dim_sub(c->pool, a, b);
    if (d == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    return dim_upper_bound(c->pool, d) < 0 ? 1 : dim_lower_bound(c->pool, d) >= 0 ? 0 : DIM_UNKNOWN;
}

static dim is_equal(const struct op_call *c, dim a, dim b) {
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    if (a == b)
        return 1;
    dim d = dim_sub(c->pool, a, b);
    if (d == DIM_UNKNOWN)
        return dim_is_number(a) && dim_is_number(b) ? 0 : DIM_UNKNOWN;
    return dim_upper_bound(c->pool, d) < 0 || dim_lower_bound(c->pool, d) > 0 ? 0 : DIM_UNKNOWN;
}

static dim negate(dim truth) {
    return truth == DIM_UNKNOWN ? truth : !truth;
}

static dim quotient(const struct op_call *c, dim a, dim b) {
    if (dtype_is_float(c->in[0]->dtype)) { /* only what is whole */
        dim q = dim_floordiv(c->pool, a, b);
        return dim_mul(c->pool, q, b) == a ? q : DIM_UNKNOWN;
    }
    if (dim_is_number(a) && dim_is_number(b))
        return b == 0 ? DIM_UNKNOWN : a / b;
    return is_at_least(c, a, 0) && is_at_least(c, b, 1) ? dim_floordiv(c->pool, a, b) : DIM_UNKNOWN;
}

static dim remainder_of(const struct op_call *c, dim a, dim b) {
    if (!is_at_least(c, a, 0) || !is_at_least(c, b, 1))
        return DIM_UNKNOWN;
    return dim_sub(c->pool, a, dim_mul(c->pool, b, dim_floordiv(c->pool, a, b)));
}

static dim logic(op_id op, dim a, dim b) {
    bool is_and = op == OP_And;
    if (op == OP_Xor)
        return a == DIM_UNKNOWN || b == DIM_UNKNOWN ? DIM_UNKNOWN : (a != 0) != (b != 0);
    for (int i = 0; i < 2; i++) {
        dim x = i ? b : a;
        if (x != DIM_UNKNOWN && (x != 0) != is_and)
            return !is_and;
    }
    return a == DIM_UNKNOWN || b == DIM_UNKNOWN ? DIM_UNKNOWN : is_and;
}

static dim binary(const struct op_call *c, op_id op, dim a, dim b) {
    switch (op) {
    case OP_Add:
    case OP_Sum:
        return dim_add(c->pool, a, b);
    case OP_Sub:
        return dim_sub(c->pool, a, b);
    case OP_Mul:
        return dim_mul(c->pool, a, b);
    case OP_Div:
        return quotient(c, a, b);
    case OP_Mod:
        return remainder_of(c, a, b);
    case OP_Min:
        return dim_min(c->pool, a, b);
    case OP_Max:
        return dim_max(c->pool, a, b);
    case OP_Equal:
        return is_equal(c, a, b);
    case OP_Less:
        return is_less(c, a, b);
    case OP_Greater:
        return is_less(c, b, a);
    case OP_LessOrEqual:
        return negate(is_less(c, b, a));
    case OP_GreaterOrEqual:
        return negate(is_less(c, a, b));
    case OP_And:
    case OP_Or:
    case OP_Xor:
        return logic(op, a, b);
    default:
        return DIM_UNKNOWN;
    }
}

/* A float that grew too large is not known to the last digit. */
static dim still_whole(const struct op_call *c, dim d) {
    bool is_small = d > -OP_WHOLE_MAX && d < OP_WHOLE_MAX;
    return dtype_is_float(c->out[0].dtype) && dim_is_number(d) && !is_small ? DIM_UNKNOWN : d;
}

/* Contents of output 0 when all inputs have known contents. */
static void follow(const struct op_call *c, op_id op) {
    const dim *values[3];
    size_t n;
    if (c->n_out == 0 || c->n_in > 3)
        return;
    for (size_t i = 0; i < c->n_in; i++)
        if (!c->in[i] || c->in[i]->rank < 0 || !op_ints(c, i, &values[i], &n) ||
            !dim_is_number(op_n_elements(c, c->in[i])))
            return;
    dim *contents = op_new_contents(c, 0);
    for (size_t k = 0; contents && k < c->out[0].n_contents; k++) {
        dim v[3];
        for (size_t i = 0; i < c->n_in; i++)
            v[i] = values[i][source_index(&c->out[0], c->in[i], k)];
        if (op == OP_Where) {
            contents[k] =
                v[0] == DIM_UNKNOWN ? (v[1] == v[2] ? v[1] : DIM_UNKNOWN) : (v[0] ? v[1] : v[2]);
            continue;
        }
        contents[k] = v[0];
        for (size_t i = 1; i < c->n_in; i++)
            contents[k] = binary(c, op, contents[k], v[i]);
        contents[k] = still_whole(c, contents[k]);
    }
}

static dim unary(const struct op_call *c, op_id op, dim a) {
    switch (op) {
    case OP_Floor:
    case OP_Ceil:
    case OP_Round:
        return a;
    case OP_Neg:
        return dim_sub(c->pool, 0, a);
    case OP_Abs:
        return is_at_least(c, a, 0) ? a : dim_is_number(a) ? -a : DIM_UNKNOWN;
    case OP_Relu:
        return dim_max(c->pool, a, 0);
    case OP_Not:
        return negate(a);
    case OP_Sign:
        return is_at_least(c, a, 1) ? 1 : dim_is_number(a) ? (a > 0) - (a < 0) : DIM_UNKNOWN;
    default:
        return DIM_UNKNOWN;
    }
}

status infer_unary(const struct op_call *c, struct error *err) {
    (void)err;
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    op_id op = op_id_of(c->op);
    bool is_followed = op == OP_Floor || op == OP_Ceil || op == OP_Round || op == OP_Neg ||
                       op == OP_Abs || op == OP_Relu || op == OP_Not || op == OP_Sign;
    const dim *values;
    size_t n;
    dim *contents = is_followed && op_ints(c, 0, &values, &n) ? op_new_contents(c, 0) : NULL;
    for (size_t i = 0; contents && i < n; i++)
        contents[i] = unary(c, op, values[i]);
    return STATUS_OK;
}

status infer_predicate(const struct op_call *c, struct error *err) {
    (void)err;
    op_out_like(c, 0, DTYPE_BOOL, c->in[0]);
    return STATUS_OK;
}

/* The dims are the broadcast of inputs from .. n_in - 1. */
static status infer_broadcast(const struct op_call *c, size_t from, dtype t, struct error *err) {
    int rank;
    dim dims[TENSOR_RANK_MAX];
    TRY(op_broadcast(c, from, &rank, dims, err));
    struct op_value *out = op_out(c, 0, t, rank);
    for (int i = 0; i < rank; i++)
        out->dims[i] = dims[i];
    return STATUS_OK;
}

static status check_same_dtype(const struct op_call *c, size_t from, struct error *err) {
    for (size_t i = from + 1; i < c->n_in; i++)
        if (c->in[i] && c->in[i]->dtype != c->in[from]->dtype)
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is %s, input %zu is %s", from,
                             dtype_name(c->in[from]->dtype), i, dtype_name(c->in[i]->dtype));
    return STATUS_OK;
}

/* Below opset 7 the second operand could be aligned at `axis`, with broadcast = 1. */
static status check_old_broadcast(const struct op_call *c, struct error *err) {
    if (c->opset > 0 && c->opset < 7 && attr_find(c->attrs, "axis"))
        return error_set(err, STATUS_UNIMPLEMENTED, "attribute axis of opsets below 7");
    return STATUS_OK;
}

status infer_arithmetic(const struct op_call *c, struct error *err) {
    TRY(check_same_dtype(c, 0, err));
    TRY(check_old_broadcast(c, err));
    TRY(infer_broadcast(c, 0, c->in[0]->dtype, err));
    follow(c, op_id_of(c->op));
    return STATUS_OK;
}

status infer_compare(const struct op_call *c, struct error *err) {
    TRY(check_same_dtype(c, 0, err));
    TRY(check_old_broadcast(c, err));
    TRY(infer_broadcast(c, 0, DTYPE_BOOL, err));
    follow(c, op_id_of(c->op));
    return STATUS_OK;
}

status infer_pow(const struct op_call *c, struct error *err) {
    return infer_broadcast(c, 0, c->in[0]->dtype, err);
}

status infer_where(const struct op_call *c, struct error *err) {
    TRY(check_same_dtype(c, 1, err));
    if (c->in[0]->dtype != DTYPE_BOOL && c->in[0]->dtype != DTYPE_NONE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "condition is %s, wanted bool",
                         dtype_name(c->in[0]->dtype));
    TRY(infer_broadcast(c, 0, c->in[1]->dtype, err));
    follow(c, OP_Where);
    return STATUS_OK;
}

status infer_prelu(const struct op_call *c, struct error *err) {
    int rank;
    dim dims[TENSOR_RANK_MAX];
    TRY(check_same_dtype(c, 0, err));
    TRY(op_broadcast(c, 0, &rank, dims, err));
    if (rank >= 0 && rank != c->in[0]->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "slope %s does not broadcast to input %s",
                         op_show(c, c->in[1]), op_show(c, c->in[0]));
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    return STATUS_OK;
}

status infer_clip(const struct op_call *c, struct error *err) {
    TRY(check_same_dtype(c, 0, err));
    for (size_t i = 1; i < 3; i++) {
        const struct op_value *bound = op_in(c, i);
        dim n = bound ? op_n_elements(c, bound) : 1;
        if (dim_is_number(n) && n != 1)
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is %s, wanted one element", i,
                             op_show(c, bound));
    }
    op_out_like(c, 0, c->in[0]->dtype, c->in[0]);
    const dim *values;
    size_t n;
    dim *contents = op_ints(c, 0, &values, &n) ? op_new_contents(c, 0) : NULL;
    for (size_t i = 0; contents && i < n; i++) {
        dim low, high;
        contents[i] = values[i];
        if (op_in(c, 1))
            contents[i] =
                op_int_scalar(c, 1, &low) ? dim_max(c->pool, contents[i], low) : DIM_UNKNOWN;
        if (op_in(c, 2))
            contents[i] =
                op_int_scalar(c, 2, &high) ? dim_min(c->pool, contents[i], high) : DIM_UNKNOWN;
    }
    return STATUS_OK;
}

status infer_cast(const struct op_call *c, struct error *err) {
    int64_t to = attr_int(c->attrs, "to", 0);
    dtype t = op_in(c, 1) ? c->in[1]->dtype : dtype_from_onnx(to);
    if (t == DTYPE_NONE && !op_in(c, 1))
        return error_set(err, STATUS_UNIMPLEMENTED, "to ONNX type %lld", (long long)to);
    op_out_like(c, 0, t, c->in[0]);
    const dim *values;
    size_t n;
    dim *contents = op_ints(c, 0, &values, &n) ? op_new_contents(c, 0) : NULL;
    for (size_t i = 0; contents && i < n; i++)
        contents[i] =
            t == DTYPE_BOOL ? negate(is_equal(c, values[i], 0)) : still_whole(c, values[i]);
    return STATUS_OK;
}
