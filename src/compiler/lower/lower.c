#include "compiler/lower/lower.h"

#include <stdlib.h>
#include <string.h>

#include "compiler/lower/lower_internal.h"
#include "kernels/kernel.h"

static bool is_view(op_id op) {
    return op == OP_Reshape || op == OP_Flatten || op == OP_Squeeze || op == OP_Unsqueeze ||
           op == OP_Identity || op == OP_Dropout;
}

/* Are all dims numbers or expressions over symbols that some input carries? */
static bool dims_follow(struct lowering *l, const struct op_value *v) {
    if (v->rank < 0 || v->is_bound)
        return false;
    for (int d = 0; d < v->rank; d++)
        if (v->dims[d] == DIM_UNKNOWN || !dims_is_usable(l, v->dims[d]))
            return false;
    return true;
}

static status not_typed(const struct lowering *l, const struct value *v, struct error *err) {
    (void)l;
    return error_set(err, STATUS_UNIMPLEMENTED,
                     "value \"%.*s\": its element type or number of dims is not known before the "
                     "model runs",
                     STR_ARG(str_slice(v->name, 0, 200)));
}

/* What an input operand tells the shape function: of a dynamic value only dtype and rank. */
static struct op_value operand_info(const struct lowering *l, const struct value *v) {
    struct op_value info = v->info;
    if (l->kinds[v->id] != PLAN_DYNAMIC)
        return info;
    info.contents = NULL;
    info.n_contents = 0;
    for (int d = 0; d < info.rank; d++)
        info.dims[d] = DIM_UNKNOWN;
    return info;
}

/* Asks the shape function itself which results follow: what else the graph claims to know cannot
 * be checked by the engine. */
static status classify_results(struct lowering *l, struct node *n, struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    struct op_value *values = arena_array(&a, struct op_value, n->n_in + 1);
    const struct op_value **in = arena_array(&a, const struct op_value *, n->n_in + 1);
    struct op_value *out = arena_array(&a, struct op_value, n->n_out + 1);
    for (uint32_t i = 0; i < n->n_in; i++) {
        if (!n->in[i])
            continue;
        values[i] = operand_info(l, n->in[i]);
        in[i] = &values[i];
    }
    for (uint32_t i = 0; i < n->n_out; i++)
        out[i].rank = -1;
    const struct op_call call = {.op = op_get(n->op),
                                 .opset = n->opset,
                                 .attrs = &n->attrs,
                                 .in = in,
                                 .out = out,
                                 .n_in = n->n_in,
                                 .n_out = n->n_out,
                                 .pool = &l->graph->pool,
                                 .arena = &a};
    status code = op_infer(&call, err);
    if (code != STATUS_OK)
        return error_wrap(err, code, "%s", node_describe(l->graph, &a, n).p);
    for (uint32_t i = 0; i < n->n_out; i++) {
        struct value *v = n->out[i];
        if (!v || !value_is_used(v))
            continue;
        if (v->info.rank < 0 || v->info.dtype == DTYPE_NONE)
            return not_typed(l, v, err);
        bool follows = dims_follow(l, &out[i]);
        l->kinds[v->id] = follows ? PLAN_PLANNED : PLAN_DYNAMIC;
        for (int d = 0; d < v->info.rank; d++)
            l->dims[v->id].dims[d] = follows ? out[i].dims[d] : DIM_UNKNOWN;
    }
    return STATUS_OK;
}

static void classify_view(struct lowering *l, const struct node *n) {
    if (!is_view(n->op) || n->n_in == 0 || !n->in[0] || !n->out[0])
        return;
    if (n->n_out > 1 && n->out[1] && value_is_used(n->out[1]))
        return; /* Dropout's mask */
    uint8_t *kind = &l->kinds[n->out[0]->id];
    const struct value *root = l->roots[n->in[0]->id];
    if (*kind != PLAN_PLANNED || l->kinds[root->id] == PLAN_DYNAMIC)
        return;
    *kind = PLAN_ALIAS;
    l->roots[n->out[0]->id] = root;
}

static status classify(struct lowering *l, struct error *err) {
    struct graph *g = l->graph;
    for (uint32_t i = 0; i < g->n_values; i++) {
        const struct value *v = g->values[i];
        l->roots[i] = v;
        if (value_is_constant(v))
            l->kinds[i] = PLAN_CONSTANT;
        else if (v->is_input)
            l->kinds[i] = PLAN_INPUT;
        if (v->info.rank > 0)
            memcpy(l->dims[i].dims, v->info.dims, (size_t)v->info.rank * sizeof(dim));
    }
    for (uint32_t i = 0; i < g->n_inputs; i++) {
        const struct value *v = g->inputs[i];
        if (v->info.rank < 0 || v->info.dtype == DTYPE_NONE)
            return not_typed(l, v, err);
    }
    GRAPH_NODES(n, g) {
        TRY(classify_results(l, n, err));
        classify_view(l, n);
    }
    return STATUS_OK;
}

/* Marks, from the outputs up, the nodes that a step is needed for. */
static void mark_needed(struct lowering *l) {
    struct graph *g = l->graph;
    for (uint32_t i = 0; i < g->n_outputs; i++)
        l->is_needed[g->outputs[i].value->id] = true;
    for (struct node *n = g->last; n; n = n->prev) {
        bool is_needed = false, is_alias = false;
        for (uint32_t i = 0; i < n->n_out; i++) {
            if (!n->out[i] || !l->is_needed[n->out[i]->id])
                continue;
            is_needed = true;
            is_alias |= l->kinds[n->out[i]->id] == PLAN_ALIAS;
        }
        for (uint32_t i = 0; is_needed && i < (is_alias ? 1 : n->n_in); i++)
            if (n->in[i])
                l->is_needed[n->in[i]->id] = true;
    }
}

/* The graph's operand as a kernel sees it before dims are known. */
static void describe_operand(const struct lowering *l, const struct value *v, struct tensor *t) {
    *t = (struct tensor){.dtype = v->info.dtype, .rank = (uint8_t)v->info.rank};
    for (int d = 0; d < v->info.rank; d++) {
        dim x = l->dims[v->id].dims[d];
        t->dims[d] = dim_is_number(x) ? x : -1;
    }
    if (l->kinds[v->id] == PLAN_CONSTANT) {
        t->data = v->info.constant->data;
        t->size = v->info.constant->size;
    }
}

static void make_call(const struct lowering *l, const struct node *n, struct lowered_step *step,
                      struct arena *a) {
    struct tensor *tensors = arena_array(a, struct tensor, (size_t)n->n_in + n->n_out);
    const struct tensor **in = arena_array(a, const struct tensor *, n->n_in + 1);
    struct tensor **out = arena_array(a, struct tensor *, n->n_out + 1);
    for (uint32_t i = 0; i < n->n_in; i++) {
        if (!n->in[i])
            continue;
        describe_operand(l, n->in[i], &tensors[i]);
        in[i] = &tensors[i];
    }
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (!n->out[i] || !l->is_needed[n->out[i]->id])
            continue;
        describe_operand(l, n->out[i], &tensors[n->n_in + i]);
        out[i] = &tensors[n->n_in + i];
    }
    step->node = n;
    step->operands = tensors;
    step->call = (struct kernel_call){.op = n->op,
                                      .opset = n->opset,
                                      .attrs = &n->attrs,
                                      .in = in,
                                      .out = out,
                                      .n_in = n->n_in,
                                      .n_out = n->n_out};
}

static bool needs_step(const struct lowering *l, const struct node *n) {
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] && l->is_needed[n->out[i]->id] && l->kinds[n->out[i]->id] != PLAN_ALIAS)
            return true;
    return false;
}

static status choose_kernels(struct lowering *l, isa level, struct error *err) {
    struct graph *g = l->graph;
    struct error first;
    uint32_t n_missing = 0;
    GRAPH_NODES(n, g) {
        if (!needs_step(l, n))
            continue;
        struct lowered_step *s = &l->steps[l->n_steps++];
        make_call(l, n, s, l->arena);
        s->call.kernel = kernel_choose(&s->call, level);
        if (s->call.kernel) {
            if ((uint32_t)s->call.kernel->isa > l->isa)
                l->isa = s->call.kernel->isa;
            continue;
        }
        if (n_missing++ == 0)
            (void)error_set(&first, STATUS_UNIMPLEMENTED, "no kernel for %s",
                            node_describe(g, l->arena, n).p);
    }
    if (n_missing)
        return error_set(err, STATUS_UNIMPLEMENTED, "%.400s%s", first.text,
                         n_missing > 1 ? " (and for others)" : "");
    return STATUS_OK;
}

/* Numbers for the values that the plan holds: inputs first, then in order of execution. */
static uint32_t add_value(struct lowering *l, struct plan_value v) {
    l->values[l->n_values] = v;
    return l->n_values++;
}

static struct plan_value value_record(const struct lowering *l, const struct value *v) {
    struct plan_value r = {.name = v->name,
                           .kind = l->kinds[v->id],
                           .dtype = (uint8_t)v->info.dtype,
                           .rank = (uint8_t)v->info.rank};
    for (int d = 0; d < v->info.rank; d++)
        r.dims[d] = l->dims[v->id].dims[d];
    return r;
}

/* The plan's number of a value that is no packed constant. */
static status number_of(struct lowering *l, const struct value *v, uint32_t *out,
                        struct error *err) {
    if (l->numbers[v->id] != PLAN_NONE) {
        *out = l->numbers[v->id];
        return STATUS_OK;
    }
    struct plan_value r = value_record(l, v);
    if (r.kind == PLAN_ALIAS)
        TRY(number_of(l, l->roots[v->id], &r.of, err));
    if (r.kind == PLAN_CONSTANT)
        TRY(weights_add(l, v->info.constant, &r, err));
    *out = l->numbers[v->id] = add_value(l, r);
    return STATUS_OK;
}

static status add_operand(struct lowering *l, const struct lowered_step *s, uint32_t k,
                          uint32_t *out, struct error *err) {
    const struct value *v = s->node->in[k];
    *out = PLAN_NONE;
    if (!v)
        return STATUS_OK;
    const struct kernel *kernel = s->call.kernel;
    size_t size = l->kinds[v->id] == PLAN_CONSTANT && kernel->packed_size
                      ? kernel->packed_size(&s->call, k)
                      : 0;
    if (size == 0)
        return number_of(l, v, out, err);
    struct plan_value r = value_record(l, v);
    r.is_packed = true;
    TRY(weights_pack(l, s, k, size, &r, err));
    *out = add_value(l, r);
    return STATUS_OK;
}

static status add_steps(struct lowering *l, struct plan_step *steps, struct error *err) {
    for (uint32_t i = 0; i < l->n_steps; i++) {
        const struct lowered_step *s = &l->steps[i];
        const struct node *n = s->node;
        uint32_t *in = arena_array(l->arena, uint32_t, n->n_in + 1);
        uint32_t *out = arena_array(l->arena, uint32_t, n->n_out + 1);
        for (uint32_t k = 0; k < n->n_in; k++)
            TRY(add_operand(l, s, k, &in[k], err));
        for (uint32_t k = 0; k < n->n_out; k++) {
            out[k] = PLAN_NONE;
            if (s->call.out[k])
                TRY(number_of(l, n->out[k], &out[k], err));
        }
        steps[i] = (struct plan_step){.op = str_from_c(op_get(n->op)->name),
                                      .kernel = str_from_c(s->call.kernel->name),
                                      .origin = n->name,
                                      .opset = n->opset,
                                      .attrs = n->attrs,
                                      .in = in,
                                      .n_in = n->n_in,
                                      .out = out,
                                      .n_out = n->n_out};
        discard_after(l, i);
    }
    return STATUS_OK;
}

static size_t count_operands(const struct graph *g) {
    size_t n = 0;
    GRAPH_NODES(node, g)
    n += node->n_in;
    return n;
}

static void lowering_done(struct lowering *l) {
    buffer_done(&l->aligned);
    map_done(&l->constant_uses);
}

status lower_graph(struct plan *out, struct arena *a, struct graph *g,
                   const struct lower_options *options, struct error *err) {
    CLEANUP(lowering_done)
    struct lowering l = {.graph = g, .arena = a, .discards_constants = options->discards_constants};
    uint32_t n = g->n_values;
    l.kinds = arena_array(a, uint8_t, n);
    l.dims = arena_array(a, struct lowered_dims, n);
    l.roots = arena_array(a, const struct value *, n);
    l.is_needed = arena_array(a, bool, n);
    l.numbers = arena_array(a, uint32_t, n);
    memset(l.numbers, 0xff, n * sizeof *l.numbers);
    l.values = arena_array(a, struct plan_value, n + count_operands(g)); /* constants per operand */
    l.steps = arena_array(a, struct lowered_step, g->n_nodes);
    dims_find_symbols(&l);
    TRY(classify(&l, err));
    mark_needed(&l);
    TRY(choose_kernels(&l, options->isa, err));
    TRY(weights_begin(&l, err));
    discard_begin(&l);

    uint32_t *inputs = arena_array(a, uint32_t, g->n_inputs + 1);
    struct plan_output *outputs = arena_array(a, struct plan_output, g->n_outputs + 1);
    struct plan_step *steps = arena_array(a, struct plan_step, l.n_steps + 1);
    for (uint32_t i = 0; i < g->n_inputs; i++)
        TRY(number_of(&l, g->inputs[i], &inputs[i], err));
    TRY(add_steps(&l, steps, err));
    for (uint32_t i = 0; i < g->n_outputs; i++) {
        outputs[i].name = g->outputs[i].name;
        TRY(number_of(&l, g->outputs[i].value, &outputs[i].value, err));
    }
    *out = (struct plan){.isa = l.isa,
                         .meta = options->meta,
                         .values = l.values,
                         .n_values = l.n_values,
                         .steps = steps,
                         .n_steps = l.n_steps,
                         .inputs = inputs,
                         .n_inputs = g->n_inputs,
                         .outputs = outputs,
                         .n_outputs = g->n_outputs,
                         .weights = l.weights,
                         .weights_size = l.weights_size};
    dims_renumber(&l, out);
    return STATUS_OK;
}
