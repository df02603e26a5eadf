#include "codec/number_run.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/isa.h"
#include "codec/number.h"
#include "codec/number_run_internal.h"
#include "support/test.h"

static uint64_t random_state = 88172645463325252;

static uint64_t random_bits(void) { /* xorshift: the same sequence every run */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1d;
}

static unsigned random_below(unsigned n) {
    return (unsigned)(random_bits() >> 32) % n;
}

/* ---- writing ---- */

enum { CHUNK = 64 };

/* Are `n` numbers written as number_format_f32 writes each of them? `out` has no byte too many. */
static void check_written(const uint32_t *bits, size_t n) {
    char *out = malloc(n * NUMBER_TEXT_SIZE), wanted[NUMBER_TEXT_SIZE + 1], *at = out;
    char *end = number_run_write_f32(out, (const char *)bits, n);
    for (size_t i = 0; i < n; i++) {
        float v;
        memcpy(&v, bits + i, sizeof v);
        size_t size = number_format_f32(wanted, v);
        wanted[size++] = ',';
        if ((size_t)(end - at) < size || memcmp(at, wanted, size) != 0)
            test_fail(__FILE__, __LINE__, "%a: got %.*s, want %.*s", (double)v,
                      (int)(end - at < 20 ? end - at : 20), at, (int)size, wanted);
        at += size;
    }
    CHECK(at == end);
    free(out);
}

static uint32_t bits_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

TEST(number_run_writes_every_exponent_as_one_by_one) {
    uint32_t bits[CHUNK];
    for (uint32_t exponent = 0; exponent < 256; exponent++)
        for (int k = 0; k < 200; k++) {
            for (size_t i = 0; i < CHUNK; i++) {
                uint32_t r = (uint32_t)random_bits(), fraction = r & 0x7fffff;
                if (i < 8)
                    fraction = i < 4 ? (uint32_t)i : 0x7fffff - (uint32_t)i;
                else if (i < 24) /* few bits: many zeros at the end of the decimal */
                    fraction &= 0x7fffffU << (i - 1);
                bits[i] = (r & 1U << 31) | exponent << 23 | fraction;
            }
            check_written(bits, CHUNK);
        }
}

TEST(number_run_writes_what_is_common_as_one_by_one) {
    uint32_t bits[CHUNK];
    static const float scales[] = {1, 10, 100, 255, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F};
    for (int k = -20000; k < 20000; k += CHUNK)
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
            for (int i = 0; i < CHUNK; i++)
                bits[i] = bits_of((float)(k + i) / scales[s]);
            check_written(bits, CHUNK);
        }
    for (int k = 0; k < 20000; k++) {
        for (size_t i = 0; i < CHUNK; i++)
            bits[i] = bits_of((float)(int64_t)random_bits() * 0x1p-61F);
        check_written(bits, CHUNK);
    }
}

TEST(number_run_writes_any_count_and_leaves_the_rare_to_one_by_one) {
    static const float rare[] = {0, -0.0F, NAN, INFINITY, -INFINITY, 1e-45F, 1e-5F, 1e9F, -3e38F};
    uint32_t bits[CHUNK];
    for (size_t n = 0; n <= CHUNK; n++)
        for (int k = 0; k < 50; k++) {
            for (size_t i = 0; i < n; i++)
                bits[i] = random_below(8) ? bits_of((float)random_below(2000) / 128 - 7)
                                          : bits_of(rare[random_below(9)]);
            check_written(bits, n);
        }
}

/* Each 1009th FP32 between 10^-4 and 2^26; all of them in `make check-long` (release: minutes). */
TEST(number_run_writes_and_reads_back_the_range_that_it_writes) {
    static char text[CHUNK * NUMBER_TEXT_SIZE];
    const uint32_t step = getenv("CULMEN_LONG") ? 1 : 1009, last = bits_of(0x1p26F);
    uint32_t bits[CHUNK], next = bits_of(1e-4F);
    float back[CHUNK];
    while (next < last) {
        for (size_t i = 0; i < CHUNK; i++, next += step)
            bits[i] = next < last ? next : last;
        check_written(bits, CHUNK);
        char *end = number_run_write_f32(text, (const char *)bits, CHUNK);
        const char *at = text;
        str all = {.p = text, .n = (size_t)(end - text)};
        size_t n = number_run_read_f32(&at, all, (char *)back, CHUNK);
        CHECK(n == CHUNK && memcmp(bits, back, sizeof back) == 0);
    }
}

/* ---- reading ---- */

/* What number_run_read_f32 promises, in slow and plain. */
static size_t read_slowly(const char **at, const char *end, float *to, size_t n_max) {
    const char *p = *at;
    size_t n = 0;
    while (n < n_max) {
        struct number number;
        const char *q = number_scan(p, end, &number);
        char copy[200];
        if (!q)
            break;
        CHECK((size_t)(q - p) < sizeof copy);
        memcpy(copy, p, (size_t)(q - p));
        copy[q - p] = 0;
        float v = strtof(copy, NULL);
        if (isinf(v))
            break;
        to[n++] = v;
        *at = p = q;
        if (p == end || *p != ',')
            break;
        for (p++; p < end && strchr(" \n\t\r", *p);)
            p++;
    }
    return n;
}

static void check_read(const char *text, size_t size, size_t n_max) {
    char *exact = malloc(size + 1); /* nothing behind the text: ASan looks */
    float *got = malloc((n_max + 1) * sizeof *got), *want = malloc((n_max + 1) * sizeof *want);
    memcpy(exact + 1, text, size);
    for (size_t from = 0; from < size && from < 2; from++) { /* nothing before it, and a bracket */
        str whole = {.p = exact + 1, .n = size};
        const char *at = whole.p + from, *wanted_at = at;
        size_t n = number_run_read_f32(&at, whole, (char *)got, n_max);
        size_t n_wanted = read_slowly(&wanted_at, whole.p + size, want, n_max);
        if (n != n_wanted || at != wanted_at || memcmp(got, want, n * sizeof *got) != 0) {
            size_t i = 0;
            while (i < n && i < n_wanted && memcmp(got + i, want + i, sizeof *got) == 0)
                i++;
            test_fail(__FILE__, __LINE__,
                      "got %zu numbers, %zu bytes, want %zu and %zu; number %zu is %.9g, want %.9g "
                      "in %.*s",
                      n, (size_t)(at - whole.p), n_wanted, (size_t)(wanted_at - whole.p), i,
                      (double)got[i], (double)want[i], (int)(size < 600 ? size : 600), text);
        }
    }
    free(exact);
    free(got);
    free(want);
}

static size_t put_digits(char *out, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        out[i] = (char)('0' + random_below(10));
    return n;
}

/* A number as clients write them, now and then one that is rare or none. */
static size_t put_number(char *out) {
    static const char *const odd[] = {"01",   "1.",    ".5",   "-",        "--1", "+1",  "1.2.3",
                                      "1 .2", "1. 2",  "1e5",  "1E-05",    "NaN", "1e",  "-0",
                                      "0",    "1e999", "-.5",  "Infinity", "1_0", "1:2", "00.5",
                                      "-00",  "3e38",  "4e38", "\"1\"",    "",    "1/2", "]"};
    size_t n = 0;
    unsigned kind = random_below(100);
    if (kind == 0) {
        const char *text = odd[random_below(sizeof odd / sizeof *odd)];
        memcpy(out, text, strlen(text));
        return strlen(text);
    }
    if (random_below(2))
        out[n++] = '-';
    out[n++] = (char)('0' + random_below(kind < 5 ? 1 : 10));
    if (out[n - 1] != '0')
        n += put_digits(out + n, kind < 20 ? random_below(7) : kind < 40 ? random_below(4) : 0);
    if (kind % 10 == 1)
        return n;
    out[n++] = '.';
    return n + put_digits(out + n, 1 + random_below(kind < 50 ? 9 : kind < 90 ? 20 : 36));
}

TEST(number_run_reads_what_clients_write_as_one_by_one) {
    static const char *const separators[] = {",", ", ", ",", ", ", ",\n", " ,", ",  ", ", "};
    static char text[8000];
    for (int k = 0; k < 20000; k++) {
        const char *usual = separators[random_below(2)];
        size_t n = 0, n_numbers = random_below(60);
        text[n++] = '[';
        for (size_t i = 0; i < n_numbers; i++) {
            n += put_number(text + n);
            const char *separator = random_below(100) ? usual : separators[random_below(8)];
            memcpy(text + n, separator, strlen(separator));
            n += strlen(separator);
        }
        n += put_number(text + n);
        text[n++] = ']';
        check_read(text, n, random_below(8) ? 100 : random_below(60));
    }
}

TEST(number_run_reads_between_two_values_as_the_c_library_does) {
    static char text[8000];
    for (int k = 0; k < 20000; k++) {
        size_t n = 0;
        text[n++] = '[';
        for (int i = 0; i < 24; i++) { /* 25 bits: the middle of two FP32 */
            unsigned places = random_below(27);
            double middle = (double)(1U << 24 | (uint32_t)(random_bits() & 0xffffff) | 1) /
                            (double)(1U << places);
            char number[64];
            int size = snprintf(number, sizeof number, "%.*f", (int)places + 1, middle);
            if (random_below(3) == 0)
                number[size - 1] = '1'; /* and a hair above */
            n += (size_t)snprintf(text + n, sizeof text - n, "%s,", number);
        }
        check_read(text, n, 100);
    }
}

TEST(number_run_gives_every_f32_back) {
    static char text[CHUNK * NUMBER_TEXT_SIZE];
    float back[CHUNK];
    for (int k = 0; k < 20000; k++) {
        uint32_t bits[CHUNK];
        for (size_t i = 0; i < CHUNK; i++) {
            bits[i] = (uint32_t)random_bits();
            if (k % 4) /* where most tensors are: 2^-14 to 2^17 */
                bits[i] = (bits[i] & 0x807fffff) | (113 + random_below(32)) << 23;
            else if ((bits[i] >> 23 & 0xff) == 255)
                bits[i] = 0;
        }
        char *end = number_run_write_f32(text, (const char *)bits, CHUNK);
        const char *at = text;
        str all = {.p = text, .n = (size_t)(end - text)};
        CHECK_EQ(number_run_read_f32(&at, all, (char *)back, CHUNK), CHUNK);
        CHECK(at == end - 1 && memcmp(bits, back, sizeof back) == 0);
    }
}

TEST(number_run_takes_the_fast_way_where_there_is_one) {
    if (isa_host() < ISA_AVX2)
        test_skip("no AVX2 here");
    static char text[CHUNK * 32];
    static const struct {
        int precision;
        bool fixed;
        const char *separator;
    } forms[] = {
        {9, false, ","}, {4, true, ", "}, {17, false, ", "}, {1, true, ","}, {0, true, ","}};
    float back[CHUNK];
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        size_t n = 4;
        for (size_t i = 0; i < CHUNK; i++) {
            double v = (double)((float)(i + 1) / 7);
            n += (size_t)snprintf(text + n, sizeof text - n, forms[f].fixed ? "%.*f%s" : "%.*g%s",
                                  forms[f].precision, v, forms[f].separator);
        }
        const char *at = text + 4;
        /* All but those with less than a block of text behind them. */
        size_t got = number_read_f32_avx2(&at, (str){.p = text, .n = n}, (char *)back, CHUNK);
        if ((size_t)(text + n - at) > 96 + 4)
            test_fail(__FILE__, __LINE__, "form %zu: %zu numbers, %zu bytes are left", f, got,
                      (size_t)(text + n - at));
    }
}
