/* json.h - a JSON document as a tree: for bodies that are small and looked at more than once.
 *
 * Tensors and other big bodies go through json_reader.h and json_tensor.h instead. Numbers stay
 * text until somebody asks, so that no int64 loses digits. An object that has a name twice is
 * refused: two readers could disagree about which one counts. The tree lives in an arena; one
 * thread changes it, any may read it. */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"
#include "codec/json_reader.h"
#include "codec/json_writer.h"

enum { JSON_VALUES_MAX = 1 << 20 }; /* values in one document */

struct json_value {
    json_type type;
    bool boolean;
    str name; /* as a member of an object: its name */
    str text; /* STRING: decoded; NUMBER: as it was written */
    size_t n; /* elements or members */
    struct json_value *first, *last, *next;
};

/* Reads `text`, which must be one value. Strings without escapes point into it, so it must live
 * as long as the tree. INVALID_ARGUMENT with line, column and byte; more than JSON_VALUES_MAX
 * values or JSON_DEPTH_MAX levels count as that, too. */
NODISCARD status json_parse(struct json_value **out, struct arena *a, str text, struct error *err);

/* The member `name`, or NULL; also when `object` is NULL or no object. */
struct json_value *json_get(const struct json_value *object, const char *name);
struct json_value *json_get_str(const struct json_value *object, str name);

/* False: `v` is NULL, of another type, or does not fit; *out stays as it is. json_to_i64 and _u64
 * also take strings of digits and integral floats (1e3), as protobuf's JSON has them. */
bool json_to_bool(const struct json_value *v, bool *out);
bool json_to_i64(const struct json_value *v, int64_t *out);
bool json_to_u64(const struct json_value *v, uint64_t *out);
bool json_to_f64(const struct json_value *v, double *out);
bool json_to_str(const struct json_value *v, str *out); /* STRING only */

/* Making and changing trees; strings are borrowed, not copied. */
struct json_value *json_new_object(struct arena *a);
struct json_value *json_new_array(struct arena *a);
struct json_value *json_new_string(struct arena *a, str s);
struct json_value *json_new_bool(struct arena *a, bool v);
struct json_value *json_new_i64(struct arena *a, int64_t v);
struct json_value *json_new_f64(struct arena *a, double v); /* not finite: a string */
struct json_value *json_new_null(struct arena *a);
struct json_value *json_copy(struct arena *a, const struct json_value *v); /* deep, texts too */

/* Sets the member `name` (replacing in place), or appends an element; takes `v`, which must not be
 * part of a tree. */
void json_set(struct json_value *object, str name, struct json_value *v);
void json_append(struct json_value *array, struct json_value *v);
bool json_remove(struct json_value *object, str name); /* false: there was none */

/* Same JSON: numbers by their value as FP64 or integer, members in any order. */
bool json_equal(const struct json_value *a, const struct json_value *b);

void json_write(struct json_writer *w, const struct json_value *v);

#endif
