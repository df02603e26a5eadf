/* elementwise.h - groups of elementwise operators, as an interpreter over tiles (template; see
 * README).
 *
 * A register is a tile of EW_TILE floats; an instruction is a loop over a tile, so the cost of
 * finding out what to do is paid once for hundreds of elements, and what flows between the
 * instructions stays in the L1 cache. */
#ifndef KERNELS_SIMD_ELEMENTWISE_H
#define KERNELS_SIMD_ELEMENTWISE_H

#include "kernels/kernel.h"
#include "kernels/simd/math.h"
#include "tensor/convert.h"

#include <string.h>

enum { EW_TILE = 512 };

struct ew {
    const int64_t *code, *results; /* [n_code][5], [n_out] */
    const float *consts;
    size_t n_code, n_results, n_consts;
    /* The common shape, neighbours merged; step of each input along each axis in elements. */
    int rank;
    int64_t dims[TENSOR_RANK_MAX];
    int64_t step[EW_INPUTS_MAX][TENSOR_RANK_MAX];
    bool is_flat[EW_INPUTS_MAX], is_scalar[EW_INPUTS_MAX];
};

static bool ew_is_float(const struct tensor *t) {
    return t && (t->dtype == DTYPE_F32 || t->dtype == DTYPE_BF16);
}

static bool ew_accepts(const struct kernel_call *c) {
    bool has_bf16 = false;
    for (size_t i = 0; i < c->n_in + c->n_out; i++) {
        const struct tensor *t = i < c->n_in ? c->in[i] : c->out[i - c->n_in];
        if (!ew_is_float(t))
            return false;
        has_bf16 = has_bf16 || t->dtype == DTYPE_BF16;
    }
    return LEVEL_TAKES_F32 || has_bf16;
}

/* Registers, constants and activations that the code names must exist. */
static status ew_prepare(const struct kernel_call *c, void *state, struct error *err) {
    (void)state;
    size_t n_code, n_consts, n_results;
    const int64_t *code = attr_ints(c->attrs, "code", &n_code);
    const int64_t *results = attr_ints(c->attrs, "results", &n_results);
    attr_floats(c->attrs, "consts", &n_consts);
    if (n_code % 5 || n_code > 5 * EW_CODE_MAX || n_results != c->n_out ||
        c->n_in > EW_INPUTS_MAX || c->n_out > EW_OUTPUTS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "elementwise step: %zu ints of code, %zu results, %zu inputs, %zu outputs",
                         n_code, n_results, c->n_in, c->n_out);
    for (size_t i = 0; i < n_results; i++)
        if (results[i] < 0 || results[i] >= EW_REGISTERS_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "elementwise step: result in register %lld", (long long)results[i]);
    for (const int64_t *p = code; p < code + n_code; p += 5) {
        bool is_const = p[0] == EW_CONST, is_act = p[0] == EW_ACT;
        bool ok = p[0] >= 0 && p[0] < EW_COUNT && p[1] >= (int64_t)c->n_in;
        for (int j = 1; j < 5; j++)
            if (!(is_const && j > 1) && !(is_act && j > 2))
                ok = ok && p[j] >= 0 && p[j] < EW_REGISTERS_MAX;
        if (is_const)
            ok = ok && p[2] >= 0 && (size_t)p[2] < n_consts;
        if (is_act)
            ok = ok && p[3] >= 0 && p[3] < ACTIVATION_COUNT && p[4] >= 0 &&
                 (size_t)p[4] + 2 <= n_consts;
        if (!ok)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "elementwise step: instruction %td names what does not exist",
                             (p - code) / 5);
    }
    return STATUS_OK;
}

/* Broadcast steps of the inputs over the output's dims, with axes merged where all allow it. */
static void ew_layout(struct ew *e, const struct kernel_call *c) {
    const struct tensor *y = c->out[0];
    int64_t step[EW_INPUTS_MAX][TENSOR_RANK_MAX] = {{0}};
    for (size_t i = 0; i < c->n_in; i++) {
        const struct tensor *x = c->in[i];
        int64_t s = 1;
        for (int d = x->rank - 1; d >= 0; d--) {
            step[i][d + y->rank - x->rank] = x->dims[d] == 1 ? 0 : s;
            s *= x->dims[d];
        }
    }
    e->rank = 0;
    for (int d = 0; d < y->rank; d++) {
        if (y->dims[d] == 1)
            continue;
        bool merges = e->rank > 0;
        for (size_t i = 0; i < c->n_in && merges; i++)
            merges = e->step[i][e->rank - 1] == step[i][d] * y->dims[d];
        if (!merges)
            e->dims[e->rank++] = 1;
        e->dims[e->rank - 1] *= y->dims[d];
        for (size_t i = 0; i < c->n_in; i++)
            e->step[i][e->rank - 1] = step[i][d];
    }
    for (size_t i = 0; i < c->n_in; i++) {
        e->is_scalar[i] = true;
        e->is_flat[i] = true;
        int64_t s = 1;
        for (int d = e->rank - 1; d >= 0; d--) {
            e->is_scalar[i] = e->is_scalar[i] && e->step[i][d] == 0;
            e->is_flat[i] = e->is_flat[i] && e->step[i][d] == s;
            s *= e->dims[d];
        }
    }
}

/* n elements from x + at as floats, or the one at x + at n times. */
static void ew_copy(float *to, const struct tensor *x, int64_t at, int64_t step, int64_t n) {
    bool is_bf16 = x->dtype == DTYPE_BF16;
    if (step == 1) {
        int64_t i = 0;
        for (; is_bf16 && i + VL <= n; i += VL)
            vf_store(to + i, vf_load_bf16((const uint16_t *)x->data + at + i));
        for (; !is_bf16 && i + VL <= n; i += VL)
            vf_store(to + i, vf_load((const float *)x->data + at + i));
        if (i < n)
            vf_store_n(to + i, vf_load_as(is_bf16, x->data, at + i, n - i), n - i);
        return;
    }
    if (step == 0 && n >= VL) {
        float first =
            is_bf16 ? bf16_to_f32(((const uint16_t *)x->data)[at]) : ((const float *)x->data)[at];
        for (int64_t i = 0; i < n; i += VL)
            vf_store_as(false, to, i, vf_set(first), n - i);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t j = at + i * step;
        if (is_bf16) {
            uint32_t bits = (uint32_t)((const uint16_t *)x->data)[j] << 16;
            memcpy(to + i, &bits, sizeof bits);
        } else {
            to[i] = ((const float *)x->data)[j];
        }
    }
}

/* n results of a register to element `at` of y. */
static void ew_put(struct tensor *y, int64_t at, const float *from, int64_t n) {
    bool is_bf16 = y->dtype == DTYPE_BF16;
    int64_t i = 0;
    for (; is_bf16 && i + VL <= n; i += VL)
        vf_store_bf16((uint16_t *)y->data + at + i, vf_load(from + i));
    for (; !is_bf16 && i + VL <= n; i += VL)
        vf_store((float *)y->data + at + i, vf_load(from + i));
    if (i < n)
        vf_store_as(is_bf16, y->data, at + i, vf_load(from + i), n - i);
}

/* Fills a register with elements [at, at + n) of the broadcast input. */
static void ew_gather(const struct ew *e, size_t input, const struct tensor *x, int64_t at,
                      int64_t n, float *to) {
    if (e->is_flat[input] || e->rank == 0) {
        ew_copy(to, x, at, 1, n);
        return;
    }
    const int64_t *step = e->step[input], *dims = e->dims;
    int64_t index[TENSOR_RANK_MAX], from = 0, rest = at;
    int last = e->rank - 1;
    for (int d = last; d >= 0; d--) {
        index[d] = rest % dims[d];
        rest /= dims[d];
        from += index[d] * step[d];
    }
    while (n > 0) {
        int64_t run = dims[last] - index[last] < n ? dims[last] - index[last] : n;
        ew_copy(to, x, from, step[last], run);
        to += run;
        n -= run;
        from += run * step[last];
        index[last] += run;
        for (int d = last; d > 0 && index[d] == dims[d]; d--) {
            from += step[d - 1] - index[d] * step[d];
            index[d] = 0;
            index[d - 1]++;
        }
    }
}

SIMD_INLINE vf ew_pow(vf a, vf b) {
    float x[VL], y[VL];
    vf_store(x, a);
    vf_store(y, b);
    for (int i = 0; i < VL; i++)
        x[i] = powf(x[i], y[i]);
    return vf_load(x);
}

/* Runs activation `kind` over a tile. */
static void ew_act(int64_t kind, float *dst, const float *a, const float *consts, int64_t n) {
    vf alpha = vf_set(consts[0]), beta = vf_set(consts[1]);
    switch (kind) {
#define ACT(kind)                                                                                  \
    case kind:                                                                                     \
        for (int64_t i = 0; i < n; i += VL)                                                        \
            vf_store(dst + i, vf_activate(kind, vf_load(a + i), alpha, beta, false));              \
        break;
        ACT(ACTIVATION_NONE)
        ACT(ACTIVATION_RELU)
        ACT(ACTIVATION_CLIP)
        ACT(ACTIVATION_GELU_ERF)
        ACT(ACTIVATION_GELU_TANH)
        ACT(ACTIVATION_SILU)
        ACT(ACTIVATION_SIGMOID)
        ACT(ACTIVATION_TANH)
        ACT(ACTIVATION_HARD_SIGMOID)
        ACT(ACTIVATION_HARD_SWISH)
        ACT(ACTIVATION_LEAKY_RELU)
#undef ACT
    }
}

static bool ew_is_binary(int64_t op) {
    return op >= EW_ADD && op <= EW_POW;
}

/* An instruction as it is run. */
struct ew_instruction {
    int64_t word[5]; /* operation, destination, a, b, c */
};

/* How often the code writes and reads register r; a result is read once more. */
static void ew_count(const struct ew *e, int64_t r, int *n_written, int *n_read) {
    *n_written = *n_read = 0;
    for (const int64_t *p = e->code; p < e->code + e->n_code; p += 5) {
        int n_operands = p[0] == EW_CONST ? 0 : p[0] == EW_FMA ? 3 : ew_is_binary(p[0]) ? 2 : 1;
        *n_written += p[1] == r;
        for (int i = 0; i < n_operands; i++)
            *n_read += p[2 + i] == r;
    }
    for (size_t i = 0; i < e->n_results; i++)
        *n_read += e->results[i] == r;
}

/* Shortens the code: constants that nothing else writes over are set once, in `reg`, and a product
 * that only the next sum wants becomes part of it. Returns the number of instructions left. */
static size_t ew_shorten(const struct ew *e, float *const *reg, struct ew_instruction *out) {
    size_t n = 0;
    for (const int64_t *p = e->code; p < e->code + e->n_code; p += 5) {
        int n_written, n_read;
        ew_count(e, p[1], &n_written, &n_read);
        bool is_result = false;
        for (size_t i = 0; i < e->n_results; i++)
            is_result = is_result || e->results[i] == p[1];
        if (p[0] == EW_CONST && n_written == 1 && !is_result) {
            for (int64_t i = 0; i < EW_TILE; i += VL)
                vf_store(reg[p[1]] + i, vf_set(e->consts[p[2]]));
            continue;
        }
        struct ew_instruction *last = n ? &out[n - 1] : NULL;
        if (p[0] == EW_ADD && last && last->word[0] == EW_MUL) {
            int64_t product = last->word[1];
            ew_count(e, product, &n_written, &n_read);
            bool is_a = p[2] == product, is_b = p[3] == product;
            if (n_written == 1 && n_read == 1 && (is_a || is_b)) {
                last->word[0] = EW_FMA;
                last->word[1] = p[1];
                last->word[4] = is_a ? p[3] : p[2];
                continue;
            }
        }
        memcpy(out[n++].word, p, sizeof out->word);
    }
    return n;
}

/* One instruction over a tile of n elements, n rounded up to whole vectors. */
static void ew_step(const struct ew *e, const int64_t *p, float *const *reg, int64_t n) {
    float *dst = reg[p[1]];
    const float *ra = NULL, *rb = NULL, *rc = NULL;
    if (p[0] == EW_CONST) {
        for (int64_t i = 0; i < n; i += VL)
            vf_store(dst + i, vf_set(e->consts[p[2]]));
        return;
    }
    ra = reg[p[2]];
    if (p[0] == EW_ACT) {
        ew_act(p[3], dst, ra, e->consts + p[4], n);
        return;
    }
    rb = reg[p[3]];
    rc = reg[p[4]];
    switch (p[0]) {
#define EW(op, value)                                                                              \
    case op:                                                                                       \
        for (int64_t i = 0; i < n; i += VL) {                                                      \
            vf a = vf_load(ra + i);                                                                \
            vf_store(dst + i, value);                                                              \
        }                                                                                          \
        break;
#define EW2(op, value)                                                                             \
    case op:                                                                                       \
        for (int64_t i = 0; i < n; i += VL) {                                                      \
            vf a = vf_load(ra + i), b = vf_load(rb + i);                                           \
            vf_store(dst + i, value);                                                              \
        }                                                                                          \
        break;
        EW2(EW_ADD, a + b)
        EW2(EW_SUB, a - b)
        EW2(EW_MUL, a * b)
        EW2(EW_DIV, a / b)
        EW2(EW_MIN, vf_min(a, b))
        EW2(EW_MAX, vf_max(a, b))
        EW2(EW_POW, ew_pow(a, b))
        EW2(EW_FMA, vf_fma(a, b, vf_load(rc + i)))
        EW(EW_NEG, (vf)((vi)a ^ vi_set(INT32_MIN)))
        EW(EW_ABS, vf_abs(a))
        EW(EW_SQRT, vf_sqrt(a))
        EW(EW_RECIPROCAL, vf_set(1) / a)
        EW(EW_EXP, vf_exp(a))
        EW(EW_LOG, vf_log(a))
        EW(EW_ERF, vf_erf(a))
        EW(EW_TANH, vf_tanh(a))
        EW(EW_SIGMOID, vf_sigmoid(a))
        EW(EW_FLOOR, vf_floor(a))
        EW(EW_CEIL, vf_ceil(a))
        EW(EW_ROUND, vf_round(a))
#undef EW
#undef EW2
    }
}

static size_t ew_scratch(const struct kernel_call *c, unsigned n_threads) {
    (void)c;
    return sizeof(float) * EW_TILE * EW_REGISTERS_MAX * n_threads;
}

static status ew_run(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    (void)err;
    struct ew e = {0};
    e.code = attr_ints(c->attrs, "code", &e.n_code);
    e.results = attr_ints(c->attrs, "results", &e.n_results);
    e.consts = attr_floats(c->attrs, "consts", &e.n_consts);
    ew_layout(&e, c);
    float *room = (float *)c->scratch + (size_t)t->thread * EW_TILE * EW_REGISTERS_MAX;
    float *reg[EW_REGISTERS_MAX];
    for (int i = 0; i < EW_REGISTERS_MAX; i++)
        reg[i] = room + (ptrdiff_t)i * EW_TILE;
    for (size_t i = 0; i < c->n_in; i++)
        if (e.is_scalar[i])
            ew_copy(reg[i], c->in[i], 0, 0, EW_TILE);
    struct ew_instruction code[EW_CODE_MAX];
    size_t n_instructions = ew_shorten(&e, reg, code);
    int64_t from, to;
    kernel_share(t, tensor_n_elements(c->out[0]), EW_TILE, &from, &to);
    for (int64_t at = from; at < to; at += EW_TILE) {
        int64_t n = to - at < EW_TILE ? to - at : EW_TILE;
        for (size_t i = 0; i < c->n_in; i++) {
            if (e.is_scalar[i])
                continue;
            reg[i] = room + (ptrdiff_t)i * EW_TILE;
            if (e.is_flat[i] && c->in[i]->dtype == DTYPE_F32 && n == EW_TILE)
                reg[i] = (float *)c->in[i]->data + at; /* read only: dst is never an input */
            else
                ew_gather(&e, i, c->in[i], at, n, reg[i]);
        }
        for (size_t i = 0; i < c->n_out; i++)
            if (e.results[i] >= (int64_t)c->n_in && c->out[i]->dtype == DTYPE_F32)
                reg[e.results[i]] =
                    n == EW_TILE ? (float *)c->out[i]->data + at : room + e.results[i] * EW_TILE;
        for (size_t i = 0; i < n_instructions; i++)
            ew_step(&e, code[i].word, reg, n);
        for (size_t i = 0; i < c->n_out; i++) {
            const float *r = reg[e.results[i]];
            if (c->out[i]->dtype == DTYPE_F32 && r == (float *)c->out[i]->data + at)
                continue;
            ew_put(c->out[i], at, r, n);
        }
    }
    return STATUS_OK;
}

const struct kernel LEVEL(elementwise) = {
    .name = LEVEL_NAME ".elementwise",
    .isa = LEVEL_ISA,
    .op = OP_Elementwise,
    .accepts = ew_accepts,
    .state_size = sizeof(int),
    .prepare = ew_prepare,
    .scratch = ew_scratch,
    .run = ew_run,
};

#endif
