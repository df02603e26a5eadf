/* name.h - resource names, as in "projects/p1/locations/us-central1/endpoints/7".
 *
 * A name from outside is split and checked here before it becomes part of a key. */
#ifndef CONTROL_API_NAME_H
#define CONTROL_API_NAME_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

enum {
    NAME_SIZE_MAX = 512,
    PROJECT_SIZE_MAX = 63,
    LOCATION_SIZE_MAX = 63,
    RESOURCE_ID_SIZE_MAX = 63,
};

/* Views into the text that was split. */
struct resource_name {
    str project, location;
    str collection, id; /* "endpoints", "7"; empty: the name of a location */
    str version;        /* of "models/7@2": "2" or an alias; empty: none */
    str operation;      /* of ".../operations/9": "9"; empty: none */
};

/* INVALID_ARGUMENT with the part that is wrong. */
NODISCARD status name_parse(struct resource_name *out, str text, struct error *err);

/* "projects/P/locations/L" */
str name_parent(struct arena *a, const struct resource_name *n);
/* "projects/P/locations/L/endpoints/7", without version and operation */
str name_resource(struct arena *a, const struct resource_name *n);

/* A number of 16 to 18 digits that nobody else has, as an id. */
str name_new_id(struct arena *a);

/* What a caller may choose: letter first, lower case letters, digits and '-', at most 63; or,
 * digit first, at most 9 digits. */
bool name_is_endpoint_id(str id);
/* Lower case letters, digits, '_' and '-', letter first, at most 63. */
bool name_is_model_id(str id);
/* 1 to 19 digits. */
bool name_is_deployed_model_id(str id);
/* "[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]": cannot look like a version's number. */
bool name_is_alias(str alias);

#endif
