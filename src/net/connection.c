/* connection.c - one accepted connection: bytes to exchanges and back.
 *
 * The socket is watched edge-triggered, so a request costs one recv and one sendmsg and no
 * epoll_ctl. connection_run() is the only place that moves a connection on or frees it; calls
 * that come back from a handler while it runs only change the state and return to it. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/server_internal.h"

/* --- buffers --- */

static void take_input(struct connection *c) {
    struct server_loop *home = c->home;
    if (c->input)
        return;
    c->input = home->n_inputs ? home->inputs[--home->n_inputs] : malloc(INPUT_SIZE);
    if (!c->input)
        abort();
    c->input_capacity = INPUT_SIZE;
    c->from = c->to = 0;
}

static void give_input(struct connection *c) {
    struct server_loop *home = c->home;
    if (c->input && c->input_capacity == INPUT_SIZE && home->n_inputs < POOL_MAX)
        home->inputs[home->n_inputs++] = c->input;
    else
        free(c->input);
    c->input = NULL;
    c->from = c->to = c->input_capacity = 0;
}

/* Makes input[0..used) the start of the buffer and leaves `room` behind it, for a head that has
 * not been parsed yet (no views exist). */
static void make_room(struct connection *c, size_t used, size_t room) {
    if (c->input_capacity - c->from - used >= room)
        return;
    memmove(c->input, c->input + c->from, c->to - c->from);
    c->to -= c->from;
    c->from = 0;
    if (c->input_capacity - used >= room)
        return;
    char *larger = realloc(c->input, INPUT_SIZE_MAX);
    if (!larger)
        abort();
    c->input = larger;
    c->input_capacity = INPUT_SIZE_MAX;
}

static void take_arena(struct connection *c) {
    struct server_loop *home = c->home;
    if (home->n_arenas > 0)
        c->x.arena = home->arenas[--home->n_arenas];
}

static void give_arena(struct connection *c) {
    struct server_loop *home = c->home;
    arena_reset(&c->x.arena);
    if (c->x.arena.blocks && home->n_arenas < POOL_MAX)
        home->arenas[home->n_arenas++] = c->x.arena;
    else
        arena_release(&c->x.arena);
    c->x.arena = (struct arena){0};
}

/* --- the socket --- */

size_t connection_read_socket(struct connection *c, char *p, size_t n) {
    if (!c->is_readable || c->saw_end)
        return 0;
    ssize_t got;
    do
        got = recv(c->watch.fd, p, n, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        c->is_readable = false;
        c->is_broken |= errno != EAGAIN;
        c->saw_end |= errno != EAGAIN;
        return 0;
    }
    if (got == 0) {
        c->saw_end = true;
        return 0;
    }
    if ((size_t)got < n && !c->hung_up)
        c->is_readable = false;
    return (size_t)got;
}

bool connection_read(struct connection *c) {
    if (!c->is_readable || c->saw_end)
        return false;
    take_input(c);
    size_t n = connection_read_socket(c, c->input + c->to, c->input_capacity - c->to);
    c->to += n;
    return n > 0;
}

void connection_push(struct connection *c, struct segment s) {
    if (c->out.size == 0)
        c->last_take_ns = loop_now_ns(c->home->loop);
    segment_queue_push(&c->out, s);
}

void connection_flush(struct connection *c) {
    size_t before = c->out.size;
    if (c->is_broken || !segment_queue_write(&c->out, c->watch.fd)) {
        c->is_broken = true;
        segment_queue_clear(&c->out);
        return;
    }
    if (c->out.size > 0)
        segment_queue_settle(&c->out);
    if (c->out.size != before)
        c->last_take_ns = loop_now_ns(c->home->loop);
}

/* --- time-outs --- */

static int64_t deadline(const struct connection *c) {
    const struct server_options *o = &c->home->server->options;
    int64_t now = loop_now_ns(c->home->loop), body_end = INT64_MAX;
    if (c->out.size > 0)
        return c->last_take_ns + o->write_timeout_ms * NS_PER_MS;
    switch (c->state) {
    case CONNECTION_HEAD:
        if (c->to > c->from)
            return c->began_ns + o->head_timeout_ms * NS_PER_MS;
        return now + o->idle_timeout_ms * NS_PER_MS;
    case CONNECTION_HANDLED:
        if (c->mode == BODY_COLLECTED || (c->mode == BODY_STREAMED && !c->is_paused))
            body_end = c->began_ns + o->body_grace_ms * NS_PER_MS +
                       (int64_t)c->x.bytes_in * (NS_PER_S / BODY_RATE_MIN);
        return body_end;
    case CONNECTION_ANSWERED:
        return INT64_MAX;
    case CONNECTION_DISCARD:
    case CONNECTION_LINGER:
        return c->began_ns + LINGER_TIMEOUT_MS * (int64_t)NS_PER_MS;
    }
    return INT64_MAX;
}

void connection_wait(struct connection *c) {
    loop_timer_set(c->home->loop, &c->timer, deadline(c));
}

static void timed_out(struct loop_timer *t) {
    struct connection *c = (struct connection *)((char *)t - offsetof(struct connection, timer));
    bool has_part = c->state == CONNECTION_HEAD && c->to > c->from;
    c->is_running = true; /* until what follows has settled */
    if (c->out.size == 0 && (has_part || c->state == CONNECTION_HANDLED)) {
        connection_refuse(c, 408,
                          has_part ? "the request's headers took too long"
                                   : "the request's body took too long");
    } else {
        segment_queue_clear(&c->out);
        c->is_broken = c->saw_end = true;
    }
    c->is_running = false;
    connection_run(c);
}

/* --- the end of exchanges and connections --- */

static void cancel(struct connection *c) {
    struct exchange *x = &c->x;
    if (x->is_cancelled || c->state != CONNECTION_HANDLED)
        return;
    x->is_cancelled = true;
    void (*on_cancel)(struct exchange *) = TAKE(x->on_cancel);
    if (on_cancel)
        on_cancel(x);
}

/* The response is on its way: what the exchange held is free now. */
static void end_exchange(struct connection *c) {
    give_arena(c);
    if (c->body)
        connection_body_drop(c);
    c->held = 0;
}

static void destroy(struct connection *c) {
    struct server_loop *home = c->home;
    loop_timer_clear(home->loop, &c->timer);
    loop_watch_remove(home->loop, &c->watch);
    close(c->watch.fd);
    segment_queue_done(&c->out);
    end_exchange(c);
    give_input(c);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    free(c);
    atomic_fetch_sub(&home->server->n_connections, 1);
    if (atomic_fetch_sub(&home->n_connections, 1) == 1 && home->is_draining)
        loop_stop(home->loop);
}

void connection_free(struct connection *c) {
    destroy(c);
}

void connection_linger(struct connection *c) {
    shutdown(c->watch.fd, SHUT_WR);
    c->state = CONNECTION_LINGER;
    c->began_ns = loop_now_ns(c->home->loop);
    c->x.bytes_in = 0;
}

void connection_refuse(struct connection *c, int code, const char *text) {
    struct exchange *x = &c->x;
    if (c->is_streaming) { /* too late for a status */
        segment_queue_clear(&c->out);
        c->is_broken = c->saw_end = true;
        return;
    }
    if (c->state == CONNECTION_HANDLED && c->mode == BODY_STREAMED) {
        c->mode = BODY_UNWANTED;
        c->is_broken = true; /* the handler answers, but nobody hears it */
        cancel(c);
        return;
    }
    if (c->state != CONNECTION_HANDLED) {
        *x = (struct exchange){.version_minor = 1, .arena = x->arena, .loop = c->home->loop};
        c->framing = (struct http1_body){0};
    }
    c->state = CONNECTION_HANDLED;
    c->mode = BODY_UNWANTED;
    str body = c->listen->error_body ? c->listen->error_body(&x->arena, code, text)
                                     : str_format(&x->arena, "{\"error\":\"%s\"}", text);
    exchange_respond(x, &(struct response){.status = code,
                                           .content_type = STR("application/json"),
                                           .body = &SEGMENT_STR(body),
                                           .n_body = 1,
                                           .close = true});
}

/* --- heads --- */

static void begin_exchange(struct connection *c, const struct http1_head *h) {
    struct exchange *x = &c->x;
    struct arena arena = x->arena;
    *x = (struct exchange){
        .method = h->method,
        .target = h->target,
        .path = h->path,
        .query = h->query,
        .version_minor = h->version_minor,
        .headers = h->headers,
        .n_headers = h->n_headers,
        .content_length = h->content_length,
        .body = STR(""),
        .arena = arena,
        .loop = c->home->loop,
        .started_ns = loop_now_ns(c->home->loop),
    };
    c->framing = http1_request_body(h);
    c->keep_alive = h->keep_alive;
    c->expects_continue = h->expects_continue && h->version_minor > 0;
    c->mode = BODY_UNWANTED;
    c->is_paused = false;
    c->is_streaming = false;
    c->drained = NULL;
    c->state = CONNECTION_HANDLED;
    c->began_ns = x->started_ns;
    c->listen->handle(c->listen->arg, x);
}

/* Parses the head that the scan has found and gives it to the handler. */
static http1_result take_head(struct connection *c, struct http1_error *e) {
    struct http1_head h;
    make_room(c, c->scan.at, BODY_ROOM_MIN);
    take_arena(c);
    if (http1_parse_request(&h, &c->scan, c->input + c->from, &c->x.arena, e) != HTTP1_OK)
        return HTTP1_BAD;
    c->from += c->scan.at;
    c->held = c->from;
    begin_exchange(c, &h);
    return HTTP1_OK;
}

/* Looks for a head in the input. True: something has happened. */
static bool step_head(struct connection *c) {
    struct http1_error e;
    if (c->to == c->from) {
        c->from = c->to = 0;
        c->began_ns = loop_now_ns(c->home->loop);
        return connection_read(c);
    }
    http1_result r = http1_scan(&c->scan, c->input + c->from, c->to - c->from, true, &e);
    if (r == HTTP1_OK)
        r = take_head(c, &e);
    if (r == HTTP1_BAD)
        connection_refuse(c, e.status, e.text);
    if (r != HTTP1_MORE)
        return true;
    make_room(c, c->to - c->from, 1);
    return connection_read(c);
}

/* --- answered --- */

/* Goes on to the next request, or to the end. */
static bool step_answered(struct connection *c) {
    if (c->out.size > 0)
        return false;
    end_exchange(c);
    bool has_rest = c->mode != BODY_OVER && c->framing.framing != HTTP1_NO_BODY;
    if (c->is_broken)
        return false;
    if (!c->keep_alive) {
        connection_linger(c);
        return true;
    }
    c->scan = (struct http1_scan){0};
    c->state = has_rest ? CONNECTION_DISCARD : CONNECTION_HEAD;
    c->began_ns = loop_now_ns(c->home->loop);
    c->x.bytes_in = 0;
    return true;
}

static bool step_linger(struct connection *c) {
    c->from = c->to = 0;
    if (!connection_read(c))
        return false;
    c->x.bytes_in += c->to;
    if (c->x.bytes_in > LINGER_SIZE_MAX)
        c->is_broken = true;
    return !c->is_broken;
}

/* --- the machine --- */

static bool step(struct connection *c) {
    switch (c->state) {
    case CONNECTION_HEAD:
        return step_head(c);
    case CONNECTION_HANDLED:
        return connection_body_step(c);
    case CONNECTION_ANSWERED:
        return step_answered(c);
    case CONNECTION_DISCARD:
        return connection_discard_step(c);
    case CONNECTION_LINGER:
        return step_linger(c);
    }
    return false;
}

/* True when nothing more will come of it. */
static bool is_finished(const struct connection *c) {
    if (c->state == CONNECTION_HANDLED)
        return false;
    if (c->is_broken)
        return true;
    if (c->state == CONNECTION_ANSWERED)
        return false;
    bool is_idle = c->state == CONNECTION_LINGER || c->to == c->from;
    return c->saw_end || (c->home->is_draining && is_idle);
}

/* Deals with a client that is gone while its request is handled. While the body is collected
 * nobody needs to know (exchange_collect() says so); otherwise the handler is told. */
static void note_absence(struct connection *c) {
    bool is_gone = c->saw_end || c->is_broken;
    if (c->state != CONNECTION_HANDLED)
        return;
    if (c->mode == BODY_COLLECTED && is_gone) {
        c->state = CONNECTION_ANSWERED;
        c->mode = BODY_OVER;
        c->is_broken = true;
        segment_queue_clear(&c->out);
    } else if (is_gone || (c->hung_up && (c->mode == BODY_OVER || c->mode == BODY_UNWANTED))) {
        cancel(c);
    }
}

void connection_run(struct connection *c) {
    if (c->is_running)
        return;
    c->is_running = true;
    do {
        while (step(c))
            ;
        note_absence(c);
    } while (c->state == CONNECTION_ANSWERED && c->out.size == 0 && !c->is_broken);
    c->is_running = false;
    if (is_finished(c)) {
        destroy(c);
        return;
    }
    if (c->state == CONNECTION_HEAD && c->to == c->from)
        give_input(c);
    connection_wait(c);
}

static void ready(struct loop_watch *w, uint32_t events) {
    struct connection *c = (struct connection *)w;
    c->is_readable |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    c->hung_up |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    c->is_broken |= (events & (EPOLLHUP | EPOLLERR)) != 0;
    if (c->out.size > 0) {
        connection_flush(c);
        if (c->out.size == 0 && c->state == CONNECTION_HANDLED && c->drained && !c->is_broken) {
            c->is_running = true; /* what the handler does now is settled below */
            c->drained(&c->x);
            c->is_running = false;
        }
    }
    connection_run(c);
}

void connection_open(struct server_loop *home, const struct server_listen *listen, int fd,
                     const struct net_address *peer) {
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->watch = (struct loop_watch){.ready = ready, .fd = fd};
    c->timer.fire = timed_out;
    c->home = home;
    c->listen = listen;
    c->peer = *peer;
    c->is_readable = true;
    c->next = home->connections;
    c->link = &home->connections;
    if (c->next)
        c->next->link = &c->next;
    home->connections = c;
    if (loop_watch_add(home->loop, &c->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, NULL) !=
        STATUS_OK)
        c->is_broken = true;
    connection_run(c);
}

void connection_cut(struct connection *c) {
    c->is_broken = c->saw_end = true;
    segment_queue_clear(&c->out);
    connection_run(c);
}
