/* protobuf.h - messages by their description: make, look at, and the binary format.
 *
 * A message is the plain struct that protoc-c generates, in an arena together with everything it
 * points to; nothing is freed one by one. The text format is in pbtxt.h, JSON in
 * protobuf_json.h: one description gives all three. A message belongs to one thread, or is
 * immutable. */
#ifndef CODEC_PROTOBUF_H
#define CODEC_PROTOBUF_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"

enum {
    PROTOBUF_DEPTH_MAX = 100,        /* messages inside each other, in every format */
    PROTOBUF_VALUES_MAX = 1 << 20,   /* values in one message that comes from outside */
    PROTOBUF_MAP_ENTRIES_MAX = 4096, /* in one map field of a text or JSON message */
};

/* ---- binary ---- */

/* Unpacks into `a`. INVALID_ARGUMENT: damaged, or over a limit above; all that protobuf-c would
 * recurse into or allocate is checked before it runs. */
NODISCARD status protobuf_unpack(ProtobufCMessage **out, struct arena *a,
                                 const ProtobufCMessageDescriptor *d, str bytes, struct error *err);

NODISCARD status protobuf_pack(struct buffer *out, const ProtobufCMessage *m, struct error *err);

/* ---- by description ---- */

/* A message with every field at its default. */
ProtobufCMessage *protobuf_new(struct arena *a, const ProtobufCMessageDescriptor *d);

/* The field called `name` as the .proto file has it; NULL: none. */
const ProtobufCFieldDescriptor *protobuf_field(const ProtobufCMessageDescriptor *d, str name);

/* The field whose name is nearest to `name`, for error texts; NULL: none is near. */
const ProtobufCFieldDescriptor *protobuf_nearest_field(const ProtobufCMessageDescriptor *d,
                                                       str name);
const ProtobufCEnumValue *protobuf_enum_value(const ProtobufCEnumDescriptor *d, str name);
const ProtobufCEnumValue *protobuf_nearest_enum_value(const ProtobufCEnumDescriptor *d, str name);

/* protobuf-c has maps as repeated messages {key = 1, value = 2} whose type is named after the
 * field. */
bool protobuf_is_map(const ProtobufCFieldDescriptor *f);
static inline bool protobuf_is_repeated(const ProtobufCFieldDescriptor *f) {
    return f->label == PROTOBUF_C_LABEL_REPEATED;
}
const char *protobuf_type_name(const ProtobufCFieldDescriptor *f); /* "int32", "inference.X" */

/* Bytes of one value of `f` in the struct: int32_t, char *, ProtobufCBinaryData... */
size_t protobuf_value_size(const ProtobufCFieldDescriptor *f);

/* How many values `f` has: those of a repeated field; else 1 when it is set. Without a presence
 * of its own, a scalar is set when it differs from its default. */
size_t protobuf_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);

/* The `i`th value of `f` (0 for a singular one, set or not). */
const void *protobuf_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t i);

/* Makes room for one more value of `f` and returns where it goes: appended to a repeated field;
 * a singular one becomes present, other members of its oneof are forgotten. Only for messages
 * whose lists this function alone has filled: their arrays have room for a power of two. */
void *protobuf_add(ProtobufCMessage *m, struct arena *a, const ProtobufCFieldDescriptor *f);

/* The member of the same oneof as `f` that is set, `f` itself excepted; NULL: none. */
const ProtobufCFieldDescriptor *protobuf_oneof_rival(const ProtobufCMessage *m,
                                                     const ProtobufCFieldDescriptor *f);

/* A map entry whose message value was left out gets an empty one: readers need not ask. */
void protobuf_complete_entry(ProtobufCMessage *entry, struct arena *a);

/* Has any entry before the last one the key of the last one? Then moves the last one into its
 * place. For maps, where the last of a key counts. */
void protobuf_merge_last_entry(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);

#endif
