#include "codec/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/test.h"

/* A file of version `version` with the header text `dict`. */
static struct buffer file_of(int version, const char *dict, const void *data, size_t size) {
    struct buffer b = {0};
    uint32_t n = (uint32_t)strlen(dict);
    char prefix[12] = {'\x93', 'N', 'U', 'M', 'P', 'Y', (char)version, 0};
    memcpy(prefix + 8, &n, sizeof n);
    if (buffer_append(&b, prefix, version == 1 ? 10 : 12, NULL) != STATUS_OK ||
        buffer_append(&b, dict, n, NULL) != STATUS_OK ||
        buffer_append(&b, data, size, NULL) != STATUS_OK)
        abort();
    return b;
}

TEST(npy_reads_versions_1_to_3) {
    float values[6] = {1, 2, 3, 4, 5, 6};
    for (int version = 1; version <= 3; version++) {
        struct buffer b =
            file_of(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
                    values, sizeof values);
        struct tensor t = {0};
        struct error err = {0};
        if (npy_read(&t, buffer_str(&b), &err) != STATUS_OK)
            test_fail(__FILE__, __LINE__, "%s", err.text);
        CHECK(t.dtype == DTYPE_F32 && t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 3);
        CHECK(t.size == sizeof values && !memcmp(t.data, values, sizeof values));
        buffer_done(&b);
    }
}

TEST(npy_reads_text_as_bytes) {
    struct buffer b =
        file_of(1, "{\"descr\":\"|S3\",\"fortran_order\":False,\"shape\":(2,)}", "ab\0xyz", 6);
    struct tensor t = {0};
    struct error err = {0};
    CHECK_EQ(npy_read(&t, buffer_str(&b), &err), STATUS_OK);
    CHECK(t.dtype == DTYPE_BYTES && t.size == 13);
    CHECK(!memcmp(t.data, "\2\0\0\0ab\3\0\0\0xyz", 13));
    tensor_release(&t);
    buffer_done(&b);
    b = file_of(1, "{'descr':'<U2','fortran_order':False,'shape':()}", "\xe9\0\0\0\0\0\0\0", 8);
    CHECK_EQ(npy_read(&t, buffer_str(&b), &err), STATUS_OK);
    CHECK(t.rank == 0 && t.size == 6 && !memcmp(t.data, "\2\0\0\0\xc3\xa9", 6));
    tensor_release(&t);
    buffer_done(&b);
}

TEST(npy_refuses_what_it_cannot_hold_and_says_why) {
    static const struct {
        const char *dict, *error;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }",
         "npy is in Fortran order: save numpy.ascontiguousarray(a) instead"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
         "npy dtype '>f4' is not supported: save it little-endian: "
         "a.astype(a.dtype.newbyteorder('<'))"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
         "npy dtype '|O' is not supported: Python objects are not read: save text as "
         "a.astype('U')"},
        {"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,), }",
         "npy has a structured dtype: save each field in a file of its own"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
         "npy has 8 bytes of data, FP32 [3] needs 12"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2), }",
         "npy has more than 8 dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2), }",
         "npy shape has too many elements"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
         "npy header, byte 51: wanted a dim"},
        {"{'descr': '<f4', 'fortran_order': False}",
         "npy header, byte 40: wanted descr, fortran_order and shape and nothing else"},
        {"__import__('os')", "npy header, byte 0: wanted {"},
        {"{'descr': '<f4', 'descr': '<f4'", "npy header, byte 25: wanted each of descr, "
                                            "fortran_order and shape once"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer b = file_of(1, cases[i].dict, "12345678", 8);
        struct tensor t = {0};
        struct error err = {0};
        CHECK(npy_read(&t, buffer_str(&b), &err) != STATUS_OK);
        CHECK_STR(err.text, cases[i].error);
        buffer_done(&b);
    }
    struct tensor t;
    struct error err = {0};
    CHECK_EQ(npy_read(&t, STR("PK\3\4 an npz file"), &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "not an npy file: it does not start with \\x93NUMPY");
}

TEST(npy_reads_what_it_saves) {
    char path[] = "/tmp/npy_test_XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    struct error err = {0};
    for (dtype type = DTYPE_NONE + 1; type < DTYPE_COUNT; type++) {
        if (type == DTYPE_BYTES)
            continue;
        char data[64] = {1, 0, 1};
        struct tensor t = {.dtype = type, .rank = 3, .dims = {1, 2, 2}, .data = data}, back;
        t.size = 4 * dtype_size(type);
        CHECK_EQ(npy_save(path, &t, &err), STATUS_OK);
        CHECK_EQ(npy_open(&back, path, &err), STATUS_OK);
        CHECK(back.dtype == type && tensor_same_dims(&back, &t) && back.size == t.size);
        CHECK(!memcmp(back.data, data, t.size) && (uintptr_t)back.data % 64 == 0);
        tensor_release(&back);
    }
    char texts[] = "\2\0\0\0ab\0\0\0\0";
    struct tensor t = {.dtype = DTYPE_BYTES, .rank = 1, .dims = {2}, .data = texts, .size = 10};
    struct tensor back = {0};
    CHECK_EQ(npy_save(path, &t, &err), STATUS_OK);
    CHECK_EQ(npy_open(&back, path, &err), STATUS_OK);
    CHECK(back.dtype == DTYPE_BYTES && back.size == 10 && !memcmp(back.data, texts, 10));
    tensor_release(&back);
    unlink(path);
}
