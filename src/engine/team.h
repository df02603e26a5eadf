/* team.h - the threads of a session: they do the same job at once, each its share.
 *
 * Thread 0 is whoever calls team_run(); the others sleep between runs. All threads flush
 * denormal floats to zero while they work. */
#ifndef ENGINE_TEAM_H
#define ENGINE_TEAM_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/status.h"

struct team;

/* Starts n_threads - 1 threads called "NAME-1"... */
NODISCARD status team_new(struct team **out, unsigned n_threads, const char *name,
                          struct error *err);
void team_free(struct team *t);
DEFINE_CLEANUP(struct team, team_free)

unsigned team_n_threads(const struct team *t);

/* Calls fn(arg, thread) on each thread and returns when all are done. One call at a time. */
void team_run(struct team *t, void (*fn)(void *arg, unsigned thread), void *arg);

/* Within fn: waits until all threads are here; spins for a little, then sleeps. */
void team_barrier(void *team);

/* Within fn: asks everybody to stop at the next barrier, which all threads leave with the same
 * answer from team_is_stopped(). */
void team_stop(struct team *t);
bool team_is_stopped(const struct team *t);

#endif
