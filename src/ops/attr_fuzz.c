#include <stdlib.h>
#include <string.h>

#include "ops/attr.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* What is read can be written again, and reads back. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct arena a = {0};
    struct attr_list list, again;
    struct buffer b = {0};
    void *aligned = buffer_alloc(n ? n : 1);
    memcpy(aligned, bytes, n);
    if (attr_list_decode(&list, &a, aligned, n, NULL) == STATUS_OK) {
        if (attr_list_encode(&b, &list, NULL) != STATUS_OK ||
            attr_list_decode(&again, &a, b.p, b.n, NULL) != STATUS_OK || again.n != list.n)
            abort();
    }
    buffer_done(&b);
    free(aligned);
    arena_release(&a);
    return 0;
}
