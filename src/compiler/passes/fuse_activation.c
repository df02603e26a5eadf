/* fuse_activation.c - activations that exporters spell out become one operator each.
 *
 * Works on canonical form (after simplify): divisions by constants are products, subtractions of
 * constants are sums, so that one pattern covers every exporter's spelling. */
#include <math.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"

static status replace_by(struct graph *g, struct node *n, op_id op, struct value *x,
                         const struct attr *attr, struct error *err) {
    struct node *made = graph_insert(g, n, op, &x, 1, 1);
    made->opset = 28;
    if (attr)
        node_set_attr(g, made, *attr);
    TRY(node_infer(g, made, NULL, err));
    graph_replace(g, n->out[0], made->out[0]);
    graph_erase_dead(g, n);
    return STATUS_OK;
}

/* v = scalar * rest (a Mul with a scalar); otherwise rest = v, scalar = 1. */
static struct value *without_factor(struct value *v, double *scalar) {
    struct node *mul = made_by(v, OP_Mul);
    struct value *rest;
    float s;
    if (!mul || !split_scalar(mul, &rest, &s))
        return v;
    *scalar *= (double)s;
    return rest;
}

/* The factors of a product of up to three tensors, scalars multiplied into *scalar. */
enum { FACTORS_MAX = 4 };
static size_t factors(struct value *v, struct value **out, size_t n, double *scalar, int depth) {
    float s;
    struct node *mul = made_by(v, OP_Mul);
    if (scalar_f32(v, &s)) {
        *scalar *= (double)s;
        return n;
    }
    if (!mul || depth == 0 || n + 2 > FACTORS_MAX) {
        if (n < FACTORS_MAX)
            out[n] = v;
        return n + 1;
    }
    n = factors(mul->in[0], out, n, scalar, depth - 1);
    return factors(mul->in[1], out, n, scalar, depth - 1);
}

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-5 * fabs(b);
}

/* 1 + erf(x / sqrt 2), in either order: gives x. */
static struct value *match_erf(const struct value *v) {
    struct node *add = made_by(v, OP_Add);
    struct value *rest;
    float one;
    if (!add || !split_scalar(add, &rest, &one) || one != 1.0f || !made_by(rest, OP_Erf))
        return NULL;
    double factor = 1;
    struct value *x = without_factor(rest->def->in[0], &factor);
    return near(factor, sqrt(0.5)) ? x : NULL;
}

/* c x^3, with the cube as a Pow or as products and c anywhere among them. */
static bool is_cubic_term(struct value *v, struct value *x, double c) {
    double scalar = 1;
    struct node *pow = made_by(without_factor(v, &scalar), OP_Pow);
    if (pow)
        return pow->in[0] == x && is_scalar(pow->in[1], 3.0) && near(scalar, c);
    struct value *f[FACTORS_MAX];
    scalar = 1;
    size_t n = factors(v, f, 0, &scalar, 3);
    return n == 3 && near(scalar, c) && f[0] == x && f[1] == x && f[2] == x;
}

/* 1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)): gives x. */
static struct value *match_tanh(const struct value *v) {
    struct node *add = made_by(v, OP_Add);
    struct value *rest;
    float one;
    if (!add || !split_scalar(add, &rest, &one) || one != 1.0f || !made_by(rest, OP_Tanh))
        return NULL;
    double factor = 1;
    struct node *sum = made_by(without_factor(rest->def->in[0], &factor), OP_Add);
    if (!sum || !near(factor, sqrt(2 / M_PI)))
        return NULL;
    for (uint32_t i = 0; i < 2; i++) {
        if (is_cubic_term(sum->in[1 - i], sum->in[i], 0.044715))
            return sum->in[i];
    }
    return NULL;
}

/* x * (1 + erf(...)) * 0.5 and x * (1 + tanh(...)) * 0.5, multiplied in any order. */
static status match_gelu(struct graph *g, struct node *n, bool *done, struct error *err) {
    struct value *f[FACTORS_MAX];
    double scalar = 1;
    if (factors(n->out[0], f, 0, &scalar, 3) != 2 || !near(scalar, 0.5))
        return STATUS_OK;
    for (uint32_t i = 0; i < 2; i++) {
        bool is_erf = match_erf(f[i]) == f[1 - i], is_tanh = match_tanh(f[i]) == f[1 - i];
        if (!is_erf && !is_tanh)
            continue;
        struct attr tanh = attr_of_string("approximate", STR("tanh"));
        *done = true;
        return replace_by(g, n, OP_Gelu, f[1 - i], is_tanh ? &tanh : NULL, err);
    }
    return STATUS_OK;
}

/* clip(x + 3, 0, 6): gives x. */
static struct value *match_clip3(const struct value *v) {
    struct node *clip = made_by(v, OP_Clip);
    struct value *x;
    float three, low, high;
    if (!clip || !made_by(clip->in[0], OP_Add) || !split_scalar(clip->in[0]->def, &x, &three) ||
        three != 3.0f || !clip_bounds(clip, &low, &high) || low != 0.0f || high != 6.0f)
        return NULL;
    return x;
}

/* x * Sigmoid(alpha * x): alpha, or 0 when the gate is something else. */
static double swish_alpha(const struct value *gate, const struct value *x) {
    struct node *soft = made_by(gate, OP_Sigmoid);
    double alpha = 1;
    if (!soft || (soft->in[0] != x && without_factor(soft->in[0], &alpha) != x))
        return 0;
    return alpha;
}

/* x * clip(x + 3, 0, 6) / 6, x * HardSigmoid(x, 1/6, 1/2) and x * Sigmoid(alpha * x). */
static status match_gated(struct graph *g, struct node *n, bool *done, struct error *err) {
    struct value *f[FACTORS_MAX];
    double scalar = 1;
    if (factors(n->out[0], f, 0, &scalar, 2) != 2)
        return STATUS_OK;
    for (uint32_t i = 0; i < 2 && !*done; i++) {
        struct value *x = f[1 - i];
        struct node *hard = made_by(f[i], OP_HardSigmoid);
        bool is_hard = hard && hard->in[0] == x && near(scalar, 1) &&
                       near((double)attr_float(&hard->attrs, "alpha", 0.2f), 1.0 / 6) &&
                       near((double)attr_float(&hard->attrs, "beta", 0.5f), 0.5);
        is_hard |= match_clip3(f[i]) == x && near(scalar, 1.0 / 6);
        double alpha = near(scalar, 1) ? swish_alpha(f[i], x) : 0;
        struct attr attr = attr_of_float("alpha", (float)alpha);
        *done = is_hard || alpha != 0;
        if (*done)
            TRY(replace_by(g, n, is_hard ? OP_HardSwish : OP_Swish, x,
                           is_hard || alpha == 1 ? NULL : &attr, err));
    }
    return STATUS_OK;
}

/* clip(x + 3, 0, 6) / 6 on its own, as gates of squeeze-and-excite have it. */
static status match_hard_sigmoid(struct graph *g, struct node *n, bool *done, struct error *err) {
    struct value *rest;
    float s;
    if (!split_scalar(n, &rest, &s) || !near((double)s, 1.0 / 6))
        return STATUS_OK;
    struct value *x = match_clip3(rest);
    struct node *reader = x ? only_reader(n->out[0], OP_Mul) : NULL;
    if (!x ||
        (reader && other_operand(reader, n->out[0]) == x)) /* the Mul is a HardSwish: left to it */
        return STATUS_OK;
    struct attr alpha = attr_of_float("alpha", 1.0f / 6);
    *done = true;
    return replace_by(g, n, OP_HardSigmoid, x, &alpha, err);
}

status pass_fuse_activation(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        bool done = false;
        if (n->op != OP_Mul || n->out[0]->info.dtype != DTYPE_F32)
            continue;
        TRY(match_gelu(g, n, &done, err));
        if (!done)
            TRY(match_gated(g, n, &done, err));
        if (!done)
            TRY(match_hard_sigmoid(g, n, &done, err));
    }
    return STATUS_OK;
}
