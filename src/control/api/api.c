#include "control/api/api.h"

#include <stdio.h>
#include <string.h>

#include "control/api/call_internal.h"
#include "net/uri.h"
#include "proto/vertex.pb-c.h"

/* A handler that lost a race against another writer is run again so often. */
enum { RACES_MAX = 8 };

#define culmen__vertex__NONE__descriptor NONE_descriptor
static const ProtobufCMessageDescriptor NONE_descriptor = {0};

static const struct route {
    const char *method, *pattern;
    const ProtobufCMessageDescriptor *body;
    api_handler handler;
} routes[] = {
#define ROUTE(method, pattern, body, handler)                                                      \
    {#method, pattern, &culmen__vertex__##body##__descriptor, handler},
#include "control/api/routes.def"
#undef ROUTE
};

static int http_status(status code) {
    switch (code) {
    case STATUS_OK:
        return 200;
    case STATUS_INVALID_ARGUMENT:
    case STATUS_FAILED_PRECONDITION:
    case STATUS_OUT_OF_RANGE:
        return 400;
    case STATUS_UNAUTHENTICATED:
        return 401;
    case STATUS_PERMISSION_DENIED:
        return 403;
    case STATUS_NOT_FOUND:
        return 404;
    case STATUS_ALREADY_EXISTS:
    case STATUS_ABORTED:
        return 409;
    case STATUS_RESOURCE_EXHAUSTED:
        return 429;
    case STATUS_CANCELLED:
        return 499;
    case STATUS_UNIMPLEMENTED:
        return 501;
    case STATUS_UNAVAILABLE:
        return 503;
    case STATUS_DEADLINE_EXCEEDED:
        return 504;
    default:
        return 500;
    }
}

void api_error_reply(struct arena *a, const struct error *err, struct api_reply *out) {
    struct json_value *reply = json_new_object(a), *error = json_new_object(a);
    record_set_i64(a, error, "code", http_status(err->code));
    record_set_string(a, error, "message", str_from_c(err->text));
    record_set_string(a, error, "status", str_from_c(status_name(err->code)));
    json_set(reply, STR("error"), error);
    struct error ignored;
    *out = (struct api_reply){.status = http_status(err->code)};
    if (record_text(&out->body, a, reply, &ignored) != STATUS_OK)
        out->body = STR("{\"error\":{\"code\":500,\"message\":\"no memory\","
                        "\"status\":\"INTERNAL\"}}");
}

/* Whether `path` is of the form of `pattern`. */
static bool pattern_matches(str pattern, str path) {
    str want, found;
    for (;;) {
        bool has_want = str_next(&pattern, '/', &want), has_found = str_next(&path, '/', &found);
        if (!has_want || !has_found)
            return has_want == has_found;
        ptrdiff_t verb = str_find(want, ':');
        if (want.n && want.p[0] == '*') {
            ptrdiff_t found_verb = pattern.p ? -1 : str_find_last(found, ':');
            str rest = verb < 0 ? STR("") : str_slice(want, (size_t)verb, want.n);
            str found_rest =
                found_verb < 0 ? STR("") : str_slice(found, (size_t)found_verb, found.n);
            if (found.n == found_rest.n || !str_eq(rest, found_rest))
                return false;
        } else if (!str_eq(want, found)) {
            return false;
        }
    }
}

static const struct route *route_find(str method, str path, bool *is_known) {
    *is_known = false;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (pattern_matches(str_from_c(routes[i].pattern), path)) {
            *is_known = true;
            if (str_eq_c(method, routes[i].method))
                return &routes[i];
        }
    return NULL;
}

/* Takes "/v1/", "/v1beta1/" or "/ui/" off the path. */
static bool version_take(str *path, api_version *out) {
    static const struct {
        str prefix;
        api_version version;
    } prefixes[] = {{{"/v1/", 4}, API_V1}, {{"/v1beta1/", 9}, API_V1BETA1}, {{"/ui/", 4}, API_V1}};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_starts(*path, prefixes[i].prefix)) {
            *out = prefixes[i].version;
            *path = str_slice(*path, prefixes[i].prefix.n, path->n);
            return true;
        }
    return false;
}

static status body_read(struct api_call *c, const ProtobufCMessageDescriptor *d, str body,
                        struct error *err) {
    struct json_value *in;
    if (d == &NONE_descriptor)
        return STATUS_OK;
    if (body.n > API_BODY_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the body has %zu bytes, at most %d", body.n,
                         API_BODY_MAX);
    if (str_trim(body).n == 0)
        body = STR("{}");
    if (json_parse(&in, c->arena, body, err) != STATUS_OK)
        return error_wrap(err, err->code, "Invalid JSON payload received");
    return message_read(&c->body, c->arena, d, in, c->version, err);
}

/* The path without its verb. */
static str resource_of(str path) {
    ptrdiff_t slash = str_find_last(path, '/'), verb = str_find_last(path, ':');
    return verb > slash ? str_slice(path, 0, (size_t)verb) : path;
}

/* What calls take, and what Google's front end takes with any call and that changes nothing
 * here. */
static const char *const parameters[] = {
    "allDeploymentStates",
    "endpointId",
    "filter",
    "name",
    "orderBy",
    "pageSize",
    "pageToken",
    "readMask",
    "timeout",
    "updateMask",
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "prettyPrint",
    "quotaUser",
    "uploadType",
    "upload_protocol",
    "returnPartialSuccess",
};

/* A parameter that nobody reads would be a wish that is ignored: "force", "updatemask". */
static status query_check(struct api_call *c, struct error *err) {
    str rest = c->query, pair, name;
    while (str_next(&rest, '&', &pair)) {
        bool is_known = !str_next(&pair, '=', &name) || name.n == 0;
        if (!uri_decode(&name, name, true, c->arena))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "A query parameter has a broken escape.");
        is_known = is_known || name.p[0] == '$';
        str camel = message_camel(c->arena, name);
        for (size_t i = 0; i < ARRAY_LEN(parameters) && !is_known; i++)
            is_known = str_eq_c(camel, parameters[i]) || str_eq_c(name, parameters[i]);
        if (!is_known)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "Invalid JSON payload received. Unknown name \"%.*s\": Cannot bind "
                             "query parameter.",
                             (int)(name.n < 80 ? name.n : 80), name.p);
    }
    return STATUS_OK;
}

static status handle(struct api_call *c, const struct api_request *request, struct error *err) {
    str path = request->path;
    bool is_known = false;
    if (path.n > NAME_SIZE_MAX * 3 || !version_take(&path, &c->version) ||
        !uri_decode(&path, path, false, c->arena))
        return error_set(err, STATUS_NOT_FOUND,
                         "Path not found: it must begin with /v1/, "
                         "/v1beta1/ or /ui/.");
    const struct route *route = route_find(request->method, path, &is_known);
    if (!route)
        return error_set(err, is_known ? STATUS_UNIMPLEMENTED : STATUS_NOT_FOUND,
                         is_known ? "Method not allowed: %.*s %.*s" : "Method not found: %.*s %.*s",
                         (int)(request->method.n < 20 ? request->method.n : 20), request->method.p,
                         (int)(path.n < 300 ? path.n : 300), path.p);
    c->resource = resource_of(path);
    c->query = request->query;
    TRY(query_check(c, err));
    status st = STATUS_OK;
    for (int i = 0; i < RACES_MAX; i++) {
        c->reply = NULL;
        TRY(body_read(c, route->body, request->body, err)); /* handlers change it */
        st = route->handler(c, err);
        if (st != STATUS_ABORTED)
            break;
    }
    return st;
}

static void reply_finish(struct arena *a, status st, struct json_value *reply, struct error *err,
                         struct api_reply *out) {
    if (st == STATUS_OK)
        st = record_text(&out->body, a, reply, err);
    out->status = 200;
    if (st != STATUS_OK) {
        err->code = st;
        api_error_reply(a, err, out);
    }
}

void api_handle(const struct api *api, struct arena *a, const struct api_request *request,
                struct api_reply *out) {
    struct error err = {0};
    struct api_call c = {.api = api, .store = api->store, .arena = a};
    status st = handle(&c, request, &err);
    *out = (struct api_reply){.wait_operation = c.wait_operation, .wait_ms = c.wait_ms};
    reply_finish(a, st, c.reply, &err, out);
}

void api_wait_reply(const struct api *api, struct arena *a, str operation, bool *is_done,
                    struct api_reply *out) {
    struct error err = {0};
    struct json_value *record = NULL;
    status st =
        record_get(api->store, a, record_key(a, "operations", operation), &record, NULL, &err);
    *is_done = st != STATUS_OK || operation_is_done(record);
    *out = (struct api_reply){0};
    reply_finish(a, st, json_get(record, "operation"), &err, out);
}

str call_query(struct api_call *c, const char *name) {
    str rest = c->query, pair, found, value;
    while (str_next(&rest, '&', &pair))
        if (str_next(&pair, '=', &found) && uri_decode(&found, found, true, c->arena) &&
            str_eq_c(message_camel(c->arena, found), name) && pair.p &&
            uri_decode(&value, pair, true, c->arena))
            return value;
    return STR("");
}

status call_name(struct api_call *c, struct resource_name *out, struct error *err) {
    return name_parse(out, c->resource, err);
}

status call_parent(struct api_call *c, str collection, struct resource_name *out,
                   struct error *err) {
    /* The route's pattern has made sure that it ends like this. */
    return name_parse(out, str_slice(c->resource, 0, c->resource.n - collection.n - 1), err);
}

void call_reply_operation(struct api_call *c, struct json_value *record, int64_t wait_ms) {
    c->reply = json_get(record, "operation");
    if (!operation_is_done(record)) {
        c->wait_operation = operation_name(record);
        c->wait_ms = wait_ms;
    }
}

static size_t n_characters(str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

status check_display_name(const struct json_value *resource, bool is_required, const char *path,
                          struct error *err) {
    str name = record_string(resource, "displayName");
    if (name.n == 0 && is_required)
        return error_set(err, STATUS_INVALID_ARGUMENT, "Required field %s.display_name is missing.",
                         path);
    if (n_characters(name) > DISPLAY_NAME_SIZE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s.display_name has %zu characters, at most %d.", path,
                         n_characters(name), DISPLAY_NAME_SIZE_MAX);
    return STATUS_OK;
}

status check_labels(const struct json_value *resource, const char *path, struct error *err) {
    const struct json_value *labels = json_get(resource, "labels");
    if (!labels)
        return STATUS_OK;
    if (labels->n > LABELS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s.labels has %zu entries, at most %d.",
                         path, labels->n, LABELS_MAX);
    for (const struct json_value *l = labels->first; l; l = l->next)
        if (l->name.n == 0 || n_characters(l->name) > 63 || n_characters(l->text) > 63)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s.labels: a key needs 1 to 63 characters, a value at most 63.",
                             path);
    return STATUS_OK;
}

void set_etag(struct arena *a, struct json_value *resource, int64_t revision) {
    record_set_string(a, resource, "etag", str_format(a, "%lld", (long long)revision));
}

status check_etag(const struct json_value *resource, int64_t revision, struct error *err) {
    int64_t etag;
    const struct json_value *v = json_get(resource, "etag");
    if (!v || (json_to_i64(v, &etag) && etag == revision))
        return STATUS_OK;
    return error_set(
        err, STATUS_FAILED_PRECONDITION,
        "The etag \"%.*s\" is not the current one, which is \"%lld\": the resource was "
        "changed meanwhile. Read it again.",
        (int)(v->text.n < 40 ? v->text.n : 40), v->text.p, (long long)revision);
}
