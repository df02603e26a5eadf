#include "server/protocol/route.h"

#include <string.h>

#include "net/uri.h"

static const struct route {
    const char *method;
    const char *pattern;
    route_handler handler;
} routes[] = {
#define ROUTE(method, pattern, handler) {method, pattern, handler},
#include "server/protocol/routes.def"
#undef ROUTE
};

static bool is_number(str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

static bool catch_segment(char kind, str segment, struct arena *a, struct route_call *c) {
    if (segment.n == 0)
        return false;
    if (kind == 'v') {
        c->version_text = segment;
        if (!is_number(segment))
            return false;
        if (!str_to_int64(segment, &c->version))
            c->version = INT64_MIN; /* a number, but too large: the handler says so */
        return true;
    }
    return uri_decode(kind == 'm' ? &c->model : &c->name, segment, false, a);
}

/* Pattern and path, both without the leading slash, segment by segment. */
static bool matches(const char *pattern, str path, struct arena *a, struct route_call *c) {
    str left = str_from_c(pattern), want, got;
    c->version = -1;
    c->version_text = c->model = c->name = (str){0};
    for (;;) {
        bool has_want = str_next(&left, '/', &want), has_got = str_next(&path, '/', &got);
        if (!has_want || !has_got)
            return has_want == has_got;
        if (want.n == 2 && want.p[0] == '$') {
            if (!catch_segment(want.p[1], got, a, c))
                return false;
        } else if (!str_eq(want, got)) {
            return false;
        }
    }
}

route_result route_find(str method, str path, struct arena *a, struct route_call *out,
                        route_handler *handler) {
    route_result result = ROUTE_NOT_FOUND;
    if (!str_starts(path, STR("/")))
        return result;
    path = str_slice(path, 1, path.n);
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!matches(routes[i].pattern, path, a, out))
            continue;
        if (method.n == 0 || str_eq_c(method, routes[i].method)) {
            *handler = routes[i].handler;
            return ROUTE_FOUND;
        }
        result = ROUTE_WRONG_METHOD;
    }
    return result;
}
