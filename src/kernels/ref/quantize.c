/* Quantization and integer products. */
#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"

/* Which element of scale and zero point goes with an element of x. */
struct grain {
    int64_t n;          /* elements of the scale */
    struct ref_split s; /* x at the axis */
    int64_t block, blocks;
};

static status grain_read(struct grain *g, const struct kernel_call *c, struct error *err) {
    const struct tensor *x = c->in[0], *scale = c->in[1], *zero = ref_in(c, 2);
    int64_t block = attr_int(c->attrs, "block_size", 0);
    int axis = 0;
    *g = (struct grain){.n = tensor_n_elements(scale), .s = {1, 1, 1}, .block = 1};
    if (zero && tensor_n_elements(zero) != g->n)
        return error_set(err, STATUS_INVALID_ARGUMENT, "scale and zero point differ in size");
    if (g->n == 1)
        return STATUS_OK;
    TRY(ref_axis(attr_int(c->attrs, "axis", 1), x->rank, &axis, err));
    g->s = ref_split_at(x, axis);
    if (scale->rank == x->rank && scale->rank > 1) {
        if (block <= 0 && scale->dims[axis] > 0)
            block = (g->s.n + scale->dims[axis] - 1) / scale->dims[axis];
        g->block = block > 0 ? block : 1;
    }
    g->blocks = (g->s.n + g->block - 1) / g->block;
    int64_t wanted = scale->rank > 1 ? g->s.before * g->blocks * g->s.after : g->s.n;
    if (g->n != wanted)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "scale has %" PRId64 " elements, wanted %" PRId64, g->n, wanted);
    if (scale->rank <= 1) { /* one for each along the axis */
        g->s.before = 0;
        g->blocks = g->s.n;
    }
    return STATUS_OK;
}

static int64_t grain_at(const struct grain *g, int64_t i) {
    if (g->n == 1)
        return 0;
    int64_t along = i / g->s.after % g->s.n;
    if (g->s.before == 0)
        return along;
    return (i / g->s.after / g->s.n * g->blocks + along / g->block) * g->s.after + i % g->s.after;
}

static status quantize(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    const struct tensor *x = c->in[0], *scale = c->in[1], *zero = ref_in(c, 2);
    struct tensor *y = c->out[0];
    struct grain g;
    (void)t;
    TRY(ref_want_dims("input", x, y->dims, y->rank, err));
    TRY(grain_read(&g, c, err));
    for (int64_t i = 0, n = tensor_n_elements(y); i < n; i++) {
        int64_t k = grain_at(&g, i);
        float quotient = (float)ref_get(x, i) / (float)ref_get(scale, k);
        ref_set(y, i, (double)nearbyintf(quotient) + (zero ? ref_get(zero, k) : 0)); /* saturates */
    }
    return STATUS_OK;
}

static bool accepts_quantize(const struct kernel_call *c) {
    return ref_accepts_number(c) &&
           dtype_is_integer(c->op == OP_QuantizeLinear ? c->out[0]->dtype : c->in[0]->dtype);
}

REF(QuantizeLinear, accepts_quantize, quantize)

static status dequantize(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    const struct tensor *x = c->in[0], *scale = c->in[1], *zero = ref_in(c, 2);
    struct tensor *y = c->out[0];
    struct grain g;
    (void)t;
    TRY(ref_want_dims("input", x, y->dims, y->rank, err));
    TRY(grain_read(&g, c, err));
    for (int64_t i = 0, n = tensor_n_elements(y); i < n; i++) {
        int64_t k = grain_at(&g, i);
        ref_set(y, i, (ref_get(x, i) - (zero ? ref_get(zero, k) : 0)) * ref_get(scale, k));
    }
    return STATUS_OK;
}

REF(DequantizeLinear, accepts_quantize, dequantize)

static status dynamic_quantize(const struct kernel_call *c, const struct kernel_team *t,
                               struct error *err) {
    const struct tensor *x = c->in[0];
    float low = 0, high = 0;
    int64_t n = tensor_n_elements(x);
    (void)t;
    TRY(ref_want_dims("input", x, c->out[0]->dims, c->out[0]->rank, err));
    for (int64_t i = 0; i < n; i++) {
        float v = (float)ref_get(x, i);
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    float scale = (high - low) / 255;
    float zero = scale > 0 ? nearbyintf(fminf(fmaxf(-low / scale, 0), 255)) : 0;
    for (int64_t i = 0; i < n; i++) {
        float v = scale > 0 ? nearbyintf((float)ref_get(x, i) / scale) : 0;
        ref_set(c->out[0], i, (double)(v + zero));
    }
    if (ref_out(c, 1))
        ref_set(c->out[1], 0, (double)scale);
    if (ref_out(c, 2))
        ref_set(c->out[2], 0, (double)zero);
    return STATUS_OK;
}

REF(DynamicQuantizeLinear, ref_accepts_float, dynamic_quantize)

/* --- integer products --- */

/* A product of bytes with everything that goes with its operands. */
struct product {
    const struct tensor *a, *a_zero, *a_scale, *b, *b_zero, *b_scale;
    int64_t m, n, k, rows; /* rows: those of all of a's matrices */
};

/* One for all, one for each of the n rows or columns, or one for each of all of them. */
static status check_parameter(const struct tensor *t, int64_t n, int64_t all, struct error *err) {
    int64_t have = t ? tensor_n_elements(t) : 1;
    return have == 1 || have == n || have == all
               ? STATUS_OK
               : error_set(err, STATUS_INVALID_ARGUMENT,
                           "a scale or zero point has %" PRId64 " elements, wanted 1 or %" PRId64,
                           have, n);
}

static double parameter(const struct tensor *t, int64_t i, int64_t each, double fallback) {
    int64_t n = t ? tensor_n_elements(t) : 0;
    return n == 0 ? fallback : ref_get(t, n == 1 ? 0 : n == each ? i % each : i % n);
}

/* Calls put(arg, at, sum, row of a, column of b); sums are exact in a double. */
static status product_run(struct product *p, const struct tensor *out,
                          void (*put)(void *arg, int64_t at, double sum, int64_t row,
                                      int64_t column),
                          void *arg, struct error *err) {
    const struct tensor *a = p->a, *b = p->b;
    if (a->rank < 1 || b->rank < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "an operand is a scalar");
    p->m = a->rank > 1 ? a->dims[a->rank - 2] : 1;
    p->n = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    p->k = a->dims[a->rank - 1];
    struct tensor batch = *out, batch_a = *a, batch_b = *b;
    int n_matrix = (a->rank > 1) + (b->rank > 1);
    if (b->dims[b->rank > 1 ? b->rank - 2 : 0] != p->k || out->rank < n_matrix)
        return error_set(err, STATUS_INVALID_ARGUMENT, "inner dims differ");
    batch.rank = (uint8_t)(out->rank - n_matrix);
    batch_a.rank = a->rank > 2 ? a->rank - 2 : 0;
    batch_b.rank = b->rank > 2 ? b->rank - 2 : 0;
    if ((a->rank > 1 && out->dims[batch.rank] != p->m) ||
        (b->rank > 1 && out->dims[out->rank - 1] != p->n))
        return error_set(err, STATUS_INVALID_ARGUMENT, "output does not fit");
    p->rows = dims_product(batch_a.dims, batch_a.rank) * p->m;
    int64_t columns = dims_product(batch_b.dims, batch_b.rank) * p->n;
    TRY(check_parameter(p->a_zero, p->m, p->rows, err));
    TRY(check_parameter(p->a_scale, p->m, p->rows, err));
    TRY(check_parameter(p->b_zero, p->n, columns, err));
    TRY(check_parameter(p->b_scale, p->n, columns, err));
    const struct tensor *operands[] = {&batch_a, &batch_b};
    struct ref_walk w;
    TRY(ref_walk_broadcast(&w, &batch, operands, 2, err));
    int last = w.rank - 1;
    for (int64_t at = 0; !w.is_done; ref_walk_next_row(&w))
        for (int64_t i = 0; i < w.dims[last]; i++)
            for (int64_t r = 0; r < p->m * p->n; r++, at++) {
                int64_t matrix_a = w.offset[0] + i * w.strides[0][last];
                int64_t matrix_b = w.offset[1] + i * w.strides[1][last];
                int64_t row = matrix_a * p->m + r / p->n, column = matrix_b * p->n + r % p->n;
                double za = parameter(p->a_zero, row, p->m, 0);
                double zb = parameter(p->b_zero, column, p->n, 0), sum = 0;
                for (int64_t q = 0; q < p->k; q++)
                    sum += (ref_get(a, row * p->k + q) - za) *
                           (ref_get(b, (matrix_b * p->k + q) * p->n + r % p->n) - zb);
                put(arg, at, sum, row, column);
            }
    return STATUS_OK;
}

static void put_integer(void *arg, int64_t at, double sum, int64_t row, int64_t column) {
    (void)row;
    (void)column;
    ref_set_int(arg, at, (int64_t)sum);
}

static status matmul_integer(const struct kernel_call *c, const struct kernel_team *t,
                             struct error *err) {
    struct product p = {
        .a = c->in[0], .b = c->in[1], .a_zero = ref_in(c, 2), .b_zero = ref_in(c, 3)};
    (void)t;
    return product_run(&p, c->out[0], put_integer, c->out[0], err);
}

static bool accepts_bytes(const struct kernel_call *c) {
    if (!ref_accepts_fixed(c))
        return false;
    dtype a = c->in[0]->dtype, b = c->in[c->op == OP_QLinearMatMul ? 3 : 1]->dtype;
    return (a == DTYPE_U8 || a == DTYPE_I8) && (b == DTYPE_U8 || b == DTYPE_I8);
}

REF(MatMulInteger, accepts_bytes, matmul_integer)

struct quantized_put {
    const struct product *p;
    const struct tensor *scale, *zero;
    struct tensor *y;
};

static void put_quantized(void *arg, int64_t at, double sum, int64_t row, int64_t column) {
    const struct quantized_put *q = arg;
    double scale = parameter(q->p->a_scale, row, q->p->m, 1) *
                   parameter(q->p->b_scale, column, q->p->n, 1) / ref_get(q->scale, 0);
    ref_set(q->y, at, nearbyint(sum * scale) + ref_get(q->zero, 0)); /* saturates */
}

static status qlinear_matmul(const struct kernel_call *c, const struct kernel_team *t,
                             struct error *err) {
    struct product p = {.a = c->in[0],
                        .a_scale = c->in[1],
                        .a_zero = c->in[2],
                        .b = c->in[3],
                        .b_scale = c->in[4],
                        .b_zero = c->in[5]};
    struct quantized_put q = {.p = &p, .scale = c->in[6], .zero = c->in[7], .y = c->out[0]};
    (void)t;
    if (tensor_n_elements(q.scale) != 1 || tensor_n_elements(q.zero) != 1)
        return error_set(err, STATUS_UNIMPLEMENTED, "more than one scale for the output");
    return product_run(&p, c->out[0], put_quantized, &q, err);
}

REF(QLinearMatMul, accepts_bytes, qlinear_matmul)
