#include "net/http1.h"

#include <stdio.h>

#include "base/attr.h"
#include "base/buffer.h"
#include "support/test.h"

/* Parses a request whose bytes arrive in pieces of `step`; its body is appended to `body`. 0, or
 * the status that refuses it. */
static int read_request(struct http1_head *h, struct buffer *body, str bytes, size_t step,
                        struct arena *a) {
    struct http1_scan scan = {0};
    struct http1_error e = {0};
    http1_result r = HTTP1_MORE;
    size_t n = 0;
    while (r == HTTP1_MORE && n < bytes.n) {
        n = n + step < bytes.n ? n + step : bytes.n;
        r = http1_scan(&scan, bytes.p, n, true, &e);
    }
    if (r == HTTP1_MORE)
        return -1;
    if (r == HTTP1_OK)
        r = http1_parse_request(h, &scan, bytes.p, a, &e);
    if (r == HTTP1_BAD)
        return e.status;
    struct http1_body b = http1_request_body(h);
    size_t at = scan.at;
    for (;;) {
        size_t used, to = at + step < bytes.n ? at + step : bytes.n;
        str data;
        r = http1_body_next(&b, bytes.p + at, to - at, &used, &data, &e);
        at += used;
        if (r == HTTP1_OK && buffer_append_str(body, data, NULL) != STATUS_OK)
            return -1;
        if (r == HTTP1_BAD)
            return e.status;
        if (r == HTTP1_END)
            return 0;
        if (r == HTTP1_MORE && at == bytes.n)
            return -1;
    }
}

static int status_of(const char *bytes) {
    struct arena a = {0};
    struct http1_head h;
    CLEANUP(buffer_done) struct buffer body = {0};
    int whole = read_request(&h, &body, str_from_c(bytes), 1 << 20, &a);
    CHECK_EQ(read_request(&h, &body, str_from_c(bytes), 1, &a), whole);
    arena_release(&a);
    return whole;
}

#define HOST "Host: x\r\n"

TEST(http1_parses_a_request_however_it_is_split) {
    str bytes = STR("\r\nPOST /v2/models/m?x=1&y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n"
                    "X-Empty:\r\nX-Space: \t a b \t\r\n\r\nhello");
    for (size_t step = 1; step < 40; step++) {
        struct arena a = {0};
        struct http1_head h;
        CLEANUP(buffer_done) struct buffer body = {0};
        CHECK_EQ(read_request(&h, &body, bytes, step, &a), 0);
        CHECK(str_eq(h.method, STR("POST")));
        CHECK(str_eq(h.path, STR("/v2/models/m")) && str_eq(h.query, STR("x=1&y")));
        CHECK_EQ(h.n_headers, 4);
        CHECK(str_eq(http_header_find(h.headers, h.n_headers, STR("x-space")), STR("a b")));
        CHECK(str_eq(http_header_find(h.headers, h.n_headers, STR("X-EMPTY")), STR("")));
        CHECK(http_header_find(h.headers, h.n_headers, STR("nope")).p == NULL);
        CHECK(h.keep_alive && h.content_length == 5 && !h.is_chunked);
        CHECK(str_eq(buffer_str(&body), STR("hello")));
        arena_release(&a);
    }
}

TEST(http1_joins_chunks_and_skips_trailers) {
    str bytes = STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"
                    "5\r\nhello\r\n00A\r\n, the world\r\n0\r\nA: b\r\nC: d\r\n\r\n");
    bytes = STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"
                "5\r\nhello\r\n00B\r\n, the world\r\n0\r\nA: b\r\nC: d\r\n\r\n");
    for (size_t step = 1; step < 40; step++) {
        struct arena a = {0};
        struct http1_head h;
        CLEANUP(buffer_done) struct buffer body = {0};
        CHECK_EQ(read_request(&h, &body, bytes, step, &a), 0);
        CHECK(str_eq(buffer_str(&body), STR("hello, the world")));
        arena_release(&a);
    }
}

TEST(http1_refuses_what_two_readers_could_read_differently) {
    static const struct {
        const char *bytes;
        int status;
    } cases[] = {
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
         "\r\n",
         400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: b\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "no colon\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: b\001c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n", 400},
        {"GET / HTTP/1.1\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: b\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET http://y/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET  / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a b HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400},
        {"GET / http/1.1\r\n" HOST "\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"G@T / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET x HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET * HTTP/1.1\r\n" HOST "\r\n", 400},
        {"\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"\x16\x03\x01", 400},
        {"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
        {"CONNECT x:1 HTTP/1.1\r\n" HOST "\r\n", 501},
        {"GET / HTTP/1.1\r\n" HOST "Expect: cake\r\n\r\n", 417},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int got = status_of(cases[i].bytes);
        if (got != cases[i].status)
            test_fail(__FILE__, __LINE__, "case %zu: got %d, want %d: %s", i, got, cases[i].status,
                      cases[i].bytes);
    }
}

TEST(http1_refuses_broken_chunks) {
    static const char *const bodies[] = {
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\nA\x01: b\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n\rX",
        "1000000000000000\r\nhello",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        char bytes[256];
        snprintf(bytes, sizeof bytes,
                 "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n%s", bodies[i]);
        int got = status_of(bytes);
        if (got != 400)
            test_fail(__FILE__, __LINE__, "body %zu: got %d: %s", i, got, bodies[i]);
    }
}

TEST(http1_accepts_unusual_but_clear_requests) {
    CHECK_EQ(status_of("GET / HTTP/1.0\r\n\r\n"), 0);
    CHECK_EQ(status_of("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), 0);
    CHECK_EQ(status_of("GET http://x/a?b HTTP/1.1\r\n" HOST "\r\n"), 0);
    CHECK_EQ(status_of("GET http://X HTTP/1.1\r\n" HOST "\r\n"), 0);
    CHECK_EQ(status_of("BREW /pot HTTP/1.1\r\nHost:\r\n\r\n"), 0);
    CHECK_EQ(status_of("POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"), 0);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\n" HOST "A: \xc3\xa9 caf\xe9, and a long value here\r\n"
                       "\r\n"),
             0);
}

static int status_of_head(size_t target_size, size_t n_headers, size_t value_size) {
    struct arena a = {0};
    CLEANUP(buffer_done) struct buffer b = {0};
    char *filler = arena_alloc(&a, 65536, 1);
    memset(filler, 'a', 65535);
    status s = buffer_printf(&b, NULL, "GET /%.*s HTTP/1.1\r\n" HOST, (int)target_size, filler);
    for (size_t i = 0; i < n_headers; i++)
        s |= buffer_printf(&b, NULL, "h%zu: %.*s\r\n", i, (int)value_size, filler);
    s |= buffer_append(&b, "\r\n", 3, NULL);
    CHECK_EQ(s, STATUS_OK);
    int got = status_of(b.p);
    arena_release(&a);
    return got;
}

TEST(http1_holds_its_limits) {
    CHECK_EQ(status_of_head(HTTP1_TARGET_SIZE_MAX - 1, 0, 0), 0);
    CHECK_EQ(status_of_head(HTTP1_TARGET_SIZE_MAX, 0, 0), 414);
    CHECK_EQ(status_of_head(40000, 0, 0), 414);
    CHECK_EQ(status_of_head(1, HTTP1_HEADERS_MAX - 1, 1), 0);
    CHECK_EQ(status_of_head(1, HTTP1_HEADERS_MAX, 1), 431);
    CHECK_EQ(status_of_head(1, 1, 32000), 0);
    CHECK_EQ(status_of_head(1, 1, 33000), 431);
    CHECK_EQ(status_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\r\n" HOST "\r\n"), 501);
}

static bool keeps_alive(const char *bytes) {
    struct arena a = {0};
    struct http1_head h = {0};
    CLEANUP(buffer_done) struct buffer body = {0};
    CHECK_EQ(read_request(&h, &body, str_from_c(bytes), 1 << 20, &a), 0);
    arena_release(&a);
    return h.keep_alive;
}

TEST(http1_knows_when_a_connection_stays) {
    CHECK(keeps_alive("GET / HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(!keeps_alive("GET / HTTP/1.1\r\n" HOST "Connection: TE, Close\r\n\r\n"));
    CHECK(!keeps_alive("GET / HTTP/1.0\r\n\r\n"));
    CHECK(keeps_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

static http1_result parse_response(const char *bytes, struct http1_head *h, struct http1_body *b,
                                   bool is_head_request) {
    struct arena a = {0};
    struct http1_scan scan = {0};
    struct http1_error e;
    http1_result r = http1_scan(&scan, bytes, strlen(bytes), false, &e);
    if (r == HTTP1_OK)
        r = http1_parse_response(h, &scan, bytes, &a, &e);
    if (r == HTTP1_OK)
        *b = http1_response_body(h, is_head_request);
    arena_release(&a);
    return r;
}

TEST(http1_frames_the_body_of_a_response) {
    struct http1_head h;
    struct http1_body b;
    CHECK_EQ(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", &h, &b, false),
             HTTP1_OK);
    CHECK(h.status == 200 && b.framing == HTTP1_LENGTH && b.left == 3);
    CHECK_EQ(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", &h, &b, true),
             HTTP1_OK);
    CHECK_EQ(b.framing, HTTP1_NO_BODY);
    CHECK_EQ(parse_response("HTTP/1.1 204\r\n\r\n", &h, &b, false), HTTP1_OK);
    CHECK_EQ(b.framing, HTTP1_NO_BODY);
    CHECK_EQ(parse_response("HTTP/1.0 200 \r\n\r\n", &h, &b, false), HTTP1_OK);
    CHECK_EQ(b.framing, HTTP1_UNTIL_CLOSE);
    CHECK_EQ(parse_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &h, &b, false),
             HTTP1_OK);
    CHECK_EQ(b.framing, HTTP1_CHUNKED);
    CHECK_EQ(parse_response("HTTP/1.1 2000 OK\r\n\r\n", &h, &b, false), HTTP1_BAD);
    CHECK_EQ(parse_response("HTTX/1.1 200 OK\r\n\r\n", &h, &b, false), HTTP1_BAD);
    CHECK_EQ(parse_response("\r\nHTTP/1.1 200 OK\r\n\r\n", &h, &b, false), HTTP1_BAD);
}
