/* pool2d.h - MaxPool and AveragePool over [B, H, W, C] (template; see README). */
#ifndef KERNELS_SIMD_POOL2D_H
#define KERNELS_SIMD_POOL2D_H

#include "kernels/simd/image.h"

struct pool {
    struct window g;
    bool is_max, counts_padding, x_is_bf16, y_is_bf16;
};

static bool pool_accepts(const struct kernel_call *c) {
    return image_is_float(c->in[0]) && image_is_float(c->out[0]) && c->in[0]->rank == 4 &&
           image_window_is_plain(c->attrs);
}

/* The part of a window that lies inside: taps [*from, *to) of k at input position `start`. */
static inline void pool_clip(int64_t start, int64_t k, int64_t d, int64_t size, int64_t *from,
                             int64_t *to) {
    *from = start < 0 ? (-start + d - 1) / d : 0;
    *to = start >= size ? 0 : (size - start - 1) / d + 1;
    *to = *to < k ? *to : k;
}

/* The sum of pixels j0 .. j1 - 1 of one row of a window, channels at `at` of the first; n are
 * there. Short chains of additions keep the sum of a large window exact to a few units. */
SIMD_INLINE vf pool_row(bool is_bf16, const void *x, int64_t at, int64_t step, int64_t pixels,
                        int64_t n) {
    vf sum[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
    int64_t j = 0;
    for (; j + 4 <= pixels; j += 4)
        SIMD_FOR (4, k, 4)
            sum[k] += vf_load_as(is_bf16, x, at + (j + k) * step, n);
    for (; j < pixels; j++)
        sum[0] += vf_load_as(is_bf16, x, at + j * step, n);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Output pixel (oh, ow) of the image x, all channels, to element `at` of y. */
static void pool_pixel(const struct pool *p, const void *x, int64_t oh, int64_t ow, void *y,
                       int64_t at) {
    const struct window *g = &p->g;
    int64_t h = oh * g->sh - g->top, w = ow * g->sw - g->left, i0, i1, j0, j1;
    pool_clip(h, g->kh, g->dh, g->h, &i0, &i1);
    pool_clip(w, g->kw, g->dw, g->w, &j0, &j1);
    int64_t count = i1 > i0 && j1 > j0 ? (i1 - i0) * (j1 - j0) : 0;
    if (p->counts_padding) { /* padding counts, but not what ceil_mode adds after it */
        int64_t a0, a1, b0, b1;
        pool_clip(h + g->top, g->kh, g->dh, g->h + g->top + g->bottom, &a0, &a1);
        pool_clip(w + g->left, g->kw, g->dw, g->w + g->left + g->right, &b0, &b1);
        count = (a1 - a0) * (b1 - b0);
    }
    vf factor = vf_set(count ? 1 / (float)count : 0);
    for (int64_t c = 0; c < g->c; c += VL) {
        vf sum = vf_set(p->is_max ? -INFINITY : 0);
        for (int64_t i = i0; i < i1; i++) {
            int64_t from = ((h + i * g->dh) * g->w + w + j0 * g->dw) * g->c + c;
            int64_t step = g->dw * g->c;
            if (!p->is_max)
                sum += pool_row(p->x_is_bf16, x, from, step, j1 - j0, g->c - c);
            for (int64_t j = j0; p->is_max && j < j1; j++, from += step)
                sum = vf_max(sum, vf_load_as(p->x_is_bf16, x, from, g->c - c));
        }
        if (!p->is_max)
            sum *= factor;
        vf_store_as(p->y_is_bf16, y, at + c, sum, g->c - c);
    }
}

static status pool_run(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    (void)err;
    const struct tensor *x = c->in[0];
    int64_t kh = x->dims[1], kw = x->dims[2], from, to;
    bool is_global = attr_int(c->attrs, "global", 0) != 0;
    if (!is_global)
        image_pair(c->attrs, "kernel_shape", 1, &kh, &kw);
    struct pool p = {
        .g = window_of(c, kh, kw),
        .is_max = str_eq_c(attr_string(c->attrs, "kind", "max"), "max"),
        .counts_padding = attr_int(c->attrs, "count_include_pad", 0) != 0,
        .x_is_bf16 = x->dtype == DTYPE_BF16,
        .y_is_bf16 = c->out[0]->dtype == DTYPE_BF16,
    };
    struct window *g = &p.g;
    if (is_global) {
        g->sh = g->sw = g->dh = g->dw = 1;
        g->top = g->left = g->bottom = g->right = 0;
    }
    kernel_share(t, g->batch * g->oh * g->ow, 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int64_t b = i / (g->oh * g->ow), oh = i / g->ow % g->oh, ow = i % g->ow;
        const char *image = (const char *)x->data + b * g->h * g->w * g->c * g->size;
        pool_pixel(&p, image, oh, ow, c->out[0]->data, i * g->c);
    }
    return STATUS_OK;
}

const struct kernel LEVEL(pool2d) = {
    .name = LEVEL_NAME ".pool2d",
    .isa = LEVEL_ISA,
    .op = OP_Pool2d,
    .accepts = pool_accepts,
    .run = pool_run,
};

#endif
