#include "codec/json_writer.h"

#include <math.h>
#include <string.h>

#include "codec/number.h"
#include "codec/utf8.h"

static void put(struct json_writer *w, str s) {
    if (w->status == STATUS_OK)
        w->status = buffer_append_str(w->out, s, w->err);
}

static void put_line(struct json_writer *w) {
    static const char spaces[] = "                                ";
    put(w, STR("\n"));
    for (size_t n = (size_t)w->depth * 2; n;) {
        size_t part = n < sizeof spaces - 1 ? n : sizeof spaces - 1;
        put(w, (str){.p = spaces, .n = part});
        n -= part;
    }
}

/* What separates this value, or name, from what stands before it. */
static void separate(struct json_writer *w) {
    if (w->comma)
        put(w, STR(","));
    if (w->pretty && w->depth && !w->after_name)
        put_line(w);
    w->after_name = false;
}

static void put_value(struct json_writer *w, str s) {
    separate(w);
    put(w, s);
    w->comma = true;
}

static void begin(struct json_writer *w, str bracket) {
    put_value(w, bracket);
    w->comma = false;
    w->depth++;
}

static void end(struct json_writer *w, str bracket) {
    w->depth--;
    if (w->pretty && w->comma)
        put_line(w);
    put(w, bracket);
    w->comma = true;
}

void json_writer_init(struct json_writer *w, struct buffer *out, struct error *err) {
    *w = (struct json_writer){.out = out, .err = err, .status = STATUS_OK};
}

status json_writer_finish(struct json_writer *w) {
    return w->status;
}

void json_begin_object(struct json_writer *w) {
    begin(w, STR("{"));
}

void json_end_object(struct json_writer *w) {
    end(w, STR("}"));
}

void json_begin_array(struct json_writer *w) {
    begin(w, STR("["));
}

void json_end_array(struct json_writer *w) {
    end(w, STR("]"));
}

void json_key(struct json_writer *w, str name) {
    json_string(w, name);
    put(w, w->pretty ? STR(": ") : STR(":"));
    w->comma = false;
    w->after_name = true;
}

/* Bytes at p that need no escape. */
static size_t plain_length(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && (unsigned char)p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static status put_escape(struct buffer *out, unsigned char c, struct error *err) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return buffer_printf(out, err, "\\u%04x", c);
    return buffer_append(out, (char[]){'\\', to[found - from]}, 2, err);
}

status json_quote(struct buffer *out, str s, struct error *err) {
    TRY(buffer_reserve(out, s.n + 2, err));
    TRY(buffer_append(out, "\"", 1, err));
    while (s.n) {
        size_t valid = utf8_valid_prefix(s), i = 0;
        while (i < valid) {
            size_t plain = plain_length(s.p + i, valid - i);
            TRY(buffer_append(out, s.p + i, plain, err));
            i += plain;
            if (i < valid)
                TRY(put_escape(out, (unsigned char)s.p[i++], err));
        }
        if (valid < s.n) {
            TRY(buffer_append_str(out, STR("\xef\xbf\xbd"), err));
            valid++;
        }
        s = str_slice(s, valid, s.n);
    }
    return buffer_append(out, "\"", 1, err);
}

void json_string(struct json_writer *w, str s) {
    separate(w);
    if (w->status == STATUS_OK)
        w->status = json_quote(w->out, s, w->err);
    w->comma = true;
}

void json_bool(struct json_writer *w, bool v) {
    put_value(w, v ? STR("true") : STR("false"));
}

void json_null(struct json_writer *w) {
    put_value(w, STR("null"));
}

void json_i64(struct json_writer *w, int64_t v) {
    char text[NUMBER_TEXT_SIZE];
    put_value(w, (str){.p = text, .n = number_format_i64(text, v)});
}

void json_u64(struct json_writer *w, uint64_t v) {
    char text[NUMBER_TEXT_SIZE];
    put_value(w, (str){.p = text, .n = number_format_u64(text, v)});
}

void json_f64(struct json_writer *w, double v) {
    char text[NUMBER_TEXT_SIZE];
    str s = {.p = text, .n = number_format_f64(text, v)};
    if (!isfinite(v)) {
        json_string(w, s);
        return;
    }
    if (str_ends(s, STR(".0")))
        s.n -= 2;
    put_value(w, s);
}

void json_raw(struct json_writer *w, str json) {
    put_value(w, json);
}

void json_member_string(struct json_writer *w, const char *name, str s) {
    json_key(w, str_from_c(name));
    json_string(w, s);
}

void json_member_bool(struct json_writer *w, const char *name, bool v) {
    json_key(w, str_from_c(name));
    json_bool(w, v);
}

void json_member_i64(struct json_writer *w, const char *name, int64_t v) {
    json_key(w, str_from_c(name));
    json_i64(w, v);
}

void json_member_u64(struct json_writer *w, const char *name, uint64_t v) {
    json_key(w, str_from_c(name));
    json_u64(w, v);
}

void json_member_f64(struct json_writer *w, const char *name, double v) {
    json_key(w, str_from_c(name));
    json_f64(w, v);
}
