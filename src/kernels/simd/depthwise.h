/* depthwise.h - Conv2d with one channel a group (template; see README).
 *
 * Vectors run over channels. The weights of a vector of channels stay in registers while the window
 * moves along a row of the image; rows and columns where the window leaves the image take a slower
 * way that asks for each tap. Weights are packed as F32 [KH * KW, C]. */
#ifndef KERNELS_SIMD_DEPTHWISE_H
#define KERNELS_SIMD_DEPTHWISE_H

#include "kernels/simd/gemm.h"
#include "kernels/simd/image.h"

enum { DEPTHWISE_PIXELS = 32 }; /* sums that wait for their tail */

static size_t depthwise_packed_size(const struct tensor *w) {
    return (size_t)(w->dims[0] * w->dims[1] * w->dims[2]) * sizeof(float);
}

/* w [C, KH, KW, 1] */
static void depthwise_pack(const struct tensor *w, void *to) {
    int64_t c = w->dims[0], taps = w->dims[1] * w->dims[2];
    for (int64_t i = 0; i < c; i++)
        for (int64_t t = 0; t < taps; t++) {
            uint32_t bits = w->dtype == DTYPE_BF16
                                ? (uint32_t)((const uint16_t *)w->data)[i * taps + t] << 16
                                : ((const uint32_t *)w->data)[i * taps + t];
            ((uint32_t *)to)[t * c + i] = bits;
        }
}

struct depthwise {
    struct window g;
    const float *w;    /* [KH * KW, C] */
    const float *bias; /* [C] or NULL */
    bool is_bf16;
};

/* Output pixel (oh, ow), channels c ... (n of them are there): any window, any border. */
SIMD_INLINE vf depthwise_pixel(const struct depthwise *p, const void *x, int64_t oh, int64_t ow,
                               int64_t c, int64_t n, vf sum) {
    const struct window *g = &p->g;
    for (int64_t i = 0; i < g->kh; i++) {
        int64_t h = oh * g->sh - g->top + i * g->dh;
        if (h < 0 || h >= g->h)
            continue;
        for (int64_t j = 0; j < g->kw; j++) {
            int64_t w = ow * g->sw - g->left + j * g->dw;
            if (w < 0 || w >= g->w)
                continue;
            sum = vf_fma(vf_load_as(p->is_bf16, x, (h * g->w + w) * g->c + c, n),
                         vf_load_as(false, p->w, (i * g->kw + j) * g->c + c, n), sum);
        }
    }
    return sum;
}

/* Pixels [w0, w1) of row oh, whose windows lie inside the image, a whole vector of channels. kh, kw
 * and is_bf16 are constants: the weights stay in registers. */
SIMD_INLINE void depthwise_inside(const struct depthwise *p, const void *x, int64_t oh, int64_t w0,
                                  int64_t w1, int64_t c, vf start, float *sums, int kh, int kw,
                                  bool is_bf16) {
    const struct window *g = &p->g;
    vf w[25];
    int64_t at = ((oh * g->sh - g->top) * g->w + w0 * g->sw - g->left) * g->c + c;
    int64_t row = g->dh * g->w * g->c, column = g->dw * g->c, step = g->sw * g->c;
#pragma GCC unroll 25
    for (int i = 0; i < kh * kw; i++)
        w[i] = vf_load(p->w + i * g->c + c);
    for (int64_t ow = w0; ow < w1; ow++, at += step) {
        vf sum = start;
#pragma GCC unroll 5
        for (int i = 0; i < kh; i++)
#pragma GCC unroll 5
            for (int j = 0; j < kw; j++)
                sum = vf_fma(vf_load_as(is_bf16, x, at + i * row + j * column, VL), w[i * kw + j],
                             sum);
        vf_store(sums + (ow - w0) * TILE_COLS, sum);
    }
}

/* Pixels [w0, w1) of row oh into sums [w1 - w0][TILE_COLS], channels c ... c + n. */
static void depthwise_vector(const struct depthwise *p, const void *x, int64_t oh, int64_t w0,
                             int64_t w1, int64_t c, int64_t n, float *sums) {
    const struct window *g = &p->g;
    vf start = p->bias ? vf_load_as(false, p->bias, c, n) : vf_set(0);
    int64_t top = oh * g->sh - g->top, reach = (g->kw - 1) * g->dw;
    int64_t lo = (g->left + g->sw - 1) / g->sw;
    int64_t hi = g->w + g->left - reach <= 0 ? 0 : (g->w + g->left - reach - 1) / g->sw + 1;
    bool is_3 = g->kh == 3 && g->kw == 3, is_5 = g->kh == 5 && g->kw == 5;
    bool inside = n >= VL && (is_3 || is_5) && top >= 0 && top + (g->kh - 1) * g->dh < g->h;
    lo = !inside || lo > w1 ? w1 : lo < w0 ? w0 : lo;
    hi = hi > w1 ? w1 : hi < lo ? lo : hi;
    for (int64_t ow = w0; ow < lo; ow++)
        vf_store(sums + (ow - w0) * TILE_COLS, depthwise_pixel(p, x, oh, ow, c, n, start));
    float *middle = sums + (lo - w0) * TILE_COLS;
    if (hi > lo && is_3 && p->is_bf16)
        depthwise_inside(p, x, oh, lo, hi, c, start, middle, 3, 3, true);
    else if (hi > lo && is_3)
        depthwise_inside(p, x, oh, lo, hi, c, start, middle, 3, 3, false);
    else if (hi > lo && p->is_bf16)
        depthwise_inside(p, x, oh, lo, hi, c, start, middle, 5, 5, true);
    else if (hi > lo)
        depthwise_inside(p, x, oh, lo, hi, c, start, middle, 5, 5, false);
    for (int64_t ow = hi; ow < w1; ow++)
        vf_store(sums + (ow - w0) * TILE_COLS, depthwise_pixel(p, x, oh, ow, c, n, start));
}

static status depthwise_run(const struct kernel_call *c, const struct kernel_team *t) {
    const struct tensor *x = c->in[0], *w = c->in[1];
    const struct tensor *bias = c->n_in > 2 ? c->in[2] : NULL;
    struct depthwise p = {
        .g = window_of(c, w->dims[1], w->dims[2]),
        .w = w->data,
        .bias = bias ? bias->data : NULL,
        .is_bf16 = x->dtype == DTYPE_BF16,
    };
    const struct window *g = &p.g;
    float sums[DEPTHWISE_PIXELS * TILE_COLS] __attribute__((aligned(64)));
    struct tail tail;
    int64_t from, to;
    LEVEL(tail_init)(&tail, c->attrs, c->n_in > 3 ? c->in[3] : NULL, c->out[0], g->oc);
    kernel_share(t, g->batch * g->oh, 1, &from, &to);
    for (int64_t row = from; row < to; row++) {
        const char *image = (const char *)x->data + row / g->oh * g->h * g->w * g->c * g->size;
        for (int64_t w0 = 0; w0 < g->ow; w0 += DEPTHWISE_PIXELS)
            for (int64_t c0 = 0; c0 < g->c; c0 += TILE_COLS) {
                int64_t w1 = w0 + DEPTHWISE_PIXELS < g->ow ? w0 + DEPTHWISE_PIXELS : g->ow;
                int64_t cols = g->c - c0 < TILE_COLS ? g->c - c0 : TILE_COLS;
                for (int64_t v = 0; v < cols; v += VL)
                    depthwise_vector(&p, image, row % g->oh, w0, w1, c0 + v, cols - v, sums + v);
                LEVEL(tail_run)(&tail, sums, TILE_COLS, row * g->ow + w0, w1 - w0, c0, cols);
            }
    }
    return STATUS_OK;
}

#endif
