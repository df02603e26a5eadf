#include "control/gateway/route.h"

#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "codec/json.h"

/* --- reading --- */

static status bad_member(str where, const char *name, const char *wanted, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "routes: \"%.*s\": \"%s\" is not %s",
                     STR_ARG(where), name, wanted);
}

/* A member that is a string and must be there. */
static status get_text(str *out, const struct json_value *v, const char *name, str where,
                       struct arena *a, struct error *err) {
    str text;
    if (!json_to_str(json_get(v, name), &text))
        return bad_member(where, name, "a string", err);
    *out = str_copy(a, text);
    return STATUS_OK;
}

/* A number from 0 to `max`; `absent` when it is not there. */
static status get_number(uint64_t *out, const struct json_value *v, const char *name, uint64_t max,
                         uint64_t absent, struct error *err) {
    const struct json_value *member = json_get(v, name);
    uint64_t number = absent;
    if (member && (!json_to_u64(member, &number) || number > max))
        return error_set(err, STATUS_INVALID_ARGUMENT, "routes: \"%s\" is not a number up to %llu",
                         name, (unsigned long long)max);
    *out = number;
    return STATUS_OK;
}

/* An array of at most `max` objects. */
static status get_array(const struct json_value **first, size_t *n, const struct json_value *v,
                        const char *name, size_t max, struct error *err) {
    const struct json_value *array = json_get(v, name);
    if (!array || array->type != JSON_ARRAY || array->n > max)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "routes: \"%s\" is not an array of at most %zu", name, max);
    *first = array->first;
    *n = array->n;
    return STATUS_OK;
}

static status read_replica(struct route_replica *r, const struct json_value *v, struct arena *a,
                           struct error *err) {
    TRY(get_text(&r->address, v, "address", STR("replica"), a, err));
    if (!json_to_bool(json_get(v, "ready"), &r->is_ready))
        return bad_member(r->address, "ready", "true or false", err);
    return STATUS_OK;
}

static status read_model(struct route_model *m, const struct json_value *v, struct arena *a,
                         struct error *err) {
    const struct json_value *replica = NULL;
    uint64_t weight = 0;
    TRY(get_text(&m->id, v, "id", STR("model"), a, err));
    TRY(get_text(&m->model, v, "model", m->id, a, err));
    TRY(get_text(&m->display_name, v, "modelDisplayName", m->id, a, err));
    TRY(get_text(&m->version_id, v, "modelVersionId", m->id, a, err));
    TRY(get_text(&m->predict_route, v, "predictRoute", m->id, a, err));
    if (!str_starts(m->predict_route, STR("/")))
        return bad_member(m->id, "predictRoute", "a path", err);
    if (!json_to_bool(json_get(v, "idempotent"), &m->is_idempotent))
        return bad_member(m->id, "idempotent", "true or false", err);
    TRY(get_number(&weight, v, "weight", ROUTE_WEIGHT_MAX, 0, err));
    m->weight = (unsigned)weight;
    TRY(get_array(&replica, &m->n_replicas, v, "replicas", ROUTE_REPLICAS_MAX, err));
    m->replicas = arena_array(a, struct route_replica, m->n_replicas);
    for (size_t i = 0; i < m->n_replicas; i++, replica = replica->next)
        TRY(read_replica(&m->replicas[i], replica, a, err));
    return STATUS_OK;
}

static status read_endpoint(struct route_endpoint *e, const struct json_value *v, struct arena *a,
                            struct error *err) {
    const struct json_value *model = NULL;
    uint64_t timeout_ms = 0;
    TRY(get_text(&e->name, v, "name", STR("endpoint"), a, err));
    TRY(get_number(&timeout_ms, v, "timeoutMs", ROUTE_TIMEOUT_MS_MAX, 0, err));
    e->timeout_ms = timeout_ms ? (int64_t)timeout_ms : ROUTE_TIMEOUT_MS;
    TRY(get_array(&model, &e->n_models, v, "models", ROUTE_MODELS_MAX, err));
    e->models = arena_array(a, struct route_model, e->n_models);
    for (size_t i = 0; i < e->n_models; i++, model = model->next)
        TRY(read_model(&e->models[i], model, a, err));
    return STATUS_OK;
}

static status read_table(struct route_table *t, const struct json_value *root, struct error *err) {
    const struct json_value *endpoint = NULL;
    uint64_t format = 0;
    TRY(get_number(&format, root, "format", UINT64_MAX, 0, err));
    if (format != ROUTE_FORMAT)
        return error_set(err, STATUS_INVALID_ARGUMENT, "routes: format is %llu, wanted %d",
                         (unsigned long long)format, ROUTE_FORMAT);
    TRY(get_number(&t->generation, root, "generation", UINT64_MAX, 0, err));
    TRY(get_array(&endpoint, &t->n_endpoints, root, "endpoints", JSON_VALUES_MAX, err));
    t->endpoints = arena_array(&t->arena, struct route_endpoint, t->n_endpoints);
    for (size_t i = 0; i < t->n_endpoints; i++, endpoint = endpoint->next)
        TRY(read_endpoint(&t->endpoints[i], endpoint, &t->arena, err));
    return STATUS_OK;
}

status route_table_parse(struct route_table *out, str text, struct error *err) {
    CLEANUP(arena_release) struct arena tree = {0};
    struct route_table t = {0};
    struct json_value *root;
    TRY(json_parse(&root, &tree, text, err));
    status s = read_table(&t, root, err);
    if (s != STATUS_OK) {
        route_table_done(&t);
        return s;
    }
    *out = t;
    return STATUS_OK;
}

status route_table_read(struct route_table *out, const char *path, struct error *err) {
    CLEANUP(buffer_done) struct buffer text = {.size_max = ROUTE_FILE_SIZE_MAX};
    TRY(file_read(&text, path, err));
    status s = route_table_parse(out, buffer_str(&text), err);
    return s == STATUS_OK ? s : error_wrap(err, s, "%s", path);
}

void route_table_done(struct route_table *t) {
    arena_release(&t->arena);
    *t = (struct route_table){0};
}

/* --- writing --- */

static void write_model(struct json_writer *w, const struct route_model *m) {
    json_begin_object(w);
    json_member_string(w, "id", m->id);
    json_member_string(w, "model", m->model);
    json_member_string(w, "modelDisplayName", m->display_name);
    json_member_string(w, "modelVersionId", m->version_id);
    json_member_u64(w, "weight", m->weight);
    json_member_string(w, "predictRoute", m->predict_route);
    json_member_bool(w, "idempotent", m->is_idempotent);
    json_key(w, STR("replicas"));
    json_begin_array(w);
    for (size_t i = 0; i < m->n_replicas; i++) {
        json_begin_object(w);
        json_member_string(w, "address", m->replicas[i].address);
        json_member_bool(w, "ready", m->replicas[i].is_ready);
        json_end_object(w);
    }
    json_end_array(w);
    json_end_object(w);
}

static void write_endpoint(struct json_writer *w, const struct route_endpoint *e) {
    json_begin_object(w);
    json_member_string(w, "name", e->name);
    if (e->timeout_ms)
        json_member_i64(w, "timeoutMs", e->timeout_ms);
    json_key(w, STR("models"));
    json_begin_array(w);
    for (size_t i = 0; i < e->n_models; i++)
        write_model(w, &e->models[i]);
    json_end_array(w);
    json_end_object(w);
}

status route_table_write(const struct route_table *t, const char *path, struct error *err) {
    CLEANUP(buffer_done) struct buffer text = {.size_max = ROUTE_FILE_SIZE_MAX};
    struct json_writer w;
    json_writer_init(&w, &text, err);
    json_begin_object(&w);
    json_member_u64(&w, "format", ROUTE_FORMAT);
    json_member_u64(&w, "generation", t->generation);
    json_key(&w, STR("endpoints"));
    json_begin_array(&w);
    for (size_t i = 0; i < t->n_endpoints; i++)
        write_endpoint(&w, &t->endpoints[i]);
    json_end_array(&w);
    json_end_object(&w);
    TRY(json_writer_finish(&w));
    TRY(buffer_append_str(&text, STR("\n"), err));
    return file_write(path, text.p, text.n, err);
}
