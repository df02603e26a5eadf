/* What npy_read accepts, npy_write must write and npy_read must read again, the same. */
#include <stdlib.h>
#include <string.h>

#include "codec/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tensor t = {0}, again = {0};
    struct error err;
    struct buffer file = {0};
    if (npy_read(&t, (str){.p = (const char *)data, .n = size}, &err) == STATUS_OK) {
        if (npy_write(&file, &t, &err) != STATUS_OK ||
            npy_read(&again, buffer_str(&file), &err) != STATUS_OK || again.dtype != t.dtype ||
            !tensor_same_dims(&t, &again) || again.size != t.size ||
            (t.size && memcmp(again.data, t.data, t.size) != 0))
            abort();
        tensor_release(&again);
        tensor_release(&t);
    }
    buffer_done(&file);
    return 0;
}
