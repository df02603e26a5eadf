/* matmul.h - ONNX MatMul where both sides are activations (template; see README).
 *
 * The right side is packed in scratch: by each thread for itself when there are matrices enough for
 * all, else together. */
#ifndef KERNELS_SIMD_MATMUL_H
#define KERNELS_SIMD_MATMUL_H

#include "kernels/simd/gemm.h"

struct matmul {
    const struct tile_kind *kind;
    int64_t m, n, k, batch;
    size_t packed; /* bytes of one packed right side, whole cache lines */
};

static const struct tile_kind *matmul_kind(const struct tensor *t) {
    return t->dtype == DTYPE_BF16 ? &LEVEL(tile_bf16) : &LEVEL(tile_f32);
}

static bool matmul_accepts(const struct kernel_call *c) {
    const struct tensor *a = c->in[0], *b = c->in[1], *y = c->out[0];
    bool fits = a->dtype == DTYPE_BF16 || (a->dtype == DTYPE_F32 && LEVEL_TAKES_F32);
    int64_t k = a->rank >= 2 ? a->dims[a->rank - 1] : -1;
    bool whole = a->dtype == DTYPE_F32 || LEVEL(tile_bf16).group == 1 || (k > 0 && k % 2 == 0);
    return fits && whole && b->dtype == a->dtype && a->rank >= 2 && b->rank >= 2 &&
           (y->dtype == DTYPE_F32 || y->dtype == DTYPE_BF16);
}

static struct matmul matmul_of(const struct kernel_call *c) {
    const struct tensor *a = c->in[0], *b = c->in[1], *y = c->out[0];
    struct matmul p = {
        .kind = matmul_kind(a),
        .m = a->dims[a->rank - 2],
        .k = a->dims[a->rank - 1],
        .n = b->dims[b->rank - 1],
        .batch = dims_product(y->dims, y->rank - 2u),
    };
    p.packed = (LEVEL(gemm_packed_size)(p.kind, p.k, p.n) + 63) / 64 * 64;
    return p;
}

static size_t matmul_scratch(const struct kernel_call *c, unsigned n_threads) {
    struct matmul p = matmul_of(c);
    return p.packed * (p.batch >= n_threads ? n_threads : 1);
}

/* Which matrix of operand x belongs to matrix i of y: axes of size 1 are shared. */
static int64_t matmul_index(const struct tensor *x, const struct tensor *y, int64_t i) {
    int64_t at = 0, step = 1;
    for (int d = y->rank - 3; d >= 0; d--) {
        int e = d - (y->rank - x->rank);
        if (e >= 0) {
            at += x->dims[e] == 1 ? 0 : i % y->dims[d] * step;
            step *= x->dims[e];
        }
        i /= y->dims[d];
    }
    return at;
}

static status matmul_run(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    (void)err;
    static const int64_t no_tap = 0;
    const struct tensor *a = c->in[0], *b = c->in[1];
    struct tensor *y = c->out[0];
    struct matmul p = matmul_of(c);
    struct gemm g = {
        .kind = p.kind,
        .n = p.n,
        .per_line = INT64_MAX,
        .step = p.k * p.kind->size,
        .taps = &no_tap,
        .n_taps = 1,
        .k = p.k,
        .tail = {.scale = 1, .ld_y = p.n, .y_is_bf16 = y->dtype == DTYPE_BF16},
    };
    int64_t size_y = p.m * p.n * (y->dtype == DTYPE_BF16 ? 2 : 4), from, to;
    bool alone = p.batch >= t->n_threads;
    kernel_share(t, p.batch, 1, &from, &to);
    if (!alone) {
        from = 0;
        to = p.batch;
    }
    char *packed = (char *)c->scratch + (alone ? p.packed * t->thread : 0);
    g.w = packed;
    int64_t last = -1, n0 = 0, n1 = p.n;
    if (!alone)
        kernel_share(t, p.n, TILE_COLS, &n0, &n1);
    for (int64_t i = from; i < to; i++) {
        int64_t ia = matmul_index(a, y, i), ib = matmul_index(b, y, i);
        const char *w = (const char *)b->data + ib * p.k * p.n * p.kind->size;
        if (ib != last && !alone && i > from)
            t->barrier(t->barrier_arg); /* nobody still reads the one before */
        if (ib != last)
            LEVEL(gemm_pack)(p.kind, w, p.k, p.n, p.n, 1, n0, n1, packed);
        if (ib != last && !alone)
            t->barrier(t->barrier_arg);
        last = ib;
        g.x = (const char *)a->data + ia * p.m * p.k * p.kind->size;
        g.tail.y = (char *)y->data + i * size_y;
        if (alone)
            LEVEL(gemm_run)(&g, 0, p.m, 0, p.n);
        else
            LEVEL(gemm_share)(&g, p.m, t);
    }
    return STATUS_OK;
}

const struct kernel LEVEL(matmul) = {
    .name = LEVEL_NAME ".matmul",
    .isa = LEVEL_ISA,
    .op = OP_MatMul,
    .accepts = matmul_accepts,
    .scratch = matmul_scratch,
    .run = matmul_run,
};

#endif
