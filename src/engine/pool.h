/* pool.h - device memory that grows: one region, or pieces that are all given back at once.
 *
 * Owned by one thread at a time. What it has mapped it keeps until pool_done(), so that in the
 * steady state nothing is allocated. */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include <stddef.h>

#include "engine/device.h"

/* One region; its contents are lost when it grows. */
struct region {
    const struct device *device;
    void *p;
    size_t size;
};
NODISCARD status region_reserve(struct region *r, size_t size, struct error *err);
void region_done(struct region *r);

/* Pieces whose number and sizes are not known beforehand. They stay where they are until
 * pool_reset(). */
struct pool {
    const struct device *device;
    struct pool_chunk *chunks, *current; /* in order of use */
    size_t used;                         /* of `current` */
    size_t size, size_max;               /* mapped; most that may be */
};
NODISCARD status pool_alloc(struct pool *p, void **out, size_t size, struct error *err);
void pool_reset(struct pool *p);
void pool_done(struct pool *p);

#endif
