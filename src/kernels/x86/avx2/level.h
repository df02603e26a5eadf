/* level.h - what the templates of kernels/simd are made of at AVX2 + FMA: 8 lanes, 16 registers.
 * simd/README says what each name means. */
#ifndef KERNELS_X86_AVX2_LEVEL_H
#define KERNELS_X86_AVX2_LEVEL_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/isa.h"

#define SIMD_LEVEL      1
#define LEVEL(name)     avx2_##name
#define LEVEL_NAME      "avx2"
#define LEVEL_ISA       ISA_AVX2
#define LEVEL_TAKES_F32 true /* tensors without a bf16 among them */

enum { VL = 8 };
typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32), may_alias));
typedef __m256 vm; /* all ones or zeros a lane */

static inline vf vf_set(float x) {
    return _mm256_set1_ps(x);
}
static inline vi vi_set(int32_t x) {
    return (vi)_mm256_set1_epi32(x);
}
static inline vf vf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline void vf_store(float *p, vf v) {
    _mm256_storeu_ps(p, v);
}
static inline __m256i lanes_first_(int64_t n) {
    int32_t count = n > VL ? VL : (int32_t)n;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf vf_load_n(const float *p, int64_t n) {
    return _mm256_maskload_ps(p, lanes_first_(n));
}
static inline void vf_store_n(float *p, vf v, int64_t n) {
    _mm256_maskstore_ps(p, lanes_first_(n), v);
}
static inline vf vf_widen_bf16_(__m128i h) {
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
}
static inline __m128i vf_narrow_bf16_(vf v) {
    __m256i b = (__m256i)v;
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(b, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(b, _mm256_set1_epi32(0x400000));
    r = (__m256i)_mm256_blendv_ps((vf)r, (vf)quiet, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    r = _mm256_srli_epi32(r, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
static inline vf vf_load_bf16(const uint16_t *p) {
    return vf_widen_bf16_(_mm_loadu_si128((const __m128i *)p));
}
static inline void vf_store_bf16(uint16_t *p, vf v) {
    _mm_storeu_si128((__m128i *)p, vf_narrow_bf16_(v));
}
static inline vf vf_load_bf16_n(const uint16_t *p, int64_t n) {
    uint16_t h[VL] = {0};
    memcpy(h, p, (size_t)(n > VL ? VL : n) * sizeof *p);
    return vf_load_bf16(h);
}
static inline void vf_store_bf16_n(uint16_t *p, vf v, int64_t n) {
    uint16_t h[VL];
    vf_store_bf16(h, v);
    memcpy(p, h, (size_t)(n > VL ? VL : n) * sizeof *p);
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
static inline vf vf_abs(vf a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.f), a);
}
static inline vf vf_sqrt(vf a) {
    return _mm256_sqrt_ps(a);
}
static inline vf vf_floor(vf a) {
    return _mm256_floor_ps(a);
}
static inline vf vf_ceil(vf a) {
    return _mm256_ceil_ps(a);
}
static inline vf vf_round(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vi vi_from_vf(vf a) {
    return (vi)_mm256_cvttps_epi32(a);
}
static inline vf vf_from_vi(vi a) {
    return _mm256_cvtepi32_ps((__m256i)a);
}
/* Two factors, so that results near the largest and the smallest float come out right. */
static inline vf vf_scale2(vf a, vf n) {
    vf limited = _mm256_min_ps(_mm256_max_ps(n, _mm256_set1_ps(-252.f)), _mm256_set1_ps(254.f));
    vi e = vi_from_vf(limited), half = e >> 1, rest = e - half;
    return a * (vf)((half + 127) << 23) * (vf)((rest + 127) << 23);
}
static inline vf vf_copysign(vf magnitude, vf sign) {
    vf bit = _mm256_set1_ps(-0.f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
static inline vm vf_lt(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline vm vf_unordered(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_UNORD_Q);
}
static inline vf vf_blend(vm m, vf yes, vf no) {
    return _mm256_blendv_ps(no, yes, m);
}
static inline __m128 vf_halve_add_(vf a) {
    return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}
static inline float vf_reduce_add(vf a) {
    __m128 s = vf_halve_add_(a);
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_reduce_max(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_reduce_min(vf a) {
    __m128 s = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_min_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_min_ss(s, _mm_movehdup_ps(s)));
}

/* 8 x 8 elements of 32 bits: to[j * ld_to + i] = from[i * ld_from + j]. */
static inline void level_transpose(const uint32_t *from, int64_t ld_from, uint32_t *to,
                                   int64_t ld_to) {
    __m256 r[8], t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps((const float *)from + i * ld_from);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* r[i + c]: column c (mod 4) of rows i .. i + 3 */
        r[i] = (__m256)_mm256_unpacklo_pd((__m256d)t[i], (__m256d)t[i + 2]);
        r[i + 1] = (__m256)_mm256_unpackhi_pd((__m256d)t[i], (__m256d)t[i + 2]);
        r[i + 2] = (__m256)_mm256_unpacklo_pd((__m256d)t[i + 1], (__m256d)t[i + 3]);
        r[i + 3] = (__m256)_mm256_unpackhi_pd((__m256d)t[i + 1], (__m256d)t[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        float *p = (float *)to + c * ld_to;
        _mm256_storeu_ps(p, _mm256_permute2f128_ps(r[c], r[c + 4], 0x20));
        _mm256_storeu_ps(p + 4 * ld_to, _mm256_permute2f128_ps(r[c], r[c + 4], 0x31));
    }
}

#endif
