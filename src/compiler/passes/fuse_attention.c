/* fuse_attention.c - softmax(scale q k^T + mask) v, with the moves of heads around it, to Attention.
 *
 * The pattern is found from its Softmax. q, k and v are followed back through scales, transposes and
 * reshapes to a tensor [B, S, columns] and a first column; whatever is spelled in between (separate
 * tensors, a joint one split by Split, Slice or Gather) ends as an offset. */
#include <math.h>
#include <string.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/permute.h"

/* Columns offset ... offset + heads * size of each row of `rows` [B, S, columns]. */
struct heads {
    struct value *rows;
    dim n, size;
    int64_t offset;
};

struct attention {
    struct node *softmax, *scores, *product; /* product: probabilities times v */
    struct value *q, *k, *v;                 /* [B, H, S, D]; k as far as K^T's transpose goes */
    struct value *mask;
    double scale;
    struct heads heads[3];
};

/* --- scores ------------------------------------------------------------------------------------ */

static struct value *strip_scale(struct value *v, double *scale) {
    struct node *mul = made_by(v, OP_Mul);
    struct value *rest;
    float s;
    if (!mul || !split_scalar(mul, &rest, &s))
        return v;
    *scale *= (double)s;
    return rest;
}

static bool match_scores(struct attention *a, struct node *softmax) {
    struct value *x = softmax->in[0];
    int64_t axis = attr_int(&softmax->attrs, "axis", softmax->opset < 13 ? 1 : -1);
    if (x->info.rank != 4 || (axis != -1 && axis != 3))
        return false;
    *a = (struct attention){.softmax = softmax, .scale = 1};
    x = strip_scale(x, &a->scale);
    if (a->scale != 1 && made_by(x, OP_Add)) /* a scale over the mask too: not ours */
        return false;
    struct node *add = made_only_for(x, OP_Add);
    for (uint32_t i = 0; add && i < 2; i++) {
        double scale = 1;
        struct value *inner = strip_scale(add->in[i], &scale);
        if (!made_by(inner, OP_MatMul) || !value_has_one_use(inner) ||
            !same_dims(inner, add->out[0]))
            continue;
        a->mask = add->in[1 - i];
        a->scale *= scale;
        x = inner;
        break;
    }
    a->scores = made_only_for(x, OP_MatMul);
    a->product = only_reader(softmax->out[0], OP_MatMul);
    return a->scores && a->product && a->product->in[0] == softmax->out[0] &&
           (!a->mask || (a->mask->info.dtype == DTYPE_F32 && a->mask->info.rank <= 4 &&
                         a->mask->info.rank >= 0));
}

/* k^T [B, H, D, S] is a Transpose of [B, H, S, D], perhaps scaled before or after it. */
static bool match_operands(struct attention *a) {
    a->q = strip_scale(a->scores->in[0], &a->scale);
    a->v = a->product->in[1];
    a->k = strip_scale(a->scores->in[1], &a->scale);
    return a->q->info.rank == 4 && a->k->info.rank == 4 && a->v->info.rank == 4;
}

/* --- heads ------------------------------------------------------------------------------------- */

static bool has_perm(const struct value *v, const int64_t *want, size_t rank,
                     struct value **source) {
    struct permutation p, wanted = {.rank = rank};
    memcpy(wanted.axis, want, rank * sizeof *want);
    return value_is_transposed(v, source, &p) && permutation_equal(&p, &wanted);
}

/* [B, S, H, D] as a Reshape of [B, S, columns]: heads over all columns. */
static bool match_split_heads(struct value *v, struct heads *out) {
    struct node *reshape = made_by(v, OP_Reshape);
    if (!reshape || v->info.rank != 4 || reshape->in[0]->info.rank != 3)
        return false;
    const struct value *rows = reshape->in[0];
    const dim *to = v->info.dims, *from = rows->info.dims;
    if (to[0] != from[0] || to[1] != from[1] || to[0] == DIM_UNKNOWN || to[1] == DIM_UNKNOWN)
        return false;
    *out = (struct heads){.rows = reshape->in[0], .n = to[2], .size = to[3]};
    return true;
}

/* Element i of the first axis of v: through Gather, Squeeze(Slice) or Squeeze(Split). */
static bool match_element(struct value *v, struct value **whole, int64_t *index) {
    struct node *gather = made_by(v, OP_Gather);
    if (gather && attr_int(&gather->attrs, "axis", 0) == 0) {
        const struct value *i = gather->in[1];
        if (i->info.rank != 0 || !i->info.contents || !dim_is_number(i->info.contents[0]))
            return false;
        *whole = gather->in[0];
        *index = i->info.contents[0];
        return true;
    }
    struct node *squeeze = made_by(v, OP_Squeeze), *reshape = made_by(v, OP_Reshape);
    struct value *one = squeeze ? squeeze->in[0] : reshape ? reshape->in[0] : NULL;
    if (!one || one->info.rank != v->info.rank + 1 || one->info.dims[0] != 1 || !one->def)
        return false;
    struct node *n = one->def;
    if (n->op == OP_Split && attr_int(&n->attrs, "axis", 0) == 0) {
        for (uint32_t i = 0; i < n->n_out; i++) {
            if (!n->out[i] || n->out[i]->info.dims[0] != 1)
                return false;
            if (n->out[i] == one)
                *index = i;
        }
        *whole = n->in[0];
        return true;
    }
    const struct value *starts = node_in(n, 1), *axes = node_in(n, 3);
    if (n->op != OP_Slice || !starts || starts->info.n_contents != 1 || !starts->info.contents ||
        !dim_is_number(starts->info.contents[0]) ||
        (axes &&
         (!axes->info.contents || axes->info.n_contents != 1 || axes->info.contents[0] != 0)))
        return false;
    for (int i = 1; i < one->info.rank; i++)
        if (one->info.dims[i] != n->in[0]->info.dims[i])
            return false;
    *whole = n->in[0];
    *index = starts->info.contents[0];
    return true;
}

/* Part i of [parts, B, H, S, D] = Transpose(2,0,3,1,4) of Reshape [B, S, parts, H, D] of [B, S, columns]. */
static bool match_joint(struct value *v, struct heads *out) {
    struct value *whole, *split;
    int64_t index = 0;
    if (!match_element(v, &whole, &index) || whole->info.rank != 5 ||
        !has_perm(whole, (const int64_t[]){2, 0, 3, 1, 4}, 5, &split))
        return false;
    struct node *reshape = made_by(split, OP_Reshape);
    if (!reshape || reshape->in[0]->info.rank != 3)
        return false;
    const dim *to = split->info.dims, *from = reshape->in[0]->info.dims;
    if (to[0] != from[0] || to[1] != from[1] || to[0] == DIM_UNKNOWN || to[1] == DIM_UNKNOWN ||
        !dim_is_number(to[2]) || !dim_is_number(to[3]) || !dim_is_number(to[4]))
        return false;
    index += index < 0 ? to[2] : 0;
    *out = (struct heads){
        .rows = reshape->in[0], .n = to[3], .size = to[4], .offset = index * to[3] * to[4]};
    return index >= 0 && index < to[2];
}

/* q and v: [B, H, S, D]. */
static bool match_heads(struct value *v, struct heads *out) {
    struct value *source;
    if (has_perm(v, (const int64_t[]){0, 2, 1, 3}, 4, &source))
        return match_split_heads(source, out);
    return match_joint(v, out);
}

/* k: [B, H, D, S]. */
static bool match_heads_turned(struct value *v, struct heads *out, double *scale) {
    struct value *source;
    if (has_perm(v, (const int64_t[]){0, 2, 3, 1}, 4, &source))
        return match_split_heads(source, out);
    if (has_perm(v, (const int64_t[]){0, 1, 3, 2}, 4, &source))
        return match_heads(strip_scale(source, scale), out);
    return false;
}

static bool match_all_heads(struct attention *a) {
    if (!match_heads(a->q, &a->heads[0]) || !match_heads_turned(a->k, &a->heads[1], &a->scale) ||
        !match_heads(a->v, &a->heads[2]))
        return false;
    const struct heads *q = &a->heads[0], *k = &a->heads[1], *v = &a->heads[2];
    return q->n == k->n && q->n == v->n && q->size == k->size && dim_is_number(q->n) &&
           dim_is_number(q->size) && dim_is_number(v->size) &&
           k->rows->info.dims[1] == v->rows->info.dims[1] && q->rows->info.dtype == DTYPE_F32;
}

/* What reads the product: Transpose(0,2,1,3) and Reshape to [B, S, H * D]. */
static struct node *match_merge(const struct attention *a) {
    struct node *transpose = only_reader(a->product->out[0], OP_Transpose);
    struct value *source;
    if (!transpose || !has_perm(transpose->out[0], (const int64_t[]){0, 2, 1, 3}, 4, &source))
        return NULL;
    struct node *reshape = only_reader(transpose->out[0], OP_Reshape);
    const dim *from = transpose->out[0]->info.dims;
    if (!reshape || reshape->out[0]->info.rank != 3 || reshape->out[0]->info.dims[0] != from[0] ||
        reshape->out[0]->info.dims[1] != from[1])
        return NULL;
    return reshape;
}

/* --- the new node ------------------------------------------------------------------------------ */

/* Three Linears of one operand, read by nothing else, as one with their weights side by side. */
static bool are_siblings(const struct heads *h) {
    for (int i = 0; i < 3; i++) {
        const struct node *n = made_by(h[i].rows, OP_Linear);
        if (!n || h[i].offset != 0 || n->n_in != h[0].rows->def->n_in ||
            n->in[0] != h[0].rows->def->in[0] || n->n_in > 3 ||
            (n->n_in == 3 && !value_is_constant(n->in[2])) || !value_has_one_use(h[i].rows) ||
            n->attrs.n)
            return false;
    }
    return h[0].rows != h[1].rows && h[1].rows != h[2].rows && h[0].rows != h[2].rows;
}

static status join_columns(struct value **out, struct graph *g, const struct heads *h,
                           uint32_t operand, struct error *err) {
    int64_t rows = 1, columns = 0, dims[2];
    for (int i = 0; i < 3; i++) {
        const struct tensor *t = h[i].rows->def->in[operand]->info.constant;
        rows = t->rank == 2 ? t->dims[0] : 1;
        columns += t->dims[t->rank - 1];
    }
    bool is_matrix = operand == 1;
    dims[0] = is_matrix ? rows : columns;
    dims[1] = columns;
    struct value *made;
    TRY(graph_constant_copy(&made, g, DTYPE_F32, dims, is_matrix ? 2 : 1, NULL, err));
    float *to = made->info.constant->data;
    for (int64_t r = 0; r < rows; r++) {
        for (int i = 0; i < 3; i++) {
            const struct tensor *t = h[i].rows->def->in[operand]->info.constant;
            int64_t n = t->dims[t->rank - 1];
            memcpy(to, (const float *)t->data + r * n, (size_t)n * sizeof *to);
            to += n;
        }
    }
    *out = made;
    return STATUS_OK;
}

static status join_linears(struct graph *g, struct node *before, struct heads *h,
                           struct error *err) {
    struct node *first = h[0].rows->def;
    struct value *in[3] = {first->in[0]};
    for (uint32_t i = 1; i < first->n_in; i++)
        TRY(join_columns(&in[i], g, h, i, err));
    int64_t offset = 0;
    struct node *joint = graph_insert(g, before, OP_Linear, in, first->n_in, 1);
    joint->name = first->name;
    TRY(node_infer(g, joint, NULL, err));
    for (int i = 0; i < 3; i++) {
        int64_t columns = h[i].rows->def->in[1]->info.constant->dims[1];
        h[i].rows = joint->out[0];
        h[i].offset = offset;
        offset += columns;
    }
    return STATUS_OK;
}

static status insert_attention(struct graph *g, struct attention *a, struct node *merge,
                               struct error *err) {
    struct heads *h = a->heads;
    if (are_siblings(h))
        TRY(join_linears(g, merge, h, err));
    struct value *in[] = {h[0].rows, h[1].rows, h[2].rows, a->mask};
    struct node *n = graph_insert(g, merge, OP_Attention, in, a->mask ? 4 : 3, 1);
    n->name = a->softmax->name;
    node_set_attr(g, n, attr_of_int("heads", h[0].n));
    node_set_attr(g, n, attr_of_int("head_size", h[0].size));
    node_set_attr(g, n, attr_of_int("head_size_v", h[2].size));
    node_set_attr(g, n, attr_of_float("scale", (float)a->scale));
    node_set_attr(g, n, attr_of_int("q_offset", h[0].offset));
    node_set_attr(g, n, attr_of_int("k_offset", h[1].offset));
    node_set_attr(g, n, attr_of_int("v_offset", h[2].offset));
    TRY(node_infer(g, n, NULL, err));
    if (!same_dims(n->out[0], merge->out[0])) {
        graph_erase_dead(g, n);
        return STATUS_OK;
    }
    graph_replace(g, merge->out[0], n->out[0]);
    graph_erase_dead(g, merge);
    return STATUS_OK;
}

status pass_fuse_attention(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        struct attention a;
        if (n->op != OP_Softmax || n->in[0]->info.dtype != DTYPE_F32 || !match_scores(&a, n) ||
            !match_operands(&a) || !match_all_heads(&a))
            continue;
        struct node *merge = match_merge(&a);
        if (merge)
            TRY(insert_attention(g, &a, merge, err));
    }
    return STATUS_OK;
}
