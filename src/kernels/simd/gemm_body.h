/* gemm_body.h - defines what gemm.h declares, but for the tiles (template; see README). */
#ifndef KERNELS_SIMD_GEMM_BODY_H
#define KERNELS_SIMD_GEMM_BODY_H

#include "kernels/simd/gemm.h"
#include "kernels/simd/math.h"

#include <string.h>

/* Rows of x that are multiplied with all panels before the next rows: they stay in L2 or L3. */
enum { GEMM_ROWS_MAX = 64 * TILE_ROWS };

/* A span of F32 products: so many steps along K at most and at least. Sums of bf16 products go
 * without: their operands have lost more. */
enum { SPAN_MAX = 128, SPAN_MIN = 48, SPAN_TAPS_MAX = 256 };

/* The tail of a row of `cols` sums; `kind` is a constant. */
SIMD_INLINE void tail_rows(const struct tail *t, activation kind, const float *sums,
                           int64_t sums_step, int64_t m0, int64_t rows, int64_t n0, int64_t cols) {
    vf alpha = vf_set(t->alpha), beta = vf_set(t->beta);
    vf scale = vf_set(t->scale), shift = vf_set(t->shift);
    for (int64_t r = 0; r < rows; r++) {
        int64_t y = (m0 + r) * t->ld_y + n0, res = (m0 + r) * t->ld_residual + n0;
        for (int64_t j = 0; j < cols; j += VL) {
            int64_t n = cols - j;
            vf v = vf_load(sums + r * sums_step + j), s = vf_set(0);
            if (t->residual)
                s = vf_load_as(t->residual_is_bf16, t->residual, res + j, n);
            if (t->residual_first)
                v += s;
            v = vf_fma(vf_activate(kind, v, alpha, beta, false), scale, shift);
            if (!t->residual_first)
                v += s;
            vf_store_as(t->y_is_bf16, t->y, y + j, v, n);
        }
    }
}

/* GELU for bf16 results needs fewer terms; the commonest case of transformers. */
static void tail_gelu_bf16(const struct tail *t, const float *sums, int64_t sums_step, int64_t m0,
                           int64_t rows, int64_t n0, int64_t cols) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j += VL)
            vf_store_as(true, t->y, (m0 + r) * t->ld_y + n0 + j,
                        vf_gelu(vf_load(sums + r * sums_step + j), true), cols - j);
}

static bool tail_scales(const struct tail *t) {
    return t->scale != 1 || t->shift != 0;
}

/* Whether the tail does no more than clip; then to which range. */
static bool tail_clips(const struct tail *t, float *low, float *high) {
    *low = -INFINITY;
    *high = INFINITY;
    if (t->activation == ACTIVATION_RELU)
        *low = 0;
    if (t->activation == ACTIVATION_CLIP) {
        *low = t->alpha;
        *high = t->beta;
    }
    return !tail_scales(t) &&
           (t->activation == ACTIVATION_NONE || t->activation == ACTIVATION_RELU ||
            t->activation == ACTIVATION_CLIP);
}

/* A column of vectors that are only clipped: the tail of depthwise convolutions. */
static void tail_column(const struct tail *t, float low, float high, const float *sums,
                        int64_t sums_step, int64_t at, int64_t rows) {
    vf a = vf_set(low), b = vf_set(high);
    if (t->y_is_bf16)
        for (int64_t r = 0; r < rows; r++)
            vf_store_bf16((uint16_t *)t->y + at + r * t->ld_y,
                          vf_min(b, vf_max(a, vf_load(sums + r * sums_step))));
    else
        for (int64_t r = 0; r < rows; r++)
            vf_store((float *)t->y + at + r * t->ld_y,
                     vf_min(b, vf_max(a, vf_load(sums + r * sums_step))));
}

void LEVEL(tail_run)(const struct tail *t, const float *sums, int64_t sums_step, int64_t m0,
                     int64_t rows, int64_t n0, int64_t cols) {
    float low, high;
    if (cols == VL && !t->residual && tail_clips(t, &low, &high)) {
        tail_column(t, low, high, sums, sums_step, m0 * t->ld_y + n0, rows);
        return;
    }
#define TAIL(kind)                                                                                 \
    case kind:                                                                                     \
        tail_rows(t, kind, sums, sums_step, m0, rows, n0, cols);                                   \
        break;
    if (t->activation == ACTIVATION_GELU_ERF && t->y_is_bf16 && !t->residual && !tail_scales(t)) {
        tail_gelu_bf16(t, sums, sums_step, m0, rows, n0, cols);
        return;
    }
    switch (t->activation) {
        TAIL(ACTIVATION_NONE)
        TAIL(ACTIVATION_RELU)
        TAIL(ACTIVATION_CLIP)
        TAIL(ACTIVATION_GELU_ERF)
        TAIL(ACTIVATION_GELU_TANH)
        TAIL(ACTIVATION_SILU)
        TAIL(ACTIVATION_SIGMOID)
        TAIL(ACTIVATION_TANH)
        TAIL(ACTIVATION_HARD_SIGMOID)
        TAIL(ACTIVATION_HARD_SWISH)
        TAIL(ACTIVATION_LEAKY_RELU)
    case ACTIVATION_COUNT:
        break;
    }
#undef TAIL
}

void LEVEL(tail_init)(struct tail *t, const struct attr_list *attrs, const struct tensor *residual,
                      struct tensor *y, int64_t n) {
    *t = (struct tail){
        .activation = (activation)attr_int(attrs, "activation", ACTIVATION_NONE),
        .alpha = attr_float(attrs, "alpha", 0),
        .beta = attr_float(attrs, "beta", 0),
        .scale = attr_float(attrs, "scale", 1),
        .shift = attr_float(attrs, "shift", 0),
        .residual_first = attr_int(attrs, "residual_first", 0) != 0,
        .residual = residual ? residual->data : NULL,
        .residual_is_bf16 = residual && residual->dtype == DTYPE_BF16,
        .ld_residual = n,
        .y = y->data,
        .ld_y = n,
        .y_is_bf16 = y->dtype == DTYPE_BF16,
    };
}

/* Columns of the panel that starts at column n, as stored. */
static int64_t panel_width(int64_t n, int64_t n_all) {
    int64_t cols = n_all - n < TILE_COLS ? n_all - n : TILE_COLS;
    return (cols + VL - 1) / VL * VL;
}

/* Where the tile writes: y with the tail done (true), or sums that wait for it. */
static bool tile_aim(struct tile *tile, const struct tail *t, const struct tile_kind *kind,
                     int64_t cols) {
    bool adds_first = !t->residual || t->residual_first || t->activation == ACTIVATION_NONE;
    bool does_tail =
        tail_clips(t, &tile->low, &tile->high) && adds_first && (!t->y_is_bf16 || kind->narrows);
    if (!does_tail) {
        tile->low = -INFINITY;
        tile->high = INFINITY;
        tile->c_step = TILE_COLS * (int64_t)sizeof(float);
        tile->last = (1 << VL) - 1;
        return false;
    }
    tile->c_step = t->ld_y * (t->y_is_bf16 ? 2 : 4);
    tile->c_is_bf16 = t->y_is_bf16;
    tile->last = (1 << ((cols - 1) % VL + 1)) - 1;
    tile->residual_step = t->ld_residual * (t->residual_is_bf16 ? 2 : 4);
    tile->residual_is_bf16 = t->residual_is_bf16;
    return true;
}

/* Cuts the taps of t into spans of equal size, whose taps go to `taps`, and lets each be added up
 * in `total`. Leaves t as it is where K is short or no such size divides it. */
static void tile_cut(struct tile *t, const struct gemm *g, int64_t *taps, float *total) {
    int64_t steps = t->k_size / g->kind->size, n = (steps + SPAN_MAX - 1) / SPAN_MAX;
    while (steps % n && steps / n > SPAN_MIN)
        n++;
    if (g->kind->size != 4 || steps * g->n_taps <= SPAN_MAX || steps / n < SPAN_MIN || steps % n ||
        n * g->n_taps > SPAN_TAPS_MAX)
        return;
    t->k_size /= n;
    for (int64_t i = 0; i < n * g->n_taps; i++)
        taps[i] = g->taps[i / n] + i % n * t->k_size;
    t->taps = taps;
    t->taps_end = taps + n * g->n_taps;
    t->total = total;
}

/* One panel times rows [m0, m1). `next` is what comes into the cache meanwhile, or NULL. */
static void gemm_panel(const struct gemm *g, int64_t m0, int64_t m1, int64_t n0, const char *panel,
                       const char *next) {
    float bias[TILE_COLS] __attribute__((aligned(64))) = {0};
    float sums[TILE_ROWS * TILE_COLS] __attribute__((aligned(64)));
    float total[TILE_ROWS * TILE_COLS] __attribute__((aligned(64)));
    int64_t taps[SPAN_TAPS_MAX];
    const struct tile_kind *kind = g->kind;
    int64_t cols = g->n - n0 < TILE_COLS ? g->n - n0 : TILE_COLS;
    int64_t vecs = (cols + VL - 1) / VL, steps = (g->k + kind->group - 1) / kind->group;
    int64_t blocks = (m1 - m0 + TILE_ROWS - 1) / TILE_ROWS;
    if (g->bias)
        memcpy(bias, g->bias + n0, (size_t)cols * sizeof *bias);
    struct tile t = {
        .taps = g->taps,
        .taps_end = g->taps + g->n_taps,
        .k_size = steps * kind->group * kind->size,
        .b = panel,
        .ahead = next ? next : panel,
        .ahead_step = next ? (vecs * VL * kind->group * kind->w_size + blocks - 1) / blocks : 0,
        .bias = bias,
        .c = sums,
    };
    bool plain = tile_aim(&t, &g->tail, kind, cols);
    tile_cut(&t, g, taps, total);
    int64_t line = m0 / g->per_line, column = m0 % g->per_line;
    for (int64_t m = m0; m < m1; m += TILE_ROWS) {
        int64_t rows = m1 - m < TILE_ROWS ? m1 - m : TILE_ROWS;
        for (int64_t r = 0; r < rows; r++) {
            t.row[r] = (const char *)g->x + line * g->line_step + column * g->step;
            if (++column == g->per_line) {
                column = 0;
                line++;
            }
        }
        if (plain && g->tail.residual)
            t.residual = (const char *)g->tail.residual + m * t.residual_step +
                         n0 * (t.residual_is_bf16 ? 2 : 4);
        if (plain)
            t.c = (char *)g->tail.y + (m * g->tail.ld_y + n0) * (t.c_is_bf16 ? 2 : 4);
        kind->run[rows - 1][vecs - 1](&t);
        t.ahead += t.ahead_step * steps * g->n_taps;
        if (!plain)
            LEVEL(tail_run)(&g->tail, sums, TILE_COLS, m, rows, n0, cols);
    }
}

/* K = 0: the sums are the bias. */
static void gemm_empty(const struct gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    float bias[TILE_COLS] = {0};
    for (int64_t n = n0; n < n1; n += TILE_COLS) {
        int64_t cols = n1 - n < TILE_COLS ? n1 - n : TILE_COLS;
        if (g->bias)
            memcpy(bias, g->bias + n, (size_t)cols * sizeof *bias);
        for (int64_t m = m0; m < m1; m++)
            LEVEL(tail_run)(&g->tail, bias, 0, m, 1, n, cols);
    }
}

static const char *gemm_widen(const char *panel, int64_t n, float *room) {
    for (int64_t i = 0; i < n; i += VL)
        vf_store(room + i, vf_load_bf16((const uint16_t *)(const void *)panel + i));
    return (const char *)room;
}

void LEVEL(gemm_run)(const struct gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    const struct tile_kind *kind = g->kind;
    int64_t rows = (g->k + kind->group - 1) / kind->group * kind->group * g->n_taps;
    int64_t panel_size = rows * TILE_COLS * kind->w_size;
    if (!rows) {
        gemm_empty(g, m0, m1, n0, n1);
        return;
    }
    for (int64_t m = m0; m < m1; m += GEMM_ROWS_MAX) {
        int64_t end = m1 - m < GEMM_ROWS_MAX ? m1 : m + GEMM_ROWS_MAX;
        for (int64_t n = n0; n < n1; n += TILE_COLS) {
            const char *panel = (const char *)g->w + n / TILE_COLS * panel_size;
            const char *next = n + 2 * TILE_COLS <= n1 ? panel + panel_size : NULL;
            if (kind->w_size < kind->size)
                panel = gemm_widen(panel, rows * panel_width(n, g->n), g->room);
            gemm_panel(g, m, end, n, panel, next);
        }
    }
}

void LEVEL(gemm_share)(const struct gemm *g, int64_t m, const struct kernel_team *t) {
    int64_t panels = (g->n + TILE_COLS - 1) / TILE_COLS, from, to;
    if (panels % t->n_threads == 0 || panels >= 4 * (int64_t)t->n_threads) {
        kernel_share(t, g->n, TILE_COLS, &from, &to);
        LEVEL(gemm_run)(g, 0, m, from, to);
    } else {
        kernel_share(t, m, TILE_ROWS, &from, &to);
        LEVEL(gemm_run)(g, from, to, 0, g->n);
    }
}

size_t LEVEL(gemm_packed_size)(const struct tile_kind *kind, int64_t k, int64_t n) {
    int64_t rows = (k + kind->group - 1) / kind->group * kind->group;
    int64_t last = n / TILE_COLS * TILE_COLS;
    int64_t cols = last + (last < n ? panel_width(last, n) : 0);
    return (size_t)(rows * cols * kind->w_size);
}

/* Element (i, j) of 32 bits at w + i + j * step_n goes to to[i * width + j]. */
static void pack_transposed(const char *w, int64_t k, int64_t cols, int64_t step_n, uint32_t *to,
                            int64_t width) {
    const uint32_t *from = (const uint32_t *)w;
    int64_t i0 = k / VL * VL, j0 = cols / VL * VL;
    for (int64_t j = 0; j < j0; j += VL)
        for (int64_t i = 0; i < i0; i += VL)
            level_transpose(from + i + j * step_n, step_n, to + i * width + j, width);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i < i0 ? j0 : 0; j < cols; j++)
            memcpy(to + i * width + j, from + i + j * step_n, sizeof *to);
}

/* Rows of 16-bit elements side by side: two rows become one of pairs. */
static void pack_pairs(const uint16_t *w, int64_t k, int64_t cols, int64_t step_k, uint32_t *to,
                       int64_t width) {
    for (int64_t i = 0; i + 1 < k; i += 2, to += width) {
        const uint16_t *a = w + i * step_k, *b = a + step_k;
        for (int64_t j = 0; j < cols; j++)
            to[j] = (uint32_t)a[j] | (uint32_t)b[j] << 16;
    }
    if (k % 2)
        for (int64_t j = 0; j < cols; j++)
            to[j] = w[(k - 1) * step_k + j];
}

/* Any steps. */
static void pack_any(int64_t size, int64_t group, const char *w, int64_t k, int64_t cols,
                     int64_t step_k, int64_t step_n, char *panel, int64_t width) {
    for (int64_t i = 0; i < k; i++) {
        int64_t at = i / group * width * group + i % group, from = i * step_k;
        if (size == 4 && step_n == 1)
            memcpy((uint32_t *)panel + at, (const uint32_t *)w + from, (size_t)cols * 4);
        else if (size == 4)
            for (int64_t j = 0; j < cols; j++)
                ((uint32_t *)panel)[at + j] = ((const uint32_t *)w)[from + j * step_n];
        else
            for (int64_t j = 0; j < cols; j++)
                ((uint16_t *)panel)[at + j * group] = ((const uint16_t *)w)[from + j * step_n];
    }
}

void LEVEL(gemm_pack)(const struct tile_kind *kind, const void *w, int64_t k, int64_t n,
                      int64_t step_k, int64_t step_n, int64_t n0, int64_t n1, void *to) {
    int64_t group = kind->group, rows = (k + group - 1) / group * group, size = kind->w_size;
    /* Two neighbours along K in one 32-bit element. */
    bool is_paired = size == 2 && group == 2 && k % 2 == 0 && step_n % 2 == 0;
    for (int64_t p = n0; p < n1; p += TILE_COLS) {
        int64_t width = panel_width(p, n), cols = n - p < width ? n - p : width;
        char *panel = (char *)to + p * rows * size;
        const char *from = (const char *)w + p * step_n * size;
        if (cols < width || rows > k)
            memset(panel, 0, (size_t)(rows * width * size));
        if (step_k == 1 && size == 4)
            pack_transposed(from, k, cols, step_n, (uint32_t *)panel, width);
        else if (step_k == 1 && is_paired)
            pack_transposed(from, k / 2, cols, step_n / 2, (uint32_t *)panel, width);
        else if (step_n == 1 && group == 2)
            pack_pairs((const uint16_t *)(const void *)from, k, cols, step_k, (uint32_t *)panel,
                       width);
        else
            pack_any(size, group, from, k, cols, step_k, step_n, panel, width);
    }
}

#endif
