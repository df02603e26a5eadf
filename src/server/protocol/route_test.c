#include "server/protocol/route.h"

#include "support/test.h"

static route_result find(const char *method, const char *path, struct route_call *c) {
    static struct arena a;
    route_handler handler;
    *c = (struct route_call){0};
    return route_find(str_from_c(method), str_from_c(path), &a, c, &handler);
}

TEST(route_catches_model_and_version) {
    struct route_call c;
    CHECK_EQ(find("POST", "/v2/models/a%20b/versions/12/infer", &c), ROUTE_FOUND);
    CHECK(str_eq(c.model, STR("a b")));
    CHECK_EQ(c.version, 12);
    CHECK_EQ(find("GET", "/v2/models/m", &c), ROUTE_FOUND);
    CHECK_EQ(c.version, -1);
}

TEST(route_tells_wrong_methods_from_unknown_paths) {
    struct route_call c;
    CHECK_EQ(find("DELETE", "/v2/models/m/infer", &c), ROUTE_WRONG_METHOD);
    CHECK_EQ(find("GET", "/v2/models/m/versions/x/config", &c), ROUTE_NOT_FOUND);
    CHECK_EQ(find("GET", "/v2/models//m", &c), ROUTE_NOT_FOUND);
    CHECK_EQ(find("GET", "/v2/", &c), ROUTE_NOT_FOUND);
    CHECK_EQ(find("GET", "/", &c), ROUTE_NOT_FOUND);
    CHECK_EQ(find("GET", "", &c), ROUTE_NOT_FOUND);
}

TEST(route_marks_versions_that_are_too_large) {
    struct route_call c;
    CHECK_EQ(find("GET", "/v2/models/m/versions/99999999999999999999", &c), ROUTE_FOUND);
    CHECK_EQ(c.version, INT64_MIN);
}
