/* channels_last.c - convolutions to Conv2d and ConvTranspose2d between two transposes. */
#include "compiler/passes/layout.h"
#include "compiler/passes/permute.h"
#include "ops/fused.h"

/* A convolution's window, two-dimensional: a 1-d one has height 1. */
struct window {
    int64_t kernel[2], strides[2], dilations[2], pads[4], output_padding[2];
};

static void read_pair(const struct node *n, const char *name, size_t spatial, int64_t fallback,
                      int64_t out[2]) {
    size_t count;
    const int64_t *values = attr_ints(&n->attrs, name, &count);
    out[0] = out[1] = fallback;
    for (size_t i = 0; values && i < spatial && i < count; i++)
        out[2 - spatial + i] = values[i];
}

/* Padding that auto_pad asks for on one axis; ONNX: SAME gives ceil(in / stride) outputs. */
static bool auto_pads(str mode, dim in, int64_t kernel, int64_t stride, int64_t dilation,
                      int64_t *before, int64_t *after) {
    *before = *after = 0;
    if (str_eq_c(mode, "VALID"))
        return true;
    if (!dim_is_number(in))
        return false;
    int64_t out = (in + stride - 1) / stride;
    int64_t total = (out - 1) * stride + (kernel - 1) * dilation + 1 - in;
    total = total > 0 ? total : 0;
    *before = str_eq_c(mode, "SAME_UPPER") ? total / 2 : total - total / 2;
    *after = total - *before;
    return true;
}

static bool read_window(const struct node *n, const struct value *x, const struct tensor *w,
                        struct window *out) {
    size_t spatial = w->rank - 2, n_pads;
    out->kernel[0] = out->kernel[1] = 1;
    for (size_t i = 0; i < spatial; i++)
        out->kernel[2 - spatial + i] = w->dims[2 + i];
    read_pair(n, "strides", spatial, 1, out->strides);
    read_pair(n, "dilations", spatial, 1, out->dilations);
    read_pair(n, "output_padding", spatial, 0, out->output_padding);
    if (spatial == 1)
        out->strides[0] = out->dilations[0] = 1, out->output_padding[0] = 0;
    const int64_t *pads = attr_ints(&n->attrs, "pads", &n_pads);
    for (size_t i = 0; i < 4; i++)
        out->pads[i] = 0;
    str mode = attr_string(&n->attrs, "auto_pad", "NOTSET");
    for (size_t i = 0; i < spatial; i++) {
        size_t axis = 2 - spatial + i;
        if (str_eq_c(mode, "NOTSET")) {
            out->pads[axis] = pads && n_pads == 2 * spatial ? pads[i] : 0;
            out->pads[axis + 2] = pads && n_pads == 2 * spatial ? pads[spatial + i] : 0;
        } else if (!auto_pads(mode, x->info.dims[2 + i], out->kernel[axis], out->strides[axis],
                              out->dilations[axis], &out->pads[axis], &out->pads[axis + 2])) {
            return false;
        }
    }
    for (size_t i = 0; i < 4; i++)
        if (out->pads[i] < 0)
            return false;
    return out->strides[0] > 0 && out->strides[1] > 0;
}

static bool is_convertible(const struct node *n) {
    const struct value *x = node_in(n, 0), *w = node_in(n, 1), *bias = node_in(n, 2);
    if ((n->op != OP_Conv && n->op != OP_ConvTranspose) || !x || !value_is_constant(w) ||
        n->n_out != 1)
        return false;
    if (x->info.dtype != DTYPE_F32 || w->info.dtype != DTYPE_F32 || x->info.rank != w->info.rank ||
        (x->info.rank != 3 && x->info.rank != 4) || (bias && bias->info.rank != 1))
        return false;
    size_t n_shape;
    if (n->op == OP_ConvTranspose)
        return attr_int(&n->attrs, "group", 1) == 1 &&
               str_eq_c(attr_string(&n->attrs, "auto_pad", "NOTSET"), "NOTSET") &&
               !attr_ints(&n->attrs, "output_shape", &n_shape);
    return true;
}

/* Weights: Conv [M, C/g, KH, KW] -> [M, KH, KW, C/g]; ConvTranspose [C, M, KH, KW] -> [C, KH, KW,
 * M]: the same move. A 1-d kernel gets KH = 1. */
static status convert_weights(struct value **out, struct graph *g, struct node *n,
                              struct error *err) {
    struct value *w = n->in[1];
    const struct tensor *t = w->info.constant;
    struct permutation last = {.rank = 3, .axis = {0, 2, 1}};
    if (t->rank == 4)
        last = (struct permutation){.rank = 4, .axis = {0, 2, 3, 1}};
    struct value *moved;
    TRY(permute_value(&moved, g, n, w, &last, err));
    if (t->rank == 4) {
        *out = moved;
        return STATUS_OK;
    }
    struct tensor *two_d = arena_new(g->arena, struct tensor);
    *two_d = *moved->info.constant;
    two_d->rank = 4;
    two_d->dims[3] = two_d->dims[2];
    two_d->dims[2] = two_d->dims[1];
    two_d->dims[1] = 1;
    *out = graph_constant(g, w->name, two_d);
    return STATUS_OK;
}

/* [B, W, C] <-> [B, 1, W, C]. *out is NULL when the dims cannot be written as a Reshape. */
static status add_height(struct value **out, struct graph *g, struct node *n, struct value *x,
                         struct error *err) {
    const dim *d = x->info.dims;
    return reshape_value(out, g, n, x, (dim[]){d[0], 1, d[1], d[2]}, 4, err);
}

static status drop_height(struct value **out, struct graph *g, struct node *n, struct value *y,
                          struct error *err) {
    const dim *d = y->info.dims;
    return reshape_value(out, g, n, y, (dim[]){d[0], d[2], d[3]}, 3, err);
}

static void set_window(struct graph *g, struct node *conv, const struct node *from,
                       const struct window *w) {
    node_set_attr(g, conv, attr_of_ints(g, "strides", w->strides, 2));
    node_set_attr(g, conv, attr_of_ints(g, "pads", w->pads, 4));
    node_set_attr(g, conv, attr_of_ints(g, "dilations", w->dilations, 2));
    node_set_attr(g, conv, attr_of_int("group", attr_int(&from->attrs, "group", 1)));
    if (conv->op == OP_ConvTranspose2d)
        node_set_attr(g, conv, attr_of_ints(g, "output_padding", w->output_padding, 2));
}

static status convert_convolution(struct graph *g, struct node *n, struct error *err) {
    struct value *x = n->in[0], *w, *in, *y;
    struct window window;
    if (!read_window(n, x, n->in[1]->info.constant, &window))
        return STATUS_OK; /* auto_pad on a size that is not known: the reference kernel does it */
    bool is_1d = x->info.rank == 3;
    struct permutation first = {.rank = 4, .axis = {0, 2, 3, 1}};
    if (is_1d)
        first = (struct permutation){.rank = 3, .axis = {0, 2, 1}};
    struct permutation back = permutation_inverse(&first);
    TRY(permute_value(&in, g, n, x, &first, err));
    if (is_1d)
        TRY(add_height(&in, g, n, in, err));
    if (!in)
        return STATUS_OK;
    TRY(convert_weights(&w, g, n, err));
    struct value *operands[] = {in, w, node_in(n, 2)};
    struct node *conv = graph_insert(g, n, n->op == OP_Conv ? OP_Conv2d : OP_ConvTranspose2d,
                                     operands, operands[2] ? 3 : 2, 1);
    conv->opset = 0;
    set_window(g, conv, n, &window);
    TRY(node_infer(g, conv, NULL, err));
    y = conv->out[0];
    if (is_1d)
        TRY(drop_height(&y, g, n, y, err));
    if (!y) {
        graph_erase_dead(g, conv);
        return STATUS_OK;
    }
    TRY(permute_value(&y, g, n, y, &back, err));
    graph_replace(g, n->out[0], y);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

status pass_channels_last(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (is_convertible(n))
            TRY(convert_convolution(g, n, err));
    }
    return STATUS_OK;
}
