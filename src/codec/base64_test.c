#include "codec/base64.h"

#include "support/test.h"

static const struct {
    str bytes;
    const char *standard, *url;
} pairs[] = {
    {STR(""), "", ""},
    {STR("f"), "Zg==", "Zg"},
    {STR("fo"), "Zm8=", "Zm8"},
    {STR("foo"), "Zm9v", "Zm9v"},
    {STR("\xfb\xff\xfe\0"), "+//+AA==", "-__-AA"},
};

TEST(base64_round_trips_in_both_alphabets) {
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        for (int url = 0; url < 2; url++) {
            str want = str_from_c(url ? pairs[i].url : pairs[i].standard);
            struct buffer text = {0}, back = {0};
            struct error err = {0};
            CHECK_EQ(base64_encode(&text, pairs[i].bytes.p, pairs[i].bytes.n, (base64_alphabet)url,
                                   &err),
                     STATUS_OK);
            CHECK(str_eq(buffer_str(&text), want));
            CHECK_EQ(base64_decode(&back, want, (base64_alphabet)url, &err), STATUS_OK);
            CHECK(str_eq(buffer_str(&back), pairs[i].bytes));
            buffer_done(&text);
            buffer_done(&back);
        }
}

TEST(base64_refuses_damaged_text_and_says_where) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"Zg", "base64 text of 2 characters is cut off or padded wrongly"},
        {"Zg=", "base64 text of 3 characters is cut off or padded wrongly"},
        {"Z===", "base64 text has the byte 0x3d at offset 1"},
        {"Zm 9", "base64 text has the byte 0x20 at offset 2"},
        {"Zg==Zg==", "base64 text has the byte 0x3d at offset 2"},
        {"-_-_", "base64 text has the byte 0x2d at offset 0"},
        {"Zh==", "base64 text ends in a digit with stray bits at offset 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer out = {0};
        struct error err = {0};
        CHECK_EQ(base64_decode(&out, str_from_c(cases[i].text), BASE64_STANDARD, &err),
                 STATUS_INVALID_ARGUMENT);
        CHECK_STR(err.text, cases[i].error);
        CHECK_EQ(out.n, 0);
        buffer_done(&out);
    }
}
