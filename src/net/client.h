/* client.h - asynchronous HTTP/1.1 calls to other servers over kept-alive connections.
 *
 * A client belongs to one loop, as does everything here. A call is a struct that its owner
 * embeds (in an exchange's arena, say) and keeps until `on_done`; a call allocates nothing.
 *
 *     peer = client_peer(client, STR("127.0.0.1:9000"), &err);      // once
 *     call->on_response = ...; call->on_done = ...;
 *     client_start(peer, call, &(struct client_request){.method = STR("GET"), ...}); */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/status.h"
#include "base/str.h"
#include "net/exchange.h"
#include "net/loop.h"
#include "net/segment.h"

struct client;
struct client_peer;
struct client_connection;

/* How a call ended: what a caller needs to know to decide whether to try again. */
typedef enum call_result {
    CALL_DONE,           /* a whole response came */
    CALL_CONNECT_FAILED, /* no connection; nothing sent: always safe to repeat */
    CALL_NOT_SENT,       /* the connection was gone before a byte was sent: safe to repeat */
    CALL_NO_RESPONSE,    /* died after bytes were sent, before a byte of the response */
    CALL_CUT,            /* died within the response */
    CALL_TIMED_OUT,
    CALL_BAD_RESPONSE, /* not HTTP */
    CALL_CANCELLED,    /* client_cancel() */
} call_result;
const char *call_result_name(call_result r);

enum {
    CLIENT_CONNECTIONS_MAX = 1024, /* per peer; past it a call fails with CALL_CONNECT_FAILED */
    CLIENT_IDLE_MAX = 256,         /* kept per peer */
    CLIENT_IDLE_MS = 30000,        /* below a server's idle time-out */
    CLIENT_CONNECT_MS = 2000,
    CLIENT_STALL_MS = 60000, /* within a response, without any byte of it */
};

NODISCARD status client_new(struct client **out, struct loop *l, struct error *err);
void client_free(struct client *c); /* no call may be open */
DEFINE_CLEANUP(struct client, client_free)

/* The server at `address` (net/address.h, numeric), made at the first ask and kept until
 * client_free() or client_forget(). */
NODISCARD status client_peer(struct client_peer **out, struct client *c, str address,
                             struct error *err);
size_t client_peer_n_open(const struct client_peer *p); /* calls in flight */
void client_forget(struct client_peer *p); /* closes idle connections now, the rest when done */

struct client_request {
    str method, target;
    const struct http_header *headers; /* not Host, Content-Length, Transfer-Encoding, Connection */
    size_t n_headers;
    str host;                   /* n = 0: the peer's address */
    const struct segment *body; /* kept (as segment.h says) until on_done */
    size_t n_body;
    bool is_streamed;       /* more body comes by client_write() */
    int64_t content_length; /* is_streamed: -1 sends chunks */
    int64_t timeout_ms;     /* from start to the response's first byte; 0: none */
};

/* A response's head, and as much of the body as came with it. Views during the call only. */
struct client_response {
    int status;
    const struct http_header *headers;
    size_t n_headers;
    int64_t content_length; /* -1: not told */
    str body;               /* its first bytes (chunks removed) */
    bool is_complete;       /* `body` is all of it; no on_body will come */
};

struct client_call {
    void *user;
    /* A response began: once per call, or never. */
    void (*on_response)(struct client_call *c, const struct client_response *r);
    /* More of its body; `bytes` live during the call only. */
    void (*on_body)(struct client_call *c, str bytes);
    /* The end; always comes, once, last; the call may be freed or started again in it. It may
     * come within client_start(). */
    void (*on_done)(struct client_call *c, call_result r, const struct error *err);
    /* The request's queue has run empty (streamed bodies); may be NULL. */
    void (*on_drain)(struct client_call *c);

    struct client_connection *connection; /* the client's */
    bool is_open;                         /* between client_start() and on_done */
};

void client_start(struct client_peer *p, struct client_call *c, const struct client_request *r);

/* More of a streamed body; returns how many bytes wait to be sent. is_last ends the body. */
size_t client_write(struct client_call *c, const struct segment *segments, size_t n, bool is_last);

void client_pause(struct client_call *c); /* no on_body until client_resume(): back-pressure */
void client_resume(struct client_call *c);

/* Ends the call now by closing its connection: on_done comes within, with CALL_CANCELLED. */
void client_cancel(struct client_call *c);

#endif
