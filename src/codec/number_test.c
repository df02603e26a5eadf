#include "codec/number.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "support/test.h"

static uint64_t random_state = 88172645463325252;

static uint64_t random_bits(void) { /* xorshift: the same sequence every run */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1d;
}

static float read_f32(const char *text) {
    struct number n;
    const char *end = text + strlen(text);
    if (number_scan(text, end, &n) != end)
        test_fail(__FILE__, __LINE__, "\"%s\" is not a number", text);
    return number_to_f32(&n, text, end);
}

static double read_f64(const char *text) {
    struct number n;
    const char *end = text + strlen(text);
    if (number_scan(text, end, &n) != end)
        test_fail(__FILE__, __LINE__, "\"%s\" is not a number", text);
    return number_to_f64(&n, text, end);
}

static void check_f32(const char *text) {
    float got = read_f32(text), want = strtof(text, NULL);
    if (memcmp(&got, &want, sizeof got) != 0)
        test_fail(__FILE__, __LINE__, "f32 of %s: got %a, want %a", text, (double)got,
                  (double)want);
}

static void check_f64(const char *text) {
    double got = read_f64(text), want = strtod(text, NULL);
    if (memcmp(&got, &want, sizeof got) != 0)
        test_fail(__FILE__, __LINE__, "f64 of %s: got %a, want %a", text, got, want);
}

/* How few digits does the C library need to give `v` back? */
static int shortest_digits_f32(float v) {
    for (int n = 1; n < 9; n++) {
        char text[64];
        snprintf(text, sizeof text, "%.*e", n - 1, (double)v);
        if (strtof(text, NULL) == v)
            return n;
    }
    return 9;
}

static int shortest_digits_f64(double v) {
    for (int n = 1; n < 17; n++) {
        char text[64];
        snprintf(text, sizeof text, "%.*e", n - 1, v);
        if (strtod(text, NULL) == v)
            return n;
    }
    return 17;
}

static int significant_digits(const char *text) {
    int n = 0, zeros = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text == '.' || *text == '-' || (n == 0 && *text == '0'))
            continue;
        zeros = *text == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

TEST(number_f32_is_written_shortest_and_reads_back) {
    for (int i = 0; i < 400000; i++) {
        uint32_t bits = (uint32_t)random_bits();
        float v;
        memcpy(&v, &bits, sizeof v);
        if (isnan(v) || isinf(v))
            continue;
        char text[NUMBER_TEXT_SIZE + 1];
        text[number_format_f32(text, v)] = 0;
        float back = strtof(text, NULL), ours = read_f32(text);
        if (memcmp(&back, &v, sizeof v) != 0 || memcmp(&ours, &v, sizeof v) != 0)
            test_fail(__FILE__, __LINE__, "%a was written as %s", (double)v, text);
        /* The library's n digits are the nearest of that length; ours may be shorter, when a
         * decimal that is not the nearest of its length still reads back, but never longer. */
        if (i % 16 == 0 && significant_digits(text) > shortest_digits_f32(v))
            test_fail(__FILE__, __LINE__, "%s is not the shortest for %.9g", text, (double)v);
    }
}

TEST(number_f64_is_written_shortest_and_reads_back) {
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = random_bits();
        double v;
        memcpy(&v, &bits, sizeof v);
        if (isnan(v) || isinf(v))
            continue;
        char text[NUMBER_TEXT_SIZE + 1];
        text[number_format_f64(text, v)] = 0;
        double back = strtod(text, NULL), ours = read_f64(text);
        if (memcmp(&back, &v, sizeof v) != 0 || memcmp(&ours, &v, sizeof v) != 0)
            test_fail(__FILE__, __LINE__, "%a was written as %s", v, text);
        if (i % 16 == 0 && significant_digits(text) > shortest_digits_f64(v))
            test_fail(__FILE__, __LINE__, "%s is not the shortest for %.17g", text, v);
    }
}

TEST(number_reads_as_the_c_library_does) {
    for (int i = 0; i < 300000; i++) {
        char text[80];
        int digits = 1 + (int)(random_bits() % 22);
        size_t n = (size_t)(random_bits() & 1);
        text[0] = '-';
        text[n++] = (char)('1' + random_bits() % 9);
        if (digits > 1)
            text[n++] = '.';
        for (int d = 1; d < digits; d++)
            text[n++] = (char)('0' + random_bits() % 10);
        int range = random_bits() & 1 ? 30 : 400;
        if (random_bits() & 3)
            snprintf(text + n, sizeof text - n, "e%d",
                     (int)(random_bits() % (unsigned)range) - range / 2);
        else
            text[n] = 0;
        check_f32(text);
        check_f64(text);
    }
}

TEST(number_reads_halfway_cases_to_even) {
    for (int i = 0; i < 20000; i++) {
        uint32_t bits = (uint32_t)random_bits() & 0x7fffffff;
        float v, next;
        memcpy(&v, &bits, sizeof v);
        bits++;
        memcpy(&next, &bits, sizeof next);
        if (isnan(next) || isinf(next))
            continue;
        char text[400];
        snprintf(text, sizeof text, "%.160e", ((double)v + (double)next) / 2);
        check_f32(text);
        text[strcspn(text, "e") - 1] = '1'; /* and a hair above */
        check_f32(text);
    }
    static const char *const texts[] = {
        "16777217",
        "16777217.0000000000000000000000000000001",
        "33554434",
        "33554438",
        "9007199254740993",
        "9007199254740993.00000000000000000000000000000001",
        "1.17549435e-38",
        "1.4e-45",
        "7e-46",
        "7.1e-46",
        "3.4028235e38",
        "3.4028236e38",
        "1e39",
        "4.9e-324",
        "2.4e-324",
        "2.5e-324",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e400",
        "-0",
        "-0.0",
        "0e99999999999999999999",
        "1e-99999999999999999999",
        "0.000000000000000000000000000000000000000000000000000000000000000000000000001e75",
        "100000000000000000000000000000000000000000000000000e-50"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        check_f32(texts[i]);
        check_f64(texts[i]);
    }
}

TEST(number_reads_texts_longer_than_any_buffer) {
    static char text[200000];
    memset(text, '0', sizeof text - 1);
    memcpy(text, "1.5", 3);
    text[sizeof text - 2] = '7';
    CHECK(read_f32(text) == 1.5f && read_f64(text) == 1.5);
    memcpy(text, "0.0", 3);
    memcpy(text + sizeof text - 9, "7e199990", 9);
    check_f64(text);
}

TEST(number_writes_plain_or_exponent_notation) {
    static const struct {
        double v;
        const char *f64, *f32;
    } cases[] = {
        {0, "0.0", "0.0"},
        {-0.0, "-0.0", "-0.0"},
        {1, "1.0", "1.0"},
        {0.1, "0.1", "0.1"},
        {-2.5, "-2.5", "-2.5"},
        {123456, "123456.0", "123456.0"},
        {1e20, "100000000000000000000.0", "100000000000000000000.0"},
        {1e22, "1e22", "1e22"},
        {1e-6, "0.000001", "0.000001"},
        {1e-7, "1e-7", "1e-7"},
        {1.25e-9, "1.25e-9", "1.25e-9"},
        {16777216, "16777216.0", "16777216.0"},
        {1e21, "1e21", "1e21"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[NUMBER_TEXT_SIZE + 1];
        text[number_format_f64(text, cases[i].v)] = 0;
        CHECK_STR(text, cases[i].f64);
        text[number_format_f32(text, (float)cases[i].v)] = 0;
        CHECK_STR(text, cases[i].f32);
    }
    char text[NUMBER_TEXT_SIZE + 1];
    text[number_format_f32(text, NAN)] = 0;
    CHECK_STR(text, "NaN");
    text[number_format_f64(text, -INFINITY)] = 0;
    CHECK_STR(text, "-Infinity");
}

TEST(number_integers_keep_all_digits) {
    static const struct {
        const char *text;
        bool i64, u64;
    } cases[] = {
        {"0", true, true},
        {"-0", true, true},
        {"9223372036854775807", true, true},
        {"9223372036854775808", false, true},
        {"-9223372036854775808", true, false},
        {"-9223372036854775809", false, false},
        {"18446744073709551615", false, true},
        {"18446744073709551616", false, false},
        {"99999999999999999999999", false, false},
        {"1.0", false, false},
        {"1e3", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct number n;
        const char *text = cases[i].text, *end = text + strlen(text);
        CHECK(number_scan(text, end, &n) == end);
        int64_t s = 0;
        uint64_t u = 0;
        CHECK_EQ(number_to_i64(&n, &s), cases[i].i64);
        CHECK_EQ(number_to_u64(&n, &u), cases[i].u64);
        char back[NUMBER_TEXT_SIZE + 1];
        if (cases[i].i64 && text[1] != '0') {
            back[number_format_i64(back, s)] = 0;
            CHECK_STR(back, text);
        } else if (cases[i].u64) {
            back[number_format_u64(back, u)] = 0;
            CHECK_STR(back, text[0] == '-' ? "0" : text);
        }
    }
}

TEST(number_refuses_what_json_does) {
    static const char *const texts[] = {"",    "-",  "+1", ".5",  "1.",   "1.e3", "1e",
                                        "1e+", "e5", "x",  "NaN", "-Inf", "-.5"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct number n;
        CHECK(!number_scan(texts[i], texts[i] + strlen(texts[i]), &n));
    }
    struct number n;
    const char *text = "01"; /* a number ends after the 0: what follows is the caller's error */
    CHECK(number_scan(text, text + 2, &n) == text + 1);
}
