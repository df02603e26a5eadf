#include "compiler/passes/passes.h"

enum { SMALL_CONSTANT = 64 }; /* bytes; larger ones are rarely equal and cost to compare */

/* What makes two nodes equal, as bytes. */
static status node_key(struct buffer *key, const struct node *n, struct error *err) {
    buffer_clear(key);
    uint32_t head[] = {n->op, (uint32_t)n->opset, n->n_in, n->n_out};
    TRY(buffer_append(key, head, sizeof head, err));
    for (uint32_t i = 0; i < n->n_in; i++) {
        uint32_t id = n->in[i] ? n->in[i]->id : UINT32_MAX;
        TRY(buffer_append(key, &id, sizeof id, err));
    }
    return attr_list_encode(key, &n->attrs, err);
}

static bool same_results(const struct node *a, const struct node *b) {
    for (uint32_t i = 0; i < a->n_out; i++)
        if (!a->out[i] != !b->out[i])
            return false;
    return true;
}

static status merge_node(struct graph *g, struct node *n, struct map *seen, struct buffer *key,
                         struct error *err) {
    TRY(node_key(key, n, err));
    struct node *first = map_get(seen, buffer_str(key));
    if (!first) {
        map_set(seen, buffer_str(key), n);
        return STATUS_OK;
    }
    if (!same_results(n, first))
        return STATUS_OK;
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i])
            graph_replace(g, n->out[i], first->out[i]);
    graph_erase(g, n);
    return STATUS_OK;
}

static status merge_constants(struct graph *g, struct map *seen, struct buffer *key,
                              struct error *err) {
    for (uint32_t i = 0; i < g->n_values; i++) {
        struct value *v = g->values[i];
        if (!value_is_constant(v) || !value_is_used(v) || v->info.constant->size > SMALL_CONSTANT)
            continue;
        const struct tensor *t = v->info.constant;
        buffer_clear(key);
        uint8_t head[] = {(uint8_t)t->dtype, t->rank};
        TRY(buffer_append(key, head, sizeof head, err));
        TRY(buffer_append(key, t->dims, t->rank * sizeof *t->dims, err));
        TRY(buffer_append(key, t->data, t->size, err));
        struct value *first = map_get(seen, buffer_str(key));
        if (!first)
            map_set(seen, buffer_str(key), v);
        else
            graph_replace(g, v, first);
    }
    return STATUS_OK;
}

status pass_cse(struct graph *g, struct error *err) {
    struct map constants = {0}, nodes = {0};
    struct buffer key = {0};
    status done = merge_constants(g, &constants, &key, err);
    GRAPH_NODES(n, g) {
        if (done == STATUS_OK)
            done = merge_node(g, n, &nodes, &key, err);
    }
    map_done(&constants);
    map_done(&nodes);
    buffer_done(&key);
    return done;
}
