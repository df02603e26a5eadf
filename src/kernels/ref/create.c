/* Operators that make tensors from shapes and attributes. */
#include <inttypes.h>

#include "kernels/ref/ref_internal.h"

static status shape(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    int64_t start = attr_int(c->attrs, "start", 0);
    (void)t;
    start += start < 0 ? in->rank : 0;
    start = start < 0 ? 0 : start;
    if (out->rank != 1 || (out->dims[0] && start + out->dims[0] > in->rank))
        return error_set(err, STATUS_INVALID_ARGUMENT, "output is too long");
    for (int64_t i = 0; i < out->dims[0]; i++)
        ref_set_int(out, i, in->dims[start + i]);
    return STATUS_OK;
}

REF(Shape, ref_accepts_any, shape)

static status size(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    (void)t;
    (void)err;
    ref_set_int(c->out[0], 0, tensor_n_elements(c->in[0]));
    return STATUS_OK;
}

REF(Size, ref_accepts_any, size)

static status constant(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    struct tensor *out = c->out[0];
    const struct attr *a = attr_find(c->attrs, "value");
    const void *from = NULL;
    size_t n = 0;
    (void)t;
    if (a && a->kind == ATTR_TENSOR) {
        from = a->tensor->data;
        n = a->tensor->size;
    } else if ((a = attr_find(c->attrs, "value_int")) && a->kind == ATTR_INT) {
        from = &a->i;
        n = sizeof a->i;
    } else if ((a = attr_find(c->attrs, "value_float")) && a->kind == ATTR_FLOAT) {
        from = &a->f;
        n = sizeof a->f;
    } else if ((a = attr_find(c->attrs, "value_ints")) && a->kind == ATTR_INTS) {
        from = a->ints;
        n = a->n * sizeof *a->ints;
    } else if ((a = attr_find(c->attrs, "value_floats")) && a->kind == ATTR_FLOATS) {
        from = a->floats;
        n = a->n * sizeof *a->floats;
    }
    if (n != out->size)
        return error_set(err, STATUS_INVALID_ARGUMENT, "value has %zu bytes, output %zu", n,
                         out->size);
    if (n)
        memcpy(out->data, from, n);
    return STATUS_OK;
}

REF(Constant, ref_accepts_fixed, constant)

static status constant_of_shape(const struct kernel_call *c, const struct kernel_team *t,
                                struct error *err) {
    const struct attr *a = attr_find(c->attrs, "value");
    struct tensor *out = c->out[0];
    (void)t;
    if (!a) {
        if (out->size)
            memset(out->data, 0, out->size);
        return STATUS_OK;
    }
    if (a->kind != ATTR_TENSOR || a->tensor->dtype != out->dtype ||
        a->tensor->size != dtype_size(out->dtype))
        return error_set(err, STATUS_INVALID_ARGUMENT, "value does not fit the output");
    for (size_t i = 0; i + a->tensor->size <= out->size; i += a->tensor->size)
        memcpy((char *)out->data + i, a->tensor->data, a->tensor->size);
    return STATUS_OK;
}

REF(ConstantOfShape, ref_accepts_fixed, constant_of_shape)

static status eye_like(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    struct tensor *out = c->out[0];
    int64_t k = attr_int(c->attrs, "k", 0);
    (void)t;
    if (out->rank != 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has rank %d", out->rank);
    for (int64_t i = 0; i < out->dims[0]; i++)
        for (int64_t j = 0; j < out->dims[1]; j++)
            ref_set_int(out, i * out->dims[1] + j, k == j - i);
    return STATUS_OK;
}

REF(EyeLike, ref_accepts_fixed, eye_like)

static status one_hot(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0], *values = c->in[2];
    struct tensor *out = c->out[0];
    int axis;
    (void)t;
    TRY(ref_axis(attr_int(c->attrs, "axis", -1), out->rank, &axis, err));
    struct ref_split s = ref_split_at(out, axis);
    if (s.before * s.after != tensor_n_elements(in) || tensor_n_elements(values) != 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "indices do not fit the output");
    size_t size = dtype_size(out->dtype);
    for (int64_t b = 0; b < s.before; b++)
        for (int64_t a = 0; a < s.after; a++) {
            double index = ref_get(in, b * s.after + a); /* may be a float */
            index += index < 0 ? (double)s.n : 0;
            for (int64_t i = 0; i < s.n; i++)
                memcpy((char *)out->data + (size_t)((b * s.n + i) * s.after + a) * size,
                       (const char *)values->data + (index == (double)i ? size : 0), size);
        }
    return STATUS_OK;
}

static bool accepts_one_hot(const struct kernel_call *c) {
    return ref_accepts_fixed(c) && c->in[2]->dtype == c->out[0]->dtype;
}

REF(OneHot, accepts_one_hot, one_hot)

static status range(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *start = c->in[0], *delta = c->in[2];
    struct tensor *out = c->out[0];
    int64_t n = tensor_n_elements(out);
    (void)t;
    if (tensor_n_elements(start) != 1 || tensor_n_elements(delta) != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "start and delta have more than one element");
    for (int64_t i = 0; i < n; i++) {
        if (dtype_is_float(out->dtype))
            ref_set(out, i, ref_get(start, 0) + (double)i * ref_get(delta, 0));
        else
            ref_set_int(out, i,
                        (int64_t)((uint64_t)ref_get_int(start, 0) +
                                  (uint64_t)i * (uint64_t)ref_get_int(delta, 0)));
    }
    return STATUS_OK;
}

REF(Range, ref_accepts_number, range)
