/* segment.h - a piece of a body on its way out, and the queue that writes pieces with writev(2)
 * without copying them. */
#ifndef NET_SEGMENT_H
#define NET_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/str.h"

/* Bytes, and how long they live:
 *   SEGMENT_BORROWED   until the exchange or call that they were given to is over (static text,
 *                      its arena, its request body)
 *   SEGMENT_OWNED      until release(release_arg), which the queue calls on the loop's thread when
 *                      the bytes are written or dropped
 *   SEGMENT_TRANSIENT  only during the call; what the socket does not take at once is copied */
typedef enum segment_life { SEGMENT_BORROWED, SEGMENT_OWNED, SEGMENT_TRANSIENT } segment_life;

struct segment {
    const void *p;
    size_t n;
    segment_life life;
    void (*release)(void *arg);
    void *release_arg;
};

#define SEGMENT_STR(s) ((struct segment){.p = (s).p, .n = (s).n})
#define SEGMENT_TRANSIENT_STR(s)                                                                   \
    ((struct segment){.p = (s).p, .n = (s).n, .life = SEGMENT_TRANSIENT})

/* For segments that go nowhere. */
void segments_release(const struct segment *segments, size_t n);

/* FIFO of segments; zeroed is empty. Owned by one loop. */
struct segment_queue {
    struct segment *items;
    size_t head, n, capacity;
    size_t size; /* bytes in the queue */
};

void segment_queue_push(struct segment_queue *q, struct segment s); /* takes s */

/* Writes as much as the socket takes. False: the connection is broken (errno says why). */
bool segment_queue_write(struct segment_queue *q, int fd);

/* Replaces transient segments by owned copies: before the call in which they came returns. */
void segment_queue_settle(struct segment_queue *q);

void segment_queue_clear(struct segment_queue *q); /* drops and releases everything */
void segment_queue_done(struct segment_queue *q);  /* and frees the table */

#endif
