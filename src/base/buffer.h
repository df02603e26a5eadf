/* buffer.h - bytes that grow, up to a limit, on the heap.
 *
 * For what a client or a model can make large: growing can fail, and says so.
 * A zeroed struct is an empty buffer without a limit of its own (SIZE_MAX).
 * Owned by one thread at a time. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/status.h"
#include "base/str.h"

struct buffer {
    char *p;
    size_t n;        /* bytes in use */
    size_t capacity; /* bytes allocated */
    size_t size_max; /* 0: no limit */
};

/* Allocates `size` bytes, 64-byte aligned, not zeroed; the caller frees with free().
 * NULL when there is no memory (never aborts). */
void *buffer_alloc(size_t size);

/* The bytes are not needed any more: whole pages among them go back to the system at once. They may
 * be part of an allocation, whose owner still frees it, or of a mapped file, which can be read
 * again. */
void buffer_discard(void *p, size_t size);

/* Makes room for `more` bytes after n. RESOURCE_EXHAUSTED: over size_max, or no memory. */
NODISCARD status buffer_reserve(struct buffer *b, size_t more, struct error *err);

NODISCARD status buffer_append(struct buffer *b, const void *bytes, size_t n, struct error *err);
NODISCARD status buffer_append_str(struct buffer *b, str s, struct error *err);
NODISCARD status buffer_printf(struct buffer *b, struct error *err, const char *fmt, ...)
    ATTR_PRINTF(3, 4);

/* Removes the first `n` bytes (at most all). */
void buffer_consume(struct buffer *b, size_t n);

void buffer_clear(struct buffer *b); /* n = 0, keeps the memory */
void buffer_done(struct buffer *b);  /* frees the memory; `b` is empty then */

static inline str buffer_str(const struct buffer *b) {
    return (str){.p = b->p ? b->p : "", .n = b->n};
}

#endif
