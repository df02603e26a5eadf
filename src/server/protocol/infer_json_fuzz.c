/* Fuzzes the JSON of an inference request: whatever comes, it is read or refused. */
#include "server/protocol/infer_json.h"

static struct io_spec inputs[] = {
    {.name = {"A", 1}, .dtype = DTYPE_F32, .rank = 1, .dims = {-1}},
    {.name = {"B", 1}, .dtype = DTYPE_BYTES, .rank = 1, .dims = {-1}, .is_optional = true},
    {.name = {"C", 1}, .dtype = DTYPE_I8, .rank = 2, .dims = {2, -1}, .is_optional = true},
};
static struct io_spec outputs[] = {{.name = {"O", 1}, .dtype = DTYPE_F32, .rank = 1, .dims = {-1}}};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct model_version version = {.spec = {.name = {"m", 1},
                                             .max_batch_size = size & 1 ? 8 : 0,
                                             .inputs = inputs,
                                             .n_inputs = ARRAY_LEN(inputs),
                                             .outputs = outputs,
                                             .n_outputs = ARRAY_LEN(outputs),
                                             .has_optional_inputs = true}};
    struct service service = {.input_size_max = 1 << 20};
    struct exchange x = {0};
    struct tensor bound[ARRAY_LEN(inputs)] = {0};
    bool is_wanted[ARRAY_LEN(outputs)] = {0};
    struct output_wish wishes[ARRAY_LEN(outputs)] = {0};
    struct infer_call c = {.x = &x,
                           .service = &service,
                           .version = &version,
                           .request = {.model = &version.spec, .inputs = bound},
                           .is_wanted = is_wanted,
                           .wishes = wishes,
                           .capacity = 1};
    c.named = arena_array(&x.arena, struct infer_named, 1);
    c.binary_sizes = arena_array(&x.arena, size_t, 1);
    struct error err;
    str json = {.p = (const char *)bytes, .n = size};
    if (infer_json_read(&c, json, &err) == STATUS_OK &&
        infer_request_bind(&c.request, c.named, c.n_named, &err) != STATUS_OK)
        (void)err;
    arena_release(&x.arena);
    return 0;
}
