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

/* What is known of the whole graph while it is walked. */
struct walk {
    const struct graph *g;
    bool *is_seen;           /* by node id: stands before the node in hand */
    uint32_t *first_operand; /* by node id: where its operands begin in is_listed */
    bool *is_listed;         /* operand by operand: its value's use list has it */
    uint64_t n_operands;
};

/* Marks the operands that use lists name; a list that names one twice, or another's, is broken. */
static status mark_uses(struct walk *w, struct error *err) {
    for (uint32_t i = 0; i < w->g->n_values; i++) {
        const struct value *v = w->g->values[i];
        for (uint32_t u = 0; u < v->n_uses; u++) {
            const struct node *n = v->uses[u].node;
            uint32_t index = v->uses[u].index;
            if (n->is_erased || index >= n->n_in)
                return value_error(v, "is used by a node that is erased", err);
            bool *mark = &w->is_listed[w->first_operand[n->id] + index];
            if (*mark)
                return value_error(v, "lists a use twice", err);
            if (n->in[index] != v)
                return node_error(w->g, n, "is listed as reading a value that it does not read",
                                  err);
            *mark = true;
        }
    }
    return STATUS_OK;
}

static void walk_init(struct walk *w, const struct graph *g, struct arena *a) {
    *w = (struct walk){.g = g,
                       .is_seen = arena_array(a, bool, g->next_node_id + 1),
                       .first_operand = arena_array(a, uint32_t, g->next_node_id + 1)};
    for (const struct node *n = g->first; n; n = n->next) {
        w->first_operand[n->id] = (uint32_t)w->n_operands;
        w->n_operands += n->n_in;
    }
    w->is_listed = arena_array(a, bool, w->n_operands + 1);
}

static status verify_node(const struct walk *w, const struct node *n, bool is_typed,
                          struct error *err) {
    const struct op *op = op_get(n->op);
    const struct graph *g = w->g;
    if (n->is_erased)
        return node_error(g, n, "is erased and in the list", err);
    if (n->n_in < op->min_in || n->n_in > op->max_in || n->n_out > op->max_out)
        return node_error(g, n, "has a wrong number of operands", err);
    for (uint32_t i = 0; i < n->n_in; i++) {
        const struct value *v = n->in[i];
        if (!v)
            continue;
        TRY(verify_value(v, is_typed, err));
        if (!w->is_listed[w->first_operand[n->id] + i])
            return node_error(g, n, "an operand does not know that it is used here", err);
        if (v->def && !w->is_seen[v->def->id])
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

static status verify_nodes(struct walk *w, bool is_typed, struct error *err) {
    uint32_t n_nodes = 0;
    TRY(mark_uses(w, err));
    for (const struct node *n = w->g->first; n; n = n->next, n_nodes++) {
        TRY(verify_node(w, n, is_typed, err));
        w->is_seen[n->id] = true;
    }
    if (n_nodes != w->g->n_nodes)
        return error_set(err, STATUS_INTERNAL, "graph is broken: %u nodes listed, %u counted",
                         n_nodes, w->g->n_nodes);
    return STATUS_OK;
}

status graph_verify(const struct graph *g, bool is_typed, struct error *err) {
    struct arena a = {0};
    struct walk w;
    walk_init(&w, g, &a);
    status s = verify_nodes(&w, is_typed, err);
    arena_release(&a);
    TRY(s);
    for (uint32_t i = 0; i < g->n_outputs; i++)
        TRY(verify_value(g->outputs[i].value, is_typed, err));
    return STATUS_OK;
}
