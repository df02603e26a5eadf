#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static void *must_alloc(void *old, size_t n, size_t size) {
    void *p = reallocarray(old, n, size);
    if (!p) {
        fprintf(stderr, "out of memory: map wants %zu entries\n", n);
        abort();
    }
    return p;
}

static struct map_entry *find(const struct map *m, str key, uint64_t hash) {
    for (size_t i = hash; m->n_slots; i++) {
        uint32_t slot = m->slots[i & (m->n_slots - 1)];
        if (!slot)
            break;
        struct map_entry *e = &m->entries[slot - 1];
        if (e->hash == hash && e->value && str_eq(e->key, key))
            return e;
    }
    return NULL;
}

/* Drops removed entries and lays the slots out anew, at most half full. */
static void rebuild(struct map *m) {
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->entries[i].value)
            m->entries[n++] = m->entries[i];
        else
            free((void *)(uintptr_t)m->entries[i].key.p);
    }
    m->n = n;
    size_t n_slots = 16;
    while (n_slots < 4 * (n + 1))
        n_slots *= 2;
    free(m->slots);
    m->slots = calloc(n_slots, sizeof *m->slots);
    if (!m->slots)
        abort();
    m->n_slots = n_slots;
    m->capacity = n_slots / 2;
    m->entries = must_alloc(m->entries, m->capacity, sizeof *m->entries);
    for (size_t i = 0; i < n; i++) {
        size_t at = m->entries[i].hash;
        while (m->slots[at & (n_slots - 1)])
            at++;
        m->slots[at & (n_slots - 1)] = (uint32_t)i + 1;
    }
}

void *map_get(const struct map *m, str key) {
    struct map_entry *e = find(m, key, hash_bytes(key.p, key.n, 0));
    return e ? e->value : NULL;
}

void *map_set(struct map *m, str key, void *value) {
    uint64_t hash = hash_bytes(key.p, key.n, 0);
    struct map_entry *e = find(m, key, hash);
    if (e) {
        void *before = e->value;
        e->value = value;
        return before;
    }
    if (m->n == m->capacity)
        rebuild(m);
    char *copy = must_alloc(NULL, key.n + 1, 1);
    if (key.n)
        memcpy(copy, key.p, key.n);
    copy[key.n] = '\0';
    size_t at = hash;
    while (m->slots[at & (m->n_slots - 1)])
        at++;
    m->slots[at & (m->n_slots - 1)] = (uint32_t)m->n + 1;
    m->entries[m->n++] = (struct map_entry){.key = {copy, key.n}, .value = value, .hash = hash};
    m->n_live++;
    return NULL;
}

void *map_remove(struct map *m, str key) {
    struct map_entry *e = find(m, key, hash_bytes(key.p, key.n, 0));
    if (!e)
        return NULL;
    void *value = e->value;
    e->value = NULL;
    m->n_live--;
    return value;
}

void map_done(struct map *m) {
    for (size_t i = 0; i < m->n; i++)
        free((void *)(uintptr_t)m->entries[i].key.p);
    free(m->entries);
    free(m->slots);
    *m = (struct map){0};
}
