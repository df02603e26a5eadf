#include "codec/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const struct pow10 number_pow10[POW10_MAX - POW10_MIN + 1] = {
#define POW10(high, low) {high, low},
#include "codec/pow10.def"
#undef POW10
};

const double number_exact_pow10[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* ---- the slow way in: the C library, on a text of bounded length ---- */

/* More digits than any FP64 boundary has (768); what follows only says "and a bit more". */
enum { SLOW_DIGITS_MAX = 800, SLOW_TEXT_SIZE = SLOW_DIGITS_MAX + 40 };

static int64_t read_exponent(const char *p, const char *end) {
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    int64_t e = 0;
    for (; p < end; p++)
        if (e < 1000000000000)
            e = e * 10 + (*p - '0');
    return negative ? -e : e;
}

/* Rewrites a number as digits and an exponent: no point, so no locale, and never long. */
static void rewrite(char out[SLOW_TEXT_SIZE], const char *p, const char *end) {
    size_t n = 0, n_digits = 0;
    int64_t exponent = 0;
    bool after_point = false, more = false;
    if (p < end && *p == '-')
        out[n++] = *p++;
    for (; p < end && (*p | 0x20) != 'e'; p++) {
        if (*p == '.') {
            after_point = true;
        } else if (n_digits == SLOW_DIGITS_MAX) {
            more |= *p != '0';
            exponent += !after_point;
        } else {
            if (n_digits || *p != '0') {
                out[n++] = *p;
                n_digits++;
            }
            exponent -= after_point;
        }
    }
    if (more) {
        out[n++] = '1';
        exponent--;
    }
    if (!n_digits)
        out[n++] = '0';
    if (p < end)
        exponent += read_exponent(p + 1, end);
    exponent = exponent < -99999 ? -99999 : exponent > 99999 ? 99999 : exponent;
    snprintf(out + n, SLOW_TEXT_SIZE - n, "e%d", (int)exponent);
}

float number_slow_f32(const char *text, const char *text_end) {
    char rewritten[SLOW_TEXT_SIZE];
    rewrite(rewritten, text, text_end);
    return strtof(rewritten, NULL);
}

double number_slow_f64(const char *text, const char *text_end) {
    char rewritten[SLOW_TEXT_SIZE];
    rewrite(rewritten, text, text_end);
    return strtod(rewritten, NULL);
}

/* ---- out: integers ---- */

static const char digit_pairs[201] = "00010203040506070809101112131415161718192021222324"
                                     "25262728293031323334353637383940414243444546474849"
                                     "50515253545556575859606162636465666768697071727374"
                                     "75767778798081828384858687888990919293949596979899";

static size_t count_digits(uint64_t v) {
    static const uint64_t powers[] = {0,
                                      10,
                                      100,
                                      1000,
                                      10000,
                                      100000,
                                      1000000,
                                      10000000,
                                      100000000,
                                      1000000000,
                                      10000000000,
                                      100000000000,
                                      1000000000000,
                                      10000000000000,
                                      100000000000000,
                                      1000000000000000,
                                      10000000000000000,
                                      100000000000000000,
                                      1000000000000000000,
                                      10000000000000000000U};
    size_t guess = (size_t)(64 - __builtin_clzll(v | 1)) * 1233 >> 12; /* bits * log10(2) */
    return guess + (v >= powers[guess]);
}

/* Writes exactly `n` digits that end at `end`. */
static void put_digits(char *end, uint64_t v, size_t n) {
    for (; n >= 2; n -= 2) {
        end -= 2;
        memcpy(end, digit_pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (n)
        *--end = (char)('0' + v % 10);
}

size_t number_format_u64(char *out, uint64_t v) {
    size_t n = v ? count_digits(v) : 1;
    put_digits(out + n, v, n);
    return n;
}

size_t number_format_i64(char *out, int64_t v) {
    if (v >= 0)
        return number_format_u64(out, (uint64_t)v);
    *out = '-';
    return 1 + number_format_u64(out + 1, -(uint64_t)v);
}

/* ---- out: floats ----
 *
 * A float c * 2^q owns the interval of reals that round to it. With k chosen so that 10^k is
 * just not longer than the interval, at most one multiple of 10^(k+1) and at least one of 10^k
 * lie inside; the shortest decimal is among them. To decide, the two ends and the value are
 * scaled by 4 * 10^-k and kept as integers whose last bit says "not exact" (R. Giulietti,
 * "The Schubfach way to render doubles", 2020). */

struct decimal {
    uint64_t digits;
    int exponent;
};

struct interval {
    uint64_t low, value, high; /* scaled by 4 * 10^-k, last bit sticky */
    bool closed;               /* the ends themselves round to the value: its significand is even */
    int k;
};

static struct decimal shortest_inside(const struct interval *in) {
    uint64_t low = in->low + !in->closed, high = in->high - !in->closed;
    uint64_t s = in->value / 4;
    if (s >= 10) {
        uint64_t tens = s / 10;
        bool down = low <= 40 * tens, up = 40 * tens + 40 <= high;
        if (down != up)
            return (struct decimal){tens + up, in->k + 1};
    }
    bool down = low <= 4 * s, up = 4 * s + 4 <= high;
    if (down != up)
        return (struct decimal){s + up, in->k};
    uint64_t middle = 4 * s + 2;
    bool round_up = in->value > middle || (in->value == middle && s % 2);
    return (struct decimal){s + round_up, in->k};
}

/* floor(log10(2^q)), or of 3/4 * 2^q when the lower neighbour is closer. Exact for |q| < 1500. */
static int floor_log10_pow2(int q, bool lower_is_closer) {
    return (int)((q * 1262611 - (lower_is_closer ? 524031 : 0)) >> 22);
}

static uint64_t scale_f32(uint64_t power, uint64_t v) {
    unsigned __int128 product = (unsigned __int128)power * v;
    uint64_t below = (uint64_t)product >> 32;
    return (uint64_t)(product >> 64) | (below > 1);
}

static uint64_t scale_f64(const struct pow10 *power, uint64_t v) {
    unsigned __int128 low = (unsigned __int128)power->low * v;
    unsigned __int128 product = (unsigned __int128)power->high * v + (uint64_t)(low >> 64);
    return (uint64_t)(product >> 64) | ((uint64_t)product > 1);
}

static struct decimal shortest_f32(uint32_t fraction, uint32_t exponent_field) {
    uint32_t c = exponent_field ? fraction | 1U << 23 : fraction;
    int q = exponent_field ? (int)exponent_field - 150 : -149;
    if (q <= 0 && q > -24 && !(c & ((1U << -q) - 1)))
        return (struct decimal){c >> -q, 0}; /* an integer below 2^24 */
    bool closer = fraction == 0 && exponent_field > 1;
    int k = floor_log10_pow2(q, closer);
    int h = q + number_floor_log2_pow10(-k) + 1;
    const struct pow10 *power = &number_pow10[-k - POW10_MIN];
    uint64_t high = power->high + (power->low != 0);
    struct interval in = {.low = scale_f32(high, (uint64_t)(4 * c - 2 + closer) << h),
                          .value = scale_f32(high, (uint64_t)(4 * c) << h),
                          .high = scale_f32(high, (uint64_t)(4 * c + 2) << h),
                          .closed = c % 2 == 0,
                          .k = k};
    return shortest_inside(&in);
}

static struct decimal shortest_f64(uint64_t fraction, uint32_t exponent_field) {
    uint64_t c = exponent_field ? fraction | (uint64_t)1 << 52 : fraction;
    int q = exponent_field ? (int)exponent_field - 1075 : -1074;
    if (q <= 0 && q > -53 && !(c & (((uint64_t)1 << -q) - 1)))
        return (struct decimal){c >> -q, 0};
    bool closer = fraction == 0 && exponent_field > 1;
    int k = floor_log10_pow2(q, closer);
    int h = q + number_floor_log2_pow10(-k) + 1;
    const struct pow10 *power = &number_pow10[-k - POW10_MIN];
    struct interval in = {.low = scale_f64(power, (4 * c - 2 + closer) << h),
                          .value = scale_f64(power, (4 * c) << h),
                          .high = scale_f64(power, (4 * c + 2) << h),
                          .closed = c % 2 == 0,
                          .k = k};
    return shortest_inside(&in);
}

/* Plain notation while the point is within or near the digits, else d.ddde-7. */
enum { PLAIN_MAX = 21, PLAIN_ZEROS_MAX = 6 };

/* The 8 digits of v < 10^8 as text, the first one in the lowest byte. */
static uint64_t eight_digits(uint64_t v) {
    v = v / 10000 | (v % 10000) << 32;                   /* two lanes below 10^4 */
    uint64_t q = (v * 10486 >> 20) & 0x0000007f0000007f; /* 10486 / 2^20 is 1 / 100 */
    v = q | (v - q * 100) << 16;                         /* four lanes below 100 */
    q = (v * 103 >> 10) & 0x000f000f000f000f;            /* 103 / 2^10 is 1 / 10 */
    return (q | (v - q * 10) << 8) | 0x3030303030303030;
}

enum { DIGITS_TEXT_SIZE = 24, COPY_SIZE = 24 };

/* Writes v < 10^17 with zeros in front. */
static void put_24_digits(char out[DIGITS_TEXT_SIZE + COPY_SIZE], uint64_t v) {
    uint64_t low = eight_digits(v % 100000000), middle = 0x3030303030303030;
    char high = '0';
    if (v >= 100000000) {
        v /= 100000000;
        middle = eight_digits(v % 100000000);
        high = (char)('0' + v / 100000000);
    }
    out[7] = high;
    memcpy(out + 8, &middle, sizeof middle);
    memcpy(out + 16, &low, sizeof low);
}

/* Whole blocks are copied and what is too much is written over: a length that changes from number
 * to number would cost more than the copy. */
static size_t put_decimal(char *out, struct decimal d) {
    while (d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent++;
    }
    char text[DIGITS_TEXT_SIZE + COPY_SIZE];
    put_24_digits(text, d.digits);
    size_t n = count_digits(d.digits);
    const char *digits = text + DIGITS_TEXT_SIZE - n;
    int point = (int)n + d.exponent; /* digits before the point */
    if (point > PLAIN_MAX || point <= -PLAIN_ZEROS_MAX) {
        out[0] = digits[0];
        out[1] = '.';
        memcpy(out + 2, digits + 1, COPY_SIZE);
        size_t size = n > 1 ? n + 1 : 1;
        out[size] = 'e';
        return size + 1 + number_format_i64(out + size + 1, point - 1);
    }
    if (point <= 0) {
        memcpy(out, "0.00000", 8);
        memcpy(out + 2 - point, digits, COPY_SIZE);
        return (size_t)(2 - point) + n;
    }
    memcpy(out, digits, COPY_SIZE);
    if (d.exponent >= 0) {
        memset(out + n, '0', (size_t)d.exponent);
        memcpy(out + point, ".0", 2);
        return (size_t)point + 2;
    }
    memcpy(out + point + 1, digits + point, COPY_SIZE);
    out[point] = '.';
    return n + 1;
}

static size_t put_not_finite(char *out, bool nan, bool negative) {
    const char *text = nan ? "NaN" : negative ? "-Infinity" : "Infinity";
    size_t n = strlen(text);
    memcpy(out, text, n);
    return n;
}

size_t number_format_f32(char *out, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint32_t fraction = bits & 0x7fffff, exponent_field = bits >> 23 & 0xff;
    bool negative = bits >> 31;
    if (exponent_field == 0xff)
        return put_not_finite(out, fraction != 0, negative);
    *out = '-';
    out += negative;
    if (!(bits << 1)) {
        memcpy(out, "0.0", 4);
        return (size_t)3 + negative;
    }
    return put_decimal(out, shortest_f32(fraction, exponent_field)) + negative;
}

size_t number_format_f64(char *out, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint64_t fraction = bits & 0xfffffffffffff;
    uint32_t exponent_field = bits >> 52 & 0x7ff;
    bool negative = bits >> 63;
    if (exponent_field == 0x7ff)
        return put_not_finite(out, fraction != 0, negative);
    *out = '-';
    out += negative;
    if (!(bits << 1)) {
        memcpy(out, "0.0", 4);
        return (size_t)3 + negative;
    }
    return put_decimal(out, shortest_f64(fraction, exponent_field)) + negative;
}
