/* api.c - the C API of include/culmen/plan.h on the engine. */
#include <culmen/plan.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "plan/plan.h"

_Static_assert((int)CULMEN_RANK_MAX == (int)TENSOR_RANK_MAX, "");
_Static_assert((int)CULMEN_DATA_LOSS == (int)STATUS_DATA_LOSS, "");
_Static_assert(sizeof(struct culmen_error) == sizeof(struct error), "");

struct culmen_plan {
    struct engine *engine;
    struct arena arena;
    struct culmen_io *inputs, *outputs;
    size_t n_inputs, n_outputs;
    const char *metadata;
};

struct culmen_session {
    struct session *session;
    struct engine *engine; /* the session's reference keeps it */
};

static culmen_status answer(status code, const struct error *from, struct culmen_error *to) {
    if (code != STATUS_OK && to) {
        to->code = (culmen_status)code;
        memcpy(to->text, from->text, sizeof to->text);
    }
    return (culmen_status)code;
}

static const char *c_string(struct arena *a, str s) {
    return str_copy(a, s).p;
}

static struct culmen_io *describe(struct arena *a, const struct engine_io *io, size_t n) {
    struct culmen_io *out = arena_array(a, struct culmen_io, n + 1);
    for (size_t i = 0; i < n; i++) {
        out[i].name = c_string(a, io[i].name);
        out[i].dtype = (culmen_dtype)dtype_onnx(io[i].dtype);
        out[i].rank = io[i].rank;
        for (size_t d = 0; d < io[i].rank; d++)
            out[i].dims[d] = (struct culmen_dim){.size = io[i].dims[d],
                                                 .min = io[i].min[d],
                                                 .max = io[i].max[d],
                                                 .symbol = c_string(a, io[i].symbols[d])};
    }
    return out;
}

static status plan_new(struct culmen_plan **out, struct engine *e, struct error *err) {
    struct culmen_plan *p = calloc(1, sizeof *p);
    if (!p) {
        engine_unref(e);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    }
    p->engine = e;
    const struct engine_io *io = engine_inputs(e, &p->n_inputs);
    p->inputs = describe(&p->arena, io, p->n_inputs);
    io = engine_outputs(e, &p->n_outputs);
    p->outputs = describe(&p->arena, io, p->n_outputs);
    p->metadata = c_string(&p->arena, engine_plan(e)->meta);
    *out = p;
    return STATUS_OK;
}

culmen_status culmen_plan_load(struct culmen_plan **out, const char *path,
                               struct culmen_error *err) {
    struct error why;
    struct engine *e;
    status code = engine_open(&e, path, &why);
    if (code == STATUS_OK)
        code = plan_new(out, e, &why);
    return answer(code, &why, err);
}

culmen_status culmen_plan_load_memory(struct culmen_plan **out, const void *bytes, size_t size,
                                      struct culmen_error *err) {
    struct error why;
    struct engine *e;
    status code = engine_open_bytes(&e, bytes, size, &why);
    if (code == STATUS_OK)
        code = plan_new(out, e, &why);
    return answer(code, &why, err);
}

void culmen_plan_free(struct culmen_plan *plan) {
    if (!plan)
        return;
    engine_unref(plan->engine);
    arena_release(&plan->arena);
    free(plan);
}

size_t culmen_plan_n_inputs(const struct culmen_plan *plan) {
    return plan->n_inputs;
}

size_t culmen_plan_n_outputs(const struct culmen_plan *plan) {
    return plan->n_outputs;
}

const struct culmen_io *culmen_plan_input(const struct culmen_plan *plan, size_t i) {
    return i < plan->n_inputs ? &plan->inputs[i] : NULL;
}

const struct culmen_io *culmen_plan_output(const struct culmen_plan *plan, size_t i) {
    return i < plan->n_outputs ? &plan->outputs[i] : NULL;
}

ptrdiff_t culmen_plan_find_input(const struct culmen_plan *plan, const char *name) {
    return engine_find_input(plan->engine, str_from_c(name));
}

ptrdiff_t culmen_plan_find_output(const struct culmen_plan *plan, const char *name) {
    return engine_find_output(plan->engine, str_from_c(name));
}

const char *culmen_plan_metadata(const struct culmen_plan *plan) {
    return plan->metadata;
}

culmen_status culmen_session_new(struct culmen_session **out, const struct culmen_plan *plan,
                                 const struct culmen_session_options *options,
                                 struct culmen_error *err) {
    struct error why;
    const struct session_options with = {.n_threads = options ? options->n_threads : 0,
                                         .memory_max = options ? options->memory_max : 0,
                                         .name = "culmen"};
    struct culmen_session *s = calloc(1, sizeof *s);
    if (!s)
        return answer(error_set(&why, STATUS_RESOURCE_EXHAUSTED, "no memory"), &why, err);
    s->engine = plan->engine;
    status code = session_new(&s->session, plan->engine, &with, &why);
    if (code != STATUS_OK)
        free(s);
    else
        *out = s;
    return answer(code, &why, err);
}

void culmen_session_free(struct culmen_session *session) {
    if (!session)
        return;
    session_free(session->session);
    free(session);
}

culmen_status culmen_bind_input(struct culmen_session *session, size_t i, const void *data,
                                const int64_t *dims, int rank, struct culmen_error *err) {
    struct error why;
    size_t n;
    const struct engine_io *io = engine_inputs(session->engine, &n);
    if (i >= n || rank < 0 || rank > TENSOR_RANK_MAX)
        return answer(error_set(&why, STATUS_INVALID_ARGUMENT,
                                "input %zu of %d dims: the plan has %zu inputs of at most %d dims",
                                i, rank, n, TENSOR_RANK_MAX),
                      &why, err);
    struct tensor t = {
        .dtype = io[i].dtype, .rank = (uint8_t)rank, .data = (void *)(uintptr_t)data};
    if (rank && !dims)
        return answer(error_set(&why, STATUS_INVALID_ARGUMENT, "input %zu: dims is NULL", i), &why,
                      err);
    if (rank)
        memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    if (!tensor_size(t.dtype, t.dims, t.rank, &t.size))
        return answer(error_set(&why, STATUS_INVALID_ARGUMENT,
                                "input \"%.*s\": dims without a size",
                                STR_ARG(str_slice(io[i].name, 0, 100))),
                      &why, err);
    if (!data && t.size)
        return answer(error_set(&why, STATUS_INVALID_ARGUMENT, "input %zu: data is NULL", i), &why,
                      err);
    return answer(session_set_input(session->session, i, &t, &why), &why, err);
}

culmen_status culmen_bind_output(struct culmen_session *session, size_t i, void *data, size_t size,
                                 struct culmen_error *err) {
    struct error why;
    return answer(session_set_output(session->session, i, data, size, &why), &why, err);
}

culmen_status culmen_run(struct culmen_session *session, struct culmen_error *err) {
    struct error why;
    return answer(session_run(session->session, &why), &why, err);
}

culmen_status culmen_get_output(struct culmen_session *session, size_t i, struct culmen_tensor *out,
                                struct culmen_error *err) {
    struct error why;
    status code = session_bind(session->session, &why);
    if (code != STATUS_OK)
        return answer(code, &why, err);
    const struct tensor *t = session_output(session->session, i);
    if (!t)
        return answer(error_set(&why, STATUS_INVALID_ARGUMENT, "the plan has no output %zu", i),
                      &why, err);
    *out = (struct culmen_tensor){.dtype = (culmen_dtype)dtype_onnx(t->dtype),
                                  .rank = t->rank,
                                  .data = t->data,
                                  .size = t->size};
    for (size_t d = 0; d < t->rank; d++)
        out->dims[d] = t->dims[d];
    return CULMEN_OK;
}

const char *culmen_status_name(culmen_status code) {
    return status_name((status)code);
}

const char *culmen_dtype_name(culmen_dtype type) {
    return dtype_name(dtype_from_onnx(type));
}

size_t culmen_dtype_size(culmen_dtype type) {
    return dtype_size(dtype_from_onnx(type));
}

const char *culmen_version(void) {
    return CULMEN_VERSION;
}
