/* Shapes of the operators that passes make; fused.h says what they mean. */
#include "ops/fused.h"

#include <inttypes.h>

#include "ops/infer_internal.h"
#include "ops/resize.h"
#include "ops/window.h"

static dtype dtype_of(const struct op_call *c, const char *name) {
    int64_t t = attr_int(c->attrs, name, DTYPE_F32);
    return t > DTYPE_NONE && t < DTYPE_COUNT ? (dtype)t : DTYPE_F32;
}

/* Operand `input` is a vector of n, when it is there. */
static status want_vector(const struct op_call *c, size_t input, dim n, struct error *err) {
    const struct op_value *v = op_in(c, input);
    dim same;
    TRY(op_want_rank(c, input, 1, err));
    return v && v->rank == 1 ? op_same(c, "channels and bias or scale", n, v->dims[0], &same, err)
                             : STATUS_OK;
}

/* Operand `input` has the dims of output 0, when it is there. */
static status want_like_output(const struct op_call *c, size_t input, const struct op_value *out,
                               struct error *err) {
    const struct op_value *v = op_in(c, input);
    if (!v || v->rank < 0)
        return STATUS_OK;
    TRY(op_want_rank(c, input, out->rank, err));
    for (int i = 0; i < out->rank; i++) {
        dim same;
        TRY(op_same(c, "dims of residual and output", v->dims[i], out->dims[i], &same, err));
    }
    return STATUS_OK;
}

static status check_tail(const struct op_call *c, struct error *err) {
    int64_t a = attr_int(c->attrs, "activation", ACTIVATION_NONE);
    if (a < 0 || a >= ACTIVATION_COUNT)
        return error_set(err, STATUS_INVALID_ARGUMENT, "activation is %" PRId64, a);
    return STATUS_OK;
}

status infer_linear(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0], *w = c->in[1];
    dim k;
    TRY(check_tail(c, err));
    TRY(op_want_rank(c, 1, 2, err));
    if (x->rank < 0 || w->rank < 0)
        return op_unknown(c, dtype_of(c, "dtype"));
    if (x->rank == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input 0 is a scalar");
    TRY(op_same(c, "inner dims", x->dims[x->rank - 1], w->dims[0], &k, err));
    struct op_value *out = op_out_like(c, 0, dtype_of(c, "dtype"), x);
    out->dims[x->rank - 1] = w->dims[1];
    TRY(want_vector(c, 2, w->dims[1], err));
    return want_like_output(c, 3, out, err);
}

/* The window of weights whose sizes are dims 1 and 2. */
static status read_window(const struct op_call *c, struct window *w, struct error *err) {
    const struct op_value *weights = c->in[1];
    TRY(check_tail(c, err));
    if (c->in[0]->rank != 4 || weights->rank != 4 || !dim_is_number(weights->dims[1]) ||
        !dim_is_number(weights->dims[2]))
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is %s, weights are %s",
                         op_show(c, c->in[0]), op_show(c, weights));
    return window_read(w, c->attrs, 2, &weights->dims[1], err);
}

status infer_conv2d(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0], *w = c->in[1];
    int64_t group = attr_int(c->attrs, "group", 1);
    struct window window;
    dim channels;
    TRY(read_window(c, &window, err));
    if (group < 1 || group > INT32_MAX || (dim_is_number(w->dims[0]) && w->dims[0] % group != 0))
        return error_set(err, STATUS_INVALID_ARGUMENT, "group is %" PRId64, group);
    TRY(op_same(c, "channels of input and weights", x->dims[3], dim_mul(c->pool, w->dims[3], group),
                &channels, err));
    struct op_value *out = op_out(c, 0, dtype_of(c, "dtype"), 4);
    out->dims[0] = x->dims[0];
    for (int i = 0; i < 2; i++)
        out->dims[i + 1] = window_count(c->pool, &window, i, x->dims[i + 1]);
    out->dims[3] = w->dims[0];
    TRY(want_vector(c, 2, w->dims[0], err));
    return want_like_output(c, 3, out, err);
}

status infer_conv_transpose2d(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0], *w = c->in[1];
    size_t n;
    const int64_t *extra = attr_ints(c->attrs, "output_padding", &n);
    struct window window;
    dim channels;
    TRY(read_window(c, &window, err));
    if (attr_int(c->attrs, "group", 1) != 1 || (extra && n != 2))
        return error_set(err, STATUS_INVALID_ARGUMENT, "group is not 1, or output_padding not 2");
    TRY(op_same(c, "channels of input and weights", x->dims[3], w->dims[0], &channels, err));
    struct op_value *out = op_out(c, 0, dtype_of(c, "dtype"), 4);
    out->dims[0] = x->dims[0];
    for (int i = 0; i < 2; i++) {
        if (extra && (extra[i] < 0 || extra[i] > INT32_MAX))
            return error_set(err, STATUS_INVALID_ARGUMENT, "output_padding is %" PRId64, extra[i]);
        out->dims[i + 1] =
            window_transposed(c->pool, &window, i, x->dims[i + 1], extra ? extra[i] : 0);
    }
    out->dims[3] = w->dims[3];
    TRY(want_vector(c, 2, w->dims[3], err));
    return want_like_output(c, 3, out, err);
}

status infer_pool2d(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    str kind = attr_string(c->attrs, "kind", "");
    struct window w;
    TRY(op_want_rank(c, 0, 4, err));
    if (!str_eq_c(kind, "max") && !str_eq_c(kind, "average"))
        return error_set(err, STATUS_INVALID_ARGUMENT, "kind is \"%.*s\"", STR_ARG(kind));
    if (x->rank < 0)
        return op_unknown(c, dtype_of(c, "dtype"));
    struct op_value *out = op_out_like(c, 0, dtype_of(c, "dtype"), x);
    bool is_global = attr_int(c->attrs, "global", 0) != 0;
    if (!is_global)
        TRY(window_read(&w, c->attrs, 2, NULL, err));
    for (int i = 0; i < 2; i++)
        out->dims[i + 1] = is_global ? 1 : window_count(c->pool, &w, i, x->dims[i + 1]);
    return STATUS_OK;
}

status infer_resize2d(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    resize_mode mode;
    resize_coordinate coordinate;
    resize_nearest nearest;
    const dim *sizes;
    size_t n;
    const float *scales = attr_floats(c->attrs, "scales", &n);
    TRY(op_want_rank(c, 0, 4, err));
    if (!resize_mode_parse(&mode, attr_string(c->attrs, "mode", "nearest")) ||
        mode == RESIZE_CUBIC ||
        !resize_coordinate_parse(&coordinate, attr_string(c->attrs, "coordinate", "half_pixel")) ||
        coordinate == RESIZE_TF_CROP_AND_RESIZE ||
        !resize_nearest_parse(&nearest,
                              attr_string(c->attrs, "nearest_mode", "round_prefer_floor")))
        return error_set(err, STATUS_INVALID_ARGUMENT, "mode is not known");
    if (x->rank < 0)
        return op_unknown(c, dtype_of(c, "dtype"));
    struct op_value *out = op_out_like(c, 0, dtype_of(c, "dtype"), x);
    out->dims[1] = out->dims[2] = DIM_UNKNOWN;
    if (!op_in(c, 1)) {
        if (!scales || n != 2)
            return error_set(err, STATUS_INVALID_ARGUMENT, "neither sizes nor two scales");
        for (int i = 0; i < 2; i++)
            out->dims[i + 1] = resize_scaled(c->pool, x->dims[i + 1], (double)scales[i]);
        return STATUS_OK;
    }
    if (op_ints(c, 1, &sizes, &n)) {
        if (n != 2 || sizes[0] < 0 || sizes[1] < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "sizes are not two numbers");
        out->dims[1] = sizes[0];
        out->dims[2] = sizes[1];
    }
    return STATUS_OK;
}

/* Columns from .. from + n lie within the rows of operand `input`. */
static status want_columns(const struct op_call *c, size_t input, int64_t from, int64_t n,
                           struct error *err) {
    const struct op_value *v = c->in[input];
    TRY(op_want_rank(c, input, 3, err));
    if (from < 0 || from > INT32_MAX ||
        (v->rank == 3 && dim_is_number(v->dims[2]) && v->dims[2] < from + n))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "columns %" PRId64 " to %" PRId64 " of input %zu %s", from, from + n,
                         input, op_show(c, v));
    return STATUS_OK;
}

status infer_attention(const struct op_call *c, struct error *err) {
    const struct op_value *q = c->in[0], *k = c->in[1], *v = c->in[2];
    int64_t heads = attr_int(c->attrs, "heads", 0), size = attr_int(c->attrs, "head_size", 0);
    int64_t size_v = attr_int(c->attrs, "head_size_v", size);
    dim same;
    if (heads < 1 || heads > 65536 || size < 1 || size > 65536 || size_v < 1 || size_v > 65536)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%" PRId64 " heads of %" PRId64 " and %" PRId64, heads, size, size_v);
    TRY(want_columns(c, 0, attr_int(c->attrs, "q_offset", 0), heads * size, err));
    TRY(want_columns(c, 1, attr_int(c->attrs, "k_offset", 0), heads * size, err));
    TRY(want_columns(c, 2, attr_int(c->attrs, "v_offset", 0), heads * size_v, err));
    if (op_in(c, 3) && op_in(c, 3)->rank > 4)
        return error_set(err, STATUS_INVALID_ARGUMENT, "mask is %s", op_show(c, op_in(c, 3)));
    struct op_value *out = op_out(c, 0, dtype_of(c, "dtype"), 3);
    if (q->rank < 0 || k->rank < 0 || v->rank < 0)
        return STATUS_OK;
    TRY(op_same(c, "batches of q and k", q->dims[0], k->dims[0], &out->dims[0], err));
    TRY(op_same(c, "batches of q and v", q->dims[0], v->dims[0], &out->dims[0], err));
    TRY(op_same(c, "lengths of k and v", k->dims[1], v->dims[1], &same, err));
    out->dims[0] = q->dims[0];
    out->dims[1] = q->dims[1];
    out->dims[2] = heads * size_v;
    return STATUS_OK;
}

status infer_norm(const struct op_call *c, struct error *err) {
    const struct op_value *x = c->in[0];
    str kind = attr_string(c->attrs, "kind", "");
    if (!str_eq_c(kind, "layer") && !str_eq_c(kind, "rms") && !str_eq_c(kind, "l2"))
        return error_set(err, STATUS_INVALID_ARGUMENT, "kind is \"%.*s\"", STR_ARG(kind));
    if (x->rank == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is a scalar");
    struct op_value *out = op_out_like(c, 0, dtype_of(c, "dtype"), x);
    op_out_like(c, 1, dtype_of(c, "dtype2"), x);
    op_out_like(c, 2, dtype_of(c, "dtype3"), x);
    if (x->rank < 0)
        return STATUS_OK;
    TRY(want_vector(c, 1, x->dims[x->rank - 1], err));
    TRY(want_vector(c, 2, x->dims[x->rank - 1], err));
    return want_like_output(c, 3, out, err);
}

static bool is_register(int64_t r) {
    return r >= 0 && r < EW_REGISTERS_MAX;
}

static bool is_constant(int64_t i, size_t n) {
    return i >= 0 && (size_t)i < n;
}

static bool instruction_is_valid(const int64_t *code, size_t n_in, size_t n_consts) {
    int64_t op = code[0], dst = code[1], a = code[2], b = code[3], c = code[4];
    if (op < 0 || op >= EW_COUNT || !is_register(dst) || dst < (int64_t)n_in)
        return false;
    if (op == EW_CONST)
        return is_constant(a, n_consts);
    if (op == EW_ACT)
        return is_register(a) && b >= 0 && b < ACTIVATION_COUNT && is_constant(c, n_consts) &&
               is_constant(c + 1, n_consts);
    bool has_c = op == EW_FMA, has_b = op <= EW_POW || has_c;
    return is_register(a) && (!has_b || is_register(b)) && (!has_c || is_register(c));
}

status elementwise_check(const struct attr_list *attrs, size_t n_in, size_t n_out,
                         struct error *err) {
    size_t n_code, n_consts, n_results, n_dtypes;
    const int64_t *code = attr_ints(attrs, "code", &n_code);
    (void)attr_floats(attrs, "consts", &n_consts);
    const int64_t *results = attr_ints(attrs, "results", &n_results);
    const int64_t *dtypes = attr_ints(attrs, "dtypes", &n_dtypes);
    if (n_in > EW_INPUTS_MAX || n_out > EW_OUTPUTS_MAX || n_code % 5 != 0 ||
        n_code / 5 > EW_CODE_MAX || n_results != n_out || n_dtypes != n_out)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%zu inputs, %zu outputs, %zu results, %zu dtypes, code of %zu", n_in,
                         n_out, n_results, n_dtypes, n_code);
    for (size_t i = 0; i < n_code; i += 5)
        if (!instruction_is_valid(code + i, n_in, n_consts))
            return error_set(err, STATUS_INVALID_ARGUMENT, "instruction %zu is not valid", i / 5);
    for (size_t i = 0; i < n_out; i++)
        if (!is_register(results[i]) || dtypes[i] <= DTYPE_NONE || dtypes[i] >= DTYPE_COUNT ||
            dtypes[i] == DTYPE_BYTES)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "output %zu is register %" PRId64 " as dtype %" PRId64, i, results[i],
                             dtypes[i]);
    return STATUS_OK;
}

status infer_elementwise(const struct op_call *c, struct error *err) {
    int rank;
    dim dims[TENSOR_RANK_MAX];
    size_t n;
    TRY(elementwise_check(c->attrs, c->n_in, c->n_out, err));
    TRY(op_broadcast(c, 0, &rank, dims, err));
    for (size_t i = 0; i < c->n_out; i++) {
        struct op_value *out = op_out(c, i, (dtype)attr_ints(c->attrs, "dtypes", &n)[i], rank);
        for (int d = 0; d < rank; d++)
            out->dims[d] = dims[d];
    }
    return STATUS_OK;
}
