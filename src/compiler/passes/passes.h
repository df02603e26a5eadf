/* passes.h - what happens to a graph between import and lowering.
 *
 * A pass is a function from graph to graph; passes.def lists them in order. The compiler's
 * verifier runs after each. Passes leave a correct graph whatever other passes did: each can be
 * switched off. */
#ifndef COMPILER_PASSES_PASSES_H
#define COMPILER_PASSES_PASSES_H

#include <stdbool.h>
#include <stdio.h>

#include "base/status.h"
#include "compiler/ir/graph.h"

typedef status (*pass_fn)(struct graph *g, struct error *err);

struct passes_options {
    bool bf16;                  /* --precision=bf16 */
    bool bf16_weights_only;     /* the target cannot multiply bf16 */
    const char *const *disable; /* [n_disable] names of passes to leave out */
    size_t n_disable;
    const char *print_after; /* print the graph to `print_to` after this pass; NULL: never */
    FILE *print_to;
};

/* Runs all passes that apply. A pass's failure is wrapped with its name. INVALID_ARGUMENT: the
 * model is wrong, or `disable` or `print_after` names no pass. INTERNAL: a pass left a broken
 * graph. */
NODISCARD status passes_run(struct graph *g, const struct passes_options *o, struct error *err);

/* Name of pass i, from 0 until NULL. */
const char *passes_name(size_t i);

/* Types of all values, and the contents of shape arithmetic. */
NODISCARD status pass_infer(struct graph *g, struct error *err);
/* Nodes whose operands are constants become constants, by the reference kernels. */
NODISCARD status pass_fold(struct graph *g, struct error *err);
/* Nodes that change nothing vanish; equal meanings get one spelling. */
NODISCARD status pass_simplify(struct graph *g, struct error *err);
/* Nodes that nobody reads vanish. */
NODISCARD status pass_dce(struct graph *g, struct error *err);
/* Equal nodes become one; so do equal small constants. */
NODISCARD status pass_cse(struct graph *g, struct error *err);

/* BatchNormalization, and constants per channel, into the convolution before; Pad into the one
 * behind. */
NODISCARD status pass_fold_affine(struct graph *g, struct error *err);
/* Gelu, HardSwish, Swish, HardSigmoid out of what exporters spell. */
NODISCARD status pass_fuse_activation(struct graph *g, struct error *err);
/* MatMul, Gemm and their bias to Linear. */
NODISCARD status pass_fuse_linear(struct graph *g, struct error *err);
NODISCARD status pass_fuse_onehot(struct graph *g, struct error *err);
/* A Reshape of leading axes moves behind Linear and what else works on rows. */
NODISCARD status pass_sink_reshapes(struct graph *g, struct error *err);
/* Normalisations over the last axis to Norm. */
NODISCARD status pass_fuse_norm(struct graph *g, struct error *err);
/* Softmax between two products of heads to Attention. */
NODISCARD status pass_fuse_attention(struct graph *g, struct error *err);
/* Rows that nobody reads are not computed: a Slice of rows moves up to where all rows count. */
NODISCARD status pass_sink_rows(struct graph *g, struct error *err);
/* The Linears that give an Attention's q, k, v from one tensor to one Linear. */
NODISCARD status pass_fuse_qkv(struct graph *g, struct error *err);
/* Activations and residual sums into the product before. */
NODISCARD status pass_fuse_tails(struct graph *g, struct error *err);
/* A sum that is normalised into the Norm. */
NODISCARD status pass_fuse_norm_residual(struct graph *g, struct error *err);
/* What elementwise arithmetic is left, in groups, to Elementwise. */
NODISCARD status pass_fuse_elementwise(struct graph *g, struct error *err);

#endif
