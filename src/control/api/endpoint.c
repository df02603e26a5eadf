/* Endpoints: create, get, list, patch, delete. */
#include <string.h>

#include "base/clock.h"
#include "control/api/call_internal.h"
#include "proto/vertex.pb-c.h"

/* What a caller's Endpoint says about these is ours to say. */
static const char *const output_only[] = {
    "name",
    "deployedModels",
    "createTime",
    "updateTime",
    "etag",
    "satisfiesPzs",
    "satisfiesPzi",
    "trafficSplit",
    "dedicatedEndpointDns",
    "modelDeploymentMonitoringJob",
};

/* What an updateMask may name. */
static const char *const mutable_fields[] = {
    "displayName",
    "description",
    "labels",
    "trafficSplit",
    "clientConnectionConfig",
    "predictRequestResponseLoggingConfig",
    "privateServiceConnectConfig",
};

status endpoint_read(struct api_call *c, str name, struct json_value **out, int64_t *revision,
                     struct error *err) {
    status st =
        record_get(c->store, c->arena, record_key(c->arena, "endpoints", name), out, revision, err);
    if (st == STATUS_NOT_FOUND)
        return error_set(err, st, "Endpoint `%.*s` is not found.", STR_ARG(name));
    return st;
}

struct json_value *deployed_model_find(const struct json_value *endpoint, str id) {
    const struct json_value *list = json_get(endpoint, "deployedModels");
    for (struct json_value *d = list ? list->first : NULL; d; d = d->next)
        if (str_eq(record_string(d, "id"), id))
            return d;
    return NULL;
}

status endpoint_view(struct api_call *c, str name, struct json_value *record, int64_t revision,
                     struct error *err) {
    record_set_string(c->arena, record, "name", name);
    set_etag(c->arena, record, revision);
    const struct json_value *list = json_get(record, "deployedModels");
    for (struct json_value *d = list ? list->first : NULL; d; d = d->next) {
        struct json_value *state;
        status st = record_get(c->store, c->arena,
                               record_key_status(c->arena, name, record_string(d, "id")), &state,
                               NULL, err);
        if (st == STATUS_OK)
            json_set(d, STR("status"), state);
        else if (st != STATUS_NOT_FOUND)
            return st;
    }
    message_strip(record, &culmen__vertex__endpoint__descriptor, c->version);
    return STATUS_OK;
}

status check_traffic_split(const struct json_value *endpoint, const struct json_value *split,
                           bool allows_new, struct error *err) {
    int64_t sum = 0;
    if (!split || split->n == 0)
        return STATUS_OK;
    for (const struct json_value *s = split->first; s; s = s->next) {
        int64_t percent = -1;
        if (!json_to_i64(s, &percent) || percent < 0 || percent > 100)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "traffic_split: the share of \"%.*s\" must be 0 to 100.",
                             (int)(s->name.n < 40 ? s->name.n : 40), s->name.p);
        if (!(allows_new && str_eq(s->name, STR("0"))) && !deployed_model_find(endpoint, s->name))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "traffic_split: there is no deployed model \"%.*s\" in the endpoint.",
                             (int)(s->name.n < 40 ? s->name.n : 40), s->name.p);
        sum += percent;
    }
    if (sum != 100)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "traffic_split: the percentages add up to %lld, they must add up to 100.",
                         (long long)sum);
    return STATUS_OK;
}

static status endpoint_check(struct json_value *e, struct error *err) {
    if (json_get(e, "encryptionSpec"))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "endpoint.encryption_spec: keys of a key service are not served.");
    const struct json_value *logging = json_get(e, "predictRequestResponseLoggingConfig");
    double rate;
    if (json_to_f64(json_get(logging, "samplingRate"), &rate) && (rate < 0 || rate > 1))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "endpoint.predict_request_response_logging_config.sampling_rate must be "
                         "over 0 and at most 1.");
    TRY(check_display_name(e, true, "endpoint", err));
    return check_labels(e, "endpoint", err);
}

status endpoint_create(struct api_call *c, struct error *err) {
    struct resource_name parent;
    struct arena *a = c->arena;
    struct json_value *e = c->body;
    str id = call_query(c, "endpointId");
    size_t n;
    TRY(call_parent(c, STR("endpoints"), &parent, err));
    TRY(endpoint_check(e, err));
    if (id.n && !name_is_endpoint_id(id))
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "endpoint_id \"%.*s\": wanted a letter and then lower case letters, digits "
            "and '-', at most 63, or a number of at most 9 digits.",
            (int)(id.n < 80 ? id.n : 80), id.p);
    if (json_get(e, "trafficSplit"))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "endpoint.traffic_split: no model is deployed yet.");
    TRY(store_count(c->store, STR("endpoints/"), &n, err));
    if (n >= ENDPOINTS_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "There are %zu endpoints, at most %d.", n,
                         ENDPOINTS_MAX);
    for (size_t i = 0; i < ARRAY_LEN(output_only); i++)
        json_remove(e, str_from_c(output_only[i]));
    parent.collection = STR("endpoints");
    parent.id = id.n ? id : name_new_id(a);
    str name = name_resource(a, &parent), now = record_now(a);
    record_set_string(a, e, "createTime", now);
    record_set_string(a, e, "updateTime", now);
    bool is_dedicated = false;
    if (json_to_bool(json_get(e, "dedicatedEndpointEnabled"), &is_dedicated) && is_dedicated)
        record_set_string(a, e, "dedicatedEndpointDns", str_from_c(c->api->public_address));
    struct json_value *operation =
        operation_new(a, name, c->version, "CreateEndpointOperationMetadata");
    struct json_value *response = json_copy(a, e);
    record_set_string(a, response, "name", name);
    message_strip(response, &culmen__vertex__endpoint__descriptor, c->version);
    operation_done(a, operation, "Endpoint", response);
    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key(a, "endpoints", name), e, STORE_ABSENT);
    operation_put(&commit, operation, STORE_ABSENT);
    status st = record_commit(&commit, c->store, NULL, err);
    if (st == STATUS_ALREADY_EXISTS)
        return error_set(err, st, "Endpoint `%.*s` exists already.", STR_ARG(name));
    TRY(st);
    call_reply_operation(c, operation, 0);
    return STATUS_OK;
}

/* ?allDeploymentStates=true: shows models that are being deployed, too. */
static status add_deploying(struct api_call *c, str name, struct json_value *e, struct error *err) {
    struct arena *a = c->arena;
    struct record *deployments;
    size_t n;
    if (!str_eq(call_query(c, "allDeploymentStates"), STR("true")))
        return STATUS_OK;
    TRY(record_list(c->store, a, str_format(a, "deployments/%s/", name.p), &deployments, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(record_string(deployments[i].value, "state"), STR(DEPLOYMENT_DEPLOYING)))
            continue;
        if (!json_get(e, "deployedModels"))
            json_set(e, STR("deployedModels"), json_new_array(a));
        json_append(json_get(e, "deployedModels"),
                    json_copy(a, json_get(deployments[i].value, "deployedModel")));
    }
    return STATUS_OK;
}

status endpoint_get(struct api_call *c, struct error *err) {
    struct resource_name name;
    int64_t revision;
    TRY(call_name(c, &name, err));
    str text = name_resource(c->arena, &name);
    TRY(endpoint_read(c, text, &c->reply, &revision, err));
    TRY(add_deploying(c, text, c->reply, err));
    return endpoint_view(c, text, c->reply, revision, err);
}

status endpoint_list(struct api_call *c, struct error *err) {
    struct resource_name parent;
    struct record *records;
    size_t n;
    TRY(call_parent(c, STR("endpoints"), &parent, err));
    str prefix = str_format(c->arena, "endpoints/%s/", name_parent(c->arena, &parent).p);
    TRY(record_list(c->store, c->arena, prefix, &records, &n, err));
    struct list_item *items = arena_array(c->arena, struct list_item, n + 1);
    for (size_t i = 0; i < n; i++) {
        str name = str_slice(records[i].key, sizeof "endpoints/" - 1, records[i].key.n);
        TRY(endpoint_view(c, name, records[i].value, records[i].revision, err));
        items[i] = (struct list_item){.key = name, .resource = records[i].value};
    }
    static const struct list_form form = {"endpoints", "endpoint",
                                          &culmen__vertex__endpoint__descriptor};
    return call_reply_list(c, &form, items, n, err);
}

static bool is_mutable(str field) {
    for (size_t i = 0; i < ARRAY_LEN(mutable_fields); i++)
        if (str_eq_c(field, mutable_fields[i]))
            return true;
    return false;
}

/* Without a mask: everything that may change and that the body names; "*": all that may change. */
static status mask_of(struct api_call *c, struct field_mask *mask, struct error *err) {
    TRY(field_mask_read(mask, c->arena, call_query(c, "updateMask"), err));
    if (field_mask_is_all(mask))
        for (mask->n = 0; mask->n < ARRAY_LEN(mutable_fields); mask->n++)
            mask->paths[mask->n] = str_from_c(mutable_fields[mask->n]);
    else if (mask->n == 0)
        for (size_t i = 0; i < ARRAY_LEN(mutable_fields); i++)
            if (json_get(c->body, mutable_fields[i]))
                mask->paths[mask->n++] = str_from_c(mutable_fields[i]);
    for (size_t i = 0; i < mask->n; i++)
        if (!is_mutable(mask->paths[i]))
            return error_set(
                err, STATUS_INVALID_ARGUMENT, "update_mask: the field \"%.*s\" cannot be updated.",
                (int)(mask->paths[i].n < 80 ? mask->paths[i].n : 80), mask->paths[i].p);
    return STATUS_OK;
}

status endpoint_update(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct field_mask mask;
    struct json_value *e;
    int64_t revision;
    TRY(call_name(c, &name, err));
    TRY(mask_of(c, &mask, err));
    str text = name_resource(c->arena, &name);
    TRY(endpoint_read(c, text, &e, &revision, err));
    TRY(check_etag(c->body, revision, err));
    for (size_t i = 0; i < mask.n; i++) {
        struct json_value *v = json_get_str(c->body, mask.paths[i]);
        if (str_eq(mask.paths[i], STR("trafficSplit")))
            TRY(check_traffic_split(e, v, false, err));
        json_remove(e, mask.paths[i]);
        if (v)
            json_set(e, mask.paths[i], json_copy(c->arena, v));
    }
    TRY(endpoint_check(e, err));
    record_set_string(c->arena, e, "updateTime", record_now(c->arena));
    struct record_commit commit = {.arena = c->arena};
    record_put(&commit, record_key(c->arena, "endpoints", text), e, revision);
    TRY(record_commit(&commit, c->store, &revision, err));
    /* A caller who has the reply sees the new split. */
    if (c->api->settle && json_get(e, "deployedModels"))
        c->api->settle(c->api->settle_arg, revision);
    c->reply = e;
    return endpoint_view(c, text, e, revision, err);
}

status endpoint_delete(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct arena *a = c->arena;
    struct json_value *e;
    int64_t revision;
    size_t n;
    TRY(call_name(c, &name, err));
    str text = name_resource(a, &name);
    TRY(endpoint_read(c, text, &e, &revision, err));
    TRY(store_count(c->store, str_format(a, "deployments/%s/", text.p), &n, err));
    if (n > 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "Endpoint `%.*s` has %zu deployed or being-deployed model(s). Undeploy "
                         "them first.",
                         STR_ARG(text), n);
    struct json_value *operation =
        operation_new(a, name_parent(a, &name), c->version, "DeleteOperationMetadata");
    operation_done(a, operation, NULL, NULL);
    struct record_commit commit = {.arena = a};
    record_delete(&commit, record_key(a, "endpoints", text), revision);
    operation_put(&commit, operation, STORE_ABSENT);
    TRY(record_commit(&commit, c->store, NULL, err));
    call_reply_operation(c, operation, 0);
    return STATUS_OK;
}

/* A predict comes here when the gateway has no route for its endpoint: says why. */
status endpoint_unrouted(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct json_value *e;
    TRY(call_name(c, &name, err));
    str text = name_resource(c->arena, &name);
    TRY(endpoint_read(c, text, &e, NULL, err));
    if (!json_get(e, "deployedModels"))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "Endpoint `%.*s` has no deployed model. Deploy one first.", STR_ARG(text));
    const struct json_value *split = json_get(e, "trafficSplit");
    if (!split || split->n == 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "Endpoint `%.*s` has deployed models and an empty traffic_split, so that "
                         "none of them takes requests. Set one.",
                         STR_ARG(text));
    return error_set(err, STATUS_UNAVAILABLE,
                     "Endpoint `%.*s` has no route yet. Try again in a second.", STR_ARG(text));
}
