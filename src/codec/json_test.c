#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>

#include "support/test.h"

static struct json_value *parse(struct arena *a, const char *text) {
    struct json_value *v = NULL;
    struct error err = {0};
    if (json_parse(&v, a, str_from_c(text), &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s: %s", text, err.text);
    return v;
}

TEST(json_reads_every_kind_of_value) {
    struct arena a = {0};
    struct json_value *v =
        parse(&a, " {\"a\": [1, -2.5e3, true, false, null, \"x\"],\r\n\t\"b\":{}} ");
    CHECK_EQ(v->type, JSON_OBJECT);
    CHECK_EQ(v->n, 2);
    struct json_value *list = json_get(v, "a"), *e = list->first;
    CHECK_EQ(list->n, 6);
    double d = 0;
    bool b = false;
    str s = {0};
    CHECK(json_to_f64(e, &d) && d == 1);
    CHECK(json_to_f64(e = e->next, &d) && d == -2500);
    CHECK(json_to_bool(e = e->next, &b) && b);
    CHECK(json_to_bool(e = e->next, &b) && !b);
    CHECK_EQ((e = e->next)->type, JSON_NULL);
    CHECK(json_to_str(e->next, &s) && str_eq_c(s, "x"));
    CHECK_EQ(json_get(v, "b")->n, 0);
    CHECK(!json_get(v, "c") && !json_get(list, "a") && !json_get(NULL, "a"));
    arena_release(&a);
}

TEST(json_keeps_64_bit_integers_whole) {
    struct arena a = {0};
    struct json_value *v = parse(
        &a, "[9223372036854775807, 18446744073709551615, \"-9223372036854775808\", 1e3, 1.5]");
    int64_t i = 0;
    uint64_t u = 0;
    struct json_value *e = v->first;
    CHECK(json_to_i64(e, &i) && i == INT64_MAX);
    e = e->next;
    CHECK(!json_to_i64(e, &i) && json_to_u64(e, &u) && u == UINT64_MAX);
    e = e->next;
    CHECK(json_to_i64(e, &i) && i == INT64_MIN && !json_to_u64(e, &u));
    e = e->next;
    CHECK(json_to_i64(e, &i) && i == 1000 && json_to_u64(e, &u) && u == 1000);
    CHECK(!json_to_i64(e->next, &i) && !json_to_u64(e->next, &u));
    arena_release(&a);
}

TEST(json_decodes_escapes) {
    struct arena a = {0};
    struct json_value *v =
        parse(&a, "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u4e16\\ud83d\\ude42\\u0000z\"");
    CHECK(str_eq(v->text, STR("a\"\\/\b\f\n\r\té世🙂\0z")));
    v = parse(&a, "{\"\\u0061b\": 1}");
    CHECK(json_get(v, "ab"));
    arena_release(&a);
}

TEST(json_says_what_is_wrong_and_where) {
    static const struct {
        const char *text, *error;
        json_problem problem;
    } cases[] = {
        {"", "JSON line 1, column 1 (byte 0): the text is empty", JSON_PROBLEM_EMPTY},
        {" \n ", "JSON line 2, column 2 (byte 3): the text is empty", JSON_PROBLEM_EMPTY},
        {"{} x", "JSON line 1, column 4 (byte 3): something follows the value",
         JSON_PROBLEM_TRAILING},
        {"[1,]", "JSON line 1, column 4 (byte 3): no value starts like this", JSON_PROBLEM_VALUE},
        {"[1", "JSON line 1, column 3 (byte 2): neither , nor ] after an element",
         JSON_PROBLEM_ELEMENT_COMMA},
        {"[1,", "JSON line 1, column 4 (byte 3): the text ends where a value must be",
         JSON_PROBLEM_VALUE},
        {"{\n  \"a\" 1}", "JSON line 2, column 7 (byte 8): no : after the name of a member",
         JSON_PROBLEM_COLON},
        {"{\"a\":1 \"b\":2}", "JSON line 1, column 8 (byte 7): neither , nor } after a member",
         JSON_PROBLEM_MEMBER_COMMA},
        {"{a:1}", "JSON line 1, column 2 (byte 1): a member needs a name in quotes",
         JSON_PROBLEM_NAME},
        {"{\"a\":1,}", "JSON line 1, column 8 (byte 7): a member needs a name in quotes",
         JSON_PROBLEM_NAME},
        {"tru", "JSON line 1, column 1 (byte 0): no value starts like this", JSON_PROBLEM_VALUE},
        {"-", "JSON line 1, column 1 (byte 0): a number is cut off", JSON_PROBLEM_NUMBER},
        {"01", "JSON line 1, column 2 (byte 1): something follows the value",
         JSON_PROBLEM_TRAILING},
        {"NaN", "JSON line 1, column 1 (byte 0): no value starts like this", JSON_PROBLEM_VALUE},
        {"\"abc", "JSON line 1, column 1 (byte 0): a string has no closing quote",
         JSON_PROBLEM_QUOTE},
        {"\"a\\x\"", "JSON line 1, column 3 (byte 2): no escape sequence looks like this",
         JSON_PROBLEM_ESCAPE},
        {"\"\\u12g4\"", "JSON line 1, column 2 (byte 1): no escape sequence looks like this",
         JSON_PROBLEM_ESCAPE},
        {"\"\\ud800\"", "JSON line 1, column 2 (byte 1): half of a surrogate pair stands alone",
         JSON_PROBLEM_SURROGATE},
        {"\"a\tb\"", "JSON line 1, column 3 (byte 2): a bare control character in a string",
         JSON_PROBLEM_ENCODING},
        {"\"abcdefgh\xff\"", "JSON line 1, column 10 (byte 9): a string is not UTF-8",
         JSON_PROBLEM_ENCODING},
        {"{\"a\":1,\"a\":2}",
         "JSON line 1, column 14 (byte 13): the object that ends here has \"a\" twice",
         JSON_PROBLEM_DUPLICATE},
        {"\xef\xbb\xbf{}", "JSON line 1, column 1 (byte 0): no value starts like this",
         JSON_PROBLEM_VALUE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = {0};
        struct json_value *v = NULL;
        struct error err = {0};
        CHECK_EQ(json_parse(&v, &a, str_from_c(cases[i].text), &err), STATUS_INVALID_ARGUMENT);
        CHECK_STR(err.text, cases[i].error);
        CHECK(!v);
        arena_release(&a);
        struct json_reader r;
        json_reader_init(&r, str_from_c(cases[i].text), &err);
        json_skip(&r, NULL);
        status skipped = json_reader_finish(&r);
        if (cases[i].problem == JSON_PROBLEM_DUPLICATE)
            CHECK_EQ(skipped, STATUS_OK);
        else
            CHECK_EQ(r.problem, cases[i].problem);
    }
}

TEST(json_refuses_a_million_brackets) {
    enum { N = 1000000 };
    char *text = malloc(N);
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < N; i++)
            text[i] = kind ? "{\"a\":"[i % 5] : '[';
        struct arena a = {0};
        struct json_value *v;
        struct error err = {0};
        CHECK_EQ(json_parse(&v, &a, (str){.p = text, .n = N}, &err), STATUS_INVALID_ARGUMENT);
        CHECK(strstr(err.text, "more than 100 arrays and objects inside each other"));
        arena_release(&a);
    }
    free(text);
}

TEST(json_finds_duplicates_in_large_objects) {
    char text[4000];
    for (int twice = 0; twice < 2; twice++) {
        size_t n = 0;
        for (int i = 0; i < 200; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%c\"m%d\":%d", i ? ',' : '{',
                                  twice && i == 199 ? 7 : i, i);
        snprintf(text + n, sizeof text - n, "}");
        struct arena a = {0};
        struct json_value *v;
        struct error err = {0};
        CHECK_EQ(json_parse(&v, &a, str_from_c(text), &err) == STATUS_OK, !twice);
        CHECK(!twice || strstr(err.text, "has \"m7\" twice"));
        arena_release(&a);
    }
}

static void check_write(bool pretty, const char *text, const char *want) {
    struct arena a = {0};
    struct buffer out = {0};
    struct error err = {0};
    struct json_writer w;
    json_writer_init(&w, &out, &err);
    w.pretty = pretty;
    json_write(&w, parse(&a, text));
    CHECK_EQ(json_writer_finish(&w), STATUS_OK);
    CHECK_EQ(buffer_append(&out, "", 1, &err), STATUS_OK);
    CHECK_STR(out.p, want);
    buffer_done(&out);
    arena_release(&a);
}

TEST(json_writes_what_it_read) {
    check_write(false, "{\"a\":[1,2.50,{\"b\":null}],\"\":\"\\u001f\\n\\\"é\",\"c\":{},\"d\":[]}",
                "{\"a\":[1,2.50,{\"b\":null}],\"\":\"\\u001f\\n\\\"é\",\"c\":{},\"d\":[]}");
    check_write(true, "{\"a\":[1,{\"b\":true}],\"c\":{},\"d\":[]}",
                "{\n  \"a\": [\n    1,\n    {\n      \"b\": true\n    }\n  ],\n  \"c\": {},\n"
                "  \"d\": []\n}");
    check_write(true, "[]", "[]");
}

TEST(json_writer_writes_numbers_and_bad_text) {
    struct buffer out = {0};
    struct error err = {0};
    struct json_writer w;
    json_writer_init(&w, &out, &err);
    json_begin_array(&w);
    json_i64(&w, INT64_MIN);
    json_u64(&w, UINT64_MAX);
    json_f64(&w, 3);
    json_f64(&w, 0.1);
    json_f64(&w, (double)NAN);
    json_string(&w, STR("a\xffz\xe2\x82"));
    json_bool(&w, true);
    json_null(&w);
    json_end_array(&w);
    CHECK_EQ(json_writer_finish(&w), STATUS_OK);
    CHECK(str_eq(buffer_str(&out), STR("[-9223372036854775808,18446744073709551615,3,0.1,\"NaN\","
                                       "\"a\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\",true,null]")));
    buffer_done(&out);
}

TEST(json_writer_reports_a_full_buffer) {
    struct buffer out = {.size_max = 10};
    struct error err = {0};
    struct json_writer w;
    json_writer_init(&w, &out, &err);
    json_string(&w, STR("more than ten bytes"));
    json_null(&w);
    CHECK_EQ(json_writer_finish(&w), STATUS_RESOURCE_EXHAUSTED);
    buffer_done(&out);
}

TEST(json_trees_can_be_changed) {
    struct arena a = {0};
    struct json_value *v = parse(&a, "{\"a\":1,\"b\":2,\"c\":3}");
    json_set(v, STR("b"), json_new_string(&a, STR("two")));
    json_set(v, STR("d"), json_new_f64(&a, 0.5));
    CHECK(json_remove(v, STR("a")) && !json_remove(v, STR("a")));
    CHECK(json_remove(v, STR("d")));
    json_set(v, STR("e"), json_new_array(&a));
    json_append(json_get(v, "e"), json_new_i64(&a, -7));
    CHECK(json_equal(v, parse(&a, "{\"e\":[-7],\"b\":\"two\",\"c\":3.0}")));
    CHECK(!json_equal(v, parse(&a, "{\"e\":[-7],\"b\":\"two\",\"c\":4}")));
    CHECK(json_equal(v, json_copy(&a, v)));
    arena_release(&a);
}

TEST(json_reader_walks_without_a_tree) {
    struct json_reader r;
    struct json_string name, s = {0};
    struct error err = {0};
    str raw = {0};
    int64_t i = 0;
    uint64_t u = 0;
    double d = 0;
    json_reader_init(&r,
                     STR("{\"skip\":[1,[2,{\"x\":\"]\"}]],\"\\u0069d\":\"a\\u0062c\",\"n\":-5,"
                         "\"u\":18446744073709551615,\"d\":1e-3, \"list\": [1, 2, 3]}"),
                     &err);
    int64_t sum = 0;
    CHECK(json_enter_object(&r));
    while (json_next_member(&r, &name)) {
        if (json_string_is(name, STR("id"))) {
            json_read_string(&r, &s);
        } else if (json_string_is(name, STR("n"))) {
            json_read_i64(&r, &i);
        } else if (json_string_is(name, STR("u"))) {
            json_read_u64(&r, &u);
        } else if (json_string_is(name, STR("d"))) {
            json_read_f64(&r, &d);
        } else if (json_string_is(name, STR("list"))) {
            json_enter_array(&r);
            for (int64_t e; json_next_element(&r) && json_read_i64(&r, &e);)
                sum += e;
        } else {
            json_skip(&r, &raw);
        }
    }
    CHECK_EQ(json_reader_finish(&r), STATUS_OK);
    CHECK(str_eq_c(raw, "[1,[2,{\"x\":\"]\"}]]"));
    CHECK(json_string_is(s, STR("abc")) && !json_string_is(s, STR("ab")));
    CHECK_EQ(i, -5);
    CHECK(u == UINT64_MAX && d == 1e-3);
    CHECK_EQ(sum, 6);
}

TEST(json_reader_names_the_type_that_it_found) {
    struct json_reader r;
    struct error err = {0};
    json_reader_init(&r, STR("[\"1\"]"), &err);
    int64_t i;
    CHECK(json_enter_array(&r) && json_next_element(&r) && !json_read_i64(&r, &i));
    CHECK(!json_next_element(&r) && !json_skip(&r, NULL));
    CHECK_EQ(json_reader_finish(&r), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "JSON line 1, column 2 (byte 1): wanted a number, found a string");
    CHECK_EQ(r.problem, JSON_PROBLEM_TYPE);
    json_reader_init(&r, STR("12345678901234567890123"), &err);
    CHECK(!json_read_u64(&r, &(uint64_t){0}));
    CHECK_STR(err.text,
              "JSON line 1, column 1 (byte 0): 12345678901234567890123 is not an unsigned "
              "64-bit integer");
    CHECK_EQ(r.problem, JSON_PROBLEM_RANGE);
    double d;
    json_reader_init(&r, STR("-Infinity"), &err);
    r.allow_nan = true;
    CHECK(json_read_f64(&r, &d) && isinf(d) && d < 0);
}

TEST(json_numbers_larger_than_any_f64_are_errors_even_where_nobody_reads_them) {
    static const char *const texts[] = {"{\"a\":[1,-1e309]}", "{\"a\":1.8e308,\"b\":2}",
                                        "[12e99999999999999999999]"};
    struct error err;
    struct json_reader r;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_reader_init(&r, str_from_c(texts[i]), &err);
        CHECK(!json_skip(&r, NULL));
        CHECK_EQ(r.problem, JSON_PROBLEM_TOO_LARGE);
        CHECK(strstr(err.text, " is larger than any FP64") != NULL);
    }
    static const char *const good[] = {"1.7976931348623157e308", "-1e308", "0e999", "1e-999",
                                       "0.000001e313"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        json_reader_init(&r, str_from_c(good[i]), &err);
        CHECK(json_skip(&r, NULL));
        CHECK_EQ(json_reader_finish(&r), STATUS_OK);
    }
}
