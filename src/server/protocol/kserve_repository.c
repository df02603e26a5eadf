/* kserve_repository.c - the repository's routes, and the small ones about logging and shared
 * memory that clients ask for when they start. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "server/protocol/infer_json.h"
#include "server/protocol/route.h"

static void write_index(struct json_writer *w, const struct repository_row *row) {
    json_begin_object(w);
    json_member_string(w, "name", row->name);
    if (row->version >= 0) {
        char version[32];
        snprintf(version, sizeof version, "%" PRId64, row->version);
        json_member_string(w, "version", str_from_c(version));
    }
    if (row->state != MODEL_STATE_UNKNOWN)
        json_member_string(w, "state", str_from_c(model_state_name(row->state)));
    if (row->reason.n && row->state != MODEL_STATE_READY)
        json_member_string(w, "reason", row->reason);
    json_end_object(w);
}

/* Only `ready` models? The body is optional. */
static status read_ready(struct exchange *x, bool *out, struct error *err) {
    struct json_value *body;
    *out = false;
    if (x->body.n == 0)
        return STATUS_OK;
    TRY(triton_json_parse(&body, &x->arena, x->body, err));
    const struct json_value *ready = json_get(body, "ready");
    if (ready && !json_to_bool(ready, out))
        return error_set(err, STATUS_INTERNAL, "attempt to access JSON non-boolean as boolean");
    return STATUS_OK;
}

static void index_body_done(struct exchange *x) {
    struct route_call *c = x->user;
    struct error err = {0};
    bool is_ready_only;
    status code = read_ready(x, &is_ready_only, &err);
    if (code != STATUS_OK) {
        reply_error(x, code, err.text);
        return;
    }
    struct repository_row *rows;
    size_t n = repository_index(c->service->repository, &x->arena, &rows);
    struct buffer *b = service_scratch(x);
    struct json_writer w;
    json_writer_init(&w, b, &err);
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++)
        if (!is_ready_only || rows[i].state == MODEL_STATE_READY)
            write_index(&w, &rows[i]);
    json_end_array(&w);
    reply_json(x, json_writer_finish(&w), b, &err);
}

void kserve_index(struct route_call *c, struct exchange *x) {
    x->user = c;
    exchange_collect(x, c->service->input_size_max, index_body_done);
}

/* What the repository's thread hands back to the loop. */
struct control_result {
    struct exchange *x;
    status code;
    char text[1024];
};

static void control_reply(struct exchange *x) {
    struct control_result *result = x->user;
    if (result->code == STATUS_OK)
        reply_done(x);
    else
        reply_error(x, result->code, result->text);
}

static void control_done(void *arg, status code, const char *text) {
    struct control_result *result = arg;
    result->code = code;
    snprintf(result->text, sizeof result->text, "%s", text);
    exchange_post(result->x, control_reply);
}

static struct control_result *control_new(struct exchange *x) {
    struct control_result *result = arena_new(&x->arena, struct control_result);
    result->x = x;
    x->user = result;
    return result;
}

/* {"parameters": {"config": "...", "file:1/model.onnx": "base64"}}: the configuration that replaces
 * the file's, and files that replace the folder's. */
static status read_load(const struct service *s, struct exchange *x, str *config_json,
                        struct load_files **files, struct error *err) {
    struct json_value *body;
    str text;
    *config_json = (str){0};
    if (x->body.n == 0)
        return STATUS_OK;
    TRY(triton_json_parse(&body, &x->arena, x->body, err));
    const struct json_value *parameters = json_get(body, "parameters");
    if (parameters && parameters->type != JSON_OBJECT)
        return error_set(err, STATUS_INTERNAL, "attempt to get members for non-object");
    for (const struct json_value *p = parameters ? parameters->first : NULL; p; p = p->next) {
        bool is_file = str_starts(p->name, STR("file:"));
        if (!is_file && !str_eq(p->name, STR("config")))
            return error_set(err, STATUS_INTERNAL, "unexpected error on creating Triton parameter");
        if (!json_to_str(p, &text))
            return error_set(err, STATUS_INTERNAL, "attempt to access JSON non-string as string");
        if (is_file) {
            str path = str_slice(p->name, STR("file:").n, p->name.n);
            TRY(load_files_add(files, path, text, s->input_size_max, err));
            continue;
        }
        *config_json = text;
        if (config_json->n == 0)
            *config_json = STR(" "); /* given, and no JSON: the load says so */
    }
    return STATUS_OK;
}

static void load_body_done(struct exchange *x) {
    struct route_call *c = x->user;
    struct error err = {0};
    str config_json;
    struct load_files *files = NULL;
    status code = read_load(c->service, x, &config_json, &files, &err);
    if (code == STATUS_OK)
        code = repository_load(c->service->repository, c->model, config_json, TAKE(files),
                               control_done, control_new(x), &err);
    load_files_free(files);
    if (code != STATUS_OK)
        reply_error(x, code, err.text);
}

static void unload_body_done(struct exchange *x) {
    struct route_call *c = x->user;
    struct error err = {0};
    status code =
        repository_unload(c->service->repository, c->model, control_done, control_new(x), &err);
    if (code != STATUS_OK)
        reply_error(x, code, err.text);
}

static void control(struct route_call *c, struct exchange *x, void (*done)(struct exchange *x)) {
    if (c->name.n) {
        reply_error(x, STATUS_UNIMPLEMENTED, "'repository_name' specification is not supported");
        return;
    }
    if (repository_control(c->service->repository) != MODEL_CONTROL_EXPLICIT) {
        reply_error(x, STATUS_UNAVAILABLE,
                    "explicit model load / unload is not allowed if polling is enabled");
        return;
    }
    x->user = c;
    exchange_collect(x, c->service->input_size_max, done);
}

void kserve_load(struct route_call *c, struct exchange *x) {
    control(c, x, load_body_done);
}

void kserve_unload(struct route_call *c, struct exchange *x) {
    control(c, x, unload_body_done);
}

void kserve_logging(struct route_call *c, struct exchange *x) {
    struct error err = {0};
    struct buffer *b = service_scratch(x);
    log_level level = log_get_level();
    struct json_writer w;
    json_writer_init(&w, b, &err);
    json_begin_object(&w);
    json_member_string(&w, "log_file", str_from_c(c->service->log_file));
    json_member_bool(&w, "log_info", level >= LOG_INFO);
    json_member_bool(&w, "log_warning", level >= LOG_WARN);
    json_member_bool(&w, "log_error", true);
    json_member_i64(&w, "log_verbose_level", level >= LOG_DEBUG);
    json_member_string(&w, "log_format", STR("default"));
    json_end_object(&w);
    status code = json_writer_finish(&w);
    reply_json(x, code, b, &err);
}

static void fixed_setting_body_done(struct exchange *x) {
    struct json_value *body;
    struct error err = {0};
    status code = triton_json_parse(&body, &x->arena, x->body, &err);
    if (code == STATUS_OK)
        code = error_set(&err, STATUS_UNIMPLEMENTED,
                         "this server's log and trace settings cannot be changed while it runs");
    reply_error(x, code, err.text);
}

/* Settings that can be asked for but not changed. */
void kserve_fixed_setting(struct route_call *c, struct exchange *x) {
    exchange_collect(x, c->service->input_size_max, fixed_setting_body_done);
}

/* There is no tracing, which is what these settings say. */
void kserve_trace(struct route_call *c, struct exchange *x) {
    struct error err = {0};
    if (c->model.n && !repository_knows(c->service->repository, c->model)) {
        char text[400];
        snprintf(text, sizeof text, "Request for unknown model : %.*s", STR_ARG(c->model));
        reply_error_http(x, 400, text);
        return;
    }
    struct buffer *b = service_scratch(x);
    status code = buffer_append_str(b,
                                    STR("{\"trace_level\":[\"OFF\"],\"trace_rate\":\"1000\","
                                        "\"trace_count\":\"-1\",\"log_frequency\":\"0\","
                                        "\"trace_file\":\"\",\"trace_mode\":\"triton\"}"),
                                    &err);
    reply_json(x, code, b, &err);
}

/* Clients unregister what an earlier run may have left, before they start: nothing is there. */
void kserve_shm_unregister(struct route_call *c, struct exchange *x) {
    (void)c;
    reply_done(x);
}

void kserve_shm_register(struct route_call *c, struct exchange *x) {
    (void)c;
    reply_error(x, STATUS_UNIMPLEMENTED, "this server does not map the shared memory of clients");
}

void kserve_shm_status(struct route_call *c, struct exchange *x) {
    (void)c;
    struct error err = {0};
    struct buffer *b = service_scratch(x);
    reply_json(x, buffer_append_str(b, STR("[]"), &err), b, &err);
}

void kserve_shm_region(struct route_call *c, struct exchange *x) {
    char text[400];
    snprintf(text, sizeof text, "Unable to find system shared memory region: '%.*s'",
             STR_ARG(c->name));
    reply_error(x, STATUS_NOT_FOUND, text);
}
