/* The first byte picks the dtype. What is read must come back the same from what is written. */
#include <stdlib.h>
#include <string.h>

#include "codec/json_tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static bool read_any(str text, dtype type, struct buffer *out, struct tensor *t) {
    struct json_reader r;
    struct error err;
    size_t rank = 0;
    json_reader_init(&r, text, &err);
    *t = (struct tensor){.dtype = type};
    bool good = json_tensor_read_any(&r, type, out, t->dims, &rank);
    check(good || json_reader_finish(&r) != STATUS_OK);
    t->rank = (uint8_t)rank;
    t->data = out->p;
    t->size = out->n;
    return good && json_reader_finish(&r) == STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    dtype type = (dtype)(1 + data[0] % (DTYPE_COUNT - 1));
    struct buffer first = {.size_max = 1 << 20}, text = {0}, second = {0};
    struct tensor t, again;
    struct error err;
    if (read_any((str){.p = (const char *)data + 1, .n = size - 1}, type, &first, &t)) {
        check(json_tensor_write(&text, &t, JSON_TENSOR_NESTED | JSON_TENSOR_B64, &err) ==
              STATUS_OK);
        check(read_any(buffer_str(&text), type, &second, &again));
        check(again.rank == t.rank && tensor_same_dims(&t, &again) && again.size == t.size);
        bool is_float = dtype_is_float(type); /* NaNs may differ in their bits */
        check(is_float || !t.size || !memcmp(t.data, again.data, t.size));
        if (t.size && type != DTYPE_BYTES) {
            struct json_reader r;
            json_reader_init(&r, buffer_str(&text), &err);
            check(json_tensor_read(&r, &again));
        }
    }
    buffer_done(&first);
    buffer_done(&text);
    buffer_done(&second);
    return 0;
}
