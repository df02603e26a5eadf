/* The operators that passes make: Linear, Attention, Norm, Elementwise; fused.h says what they
 * mean. Conv2d, ConvTranspose2d, Pool2d and Resize2d stand with ONNX's in their families. */
#include "ops/fused.h"

#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"

static status linear(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    enum { TILE = 64 };
    const struct tensor *x = c->in[0], *w = c->in[1];
    struct tensor *y = c->out[0];
    struct ref_tail tail;
    (void)t;
    if (x->rank < 1 || x->rank != y->rank || w->rank != 2 || w->dims[0] != x->dims[x->rank - 1] ||
        w->dims[1] != y->dims[y->rank - 1])
        return error_set(err, STATUS_INVALID_ARGUMENT, "operands do not fit");
    int64_t k = w->dims[0], n = w->dims[1], rows = dims_product(x->dims, x->rank - 1u);
    if (rows != dims_product(y->dims, y->rank - 1u))
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has not %" PRId64 " rows", rows);
    TRY(ref_tail_read(&tail, c, n, err));
    for (int64_t j = 0; j < n; j += TILE)
        for (int64_t r = 0; r < rows; r++) {
            int64_t width = n - j < TILE ? n - j : TILE;
            double sums[TILE] = {0};
            union ref_chunk v;
            for (int64_t p = 0; p < k; p++) {
                double a = ref_get(x, r * k + p);
                ref_load(&v, WIDE_F64, w, p * n + j, 1, width);
                for (int64_t q = 0; q < width; q++)
                    sums[q] += a * v.f64[q];
            }
            for (int64_t q = 0; q < width; q++)
                ref_set(y, r * n + j + q, ref_tail_apply(&tail, sums[q], j + q, r * n + j + q));
        }
    return STATUS_OK;
}

REF(Linear, ref_accepts_float, linear)

/* --- Attention --- */

/* One of q, k, v: [B, S, row] and the columns of its heads. */
struct operand {
    const struct tensor *t;
    int64_t length, row, offset, head_size;
};

static status operand_read(struct operand *o, const struct kernel_call *c, size_t input,
                           const char *offset, int64_t heads, int64_t head_size,
                           struct error *err) {
    const struct tensor *t = c->in[input];
    *o = (struct operand){.t = t, .head_size = head_size};
    o->offset = attr_int(c->attrs, offset, 0);
    if (t->rank == 3) {
        o->length = t->dims[1];
        o->row = t->dims[2];
    }
    if (t->rank != 3 || t->dims[0] != c->in[0]->dims[0] || o->offset < 0 || head_size < 1 ||
        heads < 1 || heads > 65536 || head_size > 65536 || o->offset > o->row - heads * head_size)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "input %zu has not %" PRId64 " heads of %" PRId64, input, heads,
                         head_size);
    return STATUS_OK;
}

static int64_t element(const struct operand *o, int64_t b, int64_t s, int64_t h) {
    return (b * o->length + s) * o->row + o->offset + h * o->head_size;
}

static size_t attention_scratch(const struct kernel_call *c, unsigned n_threads) {
    (void)n_threads;
    return c->in[1]->rank == 3 && tensor_n_elements(c->in[1]) > 0
               ? (size_t)c->in[1]->dims[1] * sizeof(double)
               : 0;
}

/* scores[j] = softmax over j of scale q k_j + mask_j. */
static void attend(double *scores, const struct operand *q, const struct operand *k, int64_t q_at,
                   int64_t b, int64_t h, double scale, const struct tensor *mask, int64_t mask_at,
                   int64_t mask_step) {
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < k->length; j++) {
        int64_t k_at = element(k, b, j, h);
        double dot = 0;
        for (int64_t d = 0; d < q->head_size; d++)
            dot += ref_get(q->t, q_at + d) * ref_get(k->t, k_at + d);
        scores[j] = dot * scale + (mask ? ref_get(mask, mask_at + j * mask_step) : 0);
        max = scores[j] > max ? scores[j] : max;
    }
    for (int64_t j = 0; j < k->length; j++) {
        scores[j] = exp(scores[j] - max);
        sum += scores[j];
    }
    for (int64_t j = 0; j < k->length; j++)
        scores[j] /= sum;
}

/* Steps of the mask over [B, heads, Sq, Sk]; 0 where it is broadcast. */
static status mask_steps(const struct tensor *mask, const int64_t dims[4], int64_t steps[4],
                         struct error *err) {
    struct tensor whole = {.rank = 4};
    struct ref_walk w;
    memcpy(whole.dims, dims, 4 * sizeof *dims);
    memset(steps, 0, 4 * sizeof *steps);
    if (!mask)
        return STATUS_OK;
    TRY(ref_walk_broadcast(&w, &whole, &mask, 1, err)); /* checks */
    int64_t strides[TENSOR_RANK_MAX];
    ref_strides(mask, strides);
    for (int d = 3, s = mask->rank - 1; s >= 0 && d >= 0; d--, s--)
        steps[d] = mask->dims[s] == 1 ? 0 : strides[s];
    return STATUS_OK;
}

static status attention(const struct kernel_call *c, const struct kernel_team *t,
                        struct error *err) {
    const struct tensor *mask = ref_in(c, 3);
    struct tensor *y = c->out[0];
    int64_t heads = attr_int(c->attrs, "heads", 1), size = attr_int(c->attrs, "head_size", 1);
    int64_t size_v = attr_int(c->attrs, "head_size_v", size), steps[4];
    double scale = (double)attr_float(c->attrs, "scale", 1.0f / sqrtf((float)size));
    struct operand q, k, v;
    (void)t;
    TRY(operand_read(&q, c, 0, "q_offset", heads, size, err));
    TRY(operand_read(&k, c, 1, "k_offset", heads, size, err));
    TRY(operand_read(&v, c, 2, "v_offset", heads, size_v, err));
    int64_t batch = c->in[0]->dims[0];
    TRY(ref_want_dims("output", y, (const int64_t[]){batch, q.length, heads * size_v}, 3, err));
    if (k.length == v.length && tensor_n_elements(y) == 0)
        return STATUS_OK;
    if (k.length != v.length || c->scratch_size < (size_t)k.length * sizeof(double))
        return error_set(err, STATUS_INVALID_ARGUMENT, "k has length %" PRId64 ", v %" PRId64,
                         k.length, v.length);
    TRY(mask_steps(mask, (const int64_t[]){batch, heads, q.length, k.length}, steps, err));
    double *scores = c->scratch;
    for (int64_t i = 0; i < batch * heads * q.length; i++) {
        int64_t b = i / (heads * q.length), h = i / q.length % heads, s = i % q.length;
        int64_t mask_at = b * steps[0] + h * steps[1] + s * steps[2];
        attend(scores, &q, &k, element(&q, b, s, h), b, h, scale, mask, mask_at, steps[3]);
        for (int64_t d = 0; d < size_v; d++) {
            double sum = 0;
            for (int64_t j = 0; j < k.length; j++)
                sum += scores[j] * ref_get(v.t, element(&v, b, j, h) + d);
            ref_set(y, (b * q.length + s) * heads * size_v + h * size_v + d, sum);
        }
    }
    return STATUS_OK;
}

REF_SCRATCH(Attention, ref_accepts_float, attention, attention_scratch)

/* --- Norm --- */

typedef enum norm_kind { NORM_LAYER, NORM_RMS, NORM_L2 } norm_kind;

struct norm {
    const struct tensor *x, *residual;
    int64_t n;
};

static double norm_input(const struct norm *v, int64_t at) {
    return ref_get(v->x, at) + (v->residual ? ref_get(v->residual, at) : 0);
}

/* What is subtracted from, then multiplied into, each element of the row at `base`. */
static void norm_row(const struct norm *v, norm_kind kind, double epsilon, int64_t base,
                     double *mean, double *factor) {
    double sum = 0, squares = 0, n = (double)v->n;
    for (int64_t i = 0; i < v->n; i++)
        sum += norm_input(v, base + i);
    *mean = kind == NORM_LAYER && v->n ? sum / n : 0;
    for (int64_t i = 0; i < v->n; i++) {
        double d = norm_input(v, base + i) - *mean;
        squares += d * d;
    }
    if (kind == NORM_L2)
        *factor = 1 / fmax(sqrt(squares), epsilon);
    else
        *factor = 1 / sqrt(squares / n + epsilon);
}

static status norm(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *x = c->in[0], *scale = ref_in(c, 1), *bias = ref_in(c, 2);
    struct norm v = {.x = x, .residual = ref_in(c, 3)};
    double epsilon = (double)attr_float(c->attrs, "epsilon", 1e-5f);
    str name = attr_string(c->attrs, "kind", "layer");
    norm_kind kind = str_eq_c(name, "rms") ? NORM_RMS : str_eq_c(name, "l2") ? NORM_L2 : NORM_LAYER;
    (void)t;
    if (x->rank < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is a scalar");
    v.n = x->dims[x->rank - 1];
    for (size_t i = 0; i < c->n_out; i++)
        if (c->out[i])
            TRY(ref_want_dims("output", c->out[i], x->dims, x->rank, err));
    if (v.residual)
        TRY(ref_want_dims("residual", v.residual, x->dims, x->rank, err));
    if ((scale && tensor_n_elements(scale) != v.n) || (bias && tensor_n_elements(bias) != v.n))
        return error_set(err, STATUS_INVALID_ARGUMENT, "scale or bias is not %" PRId64, v.n);
    int64_t rows = dims_product(x->dims, x->rank - 1u);
    for (int64_t r = 0; r < rows; r++) {
        double mean, factor;
        norm_row(&v, kind, epsilon, r * v.n, &mean, &factor);
        for (int64_t i = 0; i < v.n; i++) {
            double s = norm_input(&v, r * v.n + i), y = (s - mean) * factor;
            y *= scale ? ref_get(scale, i) : 1;
            y += bias ? ref_get(bias, i) : 0;
            for (size_t k = 0; k < c->n_out; k++)
                if (c->out[k])
                    ref_set(c->out[k], r * v.n + i, k < 2 ? y : s);
        }
    }
    return STATUS_OK;
}

REF(Norm, ref_accepts_float, norm)

/* --- Elementwise --- */

typedef float ew_register[REF_CHUNK];

static float ew_unary(ew_op op, float x) {
    switch (op) {
    case EW_NEG:
        return -x;
    case EW_ABS:
        return fabsf(x);
    case EW_SQRT:
        return sqrtf(x);
    case EW_RECIPROCAL:
        return 1 / x;
    case EW_EXP:
        return expf(x);
    case EW_LOG:
        return logf(x);
    case EW_ERF:
        return erff(x);
    case EW_TANH:
        return tanhf(x);
    case EW_SIGMOID:
        return 1 / (1 + expf(-x));
    case EW_FLOOR:
        return floorf(x);
    case EW_CEIL:
        return ceilf(x);
    case EW_ROUND:
        return nearbyintf(x);
    default:
        return x;
    }
}

static float ew_binary(ew_op op, float x, float y) {
    switch (op) {
    case EW_ADD:
        return x + y;
    case EW_SUB:
        return x - y;
    case EW_MUL:
        return x * y;
    case EW_DIV:
        return x / y;
    case EW_MIN:
        return x != x || x < y ? x : y;
    case EW_MAX:
        return x != x || x > y ? x : y;
    case EW_POW:
        return powf(x, y);
    default:
        return x;
    }
}

static void ew_instruction(const int64_t *code, const float *consts, ew_register *r, int64_t n) {
    ew_op op = (ew_op)code[0];
    float *dst = r[code[1]];
    for (int64_t i = 0; i < n; i++) {
        if (op == EW_CONST)
            dst[i] = consts[code[2]];
        else if (op == EW_ACT)
            dst[i] = (float)ref_activation((int)code[3], (double)r[code[2]][i],
                                           (double)consts[code[4]], (double)consts[code[4] + 1]);
        else if (op == EW_FMA)
            dst[i] = fmaf(r[code[2]][i], r[code[3]][i], r[code[4]][i]);
        else if (op <= EW_POW)
            dst[i] = ew_binary(op, r[code[2]][i], r[code[3]][i]);
        else
            dst[i] = ew_unary(op, r[code[2]][i]);
    }
}

static status elementwise(const struct kernel_call *c, const struct kernel_team *t,
                          struct error *err) {
    ew_register registers[EW_REGISTERS_MAX];
    union ref_chunk chunk;
    size_t n_code, n_consts, n_results;
    const int64_t *code = attr_ints(c->attrs, "code", &n_code);
    const float *consts = attr_floats(c->attrs, "consts", &n_consts);
    const int64_t *results = attr_ints(c->attrs, "results", &n_results);
    struct ref_walk w;
    (void)t;
    TRY(elementwise_check(c->attrs, c->n_in, c->n_out, err));
    memset(registers, 0, sizeof registers);
    for (size_t i = 0; i < c->n_in; i++)
        if (!c->in[i])
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is missing", i);
    for (size_t i = 0; i < c->n_out; i++)
        if (!c->out[i])
            return error_set(err, STATUS_INVALID_ARGUMENT, "output %zu is missing", i);
    for (size_t i = 1; i < c->n_out; i++)
        TRY(ref_want_dims("output", c->out[i], c->out[0]->dims, c->out[0]->rank, err));
    TRY(ref_walk_broadcast(&w, c->out[0], c->in, c->n_in, err));
    int last = w.rank - 1;
    int64_t n = w.dims[last], row = 0;
    for (; !w.is_done; ref_walk_next_row(&w), row += n)
        for (int64_t i = 0; i < n; i += REF_CHUNK) {
            int64_t k = n - i < REF_CHUNK ? n - i : REF_CHUNK;
            for (size_t p = 0; p < c->n_in; p++) {
                int64_t step = w.strides[p][last];
                ref_load(&chunk, WIDE_F32, c->in[p], w.offset[p] + i * step, step, k);
                memcpy(registers[p], chunk.f32, (size_t)k * sizeof(float));
            }
            for (size_t p = 0; p < n_code; p += 5)
                ew_instruction(code + p, consts, registers, k);
            for (size_t p = 0; p < c->n_out; p++) {
                memcpy(chunk.f32, registers[results[p]], (size_t)k * sizeof(float));
                ref_store(c->out[p], row + i, 1, k, WIDE_F32, &chunk);
            }
        }
    return STATUS_OK;
}

REF(Elementwise, ref_accepts_fixed, elementwise)
