#include "control/api/operation.h"

#include <stdlib.h>

#include "base/clock.h"
#include "control/api/name.h"
#include "proto/vertex.pb-c.h"

static str type_url(struct arena *a, api_version version, const char *type) {
    return str_format(a, "type.googleapis.com/google.cloud.aiplatform.%s.%s",
                      api_version_name(version), type);
}

struct json_value *operation_new(struct arena *a, str parent, api_version version,
                                 const char *metadata) {
    struct json_value *record = json_new_object(a), *operation = json_new_object(a),
                      *any = json_new_object(a), *generic = json_new_object(a);
    str now = record_now(a);
    record_set_string(a, generic, "createTime", now);
    record_set_string(a, generic, "updateTime", now);
    record_set_string(a, any, "@type", type_url(a, version, metadata));
    json_set(any, STR("genericMetadata"), generic);
    record_set_string(a, operation, "name",
                      str_format(a, "%.*s/operations/%s", STR_ARG(parent), name_new_id(a).p));
    json_set(operation, STR("metadata"), any);
    json_set(record, STR("operation"), operation);
    record_set_string(a, record, "version", str_from_c(api_version_name(version)));
    return record;
}

str operation_name(const struct json_value *record) {
    return record_string(json_get(record, "operation"), "name");
}

api_version operation_version(const struct json_value *record) {
    return str_eq(record_string(record, "version"), STR("v1beta1")) ? API_V1BETA1 : API_V1;
}

static struct json_value *end(struct arena *a, struct json_value *record, bool is_good) {
    struct json_value *operation = json_get(record, "operation");
    struct json_value *generic = json_get(json_get(operation, "metadata"), "genericMetadata");
    if (generic)
        record_set_string(a, generic, "updateTime", record_now(a));
    struct json_value *metadata = json_get(operation, "metadata");
    if (json_get(metadata, "deploymentStage"))
        record_set_string(a, metadata, "deploymentStage",
                          is_good ? STR("SUCCESSFULLY_DEPLOYED") : STR("FAILED_TO_DEPLOY"));
    json_set(operation, STR("done"), json_new_bool(a, true));
    record_set_i64(a, record, "ended", wall_now_ns());
    return operation;
}

void operation_done(struct arena *a, struct json_value *record, const char *type,
                    struct json_value *response) {
    struct json_value *operation = end(a, record, true), *any = json_new_object(a);
    str url = response ? type_url(a, operation_version(record), type)
                       : STR("type.googleapis.com/google.protobuf.Empty");
    record_set_string(a, any, "@type", url);
    for (struct json_value *m = response ? response->first : NULL, *next; m; m = next) {
        next = m->next;
        m->next = NULL;
        json_set(any, m->name, m);
    }
    json_set(operation, STR("response"), any);
}

void operation_deployed(struct arena *a, struct json_value *record,
                        const struct json_value *deployed_model) {
    struct json_value *response = json_new_object(a), *seen = json_copy(a, deployed_model);
    message_strip(seen, &culmen__vertex__deployed_model__descriptor, operation_version(record));
    json_set(response, STR("deployedModel"), seen);
    operation_done(a, record, "DeployModelResponse", response);
}

void operation_failed(struct arena *a, struct json_value *record, status code, str message) {
    struct json_value *operation = end(a, record, false), *error = json_new_object(a);
    record_set_i64(a, error, "code", code);
    record_set_string(a, error, "message", message);
    json_set(operation, STR("error"), error);
}

bool operation_is_done(const struct json_value *record) {
    bool is_done = false;
    json_to_bool(json_get(json_get(record, "operation"), "done"), &is_done);
    return is_done;
}

void operation_put(struct record_commit *c, const struct json_value *record, int64_t expected) {
    record_put(c, record_key(c->arena, "operations", operation_name(record)), record, expected);
}

static int compare_ended(const void *a, const void *b) {
    int64_t x = record_i64((*(const struct record *const *)a)->value, "ended", INT64_MAX);
    int64_t y = record_i64((*(const struct record *const *)b)->value, "ended", INT64_MAX);
    return x < y ? -1 : x > y;
}

static status trim(struct store *s, struct arena *a, size_t *n_deleted, struct error *err) {
    struct record *records;
    size_t n;
    TRY(record_list(s, a, STR("operations/"), &records, &n, err));
    const struct record **oldest = arena_array(a, const struct record *, n + 1);
    for (size_t i = 0; i < n; i++)
        oldest[i] = &records[i];
    qsort(oldest, n, sizeof *oldest, compare_ended);
    for (size_t i = 0; i < n && n - *n_deleted > OPERATIONS_MAX; i++) {
        if (!operation_is_done(oldest[i]->value))
            break;
        TRY(store_delete(s, oldest[i]->key, STORE_ANY, err));
        ++*n_deleted;
    }
    return STATUS_OK;
}

status operations_trim(struct store *s, size_t *n_deleted, struct error *err) {
    struct arena a = {0};
    size_t n;
    *n_deleted = 0;
    TRY(store_count(s, STR("operations/"), &n, err));
    if (n <= OPERATIONS_MAX)
        return STATUS_OK;
    status st = trim(s, &a, n_deleted, err);
    arena_release(&a);
    return st;
}
