/* json_reader.h - pulls JSON values out of a byte range, without allocating anything.
 *
 * The caller walks the document in step with the structure it expects:
 *
 *     struct json_reader r;
 *     struct json_string name;
 *     json_reader_init(&r, text, err);
 *     if (json_enter_object(&r))
 *         while (json_next_member(&r, &name))
 *             if (json_string_is(name, STR("id")))
 *                 json_read_string(&r, &id);
 *             else
 *                 json_skip(&r, NULL);
 *     return json_reader_finish(&r);
 *
 * Errors stick: after the first one every call returns false, so that loops end, and
 * json_reader_finish() reports it with line, column and byte. RFC 8259, strict, UTF-8 only; a name
 * that comes twice is the caller's business. The bytes must outlive what is read. One thread. */
#ifndef CODEC_JSON_READER_H
#define CODEC_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"
#include "codec/number.h"

enum { JSON_DEPTH_MAX = 100 }; /* arrays and objects inside each other */

typedef enum json_type {
    JSON_NONE, /* the text ends here, or what comes is no value */
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
} json_type;

/* What is wrong, for protocols that have words of their own for it. */
typedef enum json_problem {
    JSON_PROBLEM_NONE,
    JSON_PROBLEM_EMPTY,         /* nothing but white space */
    JSON_PROBLEM_TRAILING,      /* something after the value */
    JSON_PROBLEM_VALUE,         /* no value where one must be */
    JSON_PROBLEM_NAME,          /* a member without a name */
    JSON_PROBLEM_COLON,         /* no colon after a name */
    JSON_PROBLEM_MEMBER_COMMA,  /* neither , nor } after a member */
    JSON_PROBLEM_ELEMENT_COMMA, /* neither , nor ] after an element */
    JSON_PROBLEM_NUMBER,
    JSON_PROBLEM_TOO_LARGE, /* a number that is larger than any FP64 */
    JSON_PROBLEM_QUOTE,     /* a string without its end */
    JSON_PROBLEM_ESCAPE,
    JSON_PROBLEM_SURROGATE,
    JSON_PROBLEM_ENCODING, /* not UTF-8, or a bare control character */
    JSON_PROBLEM_DUPLICATE,
    JSON_PROBLEM_TYPE,  /* good JSON, but not the type that was asked for */
    JSON_PROBLEM_RANGE, /* a number that the type asked for cannot hold */
    JSON_PROBLEM_SHAPE, /* ragged, or not the shape asked for */
    JSON_PROBLEM_LIMIT, /* deeper or more than allowed */
} json_problem;

struct json_reader {
    const char *p, *begin, *end;
    unsigned depth;
    bool entered;   /* an array or object was entered and nothing read from it yet */
    bool allow_nan; /* may be set after init: NaN, Infinity and -Infinity are numbers, too */
    json_problem problem;
    size_t problem_offset;
    status status;
    struct error *err;
};

/* A string as it was written, without its quotes; escapes are checked but still there. */
struct json_string {
    str raw;
    bool escaped; /* false: raw is the text */
};

void json_reader_init(struct json_reader *r, str text, struct error *err);

/* OK when one value and nothing else was read; else fills err. */
NODISCARD status json_reader_finish(struct json_reader *r);

/* The type of the value that comes next. Consumes white space only and reports nothing. */
json_type json_peek(struct json_reader *r);
const char *json_type_name(json_type t); /* "an array" */

bool json_enter_object(struct json_reader *r);
bool json_next_member(struct json_reader *r, struct json_string *name); /* false: } or error */
bool json_enter_array(struct json_reader *r);
bool json_next_element(struct json_reader *r); /* false: ] or error */

bool json_read_null(struct json_reader *r);
bool json_read_bool(struct json_reader *r, bool *out);

/* `text` may be NULL. A number of any type that is larger than any FP64 is an error here already,
 * as it is where json_skip() passes over it. */
bool json_read_number(struct json_reader *r, struct number *out, str *text);
bool json_read_i64(struct json_reader *r, int64_t *out);
bool json_read_u64(struct json_reader *r, uint64_t *out);
bool json_read_f64(struct json_reader *r, double *out);
bool json_read_string(struct json_reader *r, struct json_string *out);

/* Passes over one value of any type, checking it; *raw (may be NULL) gets its text. */
bool json_skip(struct json_reader *r, str *raw);

/* Stops the reading with an error at `at` (NULL: at the current place). Returns false. */
bool json_fail(struct json_reader *r, json_problem problem, status code, const char *at,
               const char *fmt, ...) ATTR_PRINTF(5, 6);

bool json_string_is(struct json_string s, str text);

/* The text of s: raw itself when nothing is escaped, else a copy in `a`. */
str json_string_text(struct json_string s, struct arena *a);

NODISCARD status json_string_append(struct buffer *out, struct json_string s, struct error *err);

#endif
