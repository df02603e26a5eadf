#include "codec/utf8.h"

#include "support/test.h"

TEST(utf8_accepts_every_code_point_that_it_encodes) {
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 37) {
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        char text[4];
        size_t n = utf8_encode(c, text);
        if (!utf8_is_valid((str){.p = text, .n = n}))
            test_fail(__FILE__, __LINE__, "U+%04X in %zu bytes", c, n);
    }
}

TEST(utf8_refuses_what_rfc_3629_forbids) {
    static const struct {
        str text;
        size_t prefix;
    } cases[] = {
        {STR("abc\x80"), 3},
        {STR("\xc0\x80"), 0},
        {STR("\xc1\xbf"), 0},
        {STR("\xe0\x80\x80"), 0},
        {STR("\xed\xa0\x80"), 0},
        {STR("\xf0\x80\x80\x80"), 0},
        {STR("\xf4\x90\x80\x80"), 0},
        {STR("\xf5\x80\x80\x80"), 0},
        {STR("0123456789\xe2\x82"), 10},
        {STR("\xff"), 0},
        {STR("a\xc3("), 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(utf8_valid_prefix(cases[i].text), cases[i].prefix);
}

TEST(utf8_accepts_long_mixed_text) {
    CHECK(utf8_is_valid(STR("Grüße, 世界, 🙂, and a good deal of plain ASCII behind it")));
    CHECK(utf8_is_valid(STR("")));
}
