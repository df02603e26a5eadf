/* The run of numbers that the bytes start with must be what number_scan() finds one by one. What it
 * gives is written and read again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/number.h"
#include "codec/number_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static void check_one_by_one(const char *p, const char *end, const float *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct number number;
        const char *q = number_scan(p, end, &number);
        check(q != NULL);
        float v = number_to_f32(&number, p, q);
        check(memcmp(&v, values + i, sizeof v) == 0);
        check(i + 1 == n || *q == ',');
        for (p = q + 1; p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r');)
            p++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { N_MAX = 1000 };
    static float values[N_MAX], back[N_MAX];
    static char text[N_MAX * NUMBER_TEXT_SIZE];
    str whole = {.p = (const char *)data, .n = size};
    for (size_t from = 0; from < 5 && from < size; from++) {
        const char *at = whole.p + from;
        size_t n = number_run_read_f32(&at, whole, (char *)values, N_MAX);
        check(at >= whole.p + from && at <= whole.p + size && (n || at == whole.p + from));
        check_one_by_one(whole.p + from, whole.p + size, values, n);
        char *end = number_run_write_f32(text, (const char *)values, n);
        at = text;
        check(number_run_read_f32(&at, (str){.p = text, .n = (size_t)(end - text)}, (char *)back,
                                  N_MAX) == n);
        check(memcmp(values, back, n * sizeof *values) == 0);
    }
    return 0;
}
