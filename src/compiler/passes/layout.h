/* layout.h - from ONNX's channels-first images to the channels-last ones that kernels want.
 *
 * First each convolution becomes Transpose, Conv2d, Transpose. Then transposes sink through
 * whatever does not care (elementwise, Concat, Slice, Pad, reductions, pools, resizes) until
 * they meet their inverse and vanish, or are mere reshapes, or reach an operator that needs the
 * old order. What is left runs as Transpose.
 *
 * Convention: y = Transpose(x, perm) has y.dims[i] = x.dims[perm[i]]; so axis a of y is axis
 * perm[a] of x. */
#ifndef COMPILER_PASSES_LAYOUT_H
#define COMPILER_PASSES_LAYOUT_H

#include "base/status.h"
#include "compiler/ir/graph.h"

/* Convolutions with constant weights, one or two spatial dims, to Conv2d / ConvTranspose2d. */
NODISCARD status pass_channels_last(struct graph *g, struct error *err);

/* Transposes down, until nothing moves. */
NODISCARD status pass_sink_transposes(struct graph *g, struct error *err);

#endif
