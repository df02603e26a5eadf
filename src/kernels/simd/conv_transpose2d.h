/* conv_transpose2d.h - ConvTranspose2d as SH * SW plain convolutions (template; see README).
 *
 * Output pixels whose row and column leave the same rest by the strides (a phase) meet the same
 * taps of the window, at fixed distances from a pixel of the input: for each phase it is a
 * convolution with stride 1, whose results lie SW pixels apart. Weights are packed phase by phase.
 *
 * Where windows neither overlap nor leave gaps (a window as large as the strides, no padding) all
 * phases are one product with KH * KW * M columns, whose rows are then laid side by side. */
#ifndef KERNELS_SIMD_CONV_TRANSPOSE2D_H
#define KERNELS_SIMD_CONV_TRANSPOSE2D_H

#include "kernels/simd/gemm.h"
#include "kernels/simd/image.h"

struct deconv {
    struct window g;
    const struct tile_kind *kind;
    int64_t above, before; /* rows and columns of border */
    int64_t ph, pw;        /* the padded image */
    size_t image;          /* its bytes, with slack */
};

static const struct tile_kind *deconv_kind(const struct tensor *x) {
    return x->dtype == DTYPE_BF16 ? &LEVEL(tile_bf16) : &LEVEL(tile_f32);
}

static bool deconv_accepts(const struct kernel_call *c) {
    const struct tensor *x = c->in[0], *w = c->in[1];
    bool fits = x->dtype == DTYPE_BF16 || (x->dtype == DTYPE_F32 && LEVEL_TAKES_F32);
    return fits && w->dtype == x->dtype && w->data && x->rank == 4 && w->rank == 4 &&
           image_is_float(c->out[0]) && attr_int(c->attrs, "group", 1) == 1 &&
           !attr_find(c->attrs, "output_shape") && image_window_is_plain(c->attrs);
}

/* Windows tile the output: the joined product. The size of the image may be unknown. */
static bool deconv_is_joined(const struct kernel_call *c) {
    const struct tensor *w = c->in[1];
    struct window g = window_of(c, w->dims[1], w->dims[2]);
    size_t n;
    const int64_t *extra = attr_ints(c->attrs, "output_padding", &n);
    bool has_extra = extra && n == 2 && (extra[0] || extra[1]);
    bool fits = g.kh == g.sh && g.kw == g.sw && g.dh == 1 && g.dw == 1 && !has_extra;
    bool is_whole = g.size == 4 || g.c % LEVEL(tile_bf16).group == 0;
    return fits && is_whole && !g.top && !g.left && !g.bottom && !g.right;
}

static int64_t divide_up(int64_t a, int64_t b) {
    return a > 0 ? (a + b - 1) / b : 0;
}

static struct deconv deconv_of(const struct kernel_call *c) {
    const struct tensor *x = c->in[0], *w = c->in[1];
    struct deconv p = {.g = window_of(c, w->dims[1], w->dims[2]), .kind = deconv_kind(x)};
    struct window *g = &p.g;
    p.above = divide_up((g->kh - 1) * g->dh - g->top, g->sh);
    p.before = divide_up((g->kw - 1) * g->dw - g->left, g->sw);
    int64_t rows = divide_up(g->oh, g->sh) + (g->sh - 1 + g->top) / g->sh;
    int64_t cols = divide_up(g->ow, g->sw) + (g->sw - 1 + g->left) / g->sw;
    p.ph = p.above + (rows > g->h ? rows : g->h);
    p.pw = p.before + (cols > g->w ? cols : g->w);
    p.image = ((size_t)(p.ph * p.pw * g->c * g->size) + IMAGE_SLACK + 63) / 64 * 64;
    return p;
}

/* Whether tap i of an axis reaches outputs of phase `phase`; *offset: which input from there. */
static bool deconv_meets(int64_t phase, int64_t pad, int64_t i, int64_t dilation, int64_t stride,
                         int64_t *offset) {
    int64_t d = phase + pad - i * dilation;
    *offset = d / stride;
    return d % stride == 0;
}

/* The number of taps of a phase; their offsets in the padded image go to `taps` unless it is
 * NULL. */
static int64_t deconv_taps(const struct deconv *p, int64_t py, int64_t px, int64_t *taps) {
    const struct window *g = &p->g;
    int64_t n = 0, di, dj;
    for (int64_t i = 0; i < g->kh; i++)
        for (int64_t j = 0; j < g->kw; j++) {
            if (!deconv_meets(py, g->top, i, g->dh, g->sh, &di) ||
                !deconv_meets(px, g->left, j, g->dw, g->sw, &dj))
                continue;
            if (taps)
                taps[n] = ((di + p->above) * p->pw + dj + p->before) * g->c * g->size;
            n++;
        }
    return n;
}

/* Bytes of one tap's weights in all panels. */
static size_t deconv_tap_size(const struct kernel_call *c) {
    const struct tensor *w = c->in[1];
    return LEVEL(gemm_packed_size)(deconv_kind(c->in[0]), w->dims[0], w->dims[3]);
}

static size_t deconv_packed_size(const struct kernel_call *c, size_t input) {
    const struct tensor *w = c->in[1];
    if (input == 1 && deconv_is_joined(c))
        return LEVEL(gemm_packed_size)(deconv_kind(c->in[0]), w->dims[0],
                                       w->dims[1] * w->dims[2] * w->dims[3]);
    return input == 1 ? deconv_tap_size(c) * (size_t)(w->dims[1] * w->dims[2]) : 0;
}

static void deconv_pack(const struct kernel_call *c, size_t input, void *to) {
    const struct tensor *w = c->in[input];
    if (deconv_is_joined(c)) { /* w [C, KH, KW, M] is [K, N] as it is */
        int64_t cols = w->dims[1] * w->dims[2] * w->dims[3];
        LEVEL(gemm_pack)(deconv_kind(c->in[0]), w->data, w->dims[0], cols, cols, 1, 0, cols, to);
        return;
    }
    struct deconv p = deconv_of(c);
    const struct window *g = &p.g;
    int64_t k = w->dims[0], m = w->dims[3], size = p.kind->w_size, at = 0, offset;
    for (int64_t phase = 0; phase < g->sh * g->sw; phase++) {
        int64_t py = phase / g->sw, px = phase % g->sw;
        int64_t taps = deconv_taps(&p, py, px, NULL);
        for (int64_t n = 0; n < m; n += TILE_COLS) {
            int64_t cols = m - n < TILE_COLS ? m - n : TILE_COLS;
            for (int64_t i = 0; i < g->kh * g->kw && taps; i++) {
                if (!deconv_meets(py, g->top, i / g->kw, g->dh, g->sh, &offset) ||
                    !deconv_meets(px, g->left, i % g->kw, g->dw, g->sw, &offset))
                    continue;
                LEVEL(gemm_pack)(p.kind, (const char *)w->data + (i * m + n) * size, k, cols,
                                 g->kh * g->kw * m, 1, 0, cols, (char *)to + at);
                at += (int64_t)LEVEL(gemm_packed_size)(p.kind, k, cols);
            }
        }
    }
}

/* Floats of a line of joined products [W, KH * KW * M] with slack, and of a line of results. */
static void deconv_room(const struct window *g, int64_t *products, int64_t *line) {
    *products = (g->w * g->kh * g->kw * g->oc + 2 * VL) / VL * VL;
    *line = (g->ow * g->oc + 2 * VL) / VL * VL;
}

static size_t deconv_scratch(const struct kernel_call *c, unsigned n_threads) {
    if (deconv_is_joined(c)) {
        struct window g = window_of(c, c->in[1]->dims[1], c->in[1]->dims[2]);
        int64_t products, line;
        deconv_room(&g, &products, &line);
        return (size_t)(products + line) * sizeof(float) * n_threads;
    }
    struct deconv p = deconv_of(c);
    size_t taps = (size_t)(p.g.kh * p.g.kw) * sizeof(int64_t) + 63;
    return p.image + taps / 64 * 64 * n_threads;
}

/* One phase of an image; m->x is padded. */
static void deconv_phase(const struct deconv *p, struct gemm *m, int64_t py, int64_t px,
                         int64_t image, const struct tensor *residual, struct tensor *y) {
    const struct window *g = &p->g;
    int64_t row = p->pw * g->c * g->size, cols = divide_up(g->ow - px, g->sw);
    const char *x = m->x;
    int64_t y_size = y->dtype == DTYPE_BF16 ? 2 : 4;
    int64_t residual_size = residual && residual->dtype == DTYPE_BF16 ? 2 : 4;
    for (int64_t i = 0; i * g->sh + py < g->oh; i++) {
        int64_t at = ((image * g->oh + i * g->sh + py) * g->ow + px) * g->oc;
        m->x = x + i * row;
        m->tail.y = (char *)y->data + at * y_size;
        if (residual)
            m->tail.residual = (const char *)residual->data + at * residual_size;
        LEVEL(gemm_run)(m, 0, cols, 0, g->oc);
    }
    m->x = x;
}

/* Lays `part` sums of each of w pixels side by side and adds the bias [m]. */
static void deconv_interleave(const float *sums, int64_t step, int64_t part, int64_t w,
                              const float *bias, int64_t m, float *row) {
    if (part < VL) {
        for (int64_t i = 0; i < w; i++)
            for (int64_t j = 0; j < part; j++)
                *row++ = sums[i * step + j] + (bias ? bias[m == 1 ? 0 : j % m] : 0);
        return;
    }
    for (int64_t i = 0; i < w; i++)
        for (int64_t k = 0; k < part; k += m, row += m)
            for (int64_t j = 0; j < m; j += VL) {
                vf b = bias ? vf_load_as(false, bias, j, m - j) : vf_set(0);
                vf_store_as(false, row, j, vf_load_as(false, sums + i * step + k, j, m - j) + b,
                            m - j);
            }
}

/* Each line of the input makes SH lines of the output. */
static status deconv_run_joined(const struct kernel_call *c, const struct kernel_team *t) {
    static const int64_t no_tap = 0;
    const struct tensor *bias = c->n_in > 2 ? c->in[2] : NULL;
    struct window g = window_of(c, c->in[1]->dims[1], c->in[1]->dims[2]);
    int64_t products, line, from, to, part = g.kw * g.oc, cols = g.kh * part;
    deconv_room(&g, &products, &line);
    float *sums = (float *)c->scratch + (products + line) * t->thread, *row = sums + products;
    struct gemm m = {
        .kind = deconv_kind(c->in[0]),
        .n = cols,
        .per_line = INT64_MAX,
        .step = g.c * g.size,
        .taps = &no_tap,
        .n_taps = 1,
        .k = g.c,
        .w = c->in[1]->data,
        .tail = {.scale = 1, .y = sums, .ld_y = cols},
    };
    struct tail tail;
    LEVEL(tail_init)(&tail, c->attrs, c->n_in > 3 ? c->in[3] : NULL, c->out[0], g.ow * g.oc);
    kernel_share(t, g.batch * g.h, 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        m.x = (const char *)c->in[0]->data + i * g.w * g.c * g.size;
        LEVEL(gemm_run)(&m, 0, g.w, 0, cols);
        for (int64_t y = 0; y < g.kh; y++) {
            deconv_interleave(sums + y * part, cols, part, g.w, bias ? bias->data : NULL, g.oc,
                              row);
            LEVEL(tail_run)(&tail, row, 0, i * g.kh + y, 1, 0, g.ow * g.oc);
        }
    }
    return STATUS_OK;
}

static status deconv_run(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    (void)err;
    if (deconv_is_joined(c))
        return deconv_run_joined(c, t);
    struct deconv p = deconv_of(c);
    const struct window *g = &p.g;
    const struct tensor *bias = c->n_in > 2 ? c->in[2] : NULL;
    const struct tensor *residual = c->n_in > 3 ? c->in[3] : NULL;
    int64_t taps_room = (g->kh * g->kw * 8 + 63) / 64 * 64, from, to;
    char *image = c->scratch;
    int64_t *taps = (int64_t *)(image + p.image + taps_room * t->thread);
    struct window border = *g;
    border.top = p.above;
    border.left = p.before;
    for (int64_t b = 0; b < g->batch; b++) {
        if (b)
            t->barrier(t->barrier_arg);
        kernel_share(t, p.ph, 1, &from, &to);
        image_pad(&border, (const char *)c->in[0]->data + b * g->h * g->w * g->c * g->size, image,
                  p.pw, p.ph, from, to);
        t->barrier(t->barrier_arg);
        size_t w = 0, tap_size = deconv_tap_size(c);
        for (int64_t phase = 0; phase < g->sh * g->sw; phase++) {
            int64_t py = phase / g->sw, px = phase % g->sw;
            struct gemm m = {
                .kind = p.kind,
                .n = g->oc,
                .x = image,
                .per_line = INT64_MAX,
                .step = g->c * g->size,
                .taps = taps,
                .n_taps = deconv_taps(&p, py, px, taps),
                .k = g->c,
                .w = (const char *)c->in[1]->data + w,
                .bias = bias ? bias->data : NULL,
            };
            w += tap_size * (size_t)m.n_taps;
            if (phase % t->n_threads != t->thread || px >= g->ow)
                continue;
            LEVEL(tail_init)(&m.tail, c->attrs, residual, c->out[0], g->oc * g->sw);
            deconv_phase(&p, &m, py, px, b, residual, c->out[0]);
        }
    }
    return STATUS_OK;
}

const struct kernel LEVEL(conv_transpose2d) = {
    .name = LEVEL_NAME ".conv_transpose2d",
    .isa = LEVEL_ISA,
    .op = OP_ConvTranspose2d,
    .accepts = deconv_accepts,
    .packed_size = deconv_packed_size,
    .pack = deconv_pack,
    .scratch = deconv_scratch,
    .run = deconv_run,
};

#endif
