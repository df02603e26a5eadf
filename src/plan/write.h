/* write.h - puts a plan into a file. */
#ifndef PLAN_WRITE_H
#define PLAN_WRITE_H

#include <stddef.h>

#include "base/status.h"
#include "plan/plan.h"

/* The whole file as bytes (weights included), 64-byte aligned; the caller frees them with free().
 * RESOURCE_EXHAUSTED: no memory, or more than the format holds; INVALID_ARGUMENT: an attribute
 * that a plan cannot hold. */
NODISCARD status plan_encode(void **out, size_t *size, const struct plan *p, struct error *err);

/* Writes the file at once or not at all: readers see the old file, or the new one complete. The
 * weights are not copied on the way. */
NODISCARD status plan_write(const struct plan *p, const char *path, struct error *err);

#endif
