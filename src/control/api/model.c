/* Models and their versions. */
#include <string.h>

#include "base/clock.h"
#include "control/api/call_internal.h"
#include "proto/vertex.pb-c.h"

#define MODEL_DESCRIPTOR &culmen__vertex__model__descriptor

static const char *const output_only[] = {
    "name",
    "createTime",
    "updateTime",
    "deployedModels",
    "etag",
    "versionId",
    "versionCreateTime",
    "versionUpdateTime",
    "satisfiesPzs",
    "satisfiesPzi",
    "supportedDeploymentResourcesTypes",
    "supportedInputStorageFormats",
    "supportedOutputStorageFormats",
};

static const char *const mutable_fields[] = {
    "displayName", "description", "labels", "versionDescription", "metadata", "explanationSpec",
};

static bool has_alias(const struct json_value *version, str alias) {
    const struct json_value *list = json_get(version, "versionAliases");
    for (const struct json_value *e = list ? list->first : NULL; e; e = e->next)
        if (str_eq(e->text, alias))
            return true;
    return false;
}

/* The version that a number or alias means; empty: the default one. */
static struct json_value *version_find(const struct json_value *record, str version) {
    const struct json_value *versions = json_get(record, "versions");
    if (version.n == 0)
        version = STR("default");
    for (struct json_value *v = versions ? versions->first : NULL; v; v = v->next)
        if (str_eq(record_string(v, "versionId"), version) || has_alias(v, version))
            return v;
    return NULL;
}

status model_read(struct api_call *c, const struct resource_name *name, struct json_value **record,
                  struct json_value **version, int64_t *revision, struct error *err) {
    str text = name_resource(c->arena, name);
    status st =
        record_get(c->store, c->arena, record_key(c->arena, "models", text), record, revision, err);
    if (st == STATUS_NOT_FOUND)
        return error_set(err, st, "Model `%.*s` is not found.", STR_ARG(text));
    TRY(st);
    *version = version_find(*record, name->version);
    if (!*version)
        return error_set(err, STATUS_NOT_FOUND, "Model version `%.*s@%.*s` is not found.",
                         STR_ARG(text), STR_ARG(name->version));
    return STATUS_OK;
}

/* Lists where a version is deployed, in its "deployedModels". */
static status add_uses(struct api_call *c, str name, struct json_value *version,
                       struct error *err) {
    struct arena *a = c->arena;
    struct record *uses;
    size_t n;
    str prefix = str_format(a, "uses/%.*s@%.*s/", STR_ARG(name),
                            STR_ARG(record_string(version, "versionId")));
    TRY(record_list(c->store, a, prefix, &uses, &n, err));
    struct json_value *list = json_new_array(a);
    for (size_t i = 0; i < n; i++) {
        str rest = str_slice(uses[i].key, prefix.n, uses[i].key.n);
        ptrdiff_t slash = str_find_last(rest, '/');
        struct json_value *use = json_new_object(a);
        record_set_string(a, use, "endpoint", str_slice(rest, 0, (size_t)slash));
        record_set_string(a, use, "deployedModelId", str_slice(rest, (size_t)slash + 1, rest.n));
        json_append(list, use);
    }
    if (n)
        json_set(version, STR("deployedModels"), list);
    return STATUS_OK;
}

static status model_view(struct api_call *c, str name, struct json_value *version, int64_t revision,
                         struct error *err) {
    struct arena *a = c->arena;
    struct json_value *types = json_new_array(a);
    record_set_string(a, version, "name", name);
    set_etag(a, version, revision);
    /* Clients that do not find it here send no resources at all when they deploy. */
    json_append(types, json_new_string(a, STR("DEDICATED_RESOURCES")));
    json_set(version, STR("supportedDeploymentResourcesTypes"), types);
    TRY(add_uses(c, name, version, err));
    message_strip(version, MODEL_DESCRIPTOR, c->version);
    return STATUS_OK;
}

static status ports_check(const struct json_value *list, const char *field, struct error *err) {
    for (const struct json_value *p = list ? list->first : NULL; p; p = p->next) {
        int64_t port = record_i64(p, "containerPort", 0);
        if (port < 1 || port > 65535)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "model.container_spec.%s: container_port is %lld, wanted 1 to 65535.",
                             field, (long long)port);
    }
    return STATUS_OK;
}

static status environment_check(const struct json_value *list, struct error *err) {
    if (list && list->n > 100)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model.container_spec.env has %zu entries, at most 100.", list->n);
    for (const struct json_value *e = list ? list->first : NULL; e; e = e->next) {
        str name = record_string(e, "name"), value = record_string(e, "value");
        if (name.n == 0 || str_find(name, '=') >= 0 || memchr(name.p, 0, name.n) ||
            (value.n && memchr(value.p, 0, value.n)))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "model.container_spec.env: a variable needs a name without '='.");
        if (str_starts(name, STR("AIP_")) || str_starts(name, STR("LISTEN_")))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "model.container_spec.env: \"%.*s\" may not begin with AIP_ or "
                             "LISTEN_.",
                             (int)(name.n < 60 ? name.n : 60), name.p);
    }
    return STATUS_OK;
}

static status route_check(const struct json_value *container, const char *member, const char *field,
                          struct error *err) {
    str route = record_string(container, member);
    bool is_good = route.n < 400;
    for (size_t i = 0; i < route.n; i++)
        is_good = is_good && route.p[i] > ' ' && route.p[i] <= '~';
    if (route.n && (route.p[0] != '/' || !is_good))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model.container_spec.%s must begin with '/' and hold no spaces.", field);
    return STATUS_OK;
}

static status container_check(struct arena *a, const struct json_value *model, struct error *err) {
    const struct json_value *container = json_get(model, "containerSpec");
    str image = record_string(container, "imageUri"), path;
    if (!container || image.n == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Required field model.container_spec.image_uri is missing.");
    TRY(ports_check(json_get(container, "ports"), "ports", err));
    TRY(ports_check(json_get(container, "grpcPorts"), "grpc_ports", err));
    TRY(environment_check(json_get(container, "env"), err));
    TRY(route_check(container, "predictRoute", "predict_route", err));
    TRY(route_check(container, "healthRoute", "health_route", err));
    str timeout = record_string(container, "deploymentTimeout");
    double seconds = 1;
    if (timeout.n && (!str_to_double(str_slice(timeout, 0, timeout.n - 1), &seconds) ||
                      seconds <= 0 || seconds > DEPLOYMENT_TIMEOUT_MAX_S))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model.container_spec.deployment_timeout must be over 0 and at most %ds.",
                         DEPLOYMENT_TIMEOUT_MAX_S);
    if (!image_is_culmen(image))
        return STATUS_OK;
    if (json_get(container, "command") || json_get(container, "args"))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model.container_spec: image \"culmen\" takes no command and no args.");
    return artifact_check(a, record_string(model, "artifactUri"), &path, err);
}

static status aliases_check(const struct json_value *list, struct error *err) {
    if (list && list->n > 32)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "version_aliases has %zu entries, at most 32.", list->n);
    for (const struct json_value *e = list ? list->first : NULL; e; e = e->next)
        if (!name_is_alias(e->text))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "version_aliases: \"%.*s\" is not of the form "
                             "[a-z][a-zA-Z0-9-]{0,126}[a-z0-9].",
                             (int)(e->text.n < 60 ? e->text.n : 60), e->text.p);
    return STATUS_OK;
}

static void alias_add(struct arena *a, struct json_value *version, str alias) {
    struct json_value *list = json_get(version, "versionAliases");
    if (!list) {
        list = json_new_array(a);
        json_set(version, STR("versionAliases"), list);
    }
    if (!has_alias(version, alias))
        json_append(list, json_new_string(a, alias));
}

static void alias_remove(struct arena *a, struct json_value *version, str alias) {
    const struct json_value *list = json_get(version, "versionAliases");
    if (!list || !has_alias(version, alias))
        return;
    struct json_value *kept = json_new_array(a);
    for (const struct json_value *e = list->first; e; e = e->next)
        if (!str_eq(e->text, alias))
            json_append(kept, json_new_string(a, e->text));
    json_set(version, STR("versionAliases"), kept);
}

/* Gives `alias` to `version` alone. */
static void alias_move(struct arena *a, struct json_value *record, struct json_value *version,
                       str alias) {
    for (struct json_value *v = json_get(record, "versions")->first; v; v = v->next)
        if (v != version)
            alias_remove(a, v, alias);
    alias_add(a, version, alias);
}

/* The record that gets a new version: the parent's, or a new one. */
static status upload_target(struct api_call *c, struct resource_name *name,
                            struct json_value **record, int64_t *revision, struct error *err) {
    str parent_model = record_string(c->body, "parentModel"),
        id = record_string(c->body, "modelId");
    struct json_value *version;
    size_t n;
    if (parent_model.n) {
        struct resource_name parent;
        TRY(name_parse(&parent, parent_model, err));
        if (!str_eq(parent.collection, STR("models")) || parent.operation.p ||
            !str_eq(parent.project, name->project) || !str_eq(parent.location, name->location))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "parent_model is no model of this project and location.");
        *name = parent;
        return model_read(c, name, record, &version, revision, err);
    }
    if (id.n && !name_is_model_id(id))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model_id \"%.*s\": wanted lower case letters, digits, '_' and '-', a "
                         "letter first, at most 63.",
                         (int)(id.n < 80 ? id.n : 80), id.p);
    TRY(store_count(c->store, STR("models/"), &n, err));
    if (n >= MODELS_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "There are %zu models, at most %d.", n,
                         MODELS_MAX);
    name->collection = STR("models");
    name->id = id.n ? id : name_new_id(c->arena);
    *record = json_new_object(c->arena);
    json_set(*record, STR("versions"), json_new_array(c->arena));
    *revision = STORE_ABSENT;
    return STATUS_OK;
}

/* Appends the version to its record; returns its number. */
static str version_append(struct arena *a, struct json_value *record, struct json_value *model) {
    int64_t number = record_i64(record, "nextVersion", 1);
    str id = str_format(a, "%lld", (long long)number), now = record_now(a);
    struct json_value *versions = json_get(record, "versions"),
                      *aliases = json_get(model, "versionAliases");
    const struct json_value *first = versions->first;
    record_set_string(a, model, "versionId", id);
    record_set_string(a, model, "createTime", first ? record_string(first, "createTime") : now);
    record_set_string(a, model, "updateTime", now);
    record_set_string(a, model, "versionCreateTime", now);
    record_set_string(a, model, "versionUpdateTime", now);
    record_set_i64(a, record, "nextVersion", number + 1);
    json_append(versions, model);
    for (const struct json_value *e = aliases ? aliases->first : NULL; e; e = e->next)
        alias_move(a, record, model, e->text);
    if (number == 1)
        alias_add(a, model, STR("default"));
    return id;
}

status model_upload(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct arena *a = c->arena;
    struct json_value *record, *model = json_get(c->body, "model");
    int64_t revision;
    TRY(name_parse(&name, str_slice(c->resource, 0, c->resource.n - (sizeof "/models" - 1)), err));
    if (!model)
        return error_set(err, STATUS_INVALID_ARGUMENT, "Required field model is missing.");
    for (size_t i = 0; i < ARRAY_LEN(output_only); i++)
        json_remove(model, str_from_c(output_only[i]));
    json_remove(c->body, STR("model"));
    model->next = NULL;
    TRY(check_display_name(model, true, "model", err));
    TRY(check_labels(model, "model", err));
    TRY(container_check(a, model, err));
    TRY(aliases_check(json_get(model, "versionAliases"), err));
    if (json_get(model, "encryptionSpec"))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "model.encryption_spec: keys of a key service are not served.");
    TRY(upload_target(c, &name, &record, &revision, err));
    if (json_get(record, "versions")->n >= MODEL_VERSIONS_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "The model has %zu versions, at most %d.",
                         json_get(record, "versions")->n, MODEL_VERSIONS_MAX);
    str text = name_resource(a, &name), id = version_append(a, record, model);
    struct json_value *operation =
        operation_new(a, text, c->version, "UploadModelOperationMetadata");
    struct json_value *response = json_new_object(a);
    record_set_string(a, response, "model", text);
    record_set_string(a, response, "modelVersionId", id);
    operation_done(a, operation, "UploadModelResponse", response);
    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key(a, "models", text), record, revision);
    operation_put(&commit, operation, STORE_ABSENT);
    status st = record_commit(&commit, c->store, NULL, err);
    if (st == STATUS_ALREADY_EXISTS)
        return error_set(err, st, "Model `%.*s` exists already.", STR_ARG(text));
    TRY(st);
    call_reply_operation(c, operation, 0);
    return STATUS_OK;
}

status model_get(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct json_value *record;
    int64_t revision;
    TRY(call_name(c, &name, err));
    TRY(model_read(c, &name, &record, &c->reply, &revision, err));
    return model_view(c, name_resource(c->arena, &name), c->reply, revision, err);
}

static const struct list_form list_form = {"models", "model", MODEL_DESCRIPTOR};

status model_list(struct api_call *c, struct error *err) {
    struct resource_name parent;
    struct record *records;
    size_t n, n_items = 0;
    TRY(call_parent(c, STR("models"), &parent, err));
    str prefix = str_format(c->arena, "models/%s/", name_parent(c->arena, &parent).p);
    TRY(record_list(c->store, c->arena, prefix, &records, &n, err));
    struct list_item *items = arena_array(c->arena, struct list_item, n + 1);
    for (size_t i = 0; i < n; i++) {
        str name = str_slice(records[i].key, sizeof "models/" - 1, records[i].key.n);
        struct json_value *version = version_find(records[i].value, STR(""));
        if (!version)
            continue;
        TRY(model_view(c, name, version, records[i].revision, err));
        items[n_items++] = (struct list_item){.key = name, .resource = version};
    }
    return call_reply_list(c, &list_form, items, n_items, err);
}

status model_list_versions(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct json_value *record, *version;
    struct arena *a = c->arena;
    int64_t revision;
    size_t n = 0;
    TRY(call_name(c, &name, err));
    TRY(model_read(c, &name, &record, &version, &revision, err));
    str text = name_resource(a, &name);
    struct json_value *versions = json_get(record, "versions");
    struct list_item *items = arena_array(a, struct list_item, versions->n + 1);
    for (struct json_value *v = versions->first, *next; v; v = next) {
        next = v->next;
        v->next = NULL;
        TRY(model_view(c, text, v, revision, err));
        str id = record_string(v, "versionId");
        record_set_string(a, v, "name", str_format(a, "%.*s@%.*s", STR_ARG(text), STR_ARG(id)));
        items[n++] = (struct list_item){.key = id, .resource = v};
    }
    return call_reply_list(c, &list_form, items, n, err);
}

static bool is_mutable(str field) {
    for (size_t i = 0; i < ARRAY_LEN(mutable_fields); i++)
        if (str_eq_c(field, mutable_fields[i]))
            return true;
    return false;
}

status model_update(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct field_mask mask;
    struct json_value *record, *version;
    struct arena *a = c->arena;
    int64_t revision;
    TRY(call_name(c, &name, err));
    TRY(field_mask_read(&mask, a, call_query(c, "updateMask"), err));
    bool is_all = field_mask_is_all(&mask), is_open = mask.n == 0 || is_all;
    mask.n = is_open ? 0 : mask.n;
    for (size_t i = 0; is_open && i < ARRAY_LEN(mutable_fields); i++)
        if (is_all || json_get(c->body, mutable_fields[i]))
            mask.paths[mask.n++] = str_from_c(mutable_fields[i]);
    TRY(model_read(c, &name, &record, &version, &revision, err));
    TRY(check_etag(c->body, revision, err));
    for (size_t i = 0; i < mask.n; i++) {
        if (!is_mutable(mask.paths[i]))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "update_mask: the field \"%.*s\" cannot be updated.",
                             (int)(mask.paths[i].n < 80 ? mask.paths[i].n : 80), mask.paths[i].p);
        struct json_value *v = json_get_str(c->body, mask.paths[i]);
        json_remove(version, mask.paths[i]);
        if (v)
            json_set(version, mask.paths[i], json_copy(a, v));
    }
    TRY(check_display_name(version, true, "model", err));
    TRY(check_labels(version, "model", err));
    record_set_string(a, version, "updateTime", record_now(a));
    record_set_string(a, version, "versionUpdateTime", record_now(a));
    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key(a, "models", name_resource(a, &name)), record, revision);
    TRY(record_commit(&commit, c->store, &revision, err));
    c->reply = version;
    return model_view(c, name_resource(a, &name), version, revision, err);
}

static status check_unused(struct api_call *c, str prefix, const char *what, struct error *err) {
    size_t n;
    TRY(store_count(c->store, prefix, &n, err));
    if (n > 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "The %s is deployed or being deployed at %zu place(s). Undeploy it first.",
                         what, n);
    return STATUS_OK;
}

status model_delete(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct json_value *record, *version;
    struct arena *a = c->arena;
    int64_t revision;
    TRY(call_name(c, &name, err));
    if (name.version.n)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "A version is deleted by :deleteVersion; this deletes whole models.");
    TRY(model_read(c, &name, &record, &version, &revision, err));
    str text = name_resource(a, &name);
    TRY(check_unused(c, str_format(a, "uses/%s@", text.p), "model", err));
    struct json_value *operation =
        operation_new(a, name_parent(a, &name), c->version, "DeleteOperationMetadata");
    operation_done(a, operation, NULL, NULL);
    struct record_commit commit = {.arena = a};
    record_delete(&commit, record_key(a, "models", text), revision);
    operation_put(&commit, operation, STORE_ABSENT);
    TRY(record_commit(&commit, c->store, NULL, err));
    call_reply_operation(c, operation, 0);
    return STATUS_OK;
}

status model_delete_version(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct json_value *record, *version;
    struct arena *a = c->arena;
    int64_t revision;
    TRY(call_name(c, &name, err));
    if (name.version.n == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "The name has no version: models/M@VERSION.");
    TRY(model_read(c, &name, &record, &version, &revision, err));
    if (has_alias(version, STR("default")))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "The default version cannot be deleted: make another one the default, or "
                         "delete the model.");
    str text = name_resource(a, &name), id = record_string(version, "versionId");
    TRY(check_unused(c, str_format(a, "uses/%s@%.*s/", text.p, STR_ARG(id)), "version", err));
    struct json_value *kept = json_new_array(a);
    for (const struct json_value *v = json_get(record, "versions")->first; v; v = v->next)
        if (v != version)
            json_append(kept, json_copy(a, v));
    json_set(record, STR("versions"), kept);
    struct json_value *operation = operation_new(a, text, c->version, "DeleteOperationMetadata");
    operation_done(a, operation, NULL, NULL);
    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key(a, "models", text), record, revision);
    operation_put(&commit, operation, STORE_ABSENT);
    TRY(record_commit(&commit, c->store, NULL, err));
    call_reply_operation(c, operation, 0);
    return STATUS_OK;
}

/* Adds aliases, or removes those that have a '-' in front. */
status model_merge_aliases(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct json_value *record, *version;
    struct arena *a = c->arena;
    int64_t revision;
    const struct json_value *aliases = json_get(c->body, "versionAliases");
    TRY(call_name(c, &name, err));
    TRY(model_read(c, &name, &record, &version, &revision, err));
    for (const struct json_value *e = aliases ? aliases->first : NULL; e; e = e->next) {
        bool is_removed = str_starts(e->text, STR("-"));
        str alias = is_removed ? str_slice(e->text, 1, e->text.n) : e->text;
        if (!name_is_alias(alias))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "version_aliases: \"%.*s\" is not of the form "
                             "[a-z][a-zA-Z0-9-]{0,126}[a-z0-9].",
                             (int)(alias.n < 60 ? alias.n : 60), alias.p);
        if (!is_removed) {
            alias_move(a, record, version, alias);
        } else if (str_eq(alias, STR("default"))) {
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "The alias \"default\" cannot be removed, only given to another "
                             "version.");
        } else {
            alias_remove(a, version, alias);
        }
    }
    record_set_string(a, version, "versionUpdateTime", record_now(a));
    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key(a, "models", name_resource(a, &name)), record, revision);
    TRY(record_commit(&commit, c->store, &revision, err));
    c->reply = version;
    return model_view(c, name_resource(a, &name), version, revision, err);
}
