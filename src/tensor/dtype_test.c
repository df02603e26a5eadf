#include "tensor/dtype.h"

#include "support/test.h"

TEST(dtype_names_read_back) {
    for (int t = 1; t < DTYPE_COUNT; t++) {
        CHECK_EQ(dtype_from_name(str_from_c(dtype_name((dtype)t))), t);
        CHECK_EQ(dtype_from_kserve_name(str_from_c(dtype_kserve_name((dtype)t))), t);
        CHECK_EQ(dtype_from_onnx(dtype_onnx((dtype)t)), t);
    }
}

TEST(dtype_of_an_unknown_name_is_none) {
    CHECK_EQ(dtype_from_kserve_name(STR("FP128")), DTYPE_NONE);
    CHECK_EQ(dtype_from_onnx(99), DTYPE_NONE);
    CHECK_EQ(dtype_size(DTYPE_NONE), 0);
}
