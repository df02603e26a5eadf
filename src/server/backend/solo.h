/* solo.h - does an instance need a team of threads, or is one enough? Learnt from what runs took.
 *
 * A team costs tens of microseconds a run. So an instance starts with one thread, and gets its team
 * once several runs in a row were long. The first of them is told by the clock on the wall, the next
 * ones by what the thread computed: on a busy machine a quick run may wait long for its CPU. Owned
 * by an instance. */
#ifndef SERVER_BACKEND_SOLO_H
#define SERVER_BACKEND_SOLO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum { SOLO_RUN_NS_MAX = 300 * NS_PER_US, SOLO_RUNS_MAX = 4 };

struct solo_policy {
    unsigned n_long; /* runs in a row */
};

/* Is the time that the thread computes worth asking for in the next run? */
static inline bool solo_wants_cpu(const struct solo_policy *p) {
    return p->n_long > 0;
}

/* Notes a run: by the wall, and what the thread computed (not looked at unless it was wanted).
 * True: the model wants a team. */
static inline bool solo_note(struct solo_policy *p, int64_t wall_ns, int64_t cpu_ns) {
    int64_t run_ns = solo_wants_cpu(p) ? cpu_ns : wall_ns;
    p->n_long = run_ns > SOLO_RUN_NS_MAX ? p->n_long + 1 : 0;
    return p->n_long >= SOLO_RUNS_MAX;
}

#endif
