#include "compiler/passes/match.h"

#include <float.h>
#include <math.h>

struct node *made_by(const struct value *v, op_id op) {
    return v && v->def && v->def->op == op && v->def->out[0] == v ? v->def : NULL;
}

struct node *made_only_for(const struct value *v, op_id op) {
    struct node *n = made_by(v, op);
    return n && value_has_one_use(v) ? n : NULL;
}

struct node *only_reader(const struct value *v, op_id op) {
    return value_has_one_use(v) && v->uses[0].node->op == op ? v->uses[0].node : NULL;
}

bool scalar_f32(const struct value *v, float *out) {
    if (!value_is_constant(v) || v->info.dtype != DTYPE_F32 ||
        tensor_n_elements(v->info.constant) != 1)
        return false;
    *out = *(const float *)v->info.constant->data;
    return true;
}

bool is_scalar(const struct value *v, double x) {
    float found;
    return scalar_f32(v, &found) && fabs((double)found - x) <= 1e-6 * fabs(x);
}

bool split_scalar(const struct node *n, struct value **rest, float *scalar) {
    for (uint32_t i = 0; i < 2 && n->n_in == 2; i++) {
        if (scalar_f32(n->in[i], scalar) && n->in[1 - i]) {
            *rest = n->in[1 - i];
            return true;
        }
    }
    return false;
}

struct value *other_operand(const struct node *n, const struct value *v) {
    if (n->n_in != 2)
        return NULL;
    return n->in[0] == v ? n->in[1] : n->in[1] == v ? n->in[0] : NULL;
}

bool same_dims(const struct value *a, const struct value *b) {
    if (a->info.rank < 0 || a->info.rank != b->info.rank)
        return false;
    for (int i = 0; i < a->info.rank; i++)
        if (a->info.dims[i] != b->info.dims[i] || a->info.dims[i] == DIM_UNKNOWN)
            return false;
    return true;
}

bool same_type(const struct value *a, const struct value *b) {
    return a->info.dtype == b->info.dtype && same_dims(a, b);
}

bool reduces_last_axis(const struct node *n, bool keepdims) {
    int64_t copy[TENSOR_RANK_MAX];
    const int64_t *axes = NULL;
    size_t n_axes = 0;
    int rank = n->in[0]->info.rank;
    const struct value *operand = node_in(n, 1);
    if (operand && operand->info.contents && operand->info.n_contents == 1) {
        copy[0] = operand->info.contents[0];
        axes = copy;
        n_axes = 1;
    } else if (!operand) {
        axes = attr_ints(&n->attrs, "axes", &n_axes);
    }
    return axes && n_axes == 1 && (axes[0] == -1 || axes[0] == rank - 1) &&
           (attr_int(&n->attrs, "keepdims", 1) != 0) == keepdims;
}

bool clip_bounds(const struct node *n, float *low, float *high) {
    if (n->opset < 11) {
        *low = attr_float(&n->attrs, "min", -FLT_MAX);
        *high = attr_float(&n->attrs, "max", FLT_MAX);
        return true;
    }
    *low = -FLT_MAX;
    *high = FLT_MAX;
    return (!node_in(n, 1) || scalar_f32(n->in[1], low)) &&
           (!node_in(n, 2) || scalar_f32(n->in[2], high));
}
