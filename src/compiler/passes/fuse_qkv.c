/* fuse_qkv.c - the Linears that give q, k and v of one Attention from one tensor become one.
 *
 * One product with wide weights reads its left operand once and keeps the cores busier than two
 * or three narrow ones; Attention takes its columns by offset, so nothing is copied. */
#include <string.h>

#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/permute.h"
#include "ops/fused.h"

enum { OPERANDS = 3 }; /* q, k, v */

static const char *const offset_names[OPERANDS] = {"q_offset", "k_offset", "v_offset"};

/* Is operand i a plain Linear that nothing but `attention` reads? */
static struct node *linear_of(const struct node *attention, uint32_t i) {
    struct node *n = made_by(attention->in[i], OP_Linear);
    if (!n || n->n_in > 3 || attr_int(&n->attrs, "activation", ACTIVATION_NONE) ||
        !value_is_constant(n->in[1]) || n->in[1]->info.dtype != DTYPE_F32 ||
        (node_in(n, 2) && !value_is_constant(n->in[2])) || n->out[0]->n_output_uses)
        return NULL;
    for (uint32_t u = 0; u < n->out[0]->n_uses; u++)
        if (n->out[0]->uses[u].node != attention)
            return NULL;
    return n;
}

struct join {
    struct node *linears[OPERANDS]; /* distinct, in order of first use */
    int64_t offsets[OPERANDS];      /* column where each begins */
    size_t n;
    int64_t width;
    bool has_bias;
};

static status join_weights(struct value **out, struct graph *g, const struct join *j,
                           struct error *err) {
    int64_t k = j->linears[0]->in[1]->info.constant->dims[0];
    TRY(graph_constant_copy(out, g, DTYPE_F32, (int64_t[]){k, j->width}, 2, NULL, err));
    float *to = (*out)->info.constant->data;
    for (size_t l = 0; l < j->n; l++) {
        const struct tensor *w = j->linears[l]->in[1]->info.constant;
        size_t row = (size_t)w->dims[1] * sizeof(float);
        const char *from = w->data; /* bytes: not aligned */
        for (int64_t r = 0; r < k; r++)
            memcpy(to + r * j->width + j->offsets[l], from + (size_t)r * row, row);
        value_rest(j->linears[l]->in[1]);
    }
    return STATUS_OK;
}

static status join_bias(struct value **out, struct graph *g, const struct join *j,
                        struct error *err) {
    TRY(graph_constant_copy(out, g, DTYPE_F32, &j->width, 1, NULL, err));
    for (size_t l = 0; l < j->n; l++) {
        const struct value *bias = node_in(j->linears[l], 2);
        if (bias)
            memcpy((float *)(*out)->info.constant->data + j->offsets[l], bias->info.constant->data,
                   bias->info.constant->size);
    }
    return STATUS_OK;
}

/* Collects the distinct Linears on `x` among the operands of `attention`. */
static void collect(struct join *j, const struct node *attention, const struct value *x) {
    *j = (struct join){0};
    for (uint32_t i = 0; i < OPERANDS; i++) {
        struct node *n = linear_of(attention, i);
        bool is_known = !n || n->in[0] != x;
        for (size_t l = 0; l < j->n; l++)
            is_known |= j->linears[l] == n;
        if (is_known)
            continue;
        j->offsets[j->n] = j->width;
        j->linears[j->n++] = n;
        j->width += n->in[1]->info.constant->dims[1];
        j->has_bias |= node_in(n, 2) != NULL;
    }
}

static status join_operands(struct graph *g, struct node *attention, const struct join *j,
                            struct error *err) {
    struct node *made, *first = j->linears[0];
    struct value *in[3] = {first->in[0], NULL, NULL};
    TRY(join_weights(&in[1], g, j, err));
    if (j->has_bias)
        TRY(join_bias(&in[2], g, j, err));
    TRY(insert_inferred(&made, g, first, OP_Linear, in, j->has_bias ? 3 : 2, 1, NULL, err));
    for (uint32_t i = 0; i < OPERANDS; i++) {
        struct value *old = attention->in[i];
        for (size_t l = 0; l < j->n; l++) {
            if (old != j->linears[l]->out[0])
                continue;
            int64_t offset = attr_int(&attention->attrs, offset_names[i], 0) + j->offsets[l];
            node_set_input(g, attention, i, made->out[0]);
            node_set_attr(g, attention, attr_of_int(offset_names[i], offset));
        }
    }
    for (size_t l = 0; l < j->n; l++)
        graph_erase_dead(g, j->linears[l]);
    return STATUS_OK;
}

status pass_fuse_qkv(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        if (n->op != OP_Attention)
            continue;
        for (uint32_t i = 0; i < OPERANDS; i++) {
            struct node *linear = linear_of(n, i);
            struct join j;
            if (!linear)
                continue;
            collect(&j, n, linear->in[0]);
            if (j.n < 2)
                continue;
            TRY(join_operands(g, n, &j, err));
            break;
        }
    }
    return STATUS_OK;
}
