/* Any bytes, taken whole and in pieces at arbitrary places, must give the same head, the same
 * body and the same error. The first byte chooses request or response and seeds the splits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "net/http1.h"

struct outcome {
    http1_result result;
    struct http1_error error;
    struct http1_head head;
    struct buffer body;
    struct arena arena;
    size_t used;
};

static size_t next_end(size_t at, size_t n, uint32_t *seed) {
    if (*seed == 0)
        return n;
    *seed = *seed * 1664525 + 1013904223;
    size_t step = 1 + (*seed >> 24) % 37;
    return n - at < step ? n : at + step;
}

static void read_body(struct outcome *o, const char *p, size_t n, bool is_request, uint32_t seed) {
    struct http1_body b =
        is_request ? http1_request_body(&o->head) : http1_response_body(&o->head, false);
    for (;;) {
        size_t used, end = next_end(o->used, n, &seed);
        str data;
        o->result = http1_body_next(&b, p + o->used, end - o->used, &used, &data, &o->error);
        if (used > end - o->used || (o->result == HTTP1_OK && data.n == 0))
            abort();
        o->used += used;
        if (o->result == HTTP1_OK && buffer_append_str(&o->body, data, NULL) != STATUS_OK)
            abort();
        if (o->result == HTTP1_BAD || o->result == HTTP1_END ||
            (o->result == HTTP1_MORE && o->used == n))
            return;
    }
}

static void read_message(struct outcome *o, const char *p, size_t n, bool is_request,
                         uint32_t seed) {
    struct http1_scan scan = {0};
    size_t end = 0;
    do {
        end = next_end(end, n, &seed);
        o->result = http1_scan(&scan, p, end, is_request, &o->error);
    } while (o->result == HTTP1_MORE && end < n);
    if (o->result != HTTP1_OK)
        return;
    o->result = (is_request ? http1_parse_request : http1_parse_response)(&o->head, &scan, p,
                                                                          &o->arena, &o->error);
    o->used = scan.at;
    if (o->result == HTTP1_OK)
        read_body(o, p, n, is_request, seed);
}

static void compare(const struct outcome *a, const struct outcome *b) {
    if (a->result != b->result || a->error.status != b->error.status)
        abort();
    if (a->result != HTTP1_BAD && a->used != b->used)
        abort();
    if (a->head.n_headers != b->head.n_headers || !str_eq(a->head.path, b->head.path))
        abort();
    if (!str_eq(buffer_str(&a->body), buffer_str(&b->body)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 1)
        return 0;
    bool is_request = bytes[0] & 1;
    size_t n = size - 1;
    char *p = malloc(n + 1); /* exactly as large: an over-read is seen */
    if (!p)
        return 0;
    memcpy(p, bytes + 1, n);
    char *exact = realloc(p, n ? n : 1);
    struct outcome whole = {0}, split = {0};
    read_message(&whole, exact, n, is_request, 0);
    read_message(&split, exact, n, is_request, 1u + bytes[0]);
    compare(&whole, &split);
    buffer_done(&whole.body);
    buffer_done(&split.body);
    arena_release(&whole.arena);
    arena_release(&split.arena);
    free(exact);
    return 0;
}
