#include "control/reconciler.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/api/api.h"
#include "control/gateway/route.h"
#include "control/routes.h"
#include "support/test.h"

#define P "/v1/projects/p1/locations/us-central1"

/* --- a driver whose replicas are rows of a table that the test writes in --- */

struct fake_replica {
    char set[RUNTIME_NAME_MAX + 1];
    unsigned ordinal;
    replica_state state;
    bool was_ready;
    int n_exits;
    char address[32];
};

struct fake_runtime {
    struct runtime base;
    struct fake_replica replicas[32];
    size_t n;
    replica_state state_of_new; /* what apply() makes */
    char environment[4096];     /* of the set applied last */
    int n_applied;
};

static status fake_apply(struct runtime *r, const struct runtime_set *set, int64_t *wake_ns,
                         struct error *err) {
    struct fake_runtime *f = (struct fake_runtime *)r;
    (void)err;
    *wake_ns = RUNTIME_NEVER_NS;
    f->n_applied++;
    unsigned n = 0;
    for (size_t i = 0; i < f->n;) {
        if (str_eq_c(set->name, f->replicas[i].set) && f->replicas[i].ordinal >= set->n) {
            f->replicas[i] = f->replicas[--f->n];
            continue;
        }
        n += str_eq_c(set->name, f->replicas[i].set);
        i++;
    }
    for (; n < set->n; n++) {
        struct fake_replica *new = &f->replicas[f->n++];
        *new = (struct fake_replica){.ordinal = n, .state = f->state_of_new};
        new->was_ready = new->state == REPLICA_READY;
        snprintf(new->set, sizeof new->set, "%.*s", STR_ARG(set->name));
        snprintf(new->address, sizeof new->address, "127.0.0.1:%zu", 40000 + f->n);
    }
    f->environment[0] = '\0';
    for (size_t i = 0; i < set->n_environment; i++) {
        strncat(f->environment, set->environment[i], 300);
        strncat(f->environment, "\n", 2);
    }
    return STATUS_OK;
}

static status fake_list(struct runtime *r, struct arena *a, struct replica_status **out, size_t *n,
                        struct error *err) {
    struct fake_runtime *f = (struct fake_runtime *)r;
    (void)err;
    *out = arena_array(a, struct replica_status, f->n + 1);
    for (size_t i = 0; i < f->n; i++)
        (*out)[i] = (struct replica_status){
            .set = str_from_c(f->replicas[i].set),
            .generation = 1,
            .ordinal = f->replicas[i].ordinal,
            .address = str_from_c(f->replicas[i].address),
            .state = f->replicas[i].state,
            .is_open = true,
            .was_ready = f->replicas[i].was_ready,
            .n_exits = f->replicas[i].n_exits,
            .exit_text = f->replicas[i].n_exits ? STR("exited with status 3") : STR(""),
            .log_path = STR("/dev/null"),
        };
    *n = f->n;
    return STATUS_OK;
}

static void fake_watch(struct runtime *r, void (*changed)(void *arg), void *arg) {
    (void)r;
    (void)changed;
    (void)arg;
}

static void fake_close(struct runtime *r) {
    (void)r;
}

static const struct runtime_driver fake_driver = {.name = "fake",
                                                  .apply = fake_apply,
                                                  .list = fake_list,
                                                  .watch = fake_watch,
                                                  .close = fake_close};

/* --- the whole control plane without processes --- */

struct fixture {
    char folder[64], routes_path[128];
    struct fake_runtime runtime;
    struct fake_clock clock;
    struct api api;
    struct routes routes;
    struct reconciler *reconciler;
    struct arena arena;
    struct json_value *json;
    const char *endpoint, *model, *operation;
    bool refuses_publish;
};

static status publish(void *arg, const struct served_endpoint *endpoints, size_t n,
                      struct error *err) {
    struct fixture *f = arg;
    if (f->refuses_publish)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no space");
    return routes_publish(&f->routes, endpoints, n, err);
}

static void start(struct fixture *f) {
    struct reconciler_options o = {
        .store = f->api.store,
        .runtime = &f->runtime.base,
        .clock = &f->clock.base,
        .cache_folder = "/cache",
        .publish = publish,
        .publish_arg = f,
    };
    CHECK_EQ(reconciler_new(&f->reconciler, &o, NULL), STATUS_OK);
}

static int call(struct fixture *f, const char *method, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int call(struct fixture *f, const char *method, const char *path, const char *fmt, ...) {
    char body[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(body, sizeof body, fmt, ap);
    va_end(ap);
    str text = str_from_c(path), query = STR("");
    ptrdiff_t mark = str_find(text, '?');
    if (mark >= 0) {
        query = str_slice(text, (size_t)mark + 1, text.n);
        text = str_slice(text, 0, (size_t)mark);
    }
    struct api_request request = {.method = str_from_c(method),
                                  .path = text,
                                  .query = query,
                                  .body = str_copy(&f->arena, str_from_c(body))};
    struct api_reply reply;
    api_handle(&f->api, &f->arena, &request, &reply);
    CHECK_EQ(json_parse(&f->json, &f->arena, reply.body, NULL), STATUS_OK);
    if (json_get(f->json, "name"))
        f->operation = str_copy(&f->arena, record_string(f->json, "name")).p;
    return reply.status;
}

static const char *text_in(struct fixture *f, const char *object, const char *member) {
    return str_copy(&f->arena, record_string(json_get(f->json, object), member)).p;
}

static void fixture_init(struct fixture *f) {
    char path[128];
    *f = (struct fixture){
        .folder = "/tmp/culmen-reconciler-XXXXXX",
        .runtime = {.base = {.driver = &fake_driver}, .state_of_new = REPLICA_READY}};
    CHECK(mkdtemp(f->folder) != NULL);
    fake_clock_init(&f->clock, NS_PER_S);
    snprintf(path, sizeof path, "%s/state.db", f->folder);
    CHECK_EQ(store_open(&f->api.store, path, NULL), STATUS_OK);
    f->api.public_address = "127.0.0.1:8080";
    snprintf(path, sizeof path, "%s/model", f->folder);
    CHECK_EQ(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/model/model.plan", f->folder);
    fclose(fopen(path, "w"));
    snprintf(f->routes_path, sizeof f->routes_path, "%s/routes.json", f->folder);
    routes_init(&f->routes, f->routes_path);
    start(f);
    CHECK_EQ(call(f, "POST", P "/endpoints", "{\"displayName\":\"e\"}"), 200);
    f->endpoint = text_in(f, "response", "name");
    CHECK_EQ(call(f, "POST", P "/models:upload",
                  "{\"model\":{\"displayName\":\"m\",\"artifactUri\":\"%s/model\","
                  "\"containerSpec\":{\"imageUri\":\"culmen\",\"env\":[{\"name\":\"X\",\"value\":"
                  "\"$(AIP_ENDPOINT_ID) $$(Y) $(Z)\"}]}}}",
                  f->folder),
             200);
    f->model = text_in(f, "response", "model");
}

static void fixture_done(struct fixture *f) {
    char command[128];
    reconciler_free(f->reconciler);
    store_close(f->api.store);
    arena_release(&f->arena);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    CHECK_EQ(system(command), 0);
}

static int64_t pass(struct fixture *f) {
    struct error err = {0};
    int64_t wake_ns = 0;
    if (reconciler_pass(f->reconciler, &wake_ns, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return wake_ns;
}

static void deploy(struct fixture *f, const char *id, const char *split) {
    char path[256];
    snprintf(path, sizeof path, "/v1/%s:deployModel", f->endpoint);
    CHECK_EQ(call(f, "POST", path,
                  "{\"deployedModel\":{\"id\":\"%s\",\"model\":\"%s\",\"dedicatedResources\":{"
                  "\"minReplicaCount\":2}},\"trafficSplit\":%s}",
                  id, f->model, split),
             200);
}

static void get(struct fixture *f, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "/v1/%s", name);
    CHECK_EQ(call(f, "GET", path, "%s", ""), 200);
}

static bool is_done(struct fixture *f) {
    bool done = false;
    const char *operation = f->operation;
    get(f, operation);
    json_to_bool(json_get(f->json, "done"), &done);
    return done;
}

static unsigned weight_of(struct fixture *f, const char *id, size_t *n_replicas, size_t *n_ready) {
    struct route_table t = {0};
    unsigned weight = 1000;
    CHECK_EQ(route_table_read(&t, f->routes_path, NULL), STATUS_OK);
    for (size_t i = 0; i < t.n_endpoints; i++)
        for (size_t k = 0; k < t.endpoints[i].n_models; k++)
            if (str_eq_c(t.endpoints[i].models[k].id, id)) {
                weight = t.endpoints[i].models[k].weight;
                *n_replicas = t.endpoints[i].models[k].n_replicas;
                *n_ready = 0;
                for (size_t x = 0; x < *n_replicas; x++)
                    *n_ready += t.endpoints[i].models[k].replicas[x].is_ready;
            }
    route_table_done(&t);
    return weight;
}

TEST(reconciler_deploys_when_the_replicas_are_ready) {
    struct fixture f;
    fixture_init(&f);
    f.runtime.state_of_new = REPLICA_STARTING;
    deploy(&f, "100", "{\"0\":100}");
    pass(&f);
    CHECK_EQ(f.runtime.n, 2);
    CHECK(!is_done(&f));
    get(&f, f.endpoint);
    CHECK(json_get(f.json, "deployedModels") == NULL);
    f.runtime.replicas[0].state = REPLICA_READY;
    pass(&f);
    deploy(&f, "101", "{}");
    f.runtime.replicas[1].state = REPLICA_READY;
    f.runtime.state_of_new = REPLICA_READY;
    pass(&f);
    get(&f, f.endpoint);
    const struct json_value *dm = json_get(f.json, "deployedModels")->first;
    CHECK(str_eq(record_string(dm, "id"), STR("100")));
    CHECK_EQ(record_i64(json_get(f.json, "trafficSplit"), "100", 0), 100);
    size_t n_replicas = 0, n_ready = 0;
    CHECK_EQ(weight_of(&f, "100", &n_replicas, &n_ready), 100);
    CHECK_EQ(n_replicas, 2);
    pass(&f);
    pass(&f);
    get(&f, f.endpoint);
    CHECK_EQ(json_get(f.json, "deployedModels")->n, 2);
    CHECK_EQ(record_i64(json_get(json_get(f.json, "deployedModels")->first, "status"),
                        "availableReplicaCount", 0),
             2);
    CHECK_EQ(record_i64(json_get(f.json, "trafficSplit"), "101", -1), -1);
    fixture_done(&f);
}

TEST(reconciler_ends_the_operation_with_the_deployed_model) {
    struct fixture f;
    fixture_init(&f);
    deploy(&f, "100", "{\"0\":100}");
    CHECK(pass(&f) <= f.clock.now_ns);
    CHECK(is_done(&f));
    const struct json_value *response = json_get(f.json, "response");
    CHECK(str_eq(record_string(response, "@type"),
                 STR("type.googleapis.com/google.cloud.aiplatform.v1.DeployModelResponse")));
    CHECK(str_eq(record_string(json_get(response, "deployedModel"), "id"), STR("100")));
    CHECK(pass(&f) > f.clock.now_ns);
    fixture_done(&f);
}

TEST(reconciler_gives_replicas_the_environment_of_the_contract) {
    struct fixture f;
    fixture_init(&f);
    deploy(&f, "100", "{\"0\":100}");
    pass(&f);
    const char *id = strrchr(f.endpoint, '/') + 1;
    char want[256];
    snprintf(want, sizeof want, "\nAIP_HEALTH_ROUTE=/v1/endpoints/%s/deployedModels/100\n", id);
    CHECK(strstr(f.runtime.environment, want) != NULL);
    snprintf(want, sizeof want, "\nAIP_PREDICT_ROUTE=/v1/endpoints/%s/deployedModels/100:predict\n",
             id);
    CHECK(strstr(f.runtime.environment, want) != NULL);
    snprintf(want, sizeof want, "\nAIP_STORAGE_URI=%s/model\n", f.folder);
    CHECK(strstr(f.runtime.environment, want) != NULL);
    CHECK(strstr(f.runtime.environment, "\nCULMEN_CACHE_DIR=/cache\n") != NULL);
    CHECK(strstr(f.runtime.environment, "\nAIP_MACHINE_TYPE=n1-standard-2\n") != NULL);
    CHECK(strstr(f.runtime.environment, "AIP_ACCELERATOR_TYPE") == NULL);
    snprintf(want, sizeof want, "\nX=%s $(Y) $(Z)\n", id);
    CHECK(strstr(f.runtime.environment, want) != NULL);
    fixture_done(&f);
}

TEST(reconciler_fails_a_deployment_whose_replicas_exit) {
    struct fixture f;
    fixture_init(&f);
    f.runtime.state_of_new = REPLICA_WAITING;
    deploy(&f, "100", "{\"0\":100}");
    pass(&f);
    f.runtime.replicas[1].n_exits = DEPLOY_EXITS_MAX;
    pass(&f);
    CHECK(is_done(&f));
    CHECK_EQ(record_i64(json_get(f.json, "error"), "code", 0), STATUS_FAILED_PRECONDITION);
    CHECK_STR(text_in(&f, "error", "message"),
              "Model server exited unexpectedly. It exited with status 3. Model server logs can be "
              "found at /dev/null");
    get(&f, f.endpoint);
    CHECK(json_get(f.json, "deployedModels") == NULL);
    pass(&f); /* what is left of it is stopped */
    CHECK_EQ(f.runtime.n, 0);
    char path[256];
    snprintf(path, sizeof path, "/v1/%s", f.model);
    CHECK_EQ(call(&f, "DELETE", path, "%s", ""), 200);
    fixture_done(&f);
}

TEST(reconciler_undeploys_routes_first_and_then_replicas) {
    struct fixture f;
    fixture_init(&f);
    deploy(&f, "100", "{\"0\":100}");
    pass(&f);
    char path[256];
    snprintf(path, sizeof path, "/v1/%s:undeployModel", f.endpoint);
    CHECK_EQ(call(&f, "POST", path, "{\"deployedModelId\":\"100\"}"), 200);
    f.refuses_publish = true;
    int64_t wake_ns;
    CHECK_EQ(reconciler_pass(f.reconciler, &wake_ns, NULL), STATUS_RESOURCE_EXHAUSTED);
    CHECK(!is_done(&f));
    f.refuses_publish = false;
    pass(&f);
    pass(&f);
    CHECK(is_done(&f));
    CHECK_EQ(f.runtime.n, 0);
    size_t n_replicas = 0, n_ready = 0;
    CHECK_EQ(weight_of(&f, "100", &n_replicas, &n_ready), 1000);
    fixture_done(&f);
}

TEST(reconciler_gives_the_share_of_a_model_that_left_to_the_new_one) {
    struct fixture f;
    fixture_init(&f);
    deploy(&f, "100", "{\"0\":100}");
    pass(&f);
    f.runtime.state_of_new = REPLICA_STARTING;
    deploy(&f, "101", "{\"100\":90,\"0\":10}");
    pass(&f);
    char path[256];
    snprintf(path, sizeof path, "/v1/%s:undeployModel", f.endpoint);
    CHECK_EQ(call(&f, "POST", path, "{\"deployedModelId\":\"100\"}"), 200);
    for (size_t i = 0; i < f.runtime.n; i++)
        f.runtime.replicas[i].state = REPLICA_READY;
    pass(&f);
    get(&f, f.endpoint);
    CHECK_EQ(json_get(f.json, "deployedModels")->n, 1);
    CHECK_EQ(record_i64(json_get(f.json, "trafficSplit"), "101", 0), 100);
    fixture_done(&f);
}

TEST(reconciler_routes_to_ready_replicas_or_to_those_that_listen) {
    struct fixture f;
    fixture_init(&f);
    size_t n_replicas = 0, n_ready = 0;
    deploy(&f, "100", "{\"0\":100}");
    pass(&f);
    f.runtime.replicas[0].state = REPLICA_WAITING;
    pass(&f);
    CHECK_EQ(weight_of(&f, "100", &n_replicas, &n_ready), 100);
    CHECK(n_replicas == 2 && n_ready == 1);
    f.runtime.replicas[0].state = REPLICA_UNREADY; /* it may hang: nothing waits for it */
    pass(&f);
    CHECK_EQ(weight_of(&f, "100", &n_replicas, &n_ready), 100);
    CHECK(n_replicas == 1 && n_ready == 1);
    f.runtime.replicas[1].state = REPLICA_STARTING;
    pass(&f);
    CHECK_EQ(weight_of(&f, "100", &n_replicas, &n_ready), 100);
    CHECK(n_replicas == 2 && n_ready == 0);
    fixture_done(&f);
}

TEST(reconciler_goes_on_where_another_one_was_killed) {
    struct fixture f;
    fixture_init(&f);
    deploy(&f, "100", "{\"0\":100}");
    /* Killed after the replicas were started and the routes published, before the commit. */
    struct error err;
    f.refuses_publish = true;
    int64_t wake_ns;
    CHECK_EQ(reconciler_pass(f.reconciler, &wake_ns, &err), STATUS_RESOURCE_EXHAUSTED);
    f.refuses_publish = false;
    reconciler_free(f.reconciler);
    routes_init(&f.routes, f.routes_path);
    start(&f);
    pass(&f);
    CHECK(is_done(&f));
    CHECK_EQ(f.runtime.n, 2);
    get(&f, f.endpoint);
    CHECK_EQ(json_get(f.json, "deployedModels")->n, 1);
    fixture_done(&f);
}

TEST(reconciler_follows_a_mutation_of_the_replica_count) {
    struct fixture f;
    fixture_init(&f);
    deploy(&f, "100", "{\"0\":100}");
    pass(&f);
    char path[256];
    snprintf(path, sizeof path, "/v1/%s:mutateDeployedModel", f.endpoint);
    CHECK_EQ(call(&f, "POST", path,
                  "{\"deployedModel\":{\"id\":\"100\",\"dedicatedResources\":{\"minReplicaCount\":"
                  "3,\"maxReplicaCount\":3}},\"updateMask\":{\"paths\":["
                  "\"dedicatedResources.minReplicaCount\","
                  "\"dedicatedResources.maxReplicaCount\"]}}"),
             200);
    pass(&f);
    CHECK_EQ(f.runtime.n, 3);
    fixture_done(&f);
}
