/* tile.h - the tiles in C, for levels whose compiler output is good enough (template; see README).
 *
 * F32 and BF16 differ in how an element is widened: one loop serves both. */
#ifndef KERNELS_SIMD_TILE_H
#define KERNELS_SIMD_TILE_H

#include "kernels/simd/gemm.h"
#include "kernels/simd/math.h"

SIMD_INLINE vf tile_element(bool is_bf16, const char *p) {
    if (!is_bf16)
        return vf_set(*(const float *)p);
    return (vf)(vi_set((int32_t)((uint32_t)*(const uint16_t *)p << 16)));
}

/* The sums of a tap are added to the total and start anew; the last time they become the total. */
SIMD_INLINE void tile_flush(const struct tile *t, vf sums[TILE_ROWS][TILE_VECS], int rows, int vecs,
                            bool is_first, bool is_last) {
    SIMD_FOR (6, r, rows)
        SIMD_FOR (4, v, vecs) {
            float *total = t->total + r * TILE_COLS + v * VL;
            if (!is_first)
                sums[r][v] += vf_load(total);
            if (is_last)
                continue;
            vf_store(total, sums[r][v]);
            sums[r][v] = vf_set(0);
        }
}

/* rows, vecs and is_bf16 are constants, so that the sums stay in registers. */
SIMD_INLINE void tile_run(const struct tile *t, int rows, int vecs, bool is_bf16) {
    const int64_t size = is_bf16 ? 2 : 4;
    const char *b = t->b;
    vf sums[TILE_ROWS][TILE_VECS];
    SIMD_FOR (6, r, rows)
        SIMD_FOR (4, v, vecs)
            sums[r][v] = vf_set(0);
    for (const int64_t *tap = t->taps; tap < t->taps_end; tap++) {
        for (int64_t k = *tap; k < *tap + t->k_size; k += size) {
            vf w[TILE_VECS];
            SIMD_FOR (4, v, vecs)
                w[v] = vf_load_as(is_bf16, b, v * VL, VL);
            SIMD_FOR (6, r, rows) {
                vf x = tile_element(is_bf16, t->row[r] + k);
                SIMD_FOR (4, v, vecs)
                    sums[r][v] = vf_fma(x, w[v], sums[r][v]);
            }
            b += size * vecs * VL;
        }
        if (t->total)
            tile_flush(t, sums, rows, vecs, tap == t->taps, tap + 1 == t->taps_end);
    }
    int64_t last = __builtin_popcountll((unsigned long long)t->last);
    SIMD_FOR (6, r, rows)
        SIMD_FOR (4, v, vecs)
            sums[r][v] += vf_load(t->bias + v * VL);
    if (t->residual)
        SIMD_FOR (6, r, rows)
            SIMD_FOR (4, v, vecs)
                sums[r][v] += vf_load_as(t->residual_is_bf16,
                                         (const char *)t->residual + r * t->residual_step, v * VL,
                                         v == vecs - 1 ? last : VL);
    vf low = vf_set(t->low), high = vf_set(t->high);
    SIMD_FOR (6, r, rows) {
        char *c = (char *)t->c + r * t->c_step;
        SIMD_FOR (4, v, vecs) {
            vf sum = vf_min(high, vf_max(low, sums[r][v]));
            vf_store_as(t->c_is_bf16, c, v * VL, sum, v == vecs - 1 ? last : VL);
        }
    }
}

#define TILE_FN(r, v, type, is_bf16)                                                               \
    static void tile_##type##_##r##_##v(const struct tile *t) {                                    \
        tile_run(t, r, v, is_bf16);                                                                \
    }
#ifdef LEVEL_HAS_WIDE_TILES
#define TILE_FNS_ROW(r, type, is_bf16)                                                             \
    TILE_FN(r, 1, type, is_bf16)                                                                   \
    TILE_FN(r, 2, type, is_bf16)                                                                   \
    TILE_FN(r, 3, type, is_bf16) TILE_FN(r, 4, type, is_bf16)
#define TILE_NAMES(r, type)                                                                        \
    {tile_##type##_##r##_1, tile_##type##_##r##_2, tile_##type##_##r##_3, tile_##type##_##r##_4}
#else
#define TILE_FNS_ROW(r, type, is_bf16) TILE_FN(r, 1, type, is_bf16) TILE_FN(r, 2, type, is_bf16)
#define TILE_NAMES(r, type)            {tile_##type##_##r##_1, tile_##type##_##r##_2}
#endif
#define TILE_FNS(type, is_bf16)                                                                    \
    TILE_FNS_ROW(1, type, is_bf16)                                                                 \
    TILE_FNS_ROW(2, type, is_bf16)                                                                 \
    TILE_FNS_ROW(3, type, is_bf16)                                                                 \
    TILE_FNS_ROW(4, type, is_bf16)                                                                 \
    TILE_FNS_ROW(5, type, is_bf16) TILE_FNS_ROW(6, type, is_bf16)
#define TILE_TABLE(type)                                                                           \
    {TILE_NAMES(1, type), TILE_NAMES(2, type), TILE_NAMES(3, type),                                \
     TILE_NAMES(4, type), TILE_NAMES(5, type), TILE_NAMES(6, type)}

#endif
