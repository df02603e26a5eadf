#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

str str_from_c(const char *s) {
    return (str){.p = s ? s : "", .n = s ? strlen(s) : 0};
}

bool str_eq(str a, str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_c(str a, const char *b) {
    return str_eq(a, str_from_c(b));
}

bool str_starts(str s, str prefix) {
    return s.n >= prefix.n && str_eq(str_slice(s, 0, prefix.n), prefix);
}

bool str_ends(str s, str suffix) {
    return s.n >= suffix.n && str_eq(str_slice(s, s.n - suffix.n, s.n), suffix);
}

int str_compare(str a, str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

ptrdiff_t str_find(str s, char c) {
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t str_find_last(str s, char c) {
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

str str_slice(str s, size_t from, size_t to) {
    to = to < s.n ? to : s.n;
    from = from < to ? from : to;
    return (str){.p = s.p + from, .n = to - from};
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

str str_trim(str s) {
    while (s.n && is_space(s.p[0]))
        s = str_slice(s, 1, s.n);
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool str_next(str *s, char sep, str *head) {
    if (!s->p)
        return false;
    ptrdiff_t at = str_find(*s, sep);
    *head = at < 0 ? *s : str_slice(*s, 0, (size_t)at);
    *s = at < 0 ? (str){0} : str_slice(*s, (size_t)at + 1, s->n);
    return true;
}

/* strtoX want a NUL; numbers are short, so a copy on the stack gives them one. */
enum { NUMBER_SIZE_MAX = 400 };

static bool copy_number(str s, char text[NUMBER_SIZE_MAX]) {
    if (s.n == 0 || s.n >= NUMBER_SIZE_MAX || is_space(s.p[0]) || memchr(s.p, 0, s.n))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return true;
}

bool str_to_int64(str s, int64_t *out) {
    char text[NUMBER_SIZE_MAX], *end;
    if (!copy_number(s, text))
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end)
        return false;
    *out = value;
    return true;
}

bool str_to_double(str s, double *out) {
    char text[NUMBER_SIZE_MAX], *end;
    if (!copy_number(s, text))
        return false;
    double value = strtod(text, &end);
    if (*end)
        return false;
    *out = value;
    return true;
}

size_t str_printable_size(str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = s.n;
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f;
    size_t size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || size > n)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool is_overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool is_no_scalar = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    bool is_control = p[0] == 0xc2 && p[1] < 0xa0;
    return is_overlong || is_no_scalar || is_control ? 0 : size;
}

void str_make_printable(char *p, size_t n) {
    for (size_t i = 0, step; i < n; i += step) {
        step = str_printable_size((str){.p = p + i, .n = n - i});
        if (step)
            continue;
        p[i] = p[i] == '\n' || p[i] == '\r' || p[i] == '\t' ? ' ' : '?';
        step = 1;
    }
}

str str_printable(struct arena *a, str s) {
    char *p = arena_alloc(a, s.n + 1, 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    str_make_printable(p, s.n);
    return (str){.p = p, .n = s.n};
}

str str_copy(struct arena *a, str s) {
    char *p = arena_alloc(a, s.n + 1, 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return (str){.p = p, .n = s.n};
}

str str_format(struct arena *a, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1, 1);
    if (n > 0)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (str){.p = p, .n = n < 0 ? 0 : (size_t)n};
}

char *str_put(char *to, str s) {
    memcpy(to, s.p, s.n);
    return to + s.n;
}

char *str_put_u64(char *to, uint64_t value) {
    char digits[STR_U64_SIZE];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n > 0)
        *to++ = digits[--n];
    return to;
}
