/* plan_fuzz.c - any bytes as a plan: an error or a valid run, with the hashes made right first, so
 * that what lies behind them is reached. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/engine.h"
#include "plan/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix_hashes(char *bytes, size_t size) {
    struct plan_file_header *h = (void *)bytes;
    if (size < sizeof *h || h->n_sections > PLAN_SECTIONS_MAX ||
        h->n_sections * sizeof(struct plan_file_section) > size - sizeof *h)
        return;
    memcpy(h->magic, PLAN_MAGIC, sizeof h->magic);
    h->format_version = PLAN_FORMAT_VERSION;
    h->kernel_abi = PLAN_KERNEL_ABI;
    h->file_size = size;
    struct plan_file_section *table = (void *)(h + 1);
    for (uint32_t i = 0; i < h->n_sections; i++)
        if (table[i].offset <= size && table[i].size <= size - table[i].offset)
            table[i].hash = hash_bytes(bytes + table[i].offset, table[i].size, 0);
    h->table_hash = hash_bytes(table, h->n_sections * sizeof *table, 0);
    h->header_hash = hash_bytes(h, offsetof(struct plan_file_header, header_hash), 0);
}

static void run(struct engine *e) {
    enum { MEMORY_MAX = 64 << 20 };
    struct session *s;
    struct error err;
    if (session_new(&s, e, &(struct session_options){.memory_max = MEMORY_MAX}, &err))
        return;
    size_t n;
    const struct engine_io *io = engine_inputs(e, &n);
    status code = STATUS_OK;
    for (size_t i = 0; i < n && code == STATUS_OK; i++) {
        int64_t dims[TENSOR_RANK_MAX];
        for (size_t d = 0; d < io[i].rank; d++)
            dims[d] = io[i].dims[d] >= 0 ? io[i].dims[d] : io[i].min[d];
        void *bytes;
        size_t size;
        code = session_input_space(s, i, dims, io[i].rank, &bytes, &size, &err);
        if (code == STATUS_OK)
            memset(bytes, 1, size);
    }
    if (code == STATUS_OK)
        (void)!session_run(s, &err);
    session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *bytes = aligned_alloc(64, (size + 64) & ~(size_t)63);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    fix_hashes(bytes, size);
    struct engine *e;
    struct error err;
    if (engine_open_bytes(&e, bytes, size, &err) == STATUS_OK) {
        run(e);
        engine_unref(e);
    }
    free(bytes);
    return 0;
}
