/* encoding.h - gzip and deflate (zlib's format) of bodies, and which one a client wants. */
#ifndef SERVER_PROTOCOL_ENCODING_H
#define SERVER_PROTOCOL_ENCODING_H

#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"

typedef enum encoding { ENCODING_IDENTITY, ENCODING_GZIP, ENCODING_DEFLATE } encoding;

/* A Content-Encoding value. False: one that this server does not know. */
bool encoding_from_name(str name, encoding *out);
str encoding_name(encoding e);

/* What an Accept-Encoding value likes best of ours; identity when it says nothing. */
encoding encoding_choose(str accept);

/* Appends the plain bytes of `packed`. INVALID_ARGUMENT: damaged; RESOURCE_EXHAUSTED: more than
 * out->size_max. */
NODISCARD status encoding_unpack(encoding e, str packed, struct buffer *out, struct error *err);

/* Appends `plain`, packed. */
NODISCARD status encoding_pack(encoding e, str plain, struct buffer *out, struct error *err);

#endif
