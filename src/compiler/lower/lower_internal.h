/* lower_internal.h - what the parts of lowering share. */
#ifndef COMPILER_LOWER_LOWER_INTERNAL_H
#define COMPILER_LOWER_LOWER_INTERNAL_H

#include "base/buffer.h"
#include "base/map.h"
#include "compiler/ir/graph.h"
#include "kernels/kernel.h"
#include "plan/plan.h"

struct lowered_dims {
    dim dims[TENSOR_RANK_MAX];
};

struct lowered_step {
    const struct node *node;
    struct kernel_call call; /* dims that are not numbers are -1 */
    struct tensor *operands; /* [node->n_in], of the call */
};

/* Arrays by value id of the graph unless said otherwise. */
struct lowering {
    struct graph *graph;
    struct arena *arena;
    uint8_t *kinds;             /* enum plan_value_kind; 0: in no step */
    struct lowered_dims *dims;  /* as the plan will have them, in the graph's expressions */
    const struct value **roots; /* what an alias stands for; others: itself */
    bool *is_needed;
    uint32_t *numbers; /* the plan's value, or PLAN_NONE */
    bool *is_bound;    /* by symbol: some input has it as a dim */
    bool *usable;      /* by expression: only bound symbols in it */
    uint32_t n_usable, usable_capacity;
    uint32_t isa; /* highest level of the kernels chosen */
    struct lowered_step *steps;
    uint32_t n_steps;
    struct plan_value *values; /* of the plan */
    uint32_t n_values;

    struct buffer aligned;    /* a constant for pack() whose bytes lie at an odd address */
    bool discards_constants;  /* discard.c */
    struct map constant_uses; /* data of a constant -> number of the last step that reads it, + 1 */
    char *weights;
    size_t weights_size, weights_capacity;
    struct weight_slot *slots; /* hash table of what is in the weights */
    uint32_t n_slots;
};

/* dims.c: symbols and expressions. */
void dims_find_symbols(struct lowering *l);
bool dims_is_usable(struct lowering *l, dim d);         /* only symbols that inputs bind */
void dims_renumber(struct lowering *l, struct plan *p); /* gives p only what it uses */

/* weights.c: constants in order of use, each different one once. */
NODISCARD status weights_begin(struct lowering *l, struct error *err);
NODISCARD status weights_add(struct lowering *l, const struct tensor *t, struct plan_value *v,
                             struct error *err);
NODISCARD status weights_pack(struct lowering *l, const struct lowered_step *s, uint32_t operand,
                              size_t size, struct plan_value *v, struct error *err);

/* discard.c: constants leave memory after the last step that reads them. No-ops unless
 * l->discards_constants. */
void discard_begin(struct lowering *l);
void discard_after(struct lowering *l, uint32_t step);

#endif
