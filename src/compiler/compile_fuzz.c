/* Any bytes as an ONNX model: an error, or a graph that every pass leaves whole. */
#include <stdio.h>
#include <stdlib.h>

#include "codec/onnx.h"
#include "compiler/import/import.h"
#include "compiler/passes/passes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compile(struct onnx_model *m, bool bf16, struct arena *a) {
    const struct import_options import = {0};
    const struct passes_options passes = {.bf16 = bf16};
    struct buffer report = {0};
    struct error err = {0};
    struct graph *g;
    if (import_onnx(&g, a, m, &import, &report, &err) == STATUS_OK &&
        passes_run(g, &passes, &err) == STATUS_INTERNAL) {
        fprintf(stderr, "%s\n", err.text); /* the verifier: a pass has a mistake */
        abort();
    }
    buffer_done(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct onnx_model *m = NULL;
    struct arena a = {0};
    struct error err = {0};
    if (onnx_model_read(&m, data, size, NULL, &err) == STATUS_OK)
        compile(m, size % 2, &a);
    arena_release(&a);
    onnx_model_free(m);
    return 0;
}
