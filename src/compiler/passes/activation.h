/* activation.h - which ONNX operators are activations of ops/fused.h. */
#ifndef COMPILER_PASSES_ACTIVATION_H
#define COMPILER_PASSES_ACTIVATION_H

#include "compiler/ir/graph.h"
#include "ops/fused.h"

struct activation_match {
    activation kind;
    float alpha, beta;
};

/* Is `n` an activation of its first operand? False also when its parameters are not constants. */
bool activation_of(const struct node *n, struct activation_match *out);

#endif
