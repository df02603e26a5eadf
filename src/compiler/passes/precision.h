/* precision.h - which values are kept in BF16 when the user asks for --precision=bf16.
 *
 * Products (Linear, Conv2d, ConvTranspose2d, Attention) read BF16 and sum in F32. A value that only
 * products read, directly or through operators that just move or pool it, is produced in BF16. What
 * a normalisation, a Linear's residual, a softmax or the caller reads stays F32: a transformer's
 * residual stream keeps its accuracy and only the products get narrower. F32 stay the weights of
 * depthwise convolutions (their kernels read them so anyway), and small products where an error
 * weighs most: gates behind a global pool, the layer that reads an image, the layer that is the
 * output. */
#ifndef COMPILER_PASSES_PRECISION_H
#define COMPILER_PASSES_PRECISION_H

#include "base/status.h"
#include "compiler/ir/graph.h"

/* Runs after fusion, on the operators of ops/fused.h. */
NODISCARD status pass_precision_bf16(struct graph *g, struct error *err);

/* The same where the target cannot multiply BF16: only weights are narrowed, and widened a panel at
 * a time when they are used. Activations stay F32, so the answer is closer to F32's. */
NODISCARD status pass_precision_weights(struct graph *g, struct error *err);

#endif
