/* http_body.h - google.api.HttpBody in JSON: what Google's generated clients send and expect for
 * rawPredict over REST, {"httpBody": {"contentType": "text/plain", "data": "BASE64"}}, where others
 * send the bytes as they are. */
#ifndef CONTROL_GATEWAY_HTTP_BODY_H
#define CONTROL_GATEWAY_HTTP_BODY_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/status.h"

struct http_body {
    str content_type, data;
};

/* Reads a RawPredictRequest into `a`. NOT_FOUND: `text` is another thing, to be sent as it is;
 * INVALID_ARGUMENT: it is one, and its data is damaged. */
NODISCARD status http_body_read(struct http_body *out, str text, struct arena *a,
                                struct error *err);

/* Appends `body` as a HttpBody, or as a list of one, which is how a stream is written in JSON. */
NODISCARD status http_body_write(struct buffer *out, const struct http_body *body, bool is_list,
                                 struct error *err);

#endif
