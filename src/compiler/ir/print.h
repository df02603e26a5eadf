/* print.h - a graph as text that reads back (parse.h); the form of golden tests and dumps.
 *
 *     graph "bert" opset 17
 *     symbol batch 1..64
 *     input %x: f32[batch,4]
 *     const %w: f32[4,2] = {1, 2, 3, 4, 5, 6, 7, 8}
 *     const %big: f32[384,384] = #8f14e45fceea167a
 *     const %zero: f32[1000] = splat 0
 *     %y: f32[batch,2] = Linear(%x, %w, _) {activation=1, alpha=0.5} "encoder/dense"
 *     %s: i64[2]{batch,2} = Shape(%y)
 *     output "y" = %y
 *     property "author" = "somebody"
 *
 * _ is an operand or result that is left out, ?[*] a type that is not known, {...} after a type
 * the known contents. A large constant is its hash: read back, it is other bytes of that type,
 * made from the hash. A constant stands right before its first reader. */
#ifndef COMPILER_IR_PRINT_H
#define COMPILER_IR_PRINT_H

#include "base/buffer.h"
#include "compiler/ir/graph.h"

NODISCARD status graph_print(struct buffer *out, const struct graph *g, struct error *err);

#endif
