/* attr.h - the attributes of an operator, in ONNX's terms.
 *
 * One list serves the graph (compiler), the shape functions (ops) and the kernels (engine);
 * the plan file holds it as bytes. A list and what it points at are immutable and live in
 * the arena of whoever made them. Lookups are linear: lists are short. */
#ifndef OPS_ATTR_H
#define OPS_ATTR_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/tensor.h"

typedef enum attr_kind {
    ATTR_INT = 1,
    ATTR_FLOAT,
    ATTR_STRING,
    ATTR_INTS,
    ATTR_FLOATS,
    ATTR_STRINGS,
    ATTR_TENSOR,
    ATTR_GRAPH, /* only in the compiler; never in a plan */
} attr_kind;

struct attr {
    str name;
    attr_kind kind;
    size_t n; /* elements of ints, floats, strings */
    union {
        int64_t i;
        float f;
        str s;
        const int64_t *ints;
        const float *floats;
        const str *strings;
        const struct tensor *tensor;
        const void *graph;
    };
};

struct attr_list {
    const struct attr *items;
    size_t n;
};

const struct attr *attr_find(const struct attr_list *list, const char *name); /* NULL: not given */

/* The value of an attribute, or `fallback` when it is not given or of another kind. */
int64_t attr_int(const struct attr_list *list, const char *name, int64_t fallback);
float attr_float(const struct attr_list *list, const char *name, float fallback);
str attr_string(const struct attr_list *list, const char *name, const char *fallback);

/* The ints of an attribute and their number; NULL and 0 when it is not given. */
const int64_t *attr_ints(const struct attr_list *list, const char *name, size_t *n);
const float *attr_floats(const struct attr_list *list, const char *name, size_t *n);

/* Writes the list as bytes, little-endian, 8-byte aligned relative to its start. ATTR_GRAPH is
 * INVALID_ARGUMENT. */
NODISCARD status attr_list_encode(struct buffer *out, const struct attr_list *list,
                                  struct error *err);

/* Reads what attr_list_encode wrote; checks every length, kind and dtype. The items come from
 * `a`; texts and numbers stay views of `bytes` (8-byte aligned). DATA_LOSS names what is wrong. */
NODISCARD status attr_list_decode(struct attr_list *out, struct arena *a, const void *bytes,
                                  size_t size, struct error *err);

#endif
