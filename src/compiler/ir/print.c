#include "compiler/ir/print.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "tensor/convert.h"

enum { ELEMENTS_SHOWN = 16, NUMBER_TEXT = 32 };

struct printer {
    const struct graph *g;
    struct buffer *out;
    struct arena *a;  /* for pieces of text */
    bool *is_printed; /* constants, by value id */
    struct error *err;
};

static status put(struct printer *p, const char *s) {
    return buffer_append(p->out, s, strlen(s), p->err);
}

static bool is_word(str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z') &&
            !(s.p[i] && strchr("_./-", s.p[i])))
            return false;
    return s.n > 0;
}

static status put_quoted(struct printer *p, str s) {
    TRY(put(p, "\""));
    for (size_t i = 0, size; i < s.n; i += size ? size : 1) {
        unsigned char c = (unsigned char)s.p[i];
        size = str_printable_size(str_slice(s, i, s.n));
        if (c == '"' || c == '\\')
            TRY(buffer_printf(p->out, p->err, "\\%c", c));
        else if (size)
            TRY(buffer_append(p->out, &s.p[i], size, p->err));
        else
            TRY(buffer_printf(p->out, p->err, "\\x%02x", c));
    }
    return put(p, "\"");
}

static status put_name(struct printer *p, const struct value *v) {
    if (!v)
        return put(p, "_");
    TRY(put(p, "%"));
    return is_word(v->name) ? buffer_append_str(p->out, v->name, p->err) : put_quoted(p, v->name);
}

/* The shortest decimal that reads back as the same number, with a point or exponent in it when
 * `is_marked`. */
static const char *float_text(double x, bool is_f64, bool is_marked, char out[NUMBER_TEXT]) {
    if (isnan(x) || isinf(x)) {
        snprintf(out, NUMBER_TEXT, "%s", isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return out;
    }
    int first = 1; /* whole numbers are not worth an exponent */
    for (double rest = fabs(x); rest >= 10 && first < 9; rest /= 10)
        first++;
    for (int digits = first; digits <= 17; digits++) {
        snprintf(out, NUMBER_TEXT, "%.*g", digits, x);
        double back = strtod(out, NULL);
        bool is_same = is_f64 ? back == x : (float)back == (float)x;
        if (is_same)
            break;
    }
    if (is_marked && !strpbrk(out, ".e"))
        strcat(out, ".0");
    return out;
}

static status put_element(struct printer *p, const struct tensor *t, size_t i) {
    const char *at = (const char *)t->data + i * dtype_size(t->dtype);
    if (dtype_is_float(t->dtype)) {
        double x;
        char text[NUMBER_TEXT];
        TRY(convert(DTYPE_F64, &x, t->dtype, at, 1, p->err));
        return put(p, float_text(x, t->dtype == DTYPE_F64, false, text));
    }
    int64_t x;
    TRY(convert(DTYPE_I64, &x, t->dtype, at, 1, p->err));
    return buffer_printf(p->out, p->err, "%" PRId64, x);
}

static bool is_splat(const struct tensor *t, int64_t n) {
    size_t size = dtype_size(t->dtype);
    return n > 1 && memcmp(t->data, (const char *)t->data + size, t->size - size) == 0;
}

/* "{1, 2}", "splat 0" or "#hash". */
static status put_tensor(struct printer *p, const struct tensor *t) {
    int64_t n = tensor_n_elements(t);
    bool is_numeric = dtype_size(t->dtype) > 0 && t->dtype != DTYPE_U64;
    if (is_numeric && n > ELEMENTS_SHOWN && is_splat(t, n)) {
        TRY(put(p, "splat "));
        return put_element(p, t, 0);
    }
    if (!is_numeric || n > ELEMENTS_SHOWN)
        return buffer_printf(p->out, p->err, "#%016" PRIx64, hash_bytes(t->data, t->size, 0));
    TRY(put(p, "{"));
    for (int64_t i = 0; i < n; i++) {
        TRY(put(p, i ? ", " : ""));
        TRY(put_element(p, t, (size_t)i));
    }
    return put(p, "}");
}

static status put_type(struct printer *p, const struct value *v) {
    TRY(buffer_append_str(p->out, value_type_text(p->g, p->a, v), p->err));
    if (!v->info.contents || v->info.constant || v->info.n_contents > ELEMENTS_SHOWN)
        return STATUS_OK;
    TRY(put(p, "{"));
    for (size_t i = 0; i < v->info.n_contents; i++) {
        TRY(put(p, i ? "," : ""));
        TRY(buffer_append_str(p->out, dim_format(&p->g->pool, p->a, v->info.contents[i]), p->err));
    }
    return put(p, "}");
}

static status put_constant(struct printer *p, const struct value *v) {
    if (!value_is_constant(v) || p->is_printed[v->id])
        return STATUS_OK;
    p->is_printed[v->id] = true;
    TRY(put(p, "const "));
    TRY(put_name(p, v));
    TRY(put(p, ": "));
    TRY(put_type(p, v));
    TRY(put(p, " = "));
    TRY(put_tensor(p, v->info.constant));
    return put(p, "\n");
}

static status put_list(struct printer *p, const struct attr *a) {
    char text[NUMBER_TEXT];
    if (a->n == 0)
        return put(p, a->kind == ATTR_INTS     ? "ints[]"
                      : a->kind == ATTR_FLOATS ? "floats[]"
                                               : "strings[]");
    for (size_t i = 0; i < a->n; i++) {
        TRY(put(p, i ? ", " : "["));
        if (a->kind == ATTR_INTS)
            TRY(buffer_printf(p->out, p->err, "%" PRId64, a->ints[i]));
        else if (a->kind == ATTR_FLOATS)
            TRY(put(p, float_text((double)a->floats[i], false, true, text)));
        else
            TRY(put_quoted(p, a->strings[i]));
    }
    return put(p, "]");
}

static status put_attr(struct printer *p, const struct attr *a) {
    char text[NUMBER_TEXT];
    TRY(buffer_printf(p->out, p->err, "%.*s=", STR_ARG(a->name)));
    switch (a->kind) {
    case ATTR_INT:
        return buffer_printf(p->out, p->err, "%" PRId64, a->i);
    case ATTR_FLOAT:
        return put(p, float_text((double)a->f, false, true, text));
    case ATTR_STRING:
        return put_quoted(p, a->s);
    case ATTR_INTS:
    case ATTR_FLOATS:
    case ATTR_STRINGS:
        return put_list(p, a);
    case ATTR_TENSOR: {
        const struct tensor *t = a->tensor;
        char dims[DIMS_TEXT_SIZE];
        TRY(buffer_printf(p->out, p->err, "%s%s = ", dtype_name(t->dtype),
                          dims_format(t->dims, t->rank, dims)));
        return put_tensor(p, t);
    }
    case ATTR_GRAPH:
        return put(p, "graph");
    }
    return STATUS_OK;
}

static status put_attrs(struct printer *p, const struct attr_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        TRY(put(p, i ? ", " : " {"));
        TRY(put_attr(p, &list->items[i]));
    }
    return put(p, list->n ? "}" : "");
}

static status put_node(struct printer *p, const struct node *n) {
    for (uint32_t i = 0; i < n->n_in; i++)
        TRY(put_constant(p, n->in[i]));
    for (uint32_t i = 0; i < n->n_out; i++) {
        TRY(put(p, i ? ", " : ""));
        TRY(put_name(p, n->out[i]));
        if (!n->out[i])
            continue;
        TRY(put(p, ": "));
        TRY(put_type(p, n->out[i]));
    }
    TRY(buffer_printf(p->out, p->err, " = %s(", op_get(n->op)->name));
    for (uint32_t i = 0; i < n->n_in; i++) {
        TRY(put(p, i ? ", " : ""));
        TRY(put_name(p, n->in[i]));
    }
    TRY(put(p, ")"));
    TRY(put_attrs(p, &n->attrs));
    if (n->name.n) {
        TRY(put(p, " "));
        TRY(put_quoted(p, n->name));
    }
    if (n->opset && n->opset != p->g->opset)
        TRY(buffer_printf(p->out, p->err, " opset %d", n->opset));
    return put(p, "\n");
}

static status put_graph(struct printer *p) {
    const struct graph *g = p->g;
    TRY(put(p, "graph "));
    TRY(put_quoted(p, g->name));
    TRY(buffer_printf(p->out, p->err, " opset %d\n", g->opset));
    for (uint32_t i = 0; i < g->pool.n_symbols; i++) {
        const struct dim_symbol *s = &g->pool.symbols[i];
        TRY(put(p, "symbol "));
        TRY(is_word(s->name) ? buffer_append_str(p->out, s->name, p->err) : put_quoted(p, s->name));
        TRY(buffer_printf(p->out, p->err, " %" PRId64 "..%" PRId64 "\n", s->min, s->max));
    }
    for (uint32_t i = 0; i < g->n_inputs; i++) {
        TRY(put(p, "input "));
        TRY(put_name(p, g->inputs[i]));
        TRY(put(p, ": "));
        TRY(put_type(p, g->inputs[i]));
        TRY(put(p, "\n"));
    }
    for (const struct node *n = g->first; n; n = n->next)
        TRY(put_node(p, n));
    for (uint32_t i = 0; i < g->n_outputs; i++) {
        TRY(put_constant(p, g->outputs[i].value));
        TRY(put(p, "output "));
        TRY(put_quoted(p, g->outputs[i].name));
        TRY(put(p, " = "));
        TRY(put_name(p, g->outputs[i].value));
        TRY(put(p, "\n"));
    }
    for (uint32_t i = 0; i < g->n_properties; i++) {
        TRY(put(p, "property "));
        TRY(put_quoted(p, g->properties[i].key));
        TRY(put(p, " = "));
        TRY(put_quoted(p, g->properties[i].value));
        TRY(put(p, "\n"));
    }
    return STATUS_OK;
}

status graph_print(struct buffer *out, const struct graph *g, struct error *err) {
    struct arena a = {0};
    struct printer p = {.g = g, .out = out, .a = &a, .err = err};
    p.is_printed = arena_array(&a, bool, g->n_values + 1);
    status s = put_graph(&p);
    arena_release(&a);
    return s;
}
