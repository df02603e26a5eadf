#include "control/gateway/http_body.h"

#include "support/test.h"

TEST(http_body_is_read_from_either_spelling_and_alphabet) {
    static const char *const texts[] = {
        "{\"httpBody\":{\"contentType\":\"text/plain\",\"data\":\"Pj8_\"}}",
        "{\"endpoint\":\"e\",\"http_body\":{\"content_type\":\"text/plain\",\"data\":\"Pj8/\"}}"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct arena a = {0};
        struct http_body body = {0};
        CHECK_EQ(http_body_read(&body, str_from_c(texts[i]), &a, NULL), STATUS_OK);
        CHECK(str_eq_c(body.content_type, "text/plain"));
        CHECK(str_eq_c(body.data, ">??"));
        arena_release(&a);
    }
}

TEST(http_body_tells_other_bodies_from_damaged_ones) {
    static const struct {
        const char *text;
        status want;
    } cases[] = {{"", STATUS_NOT_FOUND},
                 {"\x01\x02", STATUS_NOT_FOUND},
                 {"[1]", STATUS_NOT_FOUND},
                 {"{\"instances\":[1]}", STATUS_NOT_FOUND},
                 {"{\"httpBody\":3}", STATUS_NOT_FOUND},
                 {"{\"httpBody\":{\"data\":\"!\"}}", STATUS_INVALID_ARGUMENT},
                 {"{\"httpBody\":{}}", STATUS_OK}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = {0};
        struct http_body body;
        CHECK_EQ(http_body_read(&body, str_from_c(cases[i].text), &a, NULL), cases[i].want);
        arena_release(&a);
    }
}

TEST(http_body_is_written_alone_and_in_a_list) {
    struct http_body body = {.content_type = STR("text/plain"), .data = STR(">??")};
    struct buffer one = {0}, list = {0};
    CHECK_EQ(http_body_write(&one, &body, false, NULL), STATUS_OK);
    CHECK_EQ(http_body_write(&list, &body, true, NULL), STATUS_OK);
    CHECK(str_eq_c(buffer_str(&one), "{\"contentType\":\"text/plain\",\"data\":\"Pj8/\"}"));
    CHECK(str_eq_c(buffer_str(&list), "[{\"contentType\":\"text/plain\",\"data\":\"Pj8/\"}]"));
    buffer_done(&one);
    buffer_done(&list);
}
