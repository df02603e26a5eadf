/* fuse_onehot.c - the product of a one-hot matrix with constant weights is a choice of their rows.
 *
 * Exporters of JAX and TensorFlow write an embedding as Cast(ids == [0 .. K-1]) W + b: K times the
 * work and a matrix of zeroes that is larger than all other activations. Here row i of W + b is
 * gathered. An id outside 0 .. K-1 gives a row of zeroes there, so ids are clipped to -1 .. K, and
 * the last two rows of the table (Gather counts -1 from its end) are b. */
#include <math.h>
#include <string.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/permute.h"

/* Is v the integers 0 .. count-1 along its last axis, and nothing along others? */
static bool is_range(const struct value *v, int64_t count) {
    const struct op_value *info = &v->info;
    const void *data = value_is_constant(v) ? value_data(v) : NULL;
    if (!data || (info->dtype != DTYPE_I32 && info->dtype != DTYPE_I64) || info->rank < 1 ||
        tensor_n_elements(info->constant) != count || info->dims[info->rank - 1] != count)
        return false;
    for (int64_t i = 0; i < count; i++)
        if ((info->dtype == DTYPE_I32 ? ((const int32_t *)data)[i] : ((const int64_t *)data)[i]) !=
            i)
            return false;
    return true;
}

/* The ids [..., 1] whose one-hot rows of `count` columns `x` is; NULL: it is something else. */
static struct value *one_hot_ids(const struct value *x, int64_t count) {
    struct node *cast = made_only_for(x, OP_Cast);
    struct node *equal = cast ? made_only_for(cast->in[0], OP_Equal) : NULL;
    for (uint32_t i = 0; equal && i < 2; i++) {
        struct value *ids = equal->in[i];
        int rank = ids->info.rank;
        if (rank != x->info.rank || rank < 2 || ids->info.dims[rank - 1] != 1 ||
            ids->info.dtype != equal->in[1 - i]->info.dtype || value_is_constant(ids) ||
            !is_range(equal->in[1 - i], count))
            continue;
        return memcmp(ids->info.dims, x->info.dims, (size_t)(rank - 1) * sizeof(dim)) == 0 ? ids
                                                                                           : NULL;
    }
    return NULL;
}

/* [K + 2, N]: w + bias, and twice the bias alone. *out NULL: a number that is not finite is in w,
 * which a product spreads to all rows. */
static status make_table(struct value **out, struct graph *g, const struct node *linear,
                         struct error *err) {
    const struct tensor *t = linear->in[1]->info.constant;
    const float *w = value_data(linear->in[1]);
    const float *bias = node_in(linear, 2) ? value_data(linear->in[2]) : NULL;
    int64_t rows = t->dims[0], columns = t->dims[1], n = rows * columns;
    *out = NULL;
    if (!w || (node_in(linear, 2) && !bias))
        return STATUS_OK;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(w[i]))
            return STATUS_OK;
    struct value *made;
    TRY(graph_constant_copy(&made, g, DTYPE_F32, (int64_t[]){rows + 2, columns}, 2, NULL, err));
    float *to = made->info.constant->data;
    for (int64_t i = 0; i < n + 2 * columns; i++)
        to[i] = (i < n ? w[i] : 0.0f) + (bias ? bias[i % columns] : 0.0f);
    *out = made;
    return STATUS_OK;
}

static status scalar_like(struct value **out, struct graph *g, dtype t, int64_t x,
                          struct error *err) {
    int32_t narrow = (int32_t)x;
    return graph_constant_copy(out, g, t, NULL, 0,
                               t == DTYPE_I32 ? (const void *)&narrow : (const void *)&x, err);
}

static status gather_rows(struct graph *g, struct node *linear, struct error *err) {
    enum { OPSET_OF_INTEGER_CLIP = 12 };
    const struct tensor *w = linear->in[1]->info.constant;
    const struct value *x = linear->in[0];
    struct value *ids, *column = one_hot_ids(x, w->dims[0]), *table, *low, *high;
    if (!column)
        return STATUS_OK;
    TRY(make_table(&table, g, linear, err));
    if (!table)
        return STATUS_OK;
    TRY(reshape_value(&ids, g, linear, column, x->info.dims, (size_t)x->info.rank - 1, err));
    if (!ids)
        return STATUS_OK;
    TRY(scalar_like(&low, g, ids->info.dtype, -1, err));
    TRY(scalar_like(&high, g, ids->info.dtype, w->dims[0], err));
    struct node *clip = graph_insert(g, linear, OP_Clip, (struct value *[]){ids, low, high}, 3, 1);
    clip->opset = OPSET_OF_INTEGER_CLIP;
    TRY(node_infer(g, clip, NULL, err));
    struct node *gather;
    struct value *in[] = {table, clip->out[0]};
    TRY(insert_inferred(&gather, g, linear, OP_Gather, in, 2, 1, NULL, err));
    gather->opset = OPSET_OF_INTEGER_CLIP;
    if (!same_type(gather->out[0], linear->out[0])) {
        graph_erase_dead(g, gather);
        return STATUS_OK;
    }
    graph_replace(g, linear->out[0], gather->out[0]);
    graph_erase_dead(g, linear);
    return STATUS_OK;
}

status pass_fuse_onehot(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op == OP_Linear && value_is_constant(n->in[1]) &&
            n->in[1]->info.dtype == DTYPE_F32 && n->n_in <= 3 &&
            !attr_int(&n->attrs, "activation", 0) &&
            (!node_in(n, 2) || value_is_constant(n->in[2])))
            TRY(gather_rows(g, n, err));
    }
    return STATUS_OK;
}
