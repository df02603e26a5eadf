#include "net/loop.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "support/test.h"

static struct loop *new_loop(void) {
    struct loop *l = NULL;
    CHECK_EQ(loop_new(&l, NULL), STATUS_OK);
    return l;
}

struct probe {
    struct loop_timer timer;
    struct loop *loop;
    int *order, id;
    bool is_last;
};

static void fired(struct loop_timer *t) {
    struct probe *p = (struct probe *)t;
    *p->order = *p->order * 10 + p->id;
    if (p->is_last)
        loop_stop(p->loop);
}

TEST(loop_fires_timers_in_order_and_not_those_cleared) {
    CLEANUP(loop_freep) struct loop *l = new_loop();
    int order = 0;
    struct probe p[4];
    for (int i = 0; i < 4; i++)
        p[i] = (struct probe){
            .timer.fire = fired, .loop = l, .order = &order, .id = i + 1, .is_last = i == 0};
    int64_t now = loop_now_ns(l);
    loop_timer_set(l, &p[0].timer, now + 30 * NS_PER_MS);
    loop_timer_set(l, &p[1].timer, now + 1 * NS_PER_MS);
    loop_timer_set(l, &p[2].timer, now + 5 * NS_PER_MS);
    loop_timer_set(l, &p[3].timer, now + 8 * NS_PER_MS);
    loop_timer_set(l, &p[1].timer, now + 10 * NS_PER_MS); /* later */
    loop_timer_set(l, &p[2].timer, now + 12 * NS_PER_MS); /* later, then sooner */
    loop_timer_set(l, &p[2].timer, now + 2 * NS_PER_MS);
    loop_timer_clear(l, &p[3].timer);
    loop_run(l);
    CHECK_EQ(order, 321);
    CHECK(clock_now(clock_system()) - now >= 30 * NS_PER_MS);
}

TEST(loop_keeps_a_large_heap_in_order) {
    CLEANUP(loop_freep) struct loop *l = new_loop();
    enum { N = 500 };
    int order = 0;
    struct probe *p = calloc(N, sizeof *p);
    int64_t now = loop_now_ns(l);
    for (int i = 0; i < N; i++) {
        p[i] = (struct probe){.timer.fire = fired, .loop = l, .order = &order};
        loop_timer_set(l, &p[i].timer, now + (i * 7919 % N) * 1000);
    }
    for (int i = 0; i < N; i += 3)
        loop_timer_clear(l, &p[i].timer);
    struct probe end = {.timer.fire = fired, .loop = l, .order = &order, .is_last = true};
    loop_timer_set(l, &end.timer, now + NS_PER_MS);
    loop_run(l);
    for (int i = 0; i < N; i++)
        CHECK_EQ(p[i].timer.slot, 0);
    free(p);
}

enum { N_POSTS = 20000 };
struct message {
    struct loop_task task;
    struct loop *loop;
    int *seen, value;
};

static void receive(struct loop_task *t) {
    struct message *m = (struct message *)t;
    CHECK(loop_is_current(m->loop));
    CHECK_EQ(*m->seen, m->value);
    if (++*m->seen == N_POSTS)
        loop_stop(m->loop);
}

static void post_all(void *arg) {
    struct message *m = arg;
    for (int i = 0; i < N_POSTS; i++)
        loop_post(m[i].loop, &m[i].task);
}

TEST(loop_receives_posts_of_a_thread_in_order) {
    CLEANUP(loop_freep) struct loop *l = new_loop();
    int seen = 0;
    struct message *m = calloc(N_POSTS, sizeof *m);
    for (int i = 0; i < N_POSTS; i++)
        m[i] = (struct message){.task.run = receive, .loop = l, .seen = &seen, .value = i};
    pthread_t t;
    CHECK_EQ(thread_start(&t, "poster", post_all, m, NULL), STATUS_OK);
    loop_run(l);
    thread_join(t);
    CHECK_EQ(seen, N_POSTS);
    free(m);
}

struct pair {
    struct loop_watch a, b;
    struct loop *loop;
    int n_ready;
};

static void a_ready(struct loop_watch *w, uint32_t events) {
    struct pair *p = (struct pair *)((char *)w - offsetof(struct pair, a));
    (void)events;
    p->n_ready++;
    loop_watch_remove(p->loop, &p->a);
    loop_watch_remove(p->loop, &p->b);
    loop_stop(p->loop);
}

static void b_ready(struct loop_watch *w, uint32_t events) {
    struct pair *p = (struct pair *)((char *)w - offsetof(struct pair, b));
    a_ready(&p->a, events);
}

TEST(loop_does_not_call_a_watch_removed_in_the_same_round) {
    CLEANUP(loop_freep) struct loop *l = new_loop();
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct pair p = {
        .a = {.ready = a_ready, .fd = fds[0]}, .b = {.ready = b_ready, .fd = fds[1]}, .loop = l};
    CHECK_EQ(loop_watch_add(l, &p.a, EPOLLOUT, NULL), STATUS_OK);
    CHECK_EQ(loop_watch_add(l, &p.b, EPOLLOUT, NULL), STATUS_OK);
    loop_run(l);
    CHECK_EQ(p.n_ready, 1);
    close(fds[0]);
    close(fds[1]);
}
