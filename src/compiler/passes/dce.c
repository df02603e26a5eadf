#include "compiler/passes/passes.h"

static bool is_dead(const struct node *n) {
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] && value_is_used(n->out[i]))
            return false;
    return true;
}

status pass_dce(struct graph *g, struct error *err) {
    (void)err;
    for (struct node *n = g->last, *before; n; n = before) {
        before = n->prev;
        if (is_dead(n))
            graph_erase(g, n);
    }
    return STATUS_OK;
}
