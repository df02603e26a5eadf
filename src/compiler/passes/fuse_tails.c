/* fuse_tails.c - what follows a product, into the product: bias, activation, residual; a sum into
 * the Norm that reads it.
 *
 * ops/fused.h: y = activation(sum + bias) scale + shift + residual, or activation(sum + bias +
 * residual) scale + shift. */
#include "compiler/passes/activation.h"
#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"

enum { RESIDUAL = 3 };

static bool has_tail(op_id op) {
    return op == OP_Linear || op == OP_Conv2d || op == OP_ConvTranspose2d;
}

/* The product that makes v, when nothing else reads it. */
static struct node *product_of(const struct value *v) {
    struct node *n = v ? v->def : NULL;
    return n && has_tail(n->op) && value_has_one_use(v) ? n : NULL;
}

static int64_t activation_kind(const struct node *n) {
    return attr_int(&n->attrs, "activation", ACTIVATION_NONE);
}

/* Lets the product give what `last` gives, and stand where `last` stands: nothing reads the product
 * before that. */
static void absorb(struct graph *g, struct node *product, struct node *last) {
    graph_move_before(g, product, last);
    graph_replace(g, last->out[0], product->out[0]);
    graph_erase_dead(g, last);
}

static void fuse_activation(struct graph *g, struct node *n) {
    struct node *product = product_of(n->in[0]);
    struct activation_match a;
    if (!product || activation_kind(product) != ACTIVATION_NONE ||
        attr_find(&product->attrs, "scale") || !activation_of(n, &a))
        return;
    if (node_in(product, RESIDUAL))
        node_set_attr(g, product, attr_of_int("residual_first", 1));
    node_set_attr(g, product, attr_of_int("activation", a.kind));
    node_set_attr(g, product, attr_of_float("alpha", a.alpha));
    node_set_attr(g, product, attr_of_float("beta", a.beta));
    absorb(g, product, n);
}

/* A scalar factor or summand behind the activation, such as the learned scales of PP-LCNet. A
 * product whose residual comes last cannot take it. */
static void fuse_scale(struct graph *g, struct node *n) {
    struct value *rest;
    float c;
    if (!split_scalar(n, &rest, &c) || !same_dims(rest, n->out[0]))
        return;
    struct node *product = product_of(rest);
    if (!product || (node_in(product, RESIDUAL) && !attr_int(&product->attrs, "residual_first", 0)))
        return;
    float scale = attr_float(&product->attrs, "scale", 1),
          shift = attr_float(&product->attrs, "shift", 0);
    if (shift != 0 || (n->op == OP_Mul && scale != 1))
        return;
    node_set_attr(g, product, attr_of_float("scale", n->op == OP_Mul ? c : scale));
    node_set_attr(g, product, attr_of_float("shift", n->op == OP_Mul ? 0 : c));
    absorb(g, product, n);
}

/* Of two products that are added, the later one takes the sum: the earlier is its residual. */
static bool comes_later(const struct node *a, const struct node *b) {
    for (const struct node *n = b->next; n; n = n->next)
        if (n == a)
            return true;
    return false;
}

static void fuse_residual(struct graph *g, struct node *n) {
    if (n->n_in != 2)
        return;
    struct node *candidates[2] = {product_of(n->in[0]), product_of(n->in[1])};
    int pick = candidates[0] ? 0 : 1;
    if (candidates[0] && candidates[1] && comes_later(candidates[1], candidates[0]))
        pick = 1;
    struct node *product = candidates[pick];
    struct value *residual = n->in[1 - pick];
    if (!product || product->op == OP_ConvTranspose2d || node_in(product, RESIDUAL) ||
        residual->def == product || !same_type(residual, product->out[0]) ||
        residual->info.dtype != DTYPE_F32 ||
        attr_int(&product->attrs, "dtype", DTYPE_F32) != DTYPE_F32)
        return;
    struct value *in[] = {product->in[0], product->in[1], node_in(product, 2), residual};
    graph_move_before(g, product, n);
    node_set_inputs(g, product, in, 4);
    absorb(g, product, n);
}

/* Constant per output channel behind a Conv2d without activation: its bias. */
static status fuse_channel_bias(struct graph *g, struct node *n, struct error *err) {
    for (uint32_t i = 0; i < 2; i++) {
        struct node *product = product_of(n->in[i]);
        const struct value *c = n->in[1 - i];
        if (!product || product->op == OP_Linear || activation_kind(product) != ACTIVATION_NONE ||
            node_in(product, RESIDUAL) || node_in(product, 2) ||
            attr_find(&product->attrs, "scale") || !value_is_constant(c) ||
            c->info.dtype != DTYPE_F32 || !same_dims(product->out[0], n->out[0]))
            continue;
        const struct tensor *t = c->info.constant;
        dim channels = product->out[0]->info.dims[3];
        if (t->rank < 1 || t->dims[t->rank - 1] != channels || tensor_n_elements(t) != channels)
            continue;
        struct value *bias;
        TRY(graph_constant_copy(&bias, g, DTYPE_F32, &channels, 1, t->data, err));
        struct value *in[] = {product->in[0], product->in[1], bias};
        node_set_inputs(g, product, in, 3);
        absorb(g, product, n);
        return STATUS_OK;
    }
    return STATUS_OK;
}

status pass_fuse_tails(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->n_in == 0 || !n->in[0] || n->out[0]->info.dtype != DTYPE_F32)
            continue;
        if (n->op == OP_Add) {
            TRY(fuse_channel_bias(g, n, err));
            if (!n->is_erased)
                fuse_scale(g, n);
            if (!n->is_erased)
                fuse_residual(g, n);
        } else if (n->op == OP_Mul) {
            fuse_scale(g, n);
        } else {
            fuse_activation(g, n);
        }
    }
    return STATUS_OK;
}

/* Norm(Add(x, r)) with nothing but Norms reading the sum: the Norm adds. When others read the sum
 * as well, the Norm gives it to them. */
static status fuse_norm_residual(struct graph *g, struct node *norm, struct error *err) {
    struct node *add = made_by(norm->in[0], OP_Add);
    if (!add || node_in(norm, RESIDUAL) || norm->n_out > 1 || !same_type(add->in[0], add->out[0]) ||
        !same_type(add->in[1], add->out[0]) || add->out[0]->info.rank < 1)
        return STATUS_OK;
    struct value *sum = add->out[0];
    bool is_shared = !value_has_one_use(sum);
    struct value *in[] = {add->in[0], node_in(norm, 1), node_in(norm, 2), add->in[1]};
    struct node *made = graph_insert(g, norm, OP_Norm, in, RESIDUAL + 1, is_shared ? 3 : 1);
    made->attrs = norm->attrs;
    if (is_shared)
        made->out[1] = NULL;
    TRY(node_infer(g, made, NULL, err));
    graph_replace(g, norm->out[0], made->out[0]);
    graph_erase(g, norm);
    if (is_shared)
        graph_replace(g, sum, made->out[2]);
    graph_erase(g, add);
    return STATUS_OK;
}

/* Does everything that reads v stand behind `n`? */
static bool is_first_reader(const struct value *v, const struct node *n) {
    for (const struct node *i = v->def ? v->def->next : NULL; i && i != n; i = i->next)
        for (uint32_t k = 0; k < i->n_in; k++)
            if (i->in[k] == v)
                return false;
    return true;
}

status pass_fuse_norm_residual(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op == OP_Norm && n->in[0] && is_first_reader(n->in[0], n))
            TRY(fuse_norm_residual(g, n, err));
    }
    return STATUS_OK;
}
