/* convert.h - the 16-bit floats, and casts between any two dtypes with ONNX Cast's rules. */
#ifndef TENSOR_CONVERT_H
#define TENSOR_CONVERT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"
#include "tensor/dtype.h"

static inline float bf16_to_f32(uint16_t v) {
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t bf16_from_f32(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t v);
uint16_t f16_from_f32(float f); /* nearest even, overflow to infinity */

/* Casts n elements; from and to do not overlap. Float to integer truncates towards zero and
 * saturates; NaN gives 0; to BOOL is != 0. UNIMPLEMENTED: BYTES. */
NODISCARD status convert(dtype to_type, void *to, dtype from_type, const void *from, size_t n,
                         struct error *err);

#endif
