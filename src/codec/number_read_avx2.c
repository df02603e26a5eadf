/* number_read_avx2.c - plain decimals in text to FP32, four at a time.
 *
 * A window of 16 bytes is laid over each number so that its point comes to byte 4:
 *
 *      byte  0 1 2 3 4 5 6 7 8 9 ...
 *                - 2 . 8 3 7 4 6 1 9 5 ,        up to 4 digits before it, up to 11 behind it
 *
 * Every digit then has a fixed weight, and multiply-add instructions sum all of them to an integer
 * N < 10^15 that is exact, whose value is N * 10^-11: no digit is looked at on its own, and nothing
 * depends on how long the number is. Longer fractions ("0.12345678806304932", as Python writes an
 * FP32 that it holds as a double) have a second window of 16 digits.
 *
 * The value is made in FP64 with a relative error below 2^-49 and rounded to FP32. Rounding twice
 * goes wrong only beside the middle of two FP32: a number that near, like any that is not of this
 * form, is left to number_scan(). */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "codec/number_run_internal.h"

enum {
    BLOCK = 64,         /* bytes in which commas are looked for at once */
    GROUP = 4,          /* numbers that are computed at once */
    POINT_AT = 4,       /* digits before the point, at most */
    NEAR_FRACTION = 11, /* digits behind it: in the first window, */
    FAR_FRACTION = 16,  /* in the second, */
    FAR_COUNTED = 8,    /* and those of them that count */
    WINDOW = 16,
    /* Behind the block a point in its last byte has both windows, and a number may start. */
    SLACK = WINDOW + WINDOW,
};

/* The bytes of the first window that are the number's: `i` digits before the point and, counting
 * the point, `f` bytes from there on. */
#define KEEP(i, f, byte) ((byte) >= POINT_AT - (i) && (byte) < POINT_AT + (f) ? 0xff : 0)
#define KEEP4(i, f, byte)                                                                          \
    KEEP(i, f, byte), KEEP(i, f, (byte) + 1), KEEP(i, f, (byte) + 2), KEEP(i, f, (byte) + 3)
#define KEEP_WINDOW(i, f) {KEEP4(i, f, 0), KEEP4(i, f, 4), KEEP4(i, f, 8), KEEP4(i, f, 12)}
#define KEEP_FRACTIONS(i)                                                                          \
    {KEEP_WINDOW(i, 0), KEEP_WINDOW(i, 1), KEEP_WINDOW(i, 2),  KEEP_WINDOW(i, 3),                  \
     KEEP_WINDOW(i, 4), KEEP_WINDOW(i, 5), KEEP_WINDOW(i, 6),  KEEP_WINDOW(i, 7),                  \
     KEEP_WINDOW(i, 8), KEEP_WINDOW(i, 9), KEEP_WINDOW(i, 10), KEEP_WINDOW(i, 11),                 \
     KEEP_WINDOW(i, 12)}
static const uint8_t keep_near[POINT_AT + 1][NEAR_FRACTION + 2][WINDOW] = {
    KEEP_FRACTIONS(0), KEEP_FRACTIONS(1), KEEP_FRACTIONS(2), KEEP_FRACTIONS(3), KEEP_FRACTIONS(4)};

/* From byte 16 - n on: a window with n bytes to keep at its front. */
static const uint8_t keep_front[WINDOW + WINDOW] = {255, 255, 255, 255, 255, 255, 255, 255,
                                                    255, 255, 255, 255, 255, 255, 255, 255};

/* Numbers of a group, as they were found in the text. */
struct group {
    const char *start[GROUP + 1]; /* with the sign; where the number behind the last one starts */
    const char *point[GROUP];     /* or the comma, when there is no point */
    const uint8_t *keep[GROUP];   /* of the first window */
    uint32_t negative;            /* a bit each */
    uint8_t rest[GROUP];          /* bytes from the point to before the comma */
    size_t n;
    bool any_far;
};

static inline uint64_t find(__m256i low, __m256i high, char c) {
    uint32_t l = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, _mm256_set1_epi8(c)));
    uint32_t h = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, _mm256_set1_epi8(c)));
    return l | (uint64_t)h << 32;
}

/* Finds the numbers that end with a comma in the block at p, where one starts; g->n of them. What
 * is between the points and the commas is not looked at but for a sign and zeros in front. */
static inline void find_numbers(struct group *g, const char *p) {
    __m256i low = _mm256_loadu_si256((const __m256i *)p);
    __m256i high = _mm256_loadu_si256((const __m256i *)(p + 32));
    uint64_t commas = find(low, high, ','), stops = commas | find(low, high, '.');
    unsigned first = 0; /* byte of the number that comes */
    g->any_far = false;
    g->negative = 0;
    g->start[0] = p;
    size_t n = 0;
    for (; n < GROUP && commas; n++) {
        unsigned comma = (unsigned)__builtin_ctzll(commas);
        unsigned point = (unsigned)__builtin_ctzll(stops);
        bool negative = p[first] == '-';
        unsigned digits = point - first - negative; /* before the point; perhaps negative */
        unsigned rest = comma - point;              /* point and fraction */
        /* 0 stands alone before a point; which numbers do is not for a branch to guess. */
        unsigned digits_max = p[first + negative] == '0' ? 1 : POINT_AT;
        if (digits - 1 >= digits_max || rest == 1 || rest > 1 + NEAR_FRACTION + FAR_FRACTION)
            break;
        g->rest[n] = (uint8_t)rest;
        g->any_far |= rest > 1 + NEAR_FRACTION;
        g->keep[n] = keep_near[digits][rest > 1 + NEAR_FRACTION ? 1 + NEAR_FRACTION : rest];
        g->point[n] = p + point;
        g->negative |= (uint32_t)negative << n;
        stops &= ~(commas ^ (commas - 1)); /* nothing up to the comma */
        commas &= commas - 1;
        first = comma + 1;
        first += p[first] == ' ';
        g->start[n + 1] = p + first;
    }
    g->n = n;
    for (; n < GROUP; n++) { /* what is computed for them is not used */
        g->point[n] = p + POINT_AT;
        g->keep[n] = keep_near[0][0];
        g->rest[n] = 0;
    }
}

static inline __m256i load_two(const void *low, const void *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

/* Integers below 2^52, exactly. */
static inline __m256d to_f64(__m256i v) {
    const __m256i magic = _mm256_set1_epi64x(0x4330000000000000); /* 2^52 */
    return _mm256_sub_pd((__m256d)_mm256_or_si256(v, magic), (__m256d)magic);
}

/* 16 bits a window, all set where no byte is larger than that of `limit`. */
static inline uint32_t within(__m256i v, __m256i limit) {
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(v, limit), limit));
}

/* The digits of numbers i and i + 2 in their first windows; *good says whether they are any. */
static inline __m256i near_digits(const struct group *g, size_t i, uint32_t *good) {
    const __m256i limit = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(9, 9, 9, 9, -1 /* the point */, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9));
    __m256i text = load_two(g->point[i] - POINT_AT, g->point[i + 2] - POINT_AT);
    __m256i v = _mm256_and_si256(_mm256_sub_epi8(text, _mm256_set1_epi8('0')),
                                 load_two(g->keep[i], g->keep[i + 2]));
    *good = within(v, limit);
    return v;
}

/* How many digits are in the second window? */
static inline unsigned count_far(const struct group *g, size_t i) {
    return g->rest[i] > 1 + NEAR_FRACTION ? g->rest[i] - 1U - NEAR_FRACTION : 0;
}

/* The same of the second windows. */
static inline __m256i far_digits(const struct group *g, size_t i, uint32_t *good) {
    const size_t behind = 1 + NEAR_FRACTION;
    __m256i text = load_two(g->point[i] + behind, g->point[i + 2] + behind);
    __m256i v = _mm256_and_si256(
        _mm256_sub_epi8(text, _mm256_set1_epi8('0')),
        load_two(keep_front + WINDOW - count_far(g, i), keep_front + WINDOW - count_far(g, i + 2)));
    *good &= within(v, _mm256_set1_epi8(9));
    return v;
}

/* Weighs two bytes against each other, then two of those sums, and again: what is left are 32 bits
 * for each half of a window, in the order of the numbers. */
static inline __m256i sum_digits(__m256i of02, __m256i of13, __m128i pairs, __m128i fours,
                                 __m128i eights) {
    __m256i by2 = _mm256_broadcastsi128_si256(pairs), by4 = _mm256_broadcastsi128_si256(fours);
    of02 = _mm256_madd_epi16(_mm256_maddubs_epi16(of02, by2), by4);
    of13 = _mm256_madd_epi16(_mm256_maddubs_epi16(of13, by2), by4);
    return _mm256_madd_epi16(_mm256_packus_epi32(of02, of13), _mm256_broadcastsi128_si256(eights));
}

/* N, 64 bits a number. */
static inline __m256i sum_near(__m256i of02, __m256i of13) {
    __m256i halves = sum_digits(
        of02, of13, /* the point weighs nothing */
        _mm_setr_epi8(10, 1, 10, 1, 0, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1),
        _mm_set1_epi32(100 | 1 << 16), _mm_setr_epi16(1000, 1, 10000, 1, 1000, 1, 10000, 1));
    return _mm256_add_epi64(_mm256_mul_epu32(halves, _mm256_set1_epi64x(100000000)),
                            _mm256_srli_epi64(halves, 32));
}

/* The first FAR_COUNTED digits of the second windows, 64 bits a number. */
static inline __m256i sum_far(__m256i of02, __m256i of13) {
    __m256i halves = sum_digits(of02, of13, _mm_set1_epi16(10 | 1 << 8),
                                _mm_set1_epi32(100 | 1 << 16), _mm_set1_epi32(10000 | 1 << 16));
    return _mm256_and_si256(halves, _mm256_set1_epi64x(0xffffffff));
}

/* Which numbers lost digits that may matter: behind those that count, in a number so small? */
static inline unsigned find_cut(const struct group *g, __m256i n) {
    __m256i is_small = _mm256_cmpgt_epi64(_mm256_set1_epi64x(10000000), n); /* below 10^-4 */
    unsigned cut = (unsigned)_mm256_movemask_pd((__m256d)is_small);
    for (unsigned i = 0; i < GROUP; i++)
        if (count_far(g, i) <= FAR_COUNTED)
            cut &= ~(1U << i);
    return cut;
}

/* Is d, up to its error, the middle of two FP32? Its 29 last bits are what rounding takes away. */
static inline unsigned find_middle(__m256d d) {
    enum { MARGIN = 16 };
    __m256i from_middle =
        _mm256_and_si256(_mm256_add_epi64((__m256i)d, _mm256_set1_epi64x((1 << 28) + MARGIN)),
                         _mm256_set1_epi64x((1 << 29) - 1));
    __m256i is_near = _mm256_cmpgt_epi64(_mm256_set1_epi64x(2 * MARGIN + 1), from_middle);
    return (unsigned)_mm256_movemask_pd((__m256d)is_near);
}

/* Writes GROUP values, and returns how many of them, from the first on, are right. */
static inline size_t compute(const struct group *g, char *to) {
    uint32_t good02, good13;
    __m256i of02 = near_digits(g, 0, &good02), of13 = near_digits(g, 1, &good13);
    __m256i n = sum_near(of02, of13);
    __m256d d = _mm256_mul_pd(to_f64(n), _mm256_set1_pd(1e-11));
    unsigned undecided = 0;
    if (g->any_far) {
        of02 = far_digits(g, 0, &good02);
        of13 = far_digits(g, 1, &good13);
        __m256d far = _mm256_mul_pd(to_f64(sum_far(of02, of13)), _mm256_set1_pd(1e-19));
        d = _mm256_add_pd(d, far);
        undecided = find_cut(g, n);
    }
    undecided |= find_middle(d);
    __m128i bits =
        _mm_sllv_epi32(_mm_set1_epi32((int32_t)g->negative), _mm_setr_epi32(31, 30, 29, 28));
    __m128 sign = _mm_and_ps((__m128)bits, _mm_set1_ps(-0.0f));
    _mm_storeu_ps((float *)(void *)to, _mm_or_ps(_mm256_cvtpd_ps(d), sign));
    if ((good02 & good13) == UINT32_MAX && !undecided)
        return g->n;
    for (size_t i = 0; i < g->n; i++) {
        uint32_t good = (i & 1 ? good13 : good02) >> (i & 2 ? WINDOW : 0);
        if ((good & 0xffff) != 0xffff || undecided >> i & 1)
            return i;
    }
    return g->n;
}

size_t number_read_f32_avx2(const char **at, str text, char *to, size_t n_max) {
    const char *p = *at, *end = text.p + text.n;
    size_t n = 0;
    while (n_max - n >= GROUP && p - text.p >= POINT_AT && end - p >= BLOCK + SLACK) {
        struct group g;
        find_numbers(&g, p);
        size_t n_good = g.n ? compute(&g, to + n * sizeof(float)) : 0;
        n += n_good;
        p = g.start[n_good];
        if (n_good < g.n || !g.n)
            break;
    }
    *at = p;
    return n;
}
