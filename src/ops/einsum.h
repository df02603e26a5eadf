/* einsum.h - the equation of Einsum, for its shape and for its kernel. */
#ifndef OPS_EINSUM_H
#define OPS_EINSUM_H

#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "tensor/tensor.h"

enum {
    EINSUM_INPUTS_MAX = 8,
    EINSUM_LABELS_MAX = 16, /* different indices, those of the ellipsis included */
};

/* Every dim of every operand as the number of its label, 0 .. n_labels - 1. */
struct einsum {
    int n_labels, n_out;
    int in[EINSUM_INPUTS_MAX][TENSOR_RANK_MAX];
    int out[TENSOR_RANK_MAX];
};

/* Dims of the ellipsis broadcast: labels below n_ellipsis may meet a size of 1. */
NODISCARD status einsum_parse(struct einsum *out, str equation, size_t n_in, const int *ranks,
                              struct error *err);

#endif
