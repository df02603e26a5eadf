/* Operators that work along axes: reductions, softmax, cumulation. */
#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"

/* --- Reduce* --- */

/* The axes that are reduced, as a bit each. */
static status reduced_axes(const struct kernel_call *c, unsigned *mask, struct error *err) {
    const struct tensor *in = c->in[0], *axes = ref_in(c, 1);
    size_t n_list = 0;
    const int64_t *list = attr_ints(c->attrs, "axes", &n_list);
    int64_t n = axes ? tensor_n_elements(axes) : (int64_t)n_list;
    *mask = 0;
    for (int64_t i = 0; i < n; i++) {
        int a;
        TRY(ref_axis(axes ? ref_get_int(axes, i) : list[i], in->rank, &a, err));
        *mask |= 1u << a;
    }
    if (n == 0 && attr_int(c->attrs, "noop_with_empty_axes", 0) == 0)
        *mask = (1u << in->rank) - 1;
    return STATUS_OK;
}

/* Two walks over the input: the dims that stay and those that go. */
struct reduction {
    struct ref_walk kept, gone; /* operand 0: the input */
    int64_t n_gone;
};

static struct reduction reduction_of(const struct tensor *in, unsigned mask) {
    struct reduction r = {.kept = {.n_operands = 1}, .gone = {.n_operands = 1}, .n_gone = 1};
    int64_t strides[TENSOR_RANK_MAX];
    ref_strides(in, strides);
    for (int d = 0; d < in->rank; d++) {
        struct ref_walk *w = mask >> d & 1 ? &r.gone : &r.kept;
        w->strides[0][w->rank] = strides[d];
        w->dims[w->rank++] = in->dims[d];
        w->is_done |= in->dims[d] == 0;
        if (mask >> d & 1)
            r.n_gone *= in->dims[d];
    }
    ref_walk_merge(&r.kept);
    ref_walk_merge(&r.gone);
    return r;
}

static double start_f64(op_id op) {
    return op == OP_ReduceMax    ? -INFINITY
           : op == OP_ReduceMin  ? INFINITY
           : op == OP_ReduceProd ? 1
                                 : 0;
}

static double step_f64(op_id op, double sum, const double *v, int64_t n, double max) {
    switch (op) {
#define EACH(value)                                                                                \
    for (int64_t i = 0; i < n; i++)                                                                \
        sum = value;                                                                               \
    break;
    case OP_ReduceL1:
        EACH(sum + fabs(v[i]))
    case OP_ReduceL2:
    case OP_ReduceSumSquare:
        EACH(sum + v[i] * v[i])
    case OP_ReduceLogSumExp:
        EACH(sum + exp(v[i] - max))
    case OP_ReduceMax:
        EACH(v[i] > sum || v[i] != v[i] ? v[i] : sum)
    case OP_ReduceMin:
        EACH(v[i] < sum || v[i] != v[i] ? v[i] : sum)
    case OP_ReduceProd:
        EACH(sum * v[i])
    default:
        EACH(sum + v[i])
#undef EACH
    }
    return sum;
}

static double finish_f64(op_id op, double sum, int64_t n, double max) {
    switch (op) {
    case OP_ReduceL2:
        return sqrt(sum);
    case OP_ReduceLogSum:
        return log(sum);
    case OP_ReduceLogSumExp:
        return log(sum) + max;
    case OP_ReduceMean:
        return sum / (double)n;
    default:
        return sum;
    }
}

/* All elements of `gone` starting at `base`, reduced by op. */
static double pass_f64(op_id op, const struct tensor *in, struct ref_walk gone, int64_t base,
                       double max) {
    union ref_chunk chunk;
    double sum = start_f64(op);
    int64_t n = gone.dims[gone.rank - 1], stride = gone.strides[0][gone.rank - 1];
    for (; !gone.is_done; ref_walk_next_row(&gone))
        for (int64_t i = 0; i < n; i += REF_CHUNK) {
            int64_t k = n - i < REF_CHUNK ? n - i : REF_CHUNK;
            ref_load(&chunk, WIDE_F64, in, base + gone.offset[0] + i * stride, stride, k);
            sum = step_f64(op, sum, chunk.f64, k, max);
        }
    return sum;
}

static int64_t integer_of(op_id op, int64_t sum, int64_t v, bool is_unsigned) {
    bool is_less = is_unsigned ? (uint64_t)v < (uint64_t)sum : v < sum;
    switch (op) {
    case OP_ReduceL1:
        return (int64_t)((uint64_t)sum + (v < 0 && !is_unsigned ? 0 - (uint64_t)v : (uint64_t)v));
    case OP_ReduceSumSquare:
        return (int64_t)((uint64_t)sum + (uint64_t)v * (uint64_t)v);
    case OP_ReduceProd:
        return (int64_t)((uint64_t)sum * (uint64_t)v);
    case OP_ReduceMax:
        return is_less ? sum : v;
    case OP_ReduceMin:
        return is_less ? v : sum;
    default:
        return (int64_t)((uint64_t)sum + (uint64_t)v);
    }
}

/* The identity of max or min among what the dtype can hold; booleans are 0 and 1. */
static int64_t start_i64(op_id op, dtype t) {
    static const int64_t low[DTYPE_COUNT] = {[DTYPE_I8] = INT8_MIN,
                                             [DTYPE_I16] = INT16_MIN,
                                             [DTYPE_I32] = INT32_MIN,
                                             [DTYPE_I64] = INT64_MIN};
    static const int64_t high[DTYPE_COUNT] = {
        [DTYPE_U8] = UINT8_MAX,  [DTYPE_I8] = INT8_MAX,    [DTYPE_U16] = UINT16_MAX,
        [DTYPE_I16] = INT16_MAX, [DTYPE_U32] = UINT32_MAX, [DTYPE_I32] = INT32_MAX,
        [DTYPE_I64] = INT64_MAX, [DTYPE_U64] = -1,         [DTYPE_BOOL] = 1};
    return op == OP_ReduceMax ? low[t] : op == OP_ReduceMin ? high[t] : op == OP_ReduceProd ? 1 : 0;
}

static int64_t pass_i64(op_id op, const struct tensor *in, struct ref_walk gone, int64_t base) {
    int64_t sum = start_i64(op, in->dtype);
    int64_t n = gone.dims[gone.rank - 1], stride = gone.strides[0][gone.rank - 1];
    for (; !gone.is_done; ref_walk_next_row(&gone))
        for (int64_t i = 0; i < n; i++)
            sum = integer_of(op, sum, ref_get_int(in, base + gone.offset[0] + i * stride),
                             in->dtype == DTYPE_U64);
    return sum;
}

static status reduce(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    bool is_float = dtype_is_float(in->dtype);
    unsigned mask;
    int64_t at = 0, n_out = tensor_n_elements(out);
    (void)t;
    TRY(reduced_axes(c, &mask, err));
    struct reduction r = reduction_of(in, mask);
    struct ref_walk w = r.kept;
    int64_t n_kept = dims_product(w.dims, (size_t)w.rank);
    int64_t n = w.dims[w.rank - 1], stride = w.strides[0][w.rank - 1];
    if (n_kept != n_out)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "output has %" PRId64 " elements, wanted %" PRId64, n_out, n_kept);
    for (; !w.is_done; ref_walk_next_row(&w))
        for (int64_t i = 0; i < n; i++, at++) {
            int64_t base = w.offset[0] + i * stride;
            double max = 0;
            if (c->op == OP_ReduceLogSumExp) {
                max = pass_f64(OP_ReduceMax, in, r.gone, base, 0);
                max = isfinite(max) ? max : 0;
            }
            bool is_exact = !is_float && c->op != OP_ReduceL2 && c->op != OP_ReduceMean &&
                            c->op != OP_ReduceLogSum && c->op != OP_ReduceLogSumExp;
            if (is_exact)
                ref_set_int(out, at, pass_i64(c->op, in, r.gone, base));
            else
                ref_set(out, at,
                        finish_f64(c->op, pass_f64(c->op, in, r.gone, base, max), r.n_gone, max));
        }
    return STATUS_OK;
}

static bool accepts_reduce(const struct kernel_call *c) {
    bool has_bool = c->op == OP_ReduceMax || c->op == OP_ReduceMin;
    return ref_accepts_number(c) || (has_bool && ref_accepts_bool(c));
}

REF(ReduceL1, accepts_reduce, reduce)
REF(ReduceL2, accepts_reduce, reduce)
REF(ReduceLogSum, accepts_reduce, reduce)
REF(ReduceLogSumExp, accepts_reduce, reduce)
REF(ReduceMax, accepts_reduce, reduce)
REF(ReduceMean, accepts_reduce, reduce)
REF(ReduceMin, accepts_reduce, reduce)
REF(ReduceProd, accepts_reduce, reduce)
REF(ReduceSum, accepts_reduce, reduce)
REF(ReduceSumSquare, accepts_reduce, reduce)

/* --- ArgMax, ArgMin --- */

static status arg(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    bool takes_last = attr_int(c->attrs, "select_last_index", 0) != 0;
    double sign = c->op == OP_ArgMax ? 1 : -1;
    int axis;
    (void)t;
    TRY(ref_axis(attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    struct ref_split s = ref_split_at(in, axis);
    if (s.before * s.after != tensor_n_elements(out) || s.n < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output does not fit");
    for (int64_t b = 0; b < s.before; b++)
        for (int64_t a = 0; a < s.after; a++) {
            int64_t best = 0, base = b * s.n * s.after + a;
            double most = sign * ref_get(in, base);
            for (int64_t i = 1; i < s.n; i++) {
                double v = sign * ref_get(in, base + i * s.after);
                if (v > most || (takes_last && v == most)) {
                    most = v;
                    best = i;
                }
            }
            ref_set_int(out, b * s.after + a, best);
        }
    return STATUS_OK;
}

REF(ArgMax, ref_accepts_number, arg)
REF(ArgMin, ref_accepts_number, arg)

/* --- CumSum, CumProd --- */

static status cumulate(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    bool is_exclusive = attr_int(c->attrs, "exclusive", 0) != 0;
    bool is_reverse = attr_int(c->attrs, "reverse", 0) != 0, is_product = c->op == OP_CumProd;
    bool is_float = dtype_is_float(in->dtype);
    int axis;
    (void)t;
    if (tensor_n_elements(c->in[1]) != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "axis is no scalar");
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    TRY(ref_axis(ref_get_int(c->in[1], 0), in->rank, &axis, err));
    struct ref_split s = ref_split_at(in, axis);
    for (int64_t b = 0; b < s.before; b++)
        for (int64_t a = 0; a < s.after; a++) {
            double sum = is_product;
            uint64_t whole = is_product;
            for (int64_t i = 0; i < s.n; i++) {
                int64_t at = (b * s.n + (is_reverse ? s.n - 1 - i : i)) * s.after + a;
                double old = sum, v = is_float ? ref_get(in, at) : 0;
                uint64_t old_whole = whole, w = is_float ? 0 : (uint64_t)ref_get_int(in, at);
                sum = is_product ? sum * v : sum + v;
                whole = is_product ? whole * w : whole + w;
                if (is_float)
                    ref_set(out, at, is_exclusive ? old : sum);
                else
                    ref_set_int(out, at, (int64_t)(is_exclusive ? old_whole : whole));
            }
        }
    return STATUS_OK;
}

REF(CumProd, ref_accepts_number, cumulate)
REF(CumSum, ref_accepts_number, cumulate)

/* --- Softmax, LogSoftmax, Hardmax --- */

static void softmax_row(op_id op, const struct tensor *in, struct tensor *out, int64_t base,
                        int64_t n, int64_t stride) {
    double max = -INFINITY, sum = 0;
    int64_t best = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = ref_get(in, base + i * stride);
        best = v > max ? i : best;
        max = v > max ? v : max;
    }
    for (int64_t i = 0; i < n && op != OP_Hardmax; i++)
        sum += exp(ref_get(in, base + i * stride) - max);
    for (int64_t i = 0; i < n; i++) {
        double v = ref_get(in, base + i * stride) - max;
        ref_set(out, base + i * stride,
                op == OP_Hardmax      ? (double)(i == best)
                : op == OP_LogSoftmax ? v - log(sum)
                                      : exp(v) / sum);
    }
}

/* Before opset 13 all dims from the axis on are one. */
static status softmax(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    bool is_flat = c->opset > 0 && c->opset < 13;
    int64_t attribute = attr_int(c->attrs, "axis", is_flat ? 1 : -1);
    struct ref_split s = {.before = 1, .n = 1, .after = 1};
    (void)t;
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    if (in->rank > 0 && !(is_flat && attribute == in->rank)) {
        int axis;
        TRY(ref_axis(attribute, in->rank, &axis, err));
        s = ref_split_at(in, axis);
    } else if (in->rank > 0) {
        s.before = tensor_n_elements(in);
    }
    if (is_flat) {
        s.n *= s.after;
        s.after = 1;
    }
    for (int64_t b = 0; b < s.before; b++)
        for (int64_t a = 0; a < s.after; a++)
            softmax_row(c->op, in, out, b * s.n * s.after + a, s.n, s.after);
    return STATUS_OK;
}

REF(Hardmax, ref_accepts_float, softmax)
REF(LogSoftmax, ref_accepts_float, softmax)
REF(Softmax, ref_accepts_float, softmax)
