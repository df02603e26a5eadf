/* sink_rules.c - Transpose past operators with several tensors, with axes in operands, with
 * windows. */
#include "compiler/passes/sink_internal.h"

#include <string.h>

enum { OPERANDS_MAX = 64 };

/* --- broadcasting and Concat ------------------------------------------------------------------- */

static bool is_single_element(const struct value *v) {
    for (int i = 0; i < v->info.rank; i++)
        if (v->info.dims[i] != 1)
            return false;
    return v->info.rank >= 0;
}

/* A constant of lower rank, with leading ones up to `rank`. */
static struct value *widen_constant(struct graph *g, struct value *v, size_t rank) {
    struct tensor *t = arena_new(g->arena, struct tensor);
    const struct tensor *old = v->info.constant;
    size_t ones = rank - old->rank;
    *t = *old;
    t->rank = (uint8_t)rank;
    for (size_t i = 0; i < rank; i++)
        t->dims[i] = i < ones ? 1 : old->dims[i - ones];
    return old->rank == rank ? v : graph_constant(g, v->name, t);
}

/* At most one dim that is not 1: its transpose moves next to nothing. */
static bool is_vector(const struct value *v) {
    int n = 0;
    for (int i = 0; i < v->info.rank; i++)
        n += v->info.dims[i] != 1;
    return n <= 1;
}

/* Can operand `v` be had in x's order at no cost? */
static bool is_free(const struct sink *s, struct value *v, bool broadcasts) {
    struct value *source;
    struct permutation p;
    if (value_is_transposed(v, &source, &p))
        return permutation_equal(&p, &s->perm);
    if (broadcasts && is_single_element(v) && v->info.rank <= (int)s->perm.rank)
        return true;
    if (value_is_constant(v) && dtype_size(v->info.dtype))
        return v->info.rank <= (int)s->perm.rank &&
               (broadcasts || v->info.rank == (int)s->perm.rank);
    return broadcasts && v->info.rank == (int)s->perm.rank && is_vector(v);
}

/* The operands in x's order; false in *ok when one of them has a price. */
static status move_operands(struct sink *s, struct value **in, bool broadcasts, bool *ok,
                            struct error *err) {
    struct node *n = s->node;
    struct permutation inverse = permutation_inverse(&s->perm);
    *ok = n->n_in <= OPERANDS_MAX;
    for (uint32_t i = 0; i < n->n_in && *ok; i++)
        *ok = n->in[i] && is_free(s, n->in[i], broadcasts);
    for (uint32_t i = 0; i < n->n_in && *ok; i++) {
        struct value *v = n->in[i];
        if (broadcasts && is_single_element(v)) {
            in[i] = v;
            continue;
        }
        if (value_is_constant(v))
            v = widen_constant(s->graph, v, s->perm.rank);
        TRY(permute_value(&in[i], s->graph, n, v, &inverse, err));
    }
    return STATUS_OK;
}

status sink_broadcast(struct sink *s, bool *moved, struct error *err) {
    struct value *in[OPERANDS_MAX];
    bool ok;
    if (s->node->out[0]->info.rank != (int)s->perm.rank)
        return STATUS_OK;
    TRY(move_operands(s, in, true, &ok, err));
    if (!ok)
        return STATUS_OK;
    struct node *made;
    TRY(insert_inferred(&made, s->graph, s->node, s->node->op, in, s->node->n_in, 1,
                        &s->node->attrs, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}

status sink_concat(struct sink *s, bool *moved, struct error *err) {
    struct value *in[OPERANDS_MAX];
    bool ok;
    int64_t rank = (int64_t)s->perm.rank, axis = attr_int(&s->node->attrs, "axis", 1);
    axis += axis < 0 ? rank : 0;
    if (axis < 0 || axis >= rank)
        return STATUS_OK;
    TRY(move_operands(s, in, false, &ok, err));
    if (!ok)
        return STATUS_OK;
    struct attr renamed = attr_of_int("axis", s->perm.axis[axis]);
    struct node *made;
    TRY(insert_inferred(&made, s->graph, s->node, OP_Concat, in, s->node->n_in, 1,
                        &(struct attr_list){.items = &renamed, .n = 1}, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}

/* --- axes in operands -------------------------------------------------------------------------- */

status sink_slice(struct sink *s, bool *moved, struct error *err) {
    struct node *n = s->node;
    const struct value *starts = node_in(n, 1);
    const int64_t *axes;
    size_t n_axes = 0;
    int rank = (int)s->perm.rank;
    if (s->operand != 0 || n->opset < 10 || !starts || starts->info.rank != 1 ||
        !dim_is_number(starts->info.dims[0]) || starts->info.dims[0] > rank ||
        !read_axes(n, 3, rank, &axes, &n_axes, s->graph->arena))
        return STATUS_OK;
    if (!axes)
        n_axes = (size_t)starts->info.dims[0];
    int64_t renamed[TENSOR_RANK_MAX];
    for (size_t i = 0; i < n_axes; i++) {
        int64_t axis = axes ? axes[i] : (int64_t)i;
        renamed[i] = s->perm.axis[axis < 0 ? axis + rank : axis];
    }
    struct value *in[] = {s->source, n->in[1], node_in(n, 2),
                          graph_constant_ints(s->graph, renamed, n_axes), node_in(n, 4)};
    struct node *made;
    TRY(insert_inferred(&made, s->graph, n, OP_Slice, in, in[4] ? 5 : 4, 1, NULL, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}

status sink_pad(struct sink *s, bool *moved, struct error *err) {
    struct node *n = s->node;
    const struct value *pads = node_in(n, 1);
    size_t rank = s->perm.rank;
    if (s->operand != 0 || n->opset < 11 || !pads || !pads->info.contents ||
        pads->info.n_contents != 2 * rank || node_in(n, 3))
        return STATUS_OK;
    int64_t renamed[2 * TENSOR_RANK_MAX];
    for (size_t i = 0; i < rank; i++) {
        if (!dim_is_number(pads->info.contents[i]) || !dim_is_number(pads->info.contents[rank + i]))
            return STATUS_OK;
        renamed[s->perm.axis[i]] = pads->info.contents[i];
        renamed[rank + (size_t)s->perm.axis[i]] = pads->info.contents[rank + i];
    }
    struct value *in[] = {s->source, graph_constant_ints(s->graph, renamed, 2 * rank),
                          node_in(n, 2)};
    struct node *made;
    TRY(insert_inferred(&made, s->graph, n, n->op, in, in[2] ? 3 : 2, 1, &n->attrs, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}

/* --- windows ----------------------------------------------------------------------------------- */

static const struct permutation to_nchw = {.rank = 4, .axis = {0, 3, 1, 2}};

static void set_pair(struct graph *g, struct node *to, const struct node *from, const char *name,
                     size_t want, int64_t fallback) {
    size_t count;
    const int64_t *given = attr_ints(&from->attrs, name, &count);
    int64_t values[4] = {fallback, fallback, fallback, fallback};
    if (given && count == want)
        memcpy(values, given, want * sizeof *values);
    node_set_attr(g, to, attr_of_ints(g, name, values, want));
}

status sink_pool(struct sink *s, bool *moved, struct error *err) {
    struct node *n = s->node;
    bool is_global = n->op == OP_GlobalMaxPool || n->op == OP_GlobalAveragePool;
    bool is_max = n->op == OP_MaxPool || n->op == OP_GlobalMaxPool;
    if (!permutation_equal(&s->perm, &to_nchw) || s->source->info.dtype != DTYPE_F32 ||
        (n->n_out > 1 && n->out[1]) || attr_int(&n->attrs, "storage_order", 0) ||
        !str_eq_c(attr_string(&n->attrs, "auto_pad", "NOTSET"), "NOTSET"))
        return STATUS_OK;
    struct node *made = graph_insert(s->graph, n, OP_Pool2d, &s->source, 1, 1);
    made->opset = 0;
    node_set_attr(s->graph, made, attr_of_string("kind", is_max ? STR("max") : STR("average")));
    if (is_global) {
        node_set_attr(s->graph, made, attr_of_int("global", 1));
    } else {
        set_pair(s->graph, made, n, "kernel_shape", 2, 1);
        set_pair(s->graph, made, n, "strides", 2, 1);
        set_pair(s->graph, made, n, "dilations", 2, 1);
        set_pair(s->graph, made, n, "pads", 4, 0);
        node_set_attr(s->graph, made,
                      attr_of_int("ceil_mode", attr_int(&n->attrs, "ceil_mode", 0)));
        node_set_attr(
            s->graph, made,
            attr_of_int("count_include_pad", attr_int(&n->attrs, "count_include_pad", 0)));
    }
    TRY(node_infer(s->graph, made, NULL, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}

/* [1, 1, H, W] scales as constants. */
static bool read_scales(const struct value *v, float out[2]) {
    if (!value_is_constant(v) || v->info.constant->dtype != DTYPE_F32 ||
        v->info.constant->rank != 1 || v->info.constant->dims[0] != 4)
        return false;
    const float *scales = v->info.constant->data;
    out[0] = scales[2];
    out[1] = scales[3];
    return scales[0] == 1.0f && scales[1] == 1.0f;
}

/* The last two of the four sizes, when the first two are those of the image. */
static status read_sizes(struct value **out, struct sink *s, struct value *sizes,
                         struct error *err) {
    struct graph *g = s->graph;
    const struct value *y = s->node->out[0];
    *out = NULL;
    if (sizes->info.rank != 1 || sizes->info.dims[0] != 4 || y->info.rank != 4 ||
        y->info.dims[0] != s->source->info.dims[0] || y->info.dims[1] != s->source->info.dims[3])
        return STATUS_OK;
    int64_t from = 2, to = 4, axis = 0;
    struct value *in[] = {sizes, graph_constant_ints(g, &from, 1), graph_constant_ints(g, &to, 1),
                          graph_constant_ints(g, &axis, 1)};
    struct node *slice;
    TRY(insert_inferred(&slice, g, s->node, OP_Slice, in, 4, 1, NULL, err));
    *out = slice->out[0];
    return STATUS_OK;
}

static bool is_simple_resize(const struct node *n) {
    str mode = attr_string(&n->attrs, "mode", "nearest");
    str coordinate = attr_string(&n->attrs, "coordinate_transformation_mode", "half_pixel");
    size_t n_axes;
    return (str_eq_c(mode, "nearest") || str_eq_c(mode, "linear")) &&
           !str_eq_c(coordinate, "tf_crop_and_resize") && !attr_int(&n->attrs, "antialias", 0) &&
           !attr_ints(&n->attrs, "axes", &n_axes) &&
           str_eq_c(attr_string(&n->attrs, "keep_aspect_ratio_policy", "stretch"), "stretch");
}

status sink_resize(struct sink *s, bool *moved, struct error *err) {
    struct graph *g = s->graph;
    struct node *n = s->node;
    bool has_roi = n->op == OP_Resize && n->opset >= 11;
    struct value *scales = node_in(n, has_roi ? 2 : 1), *sizes = has_roi ? node_in(n, 3) : NULL,
                 *pair = NULL;
    float factors[2];
    if (s->operand != 0 || !permutation_equal(&s->perm, &to_nchw) ||
        s->source->info.dtype != DTYPE_F32 || !is_simple_resize(n))
        return STATUS_OK;
    if (sizes)
        TRY(read_sizes(&pair, s, sizes, err));
    else if (!scales || !read_scales(scales, factors))
        return STATUS_OK;
    if (sizes && !pair)
        return STATUS_OK;
    struct value *in[] = {s->source, pair};
    struct node *made = graph_insert(g, n, OP_Resize2d, in, pair ? 2 : 1, 1);
    made->opset = 0;
    /* Before opset 11 the rule was asymmetric with floor. */
    const char *coordinate = has_roi ? "half_pixel" : "asymmetric";
    node_set_attr(g, made, attr_of_string("mode", attr_string(&n->attrs, "mode", "nearest")));
    node_set_attr(
        g, made,
        attr_of_string("coordinate",
                       attr_string(&n->attrs, "coordinate_transformation_mode", coordinate)));
    node_set_attr(
        g, made,
        attr_of_string("nearest_mode", attr_string(&n->attrs, "nearest_mode",
                                                   has_roi ? "round_prefer_floor" : "floor")));
    if (!pair)
        node_set_attr(g, made, attr_of_floats(g, "scales", factors, 2));
    TRY(node_infer(g, made, NULL, err));
    *moved = true;
    return sink_finish(s, made, &s->perm, err);
}
