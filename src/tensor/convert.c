#include "tensor/convert.h"

#include <math.h>
#include <stdbool.h>

float f16_to_f32(uint16_t v) {
    uint32_t sign = (uint32_t)(v & 0x8000) << 16, exponent = v >> 10 & 31, fraction = v & 1023;
    if (exponent == 0) {
        float f = ldexpf((float)fraction, -24);
        return sign ? -f : f;
    }
    uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t f16_from_f32(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return sign | 0x7e00;
    if (bits >= 0x477ff000) /* rounds to 65520 or more */
        return sign | 0x7c00;
    if (bits < 0x38800000) { /* subnormal: the unit is 2^-24 */
        float magnitude;
        memcpy(&magnitude, &bits, sizeof magnitude);
        return sign | (uint16_t)lrintf(ldexpf(magnitude, 24));
    }
    bits += 0xfff + (bits >> 13 & 1);
    return sign | (uint16_t)((bits - 0x38000000) >> 13);
}

/* A float goes through double, an integer through int64 or uint64: both are exact. */
typedef union wide {
    double real;
    int64_t integer;
    uint64_t natural;
} wide;
typedef enum wide_kind { WIDE_REAL, WIDE_INTEGER, WIDE_NATURAL } wide_kind;

static wide_kind kind_of(dtype t) {
    if (dtype_is_float(t))
        return WIDE_REAL;
    return t == DTYPE_U64 ? WIDE_NATURAL : WIDE_INTEGER;
}

static wide load(dtype t, const void *p, size_t i) {
    switch (t) {
    case DTYPE_F32:
        return (wide){.real = (double)((const float *)p)[i]};
    case DTYPE_F64:
        return (wide){.real = ((const double *)p)[i]};
    case DTYPE_F16:
        return (wide){.real = (double)f16_to_f32(((const uint16_t *)p)[i])};
    case DTYPE_BF16:
        return (wide){.real = (double)bf16_to_f32(((const uint16_t *)p)[i])};
    case DTYPE_I8:
        return (wide){.integer = ((const int8_t *)p)[i]};
    case DTYPE_I16:
        return (wide){.integer = ((const int16_t *)p)[i]};
    case DTYPE_I32:
        return (wide){.integer = ((const int32_t *)p)[i]};
    case DTYPE_I64:
        return (wide){.integer = ((const int64_t *)p)[i]};
    case DTYPE_U16:
        return (wide){.integer = ((const uint16_t *)p)[i]};
    case DTYPE_U32:
        return (wide){.integer = ((const uint32_t *)p)[i]};
    case DTYPE_U64:
        return (wide){.natural = ((const uint64_t *)p)[i]};
    default: /* U8, BOOL */
        return (wide){.integer = ((const uint8_t *)p)[i]};
    }
}

static double to_real(wide v, wide_kind kind) {
    return kind == WIDE_REAL      ? v.real
           : kind == WIDE_INTEGER ? (double)v.integer
                                  : (double)v.natural;
}

/* Integer to integer wraps as C does; a real saturates to the target's range. */
static uint64_t to_bits(wide v, wide_kind kind, dtype to) {
    if (kind != WIDE_REAL)
        return v.natural;
    if (isnan(v.real))
        return 0;
    unsigned bits = (unsigned)dtype_size(to) * 8;
    if (dtype_is_signed(to)) {
        double limit = ldexp(1.0, (int)bits - 1);
        if (v.real >= limit)
            return (UINT64_C(1) << (bits - 1)) - 1;
        return (uint64_t)(v.real <= -limit ? (int64_t)(-limit) : (int64_t)v.real);
    }
    if (v.real <= 0)
        return 0;
    return v.real >= ldexp(1.0, (int)bits) ? UINT64_MAX >> (64 - bits) : (uint64_t)v.real;
}

static void store(dtype t, void *p, size_t i, wide v, wide_kind kind) {
    if (t == DTYPE_BOOL) {
        ((uint8_t *)p)[i] = kind == WIDE_REAL ? v.real != 0 : v.integer != 0;
        return;
    }
    switch (t) {
    case DTYPE_F32:
        ((float *)p)[i] = (float)to_real(v, kind);
        return;
    case DTYPE_F64:
        ((double *)p)[i] = to_real(v, kind);
        return;
    case DTYPE_F16:
        ((uint16_t *)p)[i] = f16_from_f32((float)to_real(v, kind));
        return;
    case DTYPE_BF16:
        ((uint16_t *)p)[i] = bf16_from_f32((float)to_real(v, kind));
        return;
    default:
        break;
    }
    uint64_t bits = to_bits(v, kind, t);
    memcpy((char *)p + i * dtype_size(t), &bits,
           dtype_size(t)); /* little-endian, as all we run on */
}

status convert(dtype to_type, void *to, dtype from_type, const void *from, size_t n,
               struct error *err) {
    if (!dtype_size(to_type) || !dtype_size(from_type))
        return error_set(err, STATUS_UNIMPLEMENTED, "cast from %s to %s", dtype_name(from_type),
                         dtype_name(to_type));
    if (to_type == from_type) {
        memcpy(to, from, n * dtype_size(to_type));
        return STATUS_OK;
    }
    wide_kind kind = kind_of(from_type);
    for (size_t i = 0; i < n; i++)
        store(to_type, to, i, load(from_type, from, i), kind);
    return STATUS_OK;
}
