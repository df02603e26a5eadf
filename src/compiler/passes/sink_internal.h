/* sink_internal.h - what the rules of sink_transposes share. */
#ifndef COMPILER_PASSES_SINK_INTERNAL_H
#define COMPILER_PASSES_SINK_INTERNAL_H

#include "compiler/passes/permute.h"

/* Operand `operand` of `node` is Transpose(source, perm). */
struct sink {
    struct graph *graph;
    struct node *node;
    uint32_t operand;
    struct value *source;
    struct permutation perm;
};

/* Puts Transpose(result, after) of each result of `made` in the place of the node's results. */
NODISCARD status sink_finish(const struct sink *s, struct node *made,
                             const struct permutation *after, struct error *err);

/* The axes of `n`, from operand `input` or the attribute. False: not known, or out of range. *axes
 * is NULL when there are none. */
bool read_axes(const struct node *n, size_t input, int rank, const int64_t **axes, size_t *n_axes,
               struct arena *a);

/* Operators with several tensors of one broadcast shape (sink_rules.c). */
status sink_broadcast(struct sink *s, bool *moved, struct error *err);
status sink_concat(struct sink *s, bool *moved, struct error *err);
status sink_slice(struct sink *s, bool *moved, struct error *err);
status sink_pad(struct sink *s, bool *moved, struct error *err);
status sink_pool(struct sink *s, bool *moved, struct error *err);
status sink_resize(struct sink *s, bool *moved, struct error *err);

#endif
