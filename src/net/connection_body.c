/* connection_body.c - the body of the request that a connection's handler has: collected, streamed,
 * or read and dropped. A body that fits the connection's input buffer is used where it lies; a
 * larger one of known length is read from the socket straight into memory of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "net/server_internal.h"

void connection_body_drop(struct connection *c) {
    atomic_fetch_sub(&c->home->server->bodies_size, c->body_capacity);
    free(TAKE(c->body));
    c->body_n = c->body_capacity = 0;
}

/* Makes room for a body of `capacity` bytes. False: no memory, or the server's limit. */
static bool grow_body(struct connection *c, size_t capacity) {
    struct server *s = c->home->server;
    size_t more = capacity - c->body_capacity;
    char *larger = NULL;
    if (atomic_fetch_add(&s->bodies_size, more) + more <= s->options.bodies_size_max)
        larger = buffer_alloc(capacity);
    if (!larger) {
        atomic_fetch_sub(&s->bodies_size, more);
        return false;
    }
    if (c->body_n)
        memcpy(larger, c->body, c->body_n);
    free(c->body);
    c->body = larger;
    c->body_capacity = capacity;
    return true;
}

/* Tells a client that waits for it to send its body. */
static void say_continue(struct connection *c) {
    if (!c->expects_continue)
        return;
    c->expects_continue = false;
    if (c->to > c->from || c->framing.framing == HTTP1_NO_BODY)
        return; /* it did not wait */
    connection_push(c, SEGMENT_STR(STR("HTTP/1.1 100 Continue\r\n\r\n")));
    connection_flush(c);
}

static bool refuse_body(struct connection *c, int code, const char *text) {
    connection_refuse(c, code, text);
    return true;
}

static bool hand_over(struct connection *c) {
    c->mode = BODY_OVER;
    c->collected(&c->x);
    return true;
}

/* A body with a length, small enough for the input buffer: it is used where it lies. */
static bool collect_in_place(struct connection *c, size_t length) {
    if (c->to - c->from < length)
        return connection_read(c);
    c->x.body = (str){.p = c->input + c->from, .n = length};
    c->x.bytes_in = length;
    c->from += length;
    return hand_over(c);
}

/* A body with a length, read straight into memory of its own. */
static bool collect_sized(struct connection *c, size_t length) {
    size_t n;
    if (!c->body) {
        if (!grow_body(c, length))
            return refuse_body(c, 503, "no memory for the request's body");
        n = c->to - c->from < length ? c->to - c->from : length;
        memcpy(c->body, c->input + c->from, n);
        c->from += n;
        c->body_n = n;
    }
    if (c->body_n < length) {
        n = connection_read_socket(c, c->body + c->body_n, length - c->body_n);
        if (n == 0)
            return false;
        c->body_n += n;
    }
    c->x.bytes_in = c->body_n;
    if (c->body_n < length)
        return true;
    c->x.body = (str){.p = c->body, .n = length};
    return hand_over(c);
}

/* The next piece of the body from the input, or from the socket. False: none is there. */
static http1_result next_piece(struct connection *c, str *data, struct http1_error *e) {
    for (;;) {
        size_t used = 0;
        http1_result r =
            http1_body_next(&c->framing, c->input + c->from, c->to - c->from, &used, data, e);
        c->from += used;
        if (r != HTTP1_MORE)
            return r;
        c->from = c->to = c->held;
        if (!connection_read(c))
            return HTTP1_MORE;
    }
}

static bool refuse_size(struct connection *c) {
    char text[96];
    snprintf(text, sizeof text, "the request's body is larger than %zu bytes", c->collect_max);
    return refuse_body(c, 413, text);
}

static bool collect_chunked(struct connection *c) {
    str data;
    struct http1_error e;
    http1_result r = next_piece(c, &data, &e);
    if (r == HTTP1_BAD)
        return refuse_body(c, e.status, e.text);
    if (r == HTTP1_MORE)
        return false;
    if (r == HTTP1_END) {
        c->x.body = (str){.p = c->body ? c->body : "", .n = c->body_n};
        return hand_over(c);
    }
    if (data.n > c->collect_max - c->body_n)
        return refuse_size(c);
    size_t capacity = c->body_capacity ? c->body_capacity : INPUT_SIZE;
    while (capacity < c->body_n + data.n)
        capacity *= 2;
    if (capacity > c->body_capacity && !grow_body(c, capacity))
        return refuse_body(c, 503, "no memory for the request's body");
    memcpy(c->body + c->body_n, data.p, data.n);
    c->body_n += data.n;
    c->x.bytes_in = c->body_n;
    return true;
}

static bool step_collect(struct connection *c) {
    size_t length = c->framing.left;
    if (c->framing.framing == HTTP1_NO_BODY)
        return hand_over(c);
    if (c->framing.framing == HTTP1_LENGTH && length > c->collect_max)
        return refuse_size(c);
    say_continue(c);
    if (c->framing.framing == HTTP1_CHUNKED)
        return collect_chunked(c);
    if (!c->body && length <= c->input_capacity - c->from)
        return collect_in_place(c, length);
    return collect_sized(c, length);
}

static bool step_stream(struct connection *c) {
    str data = STR("");
    struct http1_error e;
    if (c->is_paused)
        return false;
    say_continue(c);
    http1_result r = next_piece(c, &data, &e);
    if (r == HTTP1_BAD)
        return refuse_body(c, e.status, e.text);
    if (r == HTTP1_MORE)
        return false;
    bool is_last = r == HTTP1_END || (c->framing.framing == HTTP1_LENGTH && c->framing.left == 0);
    if (r == HTTP1_END)
        data = STR("");
    c->x.bytes_in += data.n;
    if (is_last)
        c->mode = BODY_OVER;
    c->piece(&c->x, data, is_last);
    return true;
}

bool connection_body_step(struct connection *c) {
    if (c->mode == BODY_COLLECTED)
        return step_collect(c);
    return c->mode == BODY_STREAMED && step_stream(c);
}

bool connection_discard_step(struct connection *c) {
    str data;
    struct http1_error e;
    http1_result r = next_piece(c, &data, &e);
    if (r == HTTP1_MORE)
        return false;
    if (r == HTTP1_END)
        c->state = CONNECTION_HEAD;
    if (r == HTTP1_OK)
        c->x.bytes_in += data.n;
    if (r == HTTP1_BAD || c->x.bytes_in > DISCARD_SIZE_MAX)
        connection_linger(c);
    return true;
}
