#include "net/segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/arena.h"

enum { IOV_PER_WRITE = 64, QUEUE_FIRST_CAPACITY = 8 };

void segments_release(const struct segment *segments, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (segments[i].life == SEGMENT_OWNED)
            segments[i].release(segments[i].release_arg);
}

void segment_queue_push(struct segment_queue *q, struct segment s) {
    if (s.n == 0) {
        segments_release(&s, 1);
        return;
    }
    if (q->head + q->n == q->capacity) {
        if (q->head >= q->capacity / 2 && q->head > 0) {
            memmove(q->items, q->items + q->head, q->n * sizeof *q->items);
        } else {
            q->capacity = q->capacity ? 2 * q->capacity : QUEUE_FIRST_CAPACITY;
            struct segment *items = malloc(array_size(sizeof *items, q->capacity));
            if (!items)
                abort();
            if (q->n)
                memcpy(items, q->items + q->head, q->n * sizeof *items);
            free(q->items);
            q->items = items;
        }
        q->head = 0;
    }
    q->items[q->head + q->n++] = s;
    q->size += s.n;
}

static void pop(struct segment_queue *q) {
    struct segment s = q->items[q->head++];
    if (--q->n == 0)
        q->head = 0;
    segments_release(&s, 1);
}

static void advance(struct segment_queue *q, size_t n) {
    q->size -= n;
    while (n > 0 && n >= q->items[q->head].n) {
        n -= q->items[q->head].n;
        pop(q);
    }
    if (n > 0) {
        struct segment *s = &q->items[q->head];
        s->p = (const char *)s->p + n;
        s->n -= n;
    }
}

bool segment_queue_write(struct segment_queue *q, int fd) {
    while (q->n > 0) {
        struct iovec iov[IOV_PER_WRITE];
        size_t n_iov = q->n < IOV_PER_WRITE ? q->n : IOV_PER_WRITE, wanted = 0;
        for (size_t i = 0; i < n_iov; i++) {
            const struct segment *s = &q->items[q->head + i];
            iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)s->p, .iov_len = s->n};
            wanted += s->n;
        }
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_iov};
        ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        advance(q, (size_t)n);
        if ((size_t)n < wanted)
            return true;
    }
    return true;
}

void segment_queue_settle(struct segment_queue *q) {
    for (size_t i = q->head; i < q->head + q->n; i++) {
        struct segment *s = &q->items[i];
        if (s->life != SEGMENT_TRANSIENT)
            continue;
        char *copy = malloc(s->n);
        if (!copy)
            abort();
        memcpy(copy, s->p, s->n);
        *s = (struct segment){
            .p = copy, .n = s->n, .life = SEGMENT_OWNED, .release = free, .release_arg = copy};
    }
}

void segment_queue_clear(struct segment_queue *q) {
    while (q->n > 0)
        pop(q);
    q->size = 0;
}

void segment_queue_done(struct segment_queue *q) {
    segment_queue_clear(q);
    free(q->items);
    *q = (struct segment_queue){0};
}
