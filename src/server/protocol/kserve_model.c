/* kserve_model.c - what the server says of itself and of its models: health, metadata,
 * configuration, statistics; the routes of a GET. */
#include <inttypes.h>
#include <stdio.h>

#include "codec/json_writer.h"
#include "server/backend/request.h"
#include "server/protocol/route.h"
#include "server/protocol/triton.h"
#include "server/scheduler/scheduler.h"

static const char *const extensions[] = {
#define EXTENSION(name) name,
#include "server/protocol/extensions.def"
#undef EXTENSION
};

void kserve_live(struct route_call *c, struct exchange *x) {
    (void)c;
    reply_empty(x, 200);
}

void kserve_ready(struct route_call *c, struct exchange *x) {
    reply_empty(x, service_is_ready(c->service) ? 200 : 400);
}

void kserve_server(struct route_call *c, struct exchange *x) {
    struct error err = {0};
    struct json_writer w;
    struct buffer *b = service_scratch(x);
    json_writer_init(&w, b, &err);
    json_begin_object(&w);
    json_member_string(&w, "name", str_from_c(c->service->server_id));
    json_member_string(&w, "version", STR(TRITON_VERSION));
    json_key(&w, STR("extensions"));
    json_begin_array(&w);
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        json_string(&w, str_from_c(extensions[i]));
    json_end_array(&w);
    json_end_object(&w);
    reply_json(x, json_writer_finish(&w), b, &err);
}

status route_find_model(const struct route_call *c, struct model_version **out, struct error *err) {
    if (c->version == INT64_MIN)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "failed to get model version from specified version string '%.*s' "
                         "(details: stol), version should be an integral value > 0",
                         STR_ARG(c->version_text));
    return repository_find(c->service->repository, c->model, c->version, out, err);
}

static void write_ios(struct json_writer *w, const char *key, const struct model_spec *m,
                      const struct io_spec *ios, size_t n) {
    json_key(w, str_from_c(key));
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) {
        json_begin_object(w);
        json_member_string(w, "name", ios[i].name);
        json_member_string(w, "datatype", str_from_c(dtype_kserve_name(ios[i].dtype)));
        json_key(w, STR("shape"));
        json_begin_array(w);
        if (m->max_batch_size > 0)
            json_i64(w, -1);
        for (size_t d = 0; d < ios[i].rank; d++)
            json_i64(w, ios[i].dims[d]);
        json_end_array(w);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_versions(struct json_writer *w, struct route_call *c, struct exchange *x,
                           const struct model_version *v) {
    struct model_version **versions;
    size_t n = repository_list(c->service->repository, v->spec.name, &x->arena, &versions);
    json_key(w, STR("versions"));
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "%" PRId64, versions[i]->spec.version);
        if (c->version < 0 || versions[i] == v)
            json_string(w, str_from_c(text));
        model_version_unref(versions[i]);
    }
    json_end_array(w);
}

void kserve_metadata(struct route_call *c, struct exchange *x) {
    struct error err = {0};
    struct model_version *v;
    status code = route_find_model(c, &v, &err);
    if (code != STATUS_OK) {
        reply_error(x, code, err.text);
        return;
    }
    struct json_writer w;
    struct buffer *b = service_scratch(x);
    json_writer_init(&w, b, &err);
    json_begin_object(&w);
    json_member_string(&w, "name", v->spec.name);
    write_versions(&w, c, x, v);
    json_member_string(&w, "platform", v->platform);
    write_ios(&w, "inputs", &v->spec, v->spec.inputs, v->spec.n_inputs);
    write_ios(&w, "outputs", &v->spec, v->spec.outputs, v->spec.n_outputs);
    json_end_object(&w);
    model_version_unref(v);
    reply_json(x, json_writer_finish(&w), b, &err);
}

void kserve_model_ready(struct route_call *c, struct exchange *x) {
    struct error err = {0};
    struct model_version *v;
    if (route_find_model(c, &v, &err) != STATUS_OK) {
        reply_error_http(x, 400, "Model version not ready");
        return;
    }
    model_version_unref(v);
    reply_empty(x, 200);
}

void kserve_config(struct route_call *c, struct exchange *x) {
    struct error err = {0};
    struct model_version *v;
    status code = route_find_model(c, &v, &err);
    if (code != STATUS_OK) {
        reply_error(x, code, err.text);
        return;
    }
    struct buffer *b = service_scratch(x);
    code = buffer_append_str(b, v->config_json, &err);
    model_version_unref(v);
    reply_json(x, code, b, &err);
}

static void write_duration(struct json_writer *w, const char *key, struct duration_stats d) {
    json_key(w, str_from_c(key));
    json_begin_object(w);
    json_member_u64(w, "count", d.count);
    json_member_u64(w, "ns", d.ns);
    json_end_object(w);
}

static void write_batches(struct json_writer *w, const struct model_stats *s) {
    json_key(w, STR("batch_stats"));
    json_begin_array(w);
    for (size_t i = 0; i < s->n_batches; i++) {
        json_begin_object(w);
        json_member_i64(w, "batch_size", s->batches[i].size);
        write_duration(w, "compute_input", s->batches[i].input);
        write_duration(w, "compute_infer", s->batches[i].infer);
        write_duration(w, "compute_output", s->batches[i].output);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_stats(struct json_writer *w, const struct model_version *v,
                        const struct model_stats *s) {
    char version[32];
    snprintf(version, sizeof version, "%" PRId64, v->spec.version);
    json_begin_object(w);
    json_member_string(w, "name", v->spec.name);
    json_member_string(w, "version", str_from_c(version));
    json_member_i64(w, "last_inference", s->last_inference_ms);
    json_member_u64(w, "inference_count", s->inference_count);
    json_member_u64(w, "execution_count", s->execution_count);
    json_key(w, STR("inference_stats"));
    json_begin_object(w);
    write_duration(w, "success", s->success);
    write_duration(w, "fail", s->fail);
    write_duration(w, "queue", s->queue);
    write_duration(w, "compute_input", s->input);
    write_duration(w, "compute_infer", s->infer);
    write_duration(w, "compute_output", s->output);
    write_duration(w, "cache_hit", (struct duration_stats){0});
    write_duration(w, "cache_miss", (struct duration_stats){0});
    json_end_object(w);
    json_key(w, STR("response_stats")); /* of decoupled models, which there are none of */
    json_begin_object(w);
    json_end_object(w);
    write_batches(w, s);
    json_key(w, STR("memory_usage"));
    json_begin_array(w);
    json_end_array(w);
    json_end_object(w);
}

static void reply_stats(struct exchange *x, struct model_version **versions, size_t n) {
    struct error err = {0};
    struct json_writer w;
    struct buffer *b = service_scratch(x);
    struct model_stats *stats = arena_new(&x->arena, struct model_stats);
    json_writer_init(&w, b, &err);
    json_begin_object(&w);
    json_key(&w, STR("model_stats"));
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) {
        scheduler_read_stats(versions[i]->scheduler, stats);
        write_stats(&w, versions[i], stats);
        model_version_unref(versions[i]);
    }
    json_end_array(&w);
    json_end_object(&w);
    reply_json(x, json_writer_finish(&w), b, &err);
}

void kserve_stats_all(struct route_call *c, struct exchange *x) {
    struct model_version **versions;
    size_t n = repository_list(c->service->repository, (str){0}, &x->arena, &versions);
    reply_stats(x, versions, n);
}

void kserve_stats(struct route_call *c, struct exchange *x) {
    char text[400];
    struct error err = {0};
    struct model_version **versions;
    size_t n = repository_list(c->service->repository, c->model, &x->arena, &versions);
    if (n == 0) {
        snprintf(text, sizeof text, "requested model '%.*s' is not available", STR_ARG(c->model));
        reply_error_http(x, 400, text);
        return;
    }
    if (c->version >= 0) {
        for (size_t i = 0; i < n; i++)
            model_version_unref(versions[i]);
        n = route_find_model(c, versions, &err) == STATUS_OK;
    }
    if (n == 0) {
        snprintf(text, sizeof text, "requested model version is not available for model '%.*s'",
                 STR_ARG(c->model));
        reply_error_http(x, 400, text);
        return;
    }
    reply_stats(x, versions, n);
}
