/* message.h - JSON bodies held to a message description of proto/vertex.proto.
 *
 * The canonical form, which is what the store keeps and callers get, has lowerCamel names, enums
 * by name, int64 as strings, no nulls and no zero values (proto3 knows no other "unset"). */
#ifndef CONTROL_API_MESSAGE_H
#define CONTROL_API_MESSAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"
#include "codec/json.h"

/* Which fields exist: version_fields.def. */
typedef enum api_version { API_V1, API_V1BETA1 } api_version;
const char *api_version_name(api_version v); /* "v1" */

/* Reads `in` as the message `d` by codec/protobuf_json.h, and writes it down in the canonical form.
 * INVALID_ARGUMENT names the path of the field. */
NODISCARD status message_read(struct json_value **out, struct arena *a,
                              const ProtobufCMessageDescriptor *d, const struct json_value *in,
                              api_version version, struct error *err);

/* Removes the fields that `version` does not have from a canonical message. */
void message_strip(struct json_value *message, const ProtobufCMessageDescriptor *d,
                   api_version version);

/* Whether messages of type `d` have the field `camel` in `version`. */
bool message_has_field(const ProtobufCMessageDescriptor *d, str camel, api_version version);

/* "traffic_split" gives "trafficSplit"; what is in lowerCamel stays. */
str message_camel(struct arena *a, str name);

/* The parts of a field mask, "a.b,c", in lowerCamel. */
enum { MASK_PATHS_MAX = 32 };
struct field_mask {
    str paths[MASK_PATHS_MAX];
    size_t n;
};
bool field_mask_is_all(const struct field_mask *mask); /* "*" */
NODISCARD status field_mask_read(struct field_mask *out, struct arena *a, str text,
                                 struct error *err);

#endif
