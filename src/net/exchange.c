#include "net/exchange.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "net/server_internal.h"

str exchange_header(const struct exchange *x, str name) {
    return http_header_find(x->headers, x->n_headers, name);
}

const struct net_address *exchange_peer(const struct exchange *x) {
    return &connection_of(x)->peer;
}

/* --- the response's head --- */

static char *put_status_line(char *to, int code) {
    if (code == 200)
        return str_put(to, STR("HTTP/1.1 200 OK\r\n"));
    to = str_put_u64(str_put(to, STR("HTTP/1.1 ")), (uint64_t)code);
    *to++ = ' ';
    return str_put(str_put(to, str_from_c(http_reason(code))), STR("\r\n"));
}

enum { HEAD_OVERHEAD = 256 }; /* status line and the connection's own headers */

static void push_head(struct connection *c, const struct response *r, int64_t content_length) {
    size_t size = HEAD_OVERHEAD + r->content_type.n;
    for (size_t i = 0; i < r->n_headers; i++)
        size += r->headers[i].name.n + r->headers[i].value.n + 4;
    char *head = arena_alloc(&c->x.arena, size, 1), *to = put_status_line(head, r->status);
    if (r->content_type.n)
        to = str_put(str_put(str_put(to, STR("Content-Type: ")), r->content_type), STR("\r\n"));
    for (size_t i = 0; i < r->n_headers; i++) {
        to = str_put(str_put(to, r->headers[i].name), STR(": "));
        to = str_put(str_put(to, r->headers[i].value), STR("\r\n"));
    }
    if (content_length >= 0)
        to = str_put(str_put_u64(str_put(to, STR("Content-Length: ")), (uint64_t)content_length),
                     STR("\r\n"));
    else if (c->sends_chunks)
        to = str_put(to, STR("Transfer-Encoding: chunked\r\n"));
    if (!c->keep_alive)
        to = str_put(to, STR("Connection: close\r\n"));
    else if (c->x.version_minor == 0)
        to = str_put(to, STR("Connection: keep-alive\r\n"));
    to = str_put(to, STR("\r\n"));
    connection_push(c, (struct segment){.p = head, .n = (size_t)(to - head)});
}

/* Decides whether the connection can be used after this response. */
static void settle_keep_alive(struct connection *c, const struct response *r) {
    bool body_is_open = c->mode != BODY_OVER && c->framing.framing != HTTP1_NO_BODY;
    bool too_much = c->framing.framing == HTTP1_LENGTH && c->framing.left > DISCARD_SIZE_MAX;
    if (r->close || c->home->is_draining || c->hung_up || c->saw_end ||
        (body_is_open && (c->expects_continue || too_much)))
        c->keep_alive = false;
}

static void begin_response(struct connection *c, const struct response *r) {
    struct exchange *x = &c->x;
    assert(c->state == CONNECTION_HANDLED && !c->is_streaming);
    x->status = r->status;
    c->hides_body = str_eq(x->method, STR("HEAD")) || r->status == 204 || r->status == 304;
    settle_keep_alive(c, r);
}

/* The handler has done its part. */
static void end_response(struct connection *c) {
    c->is_streaming = false;
    c->state = CONNECTION_ANSWERED;
    c->drained = NULL;
    connection_flush(c);
    connection_run(c);
}

void exchange_respond(struct exchange *x, const struct response *r) {
    struct connection *c = connection_of(x);
    int64_t size = 0;
    for (size_t i = 0; i < r->n_body; i++)
        size += (int64_t)r->body[i].n;
    begin_response(c, r);
    x->bytes_out = (uint64_t)size;
    c->sends_chunks = false;
    if (c->is_broken) {
        segments_release(r->body, r->n_body);
    } else {
        push_head(c, r, r->status == 204 ? -1 : size);
        if (c->hides_body)
            segments_release(r->body, r->n_body);
        else
            for (size_t i = 0; i < r->n_body; i++)
                connection_push(c, r->body[i]);
    }
    end_response(c);
}

void exchange_start(struct exchange *x, const struct response *r) {
    struct connection *c = connection_of(x);
    begin_response(c, r);
    bool has_length = r->content_length >= 0 || c->hides_body;
    if (!has_length && x->version_minor == 0)
        c->keep_alive = false; /* the end of the connection is the end of the body */
    c->sends_chunks = !has_length && x->version_minor > 0;
    c->is_streaming = true;
    if (!c->is_broken)
        push_head(c, r, r->content_length);
}

size_t exchange_write(struct exchange *x, const struct segment *segments, size_t n) {
    struct connection *c = connection_of(x);
    assert(c->is_streaming);
    char line[24]; /* transient: lives until the flush */
    uint64_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += segments[i].n;
    x->bytes_out += size;
    if (size == 0 || c->is_broken || c->hides_body) {
        segments_release(segments, n);
    } else {
        int line_size = snprintf(line, sizeof line, "%llx\r\n", (unsigned long long)size);
        if (c->sends_chunks)
            connection_push(
                c, (struct segment){.p = line, .n = (size_t)line_size, .life = SEGMENT_TRANSIENT});
        for (size_t i = 0; i < n; i++)
            connection_push(c, segments[i]);
        if (c->sends_chunks)
            connection_push(c, SEGMENT_STR(STR("\r\n")));
    }
    connection_flush(c);
    connection_wait(c);
    return c->out.size;
}

void exchange_on_drain(struct exchange *x, void (*drained)(struct exchange *x)) {
    connection_of(x)->drained = drained;
}

void exchange_finish(struct exchange *x) {
    struct connection *c = connection_of(x);
    assert(c->is_streaming);
    if (c->sends_chunks && !c->hides_body && !c->is_broken)
        connection_push(c, SEGMENT_STR(STR("0\r\n\r\n")));
    end_response(c);
}

void exchange_abort(struct exchange *x) {
    struct connection *c = connection_of(x);
    segment_queue_clear(&c->out);
    c->is_broken = true;
    end_response(c);
}

/* --- the request's body --- */

void exchange_collect(struct exchange *x, size_t size_max, void (*done)(struct exchange *x)) {
    struct connection *c = connection_of(x);
    assert(c->state == CONNECTION_HANDLED && c->mode == BODY_UNWANTED);
    c->mode = BODY_COLLECTED;
    c->collect_max = size_max;
    c->collected = done;
    connection_run(c);
}

void exchange_stream(struct exchange *x,
                     void (*piece)(struct exchange *x, str bytes, bool is_last)) {
    struct connection *c = connection_of(x);
    assert(c->state == CONNECTION_HANDLED && c->mode == BODY_UNWANTED);
    c->mode = BODY_STREAMED;
    c->piece = piece;
    connection_run(c);
}

void exchange_pause(struct exchange *x) {
    connection_of(x)->is_paused = true;
}

void exchange_resume(struct exchange *x) {
    struct connection *c = connection_of(x);
    c->is_paused = false;
    connection_run(c);
}

/* --- from other threads --- */

static void run_posted(struct loop_task *t) {
    struct connection *c = (struct connection *)((char *)t - offsetof(struct connection, task));
    c->posted(&c->x);
}

void exchange_post(struct exchange *x, void (*fn)(struct exchange *x)) {
    struct connection *c = connection_of(x);
    c->posted = fn;
    c->task.run = run_posted;
    loop_post(x->loop, &c->task);
}
