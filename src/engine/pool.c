#include "engine/pool.h"

#include <stdlib.h>

enum { POOL_CHUNK_MIN = 1 << 20, POOL_ALIGN = 64 };

struct pool_chunk {
    struct pool_chunk *next;
    char *p;
    size_t size;
};

status region_reserve(struct region *r, size_t size, struct error *err) {
    if (size <= r->size)
        return STATUS_OK;
    void *p;
    TRY(r->device->alloc(r->device, &p, size, err));
    region_done(r);
    r->p = p;
    r->size = size;
    return STATUS_OK;
}

void region_done(struct region *r) {
    if (r->p)
        r->device->free(r->device, r->p, r->size);
    r->p = NULL;
    r->size = 0;
}

static status add_chunk(struct pool *p, size_t size, struct error *err) {
    size_t want = p->size > POOL_CHUNK_MIN ? p->size : POOL_CHUNK_MIN; /* doubles what there is */
    if (want > p->size_max - p->size)
        want = p->size_max - p->size;
    if (want < size)
        want = size;
    if (want > p->size_max - p->size)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "values with data-dependent sizes need %zu bytes, wanted at most %zu "
                         "(memory_max)",
                         p->size + size, p->size_max);
    struct pool_chunk *c = malloc(sizeof *c);
    if (!c)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    void *bytes;
    status code = p->device->alloc(p->device, &bytes, want, err);
    if (code != STATUS_OK) {
        free(c);
        return code;
    }
    *c = (struct pool_chunk){.p = bytes, .size = want};
    struct pool_chunk **last = &p->chunks;
    while (*last)
        last = &(*last)->next;
    *last = c;
    p->size += want;
    return STATUS_OK;
}

status pool_alloc(struct pool *p, void **out, size_t size, struct error *err) {
    if (size > SIZE_MAX / 2)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "a value needs %zu bytes", size);
    size_t rounded = (size + POOL_ALIGN - 1) & ~(size_t)(POOL_ALIGN - 1);
    if (rounded == 0)
        rounded = POOL_ALIGN;
    if (!p->current) {
        p->current = p->chunks;
        p->used = 0;
    }
    while (p->current && p->current->size - p->used < rounded) {
        p->current = p->current->next;
        p->used = 0;
    }
    if (!p->current) {
        TRY(add_chunk(p, rounded, err));
        for (p->current = p->chunks; p->current->next; p->current = p->current->next)
            ;
    }
    *out = p->current->p + p->used;
    p->used += rounded;
    return STATUS_OK;
}

void pool_reset(struct pool *p) {
    p->current = NULL;
    p->used = 0;
}

void pool_done(struct pool *p) {
    for (struct pool_chunk *c = p->chunks, *next; c; c = next) {
        next = c->next;
        p->device->free(p->device, c->p, c->size);
        free(c);
    }
    p->chunks = p->current = NULL;
    p->size = p->used = 0;
}
