/* open.c - opening a plan: its kernels are found, asked whether they accept their steps,
 * prepared. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_internal.h"
#include "plan/read.h"

status step_error(const struct engine *e, uint32_t step, status code, struct error *err) {
    const struct plan_step *s = &e->plan.steps[step];
    return error_wrap(err, code, "step %u (%.*s \"%.*s\")", step, STR_ARG(str_slice(s->op, 0, 40)),
                      STR_ARG(str_slice(s->origin, 0, 120)));
}

status engine_check_file(const struct engine *e, struct error *err) {
    return guard_is_cut(e->guard)
               ? error_set(err, STATUS_DATA_LOSS,
                           "the plan's file was cut while it was in use; load it again (and "
                           "replace plans by mv, not by cp)")
               : STATUS_OK;
}

static status check_isa(const struct engine *e, struct error *err) {
    isa host = isa_host();
    if (e->plan.isa >= ISA_COUNT)
        return error_set(err, STATUS_DATA_LOSS,
                         "damaged plan: section HEADER, offset 16: instruction set level: wanted "
                         "0 to %d, found %u",
                         ISA_COUNT - 1, e->plan.isa);
    if (e->plan.isa > host)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the plan needs a CPU with %s, this one is used up to %s; compile it "
                         "again: culmen compile MODEL.onnx -o MODEL.plan --isa=%s",
                         isa_name((isa)e->plan.isa), isa_name(host), isa_name(host));
    return STATUS_OK;
}

/* The operand as a kernel sees it before dims are known. */
static void describe_value(const struct plan *p, uint32_t v, struct tensor *t) {
    const struct plan_value *value = &p->values[v];
    *t = (struct tensor){.dtype = (dtype)value->dtype, .rank = value->rank};
    for (size_t d = 0; d < value->rank; d++)
        t->dims[d] = dim_is_number(value->dims[d]) ? value->dims[d] : -1;
    if (value->kind == PLAN_CONSTANT) {
        t->data = (void *)(uintptr_t)(p->weights + value->offset);
        t->size = value->size;
    }
}

/* Constants are stored as the kernel wants them: packed to its size, or as they are. */
static status check_packing(const struct plan *p, const struct plan_step *s,
                            const struct kernel_call *c, struct error *err) {
    for (uint32_t k = 0; k < s->n_in; k++) {
        if (s->in[k] == PLAN_NONE || p->values[s->in[k]].kind != PLAN_CONSTANT)
            continue;
        const struct plan_value *v = &p->values[s->in[k]];
        size_t want = c->kernel->packed_size ? c->kernel->packed_size(c, k) : 0;
        if (v->is_packed != (want > 0) || (want > 0 && v->size != want))
            return error_set(err, STATUS_DATA_LOSS,
                             "constant \"%.*s\": wanted %zu packed bytes, found %zu %s bytes",
                             STR_ARG(str_slice(v->name, 0, 80)), want, (size_t)v->size,
                             v->is_packed ? "packed" : "plain");
    }
    return STATUS_OK;
}

static status find_kernel(struct engine *e, uint32_t i, struct error *err) {
    const struct plan_step *s = &e->plan.steps[i];
    struct engine_step *step = &e->steps[i];
    step->id = op_find(STR("culmen"), s->op);
    if (step->id == OP_NONE)
        step->id = op_find(STR(""), s->op);
    step->op = op_get(step->id);
    step->kernel = kernel_find(s->kernel);
    if (!step->op || !step->kernel)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "no kernel \"%.*s\" in this program; compile the model again: culmen "
                         "compile MODEL.onnx -o MODEL.plan",
                         STR_ARG(str_slice(s->kernel, 0, 80)));
    if (step->kernel->op != step->id || (uint32_t)step->kernel->isa > e->plan.isa)
        return error_set(err, STATUS_DATA_LOSS, "kernel \"%s\" does not fit the operator or level",
                         step->kernel->name);
    if (s->n_in > step->op->max_in || s->n_out > step->op->max_out || s->n_out == 0)
        return error_set(err, STATUS_DATA_LOSS,
                         "%u inputs and %u outputs, wanted at most %u and %u", s->n_in, s->n_out,
                         step->op->max_in, step->op->max_out);
    for (uint32_t k = 0; k < step->op->min_in; k++)
        if (k >= s->n_in || s->in[k] == PLAN_NONE)
            return error_set(err, STATUS_DATA_LOSS, "input %u is missing", k);
    return STATUS_OK;
}

/* Asks the shape function with the dims that are numbers, before any kernel sees the attributes:
 * it refuses attributes and dims that make no sense. */
static status check_attributes(const struct kernel_call *c, struct arena *a, struct error *err) {
    struct op_value *values = arena_array(a, struct op_value, c->n_in + 1);
    const struct op_value **in = arena_array(a, const struct op_value *, c->n_in + 1);
    struct op_value *out = arena_array(a, struct op_value, c->n_out);
    for (size_t k = 0; k < c->n_in; k++) {
        if (!c->in[k])
            continue;
        op_value_of(&values[k], c->in[k], false);
        for (int d = 0; d < values[k].rank; d++)
            if (values[k].dims[d] < 0)
                values[k].dims[d] = DIM_UNKNOWN;
        in[k] = &values[k];
    }
    const struct op_call call = {
        .op = op_get(c->op),
        .opset = c->opset,
        .attrs = c->attrs,
        .in = in,
        .out = out,
        .n_in = c->n_in,
        .n_out = c->n_out,
        .arena = a,
    };
    status code = op_infer(&call, err);
    return code == STATUS_OK ? code : error_wrap(err, STATUS_DATA_LOSS, "operands do not fit");
}

static status open_step(struct engine *e, uint32_t i, struct arena *scratch, struct error *err) {
    const struct plan *p = &e->plan;
    const struct plan_step *s = &p->steps[i];
    struct engine_step *step = &e->steps[i];
    TRY(find_kernel(e, i, err));
    size_t n = (size_t)s->n_in + s->n_out;
    struct tensor *tensors = arena_array(scratch, struct tensor, n);
    const struct tensor **in = arena_array(scratch, const struct tensor *, n);
    struct tensor **out = arena_array(scratch, struct tensor *, n);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t v = k < s->n_in ? s->in[k] : s->out[k - s->n_in];
        if (v == PLAN_NONE)
            continue;
        describe_value(p, v, &tensors[k]);
        if (k < s->n_in)
            in[k] = &tensors[k];
        else
            out[k - s->n_in] = &tensors[k];
        step->is_dynamic |= p->values[v].kind == PLAN_DYNAMIC;
    }
    struct kernel_call call = {
        .kernel = step->kernel,
        .op = step->id,
        .opset = s->opset,
        .attrs = &s->attrs,
        .in = in,
        .out = out,
        .n_in = s->n_in,
        .n_out = s->n_out,
    };
    TRY(check_attributes(&call, scratch, err));
    if (step->kernel->accepts && !step->kernel->accepts(&call))
        return error_set(err, STATUS_DATA_LOSS, "kernel \"%s\" does not accept the operands",
                         step->kernel->name);
    TRY(check_packing(p, s, &call, err));
    if (step->kernel->state_size)
        step->state = arena_alloc(&e->arena, step->kernel->state_size, 64);
    if (step->kernel->prepare)
        TRY(step->kernel->prepare(&call, step->state, err));
    return STATUS_OK;
}

static status open_steps(struct engine *e, struct error *err) {
    struct arena scratch CLEANUP(arena_release) = {0};
    e->steps = arena_array(&e->arena, struct engine_step, e->plan.n_steps);
    for (uint32_t i = 0; i < e->plan.n_steps; i++) {
        status code = open_step(e, i, &scratch, err);
        if (code != STATUS_OK)
            return step_error(e, i, code, err);
        arena_reset(&scratch);
        e->n_operands += e->plan.steps[i].n_in + e->plan.steps[i].n_out;
    }
    return STATUS_OK;
}

static void describe_io(struct engine *e, struct engine_io *io, str name, uint32_t v) {
    const struct plan *p = &e->plan;
    const struct plan_value *value = &p->values[v];
    /* The pool is only read. */
    const struct dim_pool pool = {.exprs = (struct dim_expr *)(uintptr_t)p->exprs,
                                  .n_exprs = p->n_exprs,
                                  .symbols = (struct dim_symbol *)(uintptr_t)p->symbols,
                                  .n_symbols = p->n_symbols};
    *io = (struct engine_io){.name = name, .dtype = (dtype)value->dtype, .rank = value->rank};
    for (size_t d = 0; d < value->rank; d++) {
        dim x = value->dims[d];
        if (dim_is_number(x)) {
            io->dims[d] = io->min[d] = io->max[d] = x;
            continue;
        }
        io->dims[d] = -1;
        io->max[d] = dim_is_expr(x) ? dim_upper_bound(&pool, x) : INT64_MAX;
        io->symbols[d] = dim_format(&pool, &e->arena, x);
        if (dim_is_expr(x) && p->exprs[x - DIM_EXPR].op == DIM_SYMBOL)
            io->min[d] = p->symbols[p->exprs[x - DIM_EXPR].a].min;
    }
}

static void mark_unused_inputs(struct engine *e) {
    const struct plan *p = &e->plan;
    bool *is_read = arena_array(&e->arena, bool, p->n_values);
    for (uint32_t i = 0; i < p->n_steps; i++)
        for (uint32_t k = 0; k < p->steps[i].n_in; k++)
            if (p->steps[i].in[k] != PLAN_NONE)
                is_read[plan_root(p, p->steps[i].in[k])] = true;
    for (uint32_t i = 0; i < p->n_outputs; i++)
        is_read[plan_root(p, p->outputs[i].value)] = true;
    for (uint32_t i = 0; i < p->n_inputs; i++)
        e->inputs[i].is_unused = !is_read[p->inputs[i]];
}

static void describe(struct engine *e) {
    const struct plan *p = &e->plan;
    e->inputs = arena_array(&e->arena, struct engine_io, p->n_inputs);
    e->outputs = arena_array(&e->arena, struct engine_io, p->n_outputs);
    e->is_direct = arena_array(&e->arena, bool, p->n_outputs);
    for (uint32_t i = 0; i < p->n_inputs; i++)
        describe_io(e, &e->inputs[i], p->values[p->inputs[i]].name, p->inputs[i]);
    for (uint32_t i = 0; i < p->n_outputs; i++) {
        uint32_t root = plan_root(p, p->outputs[i].value);
        describe_io(e, &e->outputs[i], p->outputs[i].name, p->outputs[i].value);
        e->is_direct[i] = p->values[root].kind == PLAN_PLANNED;
        for (uint32_t k = 0; k < i; k++)
            if (plan_root(p, p->outputs[k].value) == root)
                e->is_direct[i] = false;
    }
    mark_unused_inputs(e);
}

static status engine_load(struct engine **out, struct engine *taken, const void *bytes, size_t size,
                          struct error *err) {
    CLEANUP(engine_unrefp) struct engine *e = taken;
    if ((uintptr_t)bytes % 64)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the bytes of a plan must be 64-byte aligned");
    TRY(plan_read(&e->plan, &e->arena, bytes, size, err));
    TRY(check_isa(e, err));
    TRY(open_steps(e, err));
    e->lifetimes = plan_lifetimes(&e->plan, &e->arena);
    e->shares = plan_shares(&e->plan, e->lifetimes, &e->arena);
    depth_find_spans(e);
    describe(e);
    TRY(engine_check_file(e, err));
    *out = TAKE(e);
    return STATUS_OK;
}

static struct engine *engine_new(struct error *err) {
    struct engine *e = calloc(1, sizeof *e);
    if (!e) {
        (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return NULL;
    }
    atomic_store(&e->n_refs, 1);
    e->device = &device_cpu;
    return e;
}

status engine_open(struct engine **out, const char *path, struct error *err) {
    struct engine *e = engine_new(err);
    if (!e)
        return STATUS_RESOURCE_EXHAUSTED;
    status code = file_map_open(&e->map, path, err);
    if (code != STATUS_OK) {
        engine_unref(e);
        return code;
    }
    if (e->map.size)
        e->guard = guard_add(e->map.p, e->map.size);
    else
        code = error_set(err, STATUS_DATA_LOSS,
                         "damaged plan: section HEADER, offset 0: size of the file: wanted 64 "
                         "bytes or more, found 0");
    if (code != STATUS_OK)
        engine_unref(e);
    else
        code = engine_load(out, e, e->map.p, e->map.size, err);
    return code == STATUS_OK ? code : error_wrap(err, code, "plan \"%s\"", path);
}

status engine_open_bytes(struct engine **out, const void *bytes, size_t size, struct error *err) {
    struct engine *e = engine_new(err);
    return e ? engine_load(out, e, bytes, size, err) : STATUS_RESOURCE_EXHAUSTED;
}

struct engine *engine_ref(struct engine *e) {
    atomic_fetch_add_explicit(&e->n_refs, 1, memory_order_relaxed);
    return e;
}

void engine_unref(struct engine *e) {
    if (!e || atomic_fetch_sub_explicit(&e->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    arena_release(&e->arena);
    guard_remove(e->guard);
    file_map_close(&e->map);
    free(e);
}

const struct engine_io *engine_inputs(const struct engine *e, size_t *n) {
    *n = e->plan.n_inputs;
    return e->inputs;
}

const struct engine_io *engine_outputs(const struct engine *e, size_t *n) {
    *n = e->plan.n_outputs;
    return e->outputs;
}

const struct plan *engine_plan(const struct engine *e) {
    return &e->plan;
}

static ptrdiff_t find(const struct engine_io *io, size_t n, str name) {
    for (size_t i = 0; i < n; i++)
        if (str_eq(io[i].name, name))
            return (ptrdiff_t)i;
    return -1;
}

ptrdiff_t engine_find_input(const struct engine *e, str name) {
    return find(e->inputs, e->plan.n_inputs, name);
}

ptrdiff_t engine_find_output(const struct engine *e, str name) {
    return find(e->outputs, e->plan.n_outputs, name);
}
