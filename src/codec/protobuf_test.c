#include "codec/protobuf.h"

#include <string.h>

#include "codec/pbtxt.h"
#include "proto/codec_test.pb-c.h"
#include "proto/model_config.pb-c.h"
#include "support/test.h"

typedef Culmen__CodecTest__Everything everything;

static const ProtobufCMessageDescriptor *const d = &culmen__codec_test__everything__descriptor;

TEST(protobuf_packs_and_unpacks) {
    struct arena a = {0};
    struct error err = {0};
    struct buffer bytes = {0}, text = {0};
    static const char source[] = "i32: -5\ntext: \"x\"\nchild {\n  i32_list: [ 1, 2, 300 ]\n}\n"
                                 "by_name {\n  key: \"k\"\n  value: 9\n}\nchoice_number: 0\n";
    ProtobufCMessage *m = NULL, *back = NULL;
    CHECK_EQ(pbtxt_read(&m, &a, d, str_from_c(source), &err), STATUS_OK);
    CHECK_EQ(protobuf_pack(&bytes, m, &err), STATUS_OK);
    CHECK_EQ(protobuf_unpack(&back, &a, d, buffer_str(&bytes), &err), STATUS_OK);
    CHECK_EQ(pbtxt_write(&text, back, &err), STATUS_OK);
    CHECK(str_eq_c(buffer_str(&text), source));
    buffer_done(&bytes);
    buffer_done(&text);
    arena_release(&a);
}

static void check_error(str bytes, const char *want) {
    struct arena a = {0};
    struct error err = {0};
    ProtobufCMessage *m = NULL;
    CHECK_EQ(protobuf_unpack(&m, &a, d, bytes, &err), STATUS_INVALID_ARGUMENT);
    if (!strstr(err.text, want))
        test_fail(__FILE__, __LINE__, "got \"%s\", want \"%s\"", err.text, want);
    arena_release(&a);
}

TEST(protobuf_refuses_damaged_bytes) {
    check_error(STR("\x08"), "culmen.codec_test.Everything at byte 0: a varint is cut off");
    check_error(STR("\x7a\x05xx"), "at byte 0: a length reaches over the end of its message");
    check_error(STR("\x8a\x01\x02\x08"), "at byte 0: a length reaches over");
    check_error(STR("\x0b"), "wire type that does not exist");
    check_error(STR("\x7a\x00\x78\x01"), "its bytes do not fit its fields");
}

TEST(protobuf_refuses_deep_messages_before_it_recurses) {
    /* Each level is {17: length, rest}; built from the inside out. */
    static char bytes[200000];
    char *end = bytes + sizeof bytes, *p = end;
    for (int i = 0; i < 30000; i++) {
        size_t n = (size_t)(end - p);
        char head[8];
        size_t size = 0;
        head[size++] = '\x8a';
        head[size++] = '\x01';
        for (; n > 0x7f; n >>= 7)
            head[size++] = (char)(n | 0x80);
        head[size++] = (char)n;
        p -= size;
        memcpy(p, head, size);
    }
    check_error((str){.p = p, .n = (size_t)(end - p)}, "messages are nested too deep");
}

TEST(protobuf_gives_map_entries_a_value) {
    struct arena a = {0};
    struct error err = {0};
    ProtobufCMessage *m = NULL;
    str bytes = STR("\x8a\x02\x02\x08\x01"); /* by_truth, an entry with a key alone */
    CHECK_EQ(protobuf_unpack(&m, &a, d, bytes, &err), STATUS_OK);
    everything *e = (everything *)m;
    CHECK_EQ(e->n_by_truth, 1);
    CHECK(e->by_truth[0]->key && e->by_truth[0]->value);
    arena_release(&a);
}

TEST(protobuf_knows_maps_and_near_names) {
    const ProtobufCMessageDescriptor *config = &inference__model_config__descriptor;
    CHECK(protobuf_is_map(protobuf_field(config, STR("cc_model_filenames"))));
    CHECK(!protobuf_is_map(protobuf_field(config, STR("input"))));
    CHECK(!protobuf_field(config, STR("inputs")));
    CHECK_STR(protobuf_nearest_field(config, STR("inputs"))->name, "input");
    CHECK_STR(protobuf_nearest_field(config, STR("instance_groups"))->name, "instance_group");
    CHECK_STR(protobuf_nearest_field(config, STR("max_bacth_size"))->name, "max_batch_size");
    CHECK(!protobuf_nearest_field(config, STR("q")));
}

TEST(protobuf_add_keeps_one_member_of_a_oneof) {
    struct arena a = {0};
    everything *e = (everything *)protobuf_new(&a, d);
    const ProtobufCFieldDescriptor *text = protobuf_field(d, STR("choice_text"));
    const ProtobufCFieldDescriptor *number = protobuf_field(d, STR("choice_number"));
    *(char **)protobuf_add(&e->base, &a, text) = (char[]){"x"};
    CHECK(protobuf_count(&e->base, text) == 1 && protobuf_count(&e->base, number) == 0);
    CHECK(protobuf_oneof_rival(&e->base, number) == text);
    *(int32_t *)protobuf_add(&e->base, &a, number) = 3;
    CHECK(protobuf_count(&e->base, text) == 0 && e->choice_number == 3);
    for (int32_t i = 0; i < 100; i++)
        *(int32_t *)protobuf_add(&e->base, &a, protobuf_field(d, STR("i32_list"))) = i;
    CHECK_EQ(e->n_i32_list, 100);
    CHECK_EQ(e->i32_list[99], 99);
    arena_release(&a);
}
