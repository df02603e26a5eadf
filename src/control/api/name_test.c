#include "control/api/name.h"

#include "support/test.h"

static struct resource_name parsed(const char *text) {
    struct resource_name n = {0};
    struct error err = {0};
    if (name_parse(&n, str_from_c(text), &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return n;
}

TEST(name_splits_every_form) {
    struct resource_name n = parsed("projects/p1/locations/us-central1");
    CHECK(str_eq_c(n.project, "p1") && str_eq_c(n.location, "us-central1") && n.id.n == 0);
    n = parsed("projects/google.com:p/locations/l/models/m@3");
    CHECK(str_eq_c(n.project, "google.com:p") && str_eq_c(n.collection, "models"));
    CHECK(str_eq_c(n.id, "m") && str_eq_c(n.version, "3"));
    n = parsed("projects/p/locations/l/endpoints/7/operations/9");
    CHECK(str_eq_c(n.id, "7") && str_eq_c(n.operation, "9"));
    n = parsed("projects/p/locations/l/operations/9");
    CHECK(n.id.n == 0 && str_eq_c(n.operation, "9"));
    struct arena a = {0};
    n = parsed("projects/p/locations/l/models/m@3");
    CHECK_STR(name_resource(&a, &n).p, "projects/p/locations/l/models/m");
    CHECK_STR(name_parent(&a, &n).p, "projects/p/locations/l");
    arena_release(&a);
}

TEST(name_refuses_what_is_none) {
    const char *bad[] = {
        "",
        "projects",
        "projects/p",
        "projects//locations/l",
        "projects/p/locations/",
        "projects/p/locations/l/endpoints",
        "projects/p/locations/l/endpoints/",
        "projects/p/locations/l/endpoints/a b",
        "projects/p/locations/l/endpoints/..",
        "projects/../locations/l/endpoints/1",
        "projects/p/locations/l/endpoints/1/operations",
        "projects/p/locations/l/endpoints/1/operations/2/x",
        "projects/p/locations/l/endpoints/1/x/2",
        "projects/p/locations/l/models/m@",
        "projects/p/locations/l/operations/9/x",
        "project/p/locations/l",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct resource_name n;
        struct error err = {0};
        if (name_parse(&n, str_from_c(bad[i]), &err) != STATUS_INVALID_ARGUMENT)
            test_fail(__FILE__, __LINE__, "accepted \"%s\"", bad[i]);
    }
}

TEST(name_checks_the_ids_that_a_caller_chooses) {
    CHECK(name_is_endpoint_id(STR("my-endpoint1")) && name_is_endpoint_id(STR("123456789")));
    CHECK(!name_is_endpoint_id(STR("1234567890")) && !name_is_endpoint_id(STR("012")));
    CHECK(!name_is_endpoint_id(STR("a-")) && !name_is_endpoint_id(STR("Aa")));
    CHECK(name_is_model_id(STR("m_1-a")) && !name_is_model_id(STR("1m")));
    CHECK(name_is_deployed_model_id(STR("100")) && !name_is_deployed_model_id(STR("0")));
    CHECK(name_is_alias(STR("default")) && name_is_alias(STR("v2")) && name_is_alias(STR("aB-9")));
    CHECK(!name_is_alias(STR("a")) && !name_is_alias(STR("2")) && !name_is_alias(STR("v-")));
    struct arena a = {0};
    str one = name_new_id(&a), two = name_new_id(&a);
    CHECK(!str_eq(one, two) && name_is_deployed_model_id(one) && one.n >= 16);
    arena_release(&a);
}
