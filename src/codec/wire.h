/* wire.h - protobuf's binary format without generated code and without copies.
 *
 * `wire` walks the fields of one message. On top of it, wire_read() fills plain structs from a
 * table that says which field goes where; strings are views into the bytes, lists are arrays in
 * an arena of exactly their size. Depth and number of items are limited by the caller. */
#ifndef CODEC_WIRE_H
#define CODEC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

typedef enum wire_type {
    WIRE_TYPE_VARINT = 0,
    WIRE_TYPE_FIXED64 = 1,
    WIRE_TYPE_BYTES = 2,
    WIRE_TYPE_FIXED32 = 5, /* 3 and 4, groups, are refused */
} wire_type;

struct wire {
    const char *p, *end;
    const char *problem; /* NULL: none so far */
    const char *field;   /* where the last field starts: the place of the problem */
};

struct wire_field {
    uint32_t number;
    wire_type type;
    uint64_t value; /* VARINT, FIXED32, FIXED64 */
    str bytes;      /* BYTES */
};

void wire_init(struct wire *w, str message);

/* Reads the next field. False: the message ends, or w->problem says what is wrong. */
bool wire_next(struct wire *w, struct wire_field *out);

/* Reads one varint and moves *p behind it; false: cut off, or over 10 bytes. */
bool wire_varint(const char **p, const char *end, uint64_t *out);

/* Varints in packed bytes: their number. */
size_t wire_count_varints(str packed);

static inline int64_t wire_unzigzag(uint64_t v) {
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* ---- reading by table ---- */

enum { WIRE_NUMBER_MAX = 31 }; /* the largest field number in a table; others are passed over */

typedef enum wire_kind {
    WIRE_INT64,    /* int64_t, from a varint */
    WIRE_INT32,    /* int32_t, from a varint; also enums */
    WIRE_FLOAT,    /* float */
    WIRE_STRING,   /* str */
    WIRE_MESSAGE,  /* the struct at `offset` (0: more fields of this struct) */
    WIRE_POINTER,  /* a pointer to a new struct */
    WIRE_INT64S,   /* pointer to an array, its length at `length`; packed or not */
    WIRE_FLOATS,   /* the same */
    WIRE_STRINGS,  /* the same, of str */
    WIRE_MESSAGES, /* the same, of structs */
    /* Only counted, into `length` if that is not 0 and into `counts` for finish(): */
    WIRE_COUNT_BYTES,   /* strings or messages */
    WIRE_COUNT_VARINTS, /* packed or not */
    WIRE_COUNT_FIXED32,
    WIRE_COUNT_FIXED64,
} wire_kind;

struct wire_rule {
    uint32_t number;
    wire_kind kind;
    const char *name;
    size_t offset, length;
    const struct wire_message *message; /* MESSAGE, POINTER, MESSAGES */
};

struct wire_reader {
    struct arena *arena;
    const char *begin; /* of the file: error texts give offsets from here */
    unsigned depth, depth_max;
    size_t n_items, n_items_max;
    struct error *err;
};

/* Where in the message we are, for error texts: graph.node[3].attribute[0]. */
struct wire_place {
    const struct wire_place *parent;
    const char *name;
    size_t index; /* SIZE_MAX: not a list */
};

struct wire_message {
    const char *name;
    size_t size; /* of the struct */
    const struct wire_rule *rules;
    size_t n_rules;
    /* Called with the struct filled; counts[number] says how many values each field had. */
    status (*finish)(struct wire_reader *r, const struct wire_place *at, str bytes,
                     const size_t counts[WIRE_NUMBER_MAX + 1], void *out);
};

/* Fills the zeroed struct `out` from `bytes`. */
NODISCARD status wire_read(struct wire_reader *r, const struct wire_place *at,
                           const struct wire_message *message, str bytes, void *out);

/* Fails with the place in front of the text and the offset of `p` behind it. */
status wire_fail(struct wire_reader *r, const struct wire_place *at, status code, const char *p,
                 const char *fmt, ...) ATTR_PRINTF(5, 6);

#endif
