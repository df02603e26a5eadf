/* memory.h - who needs memory when, and where it goes: pure functions.
 *
 * Lifetimes follow from the steps alone; sizes follow when the symbols have numbers. Both
 * compiler (for its report) and engine (for real) ask here, so they cannot disagree. Where the
 * engine walks a batch depth first it needs less (engine/depth.h). */
#ifndef PLAN_MEMORY_H
#define PLAN_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "plan/plan.h"

enum { PLAN_BLOCK_ALIGN = 64 };

/* A value is written by step `first` and read last by step `last` (n_steps: by the caller).
 * For aliases: that of their root. Values that no step makes begin at 0. */
struct plan_lifetime {
    uint32_t first, last;
};

/* [n_values], from `a`. */
struct plan_lifetime *plan_lifetimes(const struct plan *p, struct arena *a);

/* shares[v]: the value whose memory PLANNED value v takes over (v itself: none), [n_values], from
 * `a`. Elementwise steps write over an input of the same dims and element size that nobody
 * reads later; shares[] leads to the first of such a chain. */
uint32_t *plan_shares(const struct plan *p, const struct plan_lifetime *lifetimes, struct arena *a);

/* A piece of memory that is needed from step `first` to step `last`. */
struct plan_block {
    size_t size;
    uint32_t first, last;
    size_t offset; /* the answer */
};

/* Gives every block an offset, so that blocks which live at the same time do not overlap: largest
 * first, each into the tightest gap that fits. Returns the bytes of it all, or SIZE_MAX when they
 * do not fit a size_t. Temporary memory from `a`. */
size_t plan_place(struct plan_block *blocks, size_t n, struct arena *a);

/* The most bytes alive at one step: no placement can do with less. */
size_t plan_live_bytes(const struct plan_block *blocks, size_t n, uint32_t n_steps,
                       struct arena *a);

/* Bytes between the steps (without the kernels' scratch) when the symbols have these numbers; in
 * *live the lower bound. SIZE_MAX: no size follows, or it is too large. Data-dependent values do
 * not count. */
size_t plan_arena_size(const struct plan *p, const int64_t *symbols, size_t *live);

#endif
