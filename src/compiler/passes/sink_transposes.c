/* sink_transposes.c - moves each Transpose behind the operators that do not care about the order.
 *
 * A rule looks at a node one of whose operands is y = Transpose(x, p) and, if it can, puts a node
 * on x in its place and a Transpose behind it. The graph only gets transposes further down, so
 * this ends. Multi-operand rules and windows are in sink_rules.c. */
#include "compiler/passes/layout.h"
#include "compiler/passes/sink_internal.h"

#include <string.h>

status sink_finish(const struct sink *s, struct node *made, const struct permutation *after,
                   struct error *err) {
    struct node *n = s->node;
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (!n->out[i])
            continue;
        struct value *y;
        TRY(permute_value(&y, s->graph, n, made->out[i], after, err));
        graph_replace(s->graph, n->out[i], y);
    }
    graph_erase_dead(s->graph, n);
    return STATUS_OK;
}

bool read_axes(const struct node *n, size_t input, int rank, const int64_t **axes, size_t *n_axes,
               struct arena *a) {
    const struct value *v = node_in(n, input);
    if (!v) {
        *axes = attr_ints(&n->attrs, "axes", n_axes);
    } else {
        if (!v->info.contents || v->info.n_contents > TENSOR_RANK_MAX)
            return false;
        int64_t *copy = arena_array(a, int64_t, TENSOR_RANK_MAX);
        for (size_t i = 0; i < v->info.n_contents; i++) {
            if (!dim_is_number(v->info.contents[i]))
                return false;
            copy[i] = v->info.contents[i];
        }
        *axes = copy;
        *n_axes = v->info.n_contents;
    }
    for (size_t i = 0; *axes && i < *n_axes; i++)
        if ((*axes)[i] < -rank || (*axes)[i] >= rank)
            return false;
    return true;
}

/* Relu and its like: one tensor operand, further operands are parameters. */
static status sink_unary(struct sink *s, bool *moved, struct error *err) {
    struct value *in[8];
    if (s->operand != 0 || s->node->n_in > ARRAY_LEN(in))
        return STATUS_OK;
    memcpy(in, s->node->in, s->node->n_in * sizeof *in);
    in[0] = s->source;
    struct node *made;
    TRY(insert_inferred(&made, s->graph, s->node, s->node->op, in, s->node->n_in, s->node->n_out,
                        &s->node->attrs, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}

/* Softmax and Split: an axis to rename. */
static status sink_axis(struct sink *s, bool *moved, struct error *err) {
    struct node *n = s->node;
    bool is_softmax = n->op == OP_Softmax || n->op == OP_LogSoftmax;
    if (s->operand != 0 || (is_softmax && n->opset < 13))
        return STATUS_OK;
    int64_t rank = (int64_t)s->perm.rank, axis = attr_int(&n->attrs, "axis", is_softmax ? -1 : 0);
    axis += axis < 0 ? rank : 0;
    if (axis < 0 || axis >= rank)
        return STATUS_OK;
    struct value *in[] = {s->source, node_in(n, 1)};
    struct node *made = graph_insert(s->graph, n, n->op, in, n->n_in, n->n_out);
    for (size_t i = 0; i < n->attrs.n; i++)
        node_set_attr(s->graph, made, n->attrs.items[i]);
    node_set_attr(s->graph, made, attr_of_int("axis", s->perm.axis[axis]));
    TRY(node_infer(s->graph, made, NULL, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}

/* What is left of the permutation when the axes of y that `gone` marks vanish. */
static struct permutation without_axes(const struct permutation *p, const bool *gone) {
    struct permutation left = {0};
    for (size_t i = 0; i < p->rank; i++) {
        if (gone[i])
            continue;
        int64_t axis = 0; /* of x, counted among those that stay */
        for (size_t j = 0; j < p->rank; j++)
            axis += !gone[j] && p->axis[j] < p->axis[i];
        left.axis[left.rank++] = axis;
    }
    return left;
}

/* Writes axes (of x) where this opset of the operator wants them: attribute or operand. */
static status insert_with_axes(struct node **out, struct sink *s, const int64_t *axes,
                               size_t n_axes, struct error *err) {
    struct node *n = s->node;
    bool is_operand = n->n_in > 1 && n->in[1];
    struct value *in[] = {s->source, NULL};
    if (is_operand)
        in[1] = graph_constant_ints(s->graph, axes, n_axes);
    struct node *made = graph_insert(s->graph, n, n->op, in, is_operand ? 2 : 1, 1);
    for (size_t i = 0; i < n->attrs.n; i++)
        node_set_attr(s->graph, made, n->attrs.items[i]);
    if (!is_operand)
        node_set_attr(s->graph, made, attr_of_ints(s->graph, "axes", axes, n_axes));
    TRY(node_infer(s->graph, made, NULL, err));
    *out = made;
    return STATUS_OK;
}

/* ReduceX and Squeeze: axes to rename, which vanish or stay. */
static status sink_reduce(struct sink *s, bool *moved, struct error *err) {
    struct node *n = s->node;
    const int64_t *axes;
    size_t n_axes;
    int rank = (int)s->perm.rank;
    if (s->operand != 0 || !read_axes(n, 1, rank, &axes, &n_axes, s->graph->arena) || !axes ||
        !n_axes)
        return STATUS_OK;
    bool gone[TENSOR_RANK_MAX] = {0};
    int64_t renamed[TENSOR_RANK_MAX];
    for (size_t i = 0; i < n_axes; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        gone[axis] = true;
        renamed[i] = s->perm.axis[axis];
    }
    struct node *made;
    TRY(insert_with_axes(&made, s, renamed, n_axes, err));
    bool keeps = n->op != OP_Squeeze && attr_int(&n->attrs, "keepdims", 1);
    struct permutation after = keeps ? s->perm : without_axes(&s->perm, gone);
    *moved = true;
    return sink_finish(s, made, &after, err);
}

/* Reshape that merges neighbours in y which are neighbours, in the same order, in x:
 * [B, C, H, W] -> [B, C, H * W] on channels-last x is [B, H * W, C], transposed. */
static status sink_merge(struct sink *s, bool *moved, struct error *err) {
    const struct value *y = s->node->out[0];
    if (s->operand != 0 || s->perm.rank != 4 || y->info.rank != 3)
        return STATUS_OK;
    const dim *x = s->source->info.dims, *d = y->info.dims;
    static const struct permutation to_nchw = {.rank = 4, .axis = {0, 3, 1, 2}};
    if (!permutation_equal(&s->perm, &to_nchw) || d[0] != x[0] || d[1] != x[3] ||
        d[2] != dim_mul(&s->graph->pool, x[1], x[2]) || d[2] == DIM_UNKNOWN)
        return STATUS_OK;
    struct value *merged;
    TRY(reshape_value(&merged, s->graph, s->node, s->source, (dim[]){x[0], d[2], x[3]}, 3, err));
    if (!merged)
        return STATUS_OK;
    *moved = true;
    return sink_finish(s, merged->def, &(struct permutation){.rank = 3, .axis = {0, 2, 1}}, err);
}

/* Transpose of a Transpose. */
static status sink_compose(struct sink *s, bool *moved, struct error *err) {
    struct value *y = s->node->out[0], *z;
    struct permutation own;
    struct value *in;
    if (!value_is_transposed(y, &in, &own))
        return STATUS_OK;
    struct permutation both = permutation_compose(&s->perm, &own);
    TRY(permute_value(&z, s->graph, s->node, s->source, &both, err));
    graph_replace(s->graph, y, z);
    graph_erase_dead(s->graph, s->node);
    *moved = true;
    return STATUS_OK;
}

typedef status (*sink_rule)(struct sink *s, bool *moved, struct error *err);

static sink_rule rule_of(op_id op) {
    switch (op) {
#define SINK(name, rule)                                                                           \
    case OP_##name:                                                                                \
        return rule;
#include "compiler/passes/sink.def"
#undef SINK
    default:
        return NULL;
    }
}

static status sink_node(struct graph *g, struct node *n, bool *moved, struct error *err) {
    sink_rule rule = rule_of(n->op);
    for (uint32_t i = 0; rule && i < n->n_in && !*moved; i++) {
        struct sink s = {.graph = g, .node = n, .operand = i};
        if (value_is_transposed(n->in[i], &s.source, &s.perm) && s.source->info.rank > 0)
            TRY(rule(&s, moved, err));
    }
    return STATUS_OK;
}

/* A Transpose that moves no dim but those of size 1 copies nothing: it is a Reshape. */
static status transpose_to_reshape(struct graph *g, struct node *n, struct error *err) {
    struct permutation p;
    struct value *x, *y = n->out[0], *z;
    int64_t last = -1;
    if (!value_is_transposed(y, &x, &p))
        return STATUS_OK;
    for (size_t i = 0; i < p.rank; i++) {
        if (y->info.dims[i] == 1)
            continue;
        if (p.axis[i] < last)
            return STATUS_OK;
        last = p.axis[i];
    }
    TRY(reshape_value(&z, g, n, x, y->info.dims, p.rank, err));
    if (!z)
        return STATUS_OK;
    graph_replace(g, y, z);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

/* Transpose(Reshape(Transpose(x [B, HW, C]) [B, C, HW]) [B, C, H, W]) to [B, H, W, C] is a Reshape
 * of x. */
static status hoist_split(struct graph *g, struct node *n, bool *moved, struct error *err) {
    static const struct permutation to_nhwc = {.rank = 4, .axis = {0, 2, 3, 1}},
                                    swap = {.rank = 3, .axis = {0, 2, 1}};
    struct permutation outer, inner;
    struct value *split, *x, *z, *y = n->out[0];
    if (!value_is_transposed(y, &split, &outer) || !permutation_equal(&outer, &to_nhwc) ||
        !split->def || split->def->op != OP_Reshape ||
        !value_is_transposed(split->def->in[0], &x, &inner) || !permutation_equal(&inner, &swap))
        return STATUS_OK;
    const dim *d = y->info.dims, *from = x->info.dims;
    if (d[0] != from[0] || d[3] != from[2] || from[1] == DIM_UNKNOWN ||
        dim_mul(&g->pool, d[1], d[2]) != from[1])
        return STATUS_OK;
    TRY(reshape_value(&z, g, n, x, d, 4, err));
    if (!z)
        return STATUS_OK;
    graph_replace(g, y, z);
    graph_erase_dead(g, n);
    *moved = true;
    return STATUS_OK;
}

status pass_sink_transposes(struct graph *g, struct error *err) {
    bool any = true;
    while (any) {
        any = false;
        GRAPH_NODES(n, g) {
            bool moved = false;
            TRY(sink_node(g, n, &moved, err));
            if (!moved && !n->is_erased && n->op == OP_Transpose)
                TRY(hoist_split(g, n, &moved, err));
            any |= moved;
        }
    }
    /* Only now: a Transpose can sink on, a Reshape stops it (squeeze-and-excite gates). */
    GRAPH_NODES(n, g) {
        if (n->op == OP_Transpose)
            TRY(transpose_to_reshape(g, n, err));
    }
    return STATUS_OK;
}
