#include "server/protocol/tensor_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json_tensor.h"

static int64_t integer_at(dtype t, const char *p) {
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    uint16_t u16;
    uint32_t u32;
    switch (t) {
    case DTYPE_I8:
        memcpy(&i8, p, sizeof i8);
        return i8;
    case DTYPE_I16:
        memcpy(&i16, p, sizeof i16);
        return i16;
    case DTYPE_I32:
        memcpy(&i32, p, sizeof i32);
        return i32;
    case DTYPE_U8:
        return (unsigned char)*p;
    case DTYPE_U16:
        memcpy(&u16, p, sizeof u16);
        return u16;
    case DTYPE_U32:
        memcpy(&u32, p, sizeof u32);
        return u32;
    default:
        memcpy(&i64, p, sizeof i64);
        return i64;
    }
}

status tensor_write_json(struct buffer *out, const struct tensor *t, struct error *err) {
    if (t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "sending %s data via JSON is not supported. Please use the binary data "
                         "format for output",
                         dtype_kserve_name(t->dtype));
    return json_tensor_write(out, t, JSON_TENSOR_FLAT, err);
}

/* --- classes --- */

struct class_value {
    double value;
    int64_t integer;
    size_t index;
};

/* Larger first; of equals the one that stands first. NaN goes last. */
static int compare_classes(const void *a, const void *b) {
    const struct class_value *x = a, *y = b;
    if (isnan(x->value) || isnan(y->value))
        return isnan(x->value) == isnan(y->value) ? (x->index < y->index ? -1 : 1)
                                                  : (isnan(x->value) ? 1 : -1);
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    if (x->integer != y->integer)
        return x->integer > y->integer ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void read_classes(const struct tensor *t, size_t from, size_t n, struct class_value *out) {
    size_t size = dtype_size(t->dtype);
    for (size_t i = 0; i < n; i++) {
        const char *p = (const char *)t->data + (from + i) * size;
        float f32;
        out[i].index = i;
        out[i].integer = 0;
        if (t->dtype == DTYPE_F32) {
            memcpy(&f32, p, sizeof f32);
            out[i].value = f32;
        } else if (t->dtype == DTYPE_F64) {
            memcpy(&out[i].value, p, sizeof out[i].value);
        } else {
            out[i].integer = t->dtype == DTYPE_BOOL ? *p : integer_at(t->dtype, p);
            out[i].value =
                t->dtype == DTYPE_U64 ? (double)(uint64_t)out[i].integer : (double)out[i].integer;
        }
    }
}

static status write_class(struct buffer *out, const struct class_value *v, bool is_float,
                          const struct io_spec *io, struct error *err) {
    size_t at = out->n;
    uint32_t length = 0;
    TRY(buffer_append(out, &length, sizeof length, err));
    if (is_float)
        TRY(buffer_printf(out, err, "%f:%zu", v->value, v->index));
    else
        TRY(buffer_printf(out, err, "%" PRId64 ":%zu", v->integer, v->index));
    if (v->index < io->n_labels && io->labels[v->index].n)
        TRY(buffer_printf(out, err, ":%.*s", STR_ARG(io->labels[v->index])));
    length = (uint32_t)(out->n - at - sizeof length);
    memcpy(out->p + at, &length, sizeof length);
    return STATUS_OK;
}

static void buffer_over(void *arg) {
    buffer_done(arg);
}

status tensor_classify(struct tensor *t, const struct model_spec *m, const struct io_spec *io,
                       uint64_t n, struct arena *a, struct error *err) {
    bool is_float = t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64;
    if (!is_float && !dtype_is_integer(t->dtype) && t->dtype != DTYPE_BOOL)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "class result not available for output due to unsupported type '%s'",
                         dtype_kserve_name(t->dtype));
    int64_t n_elements = tensor_n_elements(t);
    int64_t n_rows = m->max_batch_size > 0 && t->rank > 0 ? t->dims[0] : 1;
    if (n_elements < 0 || n_elements > CLASSES_ELEMENTS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "classification is limited to tensors of %d elements",
                         CLASSES_ELEMENTS_MAX);
    size_t n_row = n_rows > 0 ? (size_t)(n_elements / n_rows) : 0;
    size_t n_classes = n < n_row ? (size_t)n : n_row;
    struct buffer *out = arena_new(a, struct buffer);
    arena_defer(a, buffer_over, out);
    struct class_value *row = malloc((n_row + 1) * sizeof *row);
    status code = row ? STATUS_OK : error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    for (int64_t r = 0; r < n_rows && code == STATUS_OK; r++) {
        read_classes(t, (size_t)r * n_row, n_row, row);
        qsort(row, n_row, sizeof *row, compare_classes);
        for (size_t i = 0; i < n_classes && code == STATUS_OK; i++)
            code = write_class(out, &row[i], is_float, io, err);
    }
    free(row);
    TRY(code);
    tensor_release(t);
    *t = (struct tensor){.dtype = DTYPE_BYTES, .data = out->p, .size = out->n};
    if (m->max_batch_size > 0)
        t->dims[t->rank++] = n_rows;
    t->dims[t->rank++] = (int64_t)n_classes;
    return STATUS_OK;
}
