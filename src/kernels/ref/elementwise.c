/* Operators with one input, element by element. */
#include <math.h>

#include "kernels/ref/ref_internal.h"

/* Numbers that an operator's attributes give. */
struct params {
    double a, b;
};

static struct params params_of(const struct kernel_call *c) {
    const struct attr_list *l = c->attrs;
    switch (c->op) {
    case OP_Celu:
    case OP_Elu:
    case OP_Swish:
    case OP_ThresholdedRelu:
        return (struct params){.a = attr_float(l, "alpha", 1.0f)};
    case OP_HardSigmoid:
        return (struct params){.a = attr_float(l, "alpha", 0.2f), .b = attr_float(l, "beta", 0.5f)};
    case OP_LeakyRelu:
        return (struct params){.a = attr_float(l, "alpha", 0.01f)};
    case OP_Selu:
        return (struct params){.a = attr_float(l, "alpha", 1.67326319217681884765625f),
                               .b = attr_float(l, "gamma", 1.05070102214813232421875f)};
    case OP_Shrink:
        return (struct params){.a = attr_float(l, "lambd", 0.5f), .b = attr_float(l, "bias", 0.0f)};
    case OP_Gelu:
        return (struct params){.a = str_eq_c(attr_string(l, "approximate", "none"), "tanh")};
    default:
        return (struct params){0};
    }
}

static double gelu(double x, bool is_tanh) {
    if (is_tanh)
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    return 0.5 * x * (1 + erf(x * M_SQRT1_2));
}

static double softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double clamp01(double x) {
    return x > 1 ? 1 : x < 0 ? 0 : x; /* NaN stays */
}

static double shrink(double x, double lambd, double bias) {
    return x < -lambd ? x + bias : x > lambd ? x - bias : 0;
}

/* One row an operator that a loop over floats does: F(op, value of x with parameters a and b). */
#define FLOAT_OPS(F)                                                                               \
    F(Abs, fabs(x))                                                                                \
    F(Acos, acos(x))                                                                               \
    F(Acosh, acosh(x))                                                                             \
    F(Asin, asin(x))                                                                               \
    F(Asinh, asinh(x))                                                                             \
    F(Atan, atan(x))                                                                               \
    F(Atanh, atanh(x))                                                                             \
    F(Ceil, ceil(x))                                                                               \
    F(Celu, x > 0 ? x : p.a * expm1(x / p.a))                                                      \
    F(Cos, cos(x))                                                                                 \
    F(Cosh, cosh(x))                                                                               \
    F(Elu, x < 0 ? p.a * expm1(x) : x)                                                             \
    F(Erf, erf(x))                                                                                 \
    F(Exp, exp(x))                                                                                 \
    F(Floor, floor(x))                                                                             \
    F(Gelu, gelu(x, p.a != 0))                                                                     \
    F(HardSigmoid, clamp01(p.a *x + p.b))                                                          \
    F(HardSwish, x *clamp01(x / 6 + 0.5))                                                          \
    F(LeakyRelu, x < 0 ? p.a * x : x)                                                              \
    F(Log, log(x))                                                                                 \
    F(Mish, x *tanh(softplus(x)))                                                                  \
    F(Neg, -x)                                                                                     \
    F(Reciprocal, 1 / x)                                                                           \
    F(Relu, x < 0 ? 0 : x)                                                                         \
    F(Round, nearbyint(x))                                                                         \
    F(Selu, x > 0 ? p.b * x : p.b * p.a * expm1(x))                                                \
    F(Shrink, shrink(x, p.a, p.b))                                                                 \
    F(Sigmoid, 1 / (1 + exp(-x)))                                                                  \
    F(Sign, (x > 0) - (x < 0))                                                                     \
    F(Sin, sin(x))                                                                                 \
    F(Sinh, sinh(x))                                                                               \
    F(Softplus, softplus(x))                                                                       \
    F(Softsign, x / (1 + fabs(x)))                                                                 \
    F(Sqrt, sqrt(x))                                                                               \
    F(Swish, x / (1 + exp(-p.a * x)))                                                              \
    F(Tan, tan(x))                                                                                 \
    F(Tanh, tanh(x))                                                                               \
    F(ThresholdedRelu, x > p.a ? x : 0)

static void apply_f64(op_id op, struct params p, double *v, int64_t n) {
    switch (op) {
#define F(name, value)                                                                             \
    case OP_##name:                                                                                \
        for (int64_t i = 0; i < n; i++) {                                                          \
            double x = v[i];                                                                       \
            v[i] = value;                                                                          \
        }                                                                                          \
        break;
        FLOAT_OPS(F)
#undef F
    default:
        break;
    }
}

static void apply_i64(op_id op, int64_t *v, int64_t n, bool is_unsigned) {
    for (int64_t i = 0; i < n; i++) {
        int64_t x = v[i];
        bool is_negative = x < 0 && !is_unsigned;
        switch (op) {
        case OP_Abs:
            v[i] = is_negative ? (int64_t)(0 - (uint64_t)x) : x;
            break;
        case OP_BitwiseNot:
            v[i] = ~x;
            break;
        case OP_Neg:
            v[i] = (int64_t)(0 - (uint64_t)x);
            break;
        case OP_Not:
            v[i] = !x;
            break;
        case OP_Relu:
            v[i] = is_negative ? 0 : x;
            break;
        case OP_Sign:
            v[i] = is_negative ? -1 : x != 0;
            break;
        default:
            break;
        }
    }
}

static bool accepts_integer_too(const struct kernel_call *c) {
    bool has_integer = c->op == OP_Abs || c->op == OP_Neg || c->op == OP_Relu || c->op == OP_Sign ||
                       c->op == OP_Shrink;
    return has_integer ? ref_accepts_number(c) : ref_accepts_float(c);
}

static status unary(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    struct params p = params_of(c);
    bool is_float = dtype_is_float(in->dtype) || c->op == OP_Shrink; /* its bias is a float */
    wide w = is_float ? WIDE_F64 : ref_wide(in->dtype);
    int64_t i, n;
    union ref_chunk chunk;
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    for (kernel_share(t, tensor_n_elements(out), REF_CHUNK, &i, &n); i < n; i += REF_CHUNK) {
        int64_t k = n - i < REF_CHUNK ? n - i : REF_CHUNK;
        ref_load(&chunk, w, in, i, 1, k);
        if (is_float)
            apply_f64(c->op, p, chunk.f64, k);
        else
            apply_i64(c->op, chunk.i64, k, w == WIDE_U64);
        ref_store(out, i, 1, k, w, &chunk);
    }
    return STATUS_OK;
}

#define F(name, value) REF_TEAM(name, accepts_integer_too, unary)
FLOAT_OPS(F)
#undef F
REF_TEAM(BitwiseNot, ref_accepts_integer, unary)
REF_TEAM(Not, ref_accepts_bool, unary)

static status predicate(const struct kernel_call *c, const struct kernel_team *t,
                        struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    bool wants_negative = attr_int(c->attrs, "detect_negative", 1) != 0;
    bool wants_positive = attr_int(c->attrs, "detect_positive", 1) != 0;
    int64_t i, n;
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    for (kernel_share(t, tensor_n_elements(out), REF_CHUNK, &i, &n); i < n; i++) {
        double x = ref_get(in, i);
        bool is_inf = isinf(x) && (x < 0 ? wants_negative : wants_positive);
        ((uint8_t *)out->data)[i] = c->op == OP_IsNaN ? isnan(x) : is_inf;
    }
    return STATUS_OK;
}

REF_TEAM(IsInf, ref_accepts_float, predicate)
REF_TEAM(IsNaN, ref_accepts_float, predicate)
