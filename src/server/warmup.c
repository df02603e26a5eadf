#include "server/warmup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "server/backend/request.h"

/* One run of a sample. */
struct warmup_call {
    struct infer_request request;
    size_t n_outputs;
    status code;
    char text[512];
};

static void warmup_respond(struct infer_request *r, struct infer_response *response) {
    struct warmup_call *c = r->owner;
    for (size_t k = 0; k < c->n_outputs && response->outputs; k++)
        tensor_release(&response->outputs[k]);
    if (response->code == STATUS_OK)
        return;
    c->code = response->code;
    snprintf(c->text, sizeof c->text, "%s", response->text ? response->text : "");
}

static void free_data(void *arg) {
    free(arg);
}

static status read_file(const struct model_version *v, const char *name, struct tensor *t,
                        struct error *err) {
    if (strchr(name, '/') || !strcmp(name, ".."))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "input_data_file \"%s\" is not a name in the model's warmup folder", name);
    struct arena a = {0};
    str path = str_format(&a, "%.*s/warmup/%s", STR_ARG(v->folder), name);
    struct buffer bytes = {.size_max = WARMUP_TENSOR_SIZE_MAX};
    status code = file_read(&bytes, path.p, err);
    arena_release(&a);
    TRY(code);
    t->data = bytes.p;
    t->size = bytes.n;
    return STATUS_OK;
}

/* Zeros, or for random_data any values; strings are empty ones. */
static status make_data(struct tensor *t, bool is_random, struct error *err) {
    int64_t n = tensor_n_elements(t);
    size_t element = t->dtype == DTYPE_BYTES ? sizeof(uint32_t) : dtype_size(t->dtype);
    if (n < 0 || (uint64_t)n > WARMUP_TENSOR_SIZE_MAX / element)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a sample is larger than %d bytes",
                         WARMUP_TENSOR_SIZE_MAX);
    t->size = (size_t)n * element;
    t->data = buffer_alloc(t->size ? t->size : 1);
    if (!t->data)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a sample");
    memset(t->data, 0, t->size);
    if (is_random && !dtype_is_float(t->dtype) && t->dtype != DTYPE_BYTES)
        for (int64_t i = 0; i < n; i++) /* small, so that they may be indices */
            ((char *)t->data)[(size_t)i * element] = (char)(i & 1);
    return STATUS_OK;
}

static status make_input(const struct model_version *v, const Inference__ModelWarmup *w,
                         const Inference__ModelWarmup__InputsEntry *e, struct infer_named *out,
                         struct arena *a, struct error *err) {
    const Inference__ModelWarmup__Input *in = e->value;
    struct tensor *t = &out->tensor;
    out->name = str_from_c(e->key);
    if (!in || in->n_dims >= TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input '%s' has no usable dims", e->key);
    t->dtype = config_dtype(in->data_type);
    if (t->dtype == DTYPE_NONE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input '%s' has no data_type", e->key);
    if (v->spec.max_batch_size > 0)
        t->dims[t->rank++] = w->batch_size;
    for (size_t d = 0; d < in->n_dims; d++) {
        if (in->dims[d] < 1)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "input '%s' must have dims >= 1, found %" PRId64, e->key, in->dims[d]);
        t->dims[t->rank++] = in->dims[d];
    }
    status code =
        in->input_data_type_case == INFERENCE__MODEL_WARMUP__INPUT__INPUT_DATA_TYPE_INPUT_DATA_FILE
            ? read_file(v, in->input_data_file, t, err)
            : make_data(t,
                        in->input_data_type_case ==
                            INFERENCE__MODEL_WARMUP__INPUT__INPUT_DATA_TYPE_RANDOM_DATA,
                        err);
    if (t->data)
        arena_defer(a, free_data, t->data);
    return code;
}

static status run_sample(const struct model_version *v, const Inference__ModelWarmup *w,
                         struct backend_instance *i, struct arena *a, struct error *err) {
    struct infer_named *named = arena_array(a, struct infer_named, w->n_inputs + 1);
    for (size_t k = 0; k < w->n_inputs; k++)
        TRY(make_input(v, w, w->inputs[k], &named[k], a, err));
    struct warmup_call c = {.n_outputs = v->spec.n_outputs};
    c.request = (struct infer_request){
        .model = &v->spec, .id = STR("warmup"), .respond = warmup_respond, .owner = &c};
    c.request.inputs = arena_array(a, struct tensor, v->spec.n_inputs + 1);
    TRY(infer_request_bind(&c.request, named, w->n_inputs, err));
    for (uint32_t n = 0; n < (w->count ? w->count : 1) && c.code == STATUS_OK; n++) {
        struct infer_request *requests[] = {&c.request};
        struct infer_batch b = {
            .requests = requests, .n = 1, .n_elements = c.request.n_batch, .clock = clock_system()};
        v->backend->run(i, &b);
    }
    if (c.code != STATUS_OK)
        return error_set(err, c.code, "%s", c.text);
    return STATUS_OK;
}

status warmup_run(const struct model_version *v, struct backend_instance *i, struct error *err) {
    for (size_t k = 0; k < v->config->n_model_warmup; k++) {
        const Inference__ModelWarmup *w = v->config->model_warmup[k];
        struct arena a = {0};
        if (w->batch_size == 0)
            continue; /* a sample that is turned off */
        status code = run_sample(v, w, i, &a, err);
        arena_release(&a);
        if (code != STATUS_OK)
            return error_wrap(err, code, "failed to run warmup sample '%s'", w->name);
    }
    return STATUS_OK;
}
