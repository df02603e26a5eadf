/* protobuf_known.h - the message types that have a JSON form of their own: Timestamp, Duration,
 * FieldMask and Value. They are known by their names, of whatever package: protoc-c makes no
 * structs of google.protobuf, so that a .proto file declares those that it uses:
 *
 *     message Timestamp { int64 seconds = 1; int32 nanos = 2; }   "2026-11-24T08:45:13.123456Z"
 *     message Duration { int64 seconds = 1; int32 nanos = 2; }    "3.5s"
 *     message FieldMask { repeated string paths = 1; }            "a.b,c", or {"paths": [...]}
 *     message Value { bytes json = 1; }                           any JSON, kept as its text */
#ifndef CODEC_PROTOBUF_KNOWN_H
#define CODEC_PROTOBUF_KNOWN_H

#include "codec/json.h"
#include "codec/json_writer.h"
#include "codec/protobuf.h"

struct protobuf_known {
    const char *name;   /* of the message */
    const char *wanted; /* for error texts */
    /* False: `v` is not of the form. */
    bool (*read)(ProtobufCMessage *m, struct arena *a, const struct json_value *v);
    void (*write)(struct json_writer *w, const ProtobufCMessage *m);
};

/* NULL: messages of type `d` have the usual form. */
const struct protobuf_known *protobuf_known_find(const ProtobufCMessageDescriptor *d);

#endif
