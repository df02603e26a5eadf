/* depthwise.h - Conv2d with one channel a group (template; see README).
 *
 * Work goes by vectors of channels. The rows of the image that the window lies on are copied to a
 * ring of strips [PW, VL] of F32, with zeros where the padding is: they stay in the L1 cache, an
 * element is widened once, and no pixel is a border case. Along a row, neighbouring windows share
 * what they load, and the weights of 3 x 3 and 5 x 5 stay in registers. Weights are packed as F32
 * [KH * KW, C]. */
#ifndef KERNELS_SIMD_DEPTHWISE_H
#define KERNELS_SIMD_DEPTHWISE_H

#include "kernels/simd/gemm.h"
#include "kernels/simd/image.h"

enum { DEPTHWISE_PIXELS = 32, DEPTHWISE_ROWS_MAX = 64 }; /* sums that wait for their tail; ring */

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
    int64_t pw, reach; /* pixels of a strip; rows from a window's first to its last, and one */
};

/* The ring of a vector of channels. */
struct depthwise_ring {
    float *strips;  /* [reach][pw, VL]; row h of the image is strip h % reach */
    float *zero;    /* [pw, VL] for rows outside */
    int64_t filled; /* rows below it have been copied */
};

/* Row h of image x, channels c ... (n of them are there), to its strip. */
static void depthwise_fill(const struct depthwise *p, const char *x, int64_t h, int64_t c,
                           int64_t n, float *strip) {
    const struct window *g = &p->g;
    int64_t left = g->left < p->pw ? g->left : p->pw, at = h * g->w * g->c + c;
    int64_t w = g->w < p->pw - left ? g->w : p->pw - left;
    memset(strip, 0, (size_t)(left * VL) * sizeof *strip);
    strip += left * VL;
    if (p->is_bf16 && n >= VL)
        for (int64_t i = 0; i < w; i++, at += g->c)
            vf_store(strip + i * VL, vf_load_bf16((const uint16_t *)x + at));
    else
        for (int64_t i = 0; i < w; i++, at += g->c)
            vf_store(strip + i * VL, vf_load_as(p->is_bf16, x, at, n));
    memset(strip + w * VL, 0, (size_t)((p->pw - left - w) * VL) * sizeof *strip);
}

/* `pixels` neighbours in a row of the output, the first with its window at `rows` + at. All but the
 * addresses are constants: an input is loaded once for all windows that it lies in. */
SIMD_INLINE void depthwise_block(const float *const *rows, int64_t at, const vf *weights, vf bias,
                                 float *sums, int k, int stride, int pixels) {
    vf sum[8];
    SIMD_FOR (8, p, pixels)
        sum[p] = vf_set(0);
    SIMD_FOR (5, i, k)
        SIMD_FOR (24, j, k + (pixels - 1) * stride) {
            vf v = vf_load(rows[i] + at + j * VL);
            SIMD_FOR (8, p, pixels)
                if (j - p * stride >= 0 && j - p * stride < k)
                    sum[p] = vf_fma(v, weights[i * k + j - p * stride], sum[p]);
        }
    SIMD_FOR (8, p, pixels)
        vf_store(sums + p * VL, sum[p] + bias);
}

/* Pixels [w0, w1) of a row of the output; rows: the strips under the window; k and stride are
 * constants. */
SIMD_INLINE void depthwise_row(const float *const *rows, const vf *w, int64_t w0, int64_t w1,
                               vf bias, float *sums, int k, int stride) {
    const int pixels = k == 3 ? 8 : 4;
    int64_t ow = w0;
    for (; ow + pixels <= w1; ow += pixels)
        depthwise_block(rows, ow * stride * VL, w, bias, sums + (ow - w0) * VL, k, stride, pixels);
    for (; ow < w1; ow++)
        depthwise_block(rows, ow * stride * VL, w, bias, sums + (ow - w0) * VL, k, stride, 1);
}

/* The same for any window; `weights` [KH * KW, C] for these channels, of which n are there. */
static void depthwise_any(const struct depthwise *p, const float *const *rows, const float *weights,
                          int64_t n, int64_t w0, int64_t w1, vf bias, float *sums) {
    const struct window *g = &p->g;
    for (int64_t ow = w0; ow < w1; ow++) {
        vf sum = vf_set(0);
        for (int64_t i = 0; i < g->kh; i++)
            for (int64_t j = 0; j < g->kw; j++)
                sum = vf_fma(vf_load(rows[i] + (ow * g->sw + j * g->dw) * VL),
                             vf_load_as(false, weights, (i * g->kw + j) * g->c, n), sum);
        vf_store(sums + (ow - w0) * VL, sum + bias);
    }
}

/* One row of the output for channels c ... of image b. */
static void depthwise_line(const struct depthwise *p, const float *const *rows, const vf *weights,
                           int64_t oh, int64_t c, int64_t n, const struct tail *tail) {
    const struct window *g = &p->g;
    float sums[DEPTHWISE_PIXELS * VL] __attribute__((aligned(64)));
    vf bias = p->bias ? vf_load_as(false, p->bias, c, n) : vf_set(0);
    int kind = g->kh == g->kw && g->sw <= 2 && g->dw == 1 ? (int)(g->kw * 2 + g->sw) : 0;
    for (int64_t w0 = 0; w0 < g->ow; w0 += DEPTHWISE_PIXELS) {
        int64_t w1 = w0 + DEPTHWISE_PIXELS < g->ow ? w0 + DEPTHWISE_PIXELS : g->ow;
        if (kind == 3 * 2 + 1)
            depthwise_row(rows, weights, w0, w1, bias, sums, 3, 1);
        else if (kind == 3 * 2 + 2)
            depthwise_row(rows, weights, w0, w1, bias, sums, 3, 2);
        else if (kind == 5 * 2 + 1)
            depthwise_row(rows, weights, w0, w1, bias, sums, 5, 1);
        else if (kind == 5 * 2 + 2)
            depthwise_row(rows, weights, w0, w1, bias, sums, 5, 2);
        else
            depthwise_any(p, rows, p->w + c, n, w0, w1, bias, sums);
        LEVEL(tail_run)(tail, sums, VL, oh * g->ow + w0, w1 - w0, c, n < VL ? n : VL);
    }
}

/* Rows [from, to) of all images' outputs together, for one vector of channels. */
static void depthwise_channels(const struct depthwise *p, const struct kernel_call *c, int64_t from,
                               int64_t to, int64_t channel, struct depthwise_ring *ring,
                               const struct tail *tail) {
    const struct window *g = &p->g;
    const float *rows[DEPTHWISE_ROWS_MAX];
    int64_t n = g->c - channel;
    vf weights[25];
    for (int64_t i = 0; i < g->kh * g->kw && i < 25; i++)
        weights[i] = vf_load_as(false, p->w, i * g->c + channel, n);
    for (int64_t row = from; row < to; row++) {
        const char *x = (const char *)c->in[0]->data + row / g->oh * g->h * g->w * g->c * g->size;
        int64_t top = row % g->oh * g->sh - g->top;
        if (row == from || row % g->oh == 0)
            ring->filled = 0;
        ring->filled = ring->filled > top ? ring->filled : top > 0 ? top : 0;
        for (; ring->filled < top + p->reach && ring->filled < g->h; ring->filled++)
            depthwise_fill(p, x, ring->filled, channel, n,
                           ring->strips + ring->filled % p->reach * p->pw * VL);
        for (int64_t i = 0; i < g->kh; i++) {
            int64_t h = top + i * g->dh;
            bool is_outside = h < 0 || h >= g->h;
            rows[i] = is_outside ? ring->zero : ring->strips + h % p->reach * p->pw * VL;
        }
        depthwise_line(p, rows, weights, row, channel, n, tail);
    }
}

static struct depthwise depthwise_of(const struct kernel_call *c) {
    const struct tensor *w = c->in[1], *bias = c->n_in > 2 ? c->in[2] : NULL;
    struct depthwise p = {
        .g = window_of(c, w->dims[1], w->dims[2]),
        .w = w->data,
        .bias = bias ? bias->data : NULL,
        .is_bf16 = c->in[0]->dtype == DTYPE_BF16,
    };
    p.pw = (p.g.ow - 1) * p.g.sw + (p.g.kw - 1) * p.g.dw + 1;
    p.reach = (p.g.kh - 1) * p.g.dh + 1;
    return p;
}

/* Floats of one thread's ring. */
static int64_t depthwise_room(const struct depthwise *p) {
    return p->pw > 0 ? (p->reach + 1) * p->pw * VL : 0;
}

static size_t depthwise_scratch(const struct kernel_call *c, unsigned n_threads) {
    struct depthwise p = depthwise_of(c);
    return (size_t)depthwise_room(&p) * sizeof(float) * n_threads;
}

static status depthwise_run(const struct kernel_call *c, const struct kernel_team *t) {
    struct depthwise p = depthwise_of(c);
    struct depthwise_ring ring = {.strips = (float *)c->scratch + depthwise_room(&p) * t->thread};
    struct tail tail;
    int64_t from, to;
    LEVEL(tail_init)(&tail, c->attrs, c->n_in > 3 ? c->in[3] : NULL, c->out[0], p.g.oc);
    kernel_share(t, p.g.batch * p.g.oh, 1, &from, &to);
    if (from >= to || p.pw <= 0)
        return STATUS_OK;
    ring.zero = ring.strips + p.reach * p.pw * VL;
    memset(ring.zero, 0, (size_t)(p.pw * VL) * sizeof(float));
    for (int64_t channel = 0; channel < p.g.c; channel += VL)
        depthwise_channels(&p, c, from, to, channel, &ring, &tail);
    return STATUS_OK;
}

#endif
