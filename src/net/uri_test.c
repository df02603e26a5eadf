#include "net/uri.h"

#include "support/test.h"

TEST(uri_decode_decodes_escapes_and_leaves_plain_text_alone) {
    struct arena a = {0};
    str out;
    CHECK(uri_decode(&out, STR("a%2Fb%20c"), false, &a) && str_eq(out, STR("a/b c")));
    CHECK(uri_decode(&out, STR("a+b"), false, &a) && str_eq(out, STR("a+b")));
    CHECK(uri_decode(&out, STR("a+b"), true, &a) && str_eq(out, STR("a b")));
    CHECK(uri_decode(&out, STR("x%41"), false, &a) && str_eq(out, STR("xA")));
    arena_release(&a);
}

TEST(uri_decode_refuses_broken_escapes_and_nul) {
    struct arena a = {0};
    str out;
    CHECK(!uri_decode(&out, STR("a%2"), false, &a));
    CHECK(!uri_decode(&out, STR("a%"), false, &a));
    CHECK(!uri_decode(&out, STR("a%zz"), false, &a));
    CHECK(!uri_decode(&out, STR("a%00"), false, &a));
    arena_release(&a);
}

TEST(uri_path_next_gives_segments_empty_ones_too) {
    str path = STR("/v2//m/"), s;
    CHECK(uri_path_next(&path, &s) && str_eq(s, STR("v2")));
    CHECK(uri_path_next(&path, &s) && str_eq(s, STR("")));
    CHECK(uri_path_next(&path, &s) && str_eq(s, STR("m")));
    CHECK(uri_path_next(&path, &s) && str_eq(s, STR("")));
    CHECK(!uri_path_next(&path, &s));
}

TEST(uri_query_get_finds_the_first_of_a_name) {
    struct arena a = {0};
    str out;
    CHECK(uri_query_get(&out, STR("a=1&b=x%26y&b=2&c"), STR("b"), &a) && str_eq(out, STR("x&y")));
    CHECK(uri_query_get(&out, STR("a=1&c"), STR("c"), &a) && str_eq(out, STR("")));
    CHECK(!uri_query_get(&out, STR("a=1"), STR("b"), &a));
    CHECK(!uri_query_get(&out, STR(""), STR("b"), &a));
    arena_release(&a);
}
