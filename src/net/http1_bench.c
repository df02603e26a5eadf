/* Time to scan and parse one request's head, and to walk a chunked body. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/http1.h"

enum { N_BATCHES = 40, N_RUNS = 20000, N_BODY_RUNS = 100, CHUNK_SIZE = 4096, N_CHUNKS = 64 };

static const char request[] = "POST /v2/models/minilm/versions/1/infer HTTP/1.1\r\n"
                              "Host: localhost:8000\r\n"
                              "User-Agent: python-geventhttpclient/2.0\r\n"
                              "Accept-Encoding: identity\r\n"
                              "Content-Type: application/octet-stream\r\n"
                              "Inference-Header-Content-Length: 233\r\n"
                              "Content-Length: 249\r\n"
                              "Connection: keep-alive\r\n\r\n";

static void parse_head(struct arena *a) {
    struct http1_head h;
    struct http1_scan scan = {0};
    struct http1_error e;
    if (http1_scan(&scan, request, sizeof request - 1, true, &e) != HTTP1_OK ||
        http1_parse_request(&h, &scan, request, a, &e) != HTTP1_OK || h.content_length != 249)
        abort();
    arena_reset(a);
}

static void bench_head(void) {
    struct arena a = {0};
    int64_t best = INT64_MAX; /* of the batches: the neighbours are noisy */
    for (int k = 0; k < N_BATCHES; k++) {
        int64_t from = clock_now(clock_system());
        for (int i = 0; i < N_RUNS; i++)
            parse_head(&a);
        int64_t ns = clock_now(clock_system()) - from;
        best = ns < best ? ns : best;
    }
    printf("request head of %zu bytes: %.0f ns\n", sizeof request - 1, (double)best / N_RUNS);
    arena_release(&a);
}

static void walk_body(const char *body, size_t n) {
    struct http1_body b = {.framing = HTTP1_CHUNKED};
    struct http1_error e;
    str data;
    size_t at = 0, used;
    while (http1_body_next(&b, body + at, n - at, &used, &data, &e) == HTTP1_OK)
        at += used;
    if (at + used != n)
        abort();
}

static void bench_chunks(void) {
    size_t n = 0;
    char *body = malloc((size_t)N_CHUNKS * (CHUNK_SIZE + 8) + 5);
    if (!body)
        abort();
    for (int i = 0; i < N_CHUNKS; i++) {
        n += (size_t)sprintf(body + n, "%x\r\n", CHUNK_SIZE);
        memset(body + n, 'x', CHUNK_SIZE);
        n += CHUNK_SIZE;
        body[n++] = '\r';
        body[n++] = '\n';
    }
    memcpy(body + n, "0\r\n\r\n", 5);
    n += 5;
    int64_t best = INT64_MAX;
    for (int k = 0; k < N_BATCHES; k++) {
        int64_t from = clock_now(clock_system());
        for (int i = 0; i < N_BODY_RUNS; i++)
            walk_body(body, n);
        int64_t ns = clock_now(clock_system()) - from;
        best = ns < best ? ns : best;
    }
    printf("chunk of %d bytes: %.0f ns\n", CHUNK_SIZE, (double)best / N_BODY_RUNS / N_CHUNKS);
    free(body);
}

int main(void) {
    bench_head();
    bench_chunks();
    return 0;
}
