#include "net/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "net/server_internal.h"

enum { ACCEPTS_PER_EVENT = 16, ACCEPT_PAUSE_MS = 50 };

/* A new connection on its way to the loop that will have it. */
struct arrival {
    struct loop_task task;
    struct server_loop *home;
    const struct server_listen *listen;
    struct net_address peer;
    int fd;
};

/* --- accepting --- */

static struct server_loop *least_busy(struct server *s, struct server_loop *self) {
    struct server_loop *best = self;
    size_t least = atomic_load_explicit(&self->n_connections, memory_order_relaxed);
    for (int i = 0; i < s->n_loops; i++) {
        size_t n = atomic_load_explicit(&s->loops[i].n_connections, memory_order_relaxed);
        if (n < least) {
            least = n;
            best = &s->loops[i];
        }
    }
    return best;
}

static void arrive(struct loop_task *t) {
    struct arrival *a = (struct arrival *)t;
    connection_open(a->home, a->listen, a->fd, &a->peer);
    free(a);
}

static void admit(struct server_loop *self, const struct server_listen *listen, int fd,
                  const struct net_address *peer) {
    struct server *s = self->server;
    if (atomic_load(&s->n_connections) >= s->options.connections_max || atomic_load(&s->is_over)) {
        close(fd);
        return;
    }
    struct server_loop *home = least_busy(s, self);
    atomic_fetch_add(&home->n_connections, 1);
    atomic_fetch_add(&s->n_connections, 1);
    if (home == self) {
        connection_open(self, listen, fd, peer);
        return;
    }
    struct arrival *a = malloc(sizeof *a);
    if (!a)
        abort();
    *a = (struct arrival){
        .task.run = arrive, .home = home, .listen = listen, .peer = *peer, .fd = fd};
    loop_post(home->loop, &a->task);
}

static void watch_listeners(struct server_loop *self) {
    for (size_t i = 0; i < self->server->options.n_listens; i++) {
        struct accept_watch *a = &self->accepts[i];
        if (!a->is_watched)
            a->is_watched =
                loop_watch_add(self->loop, &a->watch, EPOLLIN | EPOLLEXCLUSIVE, NULL) == STATUS_OK;
    }
}

static void unwatch_listeners(struct server_loop *self) {
    for (size_t i = 0; i < self->server->options.n_listens; i++) {
        if (self->accepts[i].is_watched)
            loop_watch_remove(self->loop, &self->accepts[i].watch);
        self->accepts[i].is_watched = false;
    }
}

static void accept_again(struct loop_timer *t) {
    watch_listeners((struct server_loop *)((char *)t - offsetof(struct server_loop, pause)));
}

/* Out of descriptors: who comes waits in the kernel's queue. A listener that is still watched
 * would be reported without end. */
static void pause_accepting(struct server_loop *self) {
    unwatch_listeners(self);
    self->pause.fire = accept_again;
    loop_timer_set(self->loop, &self->pause, loop_now_ns(self->loop) + ACCEPT_PAUSE_MS * NS_PER_MS);
}

static void accept_ready(struct loop_watch *w, uint32_t events) {
    (void)events;
    const struct accept_watch *aw = (const struct accept_watch *)w;
    struct server_loop *self = aw->self;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        struct net_address peer = {.size = sizeof peer.sa};
        int fd = accept4(w->fd, &peer.sa.any, &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
            pause_accepting(self);
        if (fd < 0)
            return;
        admit(self, &self->server->listens[aw->index], fd, &peer);
    }
}

/* --- loops --- */

static void close_listens(struct server *s) {
    for (size_t i = 0; i < s->options.n_listens; i++) {
        if (s->listens[i].fd >= 0)
            close(s->listens[i].fd);
        s->listens[i].fd = -1;
    }
}

/* The last loop that stops closes the sockets: who comes then is refused at once, and can go
 * elsewhere, where the kernel would else take connections that nobody answers. */
static void stop_listening(struct server_loop *self) {
    loop_timer_clear(self->loop, &self->pause);
    unwatch_listeners(self);
    if (atomic_fetch_sub(&self->server->n_listening, 1) == 1)
        close_listens(self->server);
}

static void run_loop(void *arg) {
    struct server_loop *self = arg;
    const struct server_options *o = &self->server->options;
    if (o->loop_started)
        o->loop_started(o->loop_arg, self->loop, self->index);
    loop_run(self->loop);
    if (o->loop_ending)
        o->loop_ending(o->loop_arg, self->loop, self->index);
}

static void cut_rest(struct loop_timer *t) {
    struct server_loop *self =
        (struct server_loop *)((char *)t - offsetof(struct server_loop, drain_end));
    for (struct connection *c = self->connections, *next; c; c = next) {
        next = c->next;
        connection_cut(c);
    }
    loop_stop(self->loop);
}

static void drain(struct loop_task *t) {
    struct server_loop *self =
        (struct server_loop *)((char *)t - offsetof(struct server_loop, drain));
    stop_listening(self);
    self->is_draining = true;
    for (struct connection *c = self->connections, *next; c; c = next) {
        next = c->next;
        connection_run(c);
    }
    if (atomic_load(&self->n_connections) == 0) {
        loop_stop(self->loop);
        return;
    }
    self->drain_end.fire = cut_rest;
    loop_timer_set(self->loop, &self->drain_end,
                   loop_now_ns(self->loop) + self->server->drain_timeout_ms * NS_PER_MS);
}

static status start_loop(struct server *s, int index, struct error *err) {
    struct server_loop *self = &s->loops[index];
    self->server = s;
    self->index = index;
    self->drain.run = drain;
    TRY(loop_new(&self->loop, err));
    for (size_t i = 0; i < s->options.n_listens; i++) {
        self->accepts[i] = (struct accept_watch){
            .watch = {.ready = accept_ready, .fd = s->listens[i].fd}, .self = self, .index = i};
        TRY(loop_watch_add(self->loop, &self->accepts[i].watch, EPOLLIN | EPOLLEXCLUSIVE, err));
        self->accepts[i].is_watched = true;
    }
    return STATUS_OK;
}

/* --- the server --- */

static status open_listens(struct server *s, const struct server_options *o, struct error *err) {
    for (size_t i = 0; i < o->n_listens; i++) {
        s->listens[i] = o->listens[i];
        if (o->listens[i].address)
            s->listens[i].fd = -1;
    }
    for (size_t i = 0; i < o->n_listens; i++) {
        struct net_address a;
        if (o->listens[i].address) {
            TRY(net_address_resolve(&a, str_from_c(o->listens[i].address), err));
            TRY(net_listen(&s->listens[i].fd, &a, err));
        }
        int flags = fcntl(s->listens[i].fd, F_GETFL);
        if (flags < 0 || fcntl(s->listens[i].fd, F_SETFL, flags | O_NONBLOCK) != 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "descriptor %d: %s", s->listens[i].fd,
                             strerror(errno));
        TRY(net_address_of_socket(&s->addresses[i], s->listens[i].fd, err));
    }
    return STATUS_OK;
}

static void set_default(int64_t *value, int64_t to) {
    if (*value == 0)
        *value = to;
}

status server_start(struct server **out, const struct server_options *o, struct error *err) {
    if (o->n_listens > SERVER_LISTENS_MAX || o->n_loops > SERVER_LOOPS_MAX || o->n_loops < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%zu listeners and %d loops, at most %d and %d", o->n_listens, o->n_loops,
                         SERVER_LISTENS_MAX, SERVER_LOOPS_MAX);
    CLEANUP(server_freep) struct server *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a server");
    s->options = *o;
    s->n_loops = o->n_loops ? o->n_loops : 1;
    if (!s->options.connections_max)
        s->options.connections_max = SERVER_CONNECTIONS_MAX;
    if (!s->options.bodies_size_max)
        s->options.bodies_size_max = SERVER_BODIES_SIZE_MAX;
    set_default(&s->options.idle_timeout_ms, IDLE_TIMEOUT_MS);
    set_default(&s->options.head_timeout_ms, HEAD_TIMEOUT_MS);
    set_default(&s->options.body_grace_ms, BODY_GRACE_MS);
    set_default(&s->options.write_timeout_ms, WRITE_TIMEOUT_MS);
    s->loops = calloc((size_t)s->n_loops, sizeof *s->loops);
    if (!s->loops)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for loops");
    TRY(open_listens(s, o, err));
    for (int i = 0; i < s->n_loops; i++)
        TRY(start_loop(s, i, err));
    atomic_store(&s->n_listening, s->n_loops);
    for (int i = 0; i < s->n_loops; i++) {
        char name[16];
        snprintf(name, sizeof name, "net-%d", i);
        TRY(thread_start(&s->loops[i].thread, name, run_loop, &s->loops[i], err));
        s->n_started++;
    }
    *out = TAKE(s);
    return STATUS_OK;
}

const struct net_address *server_address(const struct server *s, size_t index) {
    return &s->addresses[index];
}

int server_port(const struct server *s, size_t index) {
    return net_address_port(&s->addresses[index]);
}

struct loop *server_loop(const struct server *s, int index) {
    return s->loops[index].loop;
}

size_t server_n_connections(const struct server *s) {
    return atomic_load(&s->n_connections);
}

void server_drain(struct server *s, int64_t timeout_ms) {
    if (atomic_exchange(&s->is_over, true))
        return;
    s->drain_timeout_ms = timeout_ms;
    for (int i = 0; i < s->n_started; i++)
        loop_post(s->loops[i].loop, &s->loops[i].drain);
    for (int i = 0; i < s->n_started; i++)
        thread_join(s->loops[i].thread);
    close_listens(s);
}

static void free_loop(struct server_loop *self) {
    if (!self->loop)
        return;
    while (self->connections)
        connection_free(self->connections);
    for (size_t i = 0; i < self->n_inputs; i++)
        free(self->inputs[i]);
    for (size_t i = 0; i < self->n_arenas; i++)
        arena_release(&self->arenas[i]);
    loop_free(self->loop);
}

void server_free(struct server *s) {
    if (!s)
        return;
    server_drain(s, 0);
    close_listens(s);
    for (int i = 0; s->loops && i < s->n_loops; i++)
        free_loop(&s->loops[i]);
    free(s->loops);
    free(s);
}
