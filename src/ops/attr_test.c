#include "ops/attr.h"

#include <stdlib.h>

#include "support/test.h"

static const int64_t ints[] = {1, -2, 3};
static const float floats[] = {0.5f, -1.0f};
static const str strings[] = {{.p = "ab", .n = 2}, {.p = "", .n = 0}, {.p = "ninechars", .n = 9}};
static float numbers[] = {1, 2, 3, 4, 5, 6};
static const struct tensor matrix = {
    .dtype = DTYPE_F32, .rank = 2, .dims = {2, 3}, .data = numbers, .size = sizeof numbers};
static const struct attr items[] = {
    {.name = {.p = "axis", .n = 4}, .kind = ATTR_INT, .n = 1, .i = -1},
    {.name = {.p = "alpha", .n = 5}, .kind = ATTR_FLOAT, .n = 1, .f = 0.25f},
    {.name = {.p = "mode", .n = 4}, .kind = ATTR_STRING, .n = 1, .s = {.p = "linear", .n = 6}},
    {.name = {.p = "pads", .n = 4}, .kind = ATTR_INTS, .n = 3, .ints = ints},
    {.name = {.p = "scales", .n = 6}, .kind = ATTR_FLOATS, .n = 2, .floats = floats},
    {.name = {.p = "names", .n = 5}, .kind = ATTR_STRINGS, .n = 3, .strings = strings},
    {.name = {.p = "value", .n = 5}, .kind = ATTR_TENSOR, .n = 1, .tensor = &matrix},
};
static const struct attr_list list = {.items = items, .n = ARRAY_LEN(items)};

/* The list as bytes in a block of exactly their size, so that ASan sees a read past the end. */
static char *encoded(size_t *n) {
    struct buffer b = {0};
    CHECK_EQ(attr_list_encode(&b, &list, NULL), STATUS_OK);
    char *bytes = buffer_alloc(b.n);
    memcpy(bytes, b.p, b.n);
    *n = b.n;
    buffer_done(&b);
    return bytes;
}

TEST(attr_list_comes_back_as_it_was_written) {
    struct arena a = {0};
    struct attr_list back;
    size_t n;
    char *bytes = encoded(&n);
    CHECK_EQ(attr_list_decode(&back, &a, bytes, n, NULL), STATUS_OK);
    CHECK_EQ(back.n, list.n);
    CHECK_EQ(attr_int(&back, "axis", 0), -1);
    CHECK(attr_float(&back, "alpha", 0) == 0.25f);
    CHECK(str_eq_c(attr_string(&back, "mode", ""), "linear"));
    CHECK_EQ(attr_ints(&back, "pads", &n)[2], 3);
    CHECK_EQ(n, 3);
    CHECK(attr_floats(&back, "scales", &n)[1] == -1.0f);
    const struct attr *names = attr_find(&back, "names");
    CHECK(str_eq_c(names->strings[2], "ninechars"));
    const struct attr *value = attr_find(&back, "value");
    CHECK_EQ(value->tensor->dims[1], 3);
    CHECK(((const float *)value->tensor->data)[5] == 6);
    arena_release(&a);
    free(bytes);
}

TEST(attr_lookup_gives_the_fallback_for_what_is_not_there_or_of_another_kind) {
    size_t n = 7;
    CHECK_EQ(attr_int(&list, "absent", 42), 42);
    CHECK_EQ(attr_int(&list, "alpha", 42), 42);
    CHECK(str_eq_c(attr_string(&list, "axis", "none"), "none"));
    CHECK(attr_ints(&list, "absent", &n) == NULL);
    CHECK_EQ(n, 0);
    CHECK_EQ(attr_int(NULL, "axis", 3), 3);
}

TEST(attr_list_decode_refuses_every_truncation) {
    size_t n;
    char *bytes = encoded(&n);
    for (size_t cut = 0; cut + 8 <= n; cut += 8) {
        struct arena a = {0};
        struct attr_list back;
        char *part = buffer_alloc(cut ? cut : 1);
        memcpy(part, bytes, cut);
        CHECK_EQ(attr_list_decode(&back, &a, part, cut, NULL), STATUS_DATA_LOSS);
        free(part);
        arena_release(&a);
    }
    free(bytes);
}

TEST(attr_list_decode_survives_every_flipped_byte) {
    size_t n;
    char *bytes = encoded(&n);
    for (size_t i = 0; i < n; i++) {
        struct arena a = {0};
        struct attr_list back;
        bytes[i] ^= (char)0xff;
        (void)!attr_list_decode(&back, &a, bytes, n, NULL);
        bytes[i] ^= (char)0xff;
        arena_release(&a);
    }
    free(bytes);
}

TEST(attr_list_encode_refuses_graphs) {
    const struct attr graph = {.name = {.p = "body", .n = 4}, .kind = ATTR_GRAPH};
    const struct attr_list one = {.items = &graph, .n = 1};
    struct buffer b = {0};
    struct error err;
    CHECK_EQ(attr_list_encode(&b, &one, &err), STATUS_INVALID_ARGUMENT);
    buffer_done(&b);
}
