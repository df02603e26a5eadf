/* read_internal.h - what the parts of the plan reader share. */
#ifndef PLAN_READ_INTERNAL_H
#define PLAN_READ_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "plan/format.h"
#include "plan/plan.h"

struct reader {
    const char *bytes;
    size_t size;
    const struct plan_file_header *header; /* a copy */
    const struct plan_file_section *sections[PLAN_SECTION_END];
    const char *data[PLAN_SECTION_END]; /* copies of the sections, in `arena`; WEIGHTS: in bytes */
    struct arena *arena;
    struct plan *plan;
};

/* DATA_LOSS with section, offset, wanted and found. */
status plan_damaged(struct error *err, const char *section, uint64_t offset, const char *what,
                    const char *wanted, uint64_t found);

/* The section as records of `record` bytes, at most `max`; their number in *n. NULL: *err is
 * set. */
const void *plan_records(const struct reader *r, plan_section type, size_t record, uint64_t max,
                         uint32_t *n, struct error *err);

uint64_t plan_record_offset(const struct reader *r, plan_section type, size_t record, uint32_t i);

/* Holds the references between values, steps and symbols to the rules of plan.h. */
status plan_check_references(const struct reader *r, struct error *err);

#endif
