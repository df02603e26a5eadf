#include "server/protocol/encoding.h"

#include "support/test.h"

TEST(encoding_chooses_the_first_of_the_highest_weight) {
    CHECK_EQ(encoding_choose(STR("gzip, deflate")), ENCODING_GZIP);
    CHECK_EQ(encoding_choose(STR("gzip;q=0.3, deflate;q=0.9")), ENCODING_DEFLATE);
    CHECK_EQ(encoding_choose(STR("identity, gzip")), ENCODING_IDENTITY);
    CHECK_EQ(encoding_choose(STR("gzip;q=0")), ENCODING_IDENTITY);
    CHECK_EQ(encoding_choose(STR("gzip;q=abc, br, *")), ENCODING_IDENTITY);
    CHECK_EQ(encoding_choose((str){0}), ENCODING_IDENTITY);
}

static void round_trip(encoding e) {
    CLEANUP(buffer_done) struct buffer plain = {0}, packed = {0}, again = {0};
    struct error err;
    for (int i = 0; i < 50000; i++)
        CHECK_EQ(buffer_printf(&plain, &err, "%d,", i), STATUS_OK);
    CHECK_EQ(encoding_pack(e, buffer_str(&plain), &packed, &err), STATUS_OK);
    CHECK(packed.n < plain.n);
    CHECK_EQ(encoding_unpack(e, buffer_str(&packed), &again, &err), STATUS_OK);
    CHECK(str_eq(buffer_str(&plain), buffer_str(&again)));
    CLEANUP(buffer_done) struct buffer cut = {0}, small = {.size_max = 100};
    CHECK_EQ(encoding_unpack(e, str_slice(buffer_str(&packed), 0, packed.n / 2), &cut, &err),
             STATUS_INVALID_ARGUMENT);
    CHECK_EQ(encoding_unpack(e, buffer_str(&packed), &small, &err), STATUS_RESOURCE_EXHAUSTED);
}

TEST(encoding_gzip_gives_back_what_it_got) {
    round_trip(ENCODING_GZIP);
}

TEST(encoding_deflate_gives_back_what_it_got) {
    round_trip(ENCODING_DEFLATE);
}

TEST(encoding_refuses_what_is_not_packed) {
    CLEANUP(buffer_done) struct buffer out = {0};
    struct error err;
    CHECK_EQ(encoding_unpack(ENCODING_GZIP, STR("plain"), &out, &err), STATUS_INVALID_ARGUMENT);
    encoding e;
    CHECK(!encoding_from_name(STR("br"), &e));
    CHECK(!encoding_from_name(STR("GZIP"), &e));
}
