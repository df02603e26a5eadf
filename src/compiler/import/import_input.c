/* import_input.c - graph inputs: their types, symbols, and what --shape makes of them. */
#include <inttypes.h>
#include <string.h>

#include "compiler/import/importer.h"

enum { NAMES_SHOWN_SIZE = 200 /* bytes, of inputs in an error */ };

/* A symbol that --shape gives a number. */
struct binding {
    str symbol;
    int64_t value;
    struct binding *next;
};

static const struct import_shape *shape_of(const struct importer *im, str input) {
    for (size_t i = 0; i < im->options->n_shapes; i++)
        if (str_eq(im->options->shapes[i].input, input))
            return &im->options->shapes[i];
    return NULL;
}

static status check_type(struct importer *im, const struct onnx_value_info *v) {
    const struct onnx_type *t = &v->type;
    if (t->kind != ONNX_TYPE_TENSOR)
        return error_set(im->err, STATUS_UNIMPLEMENTED,
                         "input \"%.*s\" is not a tensor; only tensors are supported",
                         STR_ARG(v->name));
    if (dtype_from_onnx(t->elem_type) == DTYPE_NONE)
        return error_set(im->err, STATUS_UNIMPLEMENTED,
                         "input \"%.*s\" has type %s, which no operator here takes",
                         STR_ARG(v->name), onnx_elem_type_name(t->elem_type));
    const struct import_shape *shape = shape_of(im, v->name);
    if (!t->has_shape && !shape)
        return error_set(im->err, STATUS_INVALID_ARGUMENT,
                         "input \"%.*s\" has no shape in the model: give one, "
                         "--shape=%.*s:1x3x224x224 (? for a dynamic size)",
                         STR_ARG(v->name), STR_ARG(v->name));
    if (t->has_shape && t->n_dims > TENSOR_RANK_MAX)
        return error_set(im->err, STATUS_UNIMPLEMENTED,
                         "input \"%.*s\" has %zu dimensions, at most %d are supported",
                         STR_ARG(v->name), t->n_dims, TENSOR_RANK_MAX);
    if (t->has_shape && shape && shape->rank != t->n_dims)
        return error_set(im->err, STATUS_INVALID_ARGUMENT,
                         "--shape of input \"%.*s\" has %zu dimensions, the model says %zu",
                         STR_ARG(v->name), shape->rank, t->n_dims);
    for (size_t i = 0; shape && t->has_shape && i < t->n_dims; i++)
        if (shape->dims[i] >= 0 && t->dims[i].value >= 0 && shape->dims[i] != t->dims[i].value)
            return error_set(im->err, STATUS_INVALID_ARGUMENT,
                             "--shape of input \"%.*s\" has %" PRId64
                             " as dimension %zu, the model fixes it to %" PRId64,
                             STR_ARG(v->name), shape->dims[i], i, t->dims[i].value);
    return STATUS_OK;
}

/* Exporters write "?" or "-1" where they know no name: such dims are not equal to each other. */
static bool is_name(str param) {
    for (size_t i = 0; i < param.n; i++)
        if ((param.p[i] | 32) >= 'a' && (param.p[i] | 32) <= 'z')
            return true;
    return false;
}

/* Collects what the shape of `v` says about symbols. */
static status bind(struct importer *im, const struct onnx_value_info *v, struct binding **list) {
    const struct import_shape *shape = shape_of(im, v->name);
    for (size_t i = 0; shape && v->type.has_shape && i < v->type.n_dims; i++) {
        str symbol = v->type.dims[i].param;
        if (shape->dims[i] < 0 || v->type.dims[i].value >= 0 || !is_name(symbol))
            continue;
        struct binding *b = *list;
        while (b && !str_eq(b->symbol, symbol))
            b = b->next;
        if (b && b->value != shape->dims[i])
            return error_set(im->err, STATUS_INVALID_ARGUMENT,
                             "--shape gives \"%.*s\" two sizes, %" PRId64 " and %" PRId64
                             " (input \"%.*s\")",
                             STR_ARG(symbol), b->value, shape->dims[i], STR_ARG(v->name));
        if (b)
            continue;
        b = arena_new(im->scratch, struct binding);
        *b = (struct binding){.symbol = symbol, .value = shape->dims[i], .next = *list};
        *list = b;
    }
    return STATUS_OK;
}

/* A symbol's name is part of texts where blanks and brackets mean something. */
static str clean_name(struct importer *im, str name) {
    char *p = arena_alloc(im->scratch, name.n + 1, 1);
    for (size_t i = 0; i < name.n; i++) {
        bool is_odd = (unsigned char)name.p[i] <= ' ' || strchr("()[]{},%\"", name.p[i]);
        p[i] = is_odd ? '_' : name.p[i];
    }
    str_make_printable(p, name.n);
    /* A name must not read as a number or as "?". */
    if (name.n && ((p[0] >= '0' && p[0] <= '9') || strchr("-?", p[0])))
        return str_format(im->scratch, "dim_%.*s", (int)name.n, p);
    return (str){.p = p, .n = name.n};
}

/* The symbol of `param`, or one of its own for each dim without a name. Different ones stay
 * different, though their names be cleaned to the same. */
static dim symbol_of(struct importer *im, str input, size_t axis, str param) {
    str own = str_format(im->scratch, "%.*s.dim_%zu", STR_ARG(input), axis);
    str key =
        str_format(im->scratch, "%c%.*s", param.n ? '=' : '?', STR_ARG(param.n ? param : own));
    str base = clean_name(im, param.n ? param : own), name = base;
    for (int i = 2;; i++) {
        const str *owner = map_get(&im->symbols, name);
        if (owner && str_eq(*owner, key))
            break;
        if (!owner) {
            str *kept = arena_new(im->scratch, str);
            *kept = key;
            map_set(&im->symbols, name, kept);
            break;
        }
        name = str_format(im->scratch, "%.*s_%d", STR_ARG(base), i);
    }
    return dim_symbol(&im->g->pool, name);
}

static dim dim_of(struct importer *im, const struct onnx_value_info *v, size_t i,
                  const struct binding *bindings) {
    const struct import_shape *shape = shape_of(im, v->name);
    if (shape && shape->dims[i] >= 0)
        return shape->dims[i];
    const struct onnx_dim *d = v->type.has_shape ? &v->type.dims[i] : NULL;
    if (d && d->value >= 0)
        return d->value;
    if (!d || !is_name(d->param))
        return symbol_of(im, v->name, i, (str){0});
    for (const struct binding *b = bindings; b; b = b->next)
        if (str_eq(b->symbol, d->param))
            return b->value;
    return symbol_of(im, v->name, i, d->param);
}

static const int64_t INPUT_DIM_MAX = INT32_MAX * 256LL;

static status add_input(struct importer *im, struct scope *s, const struct onnx_value_info *v,
                        const struct binding *bindings) {
    const struct import_shape *shape = shape_of(im, v->name);
    struct value *value = graph_value(im->g, v->name);
    value->info.dtype = dtype_from_onnx(v->type.elem_type);
    value->info.rank = (int8_t)(v->type.has_shape ? v->type.n_dims : shape->rank);
    for (int i = 0; i < value->info.rank; i++) {
        value->info.dims[i] = dim_of(im, v, (size_t)i, bindings);
        dim d = value->info.dims[i];
        if (d == DIM_UNKNOWN)
            return error_set(im->err, STATUS_RESOURCE_EXHAUSTED,
                             "input \"%.*s\": dimension %d: the model has more than %d named sizes",
                             STR_ARG(v->name), i, DIM_SYMBOLS_MAX);
        if (dim_is_number(d) && d > INPUT_DIM_MAX)
            return error_set(im->err, STATUS_RESOURCE_EXHAUSTED,
                             "input \"%.*s\": dimension %d is %lld, wanted at most %lld",
                             STR_ARG(v->name), i, (long long)d, (long long)INPUT_DIM_MAX);
    }
    graph_add_input(im->g, value);
    map_set(&s->values, v->name, value);
    return STATUS_OK;
}

status import_inputs(struct importer *im, struct scope *s) {
    const struct onnx_graph *graph = &im->model->graph;
    struct binding *bindings = NULL;
    struct map seen = {0};
    status result = STATUS_OK;
    for (size_t i = 0; i < graph->n_inputs && result == STATUS_OK; i++) {
        const struct onnx_value_info *v = &graph->inputs[i];
        if (v->name.n == 0)
            result = error_set(im->err, STATUS_INVALID_ARGUMENT, "input %zu has no name", i);
        else if (map_set(&seen, v->name, im))
            result = error_set(im->err, STATUS_INVALID_ARGUMENT, "two inputs are called \"%.*s\"",
                               STR_ARG(v->name));
        else if (!map_get(&s->values, v->name) && (result = check_type(im, v)) == STATUS_OK)
            result = bind(im, v, &bindings);
    }
    for (size_t i = 0; i < im->options->n_shapes && result == STATUS_OK; i++) {
        str name = im->options->shapes[i].input, inputs = STR("");
        if (map_get(&seen, name) && !map_get(&s->values, name))
            continue;
        for (size_t k = 0; k < graph->n_inputs && inputs.n < NAMES_SHOWN_SIZE; k++)
            if (!map_get(&s->values, graph->inputs[k].name))
                inputs = str_format(im->scratch, "%.*s %.*s", STR_ARG(inputs),
                                    STR_ARG(graph->inputs[k].name));
        result =
            error_set(im->err, STATUS_INVALID_ARGUMENT,
                      "--shape names \"%.*s\", which is not an input of the model; inputs:%.*s",
                      STR_ARG(name), STR_ARG(inputs));
    }
    map_done(&seen);
    TRY(result);
    for (size_t i = 0; i < graph->n_inputs; i++)
        if (!map_get(&s->values, graph->inputs[i].name))
            TRY(add_input(im, s, &graph->inputs[i], bindings));
    return STATUS_OK;
}
