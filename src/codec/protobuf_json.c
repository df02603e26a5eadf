#include "codec/protobuf_json.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "codec/base64.h"
#include "codec/protobuf_known.h"

/* ---- names ---- */

/* Is `name` the lowerCamelCase form of `original`? max_batch_size: maxBatchSize. */
static bool is_camel_of(str name, const char *original) {
    size_t i = 0;
    bool upper = false;
    for (const char *p = original; *p; p++) {
        if (*p == '_') {
            upper = true;
            continue;
        }
        char c = upper ? (char)toupper((unsigned char)*p) : *p;
        if (i == name.n || name.p[i++] != c)
            return false;
        upper = false;
    }
    return i == name.n;
}

const ProtobufCFieldDescriptor *protobuf_json_field(const ProtobufCMessageDescriptor *d, str name) {
    const ProtobufCFieldDescriptor *f = protobuf_field(d, name);
    for (unsigned i = 0; !f && i < d->n_fields; i++)
        if (is_camel_of(name, d->fields[i].name))
            f = &d->fields[i];
    return f;
}

/* ---- reading ---- */

struct reader {
    struct arena *arena;
    struct error *err;
    unsigned depth;
};

/* Where we are: inputs[0].dims, parameters["x"]. */
struct place {
    const struct place *parent;
    const char *field; /* NULL: an element or entry of the parent */
    size_t index;
    str key; /* p NULL: not an entry */
};

enum { PLACE_SIZE = 200, TEXT_SHOWN = 60 };
#define SHOW(s) (int)((s).n > TEXT_SHOWN ? TEXT_SHOWN : (s).n), (s).p

static size_t format_place(const struct place *at, char *out, size_t size) {
    size_t n = at->parent ? format_place(at->parent, out, size) : 0;
    int more;
    if (at->field)
        more = snprintf(out + n, size - n, "%s%s", n ? "." : "", at->field);
    else if (at->key.p)
        more = snprintf(out + n, size - n, "[\"%.*s\"]", SHOW(at->key));
    else if (at->parent)
        more = snprintf(out + n, size - n, "[%zu]", at->index);
    else
        more = snprintf(out + n, size - n, "%s", "");
    n += more < 0 ? 0 : (size_t)more;
    return n < size ? n : size - 1;
}

static status fail(struct reader *r, const struct place *at, const char *fmt, ...)
    ATTR_PRINTF(3, 4);
static status fail(struct reader *r, const struct place *at, const char *fmt, ...) {
    char place[PLACE_SIZE], text[300];
    size_t n = format_place(at, place, sizeof place);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(r->err, STATUS_INVALID_ARGUMENT, "%s%s%s%s", n ? "\"" : "", place,
                     n ? "\": " : "", text);
}

static status fail_type(struct reader *r, const struct place *at, const ProtobufCFieldDescriptor *f,
                        const struct json_value *v) {
    if (v->type == JSON_NUMBER || v->type == JSON_STRING)
        return fail(r, at, "wanted %s, found %s%.*s%s", protobuf_type_name(f),
                    v->type == JSON_STRING ? "\"" : "", SHOW(v->text),
                    v->type == JSON_STRING ? "\"" : "");
    return fail(r, at, "wanted %s, found %s", protobuf_type_name(f), json_type_name(v->type));
}

static status read_int(struct reader *r, const struct place *at, const ProtobufCFieldDescriptor *f,
                       const struct json_value *v, void *to) {
    int64_t i = 0, min = INT64_MIN, max = INT64_MAX;
    if (protobuf_value_size(f) == 4) {
        min = INT32_MIN;
        max = INT32_MAX;
    }
    if (!json_to_i64(v, &i) || i < min || i > max)
        return fail_type(r, at, f, v);
    memcpy(to, &i, protobuf_value_size(f));
    return STATUS_OK;
}

static status read_uint(struct reader *r, const struct place *at, const ProtobufCFieldDescriptor *f,
                        const struct json_value *v, void *to) {
    uint64_t u = 0;
    if (!json_to_u64(v, &u) || (protobuf_value_size(f) == 4 && u > UINT32_MAX))
        return fail_type(r, at, f, v);
    memcpy(to, &u, protobuf_value_size(f));
    return STATUS_OK;
}

static status read_float(struct reader *r, const struct place *at,
                         const ProtobufCFieldDescriptor *f, const struct json_value *v, void *to) {
    double d;
    if (v->type == JSON_STRING) {
        if (str_eq_c(v->text, "NaN"))
            d = (double)NAN;
        else if (str_eq_c(v->text, "Infinity"))
            d = (double)INFINITY;
        else if (str_eq_c(v->text, "-Infinity"))
            d = -(double)INFINITY;
        else if (!str_to_double(v->text, &d))
            return fail_type(r, at, f, v);
    } else if (!json_to_f64(v, &d)) {
        return fail_type(r, at, f, v);
    }
    if (f->type == PROTOBUF_C_TYPE_DOUBLE) {
        memcpy(to, &d, sizeof d);
        return STATUS_OK;
    }
    float narrow = (float)d;
    if (isinf(narrow) && !isinf(d))
        return fail(r, at, "%.*s is out of range for float", SHOW(v->text));
    memcpy(to, &narrow, sizeof narrow);
    return STATUS_OK;
}

static status read_enum(struct reader *r, const struct place *at, const ProtobufCFieldDescriptor *f,
                        const struct json_value *v, void *to) {
    const ProtobufCEnumDescriptor *d = f->descriptor;
    if (v->type == JSON_NUMBER) {
        TRY(read_int(r, at, f, v, to));
        int32_t number;
        memcpy(&number, to, sizeof number);
        if (!protobuf_c_enum_descriptor_get_value(d, number))
            return fail(r, at, "%s has no value %d", d->name, (int)number);
        return STATUS_OK;
    }
    if (v->type != JSON_STRING)
        return fail_type(r, at, f, v);
    for (unsigned i = 0; i < d->n_value_names; i++) {
        const char *name = d->values_by_name[i].name;
        if (strlen(name) == v->text.n && strncasecmp(name, v->text.p, v->text.n) == 0) {
            int32_t number = d->values[d->values_by_name[i].index].value;
            memcpy(to, &number, sizeof number);
            return STATUS_OK;
        }
    }
    const ProtobufCEnumValue *nearest = protobuf_nearest_enum_value(d, v->text);
    return fail(r, at, "%s has no value \"%.*s\"%s%s%s", d->name, SHOW(v->text),
                nearest ? ", nearest is \"" : "", nearest ? nearest->name : "",
                nearest ? "\"" : "");
}

static status read_text(struct reader *r, const struct place *at, const ProtobufCFieldDescriptor *f,
                        const struct json_value *v, void *to) {
    if (v->type != JSON_STRING)
        return fail_type(r, at, f, v);
    if (v->text.n && memchr(v->text.p, 0, v->text.n))
        return fail(r, at, "a string with a NUL");
    const char *copy = str_copy(r->arena, v->text).p;
    memcpy(to, &copy, sizeof copy);
    return STATUS_OK;
}

static status read_bytes(struct reader *r, const struct place *at,
                         const ProtobufCFieldDescriptor *f, const struct json_value *v, void *to) {
    struct buffer decoded = {0};
    struct error inner;
    if (v->type != JSON_STRING)
        return fail_type(r, at, f, v);
    if (base64_decode(&decoded, v->text, BASE64_STANDARD, &inner) != STATUS_OK &&
        base64_decode(&decoded, v->text, BASE64_URL, &inner) != STATUS_OK) {
        buffer_done(&decoded);
        return fail(r, at, "%s", inner.text);
    }
    str copy = str_copy(r->arena, buffer_str(&decoded));
    buffer_done(&decoded);
    *(ProtobufCBinaryData *)to = (ProtobufCBinaryData){copy.n, (uint8_t *)(uintptr_t)copy.p};
    return STATUS_OK;
}

static status read_message(struct reader *r, const struct place *at, ProtobufCMessage *m,
                           const struct json_value *v);

static status read_child(struct reader *r, const struct place *at,
                         const ProtobufCFieldDescriptor *f, const struct json_value *v, void *to) {
    ProtobufCMessage *child = protobuf_new(r->arena, f->descriptor);
    if (r->depth == PROTOBUF_DEPTH_MAX)
        return fail(r, at, "more than %d messages inside each other", PROTOBUF_DEPTH_MAX);
    r->depth++;
    TRY(read_message(r, at, child, v));
    r->depth--;
    memcpy(to, &child, sizeof child);
    return STATUS_OK;
}

static status read_value(struct reader *r, const struct place *at,
                         const ProtobufCFieldDescriptor *f, const struct json_value *v, void *to) {
    protobuf_c_boolean boolean = v->boolean;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_int(r, at, f, v, to);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_uint(r, at, f, v, to);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_float(r, at, f, v, to);
    case PROTOBUF_C_TYPE_BOOL:
        if (v->type != JSON_BOOL)
            return fail_type(r, at, f, v);
        memcpy(to, &boolean, sizeof boolean);
        return STATUS_OK;
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(r, at, f, v, to);
    case PROTOBUF_C_TYPE_STRING:
        return read_text(r, at, f, v, to);
    case PROTOBUF_C_TYPE_BYTES:
        return read_bytes(r, at, f, v, to);
    case PROTOBUF_C_TYPE_MESSAGE:
        return read_child(r, at, f, v, to);
    }
    return fail_type(r, at, f, v);
}

/* Reads a value, then makes its place: what fails half-way leaves no hole. */
static status add_value(struct reader *r, const struct place *at, ProtobufCMessage *m,
                        const ProtobufCFieldDescriptor *f, const struct json_value *v) {
    _Alignas(max_align_t) char value[sizeof(ProtobufCBinaryData)] = {0};
    TRY(read_value(r, at, f, v, value));
    memcpy(protobuf_add(m, r->arena, f), value, protobuf_value_size(f));
    return STATUS_OK;
}

/* A key is the name of a member; numbers and booleans are written in it. */
static status read_key(struct reader *r, const struct place *at, ProtobufCMessage *entry,
                       str name) {
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    struct json_value v = {.type = JSON_STRING, .text = name};
    if (key->type == PROTOBUF_C_TYPE_BOOL) {
        v.boolean = str_eq_c(name, "true");
        if (v.boolean || str_eq_c(name, "false"))
            v.type = JSON_BOOL;
    }
    return add_value(r, at, entry, key, &v);
}

static status read_map(struct reader *r, const struct place *at, ProtobufCMessage *m,
                       const ProtobufCFieldDescriptor *f, const struct json_value *v) {
    if (v->type != JSON_OBJECT)
        return fail(r, at, "wanted an object, found %s", json_type_name(v->type));
    if (v->n > PROTOBUF_MAP_ENTRIES_MAX)
        return fail(r, at, "more than %d entries", PROTOBUF_MAP_ENTRIES_MAX);
    for (const struct json_value *e = v->first; e; e = e->next) {
        struct place here = {at, NULL, 0, {e->name.n ? e->name.p : "", e->name.n}};
        ProtobufCMessage *entry = protobuf_new(r->arena, f->descriptor);
        TRY(read_key(r, &here, entry, e->name));
        if (e->type == JSON_NULL)
            return fail(r, &here, "an entry cannot be null");
        TRY(add_value(r, &here, entry, &entry->descriptor->fields[1], e));
        memcpy(protobuf_add(m, r->arena, f), &entry, sizeof entry);
        protobuf_merge_last_entry(m, f); /* "1" and "01" */
    }
    return STATUS_OK;
}

static status read_list(struct reader *r, const struct place *at, ProtobufCMessage *m,
                        const ProtobufCFieldDescriptor *f, const struct json_value *v) {
    if (v->type != JSON_ARRAY)
        return fail(r, at, "wanted an array, found %s", json_type_name(v->type));
    struct place here = {at, NULL, 0, {0}};
    for (const struct json_value *e = v->first; e; e = e->next, here.index++)
        TRY(add_value(r, &here, m, f, e));
    return STATUS_OK;
}

static status fail_known(struct reader *r, const struct place *at,
                         const struct protobuf_known *known, const struct json_value *v) {
    if (v->type == JSON_NUMBER || v->type == JSON_STRING)
        return fail(r, at, "wanted %s, found %.*s", known->wanted, SHOW(v->text));
    return fail(r, at, "wanted %s, found %s", known->wanted, json_type_name(v->type));
}

static status fail_unknown(struct reader *r, const struct place *at,
                           const ProtobufCMessageDescriptor *d, str name) {
    const ProtobufCFieldDescriptor *nearest = protobuf_nearest_field(d, name);
    return fail(r, at, "unknown field \"%.*s\"%s%s%s", SHOW(name), nearest ? ", nearest is \"" : "",
                nearest ? nearest->name : "", nearest ? "\"" : "");
}

static status read_message(struct reader *r, const struct place *at, ProtobufCMessage *m,
                           const struct json_value *v) {
    const struct protobuf_known *known = protobuf_known_find(m->descriptor);
    if (known)
        return known->read(m, r->arena, v) ? STATUS_OK : fail_known(r, at, known, v);
    if (v->type != JSON_OBJECT)
        return fail(r, at, "wanted an object, found %s", json_type_name(v->type));
    for (const struct json_value *e = v->first; e; e = e->next) {
        const ProtobufCFieldDescriptor *f = protobuf_json_field(m->descriptor, e->name);
        if (!f)
            return fail_unknown(r, at, m->descriptor, e->name);
        if (e->type == JSON_NULL)
            continue;
        struct place here = {at, f->name, 0, {0}};
        const ProtobufCFieldDescriptor *rival = protobuf_oneof_rival(m, f);
        if (rival)
            return fail(r, &here, "it cannot be set together with \"%s\"", rival->name);
        if (protobuf_count(m, f))
            return fail(r, &here, "it is set twice");
        if (protobuf_is_map(f))
            TRY(read_map(r, &here, m, f, e));
        else if (protobuf_is_repeated(f))
            TRY(read_list(r, &here, m, f, e));
        else
            TRY(add_value(r, &here, m, f, e));
    }
    return STATUS_OK;
}

status protobuf_json_read(ProtobufCMessage **out, struct arena *a,
                          const ProtobufCMessageDescriptor *d, const struct json_value *v,
                          struct error *err) {
    struct reader r = {.arena = a, .err = err, .depth = 1};
    struct place root = {0};
    ProtobufCMessage *m = protobuf_new(a, d);
    TRY(read_message(&r, &root, m, v));
    *out = m;
    return STATUS_OK;
}

/* ---- writing ---- */

static void write_name(struct json_writer *w, const char *name, unsigned flags) {
    char camel[128];
    size_t n = 0;
    bool upper = false;
    if (flags & PROTOBUF_JSON_ORIGINAL_NAMES || strlen(name) >= sizeof camel) {
        json_key(w, str_from_c(name));
        return;
    }
    for (const char *p = name; *p; p++) {
        if (*p == '_')
            upper = true;
        else {
            camel[n++] = upper ? (char)toupper((unsigned char)*p) : *p;
            upper = false;
        }
    }
    json_key(w, (str){.p = camel, .n = n});
}

/* A 64-bit integer is a string unless the caller asks otherwise: JavaScript would cut it. */
static void write_wide(struct json_writer *w, int64_t i, uint64_t u, bool is_signed,
                       unsigned flags) {
    char text[NUMBER_TEXT_SIZE];
    str s = {.p = text, .n = is_signed ? number_format_i64(text, i) : number_format_u64(text, u)};
    if (flags & PROTOBUF_JSON_INT64_NUMBERS)
        json_raw(w, s);
    else
        json_string(w, s);
}

static void write_float(struct json_writer *w, float v) {
    char text[NUMBER_TEXT_SIZE];
    str s = {.p = text, .n = number_format_f32(text, v)};
    if (!isfinite(v)) {
        json_string(w, s);
        return;
    }
    if (str_ends(s, STR(".0")))
        s.n -= 2;
    json_raw(w, s);
}

static void write_bytes(struct json_writer *w, const ProtobufCBinaryData *b) {
    struct buffer text = {0};
    if (w->status == STATUS_OK)
        w->status = base64_encode(&text, b->data, b->len, BASE64_STANDARD, w->err);
    json_string(w, buffer_str(&text));
    buffer_done(&text);
}

static void write_enum(struct json_writer *w, const ProtobufCEnumDescriptor *d, int32_t v,
                       unsigned flags) {
    const ProtobufCEnumValue *e =
        flags & PROTOBUF_JSON_ENUM_NUMBERS ? NULL : protobuf_c_enum_descriptor_get_value(d, v);
    if (e)
        json_string(w, str_from_c(e->name));
    else
        json_i64(w, v);
}

static void write_value(struct json_writer *w, const ProtobufCFieldDescriptor *f, const void *at,
                        unsigned flags) {
    int64_t i = 0;
    uint64_t u = 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        json_i64(w, *(const int32_t *)at);
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        json_u64(w, *(const uint32_t *)at);
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        memcpy(&i, at, sizeof i);
        write_wide(w, i, 0, true, flags);
        return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        memcpy(&u, at, sizeof u);
        write_wide(w, 0, u, false, flags);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        write_float(w, *(const float *)at);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_f64(w, *(const double *)at);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        json_bool(w, *(const protobuf_c_boolean *)at);
        return;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(w, f->descriptor, *(const int32_t *)at, flags);
        return;
    case PROTOBUF_C_TYPE_STRING:
        json_string(w, str_from_c(*(char *const *)at));
        return;
    case PROTOBUF_C_TYPE_BYTES:
        write_bytes(w, at);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        protobuf_json_write(w, *(ProtobufCMessage *const *)at, flags);
        return;
    }
}

static void write_entry(struct json_writer *w, const ProtobufCMessage *entry, unsigned flags) {
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
    const void *at = protobuf_value(entry, key, 0);
    char text[NUMBER_TEXT_SIZE];
    int64_t i = 0;
    uint64_t u = 0;
    switch (key->type) {
    case PROTOBUF_C_TYPE_STRING:
        json_key(w, str_from_c(*(char *const *)at));
        break;
    case PROTOBUF_C_TYPE_BOOL:
        json_key(w, *(const protobuf_c_boolean *)at ? STR("true") : STR("false"));
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        json_key(w, (str){text, number_format_i64(text, *(const int32_t *)at)});
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        memcpy(&i, at, sizeof i);
        json_key(w, (str){text, number_format_i64(text, i)});
        break;
    default:
        memcpy(&u, at, protobuf_value_size(key));
        json_key(w, (str){text, number_format_u64(text, u)});
    }
    write_value(w, value, protobuf_value(entry, value, 0), flags);
}

static void write_map(struct json_writer *w, const ProtobufCMessage *m,
                      const ProtobufCFieldDescriptor *f, size_t n, unsigned flags) {
    json_begin_object(w);
    for (size_t i = 0; i < n; i++)
        write_entry(w, *(ProtobufCMessage *const *)protobuf_value(m, f, i), flags);
    json_end_object(w);
}

/* Is a field written that is not set? Never messages, and members of a oneof. */
static bool is_written_anyway(const ProtobufCFieldDescriptor *f, unsigned flags) {
    if (!(flags & PROTOBUF_JSON_DEFAULTS) || f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return false;
    return protobuf_is_repeated(f) || f->type != PROTOBUF_C_TYPE_MESSAGE;
}

void protobuf_json_write(struct json_writer *w, const ProtobufCMessage *m, unsigned flags) {
    const struct protobuf_known *known = protobuf_known_find(m->descriptor);
    if (known) {
        known->write(w, m);
        return;
    }
    json_begin_object(w);
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        size_t n = protobuf_count(m, f);
        if (!n && !is_written_anyway(f, flags))
            continue;
        write_name(w, f->name, flags);
        if (protobuf_is_map(f)) {
            write_map(w, m, f, n, flags);
        } else if (protobuf_is_repeated(f)) {
            json_begin_array(w);
            for (size_t k = 0; k < n; k++)
                write_value(w, f, protobuf_value(m, f, k), flags);
            json_end_array(w);
        } else {
            write_value(w, f, protobuf_value(m, f, 0), flags);
        }
    }
    json_end_object(w);
}
