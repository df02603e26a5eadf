#include "tensor/convert.h"

#include "support/test.h"

TEST(f16_reads_back_every_value) {
    for (uint32_t v = 0; v < 65536; v++) {
        float f = f16_to_f32((uint16_t)v);
        if (isnan(f))
            continue;
        CHECK_EQ(f16_from_f32(f), v);
    }
}

TEST(f16_rounds_to_nearest_even) {
    CHECK_EQ(f16_from_f32(65519.0f), 0x7bff);
    CHECK_EQ(f16_from_f32(65520.0f), 0x7c00);
    CHECK_EQ(f16_from_f32(1.0f + 1.0f / 2048), 0x3c00);
    CHECK_EQ(f16_from_f32(1.0f + 3.0f / 2048), 0x3c02);
}

TEST(bf16_rounds_to_nearest_even) {
    CHECK_EQ(bf16_from_f32(1.0f + 1.0f / 256), 0x3f80);
    CHECK_EQ(bf16_from_f32(1.0f + 3.0f / 256), 0x3f82);
}

TEST(convert_saturates_reals_and_drops_the_fraction) {
    const float from[] = {1.9f, -1.9f, 300.0f, -300.0f, NAN};
    int8_t to[5];
    CHECK_EQ(convert(DTYPE_I8, to, DTYPE_F32, from, 5, NULL), STATUS_OK);
    CHECK_EQ(to[0], 1);
    CHECK_EQ(to[1], -1);
    CHECK_EQ(to[2], 127);
    CHECK_EQ(to[3], -128);
    CHECK_EQ(to[4], 0);
}

TEST(convert_refuses_bytes) {
    char to[8] = {0};
    CHECK_EQ(convert(DTYPE_BYTES, to, DTYPE_F32, to, 1, NULL), STATUS_UNIMPLEMENTED);
}
