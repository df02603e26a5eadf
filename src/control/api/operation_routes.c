/* Operations as callers see them, and the locations that there are. */
#include "base/clock.h"
#include "control/api/call_internal.h"
#include "proto/vertex.pb-c.h"

static status operation_read(struct api_call *c, struct json_value **record, int64_t *revision,
                             struct error *err) {
    struct resource_name name;
    TRY(call_name(c, &name, err));
    status st = record_get(c->store, c->arena, record_key(c->arena, "operations", c->resource),
                           record, revision, err);
    if (st == STATUS_NOT_FOUND)
        return error_set(err, st, "Operation `%.*s` is not found.", STR_ARG(c->resource));
    return st;
}

status operation_get(struct api_call *c, struct error *err) {
    struct json_value *record;
    TRY(operation_read(c, &record, NULL, err));
    c->reply = json_get(record, "operation");
    return STATUS_OK;
}

status operation_list(struct api_call *c, struct error *err) {
    struct resource_name parent;
    struct record *records;
    size_t n;
    TRY(call_parent(c, STR("operations"), &parent, err));
    /* Of a location: those of all its resources too. */
    str prefix = str_format(c->arena, "operations/%.*s/",
                            (int)(c->resource.n - sizeof "operations"), c->resource.p);
    TRY(record_list(c->store, c->arena, prefix, &records, &n, err));
    struct list_item *items = arena_array(c->arena, struct list_item, n + 1);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct list_item){.key = records[i].key,
                                      .resource = json_get(records[i].value, "operation")};
    static const struct list_form form = {"operations", "operation", NULL};
    return call_reply_list(c, &form, items, n, err);
}

status operation_delete(struct api_call *c, struct error *err) {
    struct json_value *record;
    int64_t revision;
    TRY(operation_read(c, &record, &revision, err));
    if (!operation_is_done(record))
        return error_set(err, STATUS_FAILED_PRECONDITION, "The operation has not ended yet.");
    TRY(store_delete(c->store, record_key(c->arena, "operations", c->resource), revision, err));
    c->reply = json_new_object(c->arena);
    return STATUS_OK;
}

status operation_wait(struct api_call *c, struct error *err) {
    struct json_value *record;
    double seconds = WAIT_MS_MAX / 1000.0;
    str text = record_string(c->body, "timeout");
    if (text.n == 0)
        text = call_query(c, "timeout");
    if (text.n && (!str_to_double(str_ends(text, STR("s")) ? str_slice(text, 0, text.n - 1) : text,
                                  &seconds) ||
                   !(seconds >= 0)))
        return error_set(err, STATUS_INVALID_ARGUMENT, "timeout is no duration, such as \"3.5s\".");
    TRY(operation_read(c, &record, NULL, err));
    if (seconds > WAIT_MS_MAX / 1000.0)
        seconds = WAIT_MS_MAX / 1000.0;
    call_reply_operation(c, record, (int64_t)(seconds * 1000));
    return STATUS_OK;
}

/* A deployment that has not reached its endpoint is given up; its operation ends as cancelled. */
static status deployment_cancel(struct api_call *c, struct json_value *record, int64_t revision,
                                struct error *err) {
    struct arena *a = c->arena;
    struct record *deployments;
    struct resource_name name;
    size_t n;
    TRY(call_name(c, &name, err));
    str endpoint = name_resource(a, &name);
    TRY(record_list(c->store, a, str_format(a, "deployments/%s/", endpoint.p), &deployments, &n,
                    err));
    for (size_t i = 0; i < n; i++) {
        const struct json_value *d = deployments[i].value;
        if (!str_eq(record_string(d, "operation"), c->resource) ||
            !str_eq(record_string(d, "state"), STR(DEPLOYMENT_DEPLOYING)))
            continue;
        operation_failed(a, record, STATUS_CANCELLED, STR("The operation was cancelled."));
        str id = record_string(json_get(d, "deployedModel"), "id");
        struct record_commit commit = {.arena = a};
        record_delete(&commit, deployments[i].key, deployments[i].revision);
        record_delete(&commit, record_key_status(a, endpoint, id), STORE_ANY);
        record_delete(&commit,
                      record_key_use(a, record_string(d, "modelName"),
                                     record_string(d, "versionId"), endpoint, id),
                      STORE_ANY);
        operation_put(&commit, record, revision);
        return record_commit(&commit, c->store, NULL, err);
    }
    return STATUS_OK;
}

status operation_cancel(struct api_call *c, struct error *err) {
    struct json_value *record;
    int64_t revision;
    TRY(operation_read(c, &record, &revision, err));
    /* Best effort: what is not a deployment goes on to its end. */
    if (!operation_is_done(record))
        TRY(deployment_cancel(c, record, revision, err));
    c->reply = json_new_object(c->arena);
    return STATUS_OK;
}

static struct json_value *location_of(struct arena *a, str project, str id) {
    struct json_value *location = json_new_object(a);
    record_set_string(a, location, "name",
                      str_format(a, "projects/%.*s/locations/%.*s", STR_ARG(project), STR_ARG(id)));
    record_set_string(a, location, "locationId", id);
    record_set_string(a, location, "displayName", id);
    return location;
}

status location_get(struct api_call *c, struct error *err) {
    struct resource_name name;
    TRY(call_name(c, &name, err));
    c->reply = location_of(c->arena, name.project, name.location);
    return STATUS_OK;
}

/* Every name that clients accept is a location here; this is the one that docs use. */
status location_list(struct api_call *c, struct error *err) {
    struct resource_name name;
    str any = str_format(c->arena, "%.*s/us-central1", STR_ARG(c->resource));
    TRY(name_parse(&name, any, err));
    struct json_value *list = json_new_array(c->arena);
    json_append(list, location_of(c->arena, name.project, STR("us-central1")));
    c->reply = json_new_object(c->arena);
    json_set(c->reply, STR("locations"), list);
    return STATUS_OK;
}
