/* utf8.h - is it UTF-8, and how is a code point written. */
#ifndef CODEC_UTF8_H
#define CODEC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* Length of the longest valid prefix: s.n when all of it is UTF-8 (RFC 3629: no overlong
 * forms, no surrogates, nothing above U+10FFFF). ASCII runs at memory speed. */
size_t utf8_valid_prefix(str s);

bool utf8_is_valid(str s);

/* Writes `code_point` (below 0x110000, no surrogate) and returns how many bytes. */
size_t utf8_encode(uint32_t code_point, char out[4]);

#endif
