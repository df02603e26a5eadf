#include "net/uri.h"

#include <string.h>

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uri_decode(str *out, str s, bool is_query, struct arena *a) {
    if (str_find(s, '%') < 0 && !(is_query && str_find(s, '+') >= 0)) {
        *out = s;
        return true;
    }
    char *p = arena_alloc(a, s.n + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+' && is_query) {
            c = ' ';
        } else if (c == '%') {
            bool is_whole = s.n - i > 2;
            int high = is_whole ? hex_digit(s.p[i + 1]) : -1;
            int low = is_whole ? hex_digit(s.p[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        p[n++] = c;
    }
    *out = (str){.p = p, .n = n};
    return true;
}

bool uri_path_next(str *path, str *segment) {
    str s = *path;
    if (s.n == 0 || s.p[0] != '/')
        return false;
    s = str_slice(s, 1, s.n);
    ptrdiff_t slash = str_find(s, '/');
    size_t n = slash < 0 ? s.n : (size_t)slash;
    *segment = str_slice(s, 0, n);
    *path = str_slice(s, n, s.n);
    return true;
}

bool uri_query_get(str *out, str query, str name, struct arena *a) {
    str pair;
    while (str_next(&query, '&', &pair)) {
        str key = pair;
        ptrdiff_t equals = str_find(pair, '=');
        if (equals >= 0)
            key = str_slice(pair, 0, (size_t)equals);
        if (!uri_decode(&key, key, true, a) || !str_eq(key, name))
            continue;
        str value = equals < 0 ? STR("") : str_slice(pair, (size_t)equals + 1, pair.n);
        return uri_decode(out, value, true, a);
    }
    return false;
}
