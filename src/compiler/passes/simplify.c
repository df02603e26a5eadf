/* simplify.c - one rule an operator: nodes that change nothing go, equal meanings get one
 * spelling. */
#include <string.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"

/* A rule gives the value that stands for the node's first result, or NULL. */
typedef status (*rule)(struct value **out, struct graph *g, struct node *n, struct error *err);

/* --- nodes that are their operand --- */

static status operand_itself(struct value **out, struct graph *g, struct node *n,
                             struct error *err) {
    (void)g, (void)err;
    if (n->n_out == 1 || !n->out[1] || !value_is_used(n->out[1]))
        *out = n->in[0];
    return STATUS_OK;
}

static status operand_if_same_type(struct value **out, struct graph *g, struct node *n,
                                   struct error *err) {
    (void)g, (void)err;
    if (n->in[0] && same_type(n->in[0], n->out[0]))
        *out = n->in[0];
    return STATUS_OK;
}

/* Slice that takes all: the dims are the operand's and no step goes backwards. */
static status drop_slice(struct value **out, struct graph *g, struct node *n, struct error *err) {
    const struct value *steps = node_in(n, 4);
    for (size_t i = 0; steps && i < (steps->info.contents ? steps->info.n_contents : 0); i++)
        if (steps->info.contents[i] != 1)
            return STATUS_OK;
    if (steps && !steps->info.contents)
        return STATUS_OK;
    return operand_if_same_type(out, g, n, err);
}

static status drop_concat(struct value **out, struct graph *g, struct node *n, struct error *err) {
    (void)g, (void)err;
    if (n->n_in == 1)
        *out = n->in[0];
    return STATUS_OK;
}

static status drop_transpose(struct value **out, struct graph *g, struct node *n,
                             struct error *err) {
    (void)g, (void)err;
    size_t n_perm;
    const int64_t *perm = attr_ints(&n->attrs, "perm", &n_perm);
    for (size_t i = 0; perm && i < n_perm; i++)
        if (perm[i] != (int64_t)i)
            return STATUS_OK;
    if (perm)
        *out = n->in[0];
    return STATUS_OK;
}

/* Reshape of a Reshape: the last shape counts, when it can be said from the first operand alone. */
static status merge_reshape(struct value **out, struct graph *g, struct node *n,
                            struct error *err) {
    TRY(operand_if_same_type(out, g, n, err));
    struct node *inner = made_by(n->in[0], OP_Reshape);
    const struct value *shape = node_in(n, 1);
    if (*out || !inner || !shape || !shape->info.contents)
        return STATUS_OK;
    for (size_t i = 0; i < shape->info.n_contents; i++)
        if (shape->info.contents[i] == 0)
            return STATUS_OK;
    node_set_input(g, n, 0, inner->in[0]);
    return operand_if_same_type(out, g, n, err);
}

/* --- arithmetic with constants --- */

static bool all_elements_are(const struct value *v, float x) {
    if (!value_is_constant(v) || v->info.dtype != DTYPE_F32)
        return false;
    const float *p = value_data(v);
    int64_t n = p ? tensor_n_elements(v->info.constant) : 0;
    for (int64_t i = 0; i < n; i++)
        if (p[i] != x)
            return false;
    return n > 0;
}

/* x + 0, x * 1, x - 0, x / 1, x ^ 1. */
static bool drop_neutral(struct value **out, const struct node *n, float neutral,
                         bool is_commutative) {
    for (uint32_t i = 0; i < 2; i++) {
        struct value *rest = n->in[1 - i];
        if ((i == 1 || is_commutative) && all_elements_are(n->in[i], neutral) &&
            same_type(rest, n->out[0])) {
            *out = rest;
            return true;
        }
    }
    return false;
}

static status simplify_add(struct value **out, struct graph *g, struct node *n, struct error *err) {
    (void)g, (void)err;
    drop_neutral(out, n, 0.0f, true);
    return STATUS_OK;
}

static status simplify_mul(struct value **out, struct graph *g, struct node *n, struct error *err) {
    (void)g, (void)err;
    drop_neutral(out, n, 1.0f, true);
    return STATUS_OK;
}

/* A node `op` on x and f(constant) in the place of n. */
static status with_constant(struct value **out, struct graph *g, struct node *n, op_id op,
                            float (*f)(float), struct error *err) {
    const struct tensor *t = n->in[1]->info.constant;
    const float *from = value_data(n->in[1]);
    if (!from)
        return STATUS_OK;
    struct value *c;
    TRY(graph_constant_copy(&c, g, DTYPE_F32, t->dims, t->rank, NULL, err));
    for (int64_t i = 0; i < tensor_n_elements(t); i++)
        ((float *)c->info.constant->data)[i] = f(from[i]);
    struct value *in[] = {n->in[0], c};
    struct node *made = graph_insert(g, n, op, in, 2, 1);
    TRY(node_infer(g, made, NULL, err));
    *out = made->out[0];
    return STATUS_OK;
}

static float negate(float x) {
    return -x;
}
static float invert(float x) {
    return 1.0f / x;
}

static status simplify_sub(struct value **out, struct graph *g, struct node *n, struct error *err) {
    if (drop_neutral(out, n, 0.0f, false) || !value_is_constant(n->in[1]) ||
        n->in[1]->info.dtype != DTYPE_F32)
        return STATUS_OK;
    return with_constant(out, g, n, OP_Add, negate, err);
}

static bool can_invert(const struct value *v) {
    if (!value_is_constant(v) || v->info.dtype != DTYPE_F32)
        return false;
    const float *p = value_data(v);
    for (int64_t i = 0; p && i < tensor_n_elements(v->info.constant); i++)
        if (!(p[i] > 1e-30f || p[i] < -1e-30f) || p[i] > 1e30f || p[i] < -1e30f)
            return false;
    return p != NULL;
}

/* x / c is x * (1 / c): at most half a unit in the last place away. */
static status simplify_div(struct value **out, struct graph *g, struct node *n, struct error *err) {
    if (drop_neutral(out, n, 1.0f, false) || !can_invert(n->in[1]))
        return STATUS_OK;
    return with_constant(out, g, n, OP_Mul, invert, err);
}

static status simplify_pow(struct value **out, struct graph *g, struct node *n, struct error *err) {
    struct value *x = n->in[0], *in[] = {x, x};
    if (x->info.dtype != DTYPE_F32 || !same_type(x, n->out[0]) || drop_neutral(out, n, 1.0f, false))
        return STATUS_OK;
    bool is_square = all_elements_are(n->in[1], 2.0f);
    if (!is_square && !all_elements_are(n->in[1], 0.5f))
        return STATUS_OK;
    struct node *made = graph_insert(g, n, is_square ? OP_Mul : OP_Sqrt, in, is_square ? 2 : 1, 1);
    TRY(node_infer(g, made, NULL, err));
    *out = made->out[0];
    return STATUS_OK;
}

/* --- the table --- */

static rule rule_of(op_id op) {
    switch (op) {
    case OP_Identity:
    case OP_Dropout:
        return operand_itself;
    case OP_Cast:
    case OP_Expand:
    case OP_Flatten:
    case OP_Squeeze:
    case OP_Unsqueeze:
        return operand_if_same_type;
    case OP_Reshape:
        return merge_reshape;
    case OP_Slice:
        return drop_slice;
    case OP_Concat:
        return drop_concat;
    case OP_Transpose:
        return drop_transpose;
    case OP_Add:
        return simplify_add;
    case OP_Sub:
        return simplify_sub;
    case OP_Mul:
        return simplify_mul;
    case OP_Div:
        return simplify_div;
    case OP_Pow:
        return simplify_pow;
    default:
        return NULL;
    }
}

status pass_simplify(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        rule r = rule_of(n->op);
        struct value *v = NULL;
        if (!r || n->n_in == 0 || !n->in[0] || !n->out[0])
            continue;
        TRY(r(&v, g, n, err));
        if (!v)
            continue;
        graph_replace(g, n->out[0], v);
        graph_erase_dead(g, n);
    }
    return STATUS_OK;
}
