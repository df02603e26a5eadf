#include "codec/json_tensor.h"

#include <stdio.h>
#include <stdlib.h>

#include "support/test.h"
#include "tensor/convert.h"

/* Reads `text` as `t` and returns the error text, or "" */
static const char *read_into(struct tensor *t, const char *text) {
    static struct error err;
    struct json_reader r;
    err.text[0] = 0;
    json_reader_init(&r, str_from_c(text), &err);
    json_tensor_read(&r, t);
    return json_reader_finish(&r) == STATUS_OK ? "" : err.text;
}

#define TENSOR_OF(type, array, ...)                                                                \
    {                                                                                              \
        .dtype = type,                                                                             \
        .data = array,                                                                             \
        .size = sizeof(array),                                                                     \
        .rank = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                                \
        .dims = {__VA_ARGS__},                                                                     \
    }

TEST(json_tensor_reads_flat_and_nested) {
    static const char *const texts[] = {
        "[1,2,3,4,5,6]",
        " [ 1 , 2 , 3 ,\n 4 , 5 , 6 ] ",
        "[[1,2,3],[4,5,6]]",
        "[ [1.0, 2e0, 3], [40e-1, 5.0, 0.6e1] ]",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        float f[6] = {0};
        struct tensor t = TENSOR_OF(DTYPE_F32, f, 2, 3);
        CHECK_STR(read_into(&t, texts[i]), "");
        for (int k = 0; k < 6; k++)
            CHECK_EQ(f[k], k + 1);
    }
}

TEST(json_tensor_reads_every_dtype) {
    int8_t i8[2];
    struct tensor t = TENSOR_OF(DTYPE_I8, i8, 2);
    CHECK_STR(read_into(&t, "[-128,127]"), "");
    CHECK(i8[0] == -128 && i8[1] == 127);
    uint8_t u8[2];
    t = (struct tensor)TENSOR_OF(DTYPE_U8, u8, 2);
    CHECK_STR(read_into(&t, "[0,255]"), "");
    CHECK(u8[0] == 0 && u8[1] == 255);
    int16_t i16[1];
    t = (struct tensor)TENSOR_OF(DTYPE_I16, i16, 1);
    CHECK_STR(read_into(&t, "[-32768]"), "");
    CHECK(i16[0] == -32768);
    uint16_t u16[1];
    t = (struct tensor)TENSOR_OF(DTYPE_U16, u16, 1);
    CHECK_STR(read_into(&t, "[65535]"), "");
    CHECK(u16[0] == 65535);
    int32_t i32[1];
    t = (struct tensor)TENSOR_OF(DTYPE_I32, i32, 1);
    CHECK_STR(read_into(&t, "[-2147483648]"), "");
    CHECK(i32[0] == INT32_MIN);
    uint32_t u32[1];
    t = (struct tensor)TENSOR_OF(DTYPE_U32, u32, 1);
    CHECK_STR(read_into(&t, "[4294967295]"), "");
    CHECK(u32[0] == UINT32_MAX);
    int64_t i64[2];
    t = (struct tensor)TENSOR_OF(DTYPE_I64, i64, 2);
    CHECK_STR(read_into(&t, "[-9223372036854775808,9223372036854775807]"), "");
    CHECK(i64[0] == INT64_MIN && i64[1] == INT64_MAX);
    uint64_t u64[1];
    t = (struct tensor)TENSOR_OF(DTYPE_U64, u64, 1);
    CHECK_STR(read_into(&t, "[18446744073709551615]"), "");
    CHECK(u64[0] == UINT64_MAX);
    double f64[2];
    t = (struct tensor)TENSOR_OF(DTYPE_F64, f64, 2);
    CHECK_STR(read_into(&t, "[0.1,-Infinity]"), "");
    CHECK(f64[0] == 0.1 && isinf(f64[1]) && f64[1] < 0);
    float f32[4];
    t = (struct tensor)TENSOR_OF(DTYPE_F32, f32, 4);
    CHECK_STR(read_into(&t, "[NaN, Infinity, 1e39, -0.0]"), "");
    CHECK(isnan(f32[0]) && isinf(f32[1]) && isinf(f32[2]) && signbit(f32[3]));
    uint16_t half[1];
    t = (struct tensor)TENSOR_OF(DTYPE_F16, half, 1);
    CHECK_STR(read_into(&t, "[1.5]"), "");
    CHECK(f16_to_f32(half[0]) == 1.5f);
    t = (struct tensor)TENSOR_OF(DTYPE_BF16, half, 1);
    CHECK_STR(read_into(&t, "[-2]"), "");
    CHECK(bf16_to_f32(half[0]) == -2);
    uint8_t b[2];
    t = (struct tensor)TENSOR_OF(DTYPE_BOOL, b, 2);
    CHECK_STR(read_into(&t, "[true,false]"), "");
    CHECK(b[0] == 1 && b[1] == 0);
}

TEST(json_tensor_reads_a_bare_scalar) {
    float f[1] = {0};
    struct tensor t = {.dtype = DTYPE_F32, .data = f, .size = sizeof f};
    CHECK_STR(read_into(&t, "7"), "");
    CHECK_EQ(f[0], 7);
    CHECK_STR(read_into(&t, "[8]"), "");
    CHECK_EQ(f[0], 8);
    struct tensor one = TENSOR_OF(DTYPE_F32, f, 1);
    CHECK(*read_into(&one, "7"));
}

TEST(json_tensor_says_what_does_not_fit) {
    static const struct {
        dtype type;
        const char *text, *error;
        json_problem problem;
    } cases[] = {
        {DTYPE_F32, "[1,2,3]",
         "column 8 (byte 7): the array that ends here has shape [3], wanted [2,2]",
         JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[1,2,3,4,5]", "more than 4 elements", JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[[1,2,3,4]]", "has shape [1,4], wanted [2,2]", JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[[1,2],[3]]", "an array has 1 elements, the ones before it have 2",
         JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[[1,2],3,4]", "an element stands where the ones before it have an array",
         JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[1,[2]]", "an array stands beside an element", JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[[],[[]]]", "an array stands where the ones before it have an element",
         JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[]", "has shape [0], wanted [2,2]", JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[[[[[[[[[1]]]]]]]]]", "arrays are nested deeper than any tensor",
         JSON_PROBLEM_SHAPE},
        {DTYPE_F32, "[1,2,\"3\",4]", "column 6 (byte 5): wanted a number, found a string",
         JSON_PROBLEM_TYPE},
        {DTYPE_F32, "[1,2,,4]", "no value starts like this", JSON_PROBLEM_VALUE},
        {DTYPE_F32, "[1,2,3", "neither , nor ] after an element", JSON_PROBLEM_ELEMENT_COMMA},
        {DTYPE_F32, "[1,2,3,]", "no value starts like this", JSON_PROBLEM_VALUE},
        {DTYPE_F32, "[1 2,3,4]", "neither , nor ] after an element", JSON_PROBLEM_ELEMENT_COMMA},
        {DTYPE_F32, "", "the text is empty", JSON_PROBLEM_EMPTY},
        {DTYPE_F32, "[01,2,3,4]", "neither , nor ] after an element", JSON_PROBLEM_ELEMENT_COMMA},
        {DTYPE_I32, "[1,2,3.5,4]", "element 2 is 3.5, not an integer for INT32",
         JSON_PROBLEM_RANGE},
        {DTYPE_I32, "[1,-2147483649,3,4]", "element 1 is -2147483649, out of range for INT32",
         JSON_PROBLEM_RANGE},
        {DTYPE_U32, "[-1,2,3,4]", "element 0 is -1, out of range for UINT32", JSON_PROBLEM_RANGE},
        {DTYPE_F32, "[1,2,1e999,4]", "column 6 (byte 5): 1e999 is larger than any FP64",
         JSON_PROBLEM_TOO_LARGE},
        {DTYPE_F32, "[-1e309,2,3,4]", "(byte 1): -1e309 is larger than any FP64",
         JSON_PROBLEM_TOO_LARGE},
        {DTYPE_I32, "[1e999,2,3,4]", "larger than any FP64", JSON_PROBLEM_TOO_LARGE},
        {DTYPE_F32, "[true,2,3,4]", "wanted a number, found true or false", JSON_PROBLEM_TYPE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char data[16];
        struct tensor t = TENSOR_OF(cases[i].type, data, 2, 2);
        struct error err = {0};
        struct json_reader r;
        json_reader_init(&r, str_from_c(cases[i].text), &err);
        CHECK(!json_tensor_read(&r, &t));
        CHECK_EQ(r.problem, cases[i].problem);
        if (!strstr(err.text, cases[i].error))
            test_fail(__FILE__, __LINE__, "%s: got \"%s\", want \"%s\"", cases[i].text, err.text,
                      cases[i].error);
    }
}

TEST(json_tensor_reads_empty_tensors) {
    char none[1];
    struct tensor t = {.dtype = DTYPE_F32, .data = none, .rank = 2, .dims = {2, 0}};
    CHECK_STR(read_into(&t, "[[],[]]"), "");
    CHECK_STR(read_into(&t, "[]"), "");
    CHECK(*read_into(&t, "[1]"));
}

TEST(json_tensor_finds_the_shape) {
    static const struct {
        const char *text, *dims;
        size_t size;
    } cases[] = {
        {"[[1,2],[3,4],[5,6]]", "[3,2]", 24},
        {"5", "[]", 4},
        {"[]", "[0]", 0},
        {"[[],[]]", "[2,0]", 0},
        {"[[[7]]]", "[1,1,1]", 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer out = {0};
        struct error err = {0};
        struct json_reader r;
        int64_t dims[TENSOR_RANK_MAX];
        size_t rank = 99;
        char text[DIMS_TEXT_SIZE];
        json_reader_init(&r, str_from_c(cases[i].text), &err);
        CHECK(json_tensor_read_any(&r, DTYPE_F32, &out, dims, &rank));
        CHECK_EQ(json_reader_finish(&r), STATUS_OK);
        CHECK_STR(dims_format(dims, rank, text), cases[i].dims);
        CHECK_EQ(out.n, cases[i].size);
        buffer_done(&out);
    }
}

TEST(json_tensor_respects_the_limit_of_the_buffer) {
    enum { N = 100000 };
    char *text = malloc(2 * N + 2);
    text[0] = '[';
    for (size_t i = 0; i < N; i++)
        memcpy(text + 1 + 2 * i, "1,", 2);
    text[2 * N] = ']';
    for (size_t limit = 4 * N - 4; limit <= 4 * N; limit += 4) {
        struct buffer out = {.size_max = limit};
        struct error err = {0};
        struct json_reader r;
        int64_t dims[TENSOR_RANK_MAX];
        size_t rank;
        json_reader_init(&r, (str){.p = text, .n = 2 * N + 1}, &err);
        CHECK_EQ(json_tensor_read_any(&r, DTYPE_F32, &out, dims, &rank), limit == 4 * N);
        CHECK_EQ(json_reader_finish(&r), limit == 4 * N ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED);
        buffer_done(&out);
    }
    free(text);
}

TEST(json_tensor_reads_strings_and_base64) {
    struct buffer out = {0};
    struct error err = {0};
    struct json_reader r;
    json_reader_init(&r, STR("[\"a\",\"\",\"\\u00e9\",{\"b64\":\"AP8=\"}]"), &err);
    CHECK(json_tensor_read_bytes(&r, (int64_t[]){4}, 1, &out));
    CHECK_EQ(json_reader_finish(&r), STATUS_OK);
    CHECK(str_eq(buffer_str(&out), STR("\1\0\0\0a\0\0\0\0\2\0\0\0\xc3\xa9\2\0\0\0\0\xff")));
    static const char *const bad[] = {"[1,2,3,4]",
                                      "[{\"b64\":1},2,3,4]",
                                      "[{},1,2,3]",
                                      "[{\"b64\":\"A\"},1,2,3]",
                                      "[{\"c\":\"AA==\"},1,2,3]",
                                      "[\"a\",\"b\",\"c\"]",
                                      "[\"a\",\"b\",\"c\",\"d\",\"e\"]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_reader_init(&r, str_from_c(bad[i]), &err);
        CHECK(!json_tensor_read_bytes(&r, (int64_t[]){4}, 1, &out));
        CHECK_EQ(json_reader_finish(&r), STATUS_INVALID_ARGUMENT);
    }
    buffer_done(&out);
}

static void check_write(struct tensor t, unsigned style, const char *want) {
    struct buffer out = {0};
    struct error err = {0};
    if (json_tensor_write(&out, &t, style, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    CHECK_EQ(buffer_append(&out, "", 1, &err), STATUS_OK);
    CHECK_STR(out.p, want);
    buffer_done(&out);
}

TEST(json_tensor_writes_every_style) {
    float f[] = {0.1f, -1, 1e-7f, 3e38f};
    check_write((struct tensor)TENSOR_OF(DTYPE_F32, f, 2, 2), JSON_TENSOR_FLAT,
                "[0.1,-1.0,1e-7,3e38]");
    check_write((struct tensor)TENSOR_OF(DTYPE_F32, f, 2, 2), JSON_TENSOR_NESTED,
                "[[0.1,-1.0],[1e-7,3e38]]");
    check_write((struct tensor){.dtype = DTYPE_F32, .data = f, .size = 4}, JSON_TENSOR_NESTED,
                "0.1");
    check_write((struct tensor){.dtype = DTYPE_F32, .rank = 2, .dims = {2, 0}}, JSON_TENSOR_NESTED,
                "[[],[]]");
    check_write((struct tensor){.dtype = DTYPE_F32, .rank = 2, .dims = {0, 2}}, JSON_TENSOR_FLAT,
                "[]");
    int8_t i8[] = {-128, 127};
    check_write((struct tensor)TENSOR_OF(DTYPE_I8, i8, 2), 0, "[-128,127]");
    uint64_t u64[] = {UINT64_MAX};
    check_write((struct tensor)TENSOR_OF(DTYPE_U64, u64, 1), 0, "[18446744073709551615]");
    bool b[] = {true, false};
    check_write((struct tensor)TENSOR_OF(DTYPE_BOOL, b, 2), 0, "[true,false]");
    uint16_t half[] = {f16_from_f32(0.1f)};
    check_write((struct tensor)TENSOR_OF(DTYPE_F16, half, 1), 0, "[0.099975586]");
    char text[] = {1, 0, 0, 0, 'a', 2, 0, 0, 0, 0, '\xff'};
    struct tensor bytes = TENSOR_OF(DTYPE_BYTES, text, 2);
    check_write(bytes, JSON_TENSOR_B64, "[\"a\",{\"b64\":\"AP8=\"}]");
    struct buffer out = {0};
    struct error err = {0};
    CHECK_EQ(json_tensor_write(&out, &bytes, 0, &err), STATUS_INVALID_ARGUMENT);
    bytes.dims[0] = 1;
    CHECK_EQ(json_tensor_write(&out, &bytes, JSON_TENSOR_B64, &err), STATUS_INVALID_ARGUMENT);
    bytes.dims[0] = 3;
    CHECK_EQ(json_tensor_write(&out, &bytes, JSON_TENSOR_B64, &err), STATUS_INVALID_ARGUMENT);
    buffer_done(&out);
}

TEST(json_tensor_gives_every_f32_back) {
    enum { N = 100000 };
    float *f = malloc(N * sizeof *f), *back = malloc(N * sizeof *f);
    uint32_t state = 1;
    for (size_t i = 0; i < N; i++) {
        state = state * 1664525 + 1013904223;
        uint32_t bits = state ^ state >> 13;
        memcpy(&f[i], &bits, sizeof bits);
        if (isnan(f[i]))
            f[i] = 0;
    }
    struct tensor t = {
        .dtype = DTYPE_F32, .rank = 2, .dims = {N / 10, 10}, .data = f, .size = N * sizeof *f};
    for (unsigned style = 0; style < 2; style++) {
        struct buffer out = {0};
        struct error err = {0};
        CHECK_EQ(json_tensor_write(&out, &t, style, &err), STATUS_OK);
        struct json_reader r;
        json_reader_init(&r, buffer_str(&out), &err);
        struct tensor into = t;
        into.data = back;
        CHECK(json_tensor_read(&r, &into));
        CHECK(!memcmp(f, back, N * sizeof *f));
        buffer_done(&out);
    }
    free(f);
    free(back);
}
