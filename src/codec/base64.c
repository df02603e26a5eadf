#include "codec/base64.h"

#include <stdint.h>

static const char digits[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

static int digit_value(unsigned char c, base64_alphabet alphabet) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (unsigned char)digits[alphabet][62])
        return 62;
    return c == (unsigned char)digits[alphabet][63] ? 63 : -1;
}

status base64_encode(struct buffer *out, const void *bytes, size_t n, base64_alphabet alphabet,
                     struct error *err) {
    const unsigned char *p = bytes;
    const char *digit = digits[alphabet];
    TRY(buffer_reserve(out, n / 3 * 4 + 4, err));
    char *to = out->p + out->n;
    for (; n >= 3; n -= 3, p += 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *to++ = digit[v >> 18];
        *to++ = digit[v >> 12 & 63];
        *to++ = digit[v >> 6 & 63];
        *to++ = digit[v & 63];
    }
    if (n) {
        uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0);
        *to++ = digit[v >> 18];
        *to++ = digit[v >> 12 & 63];
        if (n > 1)
            *to++ = digit[v >> 6 & 63];
        if (alphabet == BASE64_STANDARD)
            for (size_t i = n; i < 3; i++)
                *to++ = '=';
    }
    out->n = (size_t)(to - out->p);
    return STATUS_OK;
}

/* Takes the padding off `text`; false when there is too much or too little of it. */
static bool strip_padding(str *text, base64_alphabet alphabet) {
    size_t padded = text->n, n_pad = 0;
    while (n_pad < 2 && text->n && text->p[text->n - 1] == '=') {
        text->n--;
        n_pad++;
    }
    bool complete = padded % 4 == 0 && (n_pad == 0 || text->n % 4 == 4 - n_pad);
    return complete || (alphabet == BASE64_URL && n_pad == 0 && text->n % 4 != 1);
}

status base64_decode(struct buffer *out, str text, base64_alphabet alphabet, struct error *err) {
    size_t written = text.n;
    if (!strip_padding(&text, alphabet))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "base64 text of %zu characters is cut off or padded wrongly", written);
    size_t start = out->n;
    TRY(buffer_reserve(out, text.n / 4 * 3 + 3, err));
    unsigned char *to = (unsigned char *)out->p + out->n;
    uint32_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = digit_value((unsigned char)text.p[i], alphabet);
        if (d < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "base64 text has the byte 0x%02x at offset %zu",
                             (unsigned char)text.p[i], i);
        v = v << 6 | (uint32_t)d;
        if (i % 4 == 1)
            *to++ = (unsigned char)(v >> 4);
        else if (i % 4 == 2)
            *to++ = (unsigned char)(v >> 2);
        else if (i % 4 == 3)
            *to++ = (unsigned char)v;
    }
    /* A last digit may only hold bits that are used: one text for one value. */
    size_t rest = text.n % 4;
    if ((rest == 2 && v & 15) || (rest == 3 && v & 3))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "base64 text ends in a digit with stray bits at offset %zu", text.n - 1);
    out->n = start + text.n / 4 * 3 + (rest ? rest - 1 : 0);
    return STATUS_OK;
}
