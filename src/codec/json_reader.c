#include "codec/json_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec/utf8.h"

/* ---- errors ---- */

bool json_fail(struct json_reader *r, json_problem problem, status code, const char *at,
               const char *fmt, ...) {
    if (r->problem)
        return false;
    at = at ? at : r->p;
    size_t line = 1, column = 1;
    for (const char *p = r->begin; p < at; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    char text[sizeof r->err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->problem = problem;
    r->problem_offset = (size_t)(at - r->begin);
    r->status = error_set(r->err, code, "JSON line %zu, column %zu (byte %zu): %.300s", line,
                          column, r->problem_offset, text);
    return false;
}

static bool fail(struct json_reader *r, json_problem problem, const char *at, const char *text) {
    return json_fail(r, problem, STATUS_INVALID_ARGUMENT, at, "%s", text);
}

const char *json_type_name(json_type t) {
    static const char *const names[] = {"nothing",  "null",     "true or false", "a number",
                                        "a string", "an array", "an object"};
    return names[t];
}

static bool fail_type(struct json_reader *r, json_type wanted) {
    if (r->problem)
        return false;
    json_type found = json_peek(r);
    if (found == JSON_NONE)
        return fail(r, JSON_PROBLEM_VALUE, NULL,
                    r->p == r->end ? "the text ends where a value must be"
                                   : "no value starts like this");
    return json_fail(r, JSON_PROBLEM_TYPE, STATUS_INVALID_ARGUMENT, NULL, "wanted %s, found %s",
                     json_type_name(wanted), json_type_name(found));
}

/* ---- structure ---- */

static void skip_space(struct json_reader *r) {
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
}

void json_reader_init(struct json_reader *r, str text, struct error *err) {
    *r = (struct json_reader){
        .p = text.p, .begin = text.p, .end = text.p + text.n, .status = STATUS_OK, .err = err};
    skip_space(r);
    if (r->p == r->end)
        fail(r, JSON_PROBLEM_EMPTY, NULL, "the text is empty");
}

status json_reader_finish(struct json_reader *r) {
    if (!r->problem) {
        skip_space(r);
        if (r->p != r->end || r->depth)
            fail(r, JSON_PROBLEM_TRAILING, NULL, "something follows the value");
    }
    return r->status;
}

json_type json_peek(struct json_reader *r) {
    if (r->problem)
        return JSON_NONE;
    skip_space(r);
    if (r->p == r->end)
        return JSON_NONE;
    switch (*r->p) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    case 'N':
    case 'I':
        return r->allow_nan ? JSON_NUMBER : JSON_NONE;
    default:
        return *r->p == '-' || number_is_digit(*r->p) ? JSON_NUMBER : JSON_NONE;
    }
}

static bool enter(struct json_reader *r, json_type type) {
    if (json_peek(r) != type)
        return fail_type(r, type);
    if (r->depth == JSON_DEPTH_MAX)
        return json_fail(r, JSON_PROBLEM_LIMIT, STATUS_INVALID_ARGUMENT, NULL,
                         "more than %d arrays and objects inside each other", JSON_DEPTH_MAX);
    r->p++;
    r->depth++;
    r->entered = true;
    return true;
}

bool json_enter_object(struct json_reader *r) {
    return enter(r, JSON_OBJECT);
}

bool json_enter_array(struct json_reader *r) {
    return enter(r, JSON_ARRAY);
}

/* Is there one more item before `close`? Consumes the comma, or `close`. */
static bool next_item(struct json_reader *r, char close) {
    if (r->problem)
        return false;
    bool first = r->entered;
    r->entered = false;
    skip_space(r);
    if (r->p < r->end && *r->p == close) {
        r->p++;
        r->depth--;
        return false;
    }
    if (first)
        return true;
    if (r->p == r->end || *r->p != ',')
        return close == ']'
                   ? fail(r, JSON_PROBLEM_ELEMENT_COMMA, NULL, "neither , nor ] after an element")
                   : fail(r, JSON_PROBLEM_MEMBER_COMMA, NULL, "neither , nor } after a member");
    r->p++;
    return true;
}

bool json_next_element(struct json_reader *r) {
    return next_item(r, ']');
}

bool json_next_member(struct json_reader *r, struct json_string *name) {
    if (!next_item(r, '}'))
        return false;
    if (json_peek(r) != JSON_STRING)
        return fail(r, JSON_PROBLEM_NAME, NULL, "a member needs a name in quotes");
    if (!json_read_string(r, name))
        return false;
    skip_space(r);
    if (r->p == r->end || *r->p != ':')
        return fail(r, JSON_PROBLEM_COLON, NULL, "no : after the name of a member");
    r->p++;
    return true;
}

/* ---- scalars ---- */

static bool read_word(struct json_reader *r, str word) {
    if ((size_t)(r->end - r->p) < word.n || memcmp(r->p, word.p, word.n) != 0)
        return fail(r, JSON_PROBLEM_VALUE, NULL, "no value starts like this");
    r->p += word.n;
    return true;
}

bool json_read_null(struct json_reader *r) {
    if (json_peek(r) != JSON_NULL)
        return fail_type(r, JSON_NULL);
    return read_word(r, STR("null"));
}

bool json_read_bool(struct json_reader *r, bool *out) {
    if (json_peek(r) != JSON_BOOL)
        return fail_type(r, JSON_BOOL);
    bool value = *r->p == 't';
    if (!read_word(r, value ? STR("true") : STR("false")))
        return false;
    *out = value;
    return true;
}

/* NaN, Infinity, -Infinity: the value is told by the text, out->cut is set. */
static bool read_not_finite(struct json_reader *r, struct number *out) {
    *out = (struct number){.negative = *r->p == '-', .cut = true};
    if (*r->p == 'N')
        return read_word(r, STR("NaN"));
    r->p += out->negative;
    return read_word(r, STR("Infinity"));
}

static bool is_too_large(const struct number *n, const char *text, const char *end) {
    enum { EXPONENT_FITS = 288 }; /* 2^64 * 10^288 is an FP64 */
    return (n->cut || n->exponent > EXPONENT_FITS) && isinf(number_to_f64(n, text, end));
}

static bool fail_number(struct json_reader *r, json_problem problem, str text, const char *what) {
    return json_fail(r, problem, STATUS_INVALID_ARGUMENT, text.p, "%.*s%s is %s",
                     (int)(text.n > 60 ? 60 : text.n), text.p, text.n > 60 ? "..." : "", what);
}

bool json_read_number(struct json_reader *r, struct number *out, str *text) {
    if (json_peek(r) != JSON_NUMBER)
        return fail_type(r, JSON_NUMBER);
    const char *start = r->p;
    char second = r->end - start > 1 ? start[1] : 0;
    if (r->allow_nan && (*start == 'N' || *start == 'I' || (*start == '-' && second == 'I'))) {
        if (!read_not_finite(r, out))
            return false;
    } else {
        const char *end = number_scan(start, r->end, out);
        if (!end)
            return fail(r, JSON_PROBLEM_NUMBER, NULL, "a number is cut off");
        if (is_too_large(out, start, end))
            return fail_number(r, JSON_PROBLEM_TOO_LARGE,
                               (str){.p = start, .n = (size_t)(end - start)},
                               "larger than any FP64");
        r->p = end;
    }
    if (text)
        *text = (str){.p = start, .n = (size_t)(r->p - start)};
    return true;
}

bool json_read_i64(struct json_reader *r, int64_t *out) {
    struct number n;
    str text;
    if (!json_read_number(r, &n, &text))
        return false;
    return number_to_i64(&n, out) ||
           fail_number(r, JSON_PROBLEM_RANGE, text, "not a 64-bit integer");
}

bool json_read_u64(struct json_reader *r, uint64_t *out) {
    struct number n;
    str text;
    if (!json_read_number(r, &n, &text))
        return false;
    return number_to_u64(&n, out) ||
           fail_number(r, JSON_PROBLEM_RANGE, text, "not an unsigned 64-bit integer");
}

bool json_read_f64(struct json_reader *r, double *out) {
    struct number n;
    str text;
    if (!json_read_number(r, &n, &text))
        return false;
    double v;
    if (text.p[text.n - 1] == 'N' || text.p[text.n - 1] == 'y')
        v = *text.p == 'N' ? (double)NAN : *text.p == 'I' ? (double)INFINITY : -(double)INFINITY;
    else
        v = number_to_f64(&n, text.p, text.p + text.n);
    *out = v;
    return true;
}

/* ---- strings ---- */

static int hex_value(char c) {
    if (number_is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hex digits at p, or -1. */
static int read_hex4(const char *p, const char *end) {
    if (end - p < 4)
        return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* Decodes the escape at p (a backslash) into out, *n bytes. Returns the byte after it; NULL: it
 * is not one, *problem says why. */
static const char *decode_escape(const char *p, const char *end, char out[4], size_t *n,
                                 json_problem *problem) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    *problem = JSON_PROBLEM_ESCAPE;
    if (end - p < 2)
        return NULL;
    if (p[1] != 'u') {
        const char *found = p[1] ? strchr(from, p[1]) : NULL;
        if (!found)
            return NULL;
        out[0] = to[found - from];
        *n = 1;
        return p + 2;
    }
    int c = read_hex4(p + 2, end);
    if (c < 0)
        return NULL;
    p += 6;
    if (c >= 0xd800 && c <= 0xdfff) {
        *problem = JSON_PROBLEM_SURROGATE;
        int low = end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? read_hex4(p + 2, end) : -1;
        if (c > 0xdbff || low < 0xdc00 || low > 0xdfff)
            return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *n = utf8_encode((uint32_t)c, out);
    return p;
}

/* Does any of the 8 bytes end a run of plain ASCII text? */
static bool has_special(uint64_t v) {
    const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    uint64_t quote = v ^ ones * '"', backslash = v ^ ones * '\\';
    uint64_t hits = (quote - ones) | (backslash - ones) | (v - ones * 0x20);
    return ((hits & ~v) | v) & tops;
}

static const char *skip_plain(const char *p, const char *end) {
    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        if (has_special(v))
            break;
        p += 8;
    }
    return p;
}

static bool fail_escape(struct json_reader *r, const char *at, json_problem problem) {
    return fail(r, problem, at,
                problem == JSON_PROBLEM_SURROGATE ? "half of a surrogate pair stands alone"
                                                  : "no escape sequence looks like this");
}

bool json_read_string(struct json_reader *r, struct json_string *out) {
    if (json_peek(r) != JSON_STRING)
        return fail_type(r, JSON_STRING);
    const char *start = r->p + 1, *p = start;
    bool escaped = false, ascii = true;
    for (;;) {
        p = skip_plain(p, r->end);
        if (p == r->end)
            return fail(r, JSON_PROBLEM_QUOTE, NULL, "a string has no closing quote");
        unsigned char c = (unsigned char)*p;
        if (c == '"')
            break;
        if (c < 0x20)
            return fail(r, JSON_PROBLEM_ENCODING, p, "a bare control character in a string");
        if (c == '\\') {
            char decoded[4];
            size_t n;
            json_problem problem;
            const char *next = decode_escape(p, r->end, decoded, &n, &problem);
            if (!next)
                return fail_escape(r, p, problem);
            escaped = true;
            p = next;
            continue;
        }
        ascii &= c < 0x80;
        p++;
    }
    str raw = {.p = start, .n = (size_t)(p - start)};
    size_t valid = ascii ? raw.n : utf8_valid_prefix(raw);
    if (valid < raw.n)
        return fail(r, JSON_PROBLEM_ENCODING, start + valid, "a string is not UTF-8");
    *out = (struct json_string){.raw = raw, .escaped = escaped};
    r->p = p + 1;
    return true;
}

/* Decodes into `to`, which has room for raw.n bytes; an escape is never shorter than its text. */
static size_t decode(struct json_string s, char *to) {
    char *start = to;
    const char *p = s.raw.p, *end = p + s.raw.n;
    while (p < end) {
        const char *backslash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((backslash ? backslash : end) - p);
        memcpy(to, p, plain);
        to += plain;
        p += plain;
        if (!backslash)
            break;
        char decoded[4];
        size_t n = 0;
        json_problem problem;
        p = decode_escape(p, end, decoded, &n, &problem);
        memcpy(to, decoded, n);
        to += n;
    }
    return (size_t)(to - start);
}

bool json_string_is(struct json_string s, str text) {
    if (!s.escaped)
        return str_eq(s.raw, text);
    const char *p = s.raw.p, *end = p + s.raw.n;
    for (size_t at = 0;;) {
        char decoded[4] = {p < end ? *p : 0};
        size_t n = 1;
        json_problem problem;
        if (p == end || at == text.n)
            return p == end && at == text.n;
        p = *p == '\\' ? decode_escape(p, end, decoded, &n, &problem) : p + 1;
        if (text.n - at < n || memcmp(text.p + at, decoded, n) != 0)
            return false;
        at += n;
    }
}

str json_string_text(struct json_string s, struct arena *a) {
    if (!s.escaped)
        return s.raw;
    char *copy = arena_alloc(a, s.raw.n + 1, 1);
    return (str){.p = copy, .n = decode(s, copy)};
}

status json_string_append(struct buffer *out, struct json_string s, struct error *err) {
    if (!s.escaped)
        return buffer_append_str(out, s.raw, err);
    TRY(buffer_reserve(out, s.raw.n, err));
    out->n += decode(s, out->p + out->n);
    return STATUS_OK;
}

/* ---- skipping ---- */

static bool skip_scalar(struct json_reader *r, json_type type) {
    struct number number;
    struct json_string string;
    bool boolean;
    switch (type) {
    case JSON_NUMBER:
        return json_read_number(r, &number, NULL);
    case JSON_STRING:
        return json_read_string(r, &string);
    case JSON_BOOL:
        return json_read_bool(r, &boolean);
    default:
        return json_read_null(r);
    }
}

bool json_skip(struct json_reader *r, str *raw) {
    bool in_object[JSON_DEPTH_MAX];
    size_t depth = 0;
    json_type type = json_peek(r);
    const char *start = r->p;
    for (;;) {
        if (type == JSON_NONE)
            return fail_type(r, JSON_NULL);
        if (type == JSON_ARRAY || type == JSON_OBJECT) {
            if (!enter(r, type))
                return false;
            in_object[depth++] = type == JSON_OBJECT;
        } else if (!skip_scalar(r, type)) {
            return false;
        }
        struct json_string name;
        while (depth &&
               !(in_object[depth - 1] ? json_next_member(r, &name) : json_next_element(r))) {
            if (r->problem)
                return false;
            depth--;
        }
        if (!depth)
            break;
        type = json_peek(r);
    }
    if (raw)
        *raw = (str){.p = start, .n = (size_t)(r->p - start)};
    return true;
}
