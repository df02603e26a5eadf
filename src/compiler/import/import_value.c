/* import_value.c - tensors, Constant nodes, attributes. */
#include <string.h>

#include "compiler/import/importer.h"

status import_tensor(struct importer *im, const struct onnx_tensor *t, const char *what, str name,
                     struct tensor *out) {
    *out = (struct tensor){.dtype = dtype_from_onnx(t->elem_type), .rank = (uint8_t)t->n_dims};
    if (out->dtype == DTYPE_NONE)
        return error_set(im->err, STATUS_UNIMPLEMENTED,
                         "%s \"%.*s\" has type %s, which no operator here takes", what,
                         STR_ARG(name), onnx_elem_type_name(t->elem_type));
    if (t->n_dims > TENSOR_RANK_MAX)
        return error_set(im->err, STATUS_UNIMPLEMENTED,
                         "%s \"%.*s\" has %zu dimensions, at most %d are supported", what,
                         STR_ARG(name), t->n_dims, TENSOR_RANK_MAX);
    if (t->n_dims)
        memcpy(out->dims, t->dims, t->n_dims * sizeof *t->dims);
    const void *data;
    status s = onnx_tensor_data(im->model, t, &data, &out->size, im->err);
    if (s != STATUS_OK)
        return error_wrap(im->err, s, "%s \"%.*s\"", what, STR_ARG(name));
    /* Constants are never written, but struct tensor serves results as well. */
    memcpy(&out->data, &data, sizeof data);
    return STATUS_OK;
}

/* A constant of `n` elements at `data`, rank 1, or rank 0 when `is_scalar`. */
static status list_constant(struct importer *im, dtype t, const void *data, size_t n,
                            bool is_scalar, struct value **out) {
    int64_t dims[1] = {(int64_t)n};
    return graph_constant_copy(out, im->g, t, dims, is_scalar ? 0 : 1, data, im->err);
}

/* Strings as BYTES elements: {u32 length, bytes}. */
static status string_constant(struct importer *im, const str *s, size_t n, bool is_scalar,
                              struct value **out) {
    struct tensor t = {.dtype = DTYPE_BYTES, .rank = is_scalar ? 0 : 1, .dims = {(int64_t)n}};
    for (size_t i = 0; i < n; i++)
        t.size += sizeof(uint32_t) + s[i].n;
    char *to = t.data = graph_alloc(im->g, t.size);
    if (!to)
        return error_set(im->err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu bytes of strings",
                         t.size);
    for (size_t i = 0; i < n; i++) {
        uint32_t length = (uint32_t)s[i].n;
        memcpy(to, &length, sizeof length);
        memcpy(to + sizeof length, s[i].p, s[i].n);
        to += sizeof length + s[i].n;
    }
    *out = graph_constant(im->g, (str){0}, &t);
    return STATUS_OK;
}

status import_constant(struct importer *im, const struct onnx_node *n, str name, struct value **out,
                       bool *is_supported) {
    *is_supported = true;
    for (size_t i = 0; i < n->n_attributes; i++) {
        const struct onnx_attribute *a = &n->attributes[i];
        if (a->ref_attr_name.n)
            continue;
        if (a->type == ONNX_ATTRIBUTE_TENSOR && a->t && str_eq_c(a->name, "value")) {
            struct tensor t;
            TRY(import_tensor(im, a->t, "constant", name, &t));
            *out = graph_constant(im->g, name, &t);
            return STATUS_OK;
        }
        if (a->type == ONNX_ATTRIBUTE_FLOAT && str_eq_c(a->name, "value_float"))
            return list_constant(im, DTYPE_F32, &a->f, 1, true, out);
        if (a->type == ONNX_ATTRIBUTE_INT && str_eq_c(a->name, "value_int"))
            return list_constant(im, DTYPE_I64, &a->i, 1, true, out);
        if (a->type == ONNX_ATTRIBUTE_FLOATS && str_eq_c(a->name, "value_floats"))
            return list_constant(im, DTYPE_F32, a->floats, a->n, false, out);
        if (a->type == ONNX_ATTRIBUTE_INTS && str_eq_c(a->name, "value_ints"))
            return list_constant(im, DTYPE_I64, a->ints, a->n, false, out);
        if (a->type == ONNX_ATTRIBUTE_STRING && str_eq_c(a->name, "value_string"))
            return string_constant(im, &a->s, 1, true, out);
        if (a->type == ONNX_ATTRIBUTE_STRINGS && str_eq_c(a->name, "value_strings"))
            return string_constant(im, a->strings, a->n, false, out);
    }
    *is_supported = false;
    return STATUS_OK;
}

/* The attribute that `a` stands for: itself, or, inside a function, the caller's or the default.
 * NULL: a reference to an attribute that the caller does not give and that has no default. */
static const struct onnx_attribute *resolve(const struct scope *s, const struct onnx_attribute *a) {
    while (a && a->ref_attr_name.n) {
        if (!s->fn)
            return NULL;
        str wanted = a->ref_attr_name;
        const struct onnx_attribute *found = NULL;
        for (size_t i = 0; i < s->call->n_attributes && !found; i++)
            if (str_eq(s->call->attributes[i].name, wanted))
                found = &s->call->attributes[i];
        if (found) {
            a = found;
            s = s->caller;
            continue;
        }
        for (size_t i = 0; i < s->fn->n_default_attributes && !found; i++)
            if (str_eq(s->fn->default_attributes[i].name, wanted))
                found = &s->fn->default_attributes[i];
        return found && !found->ref_attr_name.n ? found : NULL;
    }
    return a;
}

/* Shape functions read the tensors of attributes as they are. */
static status align_tensor(struct importer *im, struct tensor *t, str name) {
    size_t align = dtype_size(t->dtype);
    if (align <= 1 || (uintptr_t)t->data % align == 0)
        return STATUS_OK;
    void *data = graph_alloc(im->g, t->size);
    if (!data)
        return error_set(im->err, STATUS_RESOURCE_EXHAUSTED,
                         "attribute \"%.*s\": no memory for %zu bytes", STR_ARG(name), t->size);
    memcpy(data, t->data, t->size);
    t->data = data;
    return STATUS_OK;
}

/* One attribute; false: its kind has no form in the graph. */
static status attribute(struct importer *im, const struct onnx_attribute *a, struct attr *out,
                        bool *is_supported) {
    *is_supported = true;
    switch (a->type) {
    case ONNX_ATTRIBUTE_FLOAT:
        *out = (struct attr){.kind = ATTR_FLOAT, .f = a->f};
        break;
    case ONNX_ATTRIBUTE_INT:
        *out = (struct attr){.kind = ATTR_INT, .i = a->i};
        break;
    case ONNX_ATTRIBUTE_STRING:
        *out = (struct attr){.kind = ATTR_STRING, .s = a->s};
        break;
    case ONNX_ATTRIBUTE_FLOATS:
        *out = (struct attr){.kind = ATTR_FLOATS, .n = a->n, .floats = a->floats};
        break;
    case ONNX_ATTRIBUTE_INTS:
        *out = (struct attr){.kind = ATTR_INTS, .n = a->n, .ints = a->ints};
        break;
    case ONNX_ATTRIBUTE_STRINGS:
        *out = (struct attr){.kind = ATTR_STRINGS, .n = a->n, .strings = a->strings};
        break;
    case ONNX_ATTRIBUTE_TENSOR: {
        struct tensor *t = arena_new(im->g->arena, struct tensor);
        if (!a->t) {
            *is_supported = false;
            break;
        }
        TRY(import_tensor(im, a->t, "attribute", a->name, t));
        TRY(align_tensor(im, t, a->name));
        *out = (struct attr){.kind = ATTR_TENSOR, .tensor = t};
        break;
    }
    default:
        *is_supported = false;
    }
    return STATUS_OK;
}

status import_attributes(struct importer *im, const struct scope *s, const struct onnx_node *n,
                         struct attr_list *out, const char **unsupported) {
    struct attr *items = arena_array(im->g->arena, struct attr, n->n_attributes + 1);
    size_t n_items = 0;
    *unsupported = NULL;
    for (size_t i = 0; i < n->n_attributes; i++) {
        const struct onnx_attribute *a = resolve(s, &n->attributes[i]);
        bool is_supported;
        if (!a)
            continue;
        TRY(attribute(im, a, &items[n_items], &is_supported));
        if (!is_supported) {
            *unsupported = onnx_attribute_type_name(a->type);
            continue;
        }
        items[n_items++].name = n->attributes[i].name;
    }
    *out = (struct attr_list){.items = items, .n = n_items};
    return STATUS_OK;
}
