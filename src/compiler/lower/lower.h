/* lower.h - a graph becomes a plan: kernels are chosen, constants packed, values sorted by where
 * their bytes will be.
 *
 * Reshape, Flatten, Squeeze, Unsqueeze, Identity become aliases and cost no step; nodes that only
 * told such a step its shape fall away. A value whose dims the shape functions cannot tell from
 * the inputs' dims is dynamic. Everything that no fast kernel accepts runs on its reference
 * kernel. The same graph gives the same plan, byte for byte. */
#ifndef COMPILER_LOWER_LOWER_H
#define COMPILER_LOWER_LOWER_H

#include "base/isa.h"
#include "compiler/ir/graph.h"
#include "plan/plan.h"

struct lower_options {
    isa isa;  /* the highest level whose kernels may be chosen */
    str meta; /* JSON, goes into the plan as it is */

    /* A constant's pages go back to the system after the last step that reads it, so that a plan
     * takes the place of its model in memory: the graph's constants are gone afterwards. Only for
     * graphs whose constants lie in mapped files and in memory of their own. */
    bool discards_constants;
};

/* Fills *out with structs and weights that live in `a` and with views of the graph. Every value
 * in use must have dtype and rank. UNIMPLEMENTED: nodes that no kernel takes; the text names the
 * first and their number. RESOURCE_EXHAUSTED: no memory for the weights. */
NODISCARD status lower_graph(struct plan *out, struct arena *a, struct graph *g,
                             const struct lower_options *options, struct error *err);

#endif
