/* linear.h - Linear: x [..., K] w [K, N] + bias, then the tail (template; see README). */
#ifndef KERNELS_SIMD_LINEAR_H
#define KERNELS_SIMD_LINEAR_H

#include "kernels/simd/gemm.h"

#include <string.h>

static const struct tile_kind *linear_kind(const struct kernel_call *c) {
    return gemm_kind(c->in[0], c->in[1]);
}

static bool linear_accepts(const struct kernel_call *c) {
    const struct tensor *x = c->in[0], *w = c->in[1];
    bool fits = x->dtype == DTYPE_BF16 || (x->dtype == DTYPE_F32 && LEVEL_TAKES_F32);
    bool agrees = w->dtype == x->dtype || (x->dtype == DTYPE_F32 && w->dtype == DTYPE_BF16);
    return fits && agrees && w->data && x->rank >= 1 && w->rank == 2;
}

static size_t linear_packed_size(const struct kernel_call *c, size_t input) {
    const struct tensor *w = c->in[1];
    return input == 1 ? LEVEL(gemm_packed_size)(linear_kind(c), w->dims[0], w->dims[1]) : 0;
}

static void linear_pack(const struct kernel_call *c, size_t input, void *to) {
    const struct tensor *w = c->in[input];
    int64_t k = w->dims[0], n = w->dims[1];
    LEVEL(gemm_pack)(linear_kind(c), w->data, k, n, n, 1, 0, n, to);
}

/* An odd row of bf16 is copied, so that the last pair can be read whole. */
static bool linear_copies(const struct kernel_call *c) {
    return c->in[1]->dims[0] % linear_kind(c)->group != 0;
}

static int64_t linear_rows(const struct kernel_call *c) {
    return dims_product(c->in[0]->dims, c->in[0]->rank - 1u);
}

static size_t linear_scratch(const struct kernel_call *c, unsigned n_threads) {
    if (!linear_copies(c))
        return gemm_room_size(linear_kind(c), c->in[1]->dims[0]) * n_threads;
    return (size_t)(linear_rows(c) * (c->in[1]->dims[0] + 1)) * sizeof(uint16_t);
}

static float *linear_room(const struct kernel_call *c, unsigned thread) {
    size_t size = gemm_room_size(linear_kind(c), c->in[1]->dims[0]);
    return size ? (float *)c->scratch + size / sizeof(float) * thread : NULL;
}

static status linear_run(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    (void)err;
    static const int64_t no_tap = 0;
    const struct tensor *x = c->in[0], *w = c->in[1];
    const struct tensor *bias = c->n_in > 2 ? c->in[2] : NULL;
    const struct tensor *residual = c->n_in > 3 ? c->in[3] : NULL;
    const struct tile_kind *kind = linear_kind(c);
    int64_t m = linear_rows(c), k = w->dims[0], n = w->dims[1];
    struct gemm g = {
        .kind = kind,
        .n = n,
        .x = x->data,
        .per_line = INT64_MAX,
        .step = k * kind->size,
        .taps = &no_tap,
        .n_taps = 1,
        .k = k,
        .w = w->data,
        .room = linear_room(c, t->thread),
        .bias = bias ? bias->data : NULL,
    };
    LEVEL(tail_init)(&g.tail, c->attrs, residual, c->out[0], n);
    if (linear_copies(c)) {
        int64_t from, to;
        uint16_t *rows = c->scratch; /* [M, K + 1] */
        kernel_share(t, m, 1, &from, &to);
        for (int64_t i = from; i < to; i++) {
            memcpy(rows + i * (k + 1), (const uint16_t *)x->data + i * k, (size_t)k * 2);
            rows[i * (k + 1) + k] = 0;
        }
        g.x = rows;
        g.step = (k + 1) * kind->size;
        t->barrier(t->barrier_arg);
    }
    LEVEL(gemm_share)(&g, m, t);
    return STATUS_OK;
}

const struct kernel LEVEL(linear) = {
    .name = LEVEL_NAME ".linear",
    .isa = LEVEL_ISA,
    .op = OP_Linear,
    .accepts = linear_accepts,
    .packed_size = linear_packed_size,
    .pack = linear_pack,
    .scratch = linear_scratch,
    .run = linear_run,
};

#endif
