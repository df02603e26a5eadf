#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *buffer_alloc(size_t size) {
    size_t rounded;
    if (__builtin_add_overflow(size ? size : 1, 63, &rounded))
        return NULL;
    return aligned_alloc(64, rounded & ~(size_t)63);
}

void buffer_discard(void *p, size_t size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)p + page - 1) / page * page,
              to = ((uintptr_t)p + size) / page * page;
    if (from < to)
        madvise((char *)p + (from - (uintptr_t)p), to - from, MADV_DONTNEED);
}

status buffer_reserve(struct buffer *b, size_t more, struct error *err) {
    size_t want, limit = b->size_max ? b->size_max : SIZE_MAX / 2;
    if (__builtin_add_overflow(b->n, more, &want) || want > limit)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%zu bytes more than the limit of %zu",
                         b->n + more - limit, limit);
    if (want <= b->capacity)
        return STATUS_OK;
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity < want)
        capacity *= 2;
    if (capacity > limit)
        capacity = limit;
    char *p = realloc(b->p, capacity);
    if (!p)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu bytes", capacity);
    b->p = p;
    b->capacity = capacity;
    return STATUS_OK;
}

status buffer_append(struct buffer *b, const void *bytes, size_t n, struct error *err) {
    TRY(buffer_reserve(b, n, err));
    if (n)
        memcpy(b->p + b->n, bytes, n);
    b->n += n;
    return STATUS_OK;
}

status buffer_append_str(struct buffer *b, str s, struct error *err) {
    return buffer_append(b, s.p, s.n, err);
}

status buffer_printf(struct buffer *b, struct error *err, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    status result = buffer_reserve(b, (size_t)(n < 0 ? 0 : n) + 1, err);
    if (result == STATUS_OK && n > 0) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
    return result;
}

void buffer_consume(struct buffer *b, size_t n) {
    if (n > b->n)
        n = b->n;
    if (n && n < b->n)
        memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

void buffer_clear(struct buffer *b) {
    b->n = 0;
}

void buffer_done(struct buffer *b) {
    free(b->p);
    *b = (struct buffer){.size_max = b->size_max};
}
