/* level.h - what the templates of kernels/simd are made of at AVX-512: 16 lanes, 32 registers.
 * simd/README says what each name means. */
#ifndef KERNELS_X86_AVX512_LEVEL_H
#define KERNELS_X86_AVX512_LEVEL_H

#include <immintrin.h>
#include <stdint.h>

#include "base/isa.h"

#define SIMD_LEVEL           1
#define LEVEL_HAS_WIDE_TILES /* 32 registers: 4 vectors a row */
#ifndef LEVEL                /* avx512_bf16 has the same vectors under another name */
#define LEVEL(name)     avx512_##name
#define LEVEL_NAME      "avx512"
#define LEVEL_ISA       ISA_AVX512
#define LEVEL_TAKES_F32 true /* tensors without a bf16 among them */
#endif

enum { VL = 16 };
typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64), may_alias));
typedef __mmask16 vm;

static inline vf vf_set(float x) {
    return _mm512_set1_ps(x);
}
static inline vi vi_set(int32_t x) {
    return (vi)_mm512_set1_epi32(x);
}
static inline vf vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf v) {
    _mm512_storeu_ps(p, v);
}
static inline vm vm_first(int64_t n) {
    return n >= VL ? (vm)0xffff : (vm)((1u << n) - 1);
}
static inline vf vf_load_n(const float *p, int64_t n) {
    return _mm512_maskz_loadu_ps(vm_first(n), p);
}
static inline void vf_store_n(float *p, vf v, int64_t n) {
    _mm512_mask_storeu_ps(p, vm_first(n), v);
}
static inline vf vf_widen_bf16_(__m256i h) {
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
}
static inline __m256i vf_narrow_bf16_(vf v) {
#ifdef __AVX512BF16__
    /* The instruction flushes denormals, as every level does (the engine sets FTZ). */
    return (__m256i)_mm512_cvtneps_pbh(v);
#else
    __m512i b = (__m512i)v;
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(_mm512_add_epi32(b, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, b, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
#endif
}
static inline vf vf_load_bf16(const uint16_t *p) {
    return vf_widen_bf16_(_mm256_loadu_si256((const __m256i *)p));
}
static inline void vf_store_bf16(uint16_t *p, vf v) {
    _mm256_storeu_si256((__m256i *)p, vf_narrow_bf16_(v));
}
static inline vf vf_load_bf16_n(const uint16_t *p, int64_t n) {
    return vf_widen_bf16_(_mm256_maskz_loadu_epi16(vm_first(n), p));
}
static inline void vf_store_bf16_n(uint16_t *p, vf v, int64_t n) {
    _mm256_mask_storeu_epi16(p, vm_first(n), vf_narrow_bf16_(v));
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
static inline vf vf_abs(vf a) {
    return _mm512_abs_ps(a);
}
static inline vf vf_sqrt(vf a) {
    return _mm512_sqrt_ps(a);
}
static inline vf vf_floor(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
static inline vf vf_ceil(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
}
static inline vf vf_round(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_scale2(vf a, vf n) {
    return _mm512_scalef_ps(a, n);
}
static inline vi vi_from_vf(vf a) {
    return (vi)_mm512_cvttps_epi32(a);
}
static inline vf vf_from_vi(vi a) {
    return _mm512_cvtepi32_ps((__m512i)a);
}
static inline vf vf_copysign(vf magnitude, vf sign) {
    return (vf)_mm512_ternarylogic_epi32((__m512i)magnitude, (__m512i)sign,
                                         _mm512_set1_epi32(INT32_MIN), 0xd8);
}
static inline vm vf_lt(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline vm vf_unordered(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
}
static inline vf vf_blend(vm m, vf yes, vf no) {
    return _mm512_mask_blend_ps(m, no, yes);
}
static inline float vf_reduce_add(vf a) {
    return _mm512_reduce_add_ps(a);
}
static inline float vf_reduce_max(vf a) {
    return _mm512_reduce_max_ps(a);
}
static inline float vf_reduce_min(vf a) {
    return _mm512_reduce_min_ps(a);
}

/* 16 x 16 elements of 32 bits: to[j * ld_to + i] = from[i * ld_from + j]. */
static inline void level_transpose(const uint32_t *from, int64_t ld_from, uint32_t *to,
                                   int64_t ld_to) {
    __m512 r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        r[i] = _mm512_loadu_ps(from + i * ld_from);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) { /* pairs of rows: columns 0 4 8 12 and 1 5 9 13, 2 .. */
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* r[i + c]: column c (mod 4) of rows i .. i + 3 */
        r[i] = (__m512)_mm512_unpacklo_pd((__m512d)t[i], (__m512d)t[i + 2]);
        r[i + 1] = (__m512)_mm512_unpackhi_pd((__m512d)t[i], (__m512d)t[i + 2]);
        r[i + 2] = (__m512)_mm512_unpacklo_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
        r[i + 3] = (__m512)_mm512_unpackhi_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512 a = _mm512_shuffle_f32x4(r[c], r[c + 4], 0x88); /* columns c, c + 8 */
        __m512 b = _mm512_shuffle_f32x4(r[c], r[c + 4], 0xdd); /* c + 4, c + 12 */
        __m512 d = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0x88);
        __m512 e = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0xdd);
        _mm512_storeu_ps(to + c * ld_to, _mm512_shuffle_f32x4(a, d, 0x88));
        _mm512_storeu_ps(to + (c + 4) * ld_to, _mm512_shuffle_f32x4(b, e, 0x88));
        _mm512_storeu_ps(to + (c + 8) * ld_to, _mm512_shuffle_f32x4(a, d, 0xdd));
        _mm512_storeu_ps(to + (c + 12) * ld_to, _mm512_shuffle_f32x4(b, e, 0xdd));
    }
}

#endif
