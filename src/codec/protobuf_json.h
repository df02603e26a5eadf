/* protobuf_json.h - protobuf's JSON mapping (proto3).
 *
 * Read: names in lowerCamelCase or as in the .proto file, int64 as numbers or strings, enums by
 * name in any case or by number, bytes as base64 of either alphabet, NaN and Infinity as strings,
 * null as "not set"; Timestamp, Duration, FieldMask and Value in the forms of protobuf_known.h. A
 * name that is unknown, or comes in both spellings, is an error that gives
 * the path: "inputs[0].dims". */
#ifndef CODEC_PROTOBUF_JSON_H
#define CODEC_PROTOBUF_JSON_H

#include "codec/json.h"
#include "codec/protobuf.h"

typedef enum protobuf_json_flags {
    PROTOBUF_JSON_ORIGINAL_NAMES = 1, /* max_batch_size and not maxBatchSize */
    PROTOBUF_JSON_DEFAULTS = 2,       /* also scalars, lists and maps that are at their default */
    PROTOBUF_JSON_INT64_NUMBERS = 4,  /* 64-bit integers as numbers and not strings */
    PROTOBUF_JSON_ENUM_NUMBERS = 8,
} protobuf_json_flags;

NODISCARD status protobuf_json_read(ProtobufCMessage **out, struct arena *a,
                                    const ProtobufCMessageDescriptor *d, const struct json_value *v,
                                    struct error *err);

/* The field that a member called `name` is, in either spelling; NULL: none. */
const ProtobufCFieldDescriptor *protobuf_json_field(const ProtobufCMessageDescriptor *d, str name);

/* The writer keeps its own errors: json_writer_finish(). `flags` are of protobuf_json_flags. */
void protobuf_json_write(struct json_writer *w, const ProtobufCMessage *m, unsigned flags);

#endif
