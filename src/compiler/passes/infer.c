#include "compiler/passes/passes.h"

/* A rank that depends on data (Squeeze of whatever is 1) has no place in a plan. */
static status check_typed(const struct graph *g, const struct node *n, struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] && value_is_used(n->out[i]) &&
            (n->out[i]->info.rank < 0 || n->out[i]->info.dtype == DTYPE_NONE))
            return error_set(err, STATUS_UNIMPLEMENTED,
                             "%s: the element type or the number of dims of its result is not "
                             "known before the model runs; --shape may fix what it follows from",
                             node_describe(g, &a, n).p);
    return STATUS_OK;
}

status pass_infer(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        TRY(node_infer(g, n, NULL, err));
        TRY(check_typed(g, n, err));
    }
    return STATUS_OK;
}
