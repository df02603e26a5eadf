/* Deployed models: deploy, undeploy, mutate. What takes time is the reconciler's. */
#include <string.h>

#include "base/clock.h"
#include "control/api/call_internal.h"
#include "proto/vertex.pb-c.h"

static status deployment_timeout(const struct json_value *container, int64_t *seconds,
                                 struct error *err) {
    str text = record_string(container, "deploymentTimeout");
    double value = DEPLOYMENT_TIMEOUT_S;
    if (text.n && !str_to_double(str_slice(text, 0, text.n - 1), &value))
        return error_set(err, STATUS_INVALID_ARGUMENT, "deployment_timeout \"%.*s\" is no duration",
                         STR_ARG(text));
    *seconds = (int64_t)value;
    return STATUS_OK;
}

static status deployed_model_id(struct api_call *c, const struct json_value *endpoint, str *id,
                                struct error *err) {
    if (id->n == 0) {
        *id = name_new_id(c->arena);
        return STATUS_OK;
    }
    if (!name_is_deployed_model_id(*id) || id->n > 10)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "deployed_model.id \"%.*s\": wanted 1 to 10 digits.",
                         (int)(id->n < 40 ? id->n : 40), id->p);
    if (deployed_model_find(endpoint, *id))
        return error_set(err, STATUS_ALREADY_EXISTS,
                         "The endpoint has a deployed model \"%.*s\" already.", STR_ARG(*id));
    return STATUS_OK;
}

/* Refuses what this version of culmen does not do, rather than pretending. */
static status deployable_check(const struct json_value *dm, const struct json_value *version,
                               str model, struct error *err) {
    const struct json_value *container = json_get(version, "containerSpec");
    str image = record_string(container, "imageUri");
    if (!image_is_culmen(image))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "Model `%.*s` has the container image \"%.*s\", which cannot be deployed: "
                         "today culmen runs image \"culmen\" only, its own server on the model's "
                         "artifactUri (a folder with model.onnx, model.plan or a Triton model "
                         "repository).",
                         STR_ARG(model), (int)(image.n < 120 ? image.n : 120), image.p);
    if (json_get(dm, "rolloutOptions"))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "deployed_model.rollout_options: rollouts are not served yet.");
    if (json_get(dm, "speculativeDecodingSpec"))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "deployed_model.speculative_decoding_spec is not served yet.");
    return STATUS_OK;
}

/* The deployment record, from what the model says now: a later change of the model does not
 * reach what is deployed. */
static status deployment_new(struct api_call *c, struct json_value *dm,
                             const struct json_value *version, const struct resource_name *model,
                             struct json_value **out, struct error *err) {
    struct arena *a = c->arena;
    struct json_value *d = json_new_object(a);
    const struct json_value *container = json_get(version, "containerSpec");
    int64_t timeout_s = DEPLOYMENT_TIMEOUT_S;
    str path;
    TRY(artifact_check(a, record_string(version, "artifactUri"), &path, err));
    TRY(deployment_timeout(container, &timeout_s, err));
    json_set(d, STR("state"), json_new_string(a, STR(DEPLOYMENT_DEPLOYING)));
    json_set(d, STR("deployedModel"), dm);
    record_set_string(a, d, "modelName", name_resource(a, model));
    record_set_string(a, d, "versionId", record_string(version, "versionId"));
    record_set_string(a, d, "modelDisplayName", record_string(version, "displayName"));
    record_set_string(a, d, "artifactPath", path);
    record_set_i64(a, d, "generation", 1);
    record_set_i64(a, d, "deadline", wall_now_ns() + timeout_s * NS_PER_S);
    if (container)
        json_set(d, STR("containerSpec"), json_copy(a, container));
    if (json_get(c->body, "trafficSplit"))
        json_set(d, STR("trafficSplit"), json_copy(a, json_get(c->body, "trafficSplit")));
    *out = d;
    return STATUS_OK;
}

static status deploy_model(struct api_call *c, str endpoint_name, struct json_value *dm,
                           struct json_value *endpoint, int64_t endpoint_revision,
                           struct error *err) {
    struct arena *a = c->arena;
    struct resource_name model;
    struct json_value *model_record, *version, *deployment;
    int64_t model_revision;
    unsigned n_replicas;
    str model_text = record_string(dm, "model"), id = record_string(dm, "id");
    if (model_text.n == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Required field deployed_model.model is missing.");
    TRY(name_parse(&model, model_text, err));
    if (!str_eq(model.collection, STR("models")))
        return error_set(err, STATUS_INVALID_ARGUMENT, "deployed_model.model is no model's name.");
    TRY(model_read(c, &model, &model_record, &version, &model_revision, err));
    str model_name = name_resource(a, &model), version_id = record_string(version, "versionId");
    TRY(resources_check(a, dm, &n_replicas, err));
    TRY(deployable_check(dm, version, model_name, err));
    TRY(deployed_model_id(c, endpoint, &id, err));
    record_set_string(a, dm, "id", id);
    record_set_string(a, dm, "model", model_name);
    record_set_string(a, dm, "modelVersionId", version_id);
    record_set_string(a, dm, "createTime", record_now(a));
    if (!json_get(dm, "displayName"))
        record_set_string(a, dm, "displayName", record_string(version, "displayName"));
    TRY(deployment_new(c, dm, version, &model, &deployment, err));
    record_set_i64(a, deployment, "n", n_replicas);
    struct json_value *operation =
        operation_new(a, endpoint_name, c->version, "DeployModelOperationMetadata");
    record_set_string(a, json_get(json_get(operation, "operation"), "metadata"), "deploymentStage",
                      STR("STARTING_DEPLOYMENT"));
    record_set_string(a, deployment, "operation", operation_name(operation));

    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key_deployment(a, endpoint_name, id), deployment, STORE_ABSENT);
    record_put(&commit, record_key_use(a, model_name, version_id, endpoint_name, id),
               json_new_object(a), STORE_ABSENT);
    /* Written as they were: whoever deletes them meanwhile must notice. */
    record_put(&commit, record_key(a, "endpoints", endpoint_name), endpoint, endpoint_revision);
    record_put(&commit, record_key(a, "models", model_name), model_record, model_revision);
    operation_put(&commit, operation, STORE_ABSENT);
    status st = record_commit(&commit, c->store, NULL, err);
    if (st == STATUS_ALREADY_EXISTS)
        return error_set(err, st, "The endpoint has a deployed model \"%.*s\" already.",
                         STR_ARG(id));
    TRY(st);
    call_reply_operation(c, operation, HOLD_MS);
    return STATUS_OK;
}

status endpoint_deploy(struct api_call *c, struct error *err) {
    static const char *const output_only[] = {"createTime", "privateEndpoints", "status",
                                              "modelVersionId"};
    struct resource_name name;
    struct json_value *endpoint, *dm = json_get(c->body, "deployedModel");
    int64_t revision;
    size_t n;
    TRY(call_name(c, &name, err));
    str text = name_resource(c->arena, &name);
    if (!dm)
        return error_set(err, STATUS_INVALID_ARGUMENT, "Required field deployed_model is missing.");
    TRY(endpoint_read(c, text, &endpoint, &revision, err));
    TRY(check_traffic_split(endpoint, json_get(c->body, "trafficSplit"), true, err));
    TRY(store_count(c->store, str_format(c->arena, "deployments/%s/", text.p), &n, err));
    if (n >= DEPLOYED_MODELS_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "The endpoint has %zu deployed models, at most %d.", n,
                         DEPLOYED_MODELS_MAX);
    for (size_t i = 0; i < ARRAY_LEN(output_only); i++)
        json_remove(dm, str_from_c(output_only[i]));
    json_remove(c->body, STR("deployedModel"));
    dm->next = NULL;
    return deploy_model(c, text, dm, endpoint, revision, err);
}

/* The endpoint's split once deployed model `id` has gone. */
static status split_without(struct api_call *c, struct json_value *endpoint, str id,
                            struct error *err) {
    struct json_value *split = json_get(c->body, "trafficSplit"),
                      *before = json_get(endpoint, "trafficSplit");
    const struct json_value *left = json_get(endpoint, "deployedModels");
    int64_t share = 0;
    json_to_i64(json_get_str(before, id), &share);
    if (!left || left->n == 0) { /* it was the last */
        json_remove(endpoint, STR("trafficSplit"));
        return STATUS_OK;
    }
    if (split) {
        int64_t zero;
        if (json_to_i64(json_get_str(split, id), &zero) && zero == 0)
            json_remove(split, id);
        TRY(check_traffic_split(endpoint, split, false, err));
        json_set(endpoint, STR("trafficSplit"), json_copy(c->arena, split));
        return STATUS_OK;
    }
    if (share > 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "Deployed model \"%.*s\" receives %lld %% of the traffic and others are "
                         "deployed: give a traffic_split without it.",
                         STR_ARG(id), (long long)share);
    if (before)
        json_remove(before, id);
    return STATUS_OK;
}

static void list_remove(struct json_value *list, const struct json_value *element) {
    struct json_value *before = NULL;
    for (struct json_value *e = list->first; e; before = e, e = e->next)
        if (e == element) {
            if (before)
                before->next = e->next;
            else
                list->first = e->next;
            if (list->last == e)
                list->last = before;
            list->n--;
            return;
        }
}

static status no_deployed_model(str id, str endpoint, struct error *err) {
    return error_set(err, STATUS_NOT_FOUND,
                     "There is no deployed model \"%.*s\" in endpoint `%.*s`.",
                     (int)(id.n < 40 ? id.n : 40), id.p, STR_ARG(endpoint));
}

status endpoint_undeploy(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct arena *a = c->arena;
    struct json_value *endpoint, *deployment;
    int64_t revision, deployment_revision;
    str id = record_string(c->body, "deployedModelId");
    TRY(call_name(c, &name, err));
    str text = name_resource(a, &name);
    TRY(endpoint_read(c, text, &endpoint, &revision, err));
    if (id.n == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Required field deployed_model_id is missing.");
    const struct json_value *dm = deployed_model_find(endpoint, id);
    if (!dm)
        return no_deployed_model(id, text, err);
    TRY(record_get(c->store, a, record_key_deployment(a, text, id), &deployment,
                   &deployment_revision, err));
    struct json_value *list = json_get(endpoint, "deployedModels");
    list_remove(list, dm);
    TRY(split_without(c, endpoint, id, err));
    if (list->n == 0)
        json_remove(endpoint, STR("deployedModels"));
    record_set_string(a, endpoint, "updateTime", record_now(a));
    struct json_value *operation =
        operation_new(a, text, c->version, "UndeployModelOperationMetadata");
    record_set_string(a, deployment, "state", STR(DEPLOYMENT_UNDEPLOYING));
    record_set_string(a, deployment, "operation", operation_name(operation));
    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key(a, "endpoints", text), endpoint, revision);
    record_put(&commit, record_key_deployment(a, text, id), deployment, deployment_revision);
    operation_put(&commit, operation, STORE_ABSENT);
    TRY(record_commit(&commit, c->store, NULL, err));
    call_reply_operation(c, operation, HOLD_MS);
    return STATUS_OK;
}

/* What a mutation may name, and the field of which resources it sets. */
static const char *const mutable_fields[][3] = {
    {"dedicatedResources.minReplicaCount", "dedicatedResources", "minReplicaCount"},
    {"dedicatedResources.maxReplicaCount", "dedicatedResources", "maxReplicaCount"},
    {"dedicatedResources.requiredReplicaCount", "dedicatedResources", "requiredReplicaCount"},
    {"dedicatedResources.autoscalingMetricSpecs", "dedicatedResources", "autoscalingMetricSpecs"},
    {"automaticResources.minReplicaCount", "automaticResources", "minReplicaCount"},
    {"automaticResources.maxReplicaCount", "automaticResources", "maxReplicaCount"},
};

static status mutate_field(struct api_call *c, struct json_value *dm, str path, struct error *err) {
    for (size_t i = 0; i < ARRAY_LEN(mutable_fields); i++) {
        if (!str_eq_c(path, mutable_fields[i][0]))
            continue;
        struct json_value *to = json_get(dm, mutable_fields[i][1]);
        if (!to)
            return error_set(err, STATUS_INVALID_ARGUMENT, "The deployed model has no %s.",
                             mutable_fields[i][1]);
        const struct json_value *from =
            json_get(json_get(c->body, "deployedModel"), mutable_fields[i][1]);
        struct json_value *v = json_get(from, mutable_fields[i][2]);
        json_remove(to, str_from_c(mutable_fields[i][2]));
        if (v)
            json_set(to, str_from_c(mutable_fields[i][2]), json_copy(c->arena, v));
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "update_mask: the field \"%.*s\" cannot be mutated.",
                     (int)(path.n < 80 ? path.n : 80), path.p);
}

status endpoint_mutate(struct api_call *c, struct error *err) {
    struct resource_name name;
    struct field_mask mask;
    struct arena *a = c->arena;
    struct json_value *endpoint, *deployment;
    int64_t revision, deployment_revision;
    unsigned n_replicas;
    str id = record_string(json_get(c->body, "deployedModel"), "id");
    TRY(call_name(c, &name, err));
    str text = name_resource(a, &name);
    TRY(field_mask_read(&mask, a, record_string(c->body, "updateMask"), err));
    TRY(endpoint_read(c, text, &endpoint, &revision, err));
    struct json_value *dm = deployed_model_find(endpoint, id);
    if (!dm)
        return no_deployed_model(id, text, err);
    if (mask.n == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "Required field update_mask is missing.");
    for (size_t i = 0; i < mask.n; i++)
        TRY(mutate_field(c, dm, mask.paths[i], err));
    TRY(resources_check(a, dm, &n_replicas, err));
    TRY(record_get(c->store, a, record_key_deployment(a, text, id), &deployment,
                   &deployment_revision, err));
    json_set(deployment, STR("deployedModel"), json_copy(a, dm));
    record_set_i64(a, deployment, "n", n_replicas);
    record_set_string(a, endpoint, "updateTime", record_now(a));
    struct json_value *operation =
        operation_new(a, text, c->version, "MutateDeployedModelOperationMetadata");
    struct json_value *response = json_new_object(a), *seen = json_copy(a, dm);
    message_strip(seen, &culmen__vertex__deployed_model__descriptor, c->version);
    json_set(response, STR("deployedModel"), seen);
    operation_done(a, operation, "MutateDeployedModelResponse", response);
    struct record_commit commit = {.arena = a};
    record_put(&commit, record_key(a, "endpoints", text), endpoint, revision);
    record_put(&commit, record_key_deployment(a, text, id), deployment, deployment_revision);
    operation_put(&commit, operation, STORE_ABSENT);
    TRY(record_commit(&commit, c->store, NULL, err));
    call_reply_operation(c, operation, 0);
    return STATUS_OK;
}
