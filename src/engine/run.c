/* run.c - the steps of a plan, walked by all threads of the session's team at once. */
#include <string.h>

#include "base/clock.h"
#include "engine/engine_internal.h"

/* Elements that kernels read must be aligned; a caller's bytes may not be. */
static bool is_aligned(const void *p, dtype t) {
    size_t size = dtype_size(t);
    return size == 0 || (uintptr_t)p % size == 0;
}

static status place_input(struct session *s, uint32_t i, struct error *err) {
    struct session_input *input = &s->inputs[i];
    struct tensor *t = &s->tensors[s->engine->plan.inputs[i]];
    if (input->tensor.dtype == DTYPE_NONE)
        return STATUS_OK;
    t->data = input->tensor.data;
    t->size = input->tensor.size;
    if (is_aligned(t->data, t->dtype))
        return STATUS_OK;
    TRY(region_reserve(&input->space, t->size, err));
    s->engine->device->copy(s->engine->device, input->space.p, t->data, t->size);
    t->data = input->space.p;
    return STATUS_OK;
}

/* Does output i go straight to the caller's memory? */
static bool lands_directly(const struct session *s, uint32_t i) {
    const struct session_output *o = &s->outputs[i];
    return o->user && s->engine->is_direct[i] && is_aligned(o->user, o->tensor.dtype);
}

static status check_output_sizes(const struct session *s, struct error *err) {
    const struct plan *p = &s->engine->plan;
    for (uint32_t i = 0; i < p->n_outputs; i++) {
        const struct session_output *o = &s->outputs[i];
        if (o->user && p->values[p->outputs[i].value].kind != PLAN_DYNAMIC &&
            o->user_size < o->tensor.size)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "output \"%.*s\": wanted memory for %zu bytes, found %zu",
                             STR_ARG(str_slice(p->outputs[i].name, 0, 100)), o->tensor.size,
                             o->user_size);
    }
    return STATUS_OK;
}

/* Where every value is in this run. */
static status place_operands(struct session *s, struct error *err) {
    const struct engine *e = s->engine;
    const struct plan *p = &e->plan;
    for (uint32_t i = 0; i < p->n_inputs; i++)
        TRY(place_input(s, i, err));
    for (uint32_t v = 0; v < p->n_values; v++)
        if (p->values[v].kind == PLAN_PLANNED && !s->current->values[v].is_sliced)
            s->tensors[v].data = (char *)s->memory.p + s->current->values[v].offset;
    for (uint32_t i = 0; i < p->n_outputs; i++) {
        if (!lands_directly(s, i))
            continue;
        uint32_t root = plan_root(p, p->outputs[i].value);
        for (uint32_t v = 0; v < p->n_values; v++)
            if (p->values[v].kind == PLAN_PLANNED && e->shares[v] == e->shares[root])
                s->tensors[v].data = s->outputs[i].user;
    }
    for (uint32_t v = 0; v < p->n_values; v++) {
        if (p->values[v].kind != PLAN_ALIAS)
            continue;
        s->tensors[v].data = s->tensors[p->values[v].of].data;
        if (p->values[v].dtype == DTYPE_BYTES)
            s->tensors[v].size = s->tensors[p->values[v].of].size;
    }
    return STATUS_OK;
}

/* The dims of a step with data-dependent operands, and memory for its outputs. Thread 0. */
static status prepare_dynamic(struct session *s, uint32_t i, struct error *err) {
    const struct engine *e = s->engine;
    const struct plan *p = &e->plan;
    const struct plan_step *step = &p->steps[i];
    arena_reset(&s->shapes);
    for (uint32_t k = 0; k < step->n_in; k++) {
        uint32_t v = step->in[k];
        if (v != PLAN_NONE)
            op_value_of(&s->operand_values[v], &s->tensors[v],
                        !p->values[plan_root(p, v)].is_packed);
    }
    TRY(step_infer(s, i, err));
    for (uint32_t k = 0; k < step->n_out; k++) {
        uint32_t v = step->out[k];
        if (v == PLAN_NONE || p->values[v].kind != PLAN_DYNAMIC)
            continue;
        struct tensor *t = &s->tensors[v];
        if (!tensor_size(t->dtype, t->dims, t->rank, &t->size))
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "output %u is too large", k);
        TRY(pool_alloc(&s->dynamic, &t->data, t->size, err));
    }
    struct kernel_call *call = &s->calls[i];
    call->scratch = NULL;
    call->scratch_size = 0;
    if (!call->kernel->scratch)
        return STATUS_OK;
    call->scratch_size = call->kernel->scratch(call, team_n_threads(s->team));
    return pool_alloc(&s->dynamic, &call->scratch, call->scratch_size, err);
}

/* The kernel has written the real dims of outputs whose dims were bounds. Thread 0. */
static status finish_dynamic(struct session *s, uint32_t i, struct error *err) {
    const struct plan_step *step = &s->engine->plan.steps[i];
    for (uint32_t k = 0; k < step->n_out; k++) {
        uint32_t v = step->out[k];
        if (v == PLAN_NONE || !s->operand_values[v].is_bound)
            continue;
        struct tensor *t = &s->tensors[v];
        for (size_t d = 0; d < t->rank; d++)
            if (t->dims[d] < 0 || t->dims[d] > s->operand_values[v].dims[d])
                return error_set(err, STATUS_INTERNAL, "output %u, dim %zu is over its bound", k,
                                 d);
        if (!tensor_size(t->dtype, t->dims, t->rank, &t->size))
            return error_set(err, STATUS_INTERNAL, "output %u has no size", k);
    }
    return STATUS_OK;
}

void session_fail(struct session *s, unsigned thread, uint32_t step) {
    if (!atomic_exchange(&s->failed, true)) {
        s->failed_thread = thread;
        s->failed_step = step;
    }
    team_stop(s->team);
}

/* One thread's walk. A barrier stands before and after every step that several threads share;
 * serial steps are thread 0's alone, so in a row they need none between them. */
static void run_steps(void *arg, unsigned thread) {
    struct session *s = arg;
    const struct engine *e = s->engine;
    const struct kernel_team team = {.thread = thread,
                                     .n_threads = team_n_threads(s->team),
                                     .barrier = team_barrier,
                                     .barrier_arg = s->team};
    bool has_failed = false; /* this thread, since the last barrier */
    int64_t *times = thread == 0 ? s->step_ns : NULL;
    int64_t before = times ? clock_now(clock_system()) : 0;
    bool is_behind = false; /* thread 0 has done something that the others have not waited for */
    const struct span *span = s->current->spans, *spans_end = span + s->current->n_spans;
    for (uint32_t i = 0; i < e->plan.n_steps; i++) {
        if (span < spans_end && span->first == i) {
            if (!depth_run(s, span, &team, times))
                return;
            i = span++->end - 1;
            is_behind = false;
            before = times ? clock_now(clock_system()) : 0;
            continue;
        }
        const struct engine_step *step = &e->steps[i];
        struct error *err = &s->errors[thread];
        bool is_alone = step->kernel->is_serial;
        if (is_alone || step->is_dynamic)
            is_behind = true;
        if (thread == 0 && step->is_dynamic && !has_failed)
            has_failed = prepare_dynamic(s, i, err) != STATUS_OK;
        if (is_alone) {
            if (thread == 0 && !has_failed)
                has_failed = e->device->launch(e->device, &s->calls[i], &team, err) != STATUS_OK;
        } else {
            if (has_failed && !atomic_load(&s->failed))
                session_fail(s, thread, i);
            if (is_behind)
                team_barrier(s->team);
            if (team_is_stopped(s->team))
                return;
            if (e->device->launch(e->device, &s->calls[i], &team, err) != STATUS_OK)
                session_fail(s, thread, i);
            team_barrier(s->team);
            if (team_is_stopped(s->team))
                return;
            is_behind = step->is_dynamic;
        }
        if (thread == 0 && step->is_dynamic && !has_failed)
            has_failed = finish_dynamic(s, i, err) != STATUS_OK;
        if (has_failed && !atomic_load(&s->failed))
            session_fail(s, thread, i);
        if (times) {
            int64_t now = clock_now(clock_system());
            times[i] += now - before;
            before = now;
        }
    }
}

static status place_output(struct session *s, uint32_t i, struct error *err) {
    const struct plan *p = &s->engine->plan;
    const struct device *device = s->engine->device;
    struct session_output *o = &s->outputs[i];
    uint32_t root = plan_root(p, p->outputs[i].value);
    o->tensor = s->tensors[p->outputs[i].value];
    if (!o->user) {
        /* An input's bytes are the caller's and may go; all others stay until the next run. */
        if (p->values[root].kind != PLAN_INPUT)
            return STATUS_OK;
        TRY(region_reserve(&o->space, o->tensor.size ? o->tensor.size : 1, err));
        device->copy(device, o->space.p, o->tensor.data, o->tensor.size);
        o->tensor.data = o->space.p;
        return STATUS_OK;
    }
    if (o->user_size < o->tensor.size)
        return error_set(
            err, STATUS_INVALID_ARGUMENT, "output \"%.*s\": wanted memory for %zu bytes, found %zu",
            STR_ARG(str_slice(p->outputs[i].name, 0, 100)), o->tensor.size, o->user_size);
    if (o->tensor.data != o->user)
        device->copy(device, o->user, o->tensor.data, o->tensor.size);
    o->tensor.data = o->user;
    return STATUS_OK;
}

status session_run(struct session *s, struct error *err) {
    TRY(engine_check_file(s->engine, err));
    TRY(session_bind(s, err));
    TRY(check_output_sizes(s, err));
    TRY(place_operands(s, err));
    pool_reset(&s->dynamic);
    atomic_store(&s->failed, false);
    team_run(s->team, run_steps, s);
    TRY(s->engine->device->sync(s->engine->device, err));
    TRY(engine_check_file(s->engine, err));
    if (atomic_load(&s->failed)) {
        const struct error *e = &s->errors[s->failed_thread];
        if (err)
            *err = *e;
        return step_error(s->engine, s->failed_step, e->code, err);
    }
    for (uint32_t i = 0; i < s->engine->plan.n_outputs; i++)
        TRY(place_output(s, i, err));
    return STATUS_OK;
}
