/* fuse_norm.c - LayerNormalization, and what exporters write instead of it, become Norm. */
#include <math.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"

static bool is_vector_of(const struct value *v, dim n) {
    return v && v->info.dtype == DTYPE_F32 && v->info.rank == 1 && v->info.dims[0] == n;
}

static status insert_norm(struct graph *g, struct node *n, const char *kind, struct value *x,
                          struct value *scale, struct value *bias, float epsilon,
                          struct error *err) {
    struct value *in[] = {x, scale, bias};
    struct node *made = graph_insert(g, n, OP_Norm, in, bias ? 3 : scale ? 2 : 1, 1);
    made->opset = 0;
    node_set_attr(g, made, attr_of_string("kind", str_from_c(kind)));
    node_set_attr(g, made, attr_of_float("epsilon", epsilon));
    TRY(node_infer(g, made, NULL, err));
    graph_replace(g, n->out[0], made->out[0]);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

static status fuse_layer_normalization(struct graph *g, struct node *n, struct error *err) {
    struct value *x = n->in[0], *bias = node_in(n, 2);
    int64_t axis = attr_int(&n->attrs, "axis", -1);
    for (uint32_t i = 1; i < n->n_out; i++)
        if (n->out[i] && value_is_used(n->out[i]))
            return STATUS_OK;
    if (x->info.dtype != DTYPE_F32 || x->info.rank < 1 || (axis != -1 && axis != x->info.rank - 1))
        return STATUS_OK;
    dim width = x->info.dims[x->info.rank - 1];
    if (!is_vector_of(n->in[1], width) || (bias && !is_vector_of(bias, width)))
        return STATUS_OK;
    return insert_norm(g, n, "layer", x, n->in[1], bias, attr_float(&n->attrs, "epsilon", 1e-5f),
                       err);
}

/* v = sqrt(mean(d * d) + epsilon), as 1 / v when *is_inverse. */
static bool match_deviation(const struct value *v, const struct value *d, float *epsilon) {
    struct node *root = made_by(v, OP_Sqrt);
    struct value *variance;
    if (!root || !made_by(root->in[0], OP_Add) ||
        !split_scalar(root->in[0]->def, &variance, epsilon))
        return false;
    struct node *mean = made_by(variance, OP_ReduceMean);
    if (!mean || !reduces_last_axis(mean, true))
        return false;
    struct node *square = made_by(mean->in[0], OP_Mul), *pow = made_by(mean->in[0], OP_Pow);
    return (square && square->in[0] == d && square->in[1] == d) ||
           (pow && pow->in[0] == d && is_scalar(pow->in[1], 2.0));
}

/* n = d / deviation(d), as Div or as Mul by a Reciprocal: gives d. */
static struct value *match_normalised(const struct node *n, float *epsilon) {
    if (n->op == OP_Div)
        return match_deviation(n->in[1], n->in[0], epsilon) ? n->in[0] : NULL;
    for (uint32_t i = 0; i < 2 && n->op == OP_Mul; i++) {
        struct node *inverse = made_by(n->in[i], OP_Reciprocal);
        if (inverse && match_deviation(inverse->in[0], n->in[1 - i], epsilon))
            return n->in[1 - i];
    }
    return NULL;
}

/* d = x - mean(x): gives x, or NULL. */
static struct value *match_centred(const struct value *d) {
    struct node *sub = made_by(d, OP_Sub);
    struct node *mean = sub ? made_by(sub->in[1], OP_ReduceMean) : NULL;
    return mean && mean->in[0] == sub->in[0] && reduces_last_axis(mean, true) ? sub->in[0] : NULL;
}

/* The reader of v that is `op` with a vector [width]: takes the node and the vector. */
static struct node *reader_with_vector(const struct value *v, op_id op, dim width,
                                       struct value **vector) {
    struct node *reader = only_reader(v, op);
    struct value *other = reader ? other_operand(reader, v) : NULL;
    if (!other || !is_vector_of(other, width) || !same_dims(reader->out[0], v))
        return NULL;
    *vector = other;
    return reader;
}

static status fuse_decomposed(struct graph *g, struct node *n, struct error *err) {
    float epsilon;
    struct value *d = match_normalised(n, &epsilon);
    if (!d || d->info.dtype != DTYPE_F32 || d->info.rank < 1)
        return STATUS_OK;
    struct value *x = match_centred(d), *scale = NULL, *bias = NULL;
    dim width = d->info.dims[d->info.rank - 1];
    struct node *last = n, *mul = reader_with_vector(n->out[0], OP_Mul, width, &scale);
    if (mul)
        last = mul;
    struct node *add = x && mul ? reader_with_vector(mul->out[0], OP_Add, width, &bias) : NULL;
    if (add)
        last = add;
    return insert_norm(g, last, x ? "layer" : "rms", x ? x : d, scale, bias, epsilon, err);
}

status pass_fuse_norm(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op == OP_LayerNormalization)
            TRY(fuse_layer_normalization(g, n, err));
        else if ((n->op == OP_Div || n->op == OP_Mul) && n->n_in == 2)
            TRY(fuse_decomposed(g, n, err));
    }
    return STATUS_OK;
}
