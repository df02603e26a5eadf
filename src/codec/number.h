/* number.h - decimal text to integers and floats, and back, exactly and fast.
 *
 * Reading rounds to nearest even, as strtof and strtod do, but FP32 straight from the decimal
 * digits and not through FP64. Writing gives the shortest decimal that reads back as the same
 * bits, the one nearest to the value among those. The grammar is JSON's. */
#ifndef CODEC_NUMBER_H
#define CODEC_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Room for any one number that the functions below write, and for their overlong copies. */
enum { NUMBER_TEXT_SIZE = 64 };

enum { POW10_MIN = -342, POW10_MAX = 324 };

/* 10^q is (high * 2^64 + low) * 2^(floor(log2(10^q)) - 127), rounded up in the last bit. */
struct pow10 {
    uint64_t high, low;
};
extern const struct pow10 number_pow10[POW10_MAX - POW10_MIN + 1];
extern const double number_exact_pow10[23];

/* A number as it was written: (-1)^negative * digits * 10^exponent. */
struct number {
    uint64_t digits;
    int64_t exponent;
    bool negative;
    bool integral; /* no point and no exponent */
    bool cut;      /* more digits than a uint64 holds: the text must be looked at */
};

/* Reads one number at p and returns the first byte after it; NULL: there is none. */
static inline const char *number_scan(const char *p, const char *end, struct number *out);

/* `text` is what number_scan read. Too large gives infinity. */
static inline float number_to_f32(const struct number *n, const char *text, const char *text_end);
static inline double number_to_f64(const struct number *n, const char *text, const char *text_end);

/* False: it has a point or an exponent, or does not fit. */
static inline bool number_to_i64(const struct number *n, int64_t *out);
static inline bool number_to_u64(const struct number *n, uint64_t *out);

/* Write at `out`, which has NUMBER_TEXT_SIZE bytes, and return how many were used; no NUL.
 * Floats always have a point or an exponent ("1.0", "1e-7"); NaN, Infinity and -Infinity are
 * written so. */
size_t number_format_f32(char *out, float v);
size_t number_format_f64(char *out, double v);
size_t number_format_i64(char *out, int64_t v);
size_t number_format_u64(char *out, uint64_t v);

/* What is left of number_to_f32 and _f64 when the fast way cannot decide. */
float number_slow_f32(const char *text, const char *text_end);
double number_slow_f64(const char *text, const char *text_end);

/* ---- what must be inlined into the loops over tensors ---- */

static inline int number_floor_log2_pow10(int q) {
    return (q * 217706) >> 16; /* exact for |q| <= 1650 */
}

static inline bool number_is_digit(char c) {
    return (unsigned char)(c - '0') < 10;
}

/* Appends the digits among the 8 bytes at p to *value and returns how many there are. All of them
 * at once, without a branch: how long a number is cannot be predicted. */
static inline size_t number_up_to_8_digits(const char *p, uint64_t *value) {
    static const uint64_t powers[] = {1,      10,      100,      1000,     10000,
                                      100000, 1000000, 10000000, 100000000};
    uint64_t v;
    memcpy(&v, p, sizeof v);
    v ^= 0x3030303030303030; /* each digit becomes 0..9, anything else has a high bit or >= 10 */
    uint64_t others = (v | (v + 0x0606060606060606)) & 0xf0f0f0f0f0f0f0f0;
    size_t n = others ? (size_t)__builtin_ctzll(others) / 8 : 8;
    if (n == 0)
        return 0;
    v <<= 64 - 8 * n;      /* zeros in front, and what is no digit falls out */
    v = v * 10 + (v >> 8); /* pairs in bytes 0, 2, 4, 6 */
    v = (v & 0x000000ff000000ff) * (100 + ((uint64_t)1000000 << 32)) +
        ((v >> 16) & 0x000000ff000000ff) * (1 + ((uint64_t)10000 << 32));
    *value = *value * powers[n] + (v >> 32);
    return n;
}

static inline const char *number_digits(const char *p, const char *end, uint64_t *value) {
    while (end - p >= 8) {
        size_t n = number_up_to_8_digits(p, value);
        p += n;
        if (n < 8)
            return p;
    }
    for (; p < end && number_is_digit(*p); p++)
        *value = *value * 10 + (uint64_t)(*p - '0');
    return p;
}

/* Did the digits in [from, to), which may hold a point, overflow the uint64 `digits`? Only 20 of
 * them that start with a 1 may still fit; if they do not, what is left is below 10^19. */
static inline bool number_overflowed(const char *from, const char *to, uint64_t digits) {
    while (from < to && (*from == '0' || *from == '.'))
        from++;
    size_t n = (size_t)(to - from);
    n -= n && memchr(from, '.', n) != NULL;
    return n > 20 || (n == 20 && (*from != '1' || digits < 10000000000000000000U));
}

static inline const char *number_scan(const char *p, const char *end, struct number *out) {
    uint64_t digits = 0;
    int64_t exponent = 0;
    bool integral = true, negative = p < end && *p == '-';
    p += negative;
    const char *start = p;
    if (p == end || !number_is_digit(*p))
        return NULL;
    if (*p == '0')
        p++;
    else
        p = number_digits(p, end, &digits);
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        integral = false;
        p = number_digits(p, end, &digits);
        if (p == fraction)
            return NULL;
        exponent = fraction - p;
    }
    const char *stop = p;
    if (p < end && (*p | 0x20) == 'e') {
        integral = false;
        p++;
        bool minus = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+'))
            p++;
        const char *first = p;
        int64_t e = 0;
        for (; p < end && number_is_digit(*p); p++)
            if (e < 1000000000000)
                e = e * 10 + (*p - '0');
        if (p == first)
            return NULL;
        exponent += minus ? -e : e;
    }
    bool cut = stop - start > 19 && number_overflowed(start, stop, digits);
    *out = (struct number){digits, exponent, negative, integral, cut};
    return p;
}

/* The leading 64 bits of digits * 10^q, too large by at most 2 in the last place; the value is
 * *bits * 2^(result - 63). q is within POW10_MIN and POW10_MAX, digits are not 0. */
static inline int number_scale(uint64_t digits, int q, uint64_t *bits) {
    int leading = __builtin_clzll(digits);
    const struct pow10 *power = &number_pow10[q - POW10_MIN];
    uint64_t high = power->high + (power->low != 0);
    unsigned __int128 product = (unsigned __int128)(digits << leading) * high;
    uint64_t top = (uint64_t)(product >> 64);
    int exponent = number_floor_log2_pow10(q) + 64 - leading;
    if (!(top >> 63)) {
        top = (uint64_t)(product >> 63);
        exponent--;
    }
    *bits = top;
    return exponent;
}

static inline float number_to_f32(const struct number *n, const char *text, const char *text_end) {
    enum { TAIL = 40, MARGIN = 4 };
    if (n->digits == 0 && !n->cut)
        return n->negative ? -0.0f : 0.0f;
    if (n->cut || n->exponent < -60 || n->exponent > 40)
        return number_slow_f32(text, text_end);
    uint64_t bits;
    int exponent = number_scale(n->digits, (int)n->exponent, &bits);
    int64_t tail = (int64_t)(bits & (((uint64_t)1 << TAIL) - 1)) - ((int64_t)1 << (TAIL - 1));
    if (exponent < -126 || exponent > 126 || (tail >= -MARGIN && tail <= MARGIN))
        return number_slow_f32(text, text_end); /* subnormal, huge, or all but halfway */
    /* The leading one of the 24 bits adds 1 to the exponent field; rounding up may carry too. */
    uint32_t v = (uint32_t)(exponent + 126) << 23;
    v += (uint32_t)(bits >> TAIL) + (tail > 0);
    v |= (uint32_t)n->negative << 31;
    float f;
    memcpy(&f, &v, sizeof f);
    return f;
}

static inline double number_to_f64(const struct number *n, const char *text, const char *text_end) {
    enum { TAIL = 11, MARGIN = 4 };
    if (n->digits == 0 && !n->cut)
        return n->negative ? -0.0 : 0.0;
    if (n->cut || n->exponent < -320 || n->exponent > 300)
        return number_slow_f64(text, text_end);
    if (n->digits >> 53 == 0 && n->exponent >= -22 && n->exponent <= 22) {
        double d = (double)n->digits; /* both are exact, so one operation rounds once */
        d = n->exponent < 0 ? d / number_exact_pow10[-n->exponent]
                            : d * number_exact_pow10[n->exponent];
        return n->negative ? -d : d;
    }
    uint64_t bits;
    int exponent = number_scale(n->digits, (int)n->exponent, &bits);
    int64_t tail = (int64_t)(bits & ((1 << TAIL) - 1)) - (1 << (TAIL - 1));
    if (exponent < -1022 || exponent > 1022 || (tail >= -MARGIN && tail <= MARGIN))
        return number_slow_f64(text, text_end);
    uint64_t v = (uint64_t)(exponent + 1022) << 52;
    v += (bits >> TAIL) + (tail > 0);
    v |= (uint64_t)n->negative << 63;
    double d;
    memcpy(&d, &v, sizeof d);
    return d;
}

static inline bool number_to_i64(const struct number *n, int64_t *out) {
    uint64_t limit = (uint64_t)INT64_MAX + n->negative;
    if (!n->integral || n->cut || n->digits > limit)
        return false;
    *out = (int64_t)(n->negative ? -n->digits : n->digits);
    return true;
}

static inline bool number_to_u64(const struct number *n, uint64_t *out) {
    if (!n->integral || n->cut || (n->negative && n->digits))
        return false;
    *out = n->digits;
    return true;
}

#endif
