/* fuse_attention.c - softmax(scale q k^T + mask) v over heads becomes Attention.
 *
 * Exporters differ in where they scale, how they split heads, turn k and cut a joint q, k, v. So
 * the operands of the two products are traced backwards with a name for each axis: Transposes move
 * the names, a scalar product joins the scale, Gather and Squeeze of a Split pick a part, until a
 * Reshape is found that splits the columns of a [B, S, C] tensor. What that tensor is no longer
 * matters. */
#include <string.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/permute.h"
#include "ops/fused.h"

typedef enum axis_name {
    AXIS_BATCH,
    AXIS_HEAD,
    AXIS_ROW,
    AXIS_COLUMN,
    AXIS_PART,
    AXIS_PAIR /* batch and head as one: torch's bmm wants three axes */
} axis_name;

/* One operand of a product while it is traced. */
struct heads {
    struct value *v;
    uint8_t axes[TENSOR_RANK_MAX]; /* name of each axis of v */
    int64_t part;                  /* which of the parts on AXIS_PART; -1: there is no such axis */
    double scale;

    /* Found: source [B, S, C], columns from `offset`. */
    struct value *source;
    int64_t heads, head_size, offset;
};

static bool trace_transpose(struct heads *h) {
    struct value *source;
    struct permutation p;
    uint8_t axes[TENSOR_RANK_MAX];
    if (!value_is_transposed(h->v, &source, &p))
        return false;
    for (size_t i = 0; i < p.rank; i++)
        axes[p.axis[i]] = h->axes[i];
    memcpy(h->axes, axes, sizeof axes);
    h->v = source;
    return true;
}

static bool trace_scale(struct heads *h) {
    struct node *mul = made_by(h->v, OP_Mul);
    struct value *rest;
    float s;
    if (!mul || !split_scalar(mul, &rest, &s) || rest->info.rank != h->v->info.rank)
        return false;
    h->v = rest;
    h->scale *= (double)s;
    return true;
}

/* v is part `part` of `whole` along `axis`, which v does not have. */
static bool take_part(struct heads *h, struct value *whole, int64_t axis, int64_t part) {
    int rank = h->v->info.rank;
    if (h->part >= 0 || axis < 0 || axis > rank || whole->info.rank != rank + 1 ||
        rank + 1 > TENSOR_RANK_MAX)
        return false;
    memmove(h->axes + axis + 1, h->axes + axis, (size_t)(rank - axis));
    h->axes[axis] = AXIS_PART;
    h->part = part;
    h->v = whole;
    return true;
}

static int64_t positive_axis(int64_t axis, int rank) {
    return axis < 0 ? axis + rank : axis;
}

static bool trace_gather(struct heads *h) {
    struct node *gather = made_by(h->v, OP_Gather);
    if (!gather || gather->in[0]->info.rank < 1)
        return false;
    const struct op_value *index = &gather->in[1]->info;
    if (index->rank != 0 || !index->contents || !dim_is_number(index->contents[0]))
        return false;
    int rank = gather->in[0]->info.rank;
    int64_t axis = positive_axis(attr_int(&gather->attrs, "axis", 0), rank);
    int64_t part = index->contents[0];
    if (axis < 0 || axis >= rank || !dim_is_number(gather->in[0]->info.dims[axis]))
        return false;
    if (part < 0)
        part += gather->in[0]->info.dims[axis];
    return part >= 0 && take_part(h, gather->in[0], axis, part);
}

/* The one number that operand i of a Slice holds; false: there is none. */
static bool slice_number(const struct node *slice, size_t i, int64_t *out) {
    const struct value *v = node_in(slice, i);
    if (!v || !v->info.contents || v->info.n_contents != 1 || !dim_is_number(v->info.contents[0]))
        return false;
    *out = v->info.contents[0];
    return true;
}

/* Is `cut` part *part of *whole, one of length 1, along *axis, by a Split or a Slice? */
static bool read_cut(const struct value *cut, struct value **whole, int64_t *axis, int64_t *part) {
    struct node *n = cut->def;
    if (n && n->op == OP_Split) {
        *axis = positive_axis(attr_int(&n->attrs, "axis", 0), cut->info.rank);
        for (uint32_t i = 0; i < n->n_out; i++)
            if (*axis < 0 || *axis >= cut->info.rank || !n->out[i] ||
                n->out[i]->info.dims[*axis] != 1)
                return false;
        *part = cut->def_index;
    } else {
        if (!n || n->op != OP_Slice || !slice_number(n, 1, part) || !slice_number(n, 3, axis))
            return false;
        *axis = positive_axis(*axis, cut->info.rank);
        if (*part < 0 || *axis < 0 || *axis >= cut->info.rank || cut->info.dims[*axis] != 1)
            return false;
    }
    *whole = n->in[0];
    return true;
}

/* Squeeze or Reshape that drops the axis of length 1 which a Split or a Slice left. */
static bool trace_squeezed(struct heads *h) {
    struct node *drop = h->v->def;
    struct value *whole;
    int64_t axis, part;
    if (!drop || (drop->op != OP_Squeeze && drop->op != OP_Reshape))
        return false;
    struct value *cut = drop->in[0];
    if (cut->info.rank != h->v->info.rank + 1 || !read_cut(cut, &whole, &axis, &part))
        return false;
    for (int i = 0, k = 0; i < cut->info.rank; i++)
        if (i != axis && cut->info.dims[i] != h->v->info.dims[k++])
            return false;
    return take_part(h, whole, axis, part);
}

/* The columns of `source` may themselves be a part of a wider tensor. */
static void widen(struct heads *h) {
    struct node *split = h->source->def;
    if (!split || split->op != OP_Split ||
        positive_axis(attr_int(&split->attrs, "axis", 0), 3) != 2 || split->in[0]->info.rank != 3)
        return;
    int64_t offset = 0;
    for (uint32_t i = 0; i < h->source->def_index; i++) {
        if (!split->out[i] || !dim_is_number(split->out[i]->info.dims[2]))
            return;
        offset += split->out[i]->info.dims[2];
    }
    h->source = split->in[0];
    h->offset += offset;
}

/* A Reshape of [B, S, C] to [B, S, H, D], or to [B, S, parts, H, D] with a part chosen. */
static bool find_source(struct heads *h) {
    static const uint8_t plain[] = {AXIS_BATCH, AXIS_ROW, AXIS_HEAD, AXIS_COLUMN};
    static const uint8_t joint[] = {AXIS_BATCH, AXIS_ROW, AXIS_PART, AXIS_HEAD, AXIS_COLUMN};
    struct node *reshape = made_by(h->v, OP_Reshape);
    int rank = h->part >= 0 ? 5 : 4;
    const uint8_t *wanted = h->part >= 0 ? joint : plain;
    if (!reshape || h->v->info.rank != rank || memcmp(h->axes, wanted, (size_t)rank) != 0)
        return false;
    struct value *source = reshape->in[0];
    const dim *from = source->info.dims, *to = h->v->info.dims;
    if (source->info.rank != 3 || from[0] != to[0] || from[1] != to[1] ||
        !dim_is_number(to[rank - 1]) || !dim_is_number(to[rank - 2]) || !dim_is_number(from[2]))
        return false;
    h->source = source;
    h->heads = to[rank - 2];
    h->head_size = to[rank - 1];
    h->offset = h->part >= 0 ? h->part * h->heads * h->head_size : 0;
    if (h->heads < 1 || h->head_size < 1 || h->offset + h->heads * h->head_size > from[2])
        return false;
    widen(h);
    return true;
}

/* [B * H, ...] as a Reshape of [B, H, ...]: gives that, or NULL. */
static struct value *split_pair(const struct value *v) {
    struct node *reshape = made_by(v, OP_Reshape);
    struct value *four = reshape ? reshape->in[0] : NULL;
    if (!four || v->info.rank != 3 || four->info.rank != 4)
        return NULL;
    const dim *from = four->info.dims, *to = v->info.dims;
    bool is_same = from[2] == to[1] && from[3] == to[2] && to[1] != DIM_UNKNOWN &&
                   to[2] != DIM_UNKNOWN && from[0] != DIM_UNKNOWN && from[1] != DIM_UNKNOWN;
    return is_same ? four : NULL;
}

static bool trace_pair(struct heads *h) {
    struct value *four = h->axes[0] == AXIS_PAIR ? split_pair(h->v) : NULL;
    if (!four)
        return false;
    memcpy(h->axes, (uint8_t[]){AXIS_BATCH, AXIS_HEAD, h->axes[1], h->axes[2]}, 4);
    h->v = four;
    return true;
}

static bool trace_heads(struct heads *h, struct value *v, axis_name row, axis_name column) {
    enum { STEPS_MAX = 8 };
    *h = (struct heads){.v = v, .part = -1, .scale = 1};
    if ((v->info.rank != 3 && v->info.rank != 4) || v->info.dtype != DTYPE_F32)
        return false;
    if (v->info.rank == 4)
        memcpy(h->axes, (uint8_t[]){AXIS_BATCH, AXIS_HEAD, (uint8_t)row, (uint8_t)column}, 4);
    else
        memcpy(h->axes, (uint8_t[]){AXIS_PAIR, (uint8_t)row, (uint8_t)column}, 3);
    for (int i = 0; i < STEPS_MAX; i++) {
        if (find_source(h))
            return true;
        if (!trace_transpose(h) && !trace_scale(h) && !trace_pair(h) && !trace_gather(h) &&
            !trace_squeezed(h))
            return false;
    }
    return false;
}

/* All that the pattern binds. */
struct pattern {
    struct heads q, k, v;
    double scale;
    struct value *mask;   /* NULL: none */
    struct node *where;   /* instead of a mask: Where(condition, scores, scalar) or its mirror */
    struct node *context; /* the Transpose behind the second product */
};

/* Does mask broadcast into scores [B, H, Sq, Sk]? Their sum has the scores' dims, so dims that
 * are not numbers fit. */
static bool is_mask_for(const struct value *mask, const struct value *scores) {
    int rank = mask->info.rank;
    if (mask->info.dtype != DTYPE_F32 || rank < 0 || rank > 4)
        return false;
    for (int i = 0; i < rank; i++) {
        dim d = mask->info.dims[i];
        dim wanted = scores->info.dims[4 - rank + i];
        if (d == DIM_UNKNOWN ||
            (d != 1 && d != wanted && dim_is_number(d) && dim_is_number(wanted)))
            return false;
    }
    return true;
}

/* Scores of the other form, [B, H, Sq, Sk] for [B * H, Sq, Sk] or the other way round. */
static struct value *other_form(struct value *v) {
    struct node *reshape = made_only_for(v, OP_Reshape);
    if (!reshape)
        return v;
    const struct value *in = reshape->in[0];
    bool is_split = v->info.rank == 4 && in->info.rank == 3 &&
                    v->info.dims[2] == in->info.dims[1] && v->info.dims[3] == in->info.dims[2] &&
                    in->info.dims[1] != DIM_UNKNOWN && in->info.dims[2] != DIM_UNKNOWN;
    return is_split || split_pair(v) ? reshape->in[0] : v;
}

/* scores + mask, or Where on scores; gives the scores. */
static struct value *match_mask(struct value *v, struct pattern *p) {
    struct node *add = made_only_for(v, OP_Add), *where = made_only_for(v, OP_Where);
    for (uint32_t i = 0; add && i < 2; i++) {
        struct value *scores = add->in[i], *mask = add->in[1 - i], *product = other_form(scores);
        if (same_dims(scores, v) && is_mask_for(mask, v) &&
            (made_by(product, OP_MatMul) || made_by(product, OP_Mul))) {
            p->mask = mask;
            return scores;
        }
    }
    float fill;
    for (uint32_t i = 1; where && i < 3; i++) {
        struct value *scores = where->in[i];
        if (same_dims(scores, v) && scalar_f32(where->in[3 - i], &fill) && fill < -1e4f &&
            where->in[0]->info.rank <= 4) {
            p->where = where;
            return scores;
        }
    }
    return v;
}

static bool match_scores(struct node *softmax, struct pattern *p) {
    struct value *v = softmax->in[0]->info.rank == 3 ? other_form(softmax->in[0]) : softmax->in[0];
    dim heads = v->info.rank == 4 ? v->info.dims[1] : DIM_UNKNOWN;
    if (v->info.rank == 4)
        v = other_form(match_mask(v, p));
    struct node *mul = made_only_for(v, OP_Mul);
    struct value *rest;
    float s;
    p->scale = 1;
    if (mul && split_scalar(mul, &rest, &s) && rest->info.rank == v->info.rank) {
        p->scale = (double)s;
        v = rest;
    }
    struct node *product = made_only_for(v, OP_MatMul);
    if (!product || !trace_heads(&p->q, product->in[0], AXIS_ROW, AXIS_COLUMN) ||
        !trace_heads(&p->k, product->in[1], AXIS_COLUMN, AXIS_ROW))
        return false;
    p->scale *= p->q.scale * p->k.scale;
    return p->q.heads == p->k.heads && p->q.head_size == p->k.head_size &&
           (heads == DIM_UNKNOWN || heads == p->q.heads) &&
           p->q.source->info.dims[0] == p->k.source->info.dims[0];
}

/* The Transpose of [B, H, S, D] to [B, S, H, D] that reads the second product, perhaps behind a
 * Reshape that splits B * H. */
static struct node *find_transpose(const struct node *product, int64_t heads) {
    static const int64_t wanted[] = {0, 2, 1, 3};
    struct value *y = product->out[0], *source;
    struct node *split = y->info.rank == 3 ? only_reader(y, OP_Reshape) : NULL;
    struct permutation perm;
    if (split) {
        const dim *from = y->info.dims, *to = split->out[0]->info.dims;
        if (split->out[0]->info.rank != 4 || to[1] != heads || to[2] != from[1] ||
            to[3] != from[2] || from[1] == DIM_UNKNOWN)
            return NULL;
        y = split->out[0];
    }
    struct node *transpose = only_reader(y, OP_Transpose);
    if (!transpose || !value_is_transposed(transpose->out[0], &source, &perm) || perm.rank != 4 ||
        memcmp(perm.axis, wanted, sizeof wanted) != 0)
        return NULL;
    return transpose;
}

/* The second product and what brings it back to [B, S, H, D]. */
static bool match_context(struct node *product, struct pattern *p) {
    struct value *probabilities = product->in[0];
    if (probabilities->info.rank == 3)
        probabilities = other_form(probabilities);
    struct node *softmax = made_only_for(probabilities, OP_Softmax);
    if (!softmax)
        return false;
    int rank = softmax->in[0]->info.rank;
    int64_t axis = attr_int(&softmax->attrs, "axis", softmax->opset < 13 ? 1 : -1);
    if ((axis != -1 && axis != rank - 1) || (rank != 3 && rank != 4) ||
        !trace_heads(&p->v, product->in[1], AXIS_ROW, AXIS_COLUMN) || !match_scores(softmax, p))
        return false;
    p->context = find_transpose(product, p->q.heads);
    return p->context && p->v.scale == 1.0 && p->v.heads == p->q.heads &&
           p->v.source->info.dims[0] == p->k.source->info.dims[0] &&
           p->v.source->info.dims[1] == p->k.source->info.dims[1];
}

/* Where(condition, 0, fill), or its mirror: the mask that does what the Where did. It stands at
 * the condition's place in the order, so that equal ones of all layers can become one. */
static status mask_of_where(struct graph *g, struct pattern *p, struct error *err) {
    struct node *made, *where = p->where;
    bool scores_first = where->in[1]->info.rank == 4 && !value_is_constant(where->in[1]);
    struct value *zero = graph_constant_f32(g, 0.0f);
    struct value *in[] = {where->in[0], scores_first ? zero : where->in[1],
                          scores_first ? where->in[2] : zero};
    TRY(insert_inferred(&made, g, where, OP_Where, in, 3, 1, NULL, err));
    p->mask = made->out[0];
    return STATUS_OK;
}

static bool is_all_zero(const struct value *v) {
    if (!value_is_constant(v))
        return false;
    const float *x = value_data(v);
    for (int64_t i = 0; x && i < tensor_n_elements(v->info.constant); i++)
        if (x[i] != 0.0f)
            return false;
    return true;
}

static status insert_attention(struct graph *g, struct pattern *p, struct error *err) {
    struct node *made, *before = p->context;
    if (p->where)
        TRY(mask_of_where(g, p, err));
    if (p->mask && is_all_zero(p->mask))
        p->mask = NULL;
    const struct attr attrs[] = {
        attr_of_int("heads", p->q.heads),           attr_of_int("head_size", p->q.head_size),
        attr_of_int("head_size_v", p->v.head_size), attr_of_float("scale", (float)p->scale),
        attr_of_int("q_offset", p->q.offset),       attr_of_int("k_offset", p->k.offset),
        attr_of_int("v_offset", p->v.offset)};
    const struct attr_list list = {.items = attrs, .n = ARRAY_LEN(attrs)};
    struct value *in[] = {p->q.source, p->k.source, p->v.source, p->mask}, *merged;
    TRY(insert_inferred(&made, g, before, OP_Attention, in, p->mask ? 4 : 3, 1, &list, err));
    merged = made->out[0];
    struct node *reshape = only_reader(before->out[0], OP_Reshape);
    if (reshape && same_dims(reshape->out[0], merged)) {
        graph_replace(g, reshape->out[0], merged);
        graph_erase_dead(g, reshape);
        return STATUS_OK;
    }
    struct value *split;
    TRY(reshape_value(&split, g, before, merged, before->out[0]->info.dims, 4, err));
    if (!split) {
        graph_erase_dead(g, made);
        return STATUS_OK;
    }
    graph_replace(g, before->out[0], split);
    graph_erase_dead(g, before);
    return STATUS_OK;
}

status pass_fuse_attention(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        struct pattern p = {0};
        if (n->op == OP_MatMul && match_context(n, &p))
            TRY(insert_attention(g, &p, err));
    }
    return STATUS_OK;
}
