#include "codec/utf8.h"

#include <assert.h>
#include <string.h>

/* Length of the sequence that starts at p, 0 when it is not a valid one. */
static size_t sequence_length(const unsigned char *p, size_t n) {
    unsigned char lead = p[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || length > n)
        return 0;
    /* Only the second byte is narrowed further: overlong forms, surrogates, the upper end. */
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

size_t utf8_valid_prefix(str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        uint64_t word;
        if (s.n - i >= sizeof word) {
            memcpy(&word, p + i, sizeof word);
            if (!(word & 0x8080808080808080)) {
                i += sizeof word;
                continue;
            }
        }
        size_t length = sequence_length(p + i, s.n - i);
        if (!length)
            break;
        i += length;
    }
    return i;
}

bool utf8_is_valid(str s) {
    return utf8_valid_prefix(s) == s.n;
}

size_t utf8_encode(uint32_t c, char out[4]) {
    assert(c < 0x110000 && (c < 0xd800 || c > 0xdfff));
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)(leads[n] | c);
    return n;
}
