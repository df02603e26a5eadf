/* fold_affine.c - batch normalisation, scales and shifts into the convolution before them, padding
 * with zeroes into the one behind it.
 *
 * BatchNormalization with constant parameters is a Mul and an Add per channel; a Mul or an Add per
 * channel behind a convolution with constant weights is other weights or another bias. */
#include <math.h>
#include <string.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"

/* --- BatchNormalization to Mul and Add --- */

static const float *vector_of(const struct node *n, uint32_t i, int64_t channels) {
    const struct value *v = node_in(n, i);
    if (!value_is_constant(v) || v->info.dtype != DTYPE_F32 ||
        tensor_n_elements(v->info.constant) != channels)
        return NULL;
    return value_data(v);
}

static status insert_binary(struct value **out, struct graph *g, struct node *before, op_id op,
                            struct value *a, struct value *b, struct error *err) {
    struct value *in[] = {a, b};
    struct node *made = graph_insert(g, before, op, in, 2, 1);
    TRY(node_infer(g, made, NULL, err));
    *out = made->out[0];
    return STATUS_OK;
}

static status expand_batch_norm(struct graph *g, struct node *n, struct error *err) {
    const struct value *x = n->in[0];
    if (x->info.rank < 2 || !dim_is_number(x->info.dims[1]) || x->info.dtype != DTYPE_F32 ||
        attr_int(&n->attrs, "training_mode", 0))
        return STATUS_OK;
    for (uint32_t i = 1; i < n->n_out; i++)
        if (n->out[i] && value_is_used(n->out[i]))
            return STATUS_OK;
    int64_t channels = x->info.dims[1], dims[TENSOR_RANK_MAX] = {channels};
    const float *p[5] = {NULL};
    for (uint32_t i = 1; i < 5; i++)
        if (!(p[i] = vector_of(n, i, channels)))
            return STATUS_OK;
    size_t rank = (size_t)x->info.rank - 1;
    for (size_t i = 1; i < rank; i++)
        dims[i] = 1;
    double epsilon = (double)attr_float(&n->attrs, "epsilon", 1e-5f);
    struct value *scale, *shift, *y;
    TRY(graph_constant_copy(&scale, g, DTYPE_F32, dims, rank, NULL, err));
    TRY(graph_constant_copy(&shift, g, DTYPE_F32, dims, rank, NULL, err));
    for (int64_t c = 0; c < channels; c++) {
        double s = (double)p[1][c] / sqrt((double)p[4][c] + epsilon);
        ((float *)scale->info.constant->data)[c] = (float)s;
        ((float *)shift->info.constant->data)[c] = (float)((double)p[2][c] - (double)p[3][c] * s);
    }
    TRY(insert_binary(&y, g, n, OP_Mul, n->in[0], scale, err));
    TRY(insert_binary(&y, g, n, OP_Add, y, shift, err));
    graph_replace(g, n->out[0], y);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

/* --- Mul and Add into a convolution --- */

/* One number for each of `channels` (axis 1 of a value of rank `rank`), or one for all. */
struct per_channel {
    const float *p;
    bool is_scalar;
};

static bool read_per_channel(const struct value *v, int rank, int64_t channels,
                             struct per_channel *out) {
    if (!value_is_constant(v) || v->info.dtype != DTYPE_F32)
        return false;
    const struct tensor *t = v->info.constant;
    *out = (struct per_channel){.p = value_data(v),
                                .is_scalar = tensor_n_elements(t) == 1 && t->rank <= rank};
    if (out->is_scalar || !out->p)
        return out->p != NULL;
    int channel = (int)t->rank - (rank - 1); /* operands are aligned at their last axes */
    if (t->rank > rank || channel < 0 || t->dims[channel] != channels)
        return false;
    for (int i = 0; i < t->rank; i++)
        if (i != channel && t->dims[i] != 1)
            return false;
    return true;
}

static float at(const struct per_channel *c, int64_t i) {
    return c->p[c->is_scalar ? 0 : i];
}

static bool is_plain_convolution(const struct node *n) {
    return (n->op == OP_Conv ||
            (n->op == OP_ConvTranspose && attr_int(&n->attrs, "group", 1) == 1)) &&
           value_is_constant(n->in[1]) && n->in[1]->info.dtype == DTYPE_F32 &&
           n->in[1]->info.rank >= 3 && value_has_one_use(n->out[0]) &&
           (!node_in(n, 2) || value_is_constant(n->in[2]));
}

static int64_t channels_of(const struct node *conv) {
    return conv->in[1]->info.constant->dims[conv->op == OP_Conv ? 0 : 1];
}

/* Conv [M, C/g, ...]: m is the outer axis; ConvTranspose [C, M, ...]: the second. */
static status scale_weights(struct graph *g, struct node *conv, const struct per_channel *c,
                            struct error *err) {
    const struct tensor *w = conv->in[1]->info.constant;
    int64_t channels = channels_of(conv), outer = conv->op == OP_Conv ? 1 : w->dims[0];
    struct value *made;
    TRY(graph_constant_copy(&made, g, DTYPE_F32, w->dims, w->rank, w->data, err));
    float *p = made->info.constant->data;
    int64_t n = tensor_n_elements(w), inner = channels && outer ? n / channels / outer : 0;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t m = 0; m < channels; m++)
            for (int64_t i = 0; i < inner; i++)
                p[(o * channels + m) * inner + i] *= at(c, m);
    node_set_input(g, conv, 1, made);
    return STATUS_OK;
}

/* bias = bias * scale + shift; NULL: 1 and 0. */
static status change_bias(struct graph *g, struct node *conv, const struct per_channel *scale,
                          const struct per_channel *shift, struct error *err) {
    int64_t channels = channels_of(conv);
    const struct value *old = node_in(conv, 2);
    if (!old && !shift)
        return STATUS_OK;
    const float *from = old ? value_data(old) : NULL;
    if (old && !from)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a bias");
    struct value *made;
    TRY(graph_constant_copy(&made, g, DTYPE_F32, &channels, 1, NULL, err));
    float *p = made->info.constant->data;
    for (int64_t m = 0; m < channels; m++) {
        float b = from ? from[m] : 0.0f;
        p[m] = b * (scale ? at(scale, m) : 1.0f) + (shift ? at(shift, m) : 0.0f);
    }
    struct value *in[] = {conv->in[0], conv->in[1], made};
    node_set_inputs(g, conv, in, 3);
    return STATUS_OK;
}

static status fold_into_convolution(struct graph *g, struct node *n, struct error *err) {
    for (uint32_t i = 0; i < 2; i++) {
        struct value *x = n->in[i];
        struct node *conv = x ? x->def : NULL;
        struct per_channel c;
        if (!conv || !is_plain_convolution(conv) || !same_dims(x, n->out[0]) ||
            !read_per_channel(n->in[1 - i], x->info.rank, channels_of(conv), &c))
            continue;
        if (n->op == OP_Mul)
            TRY(scale_weights(g, conv, &c, err));
        TRY(change_bias(g, conv, n->op == OP_Mul ? &c : NULL, n->op == OP_Add ? &c : NULL, err));
        graph_replace(g, n->out[0], x);
        graph_erase_dead(g, n);
        return STATUS_OK;
    }
    return STATUS_OK;
}

/* --- Pad into a convolution --- */

/* The pads of a Pad with zeroes, [before..., after...] for all axes; false: it is another Pad. */
static bool read_zero_pad(const struct node *n, int rank, int64_t *out) {
    size_t count;
    float fill = attr_float(&n->attrs, "value", 0.0f);
    const int64_t *pads = attr_ints(&n->attrs, "pads", &count);
    const struct value *operand = node_in(n, 1);
    if (operand && operand->info.contents) {
        pads = operand->info.contents;
        count = operand->info.n_contents;
    }
    bool is_zero = !node_in(n, 2) || (scalar_f32(n->in[2], &fill) && fill == 0.0f);
    if (!pads || count != 2 * (size_t)rank || node_in(n, 3) || !is_zero || fill != 0.0f ||
        !str_eq_c(attr_string(&n->attrs, "mode", "constant"), "constant"))
        return false;
    for (size_t i = 0; i < count; i++) {
        bool is_spatial = i % (size_t)rank >= 2;
        if (!dim_is_number(pads[i]) || pads[i] < 0 || pads[i] > INT32_MAX ||
            (!is_spatial && pads[i] != 0))
            return false;
        out[i] = pads[i];
    }
    return true;
}

static status absorb_pad(struct graph *g, struct node *conv, struct error *err) {
    struct node *pad = made_by(conv->in[0], OP_Pad);
    str mode = attr_string(&conv->attrs, "auto_pad", "NOTSET");
    int rank = conv->in[0]->info.rank;
    int64_t outer[2 * TENSOR_RANK_MAX], pads[2 * TENSOR_RANK_MAX] = {0};
    size_t count, spatial = (size_t)(rank - 2);
    const int64_t *own = attr_ints(&conv->attrs, "pads", &count);
    if (!pad || rank < 3 || !read_zero_pad(pad, rank, outer) ||
        (!str_eq_c(mode, "NOTSET") && !str_eq_c(mode, "VALID")) || (own && count != 2 * spatial))
        return STATUS_OK;
    for (size_t i = 0; i < spatial; i++) {
        pads[i] = outer[2 + i] + (own ? own[i] : 0);
        pads[spatial + i] = outer[(size_t)rank + 2 + i] + (own ? own[spatial + i] : 0);
    }
    node_remove_attr(g, conv, "auto_pad");
    node_set_attr(g, conv, attr_of_ints(g, "pads", pads, 2 * spatial));
    node_set_input(g, conv, 0, pad->in[0]);
    graph_erase_dead(g, pad);
    return node_infer(g, conv, NULL, err);
}

status pass_fold_affine(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op == OP_BatchNormalization)
            TRY(expand_batch_norm(g, n, err));
        else if (n->op == OP_Conv)
            TRY(absorb_pad(g, n, err));
    }
    GRAPH_NODES(n, g) {
        if (n->op == OP_Mul || n->op == OP_Add)
            TRY(fold_into_convolution(g, n, err));
    }
    return STATUS_OK;
}
