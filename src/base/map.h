/* map.h - a hash table from text to pointer, in insertion order.
 *
 * Keys are copied; values are borrowed (the owner frees them). A zeroed struct is an
 * empty map. Owned by one thread, or guarded by its owner's lock. Iterate with
 *
 *     for (size_t i = 0; i < m->n; i++)
 *         if (m->entries[i].value) use(m->entries[i].key, m->entries[i].value); */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct map_entry {
    str key;     /* NUL-terminated copy */
    void *value; /* NULL: removed */
    uint64_t hash;
};

struct map {
    struct map_entry *entries;
    size_t n;        /* entries, removed ones included */
    size_t n_live;   /* entries with a value */
    size_t capacity; /* of entries */
    uint32_t *slots; /* index of an entry + 1; n_slots is a power of two */
    size_t n_slots;
};

void *map_get(const struct map *m, str key); /* NULL: not there */

/* Sets key to `value` (not NULL) and returns what was there before, or NULL.
 * Aborts when there is no memory: a map holds what the operator configures, not
 * what a client sends without a limit. */
void *map_set(struct map *m, str key, void *value);

void *map_remove(struct map *m, str key); /* returns the value, or NULL */
void map_done(struct map *m);             /* frees keys and table; values stay with their owner */

#endif
