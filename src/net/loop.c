#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"

enum { EVENTS_MAX = 128 };

struct loop {
    int epoll_fd;
    struct loop_watch wake; /* an eventfd */
    int64_t now_ns;
    void *user;

    struct loop_timer **heap; /* smallest key first */
    size_t n_timers, timers_capacity;

    struct epoll_event events[EVENTS_MAX];
    int n_events, event; /* those fetched, and the one being handled */

    _Alignas(64) _Atomic(struct loop_task *) mail; /* newest first */
    atomic_bool is_sleeping;                       /* a poster that clears it has to wake us */
    atomic_bool is_stopping;
};

static _Thread_local struct loop *current;

/* --- timers: a binary heap --- */

static void heap_put(struct loop *l, size_t i, struct loop_timer *t) {
    l->heap[i] = t;
    t->slot = i + 1;
}

static void heap_up(struct loop *l, size_t i, struct loop_timer *t) {
    for (; i > 0; i = (i - 1) / 2) {
        struct loop_timer *parent = l->heap[(i - 1) / 2];
        if (parent->key_ns <= t->key_ns)
            break;
        heap_put(l, i, parent);
    }
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct loop_timer *t) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->n_timers)
            break;
        if (child + 1 < l->n_timers && l->heap[child + 1]->key_ns < l->heap[child]->key_ns)
            child++;
        if (t->key_ns <= l->heap[child]->key_ns)
            break;
        heap_put(l, i, l->heap[child]);
        i = child;
    }
    heap_put(l, i, t);
}

static void heap_remove(struct loop *l, struct loop_timer *t) {
    size_t i = t->slot - 1;
    struct loop_timer *last = l->heap[--l->n_timers];
    t->slot = 0;
    if (last == t)
        return;
    if (i > 0 && l->heap[(i - 1) / 2]->key_ns > last->key_ns)
        heap_up(l, i, last);
    else
        heap_down(l, i, last);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t deadline_ns) {
    t->deadline_ns = deadline_ns;
    if (t->slot && t->key_ns <= deadline_ns)
        return; /* the heap moves it when the old deadline comes up */
    if (t->slot) {
        t->key_ns = deadline_ns;
        heap_up(l, t->slot - 1, t);
        return;
    }
    if (l->n_timers == l->timers_capacity) {
        l->timers_capacity = l->timers_capacity ? 2 * l->timers_capacity : 64;
        l->heap = realloc(l->heap, array_size(sizeof(*l->heap), l->timers_capacity));
        if (!l->heap)
            abort();
    }
    t->key_ns = deadline_ns;
    heap_up(l, l->n_timers++, t);
}

void loop_timer_clear(struct loop *l, struct loop_timer *t) {
    if (t->slot)
        heap_remove(l, t);
}

static void fire_timers(struct loop *l) {
    while (l->n_timers > 0 && l->heap[0]->key_ns <= l->now_ns) {
        struct loop_timer *t = l->heap[0];
        if (t->deadline_ns > l->now_ns) {
            t->key_ns = t->deadline_ns;
            heap_down(l, 0, t);
            continue;
        }
        heap_remove(l, t);
        t->fire(t);
    }
}

/* --- mail --- */

static void wake(struct loop *l) {
    if (!atomic_exchange(&l->is_sleeping, false))
        return;
    uint64_t one = 1;
    ssize_t n = write(l->wake.fd, &one, sizeof one);
    (void)n; /* EAGAIN: it is awake anyway */
}

static void woken(struct loop_watch *w, uint32_t events) {
    (void)events;
    uint64_t count;
    ssize_t n = read(w->fd, &count, sizeof count);
    (void)n;
}

void loop_post(struct loop *l, struct loop_task *t) {
    struct loop_task *head = atomic_load_explicit(&l->mail, memory_order_relaxed);
    do
        t->next = head;
    while (!atomic_compare_exchange_weak(&l->mail, &head, t));
    wake(l);
}

static void run_mail(struct loop *l) {
    if (!atomic_load_explicit(&l->mail, memory_order_relaxed))
        return;
    struct loop_task *newest = atomic_exchange(&l->mail, NULL), *oldest = NULL;
    while (newest) {
        struct loop_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_task *t = oldest;
        oldest = t->next;
        t->run(t);
    }
}

/* --- descriptors --- */

status loop_watch_add(struct loop *l, struct loop_watch *w, uint32_t events, struct error *err) {
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &e) != 0)
        return error_set(err, file_status(errno), "watch descriptor %d: %s", w->fd,
                         strerror(errno));
    return STATUS_OK;
}

void loop_watch_remove(struct loop *l, struct loop_watch *w) {
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    for (int i = l->event + 1; i < l->n_events; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
}

/* --- the loop --- */

status loop_new(struct loop **out, struct error *err) {
    CLEANUP(loop_freep) struct loop *l = aligned_alloc(64, (sizeof *l + 63) / 64 * 64);
    if (!l)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a loop");
    memset(l, 0, sizeof *l);
    l->now_ns = clock_now(clock_system());
    l->wake = (struct loop_watch){.ready = woken, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0 || l->wake.fd < 0)
        return error_set(err, file_status(errno), "make a loop: %s", strerror(errno));
    TRY(loop_watch_add(l, &l->wake, EPOLLIN | EPOLLET, err));
    *out = TAKE(l);
    return STATUS_OK;
}

void loop_free(struct loop *l) {
    if (!l)
        return;
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    if (l->wake.fd >= 0)
        close(l->wake.fd);
    free(l->heap);
    free(l);
}

static int wait_for_events(struct loop *l) {
    struct timespec timeout = {0}, *until = NULL;
    if (l->n_timers > 0) {
        int64_t ns = l->heap[0]->key_ns - l->now_ns;
        if (ns > 0)
            timeout = (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
        until = &timeout;
    }
    atomic_store(&l->is_sleeping, true);
    if (atomic_load(&l->mail) || atomic_load(&l->is_stopping)) {
        timeout = (struct timespec){0};
        until = &timeout;
    }
    int n = until ? epoll_pwait2(l->epoll_fd, l->events, EVENTS_MAX, until, NULL)
                  : epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, -1);
    if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
        n = epoll_wait(
            l->epoll_fd, l->events, EVENTS_MAX,
            timeout.tv_sec > 1000
                ? 1000000
                : (int)(timeout.tv_sec * 1000 + (timeout.tv_nsec + NS_PER_MS - 1) / NS_PER_MS));
    atomic_store(&l->is_sleeping, false);
    assert(n >= 0 || errno == EINTR);
    return n < 0 ? 0 : n;
}

void loop_run(struct loop *l) {
    current = l;
    while (!atomic_load(&l->is_stopping)) {
        l->n_events = wait_for_events(l);
        l->now_ns = clock_now(clock_system());
        for (l->event = 0; l->event < l->n_events; l->event++) {
            struct loop_watch *w = l->events[l->event].data.ptr;
            if (w)
                w->ready(w, l->events[l->event].events);
        }
        l->n_events = 0;
        run_mail(l);
        fire_timers(l);
    }
    run_mail(l);
    current = NULL;
}

void loop_stop(struct loop *l) {
    atomic_store(&l->is_stopping, true);
    wake(l);
}

int64_t loop_now_ns(const struct loop *l) {
    return l->now_ns;
}

bool loop_is_current(const struct loop *l) {
    return current == l;
}

void loop_set_user(struct loop *l, void *user) {
    l->user = user;
}

void *loop_user(const struct loop *l) {
    return l->user;
}
