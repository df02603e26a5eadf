#include "tensor/dtype.h"

#include <ctype.h>

struct row {
    const char *name, *kserve, *numpy;
    uint8_t size, onnx;
};

static const struct row rows[DTYPE_COUNT] = {
    [DTYPE_NONE] = {"none", "INVALID", "", 0, 0},
#define DTYPE(name, size, onnx, kserve, numpy) [DTYPE_##name] = {#name, kserve, numpy, size, onnx},
#include "tensor/dtype.def"
#undef DTYPE
};

static const char *const lower_names[DTYPE_COUNT] = {
    "none",  "f32",  "u8",  "i8",  "u16", "i16", "i32",  "i64",
    "bytes", "bool", "f16", "f64", "u32", "u64", "bf16",
};

static const struct row *row_of(dtype t) {
    return &rows[(unsigned)t < DTYPE_COUNT ? t : DTYPE_NONE];
}

size_t dtype_size(dtype t) {
    return row_of(t)->size;
}

const char *dtype_name(dtype t) {
    return lower_names[(unsigned)t < DTYPE_COUNT ? t : DTYPE_NONE];
}

const char *dtype_kserve_name(dtype t) {
    return row_of(t)->kserve;
}

const char *dtype_numpy_descr(dtype t) {
    return row_of(t)->numpy;
}

int dtype_onnx(dtype t) {
    return row_of(t)->onnx;
}

dtype dtype_from_name(str s) {
    for (int t = 1; t < DTYPE_COUNT; t++)
        if (str_eq_c(s, lower_names[t]))
            return (dtype)t;
    return DTYPE_NONE;
}

dtype dtype_from_kserve_name(str s) {
    for (int t = 1; t < DTYPE_COUNT; t++)
        if (str_eq_c(s, rows[t].kserve))
            return (dtype)t;
    return DTYPE_NONE;
}

dtype dtype_from_numpy_descr(str s) {
    for (int t = 1; t < DTYPE_COUNT; t++)
        if (str_eq_c(s, rows[t].numpy))
            return (dtype)t;
    return DTYPE_NONE;
}

dtype dtype_from_onnx(int64_t elem_type) {
    for (int t = 1; t < DTYPE_COUNT; t++)
        if (rows[t].onnx == elem_type)
            return (dtype)t;
    return DTYPE_NONE;
}

bool dtype_is_float(dtype t) {
    return t == DTYPE_F32 || t == DTYPE_F64 || t == DTYPE_F16 || t == DTYPE_BF16;
}

bool dtype_is_signed(dtype t) {
    return t == DTYPE_I8 || t == DTYPE_I16 || t == DTYPE_I32 || t == DTYPE_I64 || dtype_is_float(t);
}

bool dtype_is_integer(dtype t) {
    return dtype_size(t) > 0 && t != DTYPE_BOOL && !dtype_is_float(t);
}
