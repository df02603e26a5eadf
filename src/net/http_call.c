#include "net/http_call.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "net/http1.h"
#include "net/segment.h"

enum { READ_SIZE = 64 * 1024 };

struct http_link {
    struct net_address address;
    char name[NET_ADDRESS_TEXT_SIZE]; /* as given, for Host and errors */
    int fd;                           /* -1: not connected */
    struct buffer in;                 /* read and not used */
    struct buffer head;               /* of the request */
    struct segment_queue out;         /* what is left to send: a server may answer before the end */
};

void http_reply_done(struct http_reply *r) {
    buffer_done(&r->body);
    arena_release(&r->arena);
    *r = (struct http_reply){0};
}

str http_reply_header(const struct http_reply *r, str name) {
    return http_header_find(r->headers, r->n_headers, name);
}

static void disconnect(struct http_link *l) {
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    buffer_clear(&l->in);
    segment_queue_clear(&l->out);
}

static status wait_for(struct http_link *l, short events, int64_t deadline_ns, struct error *err) {
    for (;;) {
        int64_t left_ns = deadline_ns - clock_now(clock_system());
        struct pollfd p = {.fd = l->fd, .events = events};
        int n = left_ns <= 0 ? 0 : poll(&p, 1, (int)(left_ns / NS_PER_MS) + 1);
        if (n > 0)
            return STATUS_OK;
        if (n == 0)
            return error_set(err, STATUS_DEADLINE_EXCEEDED, "%s: no answer in time", l->name);
        if (errno != EINTR)
            return error_set(err, STATUS_INTERNAL, "poll: %s", strerror(errno));
    }
}

static status connect_link(struct http_link *l, int64_t deadline_ns, struct error *err) {
    int e = 0, one = 1;
    socklen_t e_size = sizeof e;
    l->fd = socket(l->address.sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return error_set(err, file_status(errno), "socket: %s", strerror(errno));
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* a unix socket refuses: fine */
    if (connect(l->fd, &l->address.sa.any, l->address.size) != 0)
        e = errno;
    if (e == EINPROGRESS) {
        TRY(wait_for(l, POLLOUT, deadline_ns, err));
        getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &e, &e_size);
    }
    if (e != 0)
        return error_set(err, STATUS_UNAVAILABLE, "connect to %s: %s", l->name, strerror(e));
    return STATUS_OK;
}

static status queue_request(struct http_link *l, const struct http_request *r, struct error *err) {
    struct buffer *head = &l->head;
    str method = r->method.n ? r->method : STR("GET");
    bool is_unix = l->address.sa.any.sa_family == AF_UNIX;
    buffer_clear(head);
    TRY(buffer_printf(head, err, "%.*s %.*s HTTP/1.1\r\n", STR_ARG(method), STR_ARG(r->target)));
    if (!http_header_find(r->headers, r->n_headers, STR("host")).p)
        TRY(buffer_printf(head, err, "Host: %s\r\n", is_unix ? "localhost" : l->name));
    for (size_t i = 0; i < r->n_headers; i++)
        TRY(buffer_printf(head, err, "%.*s: %.*s\r\n", STR_ARG(r->headers[i].name),
                          STR_ARG(r->headers[i].value)));
    if (r->body.n || str_eq(method, STR("POST")) || str_eq(method, STR("PUT")) ||
        str_eq(method, STR("PATCH")))
        TRY(buffer_printf(head, err, "Content-Length: %zu\r\n", r->body.n));
    TRY(buffer_append_str(head, STR("\r\n"), err));
    segment_queue_push(&l->out, (struct segment){.p = head->p, .n = head->n});
    segment_queue_push(&l->out, SEGMENT_STR(r->body));
    return STATUS_OK;
}

/* Appends what the server has sent to l->in, and sends meanwhile what is left of the request.
 * *n = 0: the server has closed the connection. */
static status receive(struct http_link *l, size_t *n, int64_t deadline_ns, struct error *err) {
    TRY(buffer_reserve(&l->in, READ_SIZE, err));
    for (;;) {
        if (l->out.size > 0 && !segment_queue_write(&l->out, l->fd))
            segment_queue_clear(&l->out); /* it may have answered before it closed: read on */
        ssize_t got = recv(l->fd, l->in.p + l->in.n, l->in.capacity - l->in.n, MSG_DONTWAIT);
        if (got >= 0 || errno == ECONNRESET) {
            *n = got > 0 ? (size_t)got : 0;
            l->in.n += *n;
            return STATUS_OK;
        }
        if (errno != EAGAIN && errno != EINTR)
            return error_set(err, STATUS_UNAVAILABLE, "read from %s: %s", l->name, strerror(errno));
        TRY(wait_for(l, l->out.size ? POLLIN | POLLOUT : POLLIN, deadline_ns, err));
    }
}

static status not_http(const struct http_link *l, const struct http1_error *e, struct error *err) {
    return error_set(err, STATUS_DATA_LOSS, "%s does not answer in HTTP: %s", l->name, e->text);
}

/* Reads a head into `out` (informational ones are skipped); *got_any: the server sent a byte. */
static status read_head(struct http_link *l, struct http_reply *out, struct http1_head *h,
                        bool *got_any, int64_t deadline_ns, struct error *err) {
    for (;;) {
        struct http1_scan scan = {0};
        struct http1_error e;
        http1_result r;
        while ((r = http1_scan(&scan, l->in.p, l->in.n, false, &e)) == HTTP1_MORE) {
            size_t n;
            TRY(receive(l, &n, deadline_ns, err));
            *got_any |= n > 0;
            if (n == 0)
                return error_set(err, STATUS_UNAVAILABLE, "%s closed the connection", l->name);
        }
        if (r == HTTP1_BAD)
            return not_http(l, &e, err);
        /* The views of the reply must outlive the buffer. */
        str copy = str_copy(&out->arena, (str){.p = l->in.p, .n = scan.at});
        if (http1_parse_response(h, &scan, copy.p, &out->arena, &e) != HTTP1_OK)
            return not_http(l, &e, err);
        buffer_consume(&l->in, scan.at);
        if (h->status >= 200)
            return STATUS_OK;
    }
}

static status read_body(struct http_link *l, struct http_reply *out, struct http1_body *b,
                        int64_t deadline_ns, struct error *err) {
    for (;;) {
        size_t used = 0, n;
        str data;
        struct http1_error e;
        http1_result r = http1_body_next(b, l->in.p, l->in.n, &used, &data, &e);
        if (r == HTTP1_BAD)
            return not_http(l, &e, err);
        if (r == HTTP1_OK)
            TRY(buffer_append_str(&out->body, data, err));
        buffer_consume(&l->in, used);
        if (r == HTTP1_END)
            return STATUS_OK;
        if (r == HTTP1_OK)
            continue;
        TRY(receive(l, &n, deadline_ns, err));
        if (n == 0 && b->framing == HTTP1_UNTIL_CLOSE)
            return STATUS_OK;
        if (n == 0)
            return error_set(err, STATUS_UNAVAILABLE, "%s closed the connection within a body",
                             l->name);
    }
}

/* One attempt on the open connection; *got_any as in read_head(). */
static status attempt(struct http_link *l, struct http_reply *out, const struct http_request *r,
                      bool *got_any, int64_t deadline_ns, struct error *err) {
    struct http1_head h;
    TRY(queue_request(l, r, err));
    TRY(read_head(l, out, &h, got_any, deadline_ns, err));
    struct http1_body b = http1_response_body(&h, str_eq(r->method, STR("HEAD")));
    bool stays = h.keep_alive && b.framing != HTTP1_UNTIL_CLOSE;
    out->status = h.status;
    out->headers = h.headers;
    out->n_headers = h.n_headers;
    if (b.framing == HTTP1_LENGTH)
        TRY(buffer_reserve(&out->body, (size_t)b.left, err));
    TRY(read_body(l, out, &b, deadline_ns, err));
    if (!stays || l->out.size > 0)
        disconnect(l);
    return STATUS_OK;
}

status http_link_open(struct http_link **out, str address, struct error *err) {
    CLEANUP(http_link_closep) struct http_link *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a connection");
    l->fd = -1;
    TRY(net_address_resolve(&l->address, address, err));
    size_t n = address.n < sizeof l->name - 1 ? address.n : sizeof l->name - 1;
    memcpy(l->name, address.p, n);
    *out = TAKE(l);
    return STATUS_OK;
}

void http_link_close(struct http_link *l) {
    if (!l)
        return;
    disconnect(l);
    buffer_done(&l->in);
    buffer_done(&l->head);
    segment_queue_done(&l->out);
    free(l);
}

status http_link_call(struct http_link *l, struct http_reply *out, const struct http_request *r,
                      struct error *err) {
    int64_t timeout_ms = r->timeout_ms ? r->timeout_ms : HTTP_CALL_TIMEOUT_MS;
    int64_t deadline_ns = clock_now(clock_system()) + timeout_ms * NS_PER_MS;
    if (out->body.size_max == 0)
        out->body.size_max = BODY_SIZE_MAX;
    bool was_open = l->fd >= 0, got_any = false;
    if (!was_open) {
        status s = connect_link(l, deadline_ns, err);
        if (s != STATUS_OK) {
            disconnect(l);
            return s;
        }
    }
    status s = attempt(l, out, r, &got_any, deadline_ns, err);
    if (s == STATUS_UNAVAILABLE && was_open && !got_any) {
        /* The server had closed the kept connection meanwhile. */
        disconnect(l);
        s = connect_link(l, deadline_ns, err);
        if (s == STATUS_OK)
            s = attempt(l, out, r, &got_any, deadline_ns, err);
    }
    if (s != STATUS_OK)
        disconnect(l);
    return s;
}

status http_call(struct http_reply *out, str address, const struct http_request *r,
                 struct error *err) {
    CLEANUP(http_link_closep) struct http_link *l = NULL;
    TRY(http_link_open(&l, address, err));
    return http_link_call(l, out, r, err);
}
