/* import.h - an ONNX model becomes a graph.
 *
 * What ONNX leaves open is settled here: initializers and Constant nodes are constants,
 * initializers that are also listed as inputs are constants, functions of the model are inlined,
 * nodes are brought into topological order, equal dim_params are one symbol, and a dim of an input
 * that has neither number nor name gets a symbol of its own, NAME.dim_N. Shapes of anything but
 * the inputs are left to the passes: what the file says about them is optional and can be wrong. */
#ifndef COMPILER_IMPORT_IMPORT_H
#define COMPILER_IMPORT_IMPORT_H

#include "base/buffer.h"
#include "codec/onnx.h"
#include "compiler/ir/graph.h"

enum {
    IMPORT_NODES_MAX = 1 << 18,     /* after inlining */
    IMPORT_FUNCTION_DEPTH_MAX = 16, /* functions that call functions */
    IMPORT_OPSET_MAX = 28,
};

/* --shape=NAME:1x128 */
struct import_shape {
    str input;
    size_t rank;
    int64_t dims[TENSOR_RANK_MAX]; /* -1: as the model says */
};

struct import_options {
    bool is_mapped; /* the model and its external data are mapped files, not a caller's bytes */
    const struct import_shape *shapes;
    size_t n_shapes;
};

/* Reads `m` into a new graph that lives in `a` and borrows from `m`, which must live as long.
 * INVALID_ARGUMENT: what ONNX forbids, or a shape that does not fit. UNIMPLEMENTED: operators,
 * types or features that we lack; `report` (may be NULL) then gets one line for every such node:
 * operator, opset, node name, operand types as far as they are known, and what can be done about
 * it. */
NODISCARD status import_onnx(struct graph **out, struct arena *a, struct onnx_model *m,
                             const struct import_options *options, struct buffer *report,
                             struct error *err);

#endif
