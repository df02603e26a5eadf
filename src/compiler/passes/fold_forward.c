/* fold_forward.c - x * scale + shift goes into the product that reads it.
 *
 * (x s + t) w = x (s w) + t w for constants s and t, per column or one for all. A convolution
 * takes it only without padding: its border is zero, not t. Networks with learned scales behind their
 * activations (PP-LCNet) lose a pass over memory for each. In FP32 only: BF16
 * would round x before the shift instead of after it (PP-OCR det: cosine 0.9989 instead of 0.9994). */
#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/permute.h"

/* Constants for each of n columns; a scalar counts for all. */
struct columns {
    const float *p;
    bool is_scalar;
};

static bool read_columns(const struct value *v, int rank, int64_t n, struct columns *out) {
    if (!value_is_constant(v) || v->info.dtype != DTYPE_F32 || v->info.rank > rank)
        return false;
    const struct tensor *t = v->info.constant;
    int64_t count = tensor_n_elements(t);
    *out = (struct columns){.p = value_data(v), .is_scalar = count == 1};
    return (out->p && count == 1) || (out->p && count == n && t->dims[t->rank - 1] == n);
}

static float at(const struct columns *c, int64_t i, float fallback) {
    return c->p ? c->p[c->is_scalar ? 0 : i] : fallback;
}

/* v = x * scale + shift, each of them optional. */
struct affine {
    struct value *x;
    struct columns scale, shift;
};

static bool peel(struct value **v, op_id op, int64_t n, struct columns *out) {
    struct node *node = made_by(*v, op);
    for (uint32_t i = 0; node && i < 2; i++) {
        struct value *x = node->in[i];
        if (!same_type(x, *v) || !read_columns(node->in[1 - i], x->info.rank, n, out))
            continue;
        *v = x;
        return true;
    }
    *out = (struct columns){0};
    return false;
}

static bool read_affine(struct value *v, int64_t n, struct affine *a) {
    *a = (struct affine){.x = v};
    bool has_shift = peel(&a->x, OP_Add, n, &a->shift);
    bool has_scale = peel(&a->x, OP_Mul, n, &a->scale);
    return has_shift || has_scale;
}

/* A product whose weights are [M, ..., K] (Conv2d) or [K, N] (Linear), all rows of which see all of x. */
static bool is_plain_product(const struct node *n) {
    size_t n_pads;
    const int64_t *pads = attr_ints(&n->attrs, "pads", &n_pads);
    if (n->op != OP_Linear && n->op != OP_Conv2d)
        return false;
    for (size_t i = 0; pads && i < n_pads; i++)
        if (pads[i] != 0)
            return false;
    return attr_int(&n->attrs, "group", 1) == 1 && value_is_constant(n->in[1]) &&
           n->in[1]->info.dtype == DTYPE_F32 && n->in[0]->info.dtype == DTYPE_F32 &&
           (!node_in(n, 2) || value_is_constant(n->in[2]));
}

/* New weights and bias. Conv2d: `outer` blocks of K inputs belong to one output after the other;
 * Linear: column j of row k. */
static void fold(const struct node *n, const struct affine *a, float *w, float *bias,
                 int64_t outputs) {
    const struct tensor *t = n->in[1]->info.constant;
    const float *from = value_data(n->in[1]);
    bool is_linear = n->op == OP_Linear;
    int64_t count = tensor_n_elements(t), k_size = is_linear ? t->dims[0] : t->dims[t->rank - 1];
    for (int64_t i = 0; i < count; i++) {
        int64_t k = is_linear ? i / outputs : i % k_size;
        int64_t j = is_linear ? i % outputs : i / (count / outputs);
        w[i] = from[i] * at(&a->scale, k, 1.0f);
        bias[j] += from[i] * at(&a->shift, k, 0.0f);
    }
}

static status fold_into(struct graph *g, struct node *n, struct error *err) {
    struct affine a;
    if (!is_plain_product(n))
        return STATUS_OK;
    const struct tensor *t = n->in[1]->info.constant;
    int64_t k = n->op == OP_Linear ? t->dims[0] : t->dims[t->rank - 1];
    int64_t outputs = n->op == OP_Linear ? t->dims[1] : t->dims[0];
    if (tensor_n_elements(t) == 0 || !read_affine(n->in[0], k, &a))
        return STATUS_OK;
    if (!value_data(n->in[1]))
        return STATUS_OK;
    struct value *w, *bias;
    const struct value *old = node_in(n, 2);
    TRY(graph_constant_copy(&w, g, DTYPE_F32, t->dims, t->rank, NULL, err));
    TRY(graph_constant_copy(&bias, g, DTYPE_F32, &outputs, 1, old ? old->info.constant->data : NULL,
                            err));
    fold(n, &a, w->info.constant->data, bias->info.constant->data, outputs);
    struct node *maker = n->in[0]->def;
    struct value *in[] = {a.x, w, bias, node_in(n, 3)};
    node_set_inputs(g, n, in, in[3] ? 4 : 3);
    graph_erase_dead(g, maker);
    return STATUS_OK;
}

status pass_fold_forward(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        TRY(fold_into(g, n, err));
    }
    return STATUS_OK;
}
