#include "codec/pbtxt.h"

#include <stdlib.h>
#include <string.h>

#include "proto/codec_test.pb-c.h"
#include "proto/model_config.pb-c.h"
#include "support/test.h"

typedef Culmen__CodecTest__Everything everything;
typedef Inference__ModelConfig model_config;

static void *read_as(struct arena *a, const ProtobufCMessageDescriptor *d, const char *text) {
    ProtobufCMessage *m = NULL;
    struct error err = {0};
    if (pbtxt_read(&m, a, d, str_from_c(text), &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return m;
}

static everything *read_everything(struct arena *a, const char *text) {
    return read_as(a, &culmen__codec_test__everything__descriptor, text);
}

static const char config_text[] =
    "# a comment\n"
    "name: \"resnet\"\n"
    "platform: 'onnxruntime' '_onnx'   # side by side\n"
    "max_batch_size: 8\n"
    "input [\n"
    "  {\n"
    "    name: \"data\", data_type: TYPE_FP32;\n"
    "    dims: [ 3, -1, 0x10 ]\n"
    "    reshape { shape: [ ] }\n"
    "  }\n"
    "]\n"
    "output: { name: \"prob\" data_type: TYPE_FP32 dims: 10 dims: 020 }\n"
    "instance_group [ { count: 2 kind: KIND_CPU } ]\n"
    "dynamic_batching <\n"
    "  preferred_batch_size: [4, 8]\n"
    "  max_queue_delay_microseconds: 100\n"
    "  priority_queue_policy { key: 1 value { timeout_action: DELAY } }\n"
    "  priority_queue_policy { key: 2 }\n"
    ">\n"
    "parameters { key: \"a\" value: { string_value: \"1\" } }\n"
    "parameters: { key: \"b\" value: { string_value: \"x\\ty\\n\\\"\\101\\x42\\u00e9\" } }\n"
    "parameters { key: \"a\" value { string_value: \"last\" } }\n";

TEST(pbtxt_reads_a_model_configuration) {
    struct arena a = {0};
    model_config *c = read_as(&a, &inference__model_config__descriptor, config_text);
    CHECK_STR(c->name, "resnet");
    CHECK_STR(c->platform, "onnxruntime_onnx");
    CHECK_EQ(c->max_batch_size, 8);
    CHECK_EQ(c->n_input, 1);
    CHECK_EQ(c->input[0]->n_dims, 3);
    CHECK(c->input[0]->dims[1] == -1 && c->input[0]->dims[2] == 16);
    CHECK(c->input[0]->reshape && c->input[0]->reshape->n_shape == 0);
    CHECK_EQ(c->output[0]->n_dims, 2);
    CHECK_EQ(c->output[0]->dims[1], 16);
    CHECK_EQ(c->instance_group[0]->kind, INFERENCE__MODEL_INSTANCE_GROUP__KIND__KIND_CPU);
    CHECK_EQ(c->scheduling_choice_case,
             INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING);
    CHECK_EQ(c->dynamic_batching->preferred_batch_size[1], 8);
    CHECK_EQ(c->dynamic_batching->n_priority_queue_policy, 2);
    CHECK(c->dynamic_batching->priority_queue_policy[1]->value);
    CHECK_EQ(c->n_parameters, 2);
    CHECK_STR(c->parameters[0]->value->string_value, "last");
    CHECK_STR(c->parameters[1]->value->string_value, "x\ty\n\"AB\xc3\xa9");
    arena_release(&a);
}

TEST(pbtxt_reads_an_empty_text) {
    struct arena a = {0};
    model_config *c = read_as(&a, &inference__model_config__descriptor, " # nothing\n");
    CHECK_STR(c->name, "");
    CHECK_EQ(c->n_input, 0);
    arena_release(&a);
}

static void check_config_error(const char *text, const char *want) {
    struct arena a = {0};
    ProtobufCMessage *m = NULL;
    struct error err = {0};
    CHECK_EQ(pbtxt_read(&m, &a, &inference__model_config__descriptor, str_from_c(text), &err),
             STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, want);
    CHECK(!m);
    arena_release(&a);
}

TEST(pbtxt_says_what_is_wrong_and_where) {
    check_config_error("name: \"x\"\nmax_batchsize: 4\n",
                       "line 2, column 1: inference.ModelConfig has no field \"max_batchsize\", "
                       "nearest is \"max_batch_size\"");
    check_config_error("xyzzy: 1",
                       "line 1, column 1: inference.ModelConfig has no field \"xyzzy\"");
    check_config_error("input [ { data_type: TYPE_FP322 } ]",
                       "line 1, column 22: inference.DataType has no value \"TYPE_FP322\", "
                       "nearest is \"TYPE_FP32\"");
    check_config_error("input { data_type: FP32 }",
                       "line 1, column 20: inference.DataType has no value \"FP32\"");
    check_config_error("max_batch_size: \"4\"",
                       "line 1, column 17: \"max_batch_size\" wants int32, found \"4\"");
    check_config_error(
        "max_batch_size: 3000000000",
        "line 1, column 17: \"max_batch_size\": 3000000000 is out of range for int32");
    check_config_error("max_batch_size: 1.5",
                       "line 1, column 17: \"max_batch_size\" wants int32, found 1.5");
    check_config_error("max_batch_size 4", "line 1, column 16: wanted : after \"max_batch_size\"");
    check_config_error("name: \"a\" name: \"b\"", "line 1, column 11: \"name\" is set twice");
    check_config_error("name: \"a\nb\"", "line 1, column 7: a string does not end on its line");
    check_config_error("name: [ \"a\" ]", "line 1, column 7: \"name\" wants string, found [");
    check_config_error("name: \"\\q\"", "line 1, column 8: no escape sequence looks like this");
    check_config_error("name: \"\\xff\"",
                       "line 1, column 7: \"name\": the string is not UTF-8 or has a NUL");
    check_config_error("input [ { name: \"a\" }",
                       "line 1, column 22: wanted , or ] after an element "
                       "of \"input\"");
    check_config_error("input { name: \"a\" ", "line 1, column 19: the text ends before a }");
    check_config_error("input { dims: [ 1 2 ] }",
                       "line 1, column 19: wanted , or ] after an element of \"dims\"");
    check_config_error("input { name: \"a\" >", "line 1, column 19: wanted the name of a field, "
                                                "found >");
    check_config_error("name:", "line 1, column 6: \"name\" wants string, the text ends here");
    check_config_error("}", "line 1, column 1: wanted the name of a field, found }");
    check_config_error("name: @", "line 1, column 7: '@' means nothing here");
    check_config_error(
        "dynamic_batching { } sequence_batching { }",
        "line 1, column 22: \"dynamic_batching\" and \"sequence_batching\" cannot both "
        "be set");
    check_config_error("dynamic_batching: 3", "line 1, column 19: \"dynamic_batching\" wants "
                                              "inference.ModelDynamicBatching, found 3");
    check_config_error("dynamic_batching { preserve_ordering: yes }",
                       "line 1, column 39: \"preserve_ordering\" wants bool, found yes");
    check_config_error("[type.googleapis.com/x] { }",
                       "line 1, column 1: wanted the name of a field, found [");
}

TEST(pbtxt_refuses_deep_nesting) {
    enum { N = 100000 };
    char *text = malloc(8 * N + 1);
    for (size_t i = 0; i < N; i++)
        memcpy(text + 8 * i, "child { ", 8);
    struct arena a = {0};
    ProtobufCMessage *m;
    struct error err = {0};
    CHECK_EQ(pbtxt_read(&m, &a, &culmen__codec_test__everything__descriptor,
                        (str){.p = text, .n = 8 * N}, &err),
             STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "line 1, column 799: more than 100 messages inside each other");
    free(text);
    arena_release(&a);
}

static const char everything_text[] =
    "i32: -2147483648\ns32: -1\nsf32: 2147483647\nu32: 4294967295\nf32: 7\n"
    "i64: -9223372036854775808\ns64: 1\nsf64: -2\nu64: 18446744073709551615\nf64: 3\n"
    "real: 0.1\nwide_real: -inf\nyes: true\ncolor: BLUE\ntext: \"a\\\"\\n\xc3\xa9\"\n"
    "blob: \"\\000\\377\"\nchild {\n  i32: 5\n}\n"
    "i32_list: [ 1, -2 ]\nreal_list: [ 1.5, nan ]\nbool_list: [ true, false ]\n"
    "color_list: [ RED, BLUE ]\ntext_list: [ \"\", \"x\" ]\nblob_list: [ \"y\" ]\n"
    "child_list {\n}\nchild_list {\n  yes: true\n}\n"
    "by_name {\n  key: \"k\"\n  value: 9\n}\nby_number {\n  key: -1\n  value: \"v\"\n}\n"
    "by_truth {\n  key: true\n  value {\n    i32: 1\n  }\n}\n"
    "choice_text: \"\"\n";

TEST(pbtxt_writes_what_it_read) {
    struct arena a = {0};
    struct buffer out = {0};
    struct error err = {0};
    everything *m = read_everything(&a, everything_text);
    CHECK_EQ(pbtxt_write(&out, &m->base, &err), STATUS_OK);
    CHECK_EQ(buffer_append(&out, "", 1, &err), STATUS_OK);
    CHECK_STR(out.p, everything_text);
    buffer_done(&out);
    arena_release(&a);
}

TEST(pbtxt_reads_numbers_in_every_notation) {
    struct arena a = {0};
    everything *m = read_everything(
        &a, "real_list: [1, 1., .5, 1.5f, -2e3, 1E-2, 0x10, inf, -infinity] i32: -0x1F "
            "u32: 0777 real: 3.4028235e38 yes: 1 color: -2");
    static const double want[] = {1, 1, 0.5, 1.5, -2000, 0.01, 16};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        CHECK(m->real_list[i] == want[i]);
    CHECK(isinf(m->real_list[7]) && m->real_list[8] < 0);
    CHECK(m->i32 == -31 && m->u32 == 0777 && m->yes);
    CHECK_EQ(m->color, CULMEN__CODEC_TEST__EVERYTHING__COLOR__BLUE);
    arena_release(&a);
}
