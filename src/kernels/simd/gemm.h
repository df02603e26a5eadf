/* gemm.h - products of matrices, the one engine under Linear, Conv2d, Attention and MatMul
 * (template; see README).
 *
 * y [M, N] = tail(x [M, K] w [K, N] + bias). The rows of x lie anywhere (see gemm.per_line), w is
 * packed in panels of TILE_COLS columns: panel p is [K / group][width][group] elements, its width
 * TILE_COLS, in the last panel what is left rounded up to VL; what is padded is zero. `group` is 2
 * where one instruction takes two neighbours along K (bf16), then an odd K is padded too.
 *
 * A tile keeps TILE_ROWS x TILE_COLS sums in registers while it runs over K, reading the rows of x
 * where they are: no packing of x. A long K is cut into spans whose sums start at zero and are then
 * added up: the rounding of a sum grows with the root of the number of its terms. The bias comes
 * last, for the same reason: a large one, as batch normalisation gives, would round every term. */
#ifndef KERNELS_SIMD_GEMM_H
#define KERNELS_SIMD_GEMM_H

#ifndef SIMD_LEVEL
#include "kernels/generic/level.h"
#endif

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernel.h"
#include "ops/fused.h"

enum {
    TILE_ROWS = 6,
    TILE_VECS = VL == 16 ? 4 : 2, /* 24 sums of 32 registers, 12 of 16 */
    TILE_COLS = TILE_VECS * VL,
};

/* What one tile reads and writes; the assembler knows these offsets. Sizes and steps in bytes. */
struct tile {
    const char *row[TILE_ROWS]; /* 0: the rows of x */
    const int64_t *taps;        /* 48: an offset to each row; K starts anew at each */
    const int64_t *taps_end;    /* 56 */
    int64_t k_size;             /* 64: of K at each tap, > 0 */
    const char *b;              /* 72: the panel */
    const char *ahead;          /* 80: what to prefetch, */
    int64_t ahead_step;         /* 88: how far each step of K */
    const float *bias;          /* 96: [cols], added to the sums of each row */
    void *c;                    /* 104: [rows][cols] f32 or bf16 */
    int64_t c_step;             /* 112 */
    float low, high;            /* 120, 124: results are clipped to this range; NaN stays NaN */
    int64_t c_is_bf16;          /* 128 */
    int64_t last;               /* 136: a bit for each column of the last vector that is there */
    const void *residual;       /* 144: [rows][cols], f32 or bf16, added to the sums; or NULL */
    int64_t residual_step;      /* 152 */
    int64_t residual_is_bf16;   /* 160 */
    float *
        total; /* 168: room for [TILE_ROWS][TILE_COLS] where the sums of each tap are added up; or NULL */
};

/* The inner products of one element type: run[rows - 1][vecs - 1]. */
struct tile_kind {
    void (*run[TILE_ROWS][TILE_VECS])(const struct tile *t);
    int64_t size;   /* bytes an element of x */
    int64_t w_size; /* of w; smaller: a panel is widened before its products (gemm.room) */
    int64_t group;  /* neighbours along K that lie side by side in a panel */
    bool narrows;   /* whether run can store bf16 */
};

/* The end of Linear, Conv2d, ConvTranspose2d: see ops/fused.h. */
struct tail {
    activation activation;
    float alpha, beta, scale, shift;
    const void *residual; /* [M, ld_residual] or NULL */
    int64_t ld_residual;
    bool residual_is_bf16, residual_first;
    void *y; /* [M, ld_y] */
    int64_t ld_y;
    bool y_is_bf16;
};

struct gemm {
    const struct tile_kind *kind;
    int64_t n;
    /* Row m of x starts at x + m / per_line * line_step + m % per_line * step (bytes), and goes on
     * for k elements at each tap. */
    const void *x;
    int64_t per_line, line_step, step;
    const int64_t *taps; /* [n_taps] bytes */
    int64_t n_taps, k;
    const void *w;     /* packed: n_taps * k rows */
    float *room;       /* [n_taps * k][TILE_COLS] where kind->w_size < kind->size */
    const float *bias; /* [n] or NULL */
    struct tail tail;
};

/* f32; and bf16, by VDPBF16PS or by widening. */
extern const struct tile_kind LEVEL(tile_f32), LEVEL(tile_bf16);

/* f32 times bf16 that are widened a panel at a time: for levels that cannot multiply bf16 this
 * costs what f32 costs, with half the weights to read. */
extern const struct tile_kind LEVEL(tile_wide);

/* The kind for x and w of these dtypes: equal, or F32 and BF16. */
static inline const struct tile_kind *gemm_kind(const struct tensor *x, const struct tensor *w) {
    if (x->dtype == DTYPE_BF16)
        return &LEVEL(tile_bf16);
    return w->dtype == DTYPE_BF16 ? &LEVEL(tile_wide) : &LEVEL(tile_f32);
}

/* Bytes of one thread's gemm.room for `rows` along K, a multiple of 64. */
static inline size_t gemm_room_size(const struct tile_kind *kind, int64_t rows) {
    return kind->w_size < kind->size ? (size_t)rows * TILE_COLS * sizeof(float) : 0;
}

/* Rows [m0, m1) of columns [n0, n1); n0 is a multiple of TILE_COLS, n1 too or n. */
void LEVEL(gemm_run)(const struct gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1);

/* This thread's share of m rows: whole panels when there are enough of them for all threads (each
 * then streams its own weights), else blocks of rows. */
void LEVEL(gemm_share)(const struct gemm *g, int64_t m, const struct kernel_team *t);

/* The tail alone: sums [rows][cols] (row step `sums_step` floats) for columns n0 ... of rows m0
 * ... */
void LEVEL(tail_run)(const struct tail *t, const float *sums, int64_t sums_step, int64_t m0,
                     int64_t rows, int64_t n0, int64_t cols);

/* Bytes of w [k, n] packed, and the packing of element (i, j) at w + i * step_k + j * step_n
 * elements. Columns [n0, n1) only: several threads may share the work, n0 as in gemm_run. */
size_t LEVEL(gemm_packed_size)(const struct tile_kind *kind, int64_t k, int64_t n);
void LEVEL(gemm_pack)(const struct tile_kind *kind, const void *w, int64_t k, int64_t n,
                      int64_t step_k, int64_t step_n, int64_t n0, int64_t n1, void *to);

/* The attributes of a tail and its operands (NULL residual: none). */
void LEVEL(tail_init)(struct tail *t, const struct attr_list *attrs, const struct tensor *residual,
                      struct tensor *y, int64_t n);

#endif
