/* fuse_elementwise.c - arithmetic on F32 tensors, in groups of one broadcast shape, to Elementwise.
 *
 * A group grows from its last node towards its operands: a node joins when all its readers are in
 * the group and its dims are the group's. So a group has one result, every operand of it is there
 * before its last node, and nothing is computed twice. */
#include <string.h>

#include "compiler/passes/activation.h"
#include "compiler/passes/match.h"
#include "compiler/passes/passes.h"

enum { GROUP_MAX = 48, CONSTS_MAX = 64 };

struct group {
    struct graph *g;
    struct node *nodes[GROUP_MAX]; /* the last one first */
    size_t n_nodes;
    struct value *inputs[EW_INPUTS_MAX];
    size_t n_inputs;

    /* The program. Registers: inputs, then one a node, reused when its readers have run. */
    int64_t code[5 * EW_CODE_MAX];
    size_t n_code;
    float consts[CONSTS_MAX];
    size_t n_consts;
    struct value *holds[EW_REGISTERS_MAX]; /* value in each register */
    bool is_full;
};

static bool ew_binary(op_id op, ew_op *out) {
    switch (op) {
#define CASE(name, ew)                                                                             \
    case OP_##name:                                                                                \
        *out = ew;                                                                                 \
        return true;
        CASE(Add, EW_ADD)
        CASE(Sub, EW_SUB)
        CASE(Mul, EW_MUL)
        CASE(Div, EW_DIV)
        CASE(Min, EW_MIN)
        CASE(Max, EW_MAX)
        CASE(Pow, EW_POW)
    default:
        return false;
    }
}

static bool ew_unary(op_id op, ew_op *out) {
    switch (op) {
        CASE(Neg, EW_NEG)
        CASE(Abs, EW_ABS)
        CASE(Sqrt, EW_SQRT)
        CASE(Reciprocal, EW_RECIPROCAL)
        CASE(Exp, EW_EXP)
        CASE(Log, EW_LOG)
        CASE(Erf, EW_ERF)
        CASE(Tanh, EW_TANH)
        CASE(Sigmoid, EW_SIGMOID)
        CASE(Floor, EW_FLOOR)
        CASE(Ceil, EW_CEIL)
        CASE(Round, EW_ROUND)
#undef CASE
    default:
        return false;
    }
}

static bool is_elementwise(const struct node *n) {
    ew_op op;
    struct activation_match a;
    if (n->n_out != 1 || !n->out[0] || n->out[0]->info.dtype != DTYPE_F32 ||
        n->out[0]->info.rank < 0)
        return false;
    for (uint32_t i = 0; i < n->n_in; i++)
        if (n->in[i] && n->in[i]->info.dtype != DTYPE_F32)
            return false;
    if (ew_binary(n->op, &op))
        return n->n_in == 2 && n->in[0] && n->in[1];
    return ew_unary(n->op, &op) || activation_of(n, &a);
}

/* Operands that are data: an activation's parameters are not. */
static uint32_t n_data(const struct node *n) {
    ew_op op;
    return ew_binary(n->op, &op) ? 2 : 1;
}

static bool contains(const struct group *e, const struct node *n) {
    for (size_t i = 0; i < e->n_nodes; i++)
        if (e->nodes[i] == n)
            return true;
    return false;
}

static bool all_readers_inside(const struct group *e, const struct value *v) {
    for (uint32_t i = 0; i < v->n_uses; i++)
        if (!contains(e, v->uses[i].node))
            return false;
    return v->n_output_uses == 0;
}

static void count_inputs(struct group *e) {
    e->n_inputs = 0;
    e->is_full = false;
    for (size_t i = e->n_nodes; i-- > 0;) {
        struct node *n = e->nodes[i];
        for (uint32_t k = 0; k < n_data(n); k++) {
            struct value *v = n->in[k];
            float scalar;
            bool is_known = (v->def && contains(e, v->def)) || scalar_f32(v, &scalar);
            for (size_t j = 0; j < e->n_inputs && !is_known; j++)
                is_known = e->inputs[j] == v;
            if (is_known)
                continue;
            if (e->n_inputs == EW_INPUTS_MAX) {
                e->is_full = true;
                return;
            }
            e->inputs[e->n_inputs++] = v;
        }
    }
}

static void try_join(struct group *e, struct node *n) {
    if (e->n_nodes == GROUP_MAX || contains(e, n) || !is_elementwise(n) ||
        !same_dims(n->out[0], e->nodes[0]->out[0]) || !all_readers_inside(e, n->out[0]))
        return;
    e->nodes[e->n_nodes++] = n;
    count_inputs(e);
    if (e->is_full)
        e->n_nodes--;
}

static void grow_group(struct group *e) {
    for (size_t i = 0; i < e->n_nodes; i++)
        for (uint32_t k = 0; k < n_data(e->nodes[i]); k++)
            if (e->nodes[i]->in[k]->def)
                try_join(e, e->nodes[i]->in[k]->def);
    count_inputs(e);
}

/* --- the program ------------------------------------------------------------------------------- */

static int64_t add_const(struct group *e, float x) {
    if (e->n_consts == CONSTS_MAX) {
        e->is_full = true;
        return 0;
    }
    e->consts[e->n_consts] = x;
    return (int64_t)e->n_consts++;
}

static void emit(struct group *e, ew_op op, int64_t dst, int64_t a, int64_t b, int64_t c) {
    if (e->n_code == EW_CODE_MAX) {
        e->is_full = true;
        return;
    }
    memcpy(&e->code[5 * e->n_code++], (int64_t[]){op, dst, a, b, c}, 5 * sizeof(int64_t));
}

/* A register that holds nothing that is still to be read. */
static int64_t free_register(struct group *e, struct value *for_value) {
    for (size_t r = e->n_inputs; r < EW_REGISTERS_MAX; r++) {
        if (!e->holds[r]) {
            e->holds[r] = for_value;
            return (int64_t)r;
        }
    }
    e->is_full = true;
    return 0;
}

static int64_t operand(struct group *e, struct value *v) {
    float x;
    for (size_t r = 0; r < EW_REGISTERS_MAX; r++)
        if (e->holds[r] == v)
            return (int64_t)r;
    if (!scalar_f32(v, &x))
        return 0;
    int64_t r = free_register(e, v);
    emit(e, EW_CONST, r, add_const(e, x), 0, 0);
    return r;
}

/* Registers of values whose readers have all run become free. */
static void release_registers(struct group *e, const bool *has_run) {
    for (size_t r = e->n_inputs; r < EW_REGISTERS_MAX; r++) {
        struct value *v = e->holds[r];
        if (!v || value_is_constant(v))
            continue; /* constants are loaded once */
        bool is_needed = v == e->nodes[0]->out[0];
        for (size_t i = 0; i < e->n_nodes && !is_needed; i++)
            for (uint32_t k = 0; k < n_data(e->nodes[i]); k++)
                is_needed |= !has_run[i] && e->nodes[i]->in[k] == v;
        if (!is_needed)
            e->holds[r] = NULL;
    }
}

static void emit_node(struct group *e, struct node *n) {
    ew_op op;
    struct activation_match a;
    int64_t x = operand(e, n->in[0]), y = n_data(n) == 2 ? operand(e, n->in[1]) : 0;
    int64_t dst = free_register(e, n->out[0]);
    if (ew_binary(n->op, &op) || ew_unary(n->op, &op)) {
        emit(e, op, dst, x, y, 0);
    } else if (activation_of(n, &a)) {
        int64_t alpha = add_const(e, a.alpha);
        add_const(e, a.beta);
        emit(e, EW_ACT, dst, x, (int64_t)a.kind, alpha);
    }
}

static bool is_ready(const struct group *e, const struct node *n, const bool *has_run) {
    for (uint32_t k = 0; k < n_data(n); k++)
        for (size_t i = 0; i < e->n_nodes; i++)
            if (!has_run[i] && e->nodes[i]->out[0] == n->in[k])
                return false;
    return true;
}

static void write_program(struct group *e) {
    bool has_run[GROUP_MAX] = {0};
    memcpy(e->holds, e->inputs, e->n_inputs * sizeof *e->holds);
    for (size_t done = 0; done < e->n_nodes;) {
        size_t before = done;
        for (size_t i = e->n_nodes; i-- > 0;) {
            if (has_run[i] || !is_ready(e, e->nodes[i], has_run))
                continue;
            emit_node(e, e->nodes[i]);
            has_run[i] = true;
            done++;
            release_registers(e, has_run);
        }
        if (done == before) {
            e->is_full = true;
            return;
        }
    }
}

static status insert_elementwise(struct group *e, struct error *err) {
    struct graph *g = e->g;
    struct node *last = e->nodes[0];
    int64_t result = operand(e, last->out[0]), f32 = DTYPE_F32;
    struct node *n = graph_insert(g, last, OP_Elementwise, e->inputs, e->n_inputs, 1);
    node_set_attr(g, n, attr_of_ints(g, "code", e->code, 5 * e->n_code));
    node_set_attr(g, n, attr_of_floats(g, "consts", e->consts, e->n_consts));
    node_set_attr(g, n, attr_of_ints(g, "results", &result, 1));
    node_set_attr(g, n, attr_of_ints(g, "dtypes", &f32, 1));
    TRY(node_infer(g, n, NULL, err));
    if (!same_dims(n->out[0], last->out[0])) {
        graph_erase_dead(g, n);
        return STATUS_OK;
    }
    graph_replace(g, last->out[0], n->out[0]);
    graph_erase_dead(g, last);
    return STATUS_OK;
}

status pass_fuse_elementwise(struct graph *g, struct error *err) {
    for (struct node *n = g->last, *before; n; n = before) {
        before = n->prev;
        if (n->is_erased || !is_elementwise(n))
            continue;
        struct group e = {.g = g, .nodes = {n}, .n_nodes = 1};
        grow_group(&e);
        if (e.is_full || e.n_inputs == 0)
            continue;
        write_program(&e);
        if (!e.is_full)
            TRY(insert_elementwise(&e, err));
    }
    return STATUS_OK;
}
