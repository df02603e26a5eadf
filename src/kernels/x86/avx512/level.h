/* level.h - what the templates of kernels/simd are made of at AVX-512: 16 lanes, 32 registers.
 * simd/README says what each name means. */
#ifndef KERNELS_X86_AVX512_LEVEL_H
#define KERNELS_X86_AVX512_LEVEL_H

#include <immintrin.h>
#include <stdint.h>

#include "kernels/isa.h"

#define SIMD_LEVEL           1
#define LEVEL_HAS_WIDE_TILES /* 32 registers: 4 vectors a row */
#ifndef LEVEL                /* avx512_bf16 has the same vectors under another name */
#define LEVEL(name) avx512_##name
#define LEVEL_NAME  "avx512"
#define LEVEL_ISA   ISA_AVX512
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

#endif
