/* call_internal.h - what a handler of routes.def sees, and what handlers share. */
#ifndef CONTROL_API_CALL_INTERNAL_H
#define CONTROL_API_CALL_INTERNAL_H

#include "control/api/api.h"
#include "control/api/operation.h"

struct api_call {
    const struct api *api;
    struct store *store;
    struct arena *arena;
    api_version version;
    str resource; /* the path without version and verb: "projects/p/locations/l/endpoints/7" */
    str query;
    struct json_value *body; /* in the canonical form of the route's message; NULL: none */

    struct json_value *reply; /* the handler's result */
    str wait_operation;
    int64_t wait_ms;
};

typedef status (*api_handler)(struct api_call *c, struct error *err);

#define ROUTE(method, pattern, body, handler) status handler(struct api_call *c, struct error *err);
#include "control/api/routes.def"
#undef ROUTE

/* The query's parameter ("pageSize", which a caller may write page_size), empty when missing. */
str call_query(struct api_call *c, const char *name);

/* The name of the resource that the path names, or of the location of a collection. */
NODISCARD status call_name(struct api_call *c, struct resource_name *out, struct error *err);
/* The same for "PARENT/endpoints": the parent's name. */
NODISCARD status call_parent(struct api_call *c, str collection, struct resource_name *out,
                             struct error *err);

/* Ends the call with an operation that is done already (commit included), or one to wait for. */
void call_reply_operation(struct api_call *c, struct json_value *record, int64_t wait_ms);

/* Checks that several resources have in common. */
NODISCARD status check_display_name(const struct json_value *resource, bool is_required,
                                    const char *path, struct error *err);
NODISCARD status check_labels(const struct json_value *resource, const char *path,
                              struct error *err);

/* "etag" of a revision, and whether a caller's one is current (missing: it is). */
void set_etag(struct arena *a, struct json_value *resource, int64_t revision);
NODISCARD status check_etag(const struct json_value *resource, int64_t revision, struct error *err);

/* --- list.c: filter, order and pages of a list call --- */

/* Replies {KEY: [...], nextPageToken} after the call's filter, orderBy, pageSize, pageToken and
 * readMask; `id_field` is what a filter calls the id ("endpoint"). */
struct list_item {
    str key; /* unique; the page token */
    struct json_value *resource;
};
struct list_form {
    const char *key, *id_field;
    const ProtobufCMessageDescriptor *message; /* what a readMask may name fields of; NULL: none */
};
NODISCARD status call_reply_list(struct api_call *c, const struct list_form *form,
                                 struct list_item *items, size_t n, struct error *err);

/* --- endpoint.c, model.c --- */

/* The endpoint as callers see it: with name, etag and the states of its deployed models. */
NODISCARD status endpoint_view(struct api_call *c, str name, struct json_value *record,
                               int64_t revision, struct error *err);

NODISCARD status endpoint_read(struct api_call *c, str name, struct json_value **out,
                               int64_t *revision, struct error *err);

/* `split` (a map; NULL: none) names deployed models of `endpoint`, or "0" where that is allowed,
 * and adds up to 100. */
NODISCARD status check_traffic_split(const struct json_value *endpoint,
                                     const struct json_value *split, bool allows_new,
                                     struct error *err);

struct json_value *deployed_model_find(const struct json_value *endpoint, str id);

/* A model's record and the version that name.version (number, alias; empty: the default) means. */
NODISCARD status model_read(struct api_call *c, const struct resource_name *name,
                            struct json_value **record, struct json_value **version,
                            int64_t *revision, struct error *err);

/* The folder that an artifactUri means: "/models/a" or "file:///models/a", checked to hold
 * something that culmen serves. */
NODISCARD status artifact_check(struct arena *a, str uri, str *path, struct error *err);

/* Fills in and checks dedicatedResources or automaticResources; *n is how many replicas. */
NODISCARD status resources_check(struct arena *a, struct json_value *deployed_model, unsigned *n,
                                 struct error *err);

/* True for the image that is culmen itself. */
bool image_is_culmen(str image);

#endif
