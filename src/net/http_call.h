/* http_call.h - one HTTP/1.1 call that blocks: for commands, probes in threads, and tests. */
#ifndef NET_HTTP_CALL_H
#define NET_HTTP_CALL_H

#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"
#include "net/exchange.h"

enum { HTTP_CALL_TIMEOUT_MS = 30000 };

struct http_request {
    str method; /* n = 0: GET */
    str target; /* "/v2/health/ready" */
    const struct http_header *headers;
    size_t n_headers;
    str body;
    int64_t timeout_ms; /* of the whole call; 0: HTTP_CALL_TIMEOUT_MS */
};

struct http_reply {
    int status;
    const struct http_header *headers; /* views into `arena` */
    size_t n_headers;
    struct buffer body; /* body.size_max may be set before the call; default BODY_SIZE_MAX */
    struct arena arena;
};
void http_reply_done(struct http_reply *r);
str http_reply_header(const struct http_reply *r, str name);

/* Connects to `address` (net/address.h), asks, reads the reply, closes. UNAVAILABLE: cannot
 * connect or the server closed early; DEADLINE_EXCEEDED; DATA_LOSS: not HTTP;
 * RESOURCE_EXHAUSTED: the body is over its limit. Any HTTP status is STATUS_OK. Blocks. */
NODISCARD status http_call(struct http_reply *out, str address, const struct http_request *r,
                           struct error *err);

/* The same over one connection that stays open between calls (made again when the server has
 * closed it). Owned by one thread. */
struct http_link;
NODISCARD status http_link_open(struct http_link **out, str address, struct error *err);
NODISCARD status http_link_call(struct http_link *l, struct http_reply *out,
                                const struct http_request *r, struct error *err);
void http_link_close(struct http_link *l);
DEFINE_CLEANUP(struct http_link, http_link_close)

#endif
