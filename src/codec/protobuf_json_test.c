#include "codec/protobuf_json.h"

#include <string.h>

#include "codec/pbtxt.h"
#include "proto/codec_test.pb-c.h"
#include "proto/model_config.pb-c.h"
#include "support/test.h"

typedef Culmen__CodecTest__Everything everything;

static const ProtobufCMessageDescriptor *const d = &culmen__codec_test__everything__descriptor;

static status read_text(ProtobufCMessage **out, struct arena *a, const char *text,
                        struct error *err) {
    struct json_value *v = NULL;
    if (json_parse(&v, a, str_from_c(text), err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err->text);
    return protobuf_json_read(out, a, d, v, err);
}

static void check_round(const char *text, unsigned flags, const char *want) {
    struct arena a = {0};
    struct buffer out = {0};
    struct error err = {0};
    struct json_writer w;
    ProtobufCMessage *m = NULL;
    if (read_text(&m, &a, text, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    json_writer_init(&w, &out, &err);
    protobuf_json_write(&w, m, flags);
    CHECK_EQ(json_writer_finish(&w), STATUS_OK);
    CHECK_EQ(buffer_append(&out, "", 1, &err), STATUS_OK);
    CHECK_STR(out.p, want);
    buffer_done(&out);
    arena_release(&a);
}

TEST(protobuf_json_round_trips_every_kind) {
    static const char text[] =
        "{\"i32\":-5,\"s32\":-1,\"sf32\":2,\"u32\":4294967295,\"f32\":7,"
        "\"i64\":\"-9223372036854775808\",\"s64\":\"1\",\"sf64\":\"-2\","
        "\"u64\":\"18446744073709551615\",\"f64\":\"3\",\"real\":0.1,\"wideReal\":\"-Infinity\","
        "\"yes\":true,\"color\":\"BLUE\",\"text\":\"a\\\"\",\"blob\":\"AP8=\",\"child\":{\"i32\":5}"
        ","
        "\"i32List\":[1,-2],\"realList\":[1.5,\"NaN\"],\"boolList\":[true,false],"
        "\"colorList\":[\"RED\",\"BLUE\"],\"textList\":[\"\",\"x\"],\"blobList\":[\"eQ==\"],"
        "\"childList\":[{},{\"yes\":true}],\"byName\":{\"k\":\"9\"},\"byNumber\":{\"-1\":\"v\"},"
        "\"byTruth\":{\"true\":{\"i32\":1}},\"choiceText\":\"\"}";
    check_round(text, 0, text);
}

TEST(protobuf_json_accepts_what_clients_send) {
    check_round("{\"wide_real\":1,\"color\":-2,\"i64\":12,\"u64\":\"7\",\"i32\":1.0,"
                "\"color_list\":[\"green\",1],\"blob\":\"-_8\",\"text\":null,\"u32\":\"3\"}",
                PROTOBUF_JSON_ORIGINAL_NAMES | PROTOBUF_JSON_INT64_NUMBERS |
                    PROTOBUF_JSON_ENUM_NUMBERS,
                "{\"i32\":1,\"u32\":3,\"i64\":12,\"u64\":7,\"wide_real\":1,\"color\":-2,"
                "\"blob\":\"+/8=\",\"color_list\":[1,1]}");
}

TEST(protobuf_json_prints_defaults_when_asked) {
    struct arena a = {0};
    struct buffer out = {0};
    struct error err = {0};
    struct json_writer w;
    ProtobufCMessage *m = NULL;
    CHECK_EQ(pbtxt_read(&m, &a, &inference__model_config__descriptor,
                        STR("name: \"x\" instance_group { count: 1 } version_policy { latest { "
                            "num_versions: 1 } }"),
                        &err),
             STATUS_OK);
    json_writer_init(&w, &out, &err);
    protobuf_json_write(
        &w, m, PROTOBUF_JSON_ORIGINAL_NAMES | PROTOBUF_JSON_DEFAULTS | PROTOBUF_JSON_INT64_NUMBERS);
    CHECK_EQ(json_writer_finish(&w), STATUS_OK);
    CHECK_EQ(buffer_append(&out, "", 1, &err), STATUS_OK);
    CHECK_STR(
        out.p,
        "{\"name\":\"x\",\"platform\":\"\",\"version_policy\":{\"latest\":{\"num_versions\":1}},"
        "\"max_batch_size\":0,\"input\":[],\"output\":[],\"instance_group\":[{\"name\":\"\","
        "\"count\":1,\"gpus\":[],\"kind\":\"KIND_AUTO\",\"profile\":[],\"passive\":false,"
        "\"secondary_devices\":[],\"host_policy\":\"\"}],\"default_model_filename\":\"\","
        "\"cc_model_filenames\":{},\"metric_tags\":{},\"parameters\":{},\"model_warmup\":[],"
        "\"backend\":\"\",\"batch_input\":[],\"batch_output\":[],\"runtime\":\"\"}");
    buffer_done(&out);
    arena_release(&a);
}

TEST(protobuf_json_says_what_is_wrong_and_where) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"[]", "wanted an object, found an array"},
        {"{\"childList\":[{},{\"textt\":1}]}",
         "\"child_list[1]\": unknown field \"textt\", nearest is \"text\""},
        {"{\"nothing_like_it\":1}", "unknown field \"nothing_like_it\""},
        {"{\"i32\":2147483648}", "\"i32\": wanted int32, found 2147483648"},
        {"{\"i32\":1.5}", "\"i32\": wanted int32, found 1.5"},
        {"{\"u32\":-1}", "\"u32\": wanted uint32, found -1"},
        {"{\"i64\":\"x\"}", "\"i64\": wanted int64, found \"x\""},
        {"{\"yes\":1}", "\"yes\": wanted bool, found 1"},
        {"{\"text\":[]}", "\"text\": wanted string, found an array"},
        {"{\"real\":1e39}", "\"real\": 1e39 is out of range for float"},
        {"{\"color\":\"GREN\"}", "\"color\": culmen.codec_test.Everything.Color has no value "
                                 "\"GREN\", nearest is \"GREEN\""},
        {"{\"color\":7}", "\"color\": culmen.codec_test.Everything.Color has no value 7"},
        {"{\"child\":{\"child\":{\"i32List\":[1,true]}}}",
         "\"child.child.i32_list[1]\": wanted int32, found true or false"},
        {"{\"byName\":{\"a\":1,\"b\":{}}}", "\"by_name[\"b\"]\": wanted int64, found an object"},
        {"{\"byNumber\":{\"x\":\"\"}}", "\"by_number[\"x\"]\": wanted int32, found \"x\""},
        {"{\"byName\":[]}", "\"by_name\": wanted an object, found an array"},
        {"{\"i32List\":5}", "\"i32_list\": wanted an array, found a number"},
        {"{\"i32List\":[null]}", "\"i32_list[0]\": wanted int32, found null"},
        {"{\"choiceNumber\":0,\"choiceText\":\"\"}",
         "\"choice_text\": it cannot be set together with \"choice_number\""},
        {"{\"wideReal\":1,\"wide_real\":2}", "\"wide_real\": it is set twice"},
        {"{\"blob\":\"a b\"}",
         "\"blob\": base64 text of 3 characters is cut off or padded wrongly"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = {0};
        struct error err = {0};
        ProtobufCMessage *m = NULL;
        CHECK_EQ(read_text(&m, &a, cases[i].text, &err), STATUS_INVALID_ARGUMENT);
        CHECK(!m);
        if (i == ARRAY_LEN(cases) - 1)
            CHECK(strstr(err.text, "\"blob\": base64"));
        else
            CHECK_STR(err.text, cases[i].error);
        arena_release(&a);
    }
}
