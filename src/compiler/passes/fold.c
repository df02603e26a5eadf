#include "compiler/passes/passes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernel.h"

enum {
    FOLD_OPERANDS_MAX = 1024,
    FOLD_SIZE_MAX = 64 << 20, /* bytes of a result that is larger than all its operands together */
    /* Bytes that one pass may add to the model's constants; more when the model's own are more. A
     * few hundred nodes could double a constant until the machine is full. */
    FOLD_GROWTH_MAX = 128 << 20,
    FOLD_WORK_MAX = 1 << 30, /* multiplications of one product */
};

static bool is_foldable(const struct node *n) {
    if (!kernel_ref(n->op) || n->n_in > FOLD_OPERANDS_MAX || n->n_out > FOLD_OPERANDS_MAX ||
        n->n_out == 0)
        return false;
    for (uint32_t i = 0; i < n->n_in; i++)
        if (n->in[i] && (!value_is_constant(n->in[i]) || !dtype_size(n->in[i]->info.dtype)))
            return false;
    return true;
}

/* Dims as numbers, and a size that is worth storing. */
static bool result_tensor(const struct node *n, const struct value *v, struct tensor *t) {
    size_t operands = 0;
    *t = (struct tensor){.dtype = v->info.dtype, .rank = (uint8_t)v->info.rank};
    if (v->info.rank < 0)
        return false;
    for (int i = 0; i < v->info.rank; i++) {
        if (!dim_is_number(v->info.dims[i]) || v->info.dims[i] < 0)
            return false;
        t->dims[i] = v->info.dims[i];
    }
    for (uint32_t i = 0; i < n->n_in; i++)
        operands += n->in[i] ? n->in[i]->info.constant->size : 0;
    return tensor_size(t->dtype, t->dims, t->rank, &t->size) &&
           (t->size <= FOLD_SIZE_MAX || t->size <= operands);
}

/* Multiplications of a product, exact for [M, K] x [K, N]; the reference kernels do about 1e9 a
 * second, and hostile models ask for more. */
static bool is_cheap(const struct node *n, const struct tensor *result) {
    double work = (double)tensor_n_elements(result);
    switch (n->op) {
    case OP_MatMul:
    case OP_Gemm:
    case OP_Conv:
    case OP_ConvTranspose:
    case OP_Linear:
    case OP_Conv2d:
    case OP_ConvTranspose2d:
        work *= (double)tensor_n_elements(n->in[0]->info.constant) *
                (double)tensor_n_elements(n->in[1]->info.constant);
        return sqrt(work) <= FOLD_WORK_MAX;
    case OP_Einsum: /* the letters may multiply without appearing in the result */
        for (uint32_t i = 0; i < n->n_in; i++)
            work *= (double)tensor_n_elements(n->in[i]->info.constant);
        return work <= FOLD_WORK_MAX;
    default:
        return true;
    }
}

/* Runs the reference kernel. Not OK: the node stays and fails, or not, when the model runs. */
static status run_kernel(const struct node *n, const struct tensor *const *in,
                         struct tensor *const *out) {
    const struct kernel *k = kernel_ref(n->op);
    struct kernel_call call = {.kernel = k,
                               .op = n->op,
                               .opset = n->opset,
                               .attrs = &n->attrs,
                               .in = in,
                               .out = out,
                               .n_in = n->n_in,
                               .n_out = n->n_out};
    struct kernel_team team = {.n_threads = 1};
    void *state = k->state_size ? calloc(1, k->state_size) : NULL;
    status done = k->state_size && !state ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
    if (done == STATUS_OK && k->prepare)
        done = k->prepare(&call, state, NULL);
    call.state = state;
    call.scratch_size = done == STATUS_OK && k->scratch ? k->scratch(&call, 1) : 0;
    call.scratch = call.scratch_size ? buffer_alloc(call.scratch_size) : NULL;
    if (call.scratch_size && !call.scratch)
        done = STATUS_RESOURCE_EXHAUSTED;
    if (done == STATUS_OK)
        done = k->run(&call, &team, NULL);
    free(call.scratch);
    free(state);
    return done;
}

/* Does operand i go with the node, and is it counted here, not at an earlier place? */
static bool dies_with(const struct node *n, uint32_t i) {
    const struct value *v = n->in[i];
    uint32_t n_here = 0;
    if (!v || v->n_output_uses || v->n_uses > n->n_in)
        return false;
    for (uint32_t k = 0; k < n->n_in; k++) {
        if (n->in[k] == v && k < i)
            return false;
        n_here += n->in[k] == v;
    }
    return n_here == v->n_uses;
}

/* Bytes of all results beyond those of the operands that nobody else reads. */
static size_t growth_of(const struct node *n, const struct tensor *results) {
    size_t in = 0, out = 0;
    for (uint32_t i = 0; i < n->n_in; i++)
        in += dies_with(n, i) ? n->in[i]->info.constant->size : 0;
    for (uint32_t i = 0; i < n->n_out; i++)
        out += results[i].size;
    return out > in ? out - in : 0;
}

/* Bytes of all constants that nodes read; each counts where it is read first. */
static size_t constants_size(const struct graph *g) {
    size_t size = 0;
    GRAPH_NODES(n, g)
    for (uint32_t i = 0; i < n->n_in; i++) {
        const struct value *v = n->in[i];
        if (v && v->info.constant && v->uses[0].node == n && v->uses[0].index == i)
            size += v->info.constant->size;
    }
    return size;
}

/* A constant's tensor with its elements aligned, for as long as `copies` lives. NULL: no memory. */
static const struct tensor *aligned_operand(const struct value *v, struct arena *copies) {
    if (value_is_aligned(v))
        return v->info.constant;
    struct tensor *t = arena_new(copies, struct tensor);
    *t = *v->info.constant;
    if (!(t->data = buffer_alloc(t->size)))
        return NULL;
    arena_defer(copies, free, t->data);
    memcpy(t->data, v->info.constant->data, t->size);
    return t;
}

/* `room`: what is left of FOLD_GROWTH_MAX. */
static status fold_node(struct graph *g, struct node *n, size_t *room) {
    struct arena copies CLEANUP(arena_release) = {
        0}; /* operands are often read here and nowhere else */
    const struct tensor *in[FOLD_OPERANDS_MAX] = {NULL};
    struct tensor *out[FOLD_OPERANDS_MAX],
        *results = arena_array(g->arena, struct tensor, n->n_out);
    for (uint32_t i = 0; i < n->n_out; i++) {
        out[i] = n->out[i] ? &results[i] : NULL;
        if (n->out[i] && (!result_tensor(n, n->out[i], &results[i]) || !is_cheap(n, &results[i])))
            return STATUS_OK;
    }
    size_t growth = growth_of(n, results);
    if (growth > *room)
        return STATUS_OK;
    *room -= growth;
    for (uint32_t i = 0; i < n->n_in; i++)
        if (n->in[i] && !(in[i] = aligned_operand(n->in[i], &copies)))
            return STATUS_OK;
    for (uint32_t i = 0; i < n->n_out; i++)
        if (out[i] && !(out[i]->data = graph_alloc(g, out[i]->size ? out[i]->size : 1)))
            return STATUS_OK;
    if (run_kernel(n, in, out) != STATUS_OK)
        return STATUS_OK;
    for (uint32_t i = 0; i < n->n_in; i++)
        if (n->in[i])
            value_rest(n->in[i]);
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (!out[i] || !tensor_size(out[i]->dtype, out[i]->dims, out[i]->rank, &out[i]->size))
            continue;
        graph_replace(g, n->out[i], graph_constant(g, (str){0}, out[i]));
    }
    graph_erase_dead(g, n);
    return STATUS_OK;
}

/* A small integer tensor whose elements are all known, though its operands are not: Shape of a
 * static tensor and what follows from it. */
static status fold_contents(struct graph *g, struct value *v, struct error *err) {
    const struct op_value *info = &v->info;
    int64_t dims[TENSOR_RANK_MAX];
    if (!info->contents || info->constant || !value_is_used(v) || info->rank < 0 || info->is_bound)
        return STATUS_OK;
    for (int i = 0; i < info->rank; i++)
        if (!dim_is_number(dims[i] = info->dims[i]))
            return STATUS_OK;
    for (size_t i = 0; i < info->n_contents; i++)
        if (!dim_is_number(info->contents[i]))
            return STATUS_OK;
    struct value *constant;
    TRY(graph_constant_copy(&constant, g, info->dtype, dims, (size_t)info->rank, NULL, err));
    size_t size = dtype_size(info->dtype);
    for (size_t i = 0; i < info->n_contents; i++) /* little-endian */
        memcpy((char *)constant->info.constant->data + i * size, &info->contents[i], size);
    constant->info.contents = info->contents;
    constant->info.n_contents = info->n_contents;
    graph_replace(g, v, constant);
    return STATUS_OK;
}

status pass_fold(struct graph *g, struct error *err) {
    size_t own = constants_size(g), room = own > FOLD_GROWTH_MAX ? own : FOLD_GROWTH_MAX;
    GRAPH_NODES(n, g) {
        TRY(node_infer(g, n, NULL, err));
        if (is_foldable(n)) {
            TRY(fold_node(g, n, &room));
            continue;
        }
        for (uint32_t i = 0; i < n->n_out; i++)
            if (n->out[i] && dtype_is_integer(n->out[i]->info.dtype))
                TRY(fold_contents(g, n->out[i], err));
    }
    return STATUS_OK;
}
