/* format.h - the bytes of a plan file.
 *
 * Little-endian. A header, a table of sections, the sections; positions are offsets from the
 * start of the file or of a section, so that the file is used where it is mapped. Every
 * section but the weights is hashed and checked when the plan is opened; the weights' hash is
 * checked on demand, since reading them all costs more than opening.
 *
 * A plan's weights are one section per target (`target`: enum place); all other sections are
 * shared by the targets. Sections of an unknown type are skipped. */
#ifndef PLAN_FORMAT_H
#define PLAN_FORMAT_H

#include <stdint.h>

#include "tensor/tensor.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the plan file is used in place");

#define PLAN_MAGIC "CULMENPL"

enum {
    PLAN_FORMAT_VERSION = 1,
    PLAN_KERNEL_ABI = 1, /* rises when a kernel of the same name packs differently */
    PLAN_SECTIONS_MAX = 64,
    PLAN_SECTION_ALIGN = 64,
    PLAN_SECTION_SIZE_MAX = 1 << 30, /* but for WEIGHTS */
    PLAN_PAGE = 4096,
    PLAN_HUGE_PAGE = 2 << 20, /* alignment of weights that are at least as large */
};

struct plan_file_header {
    char magic[8];
    uint32_t format_version, kernel_abi;
    uint32_t isa, n_sections;
    uint64_t file_size;
    uint64_t table_hash; /* of the section table */
    uint64_t reserved[2];
    uint64_t header_hash; /* of the bytes before it */
};
_Static_assert(sizeof(struct plan_file_header) == 64, "");

typedef enum plan_section {
    PLAN_SECTION_META = 1, /* JSON text */
    PLAN_SECTION_STRINGS,
    PLAN_SECTION_SYMBOLS,
    PLAN_SECTION_EXPRS,
    PLAN_SECTION_VALUES,
    PLAN_SECTION_STEPS,
    PLAN_SECTION_OPERANDS, /* uint32: values, or PLAN_NONE */
    PLAN_SECTION_ATTRS,    /* what attr_list_encode() writes, 8-byte aligned */
    PLAN_SECTION_IO,
    PLAN_SECTION_WEIGHTS,
    PLAN_SECTION_END,
} plan_section;

struct plan_file_section {
    uint32_t type, target;
    uint64_t offset, size, align, hash;
};
_Static_assert(sizeof(struct plan_file_section) == 40, "");

struct plan_file_text { /* in STRINGS */
    uint32_t offset, size;
};

struct plan_file_symbol {
    struct plan_file_text name;
    int64_t min, max;
};

struct plan_file_expr { /* struct dim_expr */
    uint64_t op;
    int64_t a, b;
};

enum { PLAN_FILE_PACKED = 1 };

struct plan_file_value {
    uint8_t kind, dtype, rank, flags;
    uint32_t of;
    struct plan_file_text name;
    int64_t dims[TENSOR_RANK_MAX];
    uint64_t offset, size; /* in WEIGHTS */
};
_Static_assert(sizeof(struct plan_file_value) == 96, "");

struct plan_file_step {
    struct plan_file_text op, kernel, origin;
    uint64_t attrs_offset, attrs_size; /* in ATTRS */
    uint32_t operands;                 /* index in OPERANDS: inputs, then outputs */
    uint32_t n_in, n_out;
    int32_t opset;
    uint64_t reserved;
};
_Static_assert(sizeof(struct plan_file_step) == 64, "");

struct plan_file_io {
    struct plan_file_text name; /* outputs; inputs are called as their value */
    uint32_t value, is_output;
};
_Static_assert(sizeof(struct plan_file_io) == 16, "");

const char *plan_section_name(uint32_t type); /* "VALUES" */

#endif
