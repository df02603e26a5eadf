/* infer.c - one node's question to its operator's shape function. */
#include <string.h>

#include "compiler/ir/graph.h"

/* Takes over what the shape function found; what is known already and not found again stays.
 * A dim that both know keeps the function's answer. */
static bool value_learn(struct value *v, const struct op_value *found) {
    bool changed = false;
    struct op_value *info = &v->info;
    if (found->dtype != DTYPE_NONE && found->dtype != info->dtype) {
        info->dtype = found->dtype;
        changed = true;
    }
    if (found->rank >= 0) {
        if (found->rank != info->rank) {
            info->rank = found->rank;
            for (int i = 0; i < found->rank; i++)
                info->dims[i] = DIM_UNKNOWN;
            changed = true;
        }
        for (int i = 0; i < found->rank; i++) {
            if (found->dims[i] == DIM_UNKNOWN || found->dims[i] == info->dims[i])
                continue;
            info->dims[i] = found->dims[i];
            changed = true;
        }
        info->is_bound = found->is_bound;
    }
    if (found->contents &&
        (!info->contents || info->n_contents != found->n_contents ||
         memcmp(info->contents, found->contents, found->n_contents * sizeof(dim)) != 0)) {
        info->contents = found->contents;
        info->n_contents = found->n_contents;
        changed = true;
    }
    return changed;
}

status node_infer(struct graph *g, struct node *n, bool *changed, struct error *err) {
    struct arena a = {0};
    const struct op_value **in = arena_array(&a, const struct op_value *, n->n_in + 1);
    struct op_value *out = arena_array(&a, struct op_value, n->n_out + 1);
    for (uint32_t i = 0; i < n->n_in; i++)
        in[i] = n->in[i] ? &n->in[i]->info : NULL;
    for (uint32_t i = 0; i < n->n_out; i++)
        out[i].rank = -1;
    struct op_call call = {.op = op_get(n->op),
                           .opset = n->opset,
                           .attrs = &n->attrs,
                           .in = in,
                           .out = out,
                           .n_in = n->n_in,
                           .n_out = n->n_out,
                           .pool = &g->pool,
                           .arena = g->arena};
    status s = op_infer(&call, err);
    if (s != STATUS_OK) {
        s = error_wrap(err, s, "%s", node_describe(g, &a, n).p);
    } else {
        for (uint32_t i = 0; i < n->n_out; i++)
            if (n->out[i] && value_learn(n->out[i], &out[i]) && changed)
                *changed = true;
    }
    arena_release(&a);
    return s;
}
