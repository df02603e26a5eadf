/* dtype.h - the element types of tensors and what the wires call them. */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef enum dtype {
    DTYPE_NONE = 0,
#define DTYPE(name, size, onnx, kserve, numpy) DTYPE_##name,
#include "tensor/dtype.def"
#undef DTYPE
    DTYPE_COUNT
} dtype;

size_t dtype_size(dtype t);             /* bytes an element; 0 for NONE and BYTES */
const char *dtype_name(dtype t);        /* "f32", "i64": as the IR text says it */
const char *dtype_kserve_name(dtype t); /* "FP32" */
const char *dtype_numpy_descr(dtype t); /* "<f4" */
int dtype_onnx(dtype t);                /* TensorProto.DataType */

dtype dtype_from_name(str s);        /* DTYPE_NONE: unknown */
dtype dtype_from_kserve_name(str s); /* DTYPE_NONE: unknown */
dtype dtype_from_numpy_descr(str s);
dtype dtype_from_onnx(int64_t elem_type);

bool dtype_is_float(dtype t);   /* F16 BF16 F32 F64 */
bool dtype_is_integer(dtype t); /* signed and unsigned, not BOOL */
bool dtype_is_signed(dtype t);

#endif
