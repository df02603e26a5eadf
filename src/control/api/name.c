#include "control/api/name.h"

#include <sys/random.h>

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Only letters, digits and what `also` lists; 1 to size_max bytes. */
static bool is_word(str s, const char *also, size_t size_max) {
    if (s.n == 0 || s.n > size_max)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower(s.p[i]) && !is_upper(s.p[i]) && !is_digit(s.p[i]) &&
            str_find(str_from_c(also), s.p[i]) < 0)
            return false;
    return true;
}

static bool is_id(str s) {
    return is_word(s, "_-.", RESOURCE_ID_SIZE_MAX) && s.p[0] != '.';
}

static status bad(struct error *err, const char *what, str text) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "Invalid resource name: %s is \"%.*s\".", what,
                     (int)(text.n < 200 ? text.n : 200), text.p ? text.p : "");
}

/* Takes "WORD/value" off the front of *rest. */
static bool take(str *rest, str word, str *value) {
    str head;
    str before = *rest;
    if (str_next(rest, '/', &head) && str_eq(head, word) && str_next(rest, '/', value))
        return true;
    *rest = before;
    return false;
}

static status collection_parse(struct resource_name *n, str rest, str text, struct error *err) {
    str id;
    if (!str_next(&rest, '/', &n->collection) || !str_next(&rest, '/', &id))
        return bad(err, "it", text);
    ptrdiff_t at = str_find(id, '@');
    n->id = at < 0 ? id : str_slice(id, 0, (size_t)at);
    n->version = at < 0 ? STR("") : str_slice(id, (size_t)at + 1, id.n);
    if (!is_word(n->collection, "", 40))
        return bad(err, "the collection", n->collection);
    if (!is_id(n->id) || (at >= 0 && !is_word(n->version, "-", 128)))
        return bad(err, "the id", id);
    if (rest.p && !take(&rest, STR("operations"), &n->operation))
        return bad(err, "it", text);
    return rest.p ? bad(err, "it", text) : STATUS_OK;
}

status name_parse(struct resource_name *out, str text, struct error *err) {
    struct resource_name n = {0};
    str rest = text;
    if (text.n > NAME_SIZE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Invalid resource name: %zu bytes, at most %d.", text.n, NAME_SIZE_MAX);
    if (!take(&rest, STR("projects"), &n.project) || !take(&rest, STR("locations"), &n.location))
        return bad(err, "it", text);
    if (!is_word(n.project, "-.:", PROJECT_SIZE_MAX) || n.project.p[0] == '.')
        return bad(err, "the project", n.project);
    if (!is_word(n.location, "-", LOCATION_SIZE_MAX))
        return bad(err, "the location", n.location);
    if (rest.p && !take(&rest, STR("operations"), &n.operation))
        TRY(collection_parse(&n, rest, text, err));
    else if (rest.p)
        return bad(err, "it", text);
    if (n.operation.p && !is_id(n.operation))
        return bad(err, "the operation", n.operation);
    *out = n;
    return STATUS_OK;
}

str name_parent(struct arena *a, const struct resource_name *n) {
    return str_format(a, "projects/%.*s/locations/%.*s", STR_ARG(n->project), STR_ARG(n->location));
}

str name_resource(struct arena *a, const struct resource_name *n) {
    return str_format(a, "projects/%.*s/locations/%.*s/%.*s/%.*s", STR_ARG(n->project),
                      STR_ARG(n->location), STR_ARG(n->collection), STR_ARG(n->id));
}

str name_new_id(struct arena *a) {
    uint64_t random = 0;
    while (getrandom(&random, sizeof random, 0) != sizeof random)
        ;
    /* Between 1e15 and 1e18: always a double's business to spoil, never a leading zero. */
    return str_format(a, "%llu", 1000000000000000ull + random % 999000000000000000ull);
}

bool name_is_endpoint_id(str id) {
    if (id.n == 0)
        return false;
    if (is_digit(id.p[0])) {
        for (size_t i = 0; i < id.n; i++)
            if (!is_digit(id.p[i]))
                return false;
        return id.n <= 9 && id.p[0] != '0';
    }
    for (size_t i = 0; i < id.n; i++)
        if (!is_lower(id.p[i]) && !is_digit(id.p[i]) && id.p[i] != '-')
            return false;
    return id.n <= RESOURCE_ID_SIZE_MAX && is_lower(id.p[0]) && id.p[id.n - 1] != '-';
}

bool name_is_model_id(str id) {
    for (size_t i = 0; i < id.n; i++)
        if (!is_lower(id.p[i]) && !is_digit(id.p[i]) && id.p[i] != '-' && id.p[i] != '_')
            return false;
    return id.n > 0 && id.n <= RESOURCE_ID_SIZE_MAX && !is_digit(id.p[0]) && id.p[0] != '-';
}

bool name_is_deployed_model_id(str id) {
    for (size_t i = 0; i < id.n; i++)
        if (!is_digit(id.p[i]))
            return false;
    return id.n > 0 && id.n <= 19 && (id.n == 1 || id.p[0] != '0') && !str_eq(id, STR("0"));
}

bool name_is_alias(str alias) {
    if (!is_word(alias, "-", 128) || alias.n < 2)
        return false;
    char last = alias.p[alias.n - 1];
    return is_lower(alias.p[0]) && (is_lower(last) || is_digit(last));
}
