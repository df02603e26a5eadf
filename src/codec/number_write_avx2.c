/* number_write_avx2.c - FP32 to the shortest decimals in text, eight at a time.
 *
 * Which decimal is the shortest is decided as in number.c (Schubfach), but between 10^-4 and 2^26
 * nothing needs rounding: with the value c * 2^q, its interval not shorter than 10^-j and
 * P = 4c * 5^j, the value in units of 10^-j is P / 2^shift, shift = 2 - q - j >= 0, and P has less
 * than 64 bits. So quotient and remainder of P tell exactly how far the value is from the multiples
 * of 10^-j and of 10^(1-j) on either side, and 2 * 5^j is half the interval in the same measure.
 *
 * The decimal is then scaled to 9 digits, which are split by multiplications into 1 + 4 + 4, those
 * into pairs and the pairs into bytes, for all eight numbers at once. At last each number's digits
 * are moved with one shuffle to where its sign and its point want them, 16 bytes are written, and
 * the next number is written over what was too much. */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "codec/number.h"
#include "codec/number_run_internal.h"

enum { GROUP = 8, TEXT = 16 }; /* "-0.000123456789" has 15 bytes */

/* Digits before the point: 0.0001 has -3, 2^26 has 8. */
enum { POINT_MIN = -3, POINT_MAX = 8 };

/* What the shuffle finds where. Only 0s come behind the 9th digit. */
enum { AT_DIGIT_2 = 0, AT_DIGIT_1 = 8, AT_POINT, AT_MINUS, AT_ZERO };

/* Where the bytes of a text come from: FORM(negative, digits before the point). */
#define DIGIT(i)        ((i) == 0 ? AT_DIGIT_1 : (i) < 9 ? AT_DIGIT_2 + (i) - 1 : AT_ZERO)
#define LARGE(p, i)     ((i) < (p) ? DIGIT(i) : (i) == (p) ? AT_POINT : DIGIT((i) - 1))
#define SMALL(p, i)     ((i) == 1 ? AT_POINT : (i) < 2 - (p) ? AT_ZERO : DIGIT((i) - 2 + (p)))
#define BYTE(n, p, i)   ((i) < (n) ? AT_MINUS : (p) > 0 ? LARGE(p, (i) - (n)) : SMALL(p, (i) - (n)))
#define BYTES4(n, p, i) BYTE(n, p, i), BYTE(n, p, (i) + 1), BYTE(n, p, (i) + 2), BYTE(n, p, (i) + 3)
#define FORM(n, p)      {BYTES4(n, p, 0), BYTES4(n, p, 4), BYTES4(n, p, 8), BYTES4(n, p, 12)}
#define FORMS(p)        FORM(0, p), FORM(1, p)
static const uint8_t forms[][TEXT] = {FORMS(-3), FORMS(-2), FORMS(-1), FORMS(0),
                                      FORMS(1),  FORMS(2),  FORMS(3),  FORMS(4),
                                      FORMS(5),  FORMS(6),  FORMS(7),  FORMS(8)};
_Static_assert(sizeof forms == 2 * (POINT_MAX - POINT_MIN + 1) * TEXT, "a form for each point");

/* Eight texts that are not yet in order: numbers 0, 1, 4, 5, 2, 3, 6, 7 of 32 bits in a register
 * become 0, 1, 2, 3 and 4, 5, 6, 7 when they are unpacked to 64 bits. */
struct texts {
    uint8_t bytes[GROUP][TEXT];
    uint64_t form[GROUP];
    uint64_t size[GROUP];
};

struct decimals {
    __m256i digits; /* below 10^9; the first of 9 digits is not 0 */
    __m256i point;  /* digits before the point */
};

static inline __m256i set1(int32_t v) {
    return _mm256_set1_epi32(v);
}

/* a in even lanes, b in odd ones. */
static inline __m256i weave(__m256i a, __m256i b) {
    return _mm256_blend_epi32(a, b, 0xaa);
}

static inline __m256i choose(__m256i mask, __m256i yes, __m256i no) {
    return _mm256_blendv_epi8(no, yes, mask);
}

static inline __m256i odd(__m256i v) {
    return _mm256_srli_epi64(v, 32);
}

/* v / 10 and v / 10000 for any uint32. */
static inline __m256i divide(__m256i v, uint32_t inverse, int shift) {
    __m256i m = set1((int32_t)inverse);
    __m256i even_quotient = _mm256_srli_epi64(_mm256_mul_epu32(v, m), shift);
    __m256i odd_product = _mm256_srli_epi64(_mm256_mul_epu32(odd(v), m), shift - 32);
    return weave(even_quotient, odd_product);
}

/* 5^j for j = 0..12. */
static inline __m256i pow5(__m256i j) {
    const __m256i low = _mm256_setr_epi32(1, 5, 25, 125, 625, 3125, 15625, 78125);
    const __m256i high = _mm256_setr_epi32(390625, 1953125, 9765625, 48828125, 244140625, 0, 0, 0);
    __m256i j_has_8 = _mm256_cmpgt_epi32(j, set1(7));
    return choose(j_has_8, _mm256_permutevar8x32_epi32(high, j),
                  _mm256_permutevar8x32_epi32(low, j));
}

/* v in units of 10^-j has 7 to 9 digits: makes them 9. */
static inline struct decimals to_9_digits(__m256i v, __m256i j) {
    __m256i has_7 = _mm256_cmpgt_epi32(set1(10000000), v);
    __m256i has_8_or_7 = _mm256_cmpgt_epi32(set1(100000000), v);
    __m256i factor = _mm256_add_epi32(set1(1), _mm256_and_si256(has_8_or_7, set1(9)));
    factor = _mm256_add_epi32(factor, _mm256_and_si256(has_7, set1(90)));
    __m256i n = _mm256_add_epi32(_mm256_add_epi32(set1(9), has_7), has_8_or_7); /* a mask is -1 */
    return (struct decimals){_mm256_mullo_epi32(v, factor), _mm256_sub_epi32(n, j)};
}

/* The shortest decimals of positive FP32, given as their bits, from 10^-4 to below 2^26. */
static inline struct decimals shorten(__m256i bits) {
    __m256i fraction = _mm256_and_si256(bits, set1(0x7fffff));
    __m256i closer = _mm256_cmpeq_epi32(fraction, _mm256_setzero_si256()); /* the one below is */
    __m256i c = _mm256_or_si256(fraction, set1(1 << 23));
    __m256i q = _mm256_sub_epi32(_mm256_srli_epi32(bits, 23), set1(150));
    /* -j = floor(log10(2^q)), or of 3/4 * 2^q: as 16-bit q * log10(2) and 1 * log10(3/4), which is
     * exact for these q. */
    __m256i q_and_closer = _mm256_blend_epi16(q, _mm256_and_si256(closer, set1(1 << 16)), 0xaa);
    __m256i logs = _mm256_madd_epi16(q_and_closer, set1(19728 - 8188 * (1 << 16)));
    __m256i j = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_srai_epi32(logs, 16));
    __m256i five = pow5(j);
    __m256i shift = _mm256_sub_epi32(_mm256_sub_epi32(set1(2), q), j);

    __m256i c4 = _mm256_slli_epi32(c, 2);
    __m256i p_even = _mm256_mul_epu32(c4, five), p_odd = _mm256_mul_epu32(odd(c4), odd(five));
    __m256i s_even = _mm256_srlv_epi64(p_even, weave(shift, _mm256_setzero_si256()));
    __m256i s_odd = _mm256_srlv_epi64(p_odd, odd(shift));
    __m256i s = weave(s_even, _mm256_slli_epi64(s_odd, 32));
    __m256i unit = _mm256_sllv_epi32(set1(1), shift), unit10 = _mm256_sllv_epi32(set1(10), shift);
    __m256i above = _mm256_and_si256(weave(p_even, _mm256_slli_epi64(p_odd, 32)),
                                     _mm256_sub_epi32(unit, set1(1)));
    __m256i tens = divide(s, 0xcccccccd, 35);
    tens = _mm256_add_epi32(_mm256_slli_epi32(tens, 3), _mm256_slli_epi32(tens, 1));
    __m256i above10 = _mm256_add_epi32(above, _mm256_sllv_epi32(_mm256_sub_epi32(s, tens), shift));

    /* How far the interval reaches; its ends belong to it when c is even: then <= is wanted. */
    __m256i closed = _mm256_andnot_si256(c, set1(1));
    __m256i reach_up = _mm256_add_epi32(_mm256_slli_epi32(five, 1), closed);
    __m256i reach_down = _mm256_sub_epi32(reach_up, _mm256_and_si256(closer, five));
    __m256i down10 = _mm256_cmpgt_epi32(reach_down, above10);
    __m256i up10 = _mm256_cmpgt_epi32(reach_up, _mm256_sub_epi32(unit10, above10));
    __m256i down = _mm256_cmpgt_epi32(reach_down, above);
    __m256i up = _mm256_cmpgt_epi32(reach_up, _mm256_sub_epi32(unit, above));
    __m256i above_twice =
        _mm256_add_epi32(_mm256_slli_epi32(above, 1), _mm256_and_si256(s, set1(1)));
    __m256i nearest_is_up = _mm256_cmpgt_epi32(above_twice, unit); /* to even, too */

    __m256i take_up = choose(_mm256_xor_si256(down, up), up, nearest_is_up);
    __m256i by_1 = _mm256_sub_epi32(s, take_up);
    __m256i by_10 = _mm256_add_epi32(tens, _mm256_and_si256(up10, set1(10)));
    return to_9_digits(choose(_mm256_or_si256(down10, up10), by_10, by_1), j);
}

/* Pairs of digits in 16 bits each to two bytes. */
static inline __m256i split_pairs(__m256i v) {
    __m256i tens = _mm256_mulhi_epu16(v, _mm256_set1_epi16(6554)); /* 6554 / 2^16 is 1 / 10 */
    return _mm256_add_epi16(_mm256_slli_epi16(v, 8),
                            _mm256_mullo_epi16(tens, _mm256_set1_epi16(1 - 10 * 256)));
}

/* How many of the 8 bytes are left when the zeros at the end fall away. */
static inline __m256i count_significant(__m256i digits) {
    __m256i v = _mm256_or_si256(digits, _mm256_srli_epi64(digits, 8));
    v = _mm256_or_si256(v, _mm256_srli_epi64(v, 16));
    v = _mm256_or_si256(v, _mm256_srli_epi64(v, 32)); /* not 0 where a byte from there on is not */
    return _mm256_sad_epu8(_mm256_min_epu8(v, _mm256_set1_epi8(1)), _mm256_setzero_si256());
}

/* Stores what is known of four of the texts. `others` are the bytes besides digits 2 to 9; a text
 * has `size_min` bytes, and `size_more` besides those digits. */
static inline void store_four(struct texts *t, size_t at, __m256i digits, __m256i others,
                              __m256i form, __m256i size_min, __m256i size_more) {
    __m256i size = _mm256_add_epi32(count_significant(digits), size_more);
    _mm256_storeu_si256((__m256i *)(t->size + at), _mm256_max_epi32(size, size_min));
    _mm256_storeu_si256((__m256i *)(t->form + at), form);
    digits = _mm256_or_si256(digits, _mm256_set1_epi8('0'));
    __m256i of02 = _mm256_unpacklo_epi64(digits, others);
    __m256i of13 = _mm256_unpackhi_epi64(digits, others);
    _mm256_storeu2_m128i((__m128i *)t->bytes[at + 2], (__m128i *)t->bytes[at], of02);
    _mm256_storeu2_m128i((__m128i *)t->bytes[at + 3], (__m128i *)t->bytes[at + 1], of13);
}

static inline void spell(struct texts *t, struct decimals d, __m256i bits) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i first_5 = divide(d.digits, 0xd1b71759, 45);
    __m256i last_4 = _mm256_sub_epi32(d.digits, _mm256_mullo_epi32(first_5, set1(10000)));
    /* / 10000 is / 16 / 625, and 53688 / 2^25 is 1 / 625 */
    __m256i first = _mm256_mulhi_epu16(_mm256_srli_epi32(first_5, 4), set1(53688));
    first = _mm256_srli_epi32(first, 9);
    __m256i next_4 = _mm256_sub_epi32(first_5, _mm256_madd_epi16(first, set1(10000)));
    __m256i fours = _mm256_or_si256(next_4, _mm256_slli_epi32(last_4, 16));
    __m256i hundreds = _mm256_srli_epi16(_mm256_mulhi_epu16(fours, _mm256_set1_epi16(5243)), 3);
    __m256i pairs = _mm256_sub_epi16(fours, _mm256_mullo_epi16(hundreds, _mm256_set1_epi16(100)));

    __m256i negative = _mm256_srli_epi32(bits, 31);
    __m256i is_large = _mm256_cmpgt_epi32(d.point, zero);
    __m256i form = _mm256_sub_epi32(d.point, set1(POINT_MIN));
    form = _mm256_add_epi32(_mm256_slli_epi32(form, 1), negative);
    /* Besides digits 2 to 9: a sign, digit 1, the point, and zeros in front of a small number. A
     * large one has a digit behind its point at least. */
    __m256i more =
        _mm256_add_epi32(negative, choose(is_large, set1(2), _mm256_sub_epi32(set1(3), d.point)));
    __m256i min = _mm256_add_epi32(negative, _mm256_add_epi32(d.point, set1(2)));
    min = _mm256_and_si256(min, is_large);
    __m256i others = _mm256_or_si256(first, set1('0' | '.' << 8 | '-' << 16 | '0' << 24));
    store_four(t, 0, split_pairs(_mm256_unpacklo_epi16(hundreds, pairs)),
               _mm256_unpacklo_epi32(others, zero), _mm256_unpacklo_epi32(form, zero),
               _mm256_unpacklo_epi32(min, zero), _mm256_unpacklo_epi32(more, zero));
    store_four(t, 4, split_pairs(_mm256_unpackhi_epi16(hundreds, pairs)),
               _mm256_unpackhi_epi32(others, zero), _mm256_unpackhi_epi32(form, zero),
               _mm256_unpackhi_epi32(min, zero), _mm256_unpackhi_epi32(more, zero));
}

/* Makes the texts of eight FP32. Returns a bit for each that cannot be made here. */
static inline unsigned make_texts(struct texts *t, __m256i bits) {
    const int32_t first = 0x38d1b717 /* 10^-4 */, end = (26 + 127) << 23;
    __m256i magnitude = _mm256_and_si256(bits, set1(0x7fffffff));
    __m256i is_zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
    __m256i inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(set1(first), magnitude),
                                         _mm256_cmpgt_epi32(set1(end), magnitude));
    unsigned usual = (unsigned)_mm256_movemask_ps((__m256)_mm256_or_si256(inside, is_zero));
    enum { IN_ORDER = 0xd8 }; /* 0, 2, 1, 3: see struct texts */
    struct decimals d = shorten(_mm256_permute4x64_epi64(magnitude, IN_ORDER));
    is_zero = _mm256_permute4x64_epi64(is_zero, IN_ORDER);
    d.digits = _mm256_andnot_si256(is_zero, d.digits); /* 0.0: no digits but one before the point */
    d.point = choose(is_zero, set1(1), d.point);
    spell(t, d, _mm256_permute4x64_epi64(bits, IN_ORDER));
    return ~usual & 0xff;
}

static inline char *put(char *out, const struct texts *t, size_t i) {
    __m128i text = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)t->bytes[i]),
                                    _mm_loadu_si128((const __m128i *)forms[t->form[i]]));
    _mm_storeu_si128((__m128i *)out, text);
    out += t->size[i];
    *out++ = ',';
    return out;
}

static char *put_some(char *out, const struct texts *t, unsigned unusual, const char *from,
                      size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (unusual >> i & 1) {
            float v;
            memcpy(&v, from + i * sizeof v, sizeof v);
            out += number_format_f32(out, v);
            *out++ = ',';
        } else {
            out = put(out, t, i);
        }
    }
    return out;
}

char *number_write_f32_avx2(char *out, const char *from, size_t n) {
    struct texts t;
    for (; n >= GROUP; n -= GROUP, from += sizeof(__m256i)) {
        unsigned unusual = make_texts(&t, _mm256_loadu_si256((const __m256i *)from));
        if (unusual)
            out = put_some(out, &t, unusual, from, GROUP);
        else
            for (size_t i = 0; i < GROUP; i++)
                out = put(out, &t, i);
    }
    if (n) {
        uint32_t last[GROUP] = {0};
        memcpy(last, from, n * sizeof *last);
        unsigned unusual = make_texts(&t, _mm256_loadu_si256((const __m256i *)last));
        out = put_some(out, &t, unusual, from, n);
    }
    return out;
}
