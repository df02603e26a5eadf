/* depth.h - runs of steps that are walked depth first: all of them for a slice of the batch, then
 * for the next slice, so that what one step writes is still in the cache when the next reads it.
 *
 * A span is such a run of steps. Each of its operands is a constant, or has the batch as its first
 * dim, and no element of the batch depends on another; so a slice is the same steps on fewer
 * elements, and the answers are the same bit by bit. Values that live only within a span have
 * memory for one slice in each lane. A lane is one thread with operands, scratch and slices of its
 * own, which meets the others only at the span's end.
 *
 * Which steps, and how large a slice, follows from the sizes when dims are bound: a step is worth
 * it when its activations weigh more than its weights, which every slice reads again. */
#ifndef ENGINE_DEPTH_H
#define ENGINE_DEPTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/kernel.h"

struct engine;
struct session;
struct binding;

enum { DEPTH_L2_SIZE = 1 << 20 /* of a core, when the system does not tell */ };

struct span {
    uint32_t first, end; /* steps; empty: nothing is worth it */
    int64_t n, slice;    /* elements of the batch; of a slice, of which the last may have less */
    int64_t n_slices;    /* of all */
    int64_t n_own;       /* the first ones, done by lanes; the others by the team together */
};

/* Bytes of activations that a core keeps close. */
size_t depth_cache_size(void);

/* Finds the longest runs of steps that may be spans: e->spans. */
void depth_find_spans(struct engine *e);

/* Chooses b->spans by the sizes in b->values. */
void depth_choose(const struct session *s, struct binding *b);

/* The span of `b` that shares a step with first..last, or NULL. */
const struct span *depth_span_of(const struct binding *b, uint32_t first, uint32_t last);

/* Makes the lanes' operands, if `b` has spans and they are not there. Sets what kernels need for
 * slices: in a lane, and on the whole team. */
void depth_prepare(struct session *s, const struct binding *b, size_t *lane_scratch,
                   size_t *team_scratch);

/* This thread's part of a span; every thread of the team calls it. False: some thread has failed,
 * and all know. `times`: [n_steps], added to, or NULL. */
bool depth_run(struct session *s, const struct span *span, const struct kernel_team *team,
               int64_t *times);

#endif
