#include "codec/pbtxt_token.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec/utf8.h"

status pbtxt_fail(struct pbtxt_scanner *s, const char *at, const char *fmt, ...) {
    size_t line = 1, column = 1;
    for (const char *p = s->begin; p < at; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(s->err, STATUS_INVALID_ARGUMENT, "line %zu, column %zu: %s", line, column,
                     text);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(char c) {
    return is_name_start(c) || is_digit(c);
}

static void skip_space_and_comments(struct pbtxt_scanner *s) {
    while (s->p < s->end) {
        if (*s->p == '#')
            while (s->p < s->end && *s->p != '\n')
                s->p++;
        else if (memchr(" \t\r\n\v\f", *s->p, 6))
            s->p++;
        else
            return;
    }
}

/* The end of the string at s->p. A string ends on its line. */
static const char *find_quote(struct pbtxt_scanner *s) {
    char quote = *s->p;
    for (const char *p = s->p + 1; p < s->end && *p != '\n'; p++) {
        if (*p == quote)
            return p + 1;
        if (*p == '\\' && p + 1 < s->end)
            p++;
    }
    return NULL;
}

/* Digits, a point, an exponent with its sign, hex: split hairs later. */
static const char *find_number_end(const char *p, const char *end) {
    bool hex = end - p > 1 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
    while (p < end && (is_name(*p) || *p == '.' ||
                       ((*p == '+' || *p == '-') && !hex && (p[-1] == 'e' || p[-1] == 'E'))))
        p++;
    return p;
}

status pbtxt_advance(struct pbtxt_scanner *s) {
    skip_space_and_comments(s);
    const char *start = s->p, *stop = start + 1;
    pbtxt_kind kind = PBTXT_SIGN;
    if (start == s->end) {
        s->next = (struct pbtxt_token){.kind = PBTXT_END, .text = {.p = start}};
        return STATUS_OK;
    }
    char c = *start;
    if (is_name_start(c)) {
        kind = PBTXT_NAME;
        while (stop < s->end && is_name(*stop))
            stop++;
    } else if (is_digit(c) || (c == '.' && stop < s->end && is_digit(*stop))) {
        kind = PBTXT_NUMBER;
        stop = find_number_end(start, s->end);
    } else if (c == '"' || c == '\'') {
        kind = PBTXT_STRING;
        stop = find_quote(s);
        if (!stop)
            return pbtxt_fail(s, start, "a string does not end on its line");
    } else if (!memchr("{}<>[]:,;-", c, 10)) {
        return pbtxt_fail(s, start,
                          c > 0x20 && c < 0x7f ? "'%c' means nothing here"
                                               : "byte 0x%02x means nothing here",
                          (unsigned char)c);
    }
    s->next = (struct pbtxt_token){kind, {.p = start, .n = (size_t)(stop - start)}};
    s->p = stop;
    return STATUS_OK;
}

status pbtxt_scanner_init(struct pbtxt_scanner *s, str text, struct error *err) {
    *s = (struct pbtxt_scanner){.p = text.p, .begin = text.p, .end = text.p + text.n, .err = err};
    if (str_starts(text, STR("\xef\xbb\xbf"))) /* editors of some systems put a mark first */
        s->p += 3;
    return pbtxt_advance(s);
}

bool pbtxt_is_sign(const struct pbtxt_scanner *s, char c) {
    return s->next.kind == PBTXT_SIGN && *s->next.text.p == c;
}

status pbtxt_take_sign(struct pbtxt_scanner *s, char c, bool *taken) {
    *taken = pbtxt_is_sign(s, c);
    return *taken ? pbtxt_advance(s) : STATUS_OK;
}

/* ---- strings ---- */

static int digit_of(char c, int base) {
    int v = is_digit(c)                              ? c - '0'
            : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                     : 99;
    return v < base ? v : -1;
}

/* Reads `min` to `max` digits at *p; -1: fewer. */
static int64_t read_digits(const char **p, const char *end, int base, int min, int max) {
    int64_t v = 0;
    int n = 0;
    for (; n < max && *p < end && digit_of(**p, base) >= 0; n++)
        v = v * base + digit_of(*(*p)++, base);
    return n < min ? -1 : v;
}

/* Decodes what follows a backslash at `at`; *p stands behind it. */
static status decode_escape(struct pbtxt_scanner *s, const char *at, const char **p,
                            const char *end, struct buffer *out) {
    static const char from[] = "abfnrtv\\'\"?", to[] = "\a\b\f\n\r\t\v\\'\"?";
    char c = *p < end ? **p : 0, bytes[4] = {0};
    const char *simple = c ? strchr(from, c) : NULL;
    size_t n = 1;
    int64_t v = 0;
    if (simple) {
        bytes[0] = to[simple - from];
        ++*p;
    } else if (c >= '0' && c <= '7') {
        v = read_digits(p, end, 8, 1, 3);
        bytes[0] = (char)v;
    } else if (c == 'x' || c == 'X') {
        ++*p;
        v = read_digits(p, end, 16, 1, 2);
        bytes[0] = (char)v;
    } else if (c == 'u' || c == 'U') {
        ++*p;
        v = read_digits(p, end, 16, c == 'u' ? 4 : 8, c == 'u' ? 4 : 8);
        if (v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
            return pbtxt_fail(s, at, "no such code point");
        if (v >= 0)
            n = utf8_encode((uint32_t)v, bytes);
    } else {
        v = -1;
    }
    if (v < 0 || v > 0x10ffff || (n == 1 && v > 0xff))
        return pbtxt_fail(s, at, "no escape sequence looks like this");
    return buffer_append(out, bytes, n, s->err);
}

status pbtxt_decode_string(struct pbtxt_scanner *s, str quoted, struct buffer *out) {
    const char *p = quoted.p + 1, *end = quoted.p + quoted.n - 1;
    while (p < end) {
        const char *backslash = memchr(p, '\\', (size_t)(end - p));
        TRY(buffer_append(out, p, (size_t)((backslash ? backslash : end) - p), s->err));
        if (!backslash)
            break;
        p = backslash + 1;
        TRY(decode_escape(s, backslash, &p, end, out));
    }
    return STATUS_OK;
}
