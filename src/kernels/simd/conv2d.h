/* conv2d.h - Conv2d over [B, H, W, C] as a product of matrices without im2col (template; see
 * README).
 *
 * The rows of the left matrix are output pixels: a tile reads each row at its pixel's address plus
 * the offset of a tap. Since neighbours in a row of the image are neighbours in memory, the taps of
 * one kernel row are one run of KW * C elements (KW taps with dilation or groups). Padding is a
 * zero border around a copy of the image in scratch; where there is none the image is read in
 * place. A bf16 run of odd length is rounded up: it meets a weight of zero, and always the copy, so
 * that nothing is read past the image. */
#ifndef KERNELS_SIMD_CONV2D_H
#define KERNELS_SIMD_CONV2D_H

#include "kernels/simd/depthwise.h"
#include "kernels/simd/gemm.h"
#include "kernels/simd/image.h"

struct conv {
    struct window g;
    const struct tile_kind *kind;
    int64_t group, n, k;  /* groups; columns and channels of one */
    int64_t n_taps, run;  /* runs of elements that lie side by side */
    int64_t padded_run;   /* as packed */
    int64_t ph, pw;       /* the padded image */
    bool copies;          /* whether the image is copied */
    size_t packed, image; /* bytes of one group's weights; of one padded image with slack */
    size_t taps;          /* bytes of the offsets */
};

static bool conv_is_depthwise(const struct kernel_call *c) {
    int64_t group = attr_int(c->attrs, "group", 1);
    const int64_t *w = c->in[1]->dims;
    return group > 1 && w[0] == group && w[3] == 1 && w[1] <= DEPTHWISE_ROWS_MAX;
}

static bool conv_accepts(const struct kernel_call *c) {
    const struct tensor *x = c->in[0], *w = c->in[1];
    bool fits = x->dtype == DTYPE_BF16 || (x->dtype == DTYPE_F32 && LEVEL_TAKES_F32);
    bool agrees = w->dtype == x->dtype || (x->dtype == DTYPE_F32 && w->dtype == DTYPE_BF16) ||
                  (conv_is_depthwise(c) && w->dtype == DTYPE_F32);
    return fits && agrees && w->data && x->rank == 4 && w->rank == 4 && image_is_float(c->out[0]) &&
           image_window_is_plain(c->attrs);
}

/* What the weights and attributes say; the image's size may be unknown. */
static struct conv conv_of(const struct kernel_call *c) {
    const struct tensor *x = c->in[0], *w = c->in[1];
    struct conv p = {
        .g = window_of(c, w->dims[1], w->dims[2]),
        .kind = gemm_kind(x, w),
        .group = attr_int(c->attrs, "group", 1),
        .k = w->dims[3],
    };
    struct window *g = &p.g;
    bool joins = p.group == 1 && (g->dw == 1 || g->kw == 1);
    p.n = w->dims[0] / p.group;
    p.n_taps = g->kh * (joins ? 1 : g->kw);
    p.run = p.k * (joins ? g->kw : 1);
    p.padded_run = (p.run + p.kind->group - 1) / p.kind->group * p.kind->group;
    p.packed = LEVEL(gemm_packed_size)(p.kind, p.padded_run * p.n_taps, p.n);
    p.taps = (size_t)p.n_taps * sizeof(int64_t);
    p.ph = (g->oh - 1) * g->sh + (g->kh - 1) * g->dh + 1;
    p.pw = (g->ow - 1) * g->sw + (g->kw - 1) * g->dw + 1;
    p.copies = g->top || g->left || p.ph > g->h || p.pw > g->w || p.padded_run != p.run;
    p.image = p.copies && p.ph > 0 && p.pw > 0
                  ? ((size_t)(p.ph * p.pw * g->c * g->size) + IMAGE_SLACK + 63) / 64 * 64
                  : 0;
    if (!p.copies) {
        p.ph = g->h;
        p.pw = g->w;
    }
    return p;
}

static size_t conv_packed_size(const struct kernel_call *c, size_t input) {
    if (input != 1)
        return 0;
    if (conv_is_depthwise(c))
        return depthwise_packed_size(c->in[1]);
    struct conv p = conv_of(c);
    return p.packed * (size_t)p.group;
}

static void conv_pack(const struct kernel_call *c, size_t input, void *to) {
    const struct tensor *w = c->in[input];
    if (conv_is_depthwise(c)) {
        depthwise_pack(w, to);
        return;
    }
    struct conv p = conv_of(c);
    int64_t row = p.run * p.n_taps, size = p.kind->w_size;
    for (int64_t i = 0; i < p.group; i++)
        for (int64_t n = 0; n < p.n; n += TILE_COLS) {
            int64_t cols = p.n - n < TILE_COLS ? p.n - n : TILE_COLS;
            const char *from = (const char *)w->data + (i * p.n + n) * row * size;
            char *panel = (char *)to + (size_t)i * p.packed + n * p.padded_run * p.n_taps * size;
            size_t tap_size = LEVEL(gemm_packed_size)(p.kind, p.run, cols);
            for (int64_t t = 0; t < p.n_taps; t++)
                LEVEL(gemm_pack)(p.kind, from + t * p.run * size, p.run, cols, 1, row, 0, cols,
                                 panel + (size_t)t * tap_size);
        }
}

/* Bytes of one thread's widened panel, the last part of scratch. */
static size_t conv_room(const struct conv *p) {
    return gemm_room_size(p->kind, p->padded_run * p->n_taps);
}

static size_t conv_scratch(const struct kernel_call *c, unsigned n_threads) {
    if (conv_is_depthwise(c))
        return depthwise_scratch(c, n_threads);
    struct conv p = conv_of(c);
    int64_t images = p.g.batch < n_threads ? 1 : n_threads;
    return (p.taps + 63) / 64 * 64 + p.image * (size_t)images + conv_room(&p) * n_threads;
}

/* The product for group `i` of one image, `x` [ph, pw, c]. */
static struct gemm conv_gemm(const struct conv *p, const struct kernel_call *c, const char *x,
                             const int64_t *taps, int64_t image, int64_t i) {
    const struct window *g = &p->g;
    const struct tensor *bias = c->n_in > 2 ? c->in[2] : NULL;
    const struct tensor *residual = c->n_in > 3 ? c->in[3] : NULL;
    struct gemm m = {
        .kind = p->kind,
        .n = p->n,
        .x = x + i * p->k * g->size,
        .per_line = g->ow,
        .line_step = g->sh * p->pw * g->c * g->size,
        .step = g->sw * g->c * g->size,
        .taps = taps,
        .n_taps = p->n_taps,
        .k = p->run,
        .w = (const char *)c->in[1]->data + (size_t)i * p->packed,
        .bias = bias ? (const float *)bias->data + i * p->n : NULL,
    };
    LEVEL(tail_init)(&m.tail, c->attrs, residual, c->out[0], g->oc);
    int64_t at = image * g->oh * g->ow * g->oc + i * p->n;
    m.tail.y = (char *)m.tail.y + at * (m.tail.y_is_bf16 ? 2 : 4);
    if (residual)
        m.tail.residual = (const char *)residual->data + at * (m.tail.residual_is_bf16 ? 2 : 4);
    return m;
}

/* A pointwise convolution without stride is a product over all pixels of all images. */
static bool conv_is_pointwise(const struct conv *p) {
    const struct window *g = &p->g;
    return g->kh == 1 && g->kw == 1 && g->sh == 1 && g->sw == 1 && !p->copies;
}

static status conv_run(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    (void)err;
    if (conv_is_depthwise(c))
        return depthwise_run(c, t);
    struct conv p = conv_of(c);
    const struct window *g = &p.g;
    int64_t *taps = c->scratch, first = 0, end = g->batch;
    bool alone = g->batch >= t->n_threads;
    char *copy = (char *)c->scratch + (p.taps + 63) / 64 * 64 + (alone ? p.image * t->thread : 0);
    for (int64_t i = 0; t->thread == 0 && i < p.n_taps; i++) {
        int64_t per_row = p.n_taps / g->kh;
        taps[i] = (i / per_row * g->dh * p.pw + i % per_row * g->dw) * g->c * g->size;
    }
    int64_t images = g->batch < t->n_threads ? 1 : t->n_threads;
    float *room = (float *)((char *)c->scratch + (p.taps + 63) / 64 * 64 +
                            p.image * (size_t)images + conv_room(&p) * t->thread);
    t->barrier(t->barrier_arg);
    if (conv_is_pointwise(&p)) {
        for (int64_t i = 0; i < p.group; i++) {
            struct gemm m = conv_gemm(&p, c, c->in[0]->data, taps, 0, i);
            m.per_line = INT64_MAX;
            m.room = room;
            LEVEL(gemm_share)(&m, g->batch * g->oh * g->ow, t);
        }
        return STATUS_OK;
    }
    if (alone)
        kernel_share(t, g->batch, 1, &first, &end);
    for (int64_t b = first; b < end; b++) {
        const char *x = (const char *)c->in[0]->data + b * g->h * g->w * g->c * g->size;
        if (p.copies) {
            int64_t from = 0, to = p.ph;
            if (!alone) {
                if (b > first)
                    t->barrier(t->barrier_arg); /* nobody still reads the image before */
                kernel_share(t, p.ph, 1, &from, &to);
            }
            image_pad(g, x, copy, p.pw, p.ph, from, to);
            if (!alone)
                t->barrier(t->barrier_arg);
            x = copy;
        }
        for (int64_t i = 0; i < p.group; i++) {
            struct gemm m = conv_gemm(&p, c, x, taps, b, i);
            m.room = room;
            if (alone)
                LEVEL(gemm_run)(&m, 0, g->oh * g->ow, 0, p.n);
            else
                LEVEL(gemm_share)(&m, g->oh * g->ow, t);
        }
    }
    return STATUS_OK;
}

const struct kernel LEVEL(conv2d) = {
    .name = LEVEL_NAME ".conv2d",
    .isa = LEVEL_ISA,
    .op = OP_Conv2d,
    .accepts = conv_accepts,
    .packed_size = conv_packed_size,
    .pack = conv_pack,
    .scratch = conv_scratch,
    .run = conv_run,
};

#endif
