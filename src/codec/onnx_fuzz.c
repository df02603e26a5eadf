/* Any bytes: an error or a model whose every string, list and element can be looked at. */
#include <stdlib.h>

#include "codec/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink; /* so that looking is not optimised away */

static void look(const void *p, size_t n) {
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i += 64)
        sink += bytes[i];
    if (n)
        sink += bytes[n - 1];
}

static void look_at_tensor(struct onnx_model *m, const struct onnx_tensor *t) {
    const void *data;
    size_t size;
    struct error err;
    look(t->name.p, t->name.n);
    look(t->dims, t->n_dims * sizeof *t->dims);
    if (t->storage != ONNX_STORAGE_EXTERNAL &&
        onnx_tensor_data(m, t, &data, &size, &err) == STATUS_OK)
        look(data, size);
}

static void look_at_type(const struct onnx_type *t) {
    for (; t; t = t->element) {
        for (size_t i = 0; i < t->n_dims; i++)
            look(t->dims[i].param.p, t->dims[i].param.n);
        if (t->kind == ONNX_TYPE_NONE)
            break;
    }
}

static void look_at_graph(struct onnx_model *m, const struct onnx_graph *g);

static void look_at_nodes(struct onnx_model *m, const struct onnx_node *nodes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct onnx_node *node = &nodes[i];
        for (size_t k = 0; k < node->n_inputs; k++)
            look(node->inputs[k].p, node->inputs[k].n);
        for (size_t k = 0; k < node->n_attributes; k++) {
            const struct onnx_attribute *a = &node->attributes[k];
            look(a->s.p, a->s.n);
            if (a->type == ONNX_ATTRIBUTE_INTS)
                look(a->ints, a->n * sizeof *a->ints);
            if (a->type == ONNX_ATTRIBUTE_FLOATS)
                look(a->floats, a->n * sizeof *a->floats);
            for (size_t s = 0; s < a->n_strings; s++)
                look(a->strings[s].p, a->strings[s].n);
            for (size_t t = 0; t < a->n_tensors; t++)
                look_at_tensor(m, &a->tensors[t]);
            for (size_t s = 0; s < a->n_graphs; s++)
                look_at_graph(m, &a->graphs[s]);
            if (a->t)
                look_at_tensor(m, a->t);
            if (a->g)
                look_at_graph(m, a->g);
            look_at_type(a->tp);
        }
    }
}

static void look_at_graph(struct onnx_model *m, const struct onnx_graph *g) {
    look_at_nodes(m, g->nodes, g->n_nodes);
    for (size_t i = 0; i < g->n_initializers; i++)
        look_at_tensor(m, &g->initializers[i]);
    for (size_t i = 0; i < g->n_inputs; i++)
        look_at_type(&g->inputs[i].type);
    for (size_t i = 0; i < g->n_value_infos; i++)
        look_at_type(&g->value_infos[i].type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct onnx_model *m = NULL;
    struct error err;
    if (onnx_model_read(&m, data, size, NULL, &err) != STATUS_OK)
        return 0;
    look_at_graph(m, &m->graph);
    for (size_t i = 0; i < m->n_functions; i++)
        look_at_nodes(m, m->functions[i].nodes, m->functions[i].n_nodes);
    for (size_t i = 0; i < m->n_metadata; i++)
        look(m->metadata[i].value.p, m->metadata[i].value.n);
    onnx_model_free(m);
    return 0;
}
