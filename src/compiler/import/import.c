#include "compiler/import/import.h"

#include <inttypes.h>
#include <string.h>

#include "compiler/import/importer.h"

static bool is_default_domain(str domain) {
    return domain.n == 0 || str_eq_c(domain, "ai.onnx");
}

/* The opset that the scope imports for `domain`; 0: none. */
static int64_t opset_of(const struct scope *s, str domain) {
    for (size_t i = 0; i < s->n_opsets; i++)
        if (str_eq(s->opsets[i].domain, domain) ||
            (is_default_domain(domain) && is_default_domain(s->opsets[i].domain)))
            return s->opsets[i].version;
    return 0;
}

static status check_opset(struct importer *im, int64_t opset) {
    if (opset >= 1 && opset <= IMPORT_OPSET_MAX)
        return STATUS_OK;
    return error_set(im->err, STATUS_UNIMPLEMENTED,
                     "the model imports opset %" PRId64 ", supported are 1 to %d", opset,
                     IMPORT_OPSET_MAX);
}

static const struct onnx_function *function_of(const struct importer *im,
                                               const struct onnx_node *n) {
    for (size_t i = 0; i < im->model->n_functions; i++) {
        const struct onnx_function *f = &im->model->functions[i];
        if (str_eq(f->name, n->op_type) && str_eq(f->overload, n->overload) &&
            (str_eq(f->domain, n->domain) ||
             (is_default_domain(f->domain) && is_default_domain(n->domain))))
            return f;
    }
    return NULL;
}

static str scoped_name(struct importer *im, const struct scope *s, str name) {
    if (s->prefix.n == 0)
        return name;
    return str_format(im->scratch, "%.*s/%.*s", STR_ARG(s->prefix), STR_ARG(name));
}

static str node_text(struct importer *im, const struct onnx_node *n, size_t index) {
    return str_format(im->scratch, "node %zu, %.*s \"%.*s\"", index, STR_ARG(n->op_type),
                      STR_ARG(n->name));
}

/* Gives each result of `n` a value, before any node is made: files need not be in order. */
static status declare_results(struct importer *im, struct scope *s, const struct onnx_node *n,
                              size_t index) {
    bool is_constant = is_default_domain(n->domain) && str_eq_c(n->op_type, "Constant") &&
                       n->n_outputs == 1 && !function_of(im, n);
    for (size_t i = 0; i < n->n_outputs; i++) {
        str name = n->outputs[i];
        if (name.n == 0)
            continue;
        if (map_get(&s->values, name))
            return error_set(im->err, STATUS_INVALID_ARGUMENT,
                             "%.*s: its result \"%.*s\" is defined twice",
                             STR_ARG(node_text(im, n, index)), STR_ARG(name));
        struct value *v = NULL;
        if (is_constant) {
            bool is_supported;
            TRY(import_constant(im, n, scoped_name(im, s, name), &v, &is_supported));
            if (!is_supported)
                v = NULL;
        }
        if (!v)
            v = graph_value(im->g, scoped_name(im, s, name));
        map_set(&s->values, name, v);
    }
    return STATUS_OK;
}

/* The values that `n` reads; in a function, absent arguments read as left out. */
static status operands(struct importer *im, const struct scope *s, const struct onnx_node *n,
                       size_t index, struct value ***out) {
    struct value **in = arena_array(im->scratch, struct value *, n->n_inputs + 1);
    for (size_t i = 0; i < n->n_inputs; i++) {
        str name = n->inputs[i];
        if (name.n == 0)
            continue;
        in[i] = map_get(&s->values, name);
        bool is_absent_argument = false;
        for (size_t a = 0; s->fn && !in[i] && a < s->fn->n_inputs; a++)
            is_absent_argument |= str_eq(s->fn->inputs[a], name);
        if (!in[i] && !is_absent_argument)
            return error_set(im->err, STATUS_INVALID_ARGUMENT,
                             "%.*s: nothing defines its input \"%.*s\"",
                             STR_ARG(node_text(im, n, index)), STR_ARG(name));
    }
    *out = in;
    return STATUS_OK;
}

static status import_nodes(struct importer *im, struct scope *s, const struct onnx_node *nodes,
                           size_t n_nodes);

/* Puts the nodes of `f` in the place of `call`: results[i] stands for the call's output i. */
static status inline_function(struct importer *im, const struct scope *caller,
                              const struct onnx_node *call, const struct onnx_function *f,
                              struct value **in, struct value **results) {
    if (caller->depth >= IMPORT_FUNCTION_DEPTH_MAX)
        return error_set(im->err, STATUS_RESOURCE_EXHAUSTED,
                         "function \"%.*s\": calls are nested deeper than %d", STR_ARG(f->name),
                         IMPORT_FUNCTION_DEPTH_MAX);
    struct scope s = {.fn = f,
                      .call = call,
                      .caller = caller,
                      .prefix = scoped_name(im, caller, call->name.n ? call->name : f->name),
                      .opsets = f->n_opsets ? f->opsets : caller->opsets,
                      .n_opsets = f->n_opsets ? f->n_opsets : caller->n_opsets,
                      .depth = caller->depth + 1};
    for (size_t i = 0; i < f->n_inputs && i < call->n_inputs; i++)
        if (in[i])
            map_set(&s.values, f->inputs[i], in[i]);
    status result = import_nodes(im, &s, f->nodes, f->n_nodes);
    for (size_t i = 0; result == STATUS_OK && i < call->n_outputs; i++) {
        if (!results[i])
            continue;
        struct value *v = i < f->n_outputs ? map_get(&s.values, f->outputs[i]) : NULL;
        if (!v)
            result =
                error_set(im->err, STATUS_INVALID_ARGUMENT,
                          "function \"%.*s\" has no result for output %zu of its call \"%.*s\"",
                          STR_ARG(f->name), i, STR_ARG(call->name));
        else
            graph_insert_with(im->g, NULL, OP_Identity, &v, 1, &results[i], 1);
    }
    map_done(&s.values);
    return result;
}

/* Records a node that cannot be compiled; its results stay as values of unknown type. */
static void refuse(struct importer *im, const struct onnx_node *n, int64_t opset, struct value **in,
                   struct unsupported why) {
    why.node = n;
    why.opset = opset;
    why.in = in;
    unsupported_add(im, why);
}

static status add_node(struct importer *im, struct scope *s, const struct onnx_node *n,
                       int64_t opset, struct value **in, struct value **results) {
    op_id id = str_eq_c(n->domain, "culmen") ? OP_NONE : op_find(n->domain, n->op_type);
    struct attr_list attrs;
    const char *bad_attr;
    if (id == OP_NONE) {
        refuse(im, n, opset, in, (struct unsupported){0});
        return STATUS_OK;
    }
    TRY(import_attributes(im, s, n, &attrs, &bad_attr));
    if (bad_attr) {
        refuse(im, n, opset, in,
               (struct unsupported){.why = "an attribute of type", .detail = str_from_c(bad_attr)});
        return STATUS_OK;
    }
    const struct op *op = op_get(id);
    size_t n_in = n->n_inputs, n_out = n->n_outputs;
    while (n_in > op->min_in && !in[n_in - 1])
        n_in--;
    while (n_out > 0 && !results[n_out - 1])
        n_out--;
    if (n_in < op->min_in || n_in > op->max_in || n_out > op->max_out)
        return error_set(im->err, STATUS_INVALID_ARGUMENT,
                         "%.*s \"%.*s\" has %zu inputs and %zu outputs; it takes %u to %u and has "
                         "at most %u",
                         STR_ARG(n->op_type), STR_ARG(n->name), n_in, n_out, op->min_in, op->max_in,
                         op->max_out);
    struct node *node = graph_insert_with(im->g, NULL, id, in, n_in, results, n_out);
    node->name = str_copy(im->g->arena, scoped_name(im, s, n->name));
    node->opset = (int)(is_default_domain(n->domain) ? opset : opset_of(s, (str){0}));
    node->attrs = attrs;
    return STATUS_OK;
}

static status import_node(struct importer *im, struct scope *s, const struct onnx_node *n,
                          size_t index) {
    if (im->g->n_nodes + im->n_unsupported >= IMPORT_NODES_MAX)
        return error_set(im->err, STATUS_RESOURCE_EXHAUSTED,
                         "the model has more than %d nodes (functions inlined)", IMPORT_NODES_MAX);
    struct value **in = NULL,
                 **results = arena_array(im->scratch, struct value *, n->n_outputs + 1);
    TRY(operands(im, s, n, index, &in));
    bool is_done = n->n_outputs > 0;
    for (size_t i = 0; i < n->n_outputs; i++) {
        results[i] = n->outputs[i].n ? map_get(&s->values, n->outputs[i]) : NULL;
        is_done &= value_is_constant(results[i]);
    }
    if (is_done) /* a Constant */
        return STATUS_OK;
    const struct onnx_function *f = function_of(im, n);
    if (f)
        return inline_function(im, s, n, f, in, results);
    int64_t opset = opset_of(s, n->domain);
    if (is_default_domain(n->domain))
        TRY(check_opset(im, opset));
    return add_node(im, s, n, opset, in, results);
}

static status import_nodes(struct importer *im, struct scope *s, const struct onnx_node *nodes,
                           size_t n_nodes) {
    for (size_t i = 0; i < n_nodes; i++)
        TRY(declare_results(im, s, &nodes[i], i));
    for (size_t i = 0; i < n_nodes; i++)
        TRY(import_node(im, s, &nodes[i], i));
    return STATUS_OK;
}

static status import_initializers(struct importer *im, struct scope *s) {
    const struct onnx_graph *graph = &im->model->graph;
    if (graph->n_sparse_initializers)
        return error_set(im->err, STATUS_UNIMPLEMENTED,
                         "the model has %zu sparse initializers; make them dense when exporting",
                         graph->n_sparse_initializers);
    for (size_t i = 0; i < graph->n_initializers; i++) {
        const struct onnx_tensor *t = &graph->initializers[i];
        struct tensor tensor;
        if (t->name.n == 0)
            return error_set(im->err, STATUS_INVALID_ARGUMENT, "initializer %zu has no name", i);
        if (map_get(&s->values, t->name))
            return error_set(im->err, STATUS_INVALID_ARGUMENT,
                             "two initializers are called \"%.*s\"", STR_ARG(t->name));
        TRY(import_tensor(im, t, "initializer", t->name, &tensor));
        struct value *v = graph_constant(im->g, t->name, &tensor);
        v->is_in_file = im->options->is_mapped && tensor.size > GRAPH_ALIGNED_SIZE &&
                        t->storage != ONNX_STORAGE_TYPED;
        map_set(&s->values, t->name, v);
    }
    return STATUS_OK;
}

static status import_outputs(struct importer *im, const struct scope *s) {
    const struct onnx_graph *graph = &im->model->graph;
    if (graph->n_outputs == 0)
        return error_set(im->err, STATUS_INVALID_ARGUMENT, "the model has no outputs");
    struct map seen = {0};
    status result = STATUS_OK;
    for (size_t i = 0; i < graph->n_outputs && result == STATUS_OK; i++) {
        str name = graph->outputs[i].name;
        struct value *v = name.n ? map_get(&s->values, name) : NULL;
        if (!v)
            result = error_set(im->err, STATUS_INVALID_ARGUMENT,
                               "nothing defines the model's output \"%.*s\"", STR_ARG(name));
        else if (map_set(&seen, name, v))
            result = error_set(im->err, STATUS_INVALID_ARGUMENT, "two outputs are called \"%.*s\"",
                               STR_ARG(name));
        else
            graph_add_output(im->g, name, v);
    }
    map_done(&seen);
    return result;
}

static void import_properties(struct importer *im) {
    const struct onnx_model *m = im->model;
    struct graph_property *p = arena_array(im->g->arena, struct graph_property, m->n_metadata + 1);
    for (size_t i = 0; i < m->n_metadata; i++)
        p[i] = (struct graph_property){.key = m->metadata[i].key, .value = m->metadata[i].value};
    im->g->properties = p;
    im->g->n_properties = (uint32_t)m->n_metadata;
}

static status import_graph(struct importer *im, struct scope *s, struct buffer *report) {
    int64_t opset = opset_of(s, (str){0});
    if (opset == 0) /* files before IR 3 have no opsets; models of functions only need none */
        opset = 1;
    TRY(check_opset(im, opset));
    im->g->opset = (int)opset;
    im->g->name = im->model->graph.name;
    TRY(import_initializers(im, s));
    TRY(import_inputs(im, s));
    TRY(import_nodes(im, s, im->model->graph.nodes, im->model->graph.n_nodes));
    TRY(import_outputs(im, s));
    import_properties(im);
    if (im->n_unsupported)
        return unsupported_error(im, report);
    return graph_sort(im->g, im->err);
}

status import_onnx(struct graph **out, struct arena *a, struct onnx_model *m,
                   const struct import_options *options, struct buffer *report, struct error *err) {
    struct arena scratch = {0};
    struct importer im = {
        .model = m, .options = options, .g = graph_new(a), .scratch = &scratch, .err = err};
    struct scope s = {.opsets = m->opsets, .n_opsets = m->n_opsets};
    status result = import_graph(&im, &s, report);
    map_done(&s.values);
    map_done(&im.symbols);
    arena_release(&scratch);
    if (result == STATUS_OK)
        *out = im.g;
    return result;
}
