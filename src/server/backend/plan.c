#include "server/backend/plan.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "server/backend/block.h"
#include "server/backend/chunk.h"
#include "server/backend/request.h"
#include "server/backend/solo.h"

struct backend_model {
    struct engine *engine;
    unsigned n_threads; /* of an instance's team */
};

struct backend_instance {
    const struct model_spec *spec;
    struct backend_model *model;
    struct session *session;
    unsigned n_threads; /* of `session` */
    struct solo_policy solo;
    int64_t cpu_ns; /* of the last run, if solo wants it */
    struct chunk_policy chunks;
    struct block_pool *pool;
    size_t *input_index;      /* [spec->n_inputs]: the engine's */
    size_t *output_index;     /* [spec->n_outputs] */
    struct tensor *responses; /* [spec->n_outputs], scratch */
};

static void model_close(struct backend_model *m) {
    if (!m)
        return;
    engine_unref(m->engine);
    free(m);
}
DEFINE_CLEANUP(struct backend_model, model_close)

/* intra_op_thread_count of the configuration, else an equal share of the cores. */
static status choose_threads(struct backend_model *m, const struct backend_source *source,
                             struct error *err) {
    cpu_set_t cpus;
    size_t n_cores = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : (size_t)CPU_COUNT(&cpus);
    size_t n = source->n_instances ? n_cores / source->n_instances : n_cores;
    for (size_t i = 0; i < source->n_parameters; i++) {
        int64_t value;
        if (!str_eq(source->parameters[i].name, STR("intra_op_thread_count")))
            continue;
        if (!str_to_int64(source->parameters[i].value, &value) || value < 0 ||
            value > SESSION_THREADS_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "parameter intra_op_thread_count is \"%.*s\", want 0..%d",
                             STR_ARG(source->parameters[i].value), SESSION_THREADS_MAX);
        n = value ? (size_t)value : n_cores;
    }
    m->n_threads = n < 1 ? 1 : n > SESSION_THREADS_MAX ? SESSION_THREADS_MAX : (unsigned)n;
    return STATUS_OK;
}

static status model_open(struct backend_model **out, const struct backend_source *source,
                         struct error *err) {
    CLEANUP(model_closep) struct backend_model *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a model");
    TRY(choose_threads(m, source, err));
    TRY(engine_open(&m->engine, source->path, err));
    *out = TAKE(m);
    return STATUS_OK;
}

static struct io_spec *copy_ios(struct arena *a, const struct engine_io *ios, size_t n) {
    struct io_spec *out = arena_array(a, struct io_spec, n);
    for (size_t i = 0; i < n; i++) {
        out[i] = (struct io_spec){
            .name = str_copy(a, ios[i].name), .dtype = ios[i].dtype, .rank = ios[i].rank};
        memcpy(out[i].dims, ios[i].dims, sizeof out[i].dims);
    }
    return out;
}

static status describe(struct backend_model *m, struct arena *a, struct backend_signature *out,
                       struct error *err) {
    (void)err;
    struct backend_signature s = {.can_batch = true};
    const struct engine_io *inputs = engine_inputs(m->engine, &s.n_inputs);
    const struct engine_io *outputs = engine_outputs(m->engine, &s.n_outputs);
    s.inputs = copy_ios(a, inputs, s.n_inputs);
    s.outputs = copy_ios(a, outputs, s.n_outputs);
    for (size_t i = 0; i < s.n_inputs; i++) {
        s.can_batch = s.can_batch && inputs[i].rank > 0 && inputs[i].dims[0] == -1;
        if (s.can_batch && (s.batch_max == 0 || inputs[i].max[0] < s.batch_max))
            s.batch_max = inputs[i].max[0];
    }
    for (size_t i = 0; i < s.n_outputs; i++)
        s.can_batch = s.can_batch && outputs[i].rank > 0 && outputs[i].dims[0] == -1;
    if (!s.can_batch)
        s.batch_max = 0;
    *out = s;
    return STATUS_OK;
}

static void instance_close(struct backend_instance *i) {
    if (!i)
        return;
    session_free(i->session);
    block_pool_free(i->pool);
    free(i->input_index);
    free(i->output_index);
    free(i->responses);
    free(i);
}
DEFINE_CLEANUP(struct backend_instance, instance_close)

static status find_names(struct backend_instance *i, const struct engine *e, struct error *err) {
    for (size_t k = 0; k < i->spec->n_inputs; k++) {
        ptrdiff_t at = engine_find_input(e, i->spec->inputs[k].name);
        if (at < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "the plan has no input '%.*s'",
                             STR_ARG(i->spec->inputs[k].name));
        i->input_index[k] = (size_t)at;
    }
    for (size_t k = 0; k < i->spec->n_outputs; k++) {
        ptrdiff_t at = engine_find_output(e, i->spec->outputs[k].name);
        if (at < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "the plan has no output '%.*s'",
                             STR_ARG(i->spec->outputs[k].name));
        i->output_index[k] = (size_t)at;
    }
    return STATUS_OK;
}

static status instance_open(struct backend_instance **out, struct backend_model *m,
                            const struct model_spec *spec, struct error *err) {
    CLEANUP(instance_closep) struct backend_instance *i = calloc(1, sizeof *i);
    if (!i)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for an instance");
    i->spec = spec;
    i->pool = block_pool_new();
    i->input_index = calloc(spec->n_inputs + 1, sizeof *i->input_index);
    i->output_index = calloc(spec->n_outputs + 1, sizeof *i->output_index);
    i->responses = calloc(spec->n_outputs + 1, sizeof *i->responses);
    if (!i->pool || !i->input_index || !i->output_index || !i->responses)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for an instance");
    TRY(find_names(i, m->engine, err));
    i->model = m;
    i->n_threads = 1;
    struct session_options options = {.n_threads = i->n_threads};
    TRY(session_new(&i->session, m->engine, &options, err));
    *out = TAKE(i);
    return STATUS_OK;
}

/* Writes the dims `to` that stand for `from` (both without the batch dimension; -1 where any)
 * when the actual sizes are `dims`: wildcards correspond in order. */
static size_t map_dims(const int64_t *from, size_t n_from, const int64_t *to, size_t n_to,
                       const int64_t *dims, int64_t *out) {
    size_t wild = 0;
    for (size_t d = 0; d < n_to; d++) {
        out[d] = to[d];
        if (to[d] != -1)
            continue;
        while (wild < n_from && from[wild] != -1)
            wild++;
        out[d] = wild < n_from ? dims[wild] : -1;
        wild++;
    }
    return n_to;
}

/* The dims that the plan sees for input k of a batch of `n_elements` like request `r`. */
static size_t plan_dims(const struct model_spec *m, size_t k, const struct tensor *t,
                        int64_t n_elements, int64_t dims[TENSOR_RANK_MAX + 1]) {
    const struct io_spec *io = &m->inputs[k];
    size_t lead = m->max_batch_size > 0;
    if (lead)
        dims[0] = n_elements;
    if (io->has_reshape)
        return lead + map_dims(io->dims, io->rank, io->reshape, io->reshape_rank, t->dims + lead,
                               dims + lead);
    memcpy(dims + lead, t->dims + lead, (t->rank - lead) * sizeof dims[0]);
    return t->rank;
}

static bool is_aligned(const struct tensor *t) {
    size_t size = dtype_size(t->dtype);
    return size < 2 || (uintptr_t)t->data % size == 0;
}

static status set_input(struct backend_instance *i, const struct infer_batch *b, size_t k,
                        struct error *err) {
    const struct tensor *first = &b->requests[0]->inputs[k];
    int64_t dims[TENSOR_RANK_MAX + 1];
    size_t rank = plan_dims(i->spec, k, first, b->n_elements, dims);
    if (rank > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input '%.*s' has %zu dims, limit %d",
                         STR_ARG(i->spec->inputs[k].name), rank, TENSOR_RANK_MAX);
    if (b->n == 1 && is_aligned(first)) {
        struct tensor t = {
            .dtype = first->dtype, .rank = (uint8_t)rank, .data = first->data, .size = first->size};
        memcpy(t.dims, dims, rank * sizeof dims[0]);
        return session_set_input(i->session, i->input_index[k], &t, err);
    }
    void *space;
    size_t size, at = 0;
    TRY(session_input_space(i->session, i->input_index[k], dims, rank, &space, &size, err));
    for (size_t r = 0; r < b->n; r++) {
        const struct tensor *t = &b->requests[r]->inputs[k];
        if (t->size > size - at)
            return error_set(err, STATUS_INTERNAL, "input '%.*s' outgrows its batch",
                             STR_ARG(i->spec->inputs[k].name));
        if (t->size)
            memcpy((char *)space + at, t->data, t->size);
        at += t->size;
    }
    return STATUS_OK;
}

static status set_inputs(struct backend_instance *i, const struct infer_batch *b,
                         struct error *err) {
    for (size_t k = 0; k < i->spec->n_inputs; k++) {
        if (b->requests[0]->inputs[k].dtype == DTYPE_NONE)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "input '%.*s' is left out, but the plan needs it",
                             STR_ARG(i->spec->inputs[k].name));
        TRY(set_input(i, b, k, err));
    }
    return session_bind(i->session, err);
}

static size_t aligned(size_t n) {
    return (n + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
}

/* The size of an output follows from the inputs' dims; that of texts never does. */
static bool is_known(const struct tensor *t) {
    if (t->dtype == DTYPE_BYTES)
        return false;
    for (size_t d = 0; d < t->rank; d++)
        if (t->dims[d] < 0)
            return false;
    return true;
}

static bool is_wanted(const struct infer_batch *b, size_t k) {
    for (size_t r = 0; r < b->n; r++)
        if (infer_wants(b->requests[r], k))
            return true;
    return false;
}

/* Lets the wanted outputs land in one block, which the responses will share. Outputs whose size
 * depends on data stay with the session and are copied after the run. */
static status place_outputs(struct backend_instance *i, const struct infer_batch *b,
                            struct block **out, struct error *err) {
    size_t size = 0;
    for (size_t k = 0; k < i->spec->n_outputs; k++) {
        const struct tensor *t = session_output(i->session, i->output_index[k]);
        if (is_known(t) && is_wanted(b, k))
            size += aligned(t->size);
    }
    struct block *block = block_get(i->pool, size);
    if (!block)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu bytes of outputs",
                         size);
    *out = block;
    char *at = block_data(block);
    for (size_t k = 0; k < i->spec->n_outputs; k++) {
        const struct tensor *t = session_output(i->session, i->output_index[k]);
        bool is_here = is_known(t) && is_wanted(b, k);
        TRY(session_set_output(i->session, i->output_index[k], is_here ? at : NULL,
                               is_here ? t->size : 0, err));
        at += is_here ? aligned(t->size) : 0;
    }
    return STATUS_OK;
}

/* Output k as a client of `n_batch` of the batch's elements sees it. */
static status slice_output(const struct backend_instance *i, const struct infer_batch *b, size_t k,
                           int64_t from, int64_t n_batch, struct tensor *out, struct error *err) {
    const struct io_spec *io = &i->spec->outputs[k];
    const struct tensor *t = session_output(i->session, i->output_index[k]);
    size_t lead = i->spec->max_batch_size > 0;
    if (lead && (t->rank == 0 || t->dims[0] != b->n_elements))
        return error_set(err, STATUS_INTERNAL,
                         "output '%.*s' has batch size %" PRId64 ", expected %" PRId64,
                         STR_ARG(io->name), t->rank ? t->dims[0] : 0, b->n_elements);
    *out = (struct tensor){.dtype = t->dtype, .rank = t->rank};
    memcpy(out->dims, t->dims, sizeof out->dims);
    if (io->has_reshape)
        out->rank = (uint8_t)(lead + map_dims(io->reshape, io->reshape_rank, io->dims, io->rank,
                                              t->dims + lead, out->dims + lead));
    out->size = t->size;
    out->data = t->data;
    if (lead && n_batch != b->n_elements) {
        size_t stride = t->size / (size_t)b->n_elements;
        out->dims[0] = n_batch;
        out->size = stride * (size_t)n_batch;
        out->data = (char *)t->data + stride * (size_t)from;
    }
    return STATUS_OK;
}

/* Bytes that the session owns are copied: it runs again before they are sent. */
static status own_bytes(struct backend_instance *i, struct block *block, bool is_in_block,
                        struct tensor *t, struct error *err) {
    if (is_in_block) {
        block_ref(block);
        t->release_arg = block;
    } else {
        struct block *copy = block_get(i->pool, t->size);
        if (!copy)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu bytes of output",
                             t->size);
        if (t->size)
            memcpy(block_data(copy), t->data, t->size);
        t->data = block_data(copy);
        t->release_arg = copy;
    }
    t->release = block_release;
    return STATUS_OK;
}

static void respond_slice(struct backend_instance *i, const struct infer_batch *b,
                          struct infer_request *r, int64_t from, struct block *block,
                          const bool *is_in_block) {
    struct error err = {0};
    status code = STATUS_OK;
    size_t n = i->spec->n_outputs;
    memset(i->responses, 0, n * sizeof *i->responses);
    for (size_t k = 0; k < n && code == STATUS_OK; k++) {
        if (!infer_wants(r, k))
            continue;
        code = slice_output(i, b, k, from, r->n_batch, &i->responses[k], &err);
        if (code == STATUS_OK)
            code = own_bytes(i, block, is_in_block[k], &i->responses[k], &err);
        if (code != STATUS_OK)
            i->responses[k] = (struct tensor){0};
    }
    if (code != STATUS_OK)
        for (size_t k = 0; k < n; k++)
            tensor_release(&i->responses[k]);
    infer_respond(r, &(struct infer_response){
                         .code = code, .text = err.text, .outputs = i->responses, .is_last = true});
}

static status compute(struct backend_instance *i, struct infer_batch *b, struct block **block,
                      bool *is_in_block, struct error *err) {
    TRY(set_inputs(i, b, err));
    TRY(place_outputs(i, b, block, err));
    for (size_t k = 0; k < i->spec->n_outputs; k++)
        is_in_block[k] =
            is_wanted(b, k) && is_known(session_output(i->session, i->output_index[k]));
    b->input_end_ns = b->output_start_ns = clock_now(b->clock);
    bool wants_cpu = solo_wants_cpu(&i->solo);
    int64_t cpu_ns = wants_cpu ? thread_cpu_ns() : 0;
    status code = session_run(i->session, err);
    b->output_start_ns = clock_now(b->clock);
    i->cpu_ns = wants_cpu ? thread_cpu_ns() - cpu_ns : 0;
    return code;
}

/* After a run of `run_ns`, while nothing of the session is in use. */
static void consider_team(struct backend_instance *i, int64_t run_ns) {
    if (i->n_threads == i->model->n_threads || !solo_note(&i->solo, run_ns, i->cpu_ns))
        return;
    struct session_options options = {.n_threads = i->model->n_threads};
    struct session *team;
    i->solo = (struct solo_policy){0};
    if (session_new(&team, i->model->engine, &options, NULL) != STATUS_OK)
        return; /* no more threads to be had: it goes on alone, and asks again */
    session_free(i->session);
    i->session = team;
    i->n_threads = i->model->n_threads;
    i->chunks = (struct chunk_policy){.size_min = i->n_threads}; /* costs were those of one */
}

/* Runs some requests of the batch `whole` and answers them. */
static void run_piece(struct backend_instance *i, struct infer_batch *whole,
                      struct infer_batch *piece) {
    struct error err = {0};
    struct block *block = NULL;
    bool is_in_block[MODEL_TENSORS_MAX];
    piece->start_ns = piece->input_end_ns = piece->output_start_ns = clock_now(piece->clock);
    status code = compute(i, piece, &block, is_in_block, &err);
    int64_t input_ns = piece->input_end_ns - piece->start_ns;
    int64_t infer_ns = piece->output_start_ns - piece->input_end_ns;
    whole->input_end_ns += input_ns;
    whole->output_start_ns += input_ns + infer_ns;
    int64_t from = 0;
    for (size_t r = 0; r < piece->n; r++) {
        struct infer_request *request = piece->requests[r];
        int64_t n_batch = request->n_batch;
        if (code != STATUS_OK)
            infer_respond_error(request, code, err.text);
        else
            respond_slice(i, piece, request, from, block, is_in_block);
        from += n_batch;
    }
    if (block)
        block_unref(block);
    if (code != STATUS_OK)
        return;
    chunk_note(&i->chunks, piece->n_elements, input_ns + infer_ns);
    consider_team(i, infer_ns);
}

static void run(struct backend_instance *i, struct infer_batch *b) {
    int64_t size_max = chunk_choose(&i->chunks, b->n_elements);
    size_t from = 0;
    for (;;) {
        struct infer_batch piece = chunk_cut(b, &from, size_max);
        if (piece.n == 0)
            return;
        run_piece(i, b, &piece);
    }
}

const struct backend plan_backend = {
    .name = "culmen",
    .version_path = "(built in)",
    .model_open = model_open,
    .model_close = model_close,
    .describe = describe,
    .instance_open = instance_open,
    .instance_close = instance_close,
    .run = run,
};
