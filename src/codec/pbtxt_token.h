/* pbtxt_token.h - the words of protobuf's text format. */
#ifndef CODEC_PBTXT_TOKEN_H
#define CODEC_PBTXT_TOKEN_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"

typedef enum pbtxt_kind {
    PBTXT_END,
    PBTXT_NAME,   /* letters, digits and _ */
    PBTXT_NUMBER, /* as it was written, without its sign */
    PBTXT_STRING, /* as it was written, with its quotes */
    PBTXT_SIGN,   /* one character: { } < > [ ] : , ; - */
} pbtxt_kind;

struct pbtxt_token {
    pbtxt_kind kind;
    str text;
};

struct pbtxt_scanner {
    const char *p, *begin, *end;
    struct pbtxt_token next; /* the token that comes, already read */
    struct error *err;
};

NODISCARD status pbtxt_scanner_init(struct pbtxt_scanner *s, str text, struct error *err);

/* Goes to the next token. */
NODISCARD status pbtxt_advance(struct pbtxt_scanner *s);

/* Is the next token this sign? */
bool pbtxt_is_sign(const struct pbtxt_scanner *s, char c);

/* If it is, goes past it and sets *taken. */
NODISCARD status pbtxt_take_sign(struct pbtxt_scanner *s, char c, bool *taken);

/* Appends what a STRING token stands for. */
NODISCARD status pbtxt_decode_string(struct pbtxt_scanner *s, str quoted, struct buffer *out);

/* Fails with "line L, column C: " of `at` in front of the text. */
status pbtxt_fail(struct pbtxt_scanner *s, const char *at, const char *fmt, ...) ATTR_PRINTF(3, 4);

#endif
