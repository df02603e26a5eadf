#include "codec/wire.h"

#include <string.h>

#include "support/test.h"

TEST(wire_varint_stops_at_ten_bytes) {
    const char good[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    const char over[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
    const char *p = good;
    uint64_t v = 0;
    CHECK(wire_varint(&p, good + 10, &v) && v == UINT64_MAX && p == good + 10);
    p = good;
    CHECK(!wire_varint(&p, good + 9, &v) && p == good);
    p = over;
    CHECK(!wire_varint(&p, over + 10, &v));
    CHECK_EQ(wire_unzigzag(3), -2);
    CHECK_EQ(wire_unzigzag(UINT64_MAX), INT64_MIN);
}

TEST(wire_walks_the_fields_of_a_message) {
    struct wire w;
    struct wire_field f;
    wire_init(&w, STR("\x08\x96\x01\x15\x01\0\0\0\x19\x02\0\0\0\0\0\0\0\x22\x02hi"));
    CHECK(wire_next(&w, &f) && f.number == 1 && f.value == 150);
    CHECK(wire_next(&w, &f) && f.number == 2 && f.type == WIRE_TYPE_FIXED32 && f.value == 1);
    CHECK(wire_next(&w, &f) && f.number == 3 && f.type == WIRE_TYPE_FIXED64 && f.value == 2);
    CHECK(wire_next(&w, &f) && f.number == 4 && str_eq_c(f.bytes, "hi"));
    CHECK(!wire_next(&w, &f) && !w.problem);
    static const struct {
        str bytes;
        const char *problem;
    } bad[] = {
        {STR("\x80"), "a field's key is cut off or too long"},
        {STR("\x00"), "a field has an impossible number"},
        {STR("\x08"), "a varint is cut off or too long"},
        {STR("\x15\x01"), "a fixed-size value is cut off"},
        {STR("\x22\x03hi"), "a length reaches over the end of its message"},
        {STR("\x0b"), "a field has a wire type that does not exist or is a group"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        wire_init(&w, bad[i].bytes);
        CHECK(!wire_next(&w, &f) && w.problem);
        CHECK_STR(w.problem, bad[i].problem);
    }
}

struct point {
    int64_t x;
    float weight;
    str name;
    const int64_t *path;
    size_t n_path;
    const struct point *next;
};

static const struct wire_message point_message;
static const struct wire_rule point_rules[] = {
    {1, WIRE_INT64, "x", .offset = offsetof(struct point, x)},
    {2, WIRE_FLOAT, "weight", .offset = offsetof(struct point, weight)},
    {3, WIRE_STRING, "name", .offset = offsetof(struct point, name)},
    {4, WIRE_INT64S, "path", .offset = offsetof(struct point, path),
     .length = offsetof(struct point, n_path)},
    {5, WIRE_POINTER, "next", .offset = offsetof(struct point, next), .message = &point_message},
};
static const struct wire_message point_message = {.name = "point",
                                                  .size = sizeof(struct point),
                                                  .rules = point_rules,
                                                  .n_rules = ARRAY_LEN(point_rules)};

static status read_point(struct point *out, struct arena *a, str bytes, size_t n_items_max,
                         struct error *err) {
    struct wire_reader r = {
        .arena = a, .begin = bytes.p, .depth_max = 3, .n_items_max = n_items_max, .err = err};
    struct wire_place root = {NULL, NULL, SIZE_MAX};
    *out = (struct point){0};
    return wire_read(&r, &root, &point_message, bytes, out);
}

TEST(wire_read_fills_a_struct_from_a_table) {
    struct arena a = {0};
    struct error err = {0};
    struct point p;
    str bytes = STR("\x22\x00\x08\x07\x15\0\0\x80\x3f\x1a\x01n\x22\x02\x01\x02\x20\x03\x38\x01"
                    "\x2a\x02\x08\x09");
    CHECK_EQ(read_point(&p, &a, bytes, 100, &err), STATUS_OK);
    CHECK(p.x == 7 && p.weight == 1 && str_eq_c(p.name, "n"));
    CHECK(p.n_path == 3 && p.path[0] == 1 && p.path[2] == 3);
    CHECK(p.next && p.next->x == 9 && !p.next->next);
    CHECK_EQ(read_point(&p, &a, bytes, 3, &err), STATUS_RESOURCE_EXHAUSTED);
    CHECK_STR(err.text, "more than 3 items in one file at byte 0");
    arena_release(&a);
}

TEST(wire_read_says_where_it_stopped) {
    struct arena a = {0};
    struct error err = {0};
    struct point p;
    CHECK_EQ(read_point(&p, &a, STR("\x2a\x04\x2a\x02\x08\x80"), 100, &err),
             STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "next.next: a varint is cut off or too long at byte 4");
    CHECK_EQ(read_point(&p, &a, STR("\x2a\x06\x2a\x04\x2a\x02\x2a\x00"), 100, &err),
             STATUS_RESOURCE_EXHAUSTED);
    CHECK_STR(err.text, "next.next.next: more than 3 messages inside each other at byte 8");
    CHECK_EQ(read_point(&p, &a, STR("\x22\x01\x80"), 100, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "packed field 4 (path) ends within a value at byte 0");
    arena_release(&a);
}
