/* Operators with several inputs that broadcast together. */
#include <math.h>

#include "kernels/ref/ref_internal.h"

#define LOOP(T, member, value)                                                                     \
    for (int64_t i = 0; i < n; i++) {                                                              \
        T x = a->member[i], y = b->member[i];                                                      \
        a->member[i] = (T)(value);                                                                 \
    }                                                                                              \
    break;

/* NaN wins, as in numpy. */
#define FLOAT_CASES(T, member)                                                                     \
    switch (op) {                                                                                  \
    case OP_Add:                                                                                   \
    case OP_Sum:                                                                                   \
    case OP_Mean:                                                                                  \
        LOOP(T, member, x + y)                                                                     \
    case OP_Sub:                                                                                   \
        LOOP(T, member, x - y)                                                                     \
    case OP_Mul:                                                                                   \
        LOOP(T, member, x *y)                                                                      \
    case OP_Div:                                                                                   \
        LOOP(T, member, x / y)                                                                     \
    case OP_Pow:                                                                                   \
        LOOP(T, member, pow((double)x, (double)y))                                                 \
    case OP_Min:                                                                                   \
        LOOP(T, member, x != x || x < y ? x : y)                                                   \
    case OP_Max:                                                                                   \
        LOOP(T, member, x != x || x > y ? x : y)                                                   \
    case OP_Mod:                                                                                   \
        LOOP(T, member, float_mod((double)x, (double)y, is_fmod))                                  \
    case OP_PRelu:                                                                                 \
        LOOP(T, member, x < 0 ? x * y : x)                                                         \
    case OP_Equal:                                                                                 \
        LOOP(T, member, x == y)                                                                    \
    case OP_Less:                                                                                  \
        LOOP(T, member, x < y)                                                                     \
    case OP_LessOrEqual:                                                                           \
        LOOP(T, member, x <= y)                                                                    \
    case OP_Greater:                                                                               \
        LOOP(T, member, x > y)                                                                     \
    case OP_GreaterOrEqual:                                                                        \
        LOOP(T, member, x >= y)                                                                    \
    default:                                                                                       \
        break;                                                                                     \
    }

/* Sums and products wrap: they are done on unsigned numbers. */
#define INT_CASES(T, member)                                                                       \
    switch (op) {                                                                                  \
    case OP_Add:                                                                                   \
    case OP_Sum:                                                                                   \
    case OP_Mean:                                                                                  \
        LOOP(T, member, (uint64_t)x + (uint64_t)y)                                                 \
    case OP_Sub:                                                                                   \
        LOOP(T, member, (uint64_t)x - (uint64_t)y)                                                 \
    case OP_Mul:                                                                                   \
        LOOP(T, member, (uint64_t)x *(uint64_t)y)                                                  \
    case OP_Min:                                                                                   \
        LOOP(T, member, x < y ? x : y)                                                             \
    case OP_Max:                                                                                   \
        LOOP(T, member, x > y ? x : y)                                                             \
    case OP_Pow:                                                                                   \
        LOOP(T, member, int_pow((uint64_t)x, (int64_t)y))                                          \
    case OP_Equal:                                                                                 \
        LOOP(T, member, x == y)                                                                    \
    case OP_Less:                                                                                  \
        LOOP(T, member, x < y)                                                                     \
    case OP_LessOrEqual:                                                                           \
        LOOP(T, member, x <= y)                                                                    \
    case OP_Greater:                                                                               \
        LOOP(T, member, x > y)                                                                     \
    case OP_GreaterOrEqual:                                                                        \
        LOOP(T, member, x >= y)                                                                    \
    case OP_And:                                                                                   \
        LOOP(T, member, x &&y)                                                                     \
    case OP_Or:                                                                                    \
        LOOP(T, member, x || y)                                                                    \
    case OP_Xor:                                                                                   \
        LOOP(T, member, !x != !y)                                                                  \
    case OP_BitwiseAnd:                                                                            \
        LOOP(T, member, x &y)                                                                      \
    case OP_BitwiseOr:                                                                             \
        LOOP(T, member, x | y)                                                                     \
    case OP_BitwiseXor:                                                                            \
        LOOP(T, member, x ^ y)                                                                     \
    default:                                                                                       \
        break;                                                                                     \
    }

struct params {
    bool is_fmod;  /* Mod: the sign of the dividend, as C's */
    bool is_right; /* BitShift */
};

static double float_mod(double x, double y, bool is_fmod) {
    double r = fmod(x, y);
    return !is_fmod && r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static uint64_t int_pow(uint64_t x, int64_t y) {
    uint64_t r = 1;
    if (y < 0) /* 1 / x^-y, truncated */
        return x == 1 ? 1 : x == UINT64_MAX ? (y & 1 ? x : 1) : 0;
    for (; y; y >>= 1, x *= x)
        r *= y & 1 ? x : 1;
    return r;
}

/* Amounts below 0 or past the width shift everything out. */
static int64_t shift_i64(int64_t x, int64_t y, bool is_right) {
    bool is_out = y < 0 || y >= 64;
    if (is_right)
        return x >> (is_out ? 63 : y);
    return is_out ? 0 : (int64_t)((uint64_t)x << y);
}

static uint64_t shift_u64(uint64_t x, uint64_t y, bool is_right) {
    return y >= 64 ? 0 : is_right ? x >> y : x << y;
}

/* Division by zero gives zero: the machine would trap. */
static int64_t int_div(int64_t x, int64_t y) {
    return y == 0 ? 0 : y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y;
}

static int64_t int_mod(int64_t x, int64_t y, bool is_fmod) {
    if (y == 0 || y == -1)
        return 0;
    int64_t r = x % y;
    return !is_fmod && r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static void apply_i64(op_id op, union ref_chunk *a, const union ref_chunk *b, int64_t n,
                      struct params p) {
    if (op == OP_Div || op == OP_Mod) {
        for (int64_t i = 0; i < n; i++)
            a->i64[i] = op == OP_Div ? int_div(a->i64[i], b->i64[i])
                                     : int_mod(a->i64[i], b->i64[i], p.is_fmod);
        return;
    }
    for (int64_t i = 0; op == OP_BitShift && i < n; i++)
        a->i64[i] = shift_i64(a->i64[i], b->i64[i], p.is_right);
    for (int64_t i = 0; op == OP_PRelu && i < n; i++)
        if (a->i64[i] < 0)
            a->u64[i] *= b->u64[i];
    INT_CASES(int64_t, i64)
}

static void apply_u64(op_id op, union ref_chunk *a, const union ref_chunk *b, int64_t n,
                      struct params p) {
    if (op == OP_Div || op == OP_Mod) {
        for (int64_t i = 0; i < n; i++) {
            uint64_t y = b->u64[i];
            a->u64[i] = y == 0 ? 0 : op == OP_Div ? a->u64[i] / y : a->u64[i] % y;
        }
        return;
    }
    for (int64_t i = 0; op == OP_BitShift && i < n; i++)
        a->u64[i] = shift_u64(a->u64[i], b->u64[i], p.is_right);
    INT_CASES(uint64_t, u64)
}

static void apply_f32(op_id op, union ref_chunk *a, const union ref_chunk *b, int64_t n,
                      struct params p) {
    bool is_fmod = p.is_fmod;
    FLOAT_CASES(float, f32)
}

static void apply_f64(op_id op, union ref_chunk *a, const union ref_chunk *b, int64_t n,
                      struct params p) {
    bool is_fmod = p.is_fmod;
    FLOAT_CASES(double, f64)
}

static void apply(op_id op, wide w, union ref_chunk *a, const union ref_chunk *b, int64_t n,
                  struct params p) {
    if (w == WIDE_F32)
        apply_f32(op, a, b, n, p);
    else if (w == WIDE_F64)
        apply_f64(op, a, b, n, p);
    else if (w == WIDE_I64)
        apply_i64(op, a, b, n, p);
    else
        apply_u64(op, a, b, n, p);
}

/* What a thread does of a walk: rows [from, to), and of each row columns [first, last). */
struct share {
    int64_t from, to, first, last;
};

/* By rows when there are enough of them, otherwise by columns. */
static struct share share_of(const struct ref_walk *w, const struct kernel_team *t) {
    int64_t n = w->dims[w->rank - 1], rows = dims_product(w->dims, (size_t)w->rank - 1);
    struct share s = {.to = rows, .last = n};
    if (rows >= (int64_t)t->n_threads)
        kernel_share(t, rows, 1, &s.from, &s.to);
    else
        kernel_share(t, n, REF_CHUNK, &s.first, &s.last);
    return s;
}

/* out = x op y, all broadcast to out; x may be out itself. */
static status combine(op_id op, wide w, struct params p, struct tensor *out, const struct tensor *x,
                      const struct tensor *y, const struct kernel_team *t, struct error *err) {
    const struct tensor *operands[] = {x, y};
    struct ref_walk walk;
    union ref_chunk a, b;
    TRY(ref_walk_broadcast(&walk, out, operands, 2, err));
    if (walk.is_done)
        return STATUS_OK;
    int64_t sx = walk.strides[0][walk.rank - 1], sy = walk.strides[1][walk.rank - 1];
    struct share s = share_of(&walk, t);
    ref_walk_seek(&walk, s.from);
    for (int64_t row = s.from; row < s.to; row++, ref_walk_next_row(&walk))
        for (int64_t i = s.first; i < s.last; i += REF_CHUNK) {
            int64_t k = s.last - i < REF_CHUNK ? s.last - i : REF_CHUNK;
            ref_load(&a, w, x, walk.offset[0] + i * sx, sx, k);
            ref_load(&b, w, y, walk.offset[1] + i * sy, sy, k);
            apply(op, w, &a, &b, k, p);
            ref_store(out, row * walk.dims[walk.rank - 1] + i, 1, k, w, &a);
        }
    return STATUS_OK;
}

static status binary(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct params p = {.is_fmod = attr_int(c->attrs, "fmod", 0) != 0,
                       .is_right = str_eq_c(attr_string(c->attrs, "direction", "LEFT"), "RIGHT")};
    wide w = ref_wide(c->in[0]->dtype);
    if (c->op == OP_Pow && dtype_is_float(c->in[1]->dtype) && w != WIDE_F32)
        w = WIDE_F64; /* an integer to the power of a float */
    return combine(c->op, w, p, c->out[0], c->in[0], c->in[1], t, err);
}

/* Any number of inputs: the first is spread over the output, the others come in one by one. */
static status variadic(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    struct tensor *out = c->out[0];
    wide w = ref_wide(out->dtype);
    const struct kernel_team alone = {.n_threads = 1};
    (void)t;
    TRY(combine(OP_NONE, w, (struct params){0}, out, c->in[0], c->in[0], &alone, err));
    for (size_t i = 1; i < c->n_in; i++)
        TRY(combine(c->op, w, (struct params){0}, out, out, c->in[i], &alone, err));
    int64_t n = tensor_n_elements(out);
    for (int64_t i = 0; c->op == OP_Mean && i < n; i++)
        ref_set(out, i, ref_get(out, i) / (double)c->n_in);
    return STATUS_OK;
}

REF_TEAM(Add, ref_accepts_number, binary)
REF_TEAM(And, ref_accepts_bool, binary)
REF_TEAM(BitShift, ref_accepts_integer, binary)
REF_TEAM(BitwiseAnd, ref_accepts_integer, binary)
REF_TEAM(BitwiseOr, ref_accepts_integer, binary)
REF_TEAM(BitwiseXor, ref_accepts_integer, binary)
REF_TEAM(Div, ref_accepts_number, binary)
REF_TEAM(Equal, ref_accepts_fixed, binary)
REF_TEAM(Greater, ref_accepts_number, binary)
REF_TEAM(GreaterOrEqual, ref_accepts_number, binary)
REF_TEAM(Less, ref_accepts_number, binary)
REF_TEAM(LessOrEqual, ref_accepts_number, binary)
REF(Max, ref_accepts_number, variadic)
REF(Mean, ref_accepts_float, variadic)
REF(Min, ref_accepts_number, variadic)
REF_TEAM(Mod, ref_accepts_number, binary)
REF_TEAM(Mul, ref_accepts_number, binary)
REF_TEAM(Or, ref_accepts_bool, binary)
REF_TEAM(PRelu, ref_accepts_number, binary)
REF_TEAM(Pow, ref_accepts_number, binary)
REF_TEAM(Sub, ref_accepts_number, binary)
REF(Sum, ref_accepts_number, variadic)
REF_TEAM(Xor, ref_accepts_bool, binary)

/* --- Where, Clip, Cast --- */

/* Elements are moved, not looked at: by their size in bytes. */
static void pick(void *to, const uint8_t *condition, int64_t sc, const void *x, int64_t sx,
                 const void *y, int64_t sy, int64_t n, size_t size) {
#define PICK(T)                                                                                    \
    for (int64_t i = 0; i < n; i++)                                                                \
        ((T *)to)[i] = condition[i * sc] ? ((const T *)x)[i * sx] : ((const T *)y)[i * sy];
    if (size == 1) {
        PICK(uint8_t)
    } else if (size == 2) {
        PICK(uint16_t)
    } else if (size == 4) {
        PICK(uint32_t)
    } else {
        PICK(uint64_t)
    }
#undef PICK
}

static status where(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct tensor *out = c->out[0];
    struct ref_walk w;
    TRY(ref_walk_broadcast(&w, out, c->in, 3, err));
    if (w.is_done)
        return STATUS_OK;
    int last = w.rank - 1;
    struct share s = share_of(&w, t);
    int64_t at[3], size = (int64_t)dtype_size(out->dtype);
    ref_walk_seek(&w, s.from);
    for (int64_t row = s.from; row < s.to; row++, ref_walk_next_row(&w)) {
        for (int k = 0; k < 3; k++)
            at[k] = w.offset[k] + s.first * w.strides[k][last];
        pick((char *)out->data + (row * w.dims[last] + s.first) * size,
             (const uint8_t *)c->in[0]->data + at[0], w.strides[0][last],
             (const char *)c->in[1]->data + at[1] * size, w.strides[1][last],
             (const char *)c->in[2]->data + at[2] * size, w.strides[2][last], s.last - s.first,
             (size_t)size);
    }
    return STATUS_OK;
}

static bool accepts_where(const struct kernel_call *c) {
    return ref_accepts_fixed(c) && c->in[0]->dtype == DTYPE_BOOL &&
           c->in[1]->dtype == c->in[2]->dtype && c->in[1]->dtype == c->out[0]->dtype;
}

REF_TEAM(Where, accepts_where, where)

static void clip_chunk(union ref_chunk *v, wide w, const union ref_chunk *low,
                       const union ref_chunk *high, int64_t n) {
#define CLIP(member)                                                                               \
    for (int64_t i = 0; i < n; i++) {                                                              \
        if (low && v->member[i] < low->member[0])                                                  \
            v->member[i] = low->member[0];                                                         \
        if (high && v->member[i] > high->member[0])                                                \
            v->member[i] = high->member[0];                                                        \
    }
    if (w == WIDE_F32) {
        CLIP(f32)
    } else if (w == WIDE_F64) {
        CLIP(f64)
    } else if (w == WIDE_I64) {
        CLIP(i64)
    } else {
        CLIP(u64)
    }
#undef CLIP
}

static status clip(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    int64_t at, n;
    union ref_chunk v, bounds[2];
    bool is_bound[2] = {false, false};
    wide w = ref_wide(in->dtype);
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    for (size_t i = 0; i < 2; i++) {
        const struct tensor *b = ref_in(c, i + 1);
        const struct attr *a = attr_find(c->attrs, i ? "max" : "min"); /* below opset 11 */
        if (b && tensor_n_elements(b) == 1) {
            ref_load(&bounds[i], w, b, 0, 0, 1);
            is_bound[i] = true;
        } else if (a && a->kind == ATTR_FLOAT) {
            struct tensor number = {.dtype = DTYPE_F32, .data = &(float){a->f}, .size = 4};
            ref_load(&bounds[i], w, &number, 0, 0, 1);
            is_bound[i] = true;
        }
    }
    for (kernel_share(t, tensor_n_elements(out), REF_CHUNK, &at, &n); at < n; at += REF_CHUNK) {
        int64_t k = n - at < REF_CHUNK ? n - at : REF_CHUNK;
        ref_load(&v, w, in, at, 1, k);
        clip_chunk(&v, w, is_bound[0] ? &bounds[0] : NULL, is_bound[1] ? &bounds[1] : NULL, k);
        ref_store(out, at, 1, k, w, &v);
    }
    return STATUS_OK;
}

REF_TEAM(Clip, ref_accepts_number, clip)

static status cast(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    bool is_wide = in->dtype == DTYPE_U64 || out->dtype == DTYPE_U64 || in->dtype == out->dtype;
    wide w = dtype_is_float(in->dtype) ? WIDE_F64 : WIDE_I64;
    int64_t i, n;
    union ref_chunk v;
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    kernel_share(t, tensor_n_elements(out), REF_CHUNK, &i, &n);
    if (is_wide) /* what the four wide types cannot do without loss */
        return convert(out->dtype, (char *)out->data + (size_t)i * dtype_size(out->dtype),
                       in->dtype, (const char *)in->data + (size_t)i * dtype_size(in->dtype),
                       (size_t)(n - i), err);
    for (; i < n; i += REF_CHUNK) {
        int64_t k = n - i < REF_CHUNK ? n - i : REF_CHUNK;
        ref_load(&v, w, in, i, 1, k);
        ref_store(out, i, 1, k, w, &v);
    }
    return STATUS_OK;
}

REF_TEAM(Cast, ref_accepts_fixed, cast)
REF_TEAM(CastLike, ref_accepts_fixed, cast)
