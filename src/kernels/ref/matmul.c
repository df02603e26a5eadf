/* Matrix products; sums are kept in double. */
#include <inttypes.h>

#include "kernels/ref/ref_internal.h"

enum { TILE = 64 }; /* columns summed at a time */

/* A matrix inside a tensor: element (i, j) lies at base + i * row + j * column. */
struct matrix {
    const struct tensor *t;
    int64_t base, row, column;
};

/* to[0 .. n) = row i of a times columns j .. j + n of b; n <= TILE. */
static void product_f64(double *to, const struct matrix *a, const struct matrix *b, int64_t i,
                        int64_t j, int64_t n, int64_t k) {
    union ref_chunk v;
    memset(to, 0, (size_t)n * sizeof *to);
    for (int64_t p = 0; p < k; p++) {
        double x = ref_get(a->t, a->base + i * a->row + p * a->column);
        ref_load(&v, WIDE_F64, b->t, b->base + p * b->row + j * b->column, b->column, n);
        for (int64_t q = 0; q < n; q++)
            to[q] += x * v.f64[q];
    }
}

static void product_i64(int64_t *to, const struct matrix *a, const struct matrix *b, int64_t i,
                        int64_t j, int64_t n, int64_t k) {
    union ref_chunk v;
    memset(to, 0, (size_t)n * sizeof *to);
    for (int64_t p = 0; p < k; p++) {
        uint64_t x = (uint64_t)ref_get_int(a->t, a->base + i * a->row + p * a->column);
        ref_load(&v, WIDE_I64, b->t, b->base + p * b->row + j * b->column, b->column, n);
        for (int64_t q = 0; q < n; q++)
            to[q] = (int64_t)((uint64_t)to[q] + x * v.u64[q]);
    }
}

/* The m x n block of `out` at `base` = a b. */
static void multiply(struct tensor *out, int64_t base, const struct matrix *a,
                     const struct matrix *b, int64_t m, int64_t n, int64_t k) {
    bool is_float = dtype_is_float(out->dtype);
    for (int64_t j = 0; j < n; j += TILE)
        for (int64_t i = 0; i < m; i++) {
            union ref_chunk sums;
            int64_t w = n - j < TILE ? n - j : TILE;
            if (is_float)
                product_f64(sums.f64, a, b, i, j, w, k);
            else
                product_i64(sums.i64, a, b, i, j, w, k);
            ref_store(out, base + i * n + j, 1, w, is_float ? WIDE_F64 : WIDE_I64, &sums);
        }
}

/* The operands as batches of matrices; a vector is a row or a column. */
static status matmul(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *a = c->in[0], *b = c->in[1];
    struct tensor *out = c->out[0];
    if (a->rank < 1 || b->rank < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "an operand is a scalar");
    int64_t m = a->rank > 1 ? a->dims[a->rank - 2] : 1, k = a->dims[a->rank - 1];
    int64_t n = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    struct tensor batch = *out, batch_a = *a, batch_b = *b;
    int n_matrix = (a->rank > 1) + (b->rank > 1);
    (void)t;
    batch_a.rank = a->rank > 2 ? a->rank - 2 : 0;
    batch_b.rank = b->rank > 2 ? b->rank - 2 : 0;
    if (b->dims[b->rank > 1 ? b->rank - 2 : 0] != k || out->rank < n_matrix)
        return error_set(err, STATUS_INVALID_ARGUMENT, "inner dims are %" PRId64 " and %" PRId64, k,
                         b->dims[b->rank > 1 ? b->rank - 2 : 0]);
    batch.rank = (uint8_t)(out->rank - n_matrix);
    if ((a->rank > 1 && out->dims[batch.rank] != m) ||
        (b->rank > 1 && out->dims[out->rank - 1] != n))
        return error_set(err, STATUS_INVALID_ARGUMENT, "output is not %" PRId64 " x %" PRId64, m,
                         n);
    const struct tensor *operands[] = {&batch_a, &batch_b};
    struct ref_walk w;
    TRY(ref_walk_broadcast(&w, &batch, operands, 2, err));
    int last = w.rank - 1;
    for (int64_t at = 0; !w.is_done; ref_walk_next_row(&w))
        for (int64_t i = 0; i < w.dims[last]; i++, at++) {
            struct matrix x = {.t = a, .row = k, .column = 1}, y = {.t = b, .row = n, .column = 1};
            x.base = (w.offset[0] + i * w.strides[0][last]) * m * k;
            y.base = (w.offset[1] + i * w.strides[1][last]) * k * n;
            multiply(out, at * m * n, &x, &y, m, n, k);
        }
    return STATUS_OK;
}

REF(MatMul, ref_accepts_number, matmul)

/* --- Gemm --- */

static status gemm(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *a = c->in[0], *b = c->in[1], *bias = ref_in(c, 2);
    struct tensor *out = c->out[0];
    bool ta = attr_int(c->attrs, "transA", 0) != 0, tb = attr_int(c->attrs, "transB", 0) != 0;
    double alpha = attr_float(c->attrs, "alpha", 1), beta = attr_float(c->attrs, "beta", 1);
    (void)t;
    if (a->rank != 2 || b->rank != 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "operands have rank %d and %d", a->rank,
                         b->rank);
    int64_t m = a->dims[ta], k = a->dims[!ta], n = b->dims[!tb];
    TRY(ref_want_dims("output", out, (const int64_t[]){m, n}, 2, err));
    if (b->dims[tb] != k)
        return error_set(err, STATUS_INVALID_ARGUMENT, "inner dims are %" PRId64 " and %" PRId64, k,
                         b->dims[tb]);
    struct ref_walk w = {0};
    const struct tensor *spread = bias ? bias : out;
    TRY(ref_walk_broadcast(&w, out, &spread, 1, err)); /* checks; may merge rows */
    struct matrix x = {.t = a, .row = ta ? 1 : k, .column = ta ? m : 1};
    struct matrix y = {.t = b, .row = tb ? 1 : n, .column = tb ? k : 1};
    int64_t sr = bias && bias->rank == 2 && bias->dims[0] != 1 ? bias->dims[1] : 0;
    int64_t sc = bias && bias->rank && bias->dims[bias->rank - 1] != 1 ? 1 : 0;
    bool is_float = dtype_is_float(out->dtype);
    for (int64_t j = 0; j < n; j += TILE)
        for (int64_t i = 0; i < m; i++) {
            union ref_chunk sums, add;
            int64_t width = n - j < TILE ? n - j : TILE;
            if (is_float)
                product_f64(sums.f64, &x, &y, i, j, width, k);
            else
                product_i64(sums.i64, &x, &y, i, j, width, k);
            for (int64_t q = 0; q < width && !is_float; q++)
                sums.f64[q] = (double)sums.i64[q];
            if (bias)
                ref_load(&add, WIDE_F64, bias, i * sr + j * sc, sc, width);
            for (int64_t q = 0; q < width; q++)
                sums.f64[q] = alpha * sums.f64[q] + (bias ? beta * add.f64[q] : 0);
            ref_store(out, i * n + j, 1, width, WIDE_F64, &sums);
        }
    return STATUS_OK;
}

REF(Gemm, ref_accepts_number, gemm)
