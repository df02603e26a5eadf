#include "ops/op.h"

#include <inttypes.h>
#include <string.h>

#include "ops/einsum.h"
#include "ops/fused.h"
#include "ops/infer_internal.h"
#include "tensor/convert.h"

static const struct op ops[OP_COUNT] = {
    [OP_NONE] = {.name = "", .domain = ""},
#define OP(name_, domain_, infer_, min, max, outs)                                                 \
    [OP_##name_] = {.name = #name_,                                                                \
                    .domain = domain_,                                                             \
                    .infer = infer_,                                                               \
                    .min_in = min,                                                                 \
                    .max_in = max,                                                                 \
                    .max_out = outs},
#include "ops/ops.def"
#undef OP
};

const struct op *op_get(op_id id) {
    return id > OP_NONE && id < OP_COUNT ? &ops[id] : NULL;
}

op_id op_id_of(const struct op *op) {
    return (op_id)(op - ops);
}

op_id op_find(str domain, str name) {
    if (str_eq_c(domain, "ai.onnx"))
        domain.n = 0;
    for (int i = OP_NONE + 1; i < OP_COUNT; i++)
        if (str_eq_c(name, ops[i].name) && str_eq_c(domain, ops[i].domain))
            return (op_id)i;
    return OP_NONE;
}

static status check_operands(const struct op_call *c, struct error *err) {
    const struct op *op = c->op;
    size_t n_in = c->n_in;
    while (n_in && !c->in[n_in - 1])
        n_in--;
    if (n_in < op->min_in || c->n_in > op->max_in)
        return error_set(err, STATUS_INVALID_ARGUMENT, "has %zu inputs, wanted %d to %d", n_in,
                         op->min_in, op->max_in);
    if (c->n_out > op->max_out)
        return error_set(err, STATUS_INVALID_ARGUMENT, "has %zu outputs, wanted at most %d",
                         c->n_out, op->max_out);
    for (size_t i = 0; i < (op->max_in == OP_VARIADIC ? c->n_in : op->min_in); i++)
        if (!c->in[i])
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is missing", i);
    for (size_t i = 0; i < c->n_in; i++)
        if (c->in[i] && c->in[i]->rank > TENSOR_RANK_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "input %zu has rank %d, wanted at most %d", i, c->in[i]->rank,
                             TENSOR_RANK_MAX);
    return STATUS_OK;
}

status op_infer(const struct op_call *call, struct error *err) {
    struct error inner = {0};
    status s = check_operands(call, &inner);
    if (s == STATUS_OK)
        s = call->op->infer(call, &inner);
    for (size_t i = 0; s == STATUS_OK && i < call->n_out; i++) {
        const struct op_value *v = &call->out[i];
        for (int d = 0; d < v->rank; d++)
            if (v->dims[d] < 0)
                s = error_set(&inner, STATUS_INVALID_ARGUMENT, "output %zu would be %s", i,
                              op_show(call, v));
    }
    if (s != STATUS_OK)
        return error_set(err, s, "%s: %s", call->op->name, inner.text);
    return STATUS_OK;
}

/* INT64_MAX is how exporters say "to the end". */
static dim nearest_dim(int64_t v) {
    return v >= DIM_EXPR ? DIM_EXPR - 1 : v <= -DIM_EXPR ? 1 - DIM_EXPR : v;
}

const dim *op_attr_dims(const struct op_call *c, const char *name, size_t *n) {
    const int64_t *ints = attr_ints(c->attrs, name, n);
    dim *dims = ints ? arena_array(c->arena, dim, *n) : NULL;
    for (size_t i = 0; i < *n; i++)
        dims[i] = nearest_dim(ints[i]);
    return dims;
}

static bool constant_dims(const struct op_call *c, const struct tensor *t, dim *out, size_t n) {
    if (t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64) {
        double *v = arena_array(c->arena, double, n + 1);
        if (convert(DTYPE_F64, v, t->dtype, t->data, n, NULL) != STATUS_OK)
            return false;
        for (size_t i = 0; i < n; i++) {
            bool is_whole =
                v[i] > -OP_WHOLE_MAX && v[i] < OP_WHOLE_MAX && v[i] == (double)(dim)v[i];
            out[i] = is_whole ? (dim)v[i] : DIM_UNKNOWN;
        }
        return true;
    }
    if ((!dtype_is_integer(t->dtype) && t->dtype != DTYPE_BOOL) ||
        convert(DTYPE_I64, out, t->dtype, t->data, n, NULL) != STATUS_OK)
        return false;
    for (size_t i = 0; i < n; i++)
        out[i] = nearest_dim(out[i]);
    return true;
}

bool op_ints(const struct op_call *call, size_t input, const dim **out, size_t *n) {
    const struct op_value *v = op_in(call, input);
    if (!v || v->rank < 0)
        return false;
    dim elements = op_n_elements(call, v);
    if (v->contents) {
        if (elements != (dim)v->n_contents)
            return false;
        *out = v->contents;
        *n = v->n_contents;
        return true;
    }
    const struct tensor *t = v->constant;
    int64_t count = t ? tensor_n_elements(t) : -1;
    if (count < 0 || count > OP_CONTENTS_MAX || count != elements || !t->data)
        return false;
    dim *values = arena_array(call->arena, dim, (size_t)count + 1);
    if (!constant_dims(call, t, values, (size_t)count))
        return false;
    *out = values;
    *n = (size_t)count;
    return true;
}

bool op_int_scalar(const struct op_call *c, size_t input, dim *out) {
    const dim *values;
    size_t n;
    if (!op_ints(c, input, &values, &n) || n != 1 || values[0] == DIM_UNKNOWN)
        return false;
    *out = values[0];
    return true;
}

size_t op_doubles(const struct op_call *c, size_t input, double *out, size_t n_max) {
    const struct op_value *v = op_in(c, input);
    const struct tensor *t = v ? v->constant : NULL;
    int64_t n = t && t->data ? tensor_n_elements(t) : 0;
    const dim *dims;
    size_t n_dims;
    if (n > 0 && (size_t)n <= n_max)
        return convert(DTYPE_F64, out, t->dtype, t->data, (size_t)n, NULL) == STATUS_OK ? (size_t)n
                                                                                        : 0;
    if (t || !op_ints(c, input, &dims, &n_dims) || n_dims > n_max)
        return 0;
    for (size_t i = 0; i < n_dims; i++) {
        if (!dim_is_number(dims[i]))
            return 0;
        out[i] = (double)dims[i];
    }
    return n_dims;
}

struct op_value *op_out(const struct op_call *c, size_t i, dtype t, int rank) {
    static _Thread_local struct op_value nowhere;
    struct op_value *v = i < c->n_out ? &c->out[i] : &nowhere;
    *v = (struct op_value){.dtype = t, .rank = (int8_t)rank};
    for (int d = 0; d < TENSOR_RANK_MAX; d++)
        v->dims[d] = d < rank ? DIM_UNKNOWN : 0;
    return v;
}

status op_unknown(const struct op_call *c, dtype t) {
    if (t == DTYPE_NONE && op_in(c, 0))
        t = c->in[0]->dtype;
    for (size_t i = 0; i < c->n_out; i++)
        op_out(c, i, t, -1);
    return STATUS_OK;
}

struct op_value *op_out_like(const struct op_call *c, size_t i, dtype t,
                             const struct op_value *like) {
    struct op_value *v = op_out(c, i, t, like->rank);
    for (int d = 0; d < like->rank; d++)
        v->dims[d] = like->dims[d];
    return v;
}

/* One dim of a broadcast. Two expressions that may differ: each is the result or 1, so the
 * larger one is the result; whoever runs the step checks that they fit. */
static bool broadcast_dim(const struct op_call *c, dim a, dim b, dim *out) {
    if (a == b || b == 1)
        *out = a;
    else if (a == 1)
        *out = b;
    else if (dim_is_number(a) && dim_is_number(b))
        return false;
    else if (dim_is_number(a))
        *out = a;
    else if (dim_is_number(b))
        *out = b;
    else
        *out = dim_max(c->pool, a, b);
    return true;
}

status op_broadcast_dims(const struct op_call *c, int *rank, dim *dims, int b_rank, const dim *b,
                         struct error *err) {
    if (*rank < 0 || b_rank < 0) {
        *rank = -1;
        return STATUS_OK;
    }
    int shift = b_rank - *rank;
    if (shift > 0) {
        memmove(dims + shift, dims, (size_t)*rank * sizeof *dims);
        for (int i = 0; i < shift; i++)
            dims[i] = 1;
        *rank = b_rank;
        shift = 0;
    }
    for (int i = 0; i < b_rank; i++) {
        dim *d = &dims[i - shift];
        if (!broadcast_dim(c, *d, b[i], d))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "dims %" PRId64 " and %" PRId64 " do not broadcast", *d, b[i]);
    }
    return STATUS_OK;
}

status op_broadcast(const struct op_call *c, size_t from, int *rank, dim *dims, struct error *err) {
    *rank = 0;
    for (size_t i = from; i < c->n_in; i++) {
        const struct op_value *v = c->in[i];
        if (!v)
            continue;
        struct error inner;
        if (op_broadcast_dims(c, rank, dims, v->rank, v->dims, &inner) != STATUS_OK)
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu %s: %s", i, op_show(c, v),
                             inner.text);
        if (*rank < 0)
            return STATUS_OK;
    }
    return STATUS_OK;
}

dim op_product(const struct op_call *c, const dim *dims, size_t n) {
    dim p = 1;
    for (size_t i = 0; i < n; i++)
        if (dims[i] == 0)
            return 0;
    for (size_t i = 0; i < n; i++)
        p = dim_mul(c->pool, p, dims[i]);
    return p;
}

dim op_n_elements(const struct op_call *c, const struct op_value *v) {
    return v->rank < 0 ? DIM_UNKNOWN : op_product(c, v->dims, (size_t)v->rank);
}

dim *op_new_contents(const struct op_call *c, size_t i) {
    if (i >= c->n_out)
        return NULL;
    struct op_value *v = &c->out[i];
    dim n = op_n_elements(c, v);
    if (!dim_is_number(n) || n > OP_CONTENTS_MAX ||
        !(dtype_is_integer(v->dtype) || v->dtype == DTYPE_BOOL || v->dtype == DTYPE_F32 ||
          v->dtype == DTYPE_F64))
        return NULL;
    dim *contents = arena_array(c->arena, dim, (size_t)n + 1);
    v->contents = contents;
    v->n_contents = (size_t)n;
    return contents;
}

status op_axis(const struct op_call *c, int64_t axis, int rank, int *out, struct error *err) {
    (void)c;
    if (axis < -rank || axis >= rank)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "axis is %" PRId64 ", wanted %d to %d for rank %d", axis, -rank, rank - 1,
                         rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return STATUS_OK;
}

status op_axes_read(const struct op_call *c, size_t input, const char *attribute,
                    struct op_axes *out, struct error *err) {
    size_t n = 0;
    const dim *axes = op_attr_dims(c, attribute, &n);
    *out = (struct op_axes){.is_known = true, .is_given = axes != NULL};
    if (op_in(c, input)) {
        out->is_given = true;
        if (!op_ints(c, input, &axes, &n)) {
            const struct op_value *v = c->in[input];
            bool has_count =
                v->rank == 1 && dim_is_number(v->dims[0]) && v->dims[0] <= TENSOR_RANK_MAX;
            out->is_known = false;
            out->n = has_count ? (size_t)v->dims[0] : SIZE_MAX;
            return STATUS_OK;
        }
    }
    if (n > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu axes, wanted at most %d", n,
                         TENSOR_RANK_MAX);
    for (size_t i = 0; i < n; i++) {
        if (!dim_is_number(axes[i]))
            out->is_known = false;
        out->axes[i] = axes[i];
    }
    out->n = n;
    return STATUS_OK;
}

status op_want_rank(const struct op_call *c, size_t input, int rank, struct error *err) {
    const struct op_value *v = op_in(c, input);
    if (v && v->rank >= 0 && v->rank != rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is %s, wanted rank %d", input,
                         op_show(c, v), rank);
    return STATUS_OK;
}

status op_same(const struct op_call *c, const char *what, dim a, dim b, dim *out,
               struct error *err) {
    if (dim_is_number(a) && dim_is_number(b) && a != b)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s are %" PRId64 " and %" PRId64 ", wanted equal", what, a, b);
    (void)c;
    *out = dim_is_number(b) || a == DIM_UNKNOWN ? b : a;
    return STATUS_OK;
}

const char *op_show_dim(const struct op_call *c, dim d) {
    if (dim_is_number(d))
        return str_format(c->arena, "%" PRId64, d).p;
    return c->pool ? str_copy(c->arena, dim_format(c->pool, c->arena, d)).p : "?";
}

const char *op_show(const struct op_call *c, const struct op_value *v) {
    if (v->rank < 0)
        return str_format(c->arena, "%s of unknown rank", dtype_name(v->dtype)).p;
    str s = str_format(c->arena, "%s[", dtype_name(v->dtype));
    for (int i = 0; i < v->rank; i++)
        s = str_format(c->arena, "%.*s%s%s", STR_ARG(s), i ? "," : "", op_show_dim(c, v->dims[i]));
    return str_format(c->arena, "%.*s]", STR_ARG(s)).p;
}
