/* json_writer.h - appends JSON to a buffer.
 *
 *     struct json_writer w;
 *     json_writer_init(&w, &body, err);
 *     json_begin_object(&w);
 *     json_key(&w, STR("name"));
 *     json_string(&w, STR("minilm"));
 *     json_end_object(&w);
 *     return json_writer_finish(&w);
 *
 * Commas are put by the writer; that begin and end match is the caller's duty. The only thing that
 * can fail is the buffer's memory or limit; that sticks, and json_writer_finish() reports it. */
#ifndef CODEC_JSON_WRITER_H
#define CODEC_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"

struct json_writer {
    struct buffer *out;
    struct error *err;
    status status;
    bool pretty; /* may be set after init: a line a value, indented by two spaces */
    bool comma;  /* a value stands before this place */
    bool after_name;
    unsigned depth;
};

void json_writer_init(struct json_writer *w, struct buffer *out, struct error *err);
NODISCARD status json_writer_finish(struct json_writer *w);

void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, str name);

/* Bytes that are not UTF-8 are written as U+FFFD. */
void json_string(struct json_writer *w, str s);
void json_bool(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
void json_i64(struct json_writer *w, int64_t v);
void json_u64(struct json_writer *w, uint64_t v);

/* Shortest; integral values without a point ("3"). What JSON has no number for is written as the
 * string "NaN", "Infinity" or "-Infinity", as protobuf does. */
void json_f64(struct json_writer *w, double v);

/* A value that is JSON already. */
void json_raw(struct json_writer *w, str json);

/* json_key and the value, since that is most of what is written. */
void json_member_string(struct json_writer *w, const char *name, str s);
void json_member_bool(struct json_writer *w, const char *name, bool v);
void json_member_i64(struct json_writer *w, const char *name, int64_t v);
void json_member_u64(struct json_writer *w, const char *name, uint64_t v);
void json_member_f64(struct json_writer *w, const char *name, double v);

/* Appends `s` with quotes and escapes, outside of any writer. */
NODISCARD status json_quote(struct buffer *out, str s, struct error *err);

#endif
