/* infer_json.h - the JSON of an inference request, and Triton's words for what is wrong with it. */
#ifndef SERVER_PROTOCOL_INFER_JSON_H
#define SERVER_PROTOCOL_INFER_JSON_H

#include "codec/json.h"
#include "server/protocol/infer.h"

/* json_parse() with Triton's texts: INTERNAL, "failed to parse the request JSON buffer: ...". */
NODISCARD status triton_json_parse(struct json_value **out, struct arena *a, str text,
                                   struct error *err);

/* Reads {"id", "inputs", "outputs", "parameters"} into the call. INTERNAL and INVALID_ARGUMENT
 * as Triton has them. */
NODISCARD status infer_json_read(struct infer_call *c, str json, struct error *err);

/* Reads an array of elements, flat or nested, into input `named`, whose dtype and dims are set.
 * `what` is the member's name for the texts. */
NODISCARD status infer_json_data(struct infer_call *c, struct infer_named *named, str json,
                                 struct error *err);

#endif
