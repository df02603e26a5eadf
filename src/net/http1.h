/* http1.h - HTTP/1.0 and 1.1 syntax: bytes in, heads and body pieces out. No sockets, no memory
 * but the arena it is given.
 *
 * A head is first scanned for its end, as often as bytes arrive (no byte is looked at twice), and
 * parsed once, in place, when it is whole. So how the bytes were split cannot change the result.
 * What two readers could understand differently (request smuggling) is refused: bare LF, folded
 * lines, spaces around names, two lengths, a length and a transfer coding, chunk extensions.
 * After HTTP1_BAD the connection cannot be used any more. */
#ifndef NET_HTTP1_H
#define NET_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

enum {
    HTTP1_HEAD_SIZE_MAX = 32 * 1024,    /* first line, headers, empty line */
    HTTP1_TARGET_SIZE_MAX = 8 * 1024,   /* of a request */
    HTTP1_HEADERS_MAX = 100,            /* lines */
    HTTP1_METHOD_SIZE_MAX = 24,         /* longer is answered as a method nobody knows */
    HTTP1_EMPTY_LINES_MAX = 2,          /* before a request */
    HTTP1_CHUNK_DIGITS_MAX = 15,        /* of a chunk's size */
    HTTP1_TRAILERS_SIZE_MAX = 8 * 1024, /* skipped after the last chunk */
};

struct http_header {
    str name, value; /* value without the spaces around it */
};

/* The first header called `name` (compared without case), or p = NULL. */
str http_header_find(const struct http_header *headers, size_t n, str name);
bool http_name_eq(str a, str b); /* without case, ASCII */

typedef enum http1_result {
    HTTP1_MORE, /* all bytes are used; more are needed */
    HTTP1_OK,   /* scan: the head is whole; body: `data` holds a piece */
    HTTP1_END,  /* body: it is over */
    HTTP1_BAD,
} http1_result;

/* What is wrong: the status that a server answers, and a text. */
struct http1_error {
    int status; /* 400, 413, 414, 417, 431, 501, 505 */
    const char *text;
};

/* How far a head has been looked at. Zeroed: at its start. */
struct http1_scan {
    size_t start;   /* of the head, after empty lines */
    size_t line;    /* start of the current line */
    size_t at;      /* bytes looked at; after HTTP1_OK the head's end */
    size_t n_lines; /* complete lines so far */
    size_t n_empty;
};

/* Looks at p[0..n), whose first scan->at bytes it has seen before. */
http1_result http1_scan(struct http1_scan *scan, const char *p, size_t n, bool is_request,
                        struct http1_error *e);

struct http1_head {
    str method, target, path, query; /* of a request */
    int status;                      /* of a response */
    int version_minor;
    struct http_header *headers;
    size_t n_headers;
    int64_t content_length; /* -1: not told */
    bool is_chunked;
    bool keep_alive;       /* by version and Connection */
    bool expects_continue; /* Expect: 100-continue */
};

/* Parses a whole head: p[scan->start .. scan->at). Views into p; the header table in `a`.
 * HTTP1_OK or HTTP1_BAD. */
http1_result http1_parse_request(struct http1_head *out, const struct http1_scan *scan,
                                 const char *p, struct arena *a, struct http1_error *e);
http1_result http1_parse_response(struct http1_head *out, const struct http1_scan *scan,
                                  const char *p, struct arena *a, struct http1_error *e);

typedef enum http1_framing {
    HTTP1_NO_BODY,
    HTTP1_LENGTH,
    HTTP1_CHUNKED,
    HTTP1_UNTIL_CLOSE, /* responses only */
} http1_framing;

struct http1_body {
    http1_framing framing;
    uint64_t left; /* bytes of the body or of the chunk that are to come */
    int state;     /* within chunked */
    size_t n_seen; /* digits of a size, bytes of trailers */
};

struct http1_body http1_request_body(const struct http1_head *h);
struct http1_body http1_response_body(const struct http1_head *h, bool is_head_request);

/* Takes bytes of the body from p[0..n): *used says how many. HTTP1_OK: `data` is a piece (never
 * empty), call again; HTTP1_END may come with *used > 0. */
http1_result http1_body_next(struct http1_body *b, const char *p, size_t n, size_t *used, str *data,
                             struct http1_error *e);

const char *http_reason(int status); /* "Not Found"; "" for a status without a name here */

#endif
