/* client.c - calls to other servers. A connection carries one call at a time; client_run() is the
 * only place that moves it on or frees it. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/client_internal.h"

const char *call_result_name(call_result r) {
    static const char *const names[] = {"done",      "connect failed", "not sent", "no response",
                                        "cut short", "timed out",      "not HTTP", "cancelled"};
    return names[r];
}

/* --- connections --- */

static void take_input(struct client_connection *c) {
    struct client *client = c->peer->client;
    if (!c->input)
        c->input = client->n_inputs ? client->inputs[--client->n_inputs] : malloc(INPUT_SIZE);
    if (!c->input)
        abort();
}

static void give_input(struct client_connection *c) {
    struct client *client = c->peer->client;
    if (c->input && client->n_inputs < INPUTS_MAX)
        client->inputs[client->n_inputs++] = c->input;
    else
        free(c->input);
    c->input = NULL;
    c->from = c->to = 0;
}

static void destroy(struct client_connection *c) {
    struct client_peer *p = c->peer;
    for (struct client_connection **at = &p->idle; *at; at = &(*at)->next_idle) {
        if (*at == c) {
            *at = c->next_idle;
            p->n_idle--;
            break;
        }
    }
    loop_timer_clear(p->client->loop, &c->timer);
    if (c->watch.fd >= 0) {
        loop_watch_remove(p->client->loop, &c->watch);
        close(c->watch.fd);
    }
    segment_queue_done(&c->out);
    arena_release(&c->arena);
    free(c->head);
    give_input(c);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    p->n_connections--;
    free(c);
    if (p->is_forgotten && p->n_connections == 0 && p->n_calls == 0)
        free(p);
}

static void client_run(struct client_connection *c);

static void ready(struct loop_watch *w, uint32_t events) {
    struct client_connection *c = (struct client_connection *)w;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->is_readable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP))
        c->hung_up = true;
    if (!c->is_connected && events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        socklen_t size = sizeof c->error;
        getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &c->error, &size);
        c->is_connected = c->error == 0;
        c->is_broken = c->error != 0;
        if (c->call)
            loop_timer_set(c->peer->client->loop, &c->timer, c->deadline_ns);
    }
    client_run(c);
}

static void timed_out(struct loop_timer *t) {
    struct client_connection *c =
        (struct client_connection *)((char *)t - offsetof(struct client_connection, timer));
    c->is_timed_out = c->is_broken = true;
    client_run(c);
}

/* A new connection, being connected; it has a `call` so that failures find their way. */
static struct client_connection *dial(struct client_peer *p) {
    struct client_connection *c = calloc(1, sizeof *c);
    int one = 1;
    if (!c)
        abort();
    c->peer = p;
    c->timer.fire = timed_out;
    c->next = p->all;
    c->link = &p->all;
    if (c->next)
        c->next->link = &c->next;
    p->all = c;
    p->n_connections++;
    int fd = socket(p->address.sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    c->watch = (struct loop_watch){.ready = ready, .fd = fd};
    if (fd < 0) {
        c->error = errno;
        c->is_broken = true;
        return c;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* a unix socket refuses: fine */
    c->is_connected = connect(fd, &p->address.sa.any, p->address.size) == 0;
    c->error = c->is_connected || errno == EINPROGRESS ? 0 : errno;
    if (c->error == 0 &&
        loop_watch_add(p->client->loop, &c->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                       NULL) != STATUS_OK)
        c->error = ENOMEM;
    c->is_broken = c->error != 0;
    return c;
}

static struct client_connection *take_connection(struct client_peer *p) {
    struct client_connection *c = p->idle;
    if (c) {
        p->idle = c->next_idle;
        p->n_idle--;
        c->next_idle = NULL;
        return c;
    }
    return p->n_connections < CLIENT_CONNECTIONS_MAX ? dial(p) : NULL;
}

static void flush(struct client_connection *c) {
    size_t before = c->out.size;
    if (!c->is_connected || c->is_broken) {
        segment_queue_settle(&c->out);
        return;
    }
    bool is_fine = segment_queue_write(&c->out, c->watch.fd);
    c->sent_any |= c->out.size < before;
    if (is_fine) {
        segment_queue_settle(&c->out);
        return;
    }
    c->error = errno;
    c->is_readable = true;
    segment_queue_clear(&c->out);
    c->is_streaming = false;
    if (!c->sent_any)
        c->is_broken = true; /* else it may have answered before it closed: read on */
}

/* --- responses --- */

/* Reads once. False: nothing there (or the end, or an error, noted). */
static bool read_input(struct client_connection *c) {
    if (!c->is_readable || c->saw_end || c->is_broken || !c->is_connected)
        return false;
    take_input(c);
    size_t room = INPUT_SIZE - c->to;
    ssize_t n;
    do
        n = recv(c->watch.fd, c->input + c->to, room, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        c->is_readable = false;
        return false;
    }
    if (n <= 0) {
        c->error = n < 0 ? errno : 0;
        c->saw_end = true;
        return false;
    }
    if ((size_t)n < room && !c->hung_up)
        c->is_readable = false; /* a short read: the socket is empty */
    c->to += (size_t)n;
    c->got_any = true;
    return true;
}

/* The next piece of the response's body. HTTP1_MORE: the socket is empty. */
static http1_result next_piece(struct client_connection *c, str *data) {
    for (;;) {
        size_t used = 0;
        http1_result r =
            http1_body_next(&c->framing, c->input + c->from, c->to - c->from, &used, data, &c->bad);
        c->from += used;
        if (r != HTTP1_MORE)
            return r;
        c->from = c->to = 0;
        if (!read_input(c))
            return HTTP1_MORE;
    }
}

/* Is the body over, as far as the input tells without reading? Then its end is consumed. */
static bool is_complete(struct client_connection *c) {
    struct http1_body ahead = c->framing;
    size_t used = 0;
    str data;
    if (http1_body_next(&ahead, c->input + c->from, c->to - c->from, &used, &data, &c->bad) !=
        HTTP1_END)
        return false;
    c->framing = ahead;
    c->from += used;
    return true;
}

static void give_response(struct client_connection *c) {
    struct client_response r = {
        .status = c->response.status,
        .headers = c->response.headers,
        .n_headers = c->response.n_headers,
        .content_length = c->response.is_chunked ? -1 : c->response.content_length,
        .body = STR(""),
    };
    size_t used = 0;
    struct http1_body framing = c->framing;
    if (http1_body_next(&framing, c->input + c->from, c->to - c->from, &used, &r.body, &c->bad) ==
        HTTP1_OK) {
        c->framing = framing;
        c->from += used;
    } else {
        r.body = STR("");
    }
    r.is_complete = is_complete(c);
    c->has_head = true;
    if (c->call->on_response)
        c->call->on_response(c->call, &r);
}

typedef enum progress { PROGRESS_SOME, PROGRESS_NONE, PROGRESS_OVER, PROGRESS_BAD } progress;

static progress step_head(struct client_connection *c) {
    if (c->to == c->from)
        return read_input(c) ? PROGRESS_SOME : PROGRESS_NONE;
    http1_result r = http1_scan(&c->scan, c->input + c->from, c->to - c->from, false, &c->bad);
    if (r == HTTP1_MORE)
        return read_input(c) ? PROGRESS_SOME : PROGRESS_NONE;
    if (r == HTTP1_OK)
        r = http1_parse_response(&c->response, &c->scan, c->input + c->from, &c->arena, &c->bad);
    if (r == HTTP1_BAD)
        return PROGRESS_BAD;
    c->from += c->scan.at;
    c->scan = (struct http1_scan){0};
    if (c->response.status < 200)
        return PROGRESS_SOME; /* informational: the real one follows */
    c->framing = http1_response_body(&c->response, c->is_head_request);
    c->keep_alive = c->response.keep_alive && c->framing.framing != HTTP1_UNTIL_CLOSE;
    give_response(c);
    return PROGRESS_SOME;
}

static progress step_body(struct client_connection *c) {
    str data;
    if (c->is_paused)
        return PROGRESS_NONE;
    switch (next_piece(c, &data)) {
    case HTTP1_END:
        return PROGRESS_OVER;
    case HTTP1_BAD:
        return PROGRESS_BAD;
    case HTTP1_MORE:
        return c->saw_end && c->framing.framing == HTTP1_UNTIL_CLOSE && c->error == 0
                   ? PROGRESS_OVER
                   : PROGRESS_NONE;
    case HTTP1_OK:
        break;
    }
    if (c->call->on_body)
        c->call->on_body(c->call, data);
    return PROGRESS_SOME;
}

/* --- the end of calls --- */

static call_result classify(const struct client_connection *c, progress p) {
    if (p == PROGRESS_OVER)
        return CALL_DONE;
    if (p == PROGRESS_BAD)
        return CALL_BAD_RESPONSE;
    if (!c->is_connected)
        return CALL_CONNECT_FAILED;
    if (c->is_timed_out)
        return CALL_TIMED_OUT;
    if (c->got_any)
        return CALL_CUT;
    return c->sent_any ? CALL_NO_RESPONSE : CALL_NOT_SENT;
}

static void describe(const struct client_connection *c, call_result r, struct error *err) {
    static const status codes[] = {
        [CALL_DONE] = STATUS_OK,
        [CALL_CONNECT_FAILED] = STATUS_UNAVAILABLE,
        [CALL_NOT_SENT] = STATUS_UNAVAILABLE,
        [CALL_NO_RESPONSE] = STATUS_UNAVAILABLE,
        [CALL_CUT] = STATUS_UNAVAILABLE,
        [CALL_TIMED_OUT] = STATUS_DEADLINE_EXCEEDED,
        [CALL_BAD_RESPONSE] = STATUS_DATA_LOSS,
        [CALL_CANCELLED] = STATUS_CANCELLED,
    };
    const char *why = r == CALL_BAD_RESPONSE ? c->bad.text
                      : c->is_timed_out      ? "no answer in time"
                      : c->error             ? strerror(c->error)
                                             : "the connection was closed";
    error_set(err, codes[r], "%s: %s: %s", c->peer->name, call_result_name(r), why);
}

static void make_idle(struct client_connection *c) {
    struct client_peer *p = c->peer;
    arena_reset(&c->arena);
    give_input(c);
    c->next_idle = p->idle;
    p->idle = c;
    p->n_idle++;
    loop_timer_set(p->client->loop, &c->timer,
                   loop_now_ns(p->client->loop) + CLIENT_IDLE_MS * (int64_t)NS_PER_MS);
}

/* Gives the result to the caller, after the connection has found its next state: a call that is
 * started in on_done may use it at once. */
static void end_call(struct client_connection *c, call_result r) {
    struct client_call *call = TAKE(c->call);
    struct client_peer *p = c->peer;
    struct error err;
    if (r != CALL_DONE)
        describe(c, r, &err);
    bool stays = r == CALL_DONE && c->keep_alive && !c->hung_up && !c->saw_end && !c->is_broken &&
                 c->out.size == 0 && !c->is_streaming && c->to == c->from && !p->is_forgotten &&
                 p->n_idle < CLIENT_IDLE_MAX;
    segment_queue_clear(&c->out);
    c->is_running = false;
    if (stays)
        make_idle(c);
    else
        destroy(c);
    call->connection = NULL;
    call->is_open = false;
    p->n_calls--;
    bool was_last = p->is_forgotten && p->n_connections == 0 && p->n_calls == 0;
    call->on_done(call, r, r == CALL_DONE ? NULL : &err);
    if (was_last)
        free(p);
}

static void client_run(struct client_connection *c) {
    if (c->is_running)
        return;
    if (!c->call) { /* idle: whatever happens ends it */
        char byte;
        bool is_quiet = !c->is_broken && !c->saw_end &&
                        recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
        c->is_readable = false;
        if (!is_quiet)
            destroy(c);
        return;
    }
    c->is_running = true;
    bool had_queue = c->out.size > 0;
    flush(c);
    if (had_queue && c->out.size == 0 && c->is_streaming && c->call->on_drain)
        c->call->on_drain(c->call);
    progress p = PROGRESS_SOME;
    while (p == PROGRESS_SOME && c->call && !c->is_broken)
        p = c->has_head ? step_body(c) : step_head(c);
    if (c->call && (p == PROGRESS_OVER || p == PROGRESS_BAD || c->is_broken ||
                    (c->saw_end && !c->is_paused))) {
        end_call(c, classify(c, p));
        return;
    }
    c->is_running = false;
    if (!c->call) {
        destroy(c); /* cancelled meanwhile */
        return;
    }
    if (c->got_any) {
        struct loop *l = c->peer->client->loop;
        loop_timer_set(l, &c->timer,
                       c->is_paused ? INT64_MAX
                                    : loop_now_ns(l) + CLIENT_STALL_MS * (int64_t)NS_PER_MS);
    }
}

/* --- public --- */

status client_new(struct client **out, struct loop *l, struct error *err) {
    struct client *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a client");
    c->loop = l;
    *out = c;
    return STATUS_OK;
}

void client_free(struct client *c) {
    if (!c)
        return;
    for (size_t i = 0; i < c->peers.n; i++)
        if (c->peers.entries[i].value)
            client_forget(c->peers.entries[i].value);
    map_done(&c->peers);
    for (size_t i = 0; i < c->n_inputs; i++)
        free(c->inputs[i]);
    free(c);
}

status client_peer(struct client_peer **out, struct client *c, str address, struct error *err) {
    struct client_peer *p = map_get(&c->peers, address);
    if (!p) {
        struct net_address a;
        TRY(net_address_parse(&a, address, err));
        p = calloc(1, sizeof *p);
        if (!p)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a peer");
        p->client = c;
        p->address = a;
        net_address_format(&a, p->name);
        map_set(&c->peers, address, p);
    }
    *out = p;
    return STATUS_OK;
}

size_t client_peer_n_open(const struct client_peer *p) {
    return p->n_calls;
}

void client_forget(struct client_peer *p) {
    struct map *peers = &p->client->peers;
    for (size_t i = 0; i < peers->n; i++) {
        if (peers->entries[i].value == p) {
            map_remove(peers, peers->entries[i].key);
            break;
        }
    }
    p->n_calls++; /* so that destroy() does not free it under our feet */
    p->is_forgotten = true;
    while (p->idle)
        destroy(p->idle);
    if (--p->n_calls == 0 && p->n_connections == 0)
        free(p);
}

void client_start(struct client_peer *p, struct client_call *call, const struct client_request *r) {
    struct client_connection *c = take_connection(p);
    struct loop *loop = p->client->loop;
    call->connection = c;
    call->is_open = true;
    p->n_calls++;
    if (!c) {
        struct error err;
        error_set(&err, STATUS_RESOURCE_EXHAUSTED, "%s: %d connections are in use", p->name,
                  CLIENT_CONNECTIONS_MAX);
        segments_release(r->body, r->n_body);
        call->is_open = false;
        p->n_calls--;
        call->on_done(call, CALL_CONNECT_FAILED, &err);
        return;
    }
    c->call = call;
    c->is_paused = c->sent_any = c->got_any = c->has_head = c->keep_alive = c->is_timed_out = false;
    c->is_streaming = r->is_streamed;
    c->sends_chunks = r->is_streamed && r->content_length < 0;
    c->is_head_request = str_eq(r->method, STR("HEAD"));
    c->scan = (struct http1_scan){0};
    client_push_head(c, r);
    client_push_body(c, r->body, r->n_body);
    int64_t now = loop_now_ns(loop), connected = now + CLIENT_CONNECT_MS * (int64_t)NS_PER_MS;
    c->deadline_ns = r->timeout_ms ? now + r->timeout_ms * NS_PER_MS : INT64_MAX;
    bool connects_first = !c->is_connected && c->deadline_ns > connected;
    loop_timer_set(loop, &c->timer, connects_first ? connected : c->deadline_ns);
    client_run(c);
}

size_t client_write(struct client_call *call, const struct segment *segments, size_t n,
                    bool is_last) {
    struct client_connection *c = call->connection;
    if (!c || !c->is_streaming) { /* the server has hung up or answered already */
        segments_release(segments, n);
        return 0;
    }
    client_push_body(c, segments, n);
    if (is_last && c->sends_chunks)
        segment_queue_push(&c->out, SEGMENT_STR(STR("0\r\n\r\n")));
    if (is_last)
        c->is_streaming = false;
    flush(c);
    return c->out.size;
}

void client_pause(struct client_call *call) {
    if (call->connection)
        call->connection->is_paused = true;
}

void client_resume(struct client_call *call) {
    if (!call->connection)
        return;
    call->connection->is_paused = false;
    client_run(call->connection);
}

void client_cancel(struct client_call *call) {
    struct client_connection *c = call->connection;
    if (!call->is_open || !c)
        return;
    struct client_peer *p = c->peer;
    struct error err;
    error_set(&err, STATUS_CANCELLED, "%s: cancelled", p->name);
    c->call = NULL;
    c->is_broken = true;
    segment_queue_clear(&c->out);
    if (!c->is_running)
        destroy(c);
    call->connection = NULL;
    call->is_open = false;
    p->n_calls--;
    bool was_last = p->is_forgotten && p->n_connections == 0 && p->n_calls == 0;
    call->on_done(call, CALL_CANCELLED, &err);
    if (was_last)
        free(p);
}
