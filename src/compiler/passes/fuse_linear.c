/* fuse_linear.c - MatMul and Gemm with constant weights become Linear; three of one operand become
 * one. */
#include <string.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"

static status insert_linear(struct value **out, struct graph *g, struct node *before,
                            struct value *x, struct value *w, struct value *bias,
                            struct error *err) {
    struct value *in[] = {x, w, bias};
    struct node *made = graph_insert(g, before, OP_Linear, in, bias ? 3 : 2, 1);
    made->opset = 0;
    TRY(node_infer(g, made, NULL, err));
    *out = made->out[0];
    return STATUS_OK;
}

static bool is_matrix(const struct value *v) {
    return value_is_constant(v) && v->info.dtype == DTYPE_F32 && v->info.constant->rank == 2;
}

static status fuse_matmul(struct graph *g, struct node *n, struct error *err) {
    struct value *x = n->in[0], *y;
    if (!is_matrix(n->in[1]) || x->info.dtype != DTYPE_F32 || x->info.rank < 2)
        return STATUS_OK;
    TRY(insert_linear(&y, g, n, x, n->in[1], NULL, err));
    graph_replace(g, n->out[0], y);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

/* w [K, N] = alpha * B or alpha * B^T. */
static status gemm_weights(struct value **out, struct graph *g, const struct node *n,
                           struct error *err) {
    const struct tensor *b = n->in[1]->info.constant;
    bool is_turned = attr_int(&n->attrs, "transB", 0) != 0;
    float alpha = attr_float(&n->attrs, "alpha", 1.0f);
    if (!is_turned && alpha == 1.0f) {
        *out = n->in[1];
        return STATUS_OK;
    }
    const float *from = value_data(n->in[1]);
    if (!from)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for weights");
    int64_t rows = b->dims[0], columns = b->dims[1],
            dims[2] = {is_turned ? columns : rows, is_turned ? rows : columns};
    struct value *made;
    TRY(graph_constant_copy(&made, g, DTYPE_F32, dims, 2, NULL, err));
    float *to = made->info.constant->data;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            to[is_turned ? c * rows + r : r * columns + c] = alpha * from[r * columns + c];
    *out = made;
    return STATUS_OK;
}

/* A constant as a bias [N]: [N], [1, N], [1] or a scalar, times `factor`. *out NULL: it is none. */
static status bias_of(struct value **out, struct graph *g, const struct value *v, int64_t n,
                      float factor, struct error *err) {
    *out = NULL;
    if (!value_is_constant(v) || v->info.dtype != DTYPE_F32)
        return STATUS_OK;
    const struct tensor *t = v->info.constant;
    int64_t count = tensor_n_elements(t);
    if ((count != n && count != 1) || (count == n && count != 1 && t->dims[t->rank - 1] != n))
        return STATUS_OK;
    const float *from = value_data(v);
    if (!from)
        return STATUS_OK;
    struct value *made;
    TRY(graph_constant_copy(&made, g, DTYPE_F32, &n, 1, NULL, err));
    for (int64_t i = 0; i < n; i++)
        ((float *)made->info.constant->data)[i] = factor * from[count == 1 ? 0 : i];
    *out = made;
    return STATUS_OK;
}

static status fuse_gemm(struct graph *g, struct node *n, struct error *err) {
    struct value *x = n->in[0], *w = NULL, *bias = NULL, *y, *c = node_in(n, 2);
    if (!is_matrix(n->in[1]) || x->info.dtype != DTYPE_F32 || attr_int(&n->attrs, "transA", 0))
        return STATUS_OK;
    TRY(gemm_weights(&w, g, n, err));
    int64_t columns = w->info.constant->dims[1];
    if (c) {
        if (c->info.rank > 2 || (c->info.rank == 2 && c->info.dims[0] != 1))
            return STATUS_OK;
        TRY(bias_of(&bias, g, c, columns, attr_float(&n->attrs, "beta", 1.0f), err));
        if (!bias)
            return STATUS_OK;
    }
    TRY(insert_linear(&y, g, n, x, w, bias, err));
    graph_replace(g, n->out[0], y);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

/* Linear + constant per column: the bias, or more of it. */
static status fuse_bias(struct graph *g, struct node *n, struct error *err) {
    for (uint32_t i = 0; i < 2; i++) {
        struct node *linear = made_only_for(n->in[i], OP_Linear);
        struct value *bias, *y, *old = linear ? node_in(linear, 2) : NULL;
        if (!linear || linear->n_in > 3 || (old && !value_is_constant(old)) ||
            !same_dims(linear->out[0], n->out[0]))
            continue;
        int64_t columns = linear->in[1]->info.constant->dims[1];
        TRY(bias_of(&bias, g, n->in[1 - i], columns, 1.0f, err));
        if (!bias)
            continue;
        const float *more = old ? value_data(old) : NULL;
        if (old && !more)
            continue;
        for (int64_t j = 0; old && j < columns; j++)
            ((float *)bias->info.constant->data)[j] += more[j];
        TRY(insert_linear(&y, g, linear, linear->in[0], linear->in[1], bias, err));
        graph_replace(g, n->out[0], y);
        graph_erase_dead(g, n);
        return STATUS_OK;
    }
    return STATUS_OK;
}

/* Linear * constant per column: other weights and another bias. */
static status fuse_scale(struct graph *g, struct node *n, struct error *err) {
    for (uint32_t i = 0; i < 2; i++) {
        struct node *linear = made_only_for(n->in[i], OP_Linear);
        struct value *scale, *w, *bias = NULL, *y;
        if (!linear || linear->n_in > 3 || !same_dims(linear->out[0], n->out[0]))
            continue;
        const struct tensor *old = linear->in[1]->info.constant;
        int64_t rows = old->dims[0], columns = old->dims[1];
        TRY(bias_of(&scale, g, n->in[1 - i], columns, 1.0f, err));
        if (!scale || (node_in(linear, 2) && !value_is_constant(linear->in[2])))
            continue;
        const float *s = scale->info.constant->data;
        TRY(graph_constant_copy(&w, g, DTYPE_F32, old->dims, 2, old->data, err));
        for (int64_t j = 0; j < rows * columns; j++)
            ((float *)w->info.constant->data)[j] *= s[j % columns];
        if (node_in(linear, 2)) {
            TRY(bias_of(&bias, g, linear->in[2], columns, 1.0f, err));
            for (int64_t j = 0; bias && j < columns; j++)
                ((float *)bias->info.constant->data)[j] *= s[j];
            if (!bias)
                continue;
        }
        TRY(insert_linear(&y, g, linear, linear->in[0], w, bias, err));
        graph_replace(g, n->out[0], y);
        graph_erase_dead(g, n);
        return STATUS_OK;
    }
    return STATUS_OK;
}

status pass_fuse_linear(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op == OP_MatMul)
            TRY(fuse_matmul(g, n, err));
        else if (n->op == OP_Gemm)
            TRY(fuse_gemm(g, n, err));
        else if (n->op == OP_Add)
            TRY(fuse_bias(g, n, err));
        else if (n->op == OP_Mul && n->out[0]->info.dtype == DTYPE_F32)
            TRY(fuse_scale(g, n, err));
    }
    return STATUS_OK;
}
