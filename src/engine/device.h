/* device.h - where a session's memory is and who runs its steps.
 *
 * The engine gets at memory and kernels through this table only; the CPU is the first device.
 * Immutable; any thread. */
#ifndef ENGINE_DEVICE_H
#define ENGINE_DEVICE_H

#include <stddef.h>

#include "base/status.h"
#include "kernels/kernel.h"
#include "tensor/tensor.h"

struct device {
    const char *name;
    place place;

    /* Whole pages, zeroed or not, at least 64-byte aligned. RESOURCE_EXHAUSTED: no memory. */
    status (*alloc)(const struct device *d, void **out, size_t size, struct error *err);
    void (*free)(const struct device *d, void *p, size_t size); /* as allocated; NULL is fine */
    void (*copy)(const struct device *d, void *to, const void *from, size_t size);

    /* Does this thread's share of a step, or queues it. */
    status (*launch)(const struct device *d, const struct kernel_call *c,
                     const struct kernel_team *t, struct error *err);

    /* Returns when everything that was launched and copied is done. */
    status (*sync)(const struct device *d, struct error *err);
};

extern const struct device device_cpu;

#endif
