/* compare.c - comparisons of F32, I32 and I64 with broadcasting, and Cast of integers and BOOL to
 * F32. */
#include "kernels/kernel.h"

/* The common shape of two operands, neighbours merged where both allow it. */
struct compare {
    int rank;                         /* >= 1 */
    int64_t dims[TENSOR_RANK_MAX];    /* of the output */
    int64_t step[2][TENSOR_RANK_MAX]; /* of each operand along them; 0: broadcast */
};

static bool compare_accepts(const struct kernel_call *c) {
    dtype t = c->in[0]->dtype;
    return c->in[1]->dtype == t && (t == DTYPE_F32 || t == DTYPE_I32 || t == DTYPE_I64);
}

static struct compare compare_of(const struct kernel_call *c) {
    const struct tensor *y = c->out[0];
    struct compare p = {.rank = 0};
    int64_t step[2][TENSOR_RANK_MAX] = {{0}};
    for (int i = 0; i < 2; i++) {
        const struct tensor *x = c->in[i];
        int64_t s = 1;
        for (int d = x->rank - 1; d >= 0; d--) {
            step[i][d + y->rank - x->rank] = x->dims[d] == 1 ? 0 : s;
            s *= x->dims[d];
        }
    }
    for (int d = 0; d < y->rank; d++) {
        int64_t n = y->dims[d];
        int last = p.rank - 1;
        if (n == 1)
            continue;
        if (last < 0 || p.step[0][last] != step[0][d] * n || p.step[1][last] != step[1][d] * n) {
            last = p.rank++;
            p.dims[last] = 1;
        }
        p.dims[last] *= n;
        p.step[0][last] = step[0][d];
        p.step[1][last] = step[1][d];
    }
    if (p.rank == 0)
        p.dims[p.rank++] = 1;
    return p;
}

/* One row; steps of 0 and 1 in loops of their own, which the compiler vectorises. */
#define COMPARE_ROW(type, name, operator)                                                          \
    static void compare_##name##_##type(const type *a, int64_t sa, const type *b, int64_t sb,      \
                                        uint8_t *to, int64_t n) {                                  \
        if (sa == 1 && sb == 0)                                                                    \
            for (int64_t i = 0; i < n; i++)                                                        \
                to[i] = a[i] operator* b;                                                          \
        else if (sa == 0 && sb == 1)                                                               \
            for (int64_t i = 0; i < n; i++)                                                        \
                to[i] = *a operator b[i];                                                          \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++)                                                        \
                to[i] = a[i * sa] operator b[i * sb];                                              \
    }
#define COMPARE_RUN(name, operator)                                                                \
    COMPARE_ROW(float, name, operator)                                                             \
    COMPARE_ROW(int32_t, name, operator)                                                           \
    COMPARE_ROW(int64_t, name, operator)                                                           \
    static void row_##name(dtype t, const void *a, int64_t at_a, int64_t sa, const void *b,        \
                           int64_t at_b, int64_t sb, uint8_t *to, int64_t n) {                     \
        if (t == DTYPE_F32)                                                                        \
            compare_##name##_float((const float *)a + at_a, sa, (const float *)b + at_b, sb, to,   \
                                   n);                                                             \
        else if (t == DTYPE_I32)                                                                   \
            compare_##name##_int32_t((const int32_t *)a + at_a, sa, (const int32_t *)b + at_b, sb, \
                                     to, n);                                                       \
        else                                                                                       \
            compare_##name##_int64_t((const int64_t *)a + at_a, sa, (const int64_t *)b + at_b, sb, \
                                     to, n);                                                       \
    }                                                                                              \
    static status run_##name(const struct kernel_call *c, const struct kernel_team *t,             \
                             struct error *err) {                                                  \
        (void)err;                                                                                 \
        return compare_run(c, t, row_##name);                                                      \
    }

typedef void (*compare_row)(dtype t, const void *a, int64_t at_a, int64_t sa, const void *b,
                            int64_t at_b, int64_t sb, uint8_t *to, int64_t n);

static status compare_run(const struct kernel_call *c, const struct kernel_team *t,
                          compare_row row) {
    struct compare p = compare_of(c);
    int last = p.rank - 1;
    int64_t n = p.dims[last], from, to;
    uint8_t *y = c->out[0]->data;
    kernel_share(t, n ? tensor_n_elements(c->out[0]) / n : 0, 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        int64_t rest = r, a = 0, b = 0;
        for (int d = last - 1; d >= 0; d--) {
            a += rest % p.dims[d] * p.step[0][d];
            b += rest % p.dims[d] * p.step[1][d];
            rest /= p.dims[d];
        }
        row(c->in[0]->dtype, c->in[0]->data, a, p.step[0][last], c->in[1]->data, b, p.step[1][last],
            y + r * n, n);
    }
    return STATUS_OK;
}

COMPARE_RUN(equal, ==)
COMPARE_RUN(greater, >)
COMPARE_RUN(less, <)
COMPARE_RUN(greater_or_equal, >=)
COMPARE_RUN(less_or_equal, <=)

#define COMPARE_KERNEL(symbol, onnx)                                                               \
    const struct kernel generic_##symbol = {                                                       \
        .name = "generic." #symbol,                                                                \
        .isa = ISA_GENERIC,                                                                        \
        .op = onnx,                                                                                \
        .accepts = compare_accepts,                                                                \
        .run = run_##symbol,                                                                       \
    };
COMPARE_KERNEL(equal, OP_Equal)
COMPARE_KERNEL(greater, OP_Greater)
COMPARE_KERNEL(less, OP_Less)
COMPARE_KERNEL(greater_or_equal, OP_GreaterOrEqual)
COMPARE_KERNEL(less_or_equal, OP_LessOrEqual)

static bool cast_accepts(const struct kernel_call *c) {
    dtype t = c->in[0]->dtype;
    return c->out[0]->dtype == DTYPE_F32 &&
           (t == DTYPE_BOOL || t == DTYPE_U8 || t == DTYPE_I32 || t == DTYPE_I64);
}

#define CAST_LOOP(type)                                                                            \
    for (int64_t i = from; i < to; i++)                                                            \
        y[i] = (float)((const type *)x)[i];

static status cast_run(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    (void)err;
    const void *x = c->in[0]->data;
    float *y = c->out[0]->data;
    int64_t from, to;
    kernel_share(t, tensor_n_elements(c->in[0]), 64, &from, &to);
    if (c->in[0]->dtype == DTYPE_BOOL)
        for (int64_t i = from; i < to; i++)
            y[i] = ((const uint8_t *)x)[i] != 0;
    else if (c->in[0]->dtype == DTYPE_U8)
        CAST_LOOP(uint8_t)
    else if (c->in[0]->dtype == DTYPE_I32)
        CAST_LOOP(int32_t)
    else
        CAST_LOOP(int64_t)
    return STATUS_OK;
}

const struct kernel generic_cast_integer = {
    .name = "generic.cast_integer",
    .isa = ISA_GENERIC,
    .op = OP_Cast,
    .accepts = cast_accepts,
    .run = cast_run,
};
