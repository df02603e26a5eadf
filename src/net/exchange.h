/* exchange.h - one request and its response over a byte stream: what a protocol handler sees.
 *
 * A handler never sees a socket, nor which version of HTTP is below. It gets the exchange when
 * the request's headers are there, asks for the body (whole, or as it comes), and answers once
 * (whole, or as it comes). From the call of the handler until exchange_respond() or
 * exchange_finish() the exchange belongs to the handler, also when the client has gone: then
 * `on_cancel` tells it, and answering is still its duty (and costs nothing).
 *
 *     static void body_done(struct exchange *x) {
 *         exchange_respond(x, &(struct response){.status = 200, .body = &SEGMENT_STR(x->body),
 *                                                .n_body = 1});
 *     }
 *     static void handle(void *arg, struct exchange *x) {
 *         exchange_collect(x, BODY_SIZE_MAX, body_done);
 *     }
 *
 * All functions belong to the exchange's loop thread; another thread comes in by
 * exchange_post(), or by loop_post(x->loop, task) with a task of its own. */
#ifndef NET_EXCHANGE_H
#define NET_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "net/address.h"
#include "net/http1.h"
#include "net/loop.h"
#include "net/segment.h"

enum { BODY_SIZE_MAX = 64 * 1024 * 1024 }; /* the usual limit of a collected body */

struct exchange {
    /* The request, read-only. Views that live as long as the exchange. */
    str method;        /* "POST" */
    str target;        /* as sent: "/v2/models/m?x=1" */
    str path;          /* the target before '?', not decoded (net/uri.h decodes) */
    str query;         /* after '?', without it; n = 0: none */
    int version_minor; /* of HTTP/1.x */
    const struct http_header *headers;
    size_t n_headers;
    int64_t content_length; /* -1: not told (chunked, or no body) */

    /* The body that exchange_collect() collected. It lives, like the arena, until the last byte of
     * the response is on its way: a response may borrow from it. */
    str body;

    /* Memory with the life of the exchange. Calls deferred with arena_defer() run when it is
     * over, on the loop's thread: a place to free what the response borrowed, and to log. */
    struct arena arena;

    struct loop *loop;
    int64_t started_ns; /* monotonic: when the headers were complete */
    int status;         /* of the response, once given */
    uint64_t bytes_in;  /* body bytes received */
    uint64_t bytes_out; /* body bytes given to the response */
    bool is_cancelled;  /* the client has gone */

    void *user;                            /* the handler's */
    void (*on_cancel)(struct exchange *x); /* the handler sets it; called at most once, never
                                            * after the answer */
};

/* The value of a header, name compared without case; p is NULL when it is not there. */
str exchange_header(const struct exchange *x, str name);

const struct net_address *exchange_peer(const struct exchange *x);

/* --- the request's body: at most one of these two, before answering --- */

/* Collects the whole body without copying it twice, then calls done(x), at once if it is
 * already there. When the body cannot be had (over `size_max`: 413, malformed: 400, too slow: 408,
 * client gone) the connection answers by itself and the exchange is over without done or
 * on_cancel: so until then what the handler holds for it is in its arena (arena_defer()). */
void exchange_collect(struct exchange *x, size_t size_max, void (*done)(struct exchange *x));

/* Gives the body in pieces as they come: `bytes` live during the call only; is_last comes once,
 * with or without bytes. A broken body cancels the exchange: on_cancel, no further piece. */
void exchange_stream(struct exchange *x,
                     void (*piece)(struct exchange *x, str bytes, bool is_last));
void exchange_pause(struct exchange *x); /* no pieces until exchange_resume(): back-pressure */
void exchange_resume(struct exchange *x);

/* --- the response --- */

struct response {
    int status;
    str content_type;                  /* n = 0: none */
    const struct http_header *headers; /* more of them; never Content-Length, Transfer-Encoding,
                                        * Connection: those are the connection's */
    size_t n_headers;
    const struct segment *body; /* exchange_respond() only */
    size_t n_body;
    int64_t content_length; /* exchange_start() only; -1: not known, sent in chunks */
    bool close;             /* close the connection afterwards */
};

/* Answers with a whole body and ends the exchange for the handler: `x` must not be touched
 * afterwards. Takes the segments, copies head and headers. */
void exchange_respond(struct exchange *x, const struct response *r);

/* Answers in pieces: exchange_start(), exchange_write()..., exchange_finish(). */
void exchange_start(struct exchange *x, const struct response *r);
/* Takes the segments; returns how many bytes now wait for a slow client. A writer stops when
 * that is over STREAM_QUEUE_MAX and goes on when `drained` is called. */
size_t exchange_write(struct exchange *x, const struct segment *segments, size_t n);
enum { STREAM_QUEUE_MAX = 256 * 1024 };
void exchange_on_drain(struct exchange *x, void (*drained)(struct exchange *x));
void exchange_finish(struct exchange *x); /* ends the exchange for the handler */

/* Ends the exchange by cutting the connection, so that the client cannot take what it has got
 * for a whole answer. Instead of exchange_finish() or exchange_respond(). */
void exchange_abort(struct exchange *x);

/* Runs fn(x) on the exchange's loop. From any thread; one at a time per exchange. */
void exchange_post(struct exchange *x, void (*fn)(struct exchange *x));

#endif
