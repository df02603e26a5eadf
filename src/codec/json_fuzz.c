/* Whatever json_parse accepts must come out of the writer, be read again, and be the same tree; and
 * the pull reader must agree about what is well-formed. */
#include <stdlib.h>

#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena a = {0};
    struct error err;
    struct json_value *v = NULL, *again = NULL;
    str text = {.p = (const char *)data, .n = size};
    struct json_reader r;
    status parsed = json_parse(&v, &a, text, &err);
    json_reader_init(&r, text, &err);
    json_skip(&r, NULL);
    status skipped = json_reader_finish(&r);
    check(parsed != STATUS_OK || skipped == STATUS_OK);
    if (parsed == STATUS_OK) {
        struct buffer out = {0};
        struct json_writer w;
        json_writer_init(&w, &out, &err);
        w.pretty = size & 1;
        json_write(&w, v);
        check(json_writer_finish(&w) == STATUS_OK);
        check(json_parse(&again, &a, buffer_str(&out), &err) == STATUS_OK);
        check(json_equal(v, again));
        buffer_done(&out);
    }
    arena_release(&a);
    return 0;
}
