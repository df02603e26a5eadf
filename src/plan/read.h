/* read.h - gets a plan back from the bytes of its file.
 *
 * plan_read() checks every header, section, record and reference once, in time proportional to
 * the number of steps: what it returns is consistent, whatever the bytes were. It does not read
 * the weights. That kernels exist and accept the steps is engine's to check. */
#ifndef PLAN_READ_H
#define PLAN_READ_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "plan/plan.h"

/* Fills *out with structs from `a`; its weights are views of `bytes` (64-byte aligned), which must
 * outlive it.
 * DATA_LOSS: damaged, or no plan at all: the text names section, offset, wanted and found.
 * FAILED_PRECONDITION: another format version or kernel ABI; compile again. */
NODISCARD status plan_read(struct plan *out, struct arena *a, const void *bytes, size_t size,
                           struct error *err);

/* Reads all weights of a plan that plan_read() accepted and compares their hash. DATA_LOSS. */
NODISCARD status plan_verify_weights(const void *bytes, size_t size, struct error *err);

/* A hash of everything in the plan: equal plans, equal identity. */
uint64_t plan_identity(const void *bytes);

/* What a section table says, for `inspect`: section i of the file, from 0. False: no more. */
struct plan_section_info {
    const char *name;
    uint32_t target;
    uint64_t offset, size;
};
bool plan_section_at(struct plan_section_info *out, const void *bytes, size_t i);

#endif
