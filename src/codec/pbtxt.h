/* pbtxt.h - protobuf's text format, which config.pbtxt is written in.
 *
 * Read: comments, lists in [ ], messages in { } or < >, separators or none, strings with escapes
 * and side by side, numbers in decimal, hex and octal, enums by name or number, maps as entries
 * with key and value. Not read: extensions and Any in brackets. */
#ifndef CODEC_PBTXT_H
#define CODEC_PBTXT_H

#include "codec/protobuf.h"

/* INVALID_ARGUMENT says "line L, column C: ..."; an unknown name comes with the nearest known. */
NODISCARD status pbtxt_read(ProtobufCMessage **out, struct arena *a,
                            const ProtobufCMessageDescriptor *d, str text, struct error *err);

/* Appends every field that is set, one line each; pbtxt_read gives the same message back. */
NODISCARD status pbtxt_write(struct buffer *out, const ProtobufCMessage *m, struct error *err);

#endif
