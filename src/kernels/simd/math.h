/* math.h - exp, log, erf, tanh and the activations on vectors (template; see README).
 *
 * The polynomials are our own least-maximum fits; the errors beside them are those of the fit in
 * exact arithmetic, to which rounding adds one or two units in the last place. */
#ifndef KERNELS_SIMD_MATH_H
#define KERNELS_SIMD_MATH_H

#ifndef SIMD_LEVEL
#include "kernels/generic/level.h"
#endif

#include <math.h>
#include <stdbool.h>

#include "ops/fused.h"

#define SIMD_INLINE static inline __attribute__((always_inline))

/* A loop of n rounds of which none is left: n is a constant once all is inlined, and at most `max`.
 * clang 14 ignores a number that is not exact, so clang is asked to unroll all of it. */
#ifdef __clang__
#define SIMD_UNROLL(max) _Pragma("clang loop unroll(full)")
#else
#define SIMD_PRAGMA(text) _Pragma(#text)
#define SIMD_UNROLL(max)  SIMD_PRAGMA(GCC unroll max)
#endif
#define SIMD_FOR(max, i, n) SIMD_UNROLL(max) for (int i = 0; i < (n); i++)

/* c[0] + x c[1] + x^2 c[2] ...; n is a constant. */
SIMD_INLINE vf vf_poly(vf x, const float *c, int n) {
    vf p = vf_set(c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        p = vf_fma(p, x, vf_set(c[i]));
    return p;
}

/* e^x; 2e-8 of the result, overflow to infinity, NaN stays NaN. */
SIMD_INLINE vf vf_exp(vf x) {
    static const float c[] = {0.49999994f, 0.166665196f, 0.0416684076f, 0.00836891402f,
                              0.0013814189f};
    /* vf_max and vf_min hand on their second operand when it is NaN. */
    x = vf_min(vf_set(89.f), vf_max(vf_set(-104.f), x));
    vf n = vf_round(x * vf_set(1.44269504f));
    vf r = vf_fma(n, vf_set(-0.693145752f), x);
    r = vf_fma(n, vf_set(-1.42860677e-6f), r);
    vf p = vf_fma(vf_poly(r, c, 5) * r, r, r);
    return vf_scale2(p + vf_set(1), n);
}

/* 2^x, 1e-7 of the result (cheap: 1e-4); x <= 127. */
SIMD_INLINE vf vf_exp2(vf x, bool cheap) {
    static const float c[] = {0.693147004f, 0.240222424f, 0.0555073358f, 0.00967151299f,
                              0.00132647238f};
    static const float d[] = {0.693282962f, 0.242210969f, 0.0550089031f};
    vf n = vf_round(x), f = x - n;
    vf p = cheap ? vf_poly(f, d, 3) : vf_poly(f, c, 5);
    return vf_scale2(vf_fma(p, f, vf_set(1)), n);
}

/* Natural logarithm: 6e-9; -inf at 0, NaN below, inf at inf. Denormals count as 0. */
SIMD_INLINE vf vf_log(vf x) {
    static const float c[] = {0.333333135f,  -0.250000089f, 0.200021192f,
                              -0.166679963f, 0.142195508f,  -0.124055915f,
                              0.118881747f,  -0.116756409f, 0.0674660131f};
    vi bits = (vi)x & 0x7fffffff; /* without a sign the difference below cannot overflow */
    /* Exponent such that the mantissa m lies in [sqrt 1/2, sqrt 2). */
    vi e = (bits - 0x3f3504f3) >> 23;
    vf m = (vf)(bits - (e << 23)), f = m - vf_set(1), n = vf_from_vi(e);
    vf p = vf_poly(f, c, 9) * f;
    vf r = vf_fma(n, vf_set(1.42860677e-6f), vf_fma(p, f * f, f * f * vf_set(-0.5f)));
    r = vf_fma(n, vf_set(0.693145752f), f + r);
    r = vf_blend(vf_lt(x, vf_set(1.17549435e-38f)), vf_set(-INFINITY), r);
    r = vf_blend(vf_lt(x, vf_set(0)), vf_set(NAN), r);
    r = vf_blend(vf_lt(vf_set(3.40282347e38f), x), x, r);
    return vf_blend(vf_unordered(x, x), x, r);
}

SIMD_INLINE vf vf_erf(vf x) {
    static const float small[] = {0.128379166f,   -0.37612626f,     0.112836003f,  -0.0268544443f,
                                  0.00518953521f, -0.000802084105f, 7.8891193e-05f};
    /* log2(1 - erf t) / t on [0.9, 4] */
    static const float large[] = {-1.62828469f,    -0.916373193f,   -0.153196365f,   0.0342210159f,
                                  -0.00522677694f, 0.000458865718f, -1.55282469e-05f};
    vf s = x * x, t = vf_min(vf_set(4), vf_abs(x));
    vf near = vf_fma(vf_poly(s, small, 7), x, x);
    vf far = vf_copysign(vf_set(1) - vf_exp2(vf_poly(t, large, 7) * t, false), x);
    return vf_blend(vf_lt(vf_set(1), t), far, near);
}

SIMD_INLINE vf vf_tanh(vf x) {
    static const float small[] = {-0.333332777f, 0.133313283f, -0.0537292287f, 0.0206020046f,
                                  -0.0056607849f};
    vf s = x * x, t = vf_abs(x);
    vf near = vf_fma(vf_poly(s, small, 5) * s, x, x);
    vf e = vf_exp(t + t);
    vf far = vf_copysign(vf_set(1) - vf_set(2) / (e + vf_set(1)), x);
    return vf_blend(vf_lt(vf_set(0.6f), t), far, near);
}

SIMD_INLINE vf vf_sigmoid(vf x) {
    return vf_set(1) / (vf_set(1) + vf_exp(vf_set(0) - x));
}

/* x Phi(x): with E = 2 Phi(-|x|) = 2^q(|x|), it is x E / 2 below zero and x - x E / 2 above; exact
 * to 1e-8, where 1 + erf(x / sqrt 2) would lose what it cancels. Cheap: to 1e-6 of x, 1e-4 of E. */
SIMD_INLINE vf vf_gelu(vf x, bool cheap) {
    static const float c[] = {-1.15110803f,     -0.459180683f,   -0.0525850728f,  0.00719638029f,
                              -0.000240988942f, -0.00014242524f, 3.00594402e-05f, -2.04966364e-06f};
    static const float d[] = {-1.15102279f, -0.459531754f, -0.0522095151f, 0.00722390972f,
                              -0.000491615501f};
    vf t = vf_min(vf_set(cheap ? 4.5f : 6.f), vf_abs(x));
    vf q = (cheap ? vf_poly(t, d, 5) : vf_poly(t, c, 8)) * t;
    vf half = x * vf_set(0.5f) * vf_exp2(q, cheap);
    return vf_blend(vf_lt(x, vf_set(0)), half, x - half);
}

/* Activation `kind`, a constant where it is inlined. `cheap`: the result becomes bf16. */
SIMD_INLINE vf vf_activate(activation kind, vf x, vf alpha, vf beta, bool cheap) {
    switch (kind) {
    case ACTIVATION_RELU:
        return vf_max(vf_set(0), x);
    case ACTIVATION_CLIP:
        return vf_min(beta, vf_max(alpha, x));
    case ACTIVATION_GELU_ERF:
        return vf_gelu(x, cheap);
    case ACTIVATION_GELU_TANH: {
        vf u = vf_fma(x * x * x, vf_set(0.044715f), x) * vf_set(2 * 0.797884561f);
        return x * vf_sigmoid(u); /* (1 + tanh u) / 2 is sigmoid 2u */
    }
    case ACTIVATION_SILU:
        return x * vf_sigmoid(alpha * x);
    case ACTIVATION_SIGMOID:
        return vf_sigmoid(x);
    case ACTIVATION_TANH:
        return vf_tanh(x);
    case ACTIVATION_HARD_SIGMOID:
        return vf_min(vf_set(1), vf_max(vf_set(0), vf_fma(alpha, x, beta)));
    case ACTIVATION_HARD_SWISH: {
        vf h = vf_fma(x, vf_set(1.f / 6), vf_set(0.5f));
        return x * vf_min(vf_set(1), vf_max(vf_set(0), h));
    }
    case ACTIVATION_LEAKY_RELU:
        return vf_blend(vf_lt(x, vf_set(0)), alpha * x, x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return x;
}

/* Loads n floats of `kind` at element i, as f32; n is VL where the whole vector is there. */
SIMD_INLINE vf vf_load_as(bool is_bf16, const void *p, int64_t i, int64_t n) {
    if (is_bf16) {
        const uint16_t *h = (const uint16_t *)p + i;
        return n >= VL ? vf_load_bf16(h) : vf_load_bf16_n(h, n);
    }
    const float *f = (const float *)p + i;
    return n >= VL ? vf_load(f) : vf_load_n(f, n);
}

SIMD_INLINE void vf_store_as(bool is_bf16, void *p, int64_t i, vf v, int64_t n) {
    if (is_bf16) {
        uint16_t *h = (uint16_t *)p + i;
        if (n >= VL)
            vf_store_bf16(h, v);
        else
            vf_store_bf16_n(h, v, n);
        return;
    }
    float *f = (float *)p + i;
    if (n >= VL)
        vf_store(f, v);
    else
        vf_store_n(f, v, n);
}

#endif
