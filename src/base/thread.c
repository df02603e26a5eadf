#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

void mutex_init(struct mutex *mu) {
    pthread_mutex_init(&mu->m, NULL);
}

void mutex_done(struct mutex *mu) {
    pthread_mutex_destroy(&mu->m);
}

void mutex_lock(struct mutex *mu) {
    int e = pthread_mutex_lock(&mu->m);
    assert(e == 0);
    (void)e;
}

void mutex_unlock(struct mutex *mu) {
    int e = pthread_mutex_unlock(&mu->m);
    assert(e == 0);
    (void)e;
}

void cond_init(struct cond *c) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->c, &attr);
    pthread_condattr_destroy(&attr);
}

void cond_done(struct cond *c) {
    pthread_cond_destroy(&c->c);
}

void cond_wait(struct cond *c, struct mutex *mu) {
    pthread_cond_wait(&c->c, &mu->m);
}

bool cond_wait_until(struct cond *c, struct mutex *mu, int64_t deadline_ns) {
    struct timespec t = {.tv_sec = deadline_ns / NS_PER_S, .tv_nsec = deadline_ns % NS_PER_S};
    return pthread_cond_timedwait(&c->c, &mu->m, &t) != ETIMEDOUT;
}

void cond_signal(struct cond *c) {
    pthread_cond_signal(&c->c);
}

void cond_broadcast(struct cond *c) {
    pthread_cond_broadcast(&c->c);
}

struct start {
    char name[16];
    void (*fn)(void *);
    void *arg;
};

static void *run(void *p) {
    struct start start = *(struct start *)p;
    free(p);
    pthread_setname_np(pthread_self(), start.name);
    start.fn(start.arg);
    return NULL;
}

status thread_start(pthread_t *out, const char *name, void (*fn)(void *), void *arg,
                    struct error *err) {
    struct start *start = malloc(sizeof *start);
    if (!start)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for thread \"%s\"", name);
    *start = (struct start){.fn = fn, .arg = arg};
    snprintf(start->name, sizeof start->name, "%s", name);
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* base/guard.h answers it where it is raised */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(out, NULL, run, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e) {
        free(start);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "start thread \"%s\": %s", name,
                         strerror(e));
    }
    return STATUS_OK;
}

void thread_join(pthread_t t) {
    pthread_join(t, NULL);
}
