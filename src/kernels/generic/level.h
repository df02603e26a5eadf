/* level.h - what the templates of kernels/simd are made of at the baseline of any machine: the
 * compiler's portable vectors of 4 floats. simd/README says what each name means. */
#ifndef KERNELS_GENERIC_LEVEL_H
#define KERNELS_GENERIC_LEVEL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/isa.h"
#include "tensor/convert.h"

#define SIMD_LEVEL      1
#define LEVEL(name)     generic_##name
#define LEVEL_NAME      "generic"
#define LEVEL_ISA       ISA_GENERIC
#define LEVEL_TAKES_F32 true /* tensors without a bf16 among them */

enum { VL = 4 };
typedef float vf __attribute__((vector_size(16), may_alias));
typedef int32_t vi __attribute__((vector_size(16), may_alias));
typedef vi vm; /* -1 or 0 a lane */

static inline vf vf_set(float x) {
    return (vf){x, x, x, x};
}
static inline vi vi_set(int32_t x) {
    return (vi){x, x, x, x};
}
static inline vf vf_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void vf_store(float *p, vf v) {
    memcpy(p, &v, sizeof v);
}
static inline vf vf_load_n(const float *p, int64_t n) {
    vf v = {0};
    memcpy(&v, p, (size_t)(n > VL ? VL : n) * sizeof *p);
    return v;
}
static inline void vf_store_n(float *p, vf v, int64_t n) {
    memcpy(p, &v, (size_t)(n > VL ? VL : n) * sizeof *p);
}
static inline vf vf_load_bf16_n(const uint16_t *p, int64_t n) {
    vf v = {0};
    for (int64_t i = 0; i < n && i < VL; i++)
        v[i] = bf16_to_f32(p[i]);
    return v;
}
static inline void vf_store_bf16_n(uint16_t *p, vf v, int64_t n) {
    for (int64_t i = 0; i < n && i < VL; i++)
        p[i] = bf16_from_f32(v[i]);
}
static inline vf vf_load_bf16(const uint16_t *p) {
    return vf_load_bf16_n(p, VL);
}
static inline void vf_store_bf16(uint16_t *p, vf v) {
    vf_store_bf16_n(p, v, VL);
}
static inline vf vf_blend(vm m, vf yes, vf no) {
    return (vf)((m & (vi)yes) | (~m & (vi)no));
}
static inline vm vf_lt(vf a, vf b) {
    return a < b;
}
static inline vm vf_unordered(vf a, vf b) {
    return ~((a == a) & (b == b));
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return a * b + c;
}
static inline vf vf_max(vf a, vf b) {
    return vf_blend(a > b, a, b);
}
static inline vf vf_min(vf a, vf b) {
    return vf_blend(a < b, a, b);
}
static inline vf vf_abs(vf a) {
    return (vf)((vi)a & 0x7fffffff);
}
static inline vf vf_copysign(vf magnitude, vf sign) {
    return (vf)(((vi)magnitude & 0x7fffffff) | ((vi)sign & INT32_MIN));
}
static inline vf vf_sqrt(vf a) {
    return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])};
}
static inline vi vi_from_vf(vf a) {
    return __builtin_convertvector(a, vi);
}
static inline vf vf_from_vi(vi a) {
    return __builtin_convertvector(a, vf);
}
/* Adding and taking away 1.5 * 2^23 rounds to nearest even; larger numbers are whole already. */
static inline vf vf_round(vf a) {
    vf magic = vf_set(12582912.f);
    vf r = vf_copysign((vf_abs(a) + magic) - magic, a);
    return vf_blend(vf_abs(a) < vf_set(4194304.f), r, a);
}
static inline vf vf_floor(vf a) {
    vf r = vf_round(a);
    return vf_blend(r > a, r - vf_set(1), r);
}
static inline vf vf_ceil(vf a) {
    vf r = vf_round(a);
    return vf_blend(r < a, vf_copysign(r + vf_set(1), a), r);
}
/* Two factors, so that results near the largest and the smallest float come out right. */
static inline vf vf_scale2(vf a, vf n) {
    vf limited = vf_min(vf_max(n, vf_set(-252.f)), vf_set(254.f));
    vi e = vi_from_vf(limited), half = e >> 1, rest = e - half;
    return a * (vf)((half + 127) << 23) * (vf)((rest + 127) << 23);
}
static inline float vf_reduce_add(vf a) {
    return (a[0] + a[2]) + (a[1] + a[3]);
}
static inline float vf_reduce_max(vf a) {
    float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
    return x > y ? x : y;
}
static inline float vf_reduce_min(vf a) {
    float x = a[0] < a[1] ? a[0] : a[1], y = a[2] < a[3] ? a[2] : a[3];
    return x < y ? x : y;
}

/* VL x VL elements of 32 bits: to[j * ld_to + i] = from[i * ld_from + j]. */
static inline void level_transpose(const uint32_t *from, int64_t ld_from, uint32_t *to,
                                   int64_t ld_to) {
    for (int j = 0; j < VL; j++)
        for (int i = 0; i < VL; i++)
            to[j * ld_to + i] = from[i * ld_from + j];
}

#endif
