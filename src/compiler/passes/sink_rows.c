/* sink_rows.c - rows that nobody reads are not computed.
 *
 * A classifier looks at one token of the last block. The Gather or Slice that takes it moves
 * up (against the flow) through everything that treats rows alone, Linear, Norm, elementwise
 * operators and the queries of Attention, until it stands where all rows are needed, mostly
 * before the queries of the last block. */
#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/permute.h"

enum { OPERANDS_MAX = 4 };

/* Rows from .. to of axis 1 of a [B, S, C] tensor. */
struct rows {
    int64_t from, to;
};

static bool one_number(const struct value *v, int64_t *out) {
    if (!v || !v->info.contents || v->info.n_contents != 1 || !dim_is_number(v->info.contents[0]))
        return false;
    *out = v->info.contents[0];
    return true;
}

/* Is `n` a Slice of axis 1 that keeps a few rows from the front? */
static bool read_slice(const struct node *n, struct rows *r) {
    int64_t axis, step = 1;
    if (n->op != OP_Slice || n->n_in < 4 || n->in[0]->info.rank != 3 ||
        !one_number(n->in[1], &r->from) || !one_number(n->in[2], &r->to) ||
        !one_number(n->in[3], &axis) || (node_in(n, 4) && !one_number(n->in[4], &step)))
        return false;
    return (axis == 1 || axis == -2) && step == 1 && r->from >= 0 && r->to > r->from &&
           n->out[0]->info.dims[1] == r->to - r->from;
}

static status insert_slice(struct value **out, struct graph *g, struct node *before,
                           struct value *v, struct rows r, struct error *err) {
    for (uint32_t i = 0; i < v->n_uses; i++) {
        struct rows other;
        struct node *n = v->uses[i].node;
        if (v->uses[i].index == 0 && read_slice(n, &other) && other.from == r.from &&
            other.to == r.to) { /* there already: it may have to stand earlier */
            for (struct node *at = before; at; at = at->next)
                if (at == n) {
                    graph_move_before(g, n, before);
                    break;
                }
            *out = n->out[0];
            return STATUS_OK;
        }
    }
    struct value *in[] = {v, graph_constant_ints(g, &r.from, 1), graph_constant_ints(g, &r.to, 1),
                          graph_constant_ints(g, (int64_t[]){1}, 1)};
    struct node *made;
    TRY(insert_inferred(&made, g, before, OP_Slice, in, 4, 1, NULL, err));
    *out = made->out[0];
    return STATUS_OK;
}

/* Do all readers of v take the same rows? */
static bool all_readers_slice(const struct value *v, struct rows *r) {
    if (v->n_uses == 0 || v->n_output_uses || v->info.rank != 3)
        return false;
    for (uint32_t i = 0; i < v->n_uses; i++) {
        struct rows other;
        if (v->uses[i].index != 0 || !read_slice(v->uses[i].node, &other) ||
            (i && (other.from != r->from || other.to != r->to)))
            return false;
        *r = other;
    }
    return true;
}

/* Operands of `n` that have the rows of its result and must be cut with it; -1: n mixes rows. */
static int rows_of(const struct node *n, bool *is_cut) {
    const struct value *y = n->out[0];
    switch (n->op) {
    case OP_Linear:
    case OP_Norm:
    case OP_LayerNormalization:
        is_cut[0] = true;
        is_cut[3] = n->n_in > 3;
        return 0;
    case OP_Attention: {
        const struct value *mask = node_in(n, 3);
        is_cut[0] = true; /* a mask per query is seldom: left alone */
        return mask && (mask->info.rank < 2 || mask->info.dims[mask->info.rank - 2] == 1) ? 0
               : mask                                                                     ? -1
                                                                                          : 0;
    }
    case OP_Add:
    case OP_Sub:
    case OP_Mul:
    case OP_Div:
    case OP_Relu:
    case OP_Gelu:
    case OP_Swish:
    case OP_Sigmoid:
    case OP_Tanh:
    case OP_Erf:
        for (uint32_t i = 0; i < n->n_in; i++) {
            const struct value *v = n->in[i];
            bool is_full = v->info.rank == 3 && v->info.dims[1] == y->info.dims[1];
            bool is_broadcast = v->info.rank < 2 || v->info.dims[v->info.rank - 2] == 1;
            if (v->info.rank > 3 || (!is_full && !is_broadcast))
                return -1;
            is_cut[i] = is_full && v->info.dims[1] != 1;
        }
        return 0;
    default:
        return -1;
    }
}

/* Gather of one row of axis 1 as Slice and Reshape, when that can move on. */
static status expand_gather(struct graph *g, struct node *n, struct error *err) {
    int64_t row;
    const struct op_value *index = &n->in[1]->info;
    bool is_cut[OPERANDS_MAX] = {false};
    struct node *def = n->in[0]->def;
    if (!def || def->n_in > OPERANDS_MAX || !value_has_one_use(n->in[0]) ||
        rows_of(def, is_cut) < 0 || n->in[0]->info.rank != 3 || index->rank != 0 ||
        !one_number(n->in[1], &row) || row < 0 || attr_int(&n->attrs, "axis", 0) != 1 ||
        n->in[0]->info.dims[1] == 1)
        return STATUS_OK;
    struct value *cut, *flat;
    TRY(insert_slice(&cut, g, n, n->in[0], (struct rows){row, row + 1}, err));
    if (cut->info.dims[1] == 1) {
        const dim *d = cut->info.dims;
        TRY(reshape_value(&flat, g, n, cut, (dim[]){d[0], d[2]}, 2, err));
        if (flat && same_dims(flat, n->out[0])) {
            graph_replace(g, n->out[0], flat);
            graph_erase_dead(g, n);
            return STATUS_OK;
        }
    }
    if (cut->def && !value_is_used(cut))
        graph_erase_dead(g, cut->def);
    return STATUS_OK;
}

static bool has_one_result(const struct node *n) {
    for (uint32_t i = 1; i < n->n_out; i++)
        if (n->out[i] && value_is_used(n->out[i]))
            return false;
    return n->n_out > 0 && n->out[0];
}

static status sink_into(struct graph *g, struct node *n, struct error *err) {
    struct rows r = {0, 0};
    bool is_cut[OPERANDS_MAX] = {false};
    if (!has_one_result(n) || n->n_in > OPERANDS_MAX || !all_readers_slice(n->out[0], &r) ||
        rows_of(n, is_cut) < 0)
        return STATUS_OK;
    if (dim_is_number(n->out[0]->info.dims[1]) && n->out[0]->info.dims[1] <= r.to - r.from)
        return STATUS_OK;
    struct value *in[OPERANDS_MAX];
    for (uint32_t i = 0; i < n->n_in; i++) {
        in[i] = n->in[i];
        if (is_cut[i] && in[i])
            TRY(insert_slice(&in[i], g, n, in[i], r, err));
    }
    struct node *made, *reader = n->out[0]->uses[0].node;
    TRY(insert_inferred(&made, g, n, n->op, in, n->n_in, 1, &n->attrs, err));
    made->opset = n->opset;
    made->name = n->name;
    if (!same_type(made->out[0], reader->out[0])) { /* the length was only a bound: leave it */
        graph_erase_dead(g, made);
        return STATUS_OK;
    }
    while (n->out[0]->n_uses) {
        reader = n->out[0]->uses[0].node;
        graph_replace(g, reader->out[0], made->out[0]);
        graph_erase(g, reader);
    }
    graph_erase_dead(g, n);
    return STATUS_OK;
}

status pass_sink_rows(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op == OP_Gather)
            TRY(expand_gather(g, n, err));
    }
    /* From the last node to the first: when a node's turn comes, its readers have had theirs. */
    for (struct node *n = g->last, *before; n; n = before) {
        before = n->prev;
        if (!n->is_erased)
            TRY(sink_into(g, n, err));
    }
    return STATUS_OK;
}
