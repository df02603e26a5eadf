#include "server/backend/block.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/thread.h"

struct block {
    struct block_pool *pool;
    struct block *next;
    _Atomic size_t refs;
    size_t capacity;
    char *data;
};

struct block_pool {
    struct mutex lock;
    struct block *free; /* smallest first */
    size_t n_free;
    size_t n_used; /* blocks out, and 1 for the owner */
};

struct block_pool *block_pool_new(void) {
    struct block_pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    mutex_init(&p->lock);
    p->n_used = 1;
    return p;
}

static void block_destroy(struct block *b) {
    free(b->data);
    free(b);
}

/* Drops one use of the pool, which dies with the last; called with the lock, returns without. */
static void pool_unuse_locked(struct block_pool *p) {
    bool is_last = --p->n_used == 0;
    mutex_unlock(&p->lock);
    if (!is_last)
        return;
    while (p->free) {
        struct block *b = p->free;
        p->free = b->next;
        block_destroy(b);
    }
    mutex_done(&p->lock);
    free(p);
}

void block_pool_free(struct block_pool *p) {
    if (!p)
        return;
    mutex_lock(&p->lock);
    pool_unuse_locked(p);
}

/* Takes a free block that is large enough, else the largest to be enlarged, else none. */
static struct block *take_free_locked(struct block_pool *p, size_t size) {
    struct block **at = &p->free;
    while (*at && (*at)->capacity < size && (*at)->next)
        at = &(*at)->next;
    struct block *b = *at;
    if (b) {
        *at = b->next;
        p->n_free--;
    }
    return b;
}

struct block *block_get(struct block_pool *p, size_t size) {
    mutex_lock(&p->lock);
    struct block *b = take_free_locked(p, size);
    p->n_used++;
    mutex_unlock(&p->lock);
    if (b && b->capacity < size) {
        block_destroy(b);
        b = NULL;
    }
    if (!b) {
        b = calloc(1, sizeof *b);
        if (b && !(b->data = buffer_alloc(size ? size : 1))) {
            free(b);
            b = NULL;
        }
        if (!b) {
            mutex_lock(&p->lock);
            pool_unuse_locked(p);
            return NULL;
        }
        b->capacity = size ? size : 1;
        b->pool = p;
    }
    atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

char *block_data(struct block *b) {
    return b->data;
}

void block_ref(struct block *b) {
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void block_unref(struct block *b) {
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct block_pool *p = b->pool;
    struct block *drop = b;
    mutex_lock(&p->lock);
    if (p->n_free < BLOCK_POOL_KEEP) {
        struct block **at = &p->free;
        while (*at && (*at)->capacity < b->capacity)
            at = &(*at)->next;
        b->next = *at;
        *at = b;
        p->n_free++;
        drop = NULL;
    }
    pool_unuse_locked(p);
    if (drop)
        block_destroy(drop);
}

void block_release(void *arg, void *data, size_t size) {
    (void)data;
    (void)size;
    block_unref(arg);
}
