/* verify.h - what must hold of every graph between passes. */
#ifndef COMPILER_IR_VERIFY_H
#define COMPILER_IR_VERIFY_H

#include "compiler/ir/graph.h"

/* Checks that each value has one definition, uses and operands agree, the order is topological,
 * operand counts fit the operator, constants have the bytes that their dims need. With
 * `is_typed` also that every value in use has a dtype and a rank. INTERNAL: the first thing that
 * is wrong, with the node's description; it is a mistake of the pass that ran last. */
NODISCARD status graph_verify(const struct graph *g, bool is_typed, struct error *err);

#endif
