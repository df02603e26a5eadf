#include "control/gateway/route.h"

#include <stdio.h>
#include <unistd.h>

#include "support/test.h"

TEST(route_table_survives_the_file) {
    struct route_replica replicas[] = {{STR("127.0.0.1:1"), true}, {STR("unix:/x y"), false}};
    struct route_model model = {.id = STR("1234"),
                                .model = STR("projects/p/locations/l/models/m"),
                                .display_name = STR("a \"quoted\" name"),
                                .version_id = STR("2"),
                                .predict_route = STR("/predict"),
                                .weight = 90,
                                .is_idempotent = true,
                                .replicas = replicas,
                                .n_replicas = 2};
    struct route_endpoint endpoint = {
        .name = STR("projects/p/locations/l/endpoints/7"), .models = &model, .n_models = 1};
    struct route_table t = {.generation = 17, .endpoints = &endpoint, .n_endpoints = 1}, back;
    char path[64];
    struct error err = {0};
    snprintf(path, sizeof path, "/tmp/culmen-route-test-%d", (int)getpid());
    CHECK_EQ(route_table_write(&t, path, &err), STATUS_OK);
    if (route_table_read(&back, path, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    unlink(path);
    CHECK_EQ(back.generation, 17);
    CHECK_EQ(back.n_endpoints, 1);
    CHECK(str_eq(back.endpoints[0].name, endpoint.name));
    CHECK_EQ(back.endpoints[0].timeout_ms, ROUTE_TIMEOUT_MS);
    const struct route_model *m = &back.endpoints[0].models[0];
    CHECK(str_eq(m->display_name, model.display_name) && str_eq(m->id, model.id));
    CHECK(m->weight == 90 && m->is_idempotent && m->n_replicas == 2);
    CHECK(str_eq(m->replicas[1].address, replicas[1].address));
    CHECK(m->replicas[0].is_ready && !m->replicas[1].is_ready);
    route_table_done(&back);
}

TEST(route_table_says_what_is_wrong_with_a_file) {
    struct route_table t;
    struct error err = {0};
    CHECK_EQ(route_table_parse(&t, STR("{\"format\":2,\"endpoints\":[]}"), &err),
             STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "routes: format is 2, wanted 1");
    CHECK_EQ(route_table_parse(&t, STR("{\"format\":1,\"endpoints\":[{\"name\":7}]}"), &err),
             STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "routes: \"endpoint\": \"name\" is not a string");
    CHECK_EQ(route_table_parse(&t, STR("{\"format\":1"), &err), STATUS_INVALID_ARGUMENT);
    CHECK_EQ(route_table_read(&t, "/nonexistent/routes", &err), STATUS_NOT_FOUND);
}
