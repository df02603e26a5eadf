#include "codec/protobuf_known.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    TIME_TEXT_SIZE = 128,
    DURATION_SECONDS_DIGITS = 12, /* 10000 years */
    MASK_TEXT_SIZE_MAX = 65536,
};

/* --- Timestamp and Duration --- */

static void set_time(ProtobufCMessage *m, struct arena *a, int64_t seconds, int32_t nanos) {
    memcpy(protobuf_add(m, a, &m->descriptor->fields[0]), &seconds, sizeof seconds);
    memcpy(protobuf_add(m, a, &m->descriptor->fields[1]), &nanos, sizeof nanos);
}

static void get_time(const ProtobufCMessage *m, int64_t *seconds, int32_t *nanos) {
    memcpy(seconds, protobuf_value(m, &m->descriptor->fields[0], 0), sizeof *seconds);
    memcpy(nanos, protobuf_value(m, &m->descriptor->fields[1], 0), sizeof *nanos);
}

/* Takes `n` digits (n = 0: as many as there are, at least one). */
static bool digits_take(str *s, size_t n, int64_t *value) {
    size_t i = 0;
    for (*value = 0; i < s->n && s->p[i] >= '0' && s->p[i] <= '9' && (n == 0 || i < n); i++) {
        if (i == DURATION_SECONDS_DIGITS)
            return false;
        *value = *value * 10 + (s->p[i] - '0');
    }
    *s = str_slice(*s, i, s->n);
    return i > 0 && (n == 0 || i == n);
}

static bool char_take(str *s, char c) {
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = str_slice(*s, 1, s->n);
    return true;
}

/* ".123456", or nothing. */
static bool fraction_take(str *s, int32_t *nanos) {
    *nanos = 0;
    if (!char_take(s, '.'))
        return true;
    size_t n = s->n;
    int64_t value;
    if (!digits_take(s, 0, &value) || (n -= s->n) > 9)
        return false;
    for (; n < 9; n++)
        value *= 10;
    *nanos = (int32_t)value;
    return true;
}

static bool timestamp_read(ProtobufCMessage *m, struct arena *a, const struct json_value *v) {
    str s;
    int64_t year, month, day, hour, minute, second, off_hour = 0, off_minute = 0;
    int32_t nanos;
    if (!json_to_str(v, &s) || !digits_take(&s, 4, &year) || !char_take(&s, '-') ||
        !digits_take(&s, 2, &month) || !char_take(&s, '-') || !digits_take(&s, 2, &day) ||
        !char_take(&s, 'T') || !digits_take(&s, 2, &hour) || !char_take(&s, ':') ||
        !digits_take(&s, 2, &minute) || !char_take(&s, ':') || !digits_take(&s, 2, &second) ||
        !fraction_take(&s, &nanos) || s.n == 0)
        return false;
    char zone = s.p[0];
    s = str_slice(s, 1, s.n);
    if (zone != 'Z' && ((zone != '+' && zone != '-') || !digits_take(&s, 2, &off_hour) ||
                        !char_take(&s, ':') || !digits_take(&s, 2, &off_minute)))
        return false;
    struct tm tm = {.tm_year = (int)year - 1900,
                    .tm_mon = (int)month - 1,
                    .tm_mday = (int)day,
                    .tm_hour = (int)hour,
                    .tm_min = (int)minute,
                    .tm_sec = (int)second};
    struct tm given = tm;
    time_t seconds = timegm(&tm);
    bool is_real = tm.tm_mon == given.tm_mon && tm.tm_mday == given.tm_mday && hour < 24 &&
                   minute < 60 && second < 60 && year > 0 && off_hour < 24 && off_minute < 60;
    int64_t offset = (off_hour * 60 + off_minute) * 60;
    set_time(m, a, (int64_t)seconds - (zone == '-' ? -offset : offset), nanos);
    return is_real && s.n == 0;
}

/* Nothing, or three, six or nine digits. */
static void fraction_write(char *out, size_t size, int32_t nanos) {
    if (nanos == 0)
        out[0] = '\0';
    else if (nanos % 1000000 == 0)
        snprintf(out, size, ".%03d", (int)(nanos / 1000000));
    else if (nanos % 1000 == 0)
        snprintf(out, size, ".%06d", (int)(nanos / 1000));
    else
        snprintf(out, size, ".%09d", (int)nanos);
}

static void timestamp_write(struct json_writer *w, const ProtobufCMessage *m) {
    char text[TIME_TEXT_SIZE], fraction[16];
    int64_t seconds;
    int32_t nanos;
    struct tm tm = {0};
    get_time(m, &seconds, &nanos);
    time_t t = (time_t)seconds;
    gmtime_r(&t, &tm);
    fraction_write(fraction, sizeof fraction, nanos);
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction);
    json_string(w, str_from_c(text));
}

static bool duration_read(ProtobufCMessage *m, struct arena *a, const struct json_value *v) {
    str s;
    int64_t seconds;
    int32_t nanos;
    if (!json_to_str(v, &s))
        return false;
    bool is_negative = char_take(&s, '-');
    if (!digits_take(&s, 0, &seconds) || !fraction_take(&s, &nanos) || !str_eq_c(s, "s"))
        return false;
    set_time(m, a, is_negative ? -seconds : seconds, is_negative ? -nanos : nanos);
    return true;
}

static void duration_write(struct json_writer *w, const ProtobufCMessage *m) {
    char text[TIME_TEXT_SIZE], fraction[16];
    int64_t seconds;
    int32_t nanos;
    get_time(m, &seconds, &nanos);
    bool is_negative = seconds < 0 || nanos < 0;
    fraction_write(fraction, sizeof fraction, nanos < 0 ? -nanos : nanos);
    snprintf(text, sizeof text, "%s%lld%ss", is_negative ? "-" : "",
             (long long)(seconds < 0 ? -seconds : seconds), fraction);
    json_string(w, str_from_c(text));
}

/* --- FieldMask --- */

static bool path_add(ProtobufCMessage *m, struct arena *a, str path) {
    const char *copy = str_copy(a, str_trim(path)).p;
    memcpy(protobuf_add(m, a, &m->descriptor->fields[0]), &copy, sizeof copy);
    return !path.n || !memchr(path.p, 0, path.n);
}

static bool mask_read(ProtobufCMessage *m, struct arena *a, const struct json_value *v) {
    str all, path;
    const struct json_value *paths = v->type == JSON_OBJECT ? json_get(v, "paths") : NULL;
    if (v->type == JSON_OBJECT) {
        if (v->n != (paths != NULL) || (paths && paths->type != JSON_ARRAY))
            return false;
        for (const struct json_value *p = paths ? paths->first : NULL; p; p = p->next)
            if (!json_to_str(p, &path) || !path_add(m, a, path))
                return false;
        return true;
    }
    if (!json_to_str(v, &all))
        return false;
    while (str_next(&all, ',', &path))
        if (str_trim(path).n && !path_add(m, a, path))
            return false;
    return true;
}

static void mask_write(struct json_writer *w, const ProtobufCMessage *m) {
    struct buffer text = {.size_max = MASK_TEXT_SIZE_MAX};
    const ProtobufCFieldDescriptor *f = &m->descriptor->fields[0];
    for (size_t i = 0; i < protobuf_count(m, f) && w->status == STATUS_OK; i++) {
        if (i)
            w->status = buffer_append(&text, ",", 1, w->err);
        if (w->status == STATUS_OK)
            w->status = buffer_append_str(
                &text, str_from_c(*(char *const *)protobuf_value(m, f, i)), w->err);
    }
    json_string(w, buffer_str(&text));
    buffer_done(&text);
}

/* --- Value --- */

static bool value_read(ProtobufCMessage *m, struct arena *a, const struct json_value *v) {
    struct buffer text = {0};
    struct json_writer w;
    json_writer_init(&w, &text, NULL);
    json_write(&w, v);
    bool is_good = json_writer_finish(&w) == STATUS_OK;
    str copy = str_copy(a, buffer_str(&text));
    buffer_done(&text);
    *(ProtobufCBinaryData *)protobuf_add(m, a, &m->descriptor->fields[0]) =
        (ProtobufCBinaryData){copy.n, (uint8_t *)(uintptr_t)copy.p};
    return is_good;
}

static void value_write(struct json_writer *w, const ProtobufCMessage *m) {
    const ProtobufCBinaryData *b = protobuf_value(m, &m->descriptor->fields[0], 0);
    json_raw(w, b->len ? (str){.p = (const char *)b->data, .n = b->len} : STR("null"));
}

static const struct protobuf_known knowns[] = {
    {"Timestamp", "a time such as \"2026-11-24T08:45:13.5Z\"", timestamp_read, timestamp_write},
    {"Duration", "a duration such as \"3.5s\"", duration_read, duration_write},
    {"FieldMask", "field names such as \"a.b,c\"", mask_read, mask_write},
    {"Value", "JSON", value_read, value_write},
};

const struct protobuf_known *protobuf_known_find(const ProtobufCMessageDescriptor *d) {
    for (size_t i = 0; i < ARRAY_LEN(knowns); i++)
        if (!strcmp(d->short_name, knowns[i].name))
            return &knowns[i];
    return NULL;
}
