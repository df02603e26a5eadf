/* sink_reshapes.c - a Reshape that only merges or splits leading axes moves behind what works on
 * rows.
 *
 * Exporters flatten [B, S, K] to [B * S, K] around each Gemm. Once such a Reshape stands behind the
 * Linear, the next one undoes it; products, activations and residual sums then meet again. */
#include "compiler/passes/activation.h"
#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/permute.h"

/* v = Reshape(source) with the same last axis: gives the source, of rank 2 at least. */
static struct value *unflattened(const struct value *v) {
    struct node *reshape = made_by(v, OP_Reshape);
    struct value *source = reshape ? reshape->in[0] : NULL;
    if (!source || source->info.rank < 2 || v->info.rank < 2 || value_is_constant(source) ||
        v->info.dims[v->info.rank - 1] != source->info.dims[source->info.rank - 1] ||
        v->info.dims[v->info.rank - 1] == DIM_UNKNOWN)
        return NULL;
    return source;
}

/* The operands of `n` on sources instead of their reshapes. False: n does not work on rows
 * alone. */
static bool operands_of(const struct node *n, struct value **in) {
    struct activation_match a;
    for (uint32_t i = 0; i < n->n_in; i++)
        in[i] = n->in[i];
    in[0] = unflattened(n->in[0]);
    if (!in[0])
        return false;
    switch (n->op) {
    case OP_Linear:
    case OP_Norm:
        return n->n_in <= 3;
    case OP_Add:
    case OP_Sub:
    case OP_Mul: {
        struct value *other = unflattened(n->in[1]);
        if (n->in[1]->info.rank <= 1) /* a number, or one for each column */
            return same_dims(n->in[0], n->out[0]);
        in[1] = other;
        return other && same_dims(other, in[0]) && same_dims(n->in[0], n->in[1]);
    }
    default:
        return activation_of(n, &a) || n->op == OP_Erf;
    }
}

static status sink_reshape(struct graph *g, struct node *n, struct error *err) {
    enum { OPERANDS_MAX = 3 };
    struct value *in[OPERANDS_MAX], *y;
    if (n->n_in == 0 || n->n_in > OPERANDS_MAX || n->n_out != 1 || !n->in[0] || !operands_of(n, in))
        return STATUS_OK;
    struct node *made;
    TRY(insert_inferred(&made, g, n, n->op, in, n->n_in, 1, &n->attrs, err));
    made->opset = n->opset;
    const struct op_value *old = &n->out[0]->info;
    TRY(reshape_value(&y, g, n, made->out[0], old->dims, (size_t)old->rank, err));
    if (!y || !same_type(y, n->out[0])) {
        graph_erase_dead(g, y ? y->def : made);
        return STATUS_OK;
    }
    graph_replace(g, n->out[0], y);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

/* A Reshape of a Reshape to what there was before. */
static void cancel(struct graph *g, struct node *n) {
    struct node *inner = made_by(n->in[0], OP_Reshape);
    if (!inner || !same_type(inner->in[0], n->out[0]))
        return;
    graph_replace(g, n->out[0], inner->in[0]);
    graph_erase_dead(g, n);
}

status pass_sink_reshapes(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op == OP_Reshape)
            cancel(g, n);
        else
            TRY(sink_reshape(g, n, err));
    }
    return STATUS_OK;
}
