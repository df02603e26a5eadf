/* loop.h - one thread that waits for sockets, timers and messages.
 *
 * A loop is run by one thread; everything in this file belongs to that thread, except
 * loop_post() and loop_stop(), which any thread may call. What runs on a loop never blocks. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/attr.h"
#include "base/status.h"

struct loop;

NODISCARD status loop_new(struct loop **out, struct error *err);
void loop_free(struct loop *l); /* after loop_run() has returned; mail that is left is not run */
DEFINE_CLEANUP(struct loop, loop_free)

/* Runs until loop_stop(). What was posted before loop_stop() is run first. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l); /* any thread; also before loop_run() */

/* The monotonic clock as read when the loop last woke up: free to ask. */
int64_t loop_now_ns(const struct loop *l);

/* True on the thread that is in loop_run(l). */
bool loop_is_current(const struct loop *l);

/* One pointer for the owner, such as a pool of connections per loop. */
void loop_set_user(struct loop *l, void *user);
void *loop_user(const struct loop *l);

/* A message. The poster owns the node (embed it in what it is about) and leaves it alone
 * from loop_post() until `run` is called, on the loop's thread; `run` may free it or post it
 * again. Messages from one thread arrive in order. */
struct loop_task {
    void (*run)(struct loop_task *t);
    struct loop_task *next; /* the mailbox's */
};
void loop_post(struct loop *l, struct loop_task *t); /* any thread; no allocation, no lock */

/* A timer, embedded in its owner. Zeroed with `fire` set is a timer that is not armed. */
struct loop_timer {
    void (*fire)(struct loop_timer *t);
    int64_t deadline_ns; /* monotonic */
    int64_t key_ns;      /* the heap's: at most deadline_ns */
    size_t slot;         /* the heap's: index + 1, 0: not armed */
};
/* Arms or moves the timer. Moving a deadline back costs nothing, so a time-out may be moved
 * for every request. Fires once, not before the deadline. */
void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t deadline_ns);
void loop_timer_clear(struct loop *l, struct loop_timer *t); /* disarms; before freeing it */

/* A file descriptor to watch, embedded in its owner. */
struct loop_watch {
    void (*ready)(struct loop_watch *w, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP... */
    int fd;
};
/* `events` as for epoll_ctl(2), EPOLLET and EPOLLEXCLUSIVE included. */
NODISCARD status loop_watch_add(struct loop *l, struct loop_watch *w, uint32_t events,
                                struct error *err);
/* Before the descriptor is closed. `ready` is not called any more, not even for events that
 * the loop had already fetched. */
void loop_watch_remove(struct loop *l, struct loop_watch *w);

#endif
