#include "compiler/passes/passes.h"

status pass_infer(struct graph *g, struct error *err) {
    GRAPH_NODES(n, g) {
        TRY(node_infer(g, n, NULL, err));
    }
    return STATUS_OK;
}
