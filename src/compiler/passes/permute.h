/* permute.h - permutations of dims, as the layout passes need them. */
#ifndef COMPILER_PASSES_PERMUTE_H
#define COMPILER_PASSES_PERMUTE_H

#include <stdbool.h>

#include "base/status.h"
#include "compiler/ir/graph.h"

struct permutation {
    size_t rank;
    int64_t axis[TENSOR_RANK_MAX];
};

bool permutation_is_identity(const struct permutation *p);
struct permutation permutation_inverse(const struct permutation *p);
/* Transpose(Transpose(x, first), second). */
struct permutation permutation_compose(const struct permutation *first,
                                       const struct permutation *second);
bool permutation_equal(const struct permutation *a, const struct permutation *b);

/* Is `v` the result of a Transpose? Then *source is its operand. */
bool value_is_transposed(const struct value *v, struct value **source, struct permutation *p);

/* Transpose(v, p) before `before`: v itself for the identity, the source of a Transpose that p
 * undoes, a permuted constant, or a new node. */
NODISCARD status permute_value(struct value **out, struct graph *g, struct node *before,
                               struct value *v, const struct permutation *p, struct error *err);

/* A node of `op` with one result, whose shape is inferred; attrs are copied. */
NODISCARD status insert_inferred(struct node **out, struct graph *g, struct node *before, op_id op,
                                 struct value *const *in, size_t n_in, size_t n_out,
                                 const struct attr_list *attrs, struct error *err);

/* Reshape(v) to `dims`; at most one of them may be neither a number nor equal to v's dim in the
 * same place. *out is NULL, without an error, when that does not hold. */
NODISCARD status reshape_value(struct value **out, struct graph *g, struct node *before,
                               struct value *v, const dim *dims, size_t rank, struct error *err);

#endif
