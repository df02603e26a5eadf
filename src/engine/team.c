#include "engine/team.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/thread.h"
#include "engine/denormal.h"

/* About 20 us: longer than most steps are uneven, shorter than a sleep and a wake cost. */
enum { SPINS = 1000 };

/* A word on which threads wait for a change: they spin, then sleep. */
struct gate {
    _Atomic uint32_t word;
    _Atomic uint32_t n_sleepers;
};

struct member {
    struct team *team;
    unsigned thread;
    pthread_t handle;
};

struct team {
    unsigned n_threads;
    void (*fn)(void *arg, unsigned thread);
    void *arg;
    bool is_over; /* the threads shall end; written before `job` opens */

    struct gate job;     /* changes when there is a job */
    struct gate barrier; /* changes when all have met */
    _Atomic unsigned n_arrived;
    _Atomic bool wants_stop;
    bool is_stopped; /* written by the last one to arrive, read after the barrier */

    unsigned n_started;
    struct member members[];
};

static void gate_wait(struct gate *g, uint32_t old) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&g->word, memory_order_acquire) != old)
            return;
        pause_briefly();
    }
    atomic_fetch_add(&g->n_sleepers, 1);
    while (atomic_load(&g->word) == old)
        syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&g->n_sleepers, 1);
}

static void gate_open(struct gate *g) {
    atomic_fetch_add(&g->word, 1);
    if (atomic_load(&g->n_sleepers) > 0)
        syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void team_barrier(void *team) {
    struct team *t = team;
    if (t->n_threads == 1) {
        t->is_stopped = atomic_load_explicit(&t->wants_stop, memory_order_relaxed);
        return;
    }
    uint32_t old = atomic_load_explicit(&t->barrier.word, memory_order_acquire);
    if (atomic_fetch_add(&t->n_arrived, 1) + 1 < t->n_threads) {
        gate_wait(&t->barrier, old);
        return;
    }
    t->is_stopped = atomic_load(&t->wants_stop);
    atomic_store(&t->n_arrived, 0);
    gate_open(&t->barrier);
}

static void member_main(void *arg) {
    struct member *m = arg;
    struct team *t = m->team;
    denormals_flush();
    for (uint32_t job = 0;; job++) {
        gate_wait(&t->job, job);
        if (t->is_over)
            return;
        t->fn(t->arg, m->thread);
        team_barrier(t);
    }
}

status team_new(struct team **out, unsigned n_threads, const char *name, struct error *err) {
    CLEANUP(team_freep) struct team *t = calloc(1, sizeof *t + n_threads * sizeof t->members[0]);
    if (!t)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %u threads", n_threads);
    t->n_threads = n_threads;
    t->n_started = 1;
    for (unsigned i = 1; i < n_threads; i++) {
        struct member *m = &t->members[i];
        char text[32];
        snprintf(text, sizeof text, "%.10s-%u", name, i);
        *m = (struct member){.team = t, .thread = i};
        TRY(thread_start(&m->handle, text, member_main, m, err));
        t->n_started++;
    }
    *out = TAKE(t);
    return STATUS_OK;
}

void team_free(struct team *t) {
    if (!t)
        return;
    t->is_over = true;
    gate_open(&t->job);
    for (unsigned i = 1; i < t->n_started; i++)
        thread_join(t->members[i].handle);
    free(t);
}

unsigned team_n_threads(const struct team *t) {
    return t->n_threads;
}

void team_run(struct team *t, void (*fn)(void *arg, unsigned thread), void *arg) {
    unsigned before = denormals_flush();
    t->fn = fn;
    t->arg = arg;
    t->is_stopped = false;
    atomic_store(&t->wants_stop, false);
    if (t->n_threads > 1)
        gate_open(&t->job);
    fn(arg, 0);
    team_barrier(t);
    denormals_restore(before);
}

void team_stop(struct team *t) {
    atomic_store(&t->wants_stop, true);
}

bool team_is_stopped(const struct team *t) {
    return t->is_stopped;
}
