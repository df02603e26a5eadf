#include "codec/pbtxt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/number.h"
#include "codec/pbtxt_token.h"
#include "codec/utf8.h"

/* ---- reading ---- */

struct parser {
    struct pbtxt_scanner scan;
    struct arena *arena;
    struct buffer scratch; /* strings while they are put together */
    size_t n_values;
    unsigned depth;
};

enum { TEXT_SHOWN = 60 };
#define SHOW(s) (int)((s).n > TEXT_SHOWN ? TEXT_SHOWN : (s).n), (s).p

/* What stands at the next token, for error texts. */
static status fail_value(struct parser *s, const ProtobufCFieldDescriptor *f) {
    struct pbtxt_token *t = &s->scan.next;
    if (t->kind == PBTXT_END)
        return pbtxt_fail(&s->scan, t->text.p, "\"%s\" wants %s, the text ends here", f->name,
                          protobuf_type_name(f));
    return pbtxt_fail(&s->scan, t->text.p, "\"%s\" wants %s, found %.*s", f->name,
                      protobuf_type_name(f), SHOW(t->text));
}

/* Decimal, 0x hex or 0 octal. */
static bool parse_unsigned(str text, uint64_t *out) {
    uint64_t v = 0;
    int base = 10;
    size_t i = 0;
    if (text.n > 1 && text.p[0] == '0') {
        bool hex = text.p[1] == 'x' || text.p[1] == 'X';
        base = hex ? 16 : 8;
        i = hex ? 2 : 1;
    }
    if (i == text.n)
        return false;
    for (; i < text.n; i++) {
        char c = text.p[i] | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
        if (text.p[i] < 0x20 || digit >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit, &v))
            return false;
    }
    *out = v;
    return true;
}

/* A whole number between the limits, of a type called as `f`'s. */
static status read_integer(struct parser *s, const ProtobufCFieldDescriptor *f, int64_t min,
                           uint64_t max, uint64_t *out) {
    const char *at = s->scan.next.text.p;
    bool negative;
    uint64_t v = 0;
    TRY(pbtxt_take_sign(&s->scan, '-', &negative));
    str text = s->scan.next.text;
    if (s->scan.next.kind != PBTXT_NUMBER || !parse_unsigned(text, &v))
        return fail_value(s, f);
    uint64_t limit = negative ? -(uint64_t)min : max;
    if (v > limit)
        return pbtxt_fail(&s->scan, at, "\"%s\": %s%.*s is out of range for %s", f->name,
                          negative ? "-" : "", SHOW(text), protobuf_type_name(f));
    *out = negative ? -v : v;
    return pbtxt_advance(&s->scan);
}

static status read_float(struct parser *s, const ProtobufCFieldDescriptor *f, double *out) {
    bool negative;
    uint64_t whole;
    struct number n;
    double v;
    TRY(pbtxt_take_sign(&s->scan, '-', &negative));
    str text = s->scan.next.text;
    bool is_name = s->scan.next.kind == PBTXT_NAME;
    if (is_name && (str_eq_c(text, "inf") || str_eq_c(text, "infinity"))) {
        v = (double)INFINITY;
    } else if (is_name && str_eq_c(text, "nan")) {
        v = (double)NAN;
    } else if (s->scan.next.kind == PBTXT_NUMBER && text.n > 1 && text.p[0] == '0' &&
               parse_unsigned(text, &whole)) {
        v = (double)whole; /* hex and octal */
    } else {
        /* JSON's grammar, and beyond it 1. and .5 and 1.5f */
        str digits = text;
        char completed[TEXT_SHOWN + 4];
        if (digits.n && (digits.p[digits.n - 1] | 0x20) == 'f')
            digits.n--;
        if (s->scan.next.kind != PBTXT_NUMBER || digits.n > TEXT_SHOWN)
            return fail_value(s, f);
        size_t size = 0;
        if (digits.p[0] == '.')
            completed[size++] = '0';
        for (size_t i = 0; i < digits.n; i++) {
            completed[size++] = digits.p[i];
            bool ends = i + 1 == digits.n || (digits.p[i + 1] | 0x20) == 'e';
            if (digits.p[i] == '.' && ends)
                completed[size++] = '0';
        }
        if (number_scan(completed, completed + size, &n) != completed + size)
            return fail_value(s, f);
        v = f->type == PROTOBUF_C_TYPE_FLOAT
                ? (double)number_to_f32(&n, completed, completed + size)
                : number_to_f64(&n, completed, completed + size);
    }
    *out = negative ? -v : v;
    return pbtxt_advance(&s->scan);
}

static status read_bool(struct parser *s, const ProtobufCFieldDescriptor *f,
                        protobuf_c_boolean *out) {
    static const struct {
        const char *text;
        bool value;
    } words[] = {{"true", true}, {"false", false}, {"True", true}, {"False", false},
                 {"t", true},    {"f", false},     {"1", true},    {"0", false}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq_c(s->scan.next.text, words[i].text)) {
            *out = words[i].value;
            return pbtxt_advance(&s->scan);
        }
    return fail_value(s, f);
}

static status read_enum(struct parser *s, const ProtobufCFieldDescriptor *f, int32_t *out) {
    const ProtobufCEnumDescriptor *d = f->descriptor;
    struct pbtxt_token t = s->scan.next;
    if (t.kind != PBTXT_NAME) {
        uint64_t v;
        TRY(read_integer(s, f, INT32_MIN, INT32_MAX, &v));
        *out = (int32_t)v;
        if (!protobuf_c_enum_descriptor_get_value(d, *out))
            return pbtxt_fail(&s->scan, t.text.p, "%s has no value %d", d->name, (int)*out);
        return STATUS_OK;
    }
    const ProtobufCEnumValue *v = protobuf_enum_value(d, t.text);
    if (!v) {
        const ProtobufCEnumValue *nearest = protobuf_nearest_enum_value(d, t.text);
        return pbtxt_fail(&s->scan, t.text.p, "%s has no value \"%.*s\"%s%s%s", d->name,
                          SHOW(t.text), nearest ? ", nearest is \"" : "",
                          nearest ? nearest->name : "", nearest ? "\"" : "");
    }
    *out = v->value;
    return pbtxt_advance(&s->scan);
}

/* One string or several side by side, put together in the arena. */
static status read_string(struct parser *s, const ProtobufCFieldDescriptor *f, str *out) {
    const char *at = s->scan.next.text.p;
    if (s->scan.next.kind != PBTXT_STRING)
        return fail_value(s, f);
    buffer_clear(&s->scratch);
    while (s->scan.next.kind == PBTXT_STRING) {
        TRY(pbtxt_decode_string(&s->scan, s->scan.next.text, &s->scratch));
        TRY(pbtxt_advance(&s->scan));
    }
    str text = buffer_str(&s->scratch);
    if (f->type == PROTOBUF_C_TYPE_STRING &&
        (!utf8_is_valid(text) || (text.n && memchr(text.p, 0, text.n))))
        return pbtxt_fail(&s->scan, at, "\"%s\": the string is not UTF-8 or has a NUL", f->name);
    *out = str_copy(s->arena, text);
    return STATUS_OK;
}

static status read_fields(struct parser *s, ProtobufCMessage *m, char close);

static status read_message(struct parser *s, const ProtobufCFieldDescriptor *f,
                           ProtobufCMessage *m) {
    char open = s->scan.next.kind == PBTXT_SIGN ? *s->scan.next.text.p : 0;
    if (open != '{' && open != '<')
        return fail_value(s, f);
    if (s->depth == PROTOBUF_DEPTH_MAX)
        return pbtxt_fail(&s->scan, s->scan.next.text.p, "more than %d messages inside each other",
                          PROTOBUF_DEPTH_MAX);
    TRY(pbtxt_advance(&s->scan));
    s->depth++;
    TRY(read_fields(s, m, open == '{' ? '}' : '>'));
    s->depth--;
    return pbtxt_advance(&s->scan);
}

/* Reads one value, not a list, into its place. */
static status store_value(struct parser *s, const ProtobufCFieldDescriptor *f, void *to) {
    uint64_t v = 0;
    double d;
    float narrow;
    str text;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        TRY(read_integer(s, f, INT32_MIN, INT32_MAX, &v));
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        TRY(read_integer(s, f, 0, UINT32_MAX, &v));
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        TRY(read_integer(s, f, INT64_MIN, INT64_MAX, &v));
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        TRY(read_integer(s, f, 0, UINT64_MAX, &v));
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        TRY(read_float(s, f, &d));
        narrow = (float)d;
        memcpy(to, &narrow, sizeof narrow);
        return STATUS_OK;
    case PROTOBUF_C_TYPE_DOUBLE:
        TRY(read_float(s, f, &d));
        memcpy(to, &d, sizeof d);
        return STATUS_OK;
    case PROTOBUF_C_TYPE_BOOL:
        return read_bool(s, f, to);
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(s, f, to);
    case PROTOBUF_C_TYPE_STRING:
        TRY(read_string(s, f, &text));
        memcpy(to, &text.p, sizeof text.p);
        return STATUS_OK;
    case PROTOBUF_C_TYPE_BYTES:
        TRY(read_string(s, f, &text));
        *(ProtobufCBinaryData *)to = (ProtobufCBinaryData){text.n, (uint8_t *)(uintptr_t)text.p};
        return STATUS_OK;
    case PROTOBUF_C_TYPE_MESSAGE:
        return STATUS_INTERNAL; /* add_value has taken it */
    }
    memcpy(to, &v, protobuf_value_size(f));
    return STATUS_OK;
}

/* Reads one value and adds it to `m`. A value is read before its place is made, so that a message
 * that fails half-way holds no hole. */
static status add_value(struct parser *s, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    if (++s->n_values > PROTOBUF_VALUES_MAX)
        return pbtxt_fail(&s->scan, s->scan.next.text.p, "more than %d values",
                          PROTOBUF_VALUES_MAX);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage *child = protobuf_new(s->arena, f->descriptor);
        const char *at = s->scan.next.text.p;
        TRY(read_message(s, f, child));
        memcpy(protobuf_add(m, s->arena, f), &child, sizeof child);
        if (!protobuf_is_map(f))
            return STATUS_OK;
        protobuf_complete_entry(child, s->arena);
        protobuf_merge_last_entry(m, f);
        if (protobuf_count(m, f) > PROTOBUF_MAP_ENTRIES_MAX)
            return pbtxt_fail(&s->scan, at, "\"%s\" has more than %d entries", f->name,
                              PROTOBUF_MAP_ENTRIES_MAX);
        return STATUS_OK;
    }
    _Alignas(max_align_t) char value[sizeof(ProtobufCBinaryData)];
    TRY(store_value(s, f, value));
    memcpy(protobuf_add(m, s->arena, f), value, protobuf_value_size(f));
    return STATUS_OK;
}

static status read_list(struct parser *s, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    bool closed, comma = true;
    TRY(pbtxt_advance(&s->scan)); /* [ */
    TRY(pbtxt_take_sign(&s->scan, ']', &closed));
    if (closed)
        return STATUS_OK;
    while (comma) {
        TRY(add_value(s, m, f));
        TRY(pbtxt_take_sign(&s->scan, ',', &comma));
    }
    TRY(pbtxt_take_sign(&s->scan, ']', &closed));
    if (!closed)
        return pbtxt_fail(&s->scan, s->scan.next.text.p, "wanted , or ] after an element of \"%s\"",
                          f->name);
    return STATUS_OK;
}

static status fail_unknown(struct parser *s, const ProtobufCMessageDescriptor *d, str name) {
    const ProtobufCFieldDescriptor *nearest = protobuf_nearest_field(d, name);
    return pbtxt_fail(&s->scan, name.p, "%s has no field \"%.*s\"%s%s%s", d->name, SHOW(name),
                      nearest ? ", nearest is \"" : "", nearest ? nearest->name : "",
                      nearest ? "\"" : "");
}

static status read_field(struct parser *s, ProtobufCMessage *m) {
    struct pbtxt_token name = s->scan.next;
    bool colon, separator;
    if (name.kind != PBTXT_NAME)
        return pbtxt_fail(&s->scan, name.text.p, "wanted the name of a field, found %.*s",
                          SHOW(name.text));
    const ProtobufCFieldDescriptor *f = protobuf_field(m->descriptor, name.text);
    if (!f)
        return fail_unknown(s, m->descriptor, name.text);
    const ProtobufCFieldDescriptor *rival = protobuf_oneof_rival(m, f);
    if (rival)
        return pbtxt_fail(&s->scan, name.text.p, "\"%s\" and \"%s\" cannot both be set",
                          rival->name, f->name);
    TRY(pbtxt_advance(&s->scan));
    TRY(pbtxt_take_sign(&s->scan, ':', &colon));
    if (!colon && f->type != PROTOBUF_C_TYPE_MESSAGE)
        return pbtxt_fail(&s->scan, s->scan.next.text.p, "wanted : after \"%s\"", f->name);
    if (pbtxt_is_sign(&s->scan, '[') && protobuf_is_repeated(f)) {
        TRY(read_list(s, m, f));
    } else {
        if (!protobuf_is_repeated(f) && protobuf_count(m, f))
            return pbtxt_fail(&s->scan, name.text.p, "\"%s\" is set twice", f->name);
        TRY(add_value(s, m, f));
    }
    TRY(pbtxt_take_sign(&s->scan, ',', &separator));
    return separator ? STATUS_OK : pbtxt_take_sign(&s->scan, ';', &separator);
}

/* Fields up to `close` (0: the end of the text), which stays the next token. */
static status read_fields(struct parser *s, ProtobufCMessage *m, char close) {
    while (!pbtxt_is_sign(&s->scan, close)) {
        if (s->scan.next.kind == PBTXT_END) {
            if (!close)
                break;
            return pbtxt_fail(&s->scan, s->scan.next.text.p, "the text ends before a %c", close);
        }
        TRY(read_field(s, m));
    }
    return STATUS_OK;
}

status pbtxt_read(ProtobufCMessage **out, struct arena *a, const ProtobufCMessageDescriptor *d,
                  str text, struct error *err) {
    struct parser s = {.arena = a, .depth = 1};
    ProtobufCMessage *m = protobuf_new(a, d);
    status result = pbtxt_scanner_init(&s.scan, text, err);
    if (result == STATUS_OK)
        result = read_fields(&s, m, 0);
    buffer_done(&s.scratch);
    if (result == STATUS_OK)
        *out = m;
    return result;
}

/* ---- writing ---- */

static status write_string(struct buffer *out, str s, struct error *err) {
    static const char from[] = "\n\r\t\"\\", to[] = "nrt\"\\";
    bool utf8 = utf8_is_valid(s);
    TRY(buffer_append(out, "\"", 1, err));
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        const char *found = c ? strchr(from, c) : NULL;
        if (found)
            TRY(buffer_printf(out, err, "\\%c", to[found - from]));
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
            TRY(buffer_printf(out, err, "\\%03o", c));
        else
            TRY(buffer_append(out, &s.p[i], 1, err));
    }
    return buffer_append(out, "\"", 1, err);
}

static status write_float(struct buffer *out, double v, bool narrow, struct error *err) {
    char text[NUMBER_TEXT_SIZE];
    if (!isfinite(v))
        return buffer_append_str(out,
                                 isnan(v) ? STR("nan")
                                 : v < 0  ? STR("-inf")
                                          : STR("inf"),
                                 err);
    size_t n = narrow ? number_format_f32(text, (float)v) : number_format_f64(text, v);
    return buffer_append(out, text, n, err);
}

static status write_scalar(struct buffer *out, const ProtobufCFieldDescriptor *f, const void *at,
                           struct error *err) {
    char text[NUMBER_TEXT_SIZE];
    int64_t i = 0;
    uint64_t u = 0;
    const ProtobufCEnumValue *e;
    switch (f->type) {
    case PROTOBUF_C_TYPE_FLOAT:
        return write_float(out, (double)*(const float *)at, true, err);
    case PROTOBUF_C_TYPE_DOUBLE:
        return write_float(out, *(const double *)at, false, err);
    case PROTOBUF_C_TYPE_BOOL:
        return buffer_append_str(out, *(const protobuf_c_boolean *)at ? STR("true") : STR("false"),
                                 err);
    case PROTOBUF_C_TYPE_STRING:
        return write_string(out, str_from_c(*(char *const *)at), err);
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *b = at;
        return write_string(out, (str){.p = (const char *)b->data, .n = b->len}, err);
    }
    case PROTOBUF_C_TYPE_ENUM:
        i = *(const int32_t *)at;
        e = protobuf_c_enum_descriptor_get_value(f->descriptor, (int)i);
        if (e)
            return buffer_append_str(out, str_from_c(e->name), err);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        i = *(const int32_t *)at;
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        i = *(const int64_t *)at;
        break;
    default: /* unsigned; little-endian, so that the low bytes are the value */
        memcpy(&u, at, protobuf_value_size(f));
        return buffer_append(out, text, number_format_u64(text, u), err);
    }
    return buffer_append(out, text, number_format_i64(text, i), err);
}

static status write_fields(struct buffer *out, const ProtobufCMessage *m, int depth,
                           struct error *err);

static status write_field(struct buffer *out, const ProtobufCMessage *m,
                          const ProtobufCFieldDescriptor *f, int depth, struct error *err) {
    size_t n = protobuf_count(m, f);
    int indent = 2 * depth;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        for (size_t i = 0; i < n; i++) {
            const ProtobufCMessage *child = *(ProtobufCMessage *const *)protobuf_value(m, f, i);
            TRY(buffer_printf(out, err, "%*s%s {\n", indent, "", f->name));
            TRY(write_fields(out, child, depth + 1, err));
            TRY(buffer_printf(out, err, "%*s}\n", indent, ""));
        }
        return STATUS_OK;
    }
    if (!n)
        return STATUS_OK;
    TRY(buffer_printf(out, err, protobuf_is_repeated(f) ? "%*s%s: [ " : "%*s%s: ", indent, "",
                      f->name));
    for (size_t i = 0; i < n; i++) {
        if (i)
            TRY(buffer_append(out, ", ", 2, err));
        TRY(write_scalar(out, f, protobuf_value(m, f, i), err));
    }
    return buffer_append_str(out, protobuf_is_repeated(f) ? STR(" ]\n") : STR("\n"), err);
}

static status write_fields(struct buffer *out, const ProtobufCMessage *m, int depth,
                           struct error *err) {
    for (unsigned i = 0; i < m->descriptor->n_fields; i++)
        TRY(write_field(out, m, &m->descriptor->fields[i], depth, err));
    return STATUS_OK;
}

status pbtxt_write(struct buffer *out, const ProtobufCMessage *m, struct error *err) {
    return write_fields(out, m, 0, err);
}
