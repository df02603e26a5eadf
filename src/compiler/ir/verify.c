#include "compiler/ir/verify.h"

/* The messages may come from a graph that is broken: their text gets an arena of its own. */
static status node_error(const struct graph *g, const struct node *n, const char *what,
                         struct error *err) {
    struct arena a = {0};
    status s =
        error_set(err, STATUS_INTERNAL, "graph is broken: %s: %s", node_describe(g, &a, n).p, what);
    arena_release(&a);
    return s;
}

static status value_error(const struct value *v, const char *what, struct error *err) {
    return error_set(err, STATUS_INTERNAL, "graph is broken: value \"%.*s\": %s", STR_ARG(v->name),
                     what);
}

static status verify_value(const struct value *v, bool is_typed, struct error *err) {
    const struct tensor *t = v->info.constant;
    if (t && (v->def || v->is_input))
        return value_error(v, "a constant has another definition", err);
    if (!t && !v->def && !v->is_input)
        return value_error(v, "is used and nothing defines it", err);
    if (v->def && v->def->is_erased)
        return value_error(v, "is used and its node is erased", err);
    if (v->info.rank > TENSOR_RANK_MAX)
        return value_error(v, "has too many dimensions", err);
    if (is_typed && (v->info.dtype == DTYPE_NONE || v->info.rank < 0))
        return value_error(v, "has no type after inference", err);
    if (!t)
        return STATUS_OK;
    size_t size = 0;
    if (t->dtype != v->info.dtype || t->rank != v->info.rank)
        return value_error(v, "a constant's tensor has another type", err);
    if (t->dtype != DTYPE_BYTES &&
        (!tensor_size(t->dtype, t->dims, t->rank, &size) || size != t->size))
        return value_error(v, "a constant's bytes do not fit its dims", err);
    return STATUS_OK;
}

/* Does v's use list name operand i of n exactly once? */
static bool has_use(const struct value *v, const struct node *n, uint32_t index) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < v->n_uses; i++)
        found += v->uses[i].node == n && v->uses[i].index == index;
    return found == 1;
}

static status verify_node(const struct graph *g, const struct node *n, const bool *is_seen,
                          bool is_typed, struct error *err) {
    const struct op *op = op_get(n->op);
    if (n->is_erased)
        return node_error(g, n, "is erased and in the list", err);
    if (n->n_in < op->min_in || n->n_in > op->max_in || n->n_out > op->max_out)
        return node_error(g, n, "has a wrong number of operands", err);
    for (uint32_t i = 0; i < n->n_in; i++) {
        const struct value *v = n->in[i];
        if (!v)
            continue;
        TRY(verify_value(v, is_typed, err));
        if (!has_use(v, n, i))
            return node_error(g, n, "an operand does not know that it is used here", err);
        if (v->def && !is_seen[v->def->id])
            return node_error(g, n, "reads what a later node makes", err);
    }
    for (uint32_t i = 0; i < n->n_out; i++) {
        const struct value *v = n->out[i];
        if (v && (v->def != n || v->def_index != i || v->is_input))
            return node_error(g, n, "a result says that another node makes it", err);
        if (v && value_is_used(v))
            TRY(verify_value(v, is_typed, err));
    }
    return STATUS_OK;
}

status graph_verify(const struct graph *g, bool is_typed, struct error *err) {
    struct arena a = {0};
    bool *is_seen = arena_array(&a, bool, g->next_node_id + 1);
    status s = STATUS_OK;
    uint64_t n_nodes = 0, n_uses = 0, n_listed = 0;
    for (const struct node *n = g->first; n && s == STATUS_OK; n = n->next) {
        s = verify_node(g, n, is_seen, is_typed, err);
        is_seen[n->id] = true;
        n_nodes++;
        for (uint32_t i = 0; i < n->n_in; i++)
            n_uses += n->in[i] != NULL;
    }
    arena_release(&a);
    TRY(s);
    if (n_nodes != g->n_nodes)
        return error_set(err, STATUS_INTERNAL, "graph is broken: %llu nodes listed, %u counted",
                         (unsigned long long)n_nodes, g->n_nodes);
    for (uint32_t i = 0; i < g->n_values; i++)
        n_listed += g->values[i]->n_uses;
    if (n_uses != n_listed)
        return error_set(err, STATUS_INTERNAL, "graph is broken: %llu operands, %llu uses",
                         (unsigned long long)n_uses, (unsigned long long)n_listed);
    for (uint32_t i = 0; i < g->n_outputs; i++)
        TRY(verify_value(g->outputs[i].value, is_typed, err));
    return STATUS_OK;
}
