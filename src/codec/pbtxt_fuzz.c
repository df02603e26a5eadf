/* The first byte picks the message. What is read must be written, and read again as the same. */
#include <stdlib.h>

#include "codec/pbtxt.h"
#include "proto/codec_test.pb-c.h"
#include "proto/model_config.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    const ProtobufCMessageDescriptor *d = data[0] & 1 ? &inference__model_config__descriptor
                                                      : &culmen__codec_test__everything__descriptor;
    struct arena a = {0};
    struct buffer first = {0}, second = {0};
    struct error err;
    ProtobufCMessage *m = NULL, *again = NULL;
    str text = {.p = (const char *)data + 1, .n = size - 1};
    if (pbtxt_read(&m, &a, d, text, &err) == STATUS_OK) {
        check(pbtxt_write(&first, m, &err) == STATUS_OK);
        check(pbtxt_read(&again, &a, d, buffer_str(&first), &err) == STATUS_OK);
        check(pbtxt_write(&second, again, &err) == STATUS_OK);
        check(str_eq(buffer_str(&first), buffer_str(&second)));
    }
    buffer_done(&first);
    buffer_done(&second);
    arena_release(&a);
    return 0;
}
