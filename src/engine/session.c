#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_internal.h"

static size_t default_memory_max(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages / 4 * 3 * (size_t)page : SIZE_MAX / 4;
}

struct kernel_call *session_make_calls(struct session *s, struct tensor *tensors) {
    const struct engine *e = s->engine;
    const struct plan *p = &e->plan;
    struct arena *a = &s->arena;
    struct kernel_call *calls = arena_array(a, struct kernel_call, p->n_steps);
    const struct tensor **in = arena_array(a, const struct tensor *, e->n_operands);
    struct tensor **out = arena_array(a, struct tensor *, e->n_operands);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *step = &p->steps[i];
        calls[i] = (struct kernel_call){
            .kernel = e->steps[i].kernel,
            .op = e->steps[i].id,
            .opset = step->opset,
            .attrs = &step->attrs,
            .in = in,
            .out = out,
            .n_in = step->n_in,
            .n_out = step->n_out,
            .state = e->steps[i].state,
        };
        for (uint32_t k = 0; k < step->n_in; k++)
            *in++ = step->in[k] == PLAN_NONE ? NULL : &tensors[step->in[k]];
        for (uint32_t k = 0; k < step->n_out; k++)
            *out++ = step->out[k] == PLAN_NONE ? NULL : &tensors[step->out[k]];
    }
    return calls;
}

static void make_tensors(struct session *s, struct arena *a) {
    const struct plan *p = &s->engine->plan;
    s->tensors = arena_array(a, struct tensor, p->n_values);
    s->operand_values = arena_array(a, struct op_value, p->n_values);
    for (uint32_t v = 0; v < p->n_values; v++) {
        const struct plan_value *value = &p->values[v];
        struct tensor *t = &s->tensors[v];
        *t = (struct tensor){
            .dtype = (dtype)value->dtype, .place = s->engine->device->place, .rank = value->rank};
        if (value->kind == PLAN_CONSTANT)
            t->data = (void *)(uintptr_t)(p->weights + value->offset);
    }
    for (uint32_t v = 0; v < p->n_values; v++)
        if (p->values[v].kind == PLAN_ALIAS)
            s->tensors[v].data = s->tensors[p->values[v].of].data;
}

status session_new(struct session **out, struct engine *e, const struct session_options *options,
                   struct error *err) {
    const struct session_options none = {0};
    if (!options)
        options = &none;
    unsigned n_threads = options->n_threads ? options->n_threads : 1;
    if (n_threads > SESSION_THREADS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "wanted at most %d threads, found %u",
                         SESSION_THREADS_MAX, n_threads);
    CLEANUP(session_freep) struct session *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    const struct plan *p = &e->plan;
    s->engine = engine_ref(e);
    s->memory_max = options->memory_max ? options->memory_max : default_memory_max();
    s->memory.device = e->device;
    s->dynamic.device = e->device;
    s->dynamic.size_max = s->memory_max;
    struct arena *a = &s->arena;
    s->inputs = arena_array(a, struct session_input, p->n_inputs);
    s->outputs = arena_array(a, struct session_output, p->n_outputs);
    for (uint32_t i = 0; i < p->n_inputs; i++)
        s->inputs[i].space.device = e->device;
    for (uint32_t i = 0; i < p->n_outputs; i++)
        s->outputs[i].space.device = e->device;
    make_tensors(s, a);
    s->calls = session_make_calls(s, s->tensors);
    s->cache_size = depth_cache_size();
    s->symbols = arena_array(a, int64_t, p->n_symbols);
    for (size_t i = 0; i < SESSION_BINDINGS_MAX; i++) {
        s->bindings[i].symbols = arena_array(a, int64_t, p->n_symbols);
        s->bindings[i].values = arena_array(a, struct bound_value, p->n_values);
        s->bindings[i].spans = arena_array(a, struct span, e->n_spans);
    }
    if (options->keeps_times)
        s->step_ns = arena_array(a, int64_t, p->n_steps + 1);
    s->errors = arena_array(a, struct error, n_threads);
    TRY(team_new(&s->team, n_threads, options->name ? options->name : "session", err));
    *out = TAKE(s);
    return STATUS_OK;
}

void session_free(struct session *s) {
    if (!s)
        return;
    team_free(s->team);
    for (uint32_t i = 0; s->inputs && i < s->engine->plan.n_inputs; i++)
        region_done(&s->inputs[i].space);
    for (uint32_t i = 0; s->outputs && i < s->engine->plan.n_outputs; i++)
        region_done(&s->outputs[i].space);
    region_done(&s->memory);
    pool_done(&s->dynamic);
    arena_release(&s->shapes);
    arena_release(&s->arena);
    engine_unref(s->engine);
    free(s);
}

/* dtype, rank, fixed dims and ranges; that symbols agree is seen when all inputs are there. */
static status check_input(const struct engine_io *io, dtype t, const int64_t *dims, size_t rank,
                          struct error *err) {
    int n = (int)(io->name.n < 100 ? io->name.n : 100);
    if (t != io->dtype)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input \"%.*s\": wanted %s, found %s", n,
                         io->name.p, dtype_name(io->dtype), dtype_name(t));
    if (rank != io->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input \"%.*s\": wanted %d dims, found %zu",
                         n, io->name.p, io->rank, rank);
    for (size_t d = 0; d < rank; d++) {
        int64_t min = io->min[d], max = io->max[d];
        if (dims[d] >= min && dims[d] <= max)
            continue;
        if (min == max)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "input \"%.*s\", dim %zu: wanted %" PRId64 ", found %" PRId64, n,
                             io->name.p, d, min, dims[d]);
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "input \"%.*s\", dim %zu (%.*s): wanted %" PRId64 " to %" PRId64
                         ", found %" PRId64,
                         n, io->name.p, d, STR_ARG(io->symbols[d]), min, max, dims[d]);
    }
    return STATUS_OK;
}

static status check_index(const char *what, size_t i, size_t n, struct error *err) {
    if (i < n)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s %zu: the plan has %zu", what, i, n);
}

static bool same_dims(const struct tensor *t, const int64_t *dims, size_t rank) {
    return t->dtype != DTYPE_NONE && t->rank == rank &&
           memcmp(t->dims, dims, rank * sizeof *dims) == 0;
}

status session_set_input(struct session *s, size_t i, const struct tensor *t, struct error *err) {
    const struct engine *e = s->engine;
    TRY(check_index("input", i, e->plan.n_inputs, err));
    const struct engine_io *io = &e->inputs[i];
    TRY(check_input(io, t->dtype, t->dims, t->rank, err));
    size_t size;
    if (t->dtype != DTYPE_BYTES &&
        (!tensor_size(t->dtype, t->dims, t->rank, &size) || size != t->size))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "input \"%.*s\": its dims do not need the %zu bytes found",
                         STR_ARG(str_slice(io->name, 0, 100)), t->size);
    if (!same_dims(&s->inputs[i].tensor, t->dims, t->rank))
        s->current = NULL;
    s->inputs[i].tensor = *t;
    return STATUS_OK;
}

status session_input_space(struct session *s, size_t i, const int64_t *dims, size_t rank,
                           void **data, size_t *size, struct error *err) {
    const struct engine *e = s->engine;
    TRY(check_index("input", i, e->plan.n_inputs, err));
    struct session_input *input = &s->inputs[i];
    dtype type = e->inputs[i].dtype;
    TRY(check_input(&e->inputs[i], type, dims, rank, err));
    size_t n;
    if (!tensor_size(type, dims, rank, &n))
        return error_set(err, STATUS_INVALID_ARGUMENT, "input \"%.*s\" has no fixed size",
                         STR_ARG(str_slice(e->inputs[i].name, 0, 100)));
    if (n > s->memory_max)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "input \"%.*s\" needs %zu bytes, wanted at most %zu (memory_max)",
                         STR_ARG(str_slice(e->inputs[i].name, 0, 100)), n, s->memory_max);
    TRY(region_reserve(&input->space, n ? n : 1, err));
    if (!same_dims(&input->tensor, dims, rank))
        s->current = NULL;
    input->tensor =
        (struct tensor){.dtype = type, .rank = (uint8_t)rank, .data = input->space.p, .size = n};
    memcpy(input->tensor.dims, dims, rank * sizeof *dims);
    *data = input->space.p;
    *size = n;
    return STATUS_OK;
}

/* Gives symbols their numbers from the whole dims that carry them; they must agree. */
static status bind_symbols(struct session *s, struct error *err) {
    const struct plan *p = &s->engine->plan;
    for (uint32_t i = 0; i < p->n_symbols; i++)
        s->symbols[i] = -1;
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        const struct tensor *t = &s->inputs[i].tensor;
        const struct engine_io *io = &s->engine->inputs[i];
        if (t->dtype == DTYPE_NONE && !io->is_unused)
            return error_set(err, STATUS_INVALID_ARGUMENT, "input \"%.*s\" is not set",
                             STR_ARG(str_slice(io->name, 0, 100)));
        for (size_t d = 0; t->dtype != DTYPE_NONE && d < t->rank; d++) {
            dim x = p->values[p->inputs[i]].dims[d];
            if (!dim_is_expr(x) || p->exprs[x - DIM_EXPR].op != DIM_SYMBOL)
                continue;
            int64_t *symbol = &s->symbols[p->exprs[x - DIM_EXPR].a];
            if (*symbol >= 0 && *symbol != t->dims[d])
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "input \"%.*s\", dim %zu (%.*s): wanted %" PRId64
                                 ", as in another input, found %" PRId64,
                                 STR_ARG(str_slice(io->name, 0, 100)), d, STR_ARG(io->symbols[d]),
                                 *symbol, t->dims[d]);
            *symbol = t->dims[d];
        }
    }
    for (uint32_t i = 0; i < p->n_symbols; i++)
        if (s->symbols[i] < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "no input that is set tells the size of dim \"%.*s\"",
                             STR_ARG(p->symbols[i].name));
    return STATUS_OK;
}

/* Dims of inputs that are expressions over symbols. */
static status check_expressions(struct session *s, struct error *err) {
    const struct plan *p = &s->engine->plan;
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        const struct tensor *t = &s->inputs[i].tensor;
        const struct engine_io *io = &s->engine->inputs[i];
        for (size_t d = 0; t->dtype != DTYPE_NONE && d < t->rank; d++) {
            dim x = p->values[p->inputs[i]].dims[d];
            int64_t want = dim_is_expr(x) ? dim_eval(p->exprs, p->n_exprs, x, s->symbols) : x;
            if (want != t->dims[d])
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "input \"%.*s\", dim %zu (%.*s): wanted %" PRId64
                                 ", found %" PRId64,
                                 STR_ARG(str_slice(io->name, 0, 100)), d, STR_ARG(io->symbols[d]),
                                 want, t->dims[d]);
        }
    }
    return STATUS_OK;
}

static struct binding *find_binding(struct session *s, bool *is_new) {
    struct binding *oldest = &s->bindings[0];
    size_t key_size = s->engine->plan.n_symbols * sizeof *s->symbols;
    for (size_t i = 0; i < SESSION_BINDINGS_MAX; i++) {
        struct binding *b = &s->bindings[i];
        if (b->last_use && memcmp(b->symbols, s->symbols, key_size) == 0) {
            *is_new = false;
            return b;
        }
        if (b->last_use < oldest->last_use)
            oldest = b;
    }
    *is_new = true;
    return oldest;
}

static void describe_outputs(struct session *s) {
    const struct plan *p = &s->engine->plan;
    for (uint32_t i = 0; i < p->n_outputs; i++) {
        struct tensor *t = &s->outputs[i].tensor;
        *t = s->tensors[p->outputs[i].value];
        t->data = NULL;
    }
}

status session_bind(struct session *s, struct error *err) {
    if (s->current)
        return STATUS_OK;
    TRY(bind_symbols(s, err));
    TRY(check_expressions(s, err));
    bool is_new;
    struct binding *b = find_binding(s, &is_new);
    if (is_new)
        TRY(binding_make(s, b, err));
    else
        binding_apply_dims(s, b);
    TRY(region_reserve(&s->memory, b->arena_size, err));
    for (uint32_t i = 0; i < s->engine->plan.n_steps; i++) {
        s->calls[i].scratch = (char *)s->memory.p + b->scratch_offset;
        s->calls[i].scratch_size = b->scratch_size;
    }
    b->last_use = ++s->n_binds;
    s->current = b;
    describe_outputs(s);
    return STATUS_OK;
}

status session_set_output(struct session *s, size_t i, void *data, size_t size, struct error *err) {
    TRY(check_index("output", i, s->engine->plan.n_outputs, err));
    s->outputs[i].user = data;
    s->outputs[i].user_size = data ? size : 0;
    return STATUS_OK;
}

const struct tensor *session_output(const struct session *s, size_t i) {
    return i < s->engine->plan.n_outputs ? &s->outputs[i].tensor : NULL;
}

size_t session_memory(const struct session *s) {
    return s->memory.size + s->dynamic.size;
}

const int64_t *session_step_times(const struct session *s) {
    return s->step_ns;
}
