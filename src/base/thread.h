/* thread.h - threads and locks with names.
 *
 * Every object is owned by one thread, immutable, moved through a queue, or guarded by a
 * mutex that its header names. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/status.h"

struct CAPABILITY("mutex") mutex {
    pthread_mutex_t m;
};

#define MUTEX_INIT {.m = PTHREAD_MUTEX_INITIALIZER}
void mutex_init(struct mutex *mu);
void mutex_done(struct mutex *mu);
void mutex_lock(struct mutex *mu) ACQUIRE(*mu);
void mutex_unlock(struct mutex *mu) RELEASE(*mu);

struct cond {
    pthread_cond_t c;
};

void cond_init(struct cond *c); /* waits against the monotonic clock */
void cond_done(struct cond *c);
void cond_wait(struct cond *c, struct mutex *mu) REQUIRES(*mu);
/* Returns false when `deadline_ns` (monotonic) passed first. */
bool cond_wait_until(struct cond *c, struct mutex *mu, int64_t deadline_ns) REQUIRES(*mu);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* Starts fn(arg) in a thread called `name` (at most 15 bytes are kept) with all signals blocked but
 * SIGBUS. */
NODISCARD status thread_start(pthread_t *out, const char *name, void (*fn)(void *), void *arg,
                              struct error *err);
void thread_join(pthread_t t);

#endif
