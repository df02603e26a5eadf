/* base64.h - RFC 4648, strict: one alphabet, padding as it must be, no stray bits or spaces. */
#ifndef CODEC_BASE64_H
#define CODEC_BASE64_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"

typedef enum base64_alphabet {
    BASE64_STANDARD, /* + / and padding */
    BASE64_URL,      /* - _ and no padding when written; accepted with or without */
} base64_alphabet;

/* Appends the text of `bytes` to `out`. */
NODISCARD status base64_encode(struct buffer *out, const void *bytes, size_t n,
                               base64_alphabet alphabet, struct error *err);

/* Appends the bytes that `text` stands for. INVALID_ARGUMENT names the offset. */
NODISCARD status base64_decode(struct buffer *out, str text, base64_alphabet alphabet,
                               struct error *err);

#endif
