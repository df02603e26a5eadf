/* client_request.c - a client's requests as bytes. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/client_internal.h"

enum { HEAD_SIZE_FIRST = 1024 };

static bool has_body(const struct client_request *r) {
    return r->n_body > 0 || str_eq(r->method, STR("POST")) || str_eq(r->method, STR("PUT")) ||
           str_eq(r->method, STR("PATCH"));
}

enum { HEAD_OVERHEAD = 128 }; /* request line and the connection's own headers */

void client_push_head(struct client_connection *c, const struct client_request *r) {
    bool is_unix = c->peer->address.sa.any.sa_family == AF_UNIX;
    str host = r->host.n ? r->host : is_unix ? STR("localhost") : str_from_c(c->peer->name);
    size_t size = HEAD_OVERHEAD + r->method.n + r->target.n + host.n;
    uint64_t length = 0;
    for (size_t i = 0; i < r->n_headers; i++)
        size += r->headers[i].name.n + r->headers[i].value.n + 4;
    for (size_t i = 0; i < r->n_body; i++)
        length += r->body[i].n;
    if (size > c->head_capacity) {
        free(c->head);
        c->head_capacity = size > HEAD_SIZE_FIRST ? size : HEAD_SIZE_FIRST;
        c->head = malloc(c->head_capacity);
        if (!c->head)
            abort();
    }
    char *to = str_put(c->head, r->method);
    to = str_put(str_put(str_put(to, STR(" ")), r->target), STR(" HTTP/1.1\r\nHost: "));
    to = str_put(str_put(to, host), STR("\r\n"));
    for (size_t i = 0; i < r->n_headers; i++) {
        to = str_put(str_put(to, r->headers[i].name), STR(": "));
        to = str_put(str_put(to, r->headers[i].value), STR("\r\n"));
    }
    if (r->is_streamed && r->content_length < 0)
        to = str_put(to, STR("Transfer-Encoding: chunked\r\n"));
    else if (r->is_streamed || has_body(r))
        to = str_put(str_put_u64(str_put(to, STR("Content-Length: ")),
                                 r->is_streamed ? (uint64_t)r->content_length : length),
                     STR("\r\n"));
    to = str_put(to, STR("\r\n"));
    segment_queue_push(&c->out, (struct segment){.p = c->head, .n = (size_t)(to - c->head)});
}

void client_push_body(struct client_connection *c, const struct segment *segments, size_t n) {
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += segments[i].n;
    if (size == 0 || c->is_broken) {
        segments_release(segments, n);
        return;
    }
    if (c->sends_chunks) {
        char *line = malloc(24), digits[16];
        size_t n_digits = 0;
        if (!line)
            abort();
        for (size_t rest = size; rest; rest >>= 4)
            digits[n_digits++] = "0123456789abcdef"[rest & 15];
        size_t line_n = 0;
        while (n_digits > 0)
            line[line_n++] = digits[--n_digits];
        line[line_n++] = '\r';
        line[line_n++] = '\n';
        segment_queue_push(&c->out, (struct segment){.p = line,
                                                     .n = line_n,
                                                     .life = SEGMENT_OWNED,
                                                     .release = free,
                                                     .release_arg = line});
    }
    for (size_t i = 0; i < n; i++)
        segment_queue_push(&c->out, segments[i]);
    if (c->sends_chunks)
        segment_queue_push(&c->out, SEGMENT_STR(STR("\r\n")));
}
