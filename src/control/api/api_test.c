#include "control/api/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/test.h"

#define P "/v1/projects/p1/locations/us-central1"

struct fixture {
    char folder[64];
    struct api api;
    struct arena arena;
    struct api_reply reply;
    struct json_value *json;
};

static void fixture_init(struct fixture *f) {
    char path[128];
    struct error err = {0};
    *f = (struct fixture){.folder = "/tmp/culmen-api-XXXXXX"};
    CHECK(mkdtemp(f->folder) != NULL);
    snprintf(path, sizeof path, "%s/state.db", f->folder);
    f->api.public_address = "127.0.0.1:8080";
    if (store_open(&f->api.store, path, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    snprintf(path, sizeof path, "%s/model", f->folder);
    CHECK_EQ(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/model/model.onnx", f->folder);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fclose(file);
}

static void fixture_done(struct fixture *f) {
    char command[128];
    store_close(f->api.store);
    arena_release(&f->arena);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    CHECK_EQ(system(command), 0);
}

/* Calls and checks the HTTP status; the reply's JSON is in f->json. */
static struct json_value *call(struct fixture *f, const char *method, const char *target,
                               const char *body, int want) {
    str path = str_from_c(target), query = STR("");
    ptrdiff_t mark = str_find(path, '?');
    if (mark >= 0) {
        query = str_slice(path, (size_t)mark + 1, path.n);
        path = str_slice(path, 0, (size_t)mark);
    }
    struct api_request request = {
        .method = str_from_c(method), .path = path, .query = query, .body = str_from_c(body)};
    api_handle(&f->api, &f->arena, &request, &f->reply);
    if (f->reply.status != want)
        test_fail(__FILE__, __LINE__, "%s %s: got %d, want %d: %.*s", method, target,
                  f->reply.status, want, STR_ARG(f->reply.body));
    CHECK_EQ(json_parse(&f->json, &f->arena, f->reply.body, NULL), STATUS_OK);
    return f->json;
}

static const char *text_of(struct fixture *f, const struct json_value *object, const char *name) {
    return str_copy(&f->arena, record_string(object, name)).p;
}

static const char *error_of(struct fixture *f) {
    return text_of(f, json_get(f->json, "error"), "message");
}

__attribute__((format(printf, 2, 3))) static const char *format(struct fixture *f, const char *fmt,
                                                                ...) {
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return str_copy(&f->arena, str_from_c(text)).p;
}

static const char *create_endpoint(struct fixture *f, const char *id) {
    call(f, "POST", format(f, P "/endpoints?endpointId=%s", id), "{\"displayName\":\"e\"}", 200);
    return text_of(f, json_get(f->json, "response"), "name");
}

static const char *upload(struct fixture *f, const char *extra) {
    const char *body =
        format(f,
               "{\"model\":{\"displayName\":\"m\",\"artifactUri\":\"file://%s/model\","
               "\"containerSpec\":{\"imageUri\":\"culmen\"}}%s}",
               f->folder, extra);
    call(f, "POST", P "/models:upload", body, 200);
    return text_of(f, json_get(f->json, "response"), "model");
}

/* Deploys, and does the reconciler's part of it. */
static void deploy_as(struct fixture *f, const char *endpoint, const char *model, const char *id,
                      const char *split) {
    const char *body = format(f,
                              "{\"deployedModel\":{\"id\":\"%s\",\"model\":\"%s\","
                              "\"dedicatedResources\":{\"minReplicaCount\":2}},"
                              "\"trafficSplit\":%s}",
                              id, model, split);
    call(f, "POST", format(f, "/v1/%s:deployModel", endpoint), body, 200);
    struct json_value *e, *d;
    struct error err;
    str key = record_key_deployment(&f->arena, str_from_c(endpoint), str_from_c(id));
    CHECK_EQ(record_get(f->api.store, &f->arena, key, &d, NULL, &err), STATUS_OK);
    str endpoint_key = record_key(&f->arena, "endpoints", str_from_c(endpoint));
    CHECK_EQ(record_get(f->api.store, &f->arena, endpoint_key, &e, NULL, &err), STATUS_OK);
    record_set_string(&f->arena, d, "state", STR("DEPLOYED"));
    struct json_value *list = json_get(e, "deployedModels");
    if (!list) {
        list = json_new_array(&f->arena);
        json_set(e, STR("deployedModels"), list);
    }
    json_append(list, json_copy(&f->arena, json_get(d, "deployedModel")));
    struct json_value *new_split = json_new_object(&f->arena);
    for (const struct json_value *s = json_get(d, "trafficSplit")->first; s; s = s->next)
        json_set(new_split, str_eq_c(s->name, "0") ? str_from_c(id) : s->name,
                 json_copy(&f->arena, s));
    json_set(e, STR("trafficSplit"), new_split);
    struct record_commit commit = {.arena = &f->arena};
    record_put(&commit, key, d, STORE_ANY);
    record_put(&commit, endpoint_key, e, STORE_ANY);
    CHECK_EQ(record_commit(&commit, f->api.store, NULL, &err), STATUS_OK);
}

TEST(api_creates_an_endpoint_that_is_done_in_the_first_reply) {
    struct fixture f;
    fixture_init(&f);
    call(&f, "POST", P "/endpoints?%24alt=json%3Benum-encoding%3Dint",
         "{\"displayName\":\"e\",\"labels\":{\"a\":\"b\"}}", 200);
    bool is_done = false;
    CHECK(json_to_bool(json_get(f.json, "done"), &is_done) && is_done);
    const struct json_value *response = json_get(f.json, "response");
    CHECK_STR(text_of(&f, response, "@type"),
              "type.googleapis.com/google.cloud.aiplatform.v1.Endpoint");
    CHECK_STR(text_of(&f, json_get(f.json, "metadata"), "@type"),
              "type.googleapis.com/google.cloud.aiplatform.v1.CreateEndpointOperationMetadata");
    CHECK(json_get(response, "createTime") != NULL);
    const char *name = text_of(&f, response, "name");
    const char *operation = text_of(&f, f.json, "name");
    call(&f, "GET", format(&f, "/v1/%s", name), "", 200);
    CHECK_STR(text_of(&f, f.json, "displayName"), "e");
    CHECK(json_get(f.json, "etag") != NULL);
    call(&f, "GET", format(&f, "/ui/%s", operation), "", 200);
    CHECK_STR(text_of(&f, f.json, "name"), operation);
    fixture_done(&f);
}

TEST(api_answers_errors_in_the_form_of_google) {
    struct fixture f;
    fixture_init(&f);
    call(&f, "GET", P "/endpoints/7", "", 404);
    const struct json_value *error = json_get(f.json, "error");
    CHECK_EQ(record_i64(error, "code", 0), 404);
    CHECK_STR(text_of(&f, error, "status"), "NOT_FOUND");
    CHECK_STR(error_of(&f),
              "Endpoint `projects/p1/locations/us-central1/endpoints/7` is not found.");
    call(&f, "POST", P "/endpoints", "{\"displayNam\":\"e\"}", 400);
    CHECK_STR(error_of(&f),
              "Invalid JSON payload received: unknown field \"displayNam\", nearest is "
              "\"display_name\"");
    call(&f, "POST", P "/endpoints", "{\"displayName\":", 400);
    CHECK(strstr(error_of(&f), "Invalid JSON payload received") != NULL);
    call(&f, "POST", P "/endpoints", "{}", 400);
    call(&f, "PUT", P "/endpoints", "{}", 501);
    call(&f, "GET", P "/nothing", "", 404);
    call(&f, "GET", "/v2/health/ready", "", 404);
    call(&f, "GET", P "/endpoints/a%20b", "", 400);
    fixture_done(&f);
}

TEST(api_says_why_a_predict_has_no_route) {
    struct fixture f;
    fixture_init(&f);
    call(&f, "POST", P "/endpoints/7:predict", "{\"instances\":[1]}", 404);
    const char *e = create_endpoint(&f, "e1");
    call(&f, "POST", format(&f, "/v1/%s:rawPredict", e), "not json", 400);
    CHECK(strstr(error_of(&f), "no deployed model") != NULL);
    call(&f, "POST", format(&f, "/v1/%s:streamRawPredict", e), "not json", 400);
    CHECK(strstr(error_of(&f), "no deployed model") != NULL);
    deploy_as(&f, e, upload(&f, ""), "1", "{\"0\":100}");
    call(&f, "PATCH", format(&f, "/v1/%s?updateMask=trafficSplit", e), "{}", 200);
    call(&f, "POST", format(&f, "/v1/%s:predict", e), "{}", 400);
    CHECK(strstr(error_of(&f), "empty traffic_split") != NULL);
    fixture_done(&f);
}

TEST(api_takes_endpoint_ids_of_the_documented_form) {
    struct fixture f;
    fixture_init(&f);
    CHECK_STR(create_endpoint(&f, "my-endpoint"),
              "projects/p1/locations/us-central1/endpoints/my-endpoint");
    call(&f, "POST", P "/endpoints?endpointId=my-endpoint", "{\"displayName\":\"e\"}", 409);
    call(&f, "POST", P "/endpoints?endpointId=My", "{\"displayName\":\"e\"}", 400);
    fixture_done(&f);
}

TEST(api_lists_with_filter_order_and_pages) {
    struct fixture f;
    fixture_init(&f);
    for (int i = 0; i < 5; i++)
        call(&f, "POST", format(&f, P "/endpoints?endpointId=e%d", i),
             format(&f, "{\"displayName\":\"n%d\",\"labels\":{\"odd\":\"%d\"}}", 9 - i, i % 2),
             200);
    call(&f, "GET", P "/endpoints", "", 200);
    CHECK_EQ(json_get(f.json, "endpoints")->n, 5);
    call(&f, "GET", P "/endpoints?filter=display_name%3D%22n7%22", "", 200);
    CHECK_EQ(json_get(f.json, "endpoints")->n, 1);
    call(&f, "GET", P "/endpoints?filter=labels.odd%3D1+AND+displayName!%3D%22n6%22", "", 200);
    CHECK_EQ(json_get(f.json, "endpoints")->n, 1);
    call(&f, "GET", P "/endpoints?filter=labels:odd", "", 200);
    CHECK_EQ(json_get(f.json, "endpoints")->n, 5);
    call(&f, "GET", P "/endpoints?filter=endpoint%3De3", "", 200);
    CHECK_EQ(json_get(f.json, "endpoints")->n, 1);
    call(&f, "GET", P "/endpoints?filter=display_name+%3E+3", "", 400);
    call(&f, "GET", P "/endpoints?pageSize=2&orderBy=display_name", "", 200);
    CHECK_STR(text_of(&f, json_get(f.json, "endpoints")->first, "displayName"), "n5");
    const char *token = text_of(&f, f.json, "nextPageToken");
    call(&f, "GET", format(&f, P "/endpoints?pageSize=9&orderBy=display_name&pageToken=%s", token),
         "", 200);
    CHECK_EQ(json_get(f.json, "endpoints")->n, 3);
    CHECK_STR(text_of(&f, json_get(f.json, "endpoints")->first, "displayName"), "n7");
    CHECK(json_get(f.json, "nextPageToken") == NULL);
    call(&f, "GET", P "/endpoints?page_size=1&order_by=displayName+desc", "", 200);
    CHECK_STR(text_of(&f, json_get(f.json, "endpoints")->first, "displayName"), "n9");
    CHECK(json_get(f.json, "nextPageToken") != NULL);
    fixture_done(&f);
}

TEST(api_lists_the_fields_that_a_read_mask_names) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1");
    deploy_as(&f, e, upload(&f, ",\"modelId\":\"m\""), "1", "{\"0\":100}");
    call(&f, "GET", P "/endpoints?readMask=name,deployedModels", "", 200);
    const struct json_value *seen = json_get(f.json, "endpoints")->first;
    CHECK_STR(text_of(&f, seen, "name"), e);
    CHECK_EQ(seen->n, 2);
    call(&f, "GET", P "/models?read_mask=container_spec.image_uri", "", 200);
    CHECK(str_eq_c(f.reply.body, "{\"models\":[{\"containerSpec\":{\"imageUri\":\"culmen\"}}]}"));
    call(&f, "GET", P "/models/m:listVersions?readMask=*", "", 200);
    CHECK(json_get(json_get(f.json, "models")->first, "displayName") != NULL);
    call(&f, "GET", P "/models?readMask=colour", "", 400);
    CHECK(strstr(error_of(&f), "colour") != NULL);
    fixture_done(&f);
}

TEST(api_refuses_query_parameters_that_it_does_not_know) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1");
    call(&f, "GET", format(&f, "/v1/%s?%%24alt=json%%3Benum-encoding%%3Dint&prettyPrint=false", e),
         "", 200);
    call(&f, "PATCH", format(&f, "/v1/%s?updatemask=description", e), "{\"displayName\":\"x\"}",
         400);
    CHECK(strstr(error_of(&f), "updatemask") != NULL);
    call(&f, "DELETE", format(&f, "/v1/%s?force=true", e), "", 400);
    call(&f, "DELETE", format(&f, "/v1/%s", e), "", 200);
    fixture_done(&f);
}

TEST(api_updates_what_the_mask_names_in_either_spelling) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1");
    call(&f, "PATCH", format(&f, "/v1/%s?updateMask=display_name,description", e),
         "{\"displayName\":\"new\",\"labels\":{\"x\":\"y\"},\"description\":\"d\"}", 200);
    CHECK_STR(text_of(&f, f.json, "displayName"), "new");
    CHECK_STR(text_of(&f, f.json, "description"), "d");
    CHECK(json_get(f.json, "labels") == NULL);
    const char *etag = text_of(&f, f.json, "etag");
    call(&f, "PATCH", format(&f, "/v1/%s?updateMask=description", e), "{}", 200);
    CHECK(json_get(f.json, "description") == NULL);
    call(&f, "PATCH", format(&f, "/v1/%s?updateMask=description", e),
         format(&f, "{\"description\":\"lost\",\"etag\":\"%s\"}", etag), 400);
    call(&f, "PATCH", format(&f, "/v1/%s?update_mask=*", e),
         "{\"displayName\":\"whole\",\"labels\":{\"x\":\"y\"}}", 200);
    CHECK_STR(text_of(&f, f.json, "displayName"), "whole");
    CHECK(json_get(f.json, "labels") != NULL);
    call(&f, "PATCH", format(&f, "/v1/%s?updateMask=createTime", e), "{}", 400);
    call(&f, "PATCH", format(&f, "/v1/%s?updateMask=displayName", e), "{}", 400);
    fixture_done(&f);
}

TEST(api_uploads_a_model_and_its_versions) {
    struct fixture f;
    fixture_init(&f);
    const char *m = upload(&f, ",\"modelId\":\"my_model\"");
    CHECK_STR(m, "projects/p1/locations/us-central1/models/my_model");
    upload(&f, format(&f, ",\"parentModel\":\"%s\"", m));
    CHECK_STR(text_of(&f, json_get(f.json, "response"), "modelVersionId"), "2");
    call(&f, "GET", format(&f, "/v1/%s", m), "", 200);
    CHECK_STR(text_of(&f, f.json, "versionId"), "1");
    CHECK_STR(
        str_copy(&f.arena, json_get(f.json, "supportedDeploymentResourcesTypes")->first->text).p,
        "DEDICATED_RESOURCES");
    call(&f, "GET", format(&f, "/v1/%s@2", m), "", 200);
    CHECK(json_get(f.json, "versionAliases") == NULL);
    call(&f, "POST", format(&f, "/v1/%s@2:mergeVersionAliases", m),
         "{\"versionAliases\":[\"default\",\"prod\"]}", 200);
    call(&f, "GET", format(&f, "/v1/%s%%40prod", m), "", 200);
    CHECK_STR(text_of(&f, f.json, "versionId"), "2");
    call(&f, "GET", format(&f, "/v1/%s:listVersions", m), "", 200);
    CHECK_EQ(json_get(f.json, "models")->n, 2);
    call(&f, "GET", P "/models", "", 200);
    CHECK_EQ(json_get(f.json, "models")->n, 1);
    CHECK_STR(text_of(&f, json_get(f.json, "models")->first, "versionId"), "2");
    call(&f, "DELETE", format(&f, "/v1/%s@2:deleteVersion", m), "", 400);
    call(&f, "DELETE", format(&f, "/v1/%s@1:deleteVersion", m), "", 200);
    call(&f, "GET", format(&f, "/v1/%s@1", m), "", 404);
    call(&f, "DELETE", format(&f, "/v1/%s", m), "", 200);
    CHECK_STR(text_of(&f, json_get(f.json, "response"), "@type"),
              "type.googleapis.com/google.protobuf.Empty");
    CHECK_EQ(json_get(f.json, "response")->n, 1);
    call(&f, "GET", format(&f, "/v1/%s", m), "", 404);
    fixture_done(&f);
}

TEST(api_says_which_artifacts_it_takes) {
    struct fixture f;
    fixture_init(&f);
    static const char *const bad[] = {"", "gs://bucket/m", "relative/path", "/does/not/exist",
                                      "file:///usr/include/sys"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"model\":{\"displayName\":\"m\",\"artifactUri\":\"%s\",\"containerSpec\":"
                 "{\"imageUri\":\"culmen\"}}}",
                 bad[i]);
        call(&f, "POST", P "/models:upload", text, 400);
        CHECK(strstr(error_of(&f), "model.onnx") != NULL);
    }
    call(&f, "POST", P "/models:upload",
         "{\"model\":{\"displayName\":\"m\",\"containerSpec\":{\"imageUri\":\"gcr.io/x/y:1\","
         "\"env\":[{\"name\":\"AIP_X\",\"value\":\"1\"}]}}}",
         400);
    fixture_done(&f);
}

TEST(api_takes_a_bucketless_uri_and_a_local_host_as_a_local_path) {
    static const char *const schemes[] = {"gs://", "file://localhost"};
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        call(&f, "POST", P "/models:upload",
             format(&f,
                    "{\"model\":{\"displayName\":\"m\",\"artifactUri\":\"%s%s/model\","
                    "\"containerSpec\":{\"imageUri\":\"culmen\"}}}",
                    schemes[i], f.folder),
             200);
    fixture_done(&f);
}

TEST(api_deploys_with_checked_resources) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1"), *m = upload(&f, "");
    const char *url = format(&f, "/v1/%s:deployModel", e);
    call(&f, "POST", url, format(&f, "{\"deployedModel\":{\"model\":\"%s\"}}", m), 400);
    call(&f, "POST", url,
         format(&f,
                "{\"deployedModel\":{\"model\":\"%s\",\"dedicatedResources\":{\"machineSpec\":{"
                "\"machineType\":\"n9-huge-3\"}}}}",
                m),
         400);
    CHECK(strstr(error_of(&f), "n9-huge-3") != NULL);
    call(&f, "POST", url,
         format(&f,
                "{\"deployedModel\":{\"model\":\"%s\",\"dedicatedResources\":{"
                "\"minReplicaCount\":3,\"maxReplicaCount\":2}}}",
                m),
         400);
    call(&f, "POST", url,
         format(&f,
                "{\"deployedModel\":{\"model\":\"%s\",\"dedicatedResources\":{}},"
                "\"trafficSplit\":{\"0\":90}}",
                m),
         400);
    call(&f, "POST", url,
         format(&f,
                "{\"deployedModel\":{\"model\":\"%s@1\",\"dedicatedResources\":{\"machineSpec\":{"
                "\"machineType\":\"n1-standard-8\",\"acceleratorType\":8}}},"
                "\"trafficSplit\":{\"0\":100}}",
                m),
         200);
    CHECK(json_get(f.json, "done") == NULL);
    CHECK(f.reply.wait_operation.n > 0);
    call(&f, "DELETE", format(&f, "/v1/%s", e), "", 400);
    call(&f, "DELETE", format(&f, "/v1/%s", m), "", 400);
    bool is_done;
    api_wait_reply(&f.api, &f.arena, f.reply.wait_operation, &is_done, &f.reply);
    fixture_done(&f);
}

TEST(api_refuses_to_deploy_other_images_and_says_what_is_possible) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1");
    call(&f, "POST", P "/models:upload",
         "{\"model\":{\"displayName\":\"m\",\"containerSpec\":{\"imageUri\":\"gcr.io/x/y:1\"}}}",
         200);
    const char *m = text_of(&f, json_get(f.json, "response"), "model");
    call(&f, "POST", format(&f, "/v1/%s:deployModel", e),
         format(&f, "{\"deployedModel\":{\"model\":\"%s\",\"dedicatedResources\":{}}}", m), 400);
    CHECK_STR(text_of(&f, json_get(f.json, "error"), "status"), "FAILED_PRECONDITION");
    CHECK(strstr(error_of(&f), "image \"culmen\" only") != NULL);
    fixture_done(&f);
}

TEST(api_holds_traffic_splits_to_their_rules) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1"), *m = upload(&f, "");
    deploy_as(&f, e, m, "1", "{\"0\":100}");
    deploy_as(&f, e, m, "2", "{\"1\":90,\"0\":10}");
    const char *patch = format(&f, "/v1/%s?updateMask=traffic_split", e);
    call(&f, "PATCH", patch, "{\"trafficSplit\":{\"1\":50,\"2\":50}}", 200);
    CHECK_EQ(record_i64(json_get(f.json, "trafficSplit"), "2", 0), 50);
    call(&f, "PATCH", patch, "{\"trafficSplit\":{\"1\":50,\"2\":49}}", 400);
    call(&f, "PATCH", patch, "{\"trafficSplit\":{\"1\":50,\"3\":50}}", 400);
    call(&f, "PATCH", patch, "{\"trafficSplit\":{\"1\":150,\"2\":-50}}", 400);
    call(&f, "PATCH", patch, "{\"trafficSplit\":{\"0\":100}}", 400);
    const char *undeploy = format(&f, "/v1/%s:undeployModel", e);
    call(&f, "POST", undeploy, "{\"deployedModelId\":\"2\"}", 400);
    CHECK(strstr(error_of(&f), "50 % of the traffic") != NULL);
    call(&f, "POST", undeploy, "{\"deployedModelId\":\"2\",\"trafficSplit\":{\"1\":100}}", 200);
    call(&f, "POST", undeploy, "{\"deployedModelId\":\"2\",\"trafficSplit\":{\"1\":100}}", 404);
    call(&f, "POST", undeploy, "{\"deployedModelId\":\"1\"}", 200);
    call(&f, "GET", format(&f, "/v1/%s", e), "", 200);
    CHECK(json_get(f.json, "deployedModels") == NULL);
    CHECK(json_get(f.json, "trafficSplit") == NULL);
    fixture_done(&f);
}

TEST(api_mutates_replica_counts) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1"), *m = upload(&f, "");
    deploy_as(&f, e, m, "1", "{\"0\":100}");
    const char *url = format(&f, "/v1/%s:mutateDeployedModel", e);
    call(&f, "POST", url,
         "{\"deployedModel\":{\"id\":\"1\",\"dedicatedResources\":{\"minReplicaCount\":3,"
         "\"maxReplicaCount\":4}},\"updateMask\":\"dedicatedResources.minReplicaCount,"
         "dedicated_resources.max_replica_count\"}",
         200);
    call(&f, "GET", format(&f, "/v1/%s", e), "", 200);
    const struct json_value *r =
        json_get(json_get(f.json, "deployedModels")->first, "dedicatedResources");
    CHECK_EQ(record_i64(r, "minReplicaCount", 0), 3);
    CHECK_EQ(record_i64(r, "maxReplicaCount", 0), 4);
    call(&f, "POST", url,
         "{\"deployedModel\":{\"id\":\"1\",\"displayName\":\"x\"},\"updateMask\":\"displayName\"}",
         400);
    fixture_done(&f);
}

TEST(api_keeps_beta_fields_from_v1_callers) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1"), *m = upload(&f, "");
    const char *body =
        format(&f,
               "{\"deployedModel\":{\"model\":\"%s\",\"enableContainerLogging\":true,"
               "\"dedicatedResources\":{\"initialReplicaCount\":1}}}",
               m);
    call(&f, "POST", format(&f, "/v1/%s:deployModel", e), body, 400);
    call(&f, "POST", format(&f, "/v1beta1/%s:deployModel", e), body, 200);
    CHECK_STR(text_of(&f, json_get(f.json, "metadata"), "@type"),
              "type.googleapis.com/google.cloud.aiplatform.v1beta1.DeployModelOperationMetadata");
    fixture_done(&f);
}

TEST(api_cancels_a_deployment_that_is_not_done) {
    struct fixture f;
    fixture_init(&f);
    const char *e = create_endpoint(&f, "e1"), *m = upload(&f, "");
    call(&f, "POST", format(&f, "/v1/%s:deployModel", e),
         format(&f, "{\"deployedModel\":{\"model\":\"%s\",\"dedicatedResources\":{}}}", m), 200);
    const char *operation = text_of(&f, f.json, "name");
    call(&f, "DELETE", format(&f, "/v1/%s", operation), "", 400);
    call(&f, "GET", format(&f, "/v1/%s", e), "", 200);
    CHECK(json_get(f.json, "deployedModels") == NULL);
    call(&f, "GET", format(&f, "/v1/%s?allDeploymentStates=true", e), "", 200);
    CHECK_EQ(json_get(f.json, "deployedModels")->n, 1);
    call(&f, "GET", format(&f, "/v1/%s/operations?filter=done%%3Dfalse", e), "", 200);
    CHECK_EQ(json_get(f.json, "operations")->n, 1);
    call(&f, "POST", format(&f, "/v1/%s:cancel", operation), "{}", 200);
    call(&f, "GET", format(&f, "/v1/%s?allDeploymentStates=true", e), "", 200);
    CHECK(json_get(f.json, "deployedModels") == NULL);
    call(&f, "GET", format(&f, "/v1/%s", operation), "", 200);
    CHECK_EQ(record_i64(json_get(f.json, "error"), "code", 0), STATUS_CANCELLED);
    CHECK_STR(text_of(&f, json_get(f.json, "metadata"), "deploymentStage"), "FAILED_TO_DEPLOY");
    call(&f, "GET", format(&f, "/v1/%s/operations", e), "", 200);
    CHECK_EQ(json_get(f.json, "operations")->n, 2);
    call(&f, "GET", format(&f, "/v1/%s/operations?filter=done%%3Dtrue", e), "", 200);
    CHECK_EQ(json_get(f.json, "operations")->n, 2);
    call(&f, "GET", format(&f, "/v1/%s/operations?filter=done%%3Dfalse", e), "", 200);
    CHECK(json_get(f.json, "operations") == NULL);
    call(&f, "DELETE", format(&f, "/v1/%s", operation), "", 200);
    call(&f, "DELETE", format(&f, "/v1/%s", e), "", 200);
    call(&f, "DELETE", format(&f, "/v1/%s", m), "", 200);
    fixture_done(&f);
}
