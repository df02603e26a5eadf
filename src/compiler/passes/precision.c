#include "compiler/passes/precision.h"

#include <string.h>

#include "ops/fused.h"
#include "tensor/convert.h"

/* What a reader says about the dtype of an operand. */
typedef enum reader {
    READER_NARROW, /* wants BF16 */
    READER_WIDE,   /* wants F32 */
    READER_ANY,
} reader;

struct wish {
    bool narrow, wide;
    bool is_inner; /* another product or a normalisation reads it, if only through moves */
};

struct narrowing {
    struct graph *graph;
    struct wish *wishes;  /* by value id */
    struct value **twins; /* by value id: the value again, in BF16 */
    uint32_t capacity;
};

static bool wants_narrow(const struct narrowing *p, const struct value *v) {
    return v && v->id < p->capacity && p->wishes[v->id].narrow && !p->wishes[v->id].wide;
}

static bool is_product(op_id op) {
    return op == OP_Linear || op == OP_Conv2d || op == OP_ConvTranspose2d || op == OP_Attention;
}

/* Up to so many weights F32 costs nothing that can be measured where it stands below. */
enum {
    COLOURS_MAX = 4,
    FIRST_WEIGHTS_MAX = 1 << 9,
    OUTPUT_WEIGHTS_MAX = 1 << 14,
    GATE_WEIGHTS_MAX = 1 << 18,
};

static int64_t n_weights(const struct node *product) {
    const struct value *w = product->in[1];
    return value_is_constant(w) ? tensor_n_elements(w->info.constant) : INT64_MAX;
}

/* A product of one pixel's channels, as in the gates that a global pool feeds: it reads so little
 * that F32 costs nothing, and an error there scales whole channels. */
static bool is_gate(const struct node *n) {
    const struct value *x = n->in[0];
    return n->op == OP_Conv2d && x->info.rank == 4 && x->info.dims[1] == 1 &&
           x->info.dims[2] == 1 && n_weights(n) <= GATE_WEIGHTS_MAX;
}

/* A small convolution over an image's colours: its rounding would go through the whole network. */
static bool is_first_layer(const struct node *n) {
    return n->op == OP_Conv2d && n->in[0]->info.rank == 4 && n->in[0]->info.dims[3] >= 0 &&
           n->in[0]->info.dims[3] <= COLOURS_MAX && n_weights(n) <= FIRST_WEIGHTS_MAX;
}

/* One channel a group: its kernels keep few weights, as F32. */
static bool is_depthwise(const struct node *n) {
    return n->op == OP_Conv2d && n->in[0]->info.rank == 4 &&
           attr_int(&n->attrs, "group", 1) == n->in[0]->info.dims[3] &&
           n->in[1]->info.dims[0] == n->in[0]->info.dims[3] && n->in[1]->info.dims[3] == 1;
}

/* A small product whose result is an output, as the head of a segmentation is. What it rounds,
 * nothing averages out, and behind a sigmoid it is an error of the logarithm. */
static bool is_output_layer(const struct narrowing *p, const struct node *n) {
    return is_product(n->op) && n->op != OP_Attention && n_weights(n) <= OUTPUT_WEIGHTS_MAX &&
           n->out[0]->id < p->capacity && !p->wishes[n->out[0]->id].is_inner;
}

/* Products that stay F32. */
static bool stays_wide(const struct narrowing *p, const struct node *n) {
    return is_gate(n) || is_first_layer(n) || is_output_layer(p, n);
}

/* Operators that move elements and keep their dtype; operand 0, all of Concat's. */
static bool is_move(const struct node *n, uint32_t operand) {
    switch (n->op) {
    case OP_Concat:
        return true;
    case OP_Reshape:
    case OP_Flatten:
    case OP_Squeeze:
    case OP_Unsqueeze:
    case OP_Transpose:
    case OP_Slice:
    case OP_Split:
    case OP_Identity:
        return operand == 0;
    default:
        return false;
    }
}

static bool any_narrow_result(const struct narrowing *p, const struct node *n) {
    for (uint32_t i = 0; i < n->n_out; i++)
        if (wants_narrow(p, n->out[i]))
            return true;
    return false;
}

static bool all_narrow_results(const struct narrowing *p, const struct node *n) {
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] && value_is_used(n->out[i]) && !wants_narrow(p, n->out[i]))
            return false;
    return n->n_out > 0;
}

/* Arithmetic between products of a convolutional network (gates, sums) may read BF16. Anything
 * else, such as the statistics of a normalisation that no pattern knew, must not: a variance as the
 * difference of two squares would vanish in the rounding. */
static bool is_image_work(const struct value *v) {
    const struct node *n = v->def;
    return n && v->info.rank == 4 &&
           (n->op == OP_Conv2d || n->op == OP_ConvTranspose2d || n->op == OP_Pool2d ||
            n->op == OP_Resize2d);
}

static reader reader_of(const struct narrowing *p, const struct node *n, uint32_t operand) {
    if (is_move(n, operand))
        return all_narrow_results(p, n) ? READER_NARROW : READER_WIDE;
    if (stays_wide(p, n))
        return READER_WIDE;
    switch (n->op) {
    case OP_Shape:
    case OP_Size:
        return READER_ANY;
    case OP_Linear:
        return operand == 0 ? READER_NARROW : READER_WIDE;
    case OP_Conv2d:
        return operand == 0 ? READER_NARROW : operand == 3 ? READER_ANY : READER_WIDE;
    case OP_ConvTranspose2d:
        return operand == 0 ? READER_NARROW : READER_WIDE;
    case OP_Attention:
        return operand < 3 ? READER_NARROW : READER_WIDE;
    case OP_Pool2d:
    case OP_Resize2d:
        return any_narrow_result(p, n) ? READER_NARROW : READER_ANY;
    case OP_Elementwise:
        return any_narrow_result(p, n) && is_image_work(n->in[operand]) ? READER_NARROW
                                                                        : READER_ANY;
    default:
        return READER_WIDE;
    }
}

/* Does n hand on what it reads to nothing but outputs, element by element? */
static bool is_end(const struct narrowing *p, const struct node *n) {
    bool is_plain = is_move(n, 0) || n->op == OP_Elementwise || n->op == OP_Sigmoid ||
                    n->op == OP_Tanh || n->op == OP_Softmax;
    for (uint32_t i = 0; i < n->n_out && is_plain; i++)
        is_plain = !n->out[i] || !p->wishes[n->out[i]->id].is_inner;
    return is_plain;
}

/* From the last node to the first: what the readers of each value want. */
static void collect_wishes(struct narrowing *p) {
    struct graph *g = p->graph;
    for (struct node *n = g->last; n; n = n->prev) {
        bool ends = is_end(p, n);
        for (uint32_t i = 0; i < n->n_in; i++) {
            if (!n->in[i] || n->in[i]->info.dtype != DTYPE_F32)
                continue;
            reader r = reader_of(p, n, i);
            p->wishes[n->in[i]->id].is_inner |= !ends;
            p->wishes[n->in[i]->id].narrow |= r == READER_NARROW;
            p->wishes[n->in[i]->id].wide |= r == READER_WIDE;
        }
    }
}

/* Room for the wish and the twin of every value made so far. */
static void grow(struct narrowing *p) {
    if (p->graph->n_values <= p->capacity)
        return;
    uint32_t capacity = p->graph->n_values * 2;
    struct wish *wishes = arena_array(p->graph->arena, struct wish, capacity);
    struct value **twins = arena_array(p->graph->arena, struct value *, capacity);
    if (p->capacity) {
        memcpy(wishes, p->wishes, p->capacity * sizeof *wishes);
        memcpy(twins, p->twins, p->capacity * sizeof *twins);
    }
    p->wishes = wishes;
    p->twins = twins;
    p->capacity = capacity;
}

static status narrow_constant(struct value **out, struct graph *g, const struct value *v,
                              struct error *err) {
    const struct tensor *t = v->info.constant;
    struct value *made;
    TRY(graph_constant_copy(&made, g, DTYPE_BF16, t->dims, t->rank, NULL, err));
    /* Piece by piece: weights lie at odd addresses, and a copy of all of them is not worth its
     * memory. */
    enum { PIECE = 1024 };
    float piece[PIECE];
    const char *from = t->data;
    uint16_t *to = made->info.constant->data;
    for (size_t n = (size_t)tensor_n_elements(t), i = 0; i < n; i += PIECE) {
        size_t count = n - i < PIECE ? n - i : PIECE;
        memcpy(piece, from + i * sizeof *piece, count * sizeof *piece);
        TRY(convert(DTYPE_BF16, to + i, DTYPE_F32, piece, count, err));
    }
    value_rest(v);
    *out = made;
    return STATUS_OK;
}

static status insert_cast(struct value **out, struct graph *g, struct value *v, struct error *err) {
    struct node *before = v->def ? v->def->next : g->first;
    struct node *cast = graph_insert(g, before, OP_Cast, &v, 1, 1);
    cast->opset = g->opset;
    node_set_attr(g, cast, attr_of_int("to", dtype_onnx(DTYPE_BF16)));
    TRY(node_infer(g, cast, NULL, err));
    *out = cast->out[0];
    return STATUS_OK;
}

/* `v` in BF16: itself, a copy of a constant, or a Cast behind it, made once. */
static status narrow(struct value **out, struct narrowing *p, struct value *v, struct error *err) {
    *out = v;
    if (!v || v->info.dtype != DTYPE_F32)
        return STATUS_OK;
    if (v->id >= p->capacity || !p->twins[v->id]) {
        struct value *twin;
        if (value_is_constant(v))
            TRY(narrow_constant(&twin, p->graph, v, err));
        else
            TRY(insert_cast(&twin, p->graph, v, err));
        grow(p);
        p->twins[v->id] = twin;
    }
    *out = p->twins[v->id];
    return STATUS_OK;
}

static status narrow_operand(struct narrowing *p, struct node *n, uint32_t i, struct error *err) {
    struct value *v;
    TRY(narrow(&v, p, node_in(n, i), err));
    if (v && v != n->in[i])
        node_set_input(p->graph, n, i, v);
    return STATUS_OK;
}

static status narrow_operands(struct narrowing *p, struct node *n, struct error *err) {
    uint32_t last = 0;
    if (n->op == OP_Attention)
        last = 3;
    else if (is_product(n->op) && !stays_wide(p, n))
        last = is_depthwise(n) ? 1 : 2; /* x and the weights */
    else if (is_move(n, 0) && all_narrow_results(p, n))
        last = n->op == OP_Concat ? n->n_in : 1;
    for (uint32_t i = 0; i < last; i++)
        TRY(narrow_operand(p, n, i, err));
    return STATUS_OK;
}

/* A Norm that products and others read gives its result twice. */
static status split_norm(struct narrowing *p, struct node *n, struct error *err) {
    struct graph *g = p->graph;
    struct node *made = graph_insert(g, n, OP_Norm, n->in, n->n_in, n->n_out > 2 ? n->n_out : 2);
    made->opset = 0;
    for (size_t i = 0; i < n->attrs.n; i++)
        node_set_attr(g, made, n->attrs.items[i]);
    node_set_attr(g, made, attr_of_int("dtype2", DTYPE_BF16));
    TRY(node_infer(g, made, NULL, err));
    grow(p);
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (!n->out[i])
            continue;
        p->wishes[made->out[i]->id] = p->wishes[n->out[i]->id];
        graph_replace(g, n->out[i], made->out[i]);
    }
    p->twins[made->out[0]->id] = made->out[1];
    graph_erase(g, n);
    return STATUS_OK;
}

static status narrow_elementwise(struct narrowing *p, struct node *n, struct error *err) {
    int64_t dtypes[EW_OUTPUTS_MAX];
    size_t n_given;
    const int64_t *given = attr_ints(&n->attrs, "dtypes", &n_given);
    for (uint32_t i = 0; i < n->n_out; i++) {
        dtypes[i] = given && i < n_given ? given[i] : DTYPE_F32;
        if (dtypes[i] == DTYPE_F32 && wants_narrow(p, n->out[i]))
            dtypes[i] = DTYPE_BF16;
    }
    node_set_attr(p->graph, n, attr_of_ints(p->graph, "dtypes", dtypes, n->n_out));
    return node_infer(p->graph, n, NULL, err);
}

static status narrow_result(struct narrowing *p, struct node *n, struct error *err) {
    bool has_dtype =
        is_product(n->op) || n->op == OP_Pool2d || n->op == OP_Resize2d || n->op == OP_Norm;
    if (n->op == OP_Elementwise)
        return narrow_elementwise(p, n, err);
    if (n->op == OP_Norm && p->wishes[n->out[0]->id].narrow && p->wishes[n->out[0]->id].wide &&
        (n->n_out < 2 || !n->out[1]))
        return split_norm(p, n, err);
    if (has_dtype && wants_narrow(p, n->out[0]))
        node_set_attr(p->graph, n, attr_of_int("dtype", DTYPE_BF16));
    if (has_dtype || is_move(n, 0))
        return node_infer(p->graph, n, NULL, err);
    return STATUS_OK;
}

static struct narrowing narrowing_of(struct graph *g) {
    struct narrowing p = {.graph = g};
    grow(&p);
    for (uint32_t i = 0; i < g->n_values; i++)
        p.wishes[i].wide = g->values[i]->n_output_uses > 0;
    collect_wishes(&p);
    return p;
}

status pass_precision_bf16(struct graph *g, struct error *err) {
    struct narrowing p = narrowing_of(g);
    GRAPH_NODES(n, g) {
        TRY(narrow_operands(&p, n, err));
        TRY(narrow_result(&p, n, err));
    }
    return STATUS_OK;
}

status pass_precision_weights(struct graph *g, struct error *err) {
    struct narrowing p = narrowing_of(g);
    GRAPH_NODES(n, g) {
        bool is_wide = n->op == OP_Linear || (n->op == OP_Conv2d && !is_depthwise(n));
        if (is_wide && value_is_constant(n->in[1]) && !stays_wide(&p, n))
            TRY(narrow_operand(&p, n, 1, err));
    }
    return STATUS_OK;
}
