#include "codec/protobuf_known.h"

#include "codec/protobuf_json.h"
#include "proto/vertex.pb-c.h"
#include "support/test.h"

#define TIMESTAMP &culmen__vertex__timestamp__descriptor
#define DURATION  &culmen__vertex__duration__descriptor
#define MASK      &culmen__vertex__field_mask__descriptor
#define VALUE     &culmen__vertex__value__descriptor

TEST(protobuf_known_types_have_a_json_form_of_their_own) {
    static const struct {
        const ProtobufCMessageDescriptor *d;
        const char *in, *out; /* NULL: refused */
    } cases[] = {
        {TIMESTAMP, "\"2026-11-24T08:45:13Z\"", "\"2026-11-24T08:45:13Z\""},
        {TIMESTAMP, "\"2026-11-24T08:45:13.5Z\"", "\"2026-11-24T08:45:13.500Z\""},
        {TIMESTAMP, "\"2026-11-24T08:45:13.123456Z\"", "\"2026-11-24T08:45:13.123456Z\""},
        {TIMESTAMP, "\"2026-11-24T08:45:13.000000001+01:30\"",
         "\"2026-11-24T07:15:13.000000001Z\""},
        {TIMESTAMP, "\"0001-01-01T00:00:00Z\"", "\"0001-01-01T00:00:00Z\""},
        {TIMESTAMP, "\"2026-02-30T00:00:00Z\"", NULL},
        {TIMESTAMP, "\"2026-11-24T24:00:00Z\"", NULL},
        {TIMESTAMP, "\"2026-11-24T08:45:13\"", NULL},
        {TIMESTAMP, "\"2026-11-24T08:45:13Zx\"", NULL},
        {TIMESTAMP, "\"2026-11-24T08:45:13.Z\"", NULL},
        {TIMESTAMP, "1234", NULL},
        {DURATION, "\"300s\"", "\"300s\""},
        {DURATION, "\"-0.5s\"", "\"-0.500s\""},
        {DURATION, "\"3.000000001s\"", "\"3.000000001s\""},
        {DURATION, "\"3.0000000001s\"", NULL},
        {DURATION, "\"9999999999999s\"", NULL},
        {DURATION, "\"5\"", NULL},
        {DURATION, "\"s\"", NULL},
        {DURATION, "5", NULL},
        {MASK, "\"a.b, c\"", "\"a.b,c\""},
        {MASK, "{\"paths\":[\"a\",\"b_c\"]}", "\"a,b_c\""},
        {MASK, "\"\"", "\"\""},
        {MASK, "{}", "\"\""},
        {MASK, "{\"path\":[]}", NULL},
        {MASK, "{\"paths\":[1,[]]}", NULL},
        {MASK, "[]", NULL},
        {VALUE, "{\"a\":[1,null,1.50,\"x\"]}", "{\"a\":[1,null,1.50,\"x\"]}"},
        {VALUE, "null", "null"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = {0};
        struct buffer out = {0};
        struct json_writer w;
        struct json_value *v;
        ProtobufCMessage *m;
        CHECK_EQ(json_parse(&v, &a, str_from_c(cases[i].in), NULL), STATUS_OK);
        status st = protobuf_json_read(&m, &a, cases[i].d, v, NULL);
        CHECK_EQ(st, cases[i].out ? STATUS_OK : STATUS_INVALID_ARGUMENT);
        if (st == STATUS_OK) {
            json_writer_init(&w, &out, NULL);
            protobuf_json_write(&w, m, 0);
            CHECK_EQ(json_writer_finish(&w), STATUS_OK);
            CHECK_EQ(buffer_append(&out, "", 1, NULL), STATUS_OK);
            CHECK_STR(out.p, cases[i].out);
        }
        buffer_done(&out);
        arena_release(&a);
    }
}
