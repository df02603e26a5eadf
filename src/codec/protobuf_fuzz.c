/* The first byte picks the message and the format: binary or JSON. What is read must come through
 * the other formats and back as the same text. */
#include <stdlib.h>

#include "codec/pbtxt.h"
#include "codec/protobuf_json.h"
#include "codec/utf8.h"
#include "proto/codec_test.pb-c.h"
#include "proto/model_config.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static status read_json(ProtobufCMessage **out, struct arena *a,
                        const ProtobufCMessageDescriptor *d, str text, struct error *err) {
    struct json_value *v = NULL;
    TRY(json_parse(&v, a, text, err));
    return protobuf_json_read(out, a, d, v, err);
}

static void to_text(struct buffer *out, const ProtobufCMessage *m) {
    struct error err;
    check(pbtxt_write(out, m, &err) == STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    const ProtobufCMessageDescriptor *d = data[0] & 1 ? &inference__model_config__descriptor
                                                      : &culmen__codec_test__everything__descriptor;
    bool json = data[0] & 2;
    struct arena a = {0};
    struct buffer text = {0}, other = {0}, back = {0};
    struct error err;
    ProtobufCMessage *m = NULL, *again = NULL;
    str input = {.p = (const char *)data + 1, .n = size - 1};
    status read =
        json ? read_json(&m, &a, d, input, &err) : protobuf_unpack(&m, &a, d, input, &err);
    if (read == STATUS_OK) {
        to_text(&text, m);
        /* Binary holds strings that are not UTF-8; JSON and text would refuse or replace them. */
        if (json) {
            struct json_writer w;
            json_writer_init(&w, &other, &err);
            protobuf_json_write(&w, m, data[0] >> 4);
            check(json_writer_finish(&w) == STATUS_OK);
            check(read_json(&again, &a, d, buffer_str(&other), &err) == STATUS_OK);
            to_text(&back, again);
            check(str_eq(buffer_str(&text), buffer_str(&back)));
            buffer_clear(&other);
            buffer_clear(&back);
        }
        check(protobuf_pack(&other, m, &err) == STATUS_OK);
        check(protobuf_unpack(&again, &a, d, buffer_str(&other), &err) == STATUS_OK);
        to_text(&back, again);
        check(str_eq(buffer_str(&text), buffer_str(&back)));
    }
    buffer_done(&text);
    buffer_done(&other);
    buffer_done(&back);
    arena_release(&a);
    return 0;
}
