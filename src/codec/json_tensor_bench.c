/* How fast tensors go through JSON: a 3x224x224 picture, as clients write it and as we do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "codec/json_tensor.h"

enum { N = 3 * 224 * 224, RUNS = 60 };

static float random_normal(uint64_t *state) {
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005 + 1442695040888963407;
        sum += (double)(*state >> 11) * 0x1p-53 - 0.5;
    }
    return (float)(sum * sqrt(3));
}

static void must(status s, const struct error *err) {
    if (s != STATUS_OK) {
        fprintf(stderr, "%s\n", err->text);
        exit(1);
    }
}

static void report(const char *what, size_t size, int64_t best_ns) {
    printf("%-44s %9zu bytes  %6.2f ms  %7.0f MB/s  %5.1f ns/element\n", what, size,
           (double)best_ns / 1e6, (double)size * 1e3 / (double)best_ns, (double)best_ns / N);
}

static void bench_read(const char *what, const struct buffer *text, const struct tensor *t) {
    int64_t best = INT64_MAX;
    for (int i = 0; i < RUNS; i++) {
        struct error err;
        struct json_reader r;
        int64_t start = clock_now(clock_system());
        json_reader_init(&r, buffer_str(text), &err);
        json_tensor_read(&r, t);
        must(json_reader_finish(&r), &err);
        int64_t took = clock_now(clock_system()) - start;
        best = took < best ? took : best;
    }
    report(what, text->n, best);
}

static void bench_write(const char *what, struct buffer *out, const struct tensor *t,
                        unsigned style) {
    int64_t best = INT64_MAX;
    for (int i = 0; i < RUNS; i++) {
        struct error err;
        int64_t start = clock_now(clock_system());
        buffer_clear(out);
        must(json_tensor_write(out, t, style, &err), &err);
        int64_t took = clock_now(clock_system()) - start;
        best = took < best ? took : best;
    }
    report(what, out->n, best);
}

int main(void) {
    struct error err;
    float *values = malloc(N * sizeof *values), *back = malloc(N * sizeof *back);
    int64_t *ids = malloc(N * sizeof *ids);
    uint64_t state = 7;
    struct buffer text = {0};
    struct tensor t = {.dtype = DTYPE_F32,
                       .rank = 3,
                       .dims = {3, 224, 224},
                       .data = values,
                       .size = N * sizeof *values};
    struct tensor into = t, id_tensor = t;
    into.data = back;
    id_tensor.dtype = DTYPE_I64;
    id_tensor.data = ids;
    id_tensor.size = N * sizeof *ids;
    for (size_t i = 0; i < N; i++) {
        values[i] = random_normal(&state);
        ids[i] = (int64_t)(fabsf(values[i]) * 15000);
    }
    bench_write("write FP32 flat, shortest", &text, &t, JSON_TENSOR_FLAT);
    bench_read("read the same", &text, &into);
    bench_write("write FP32 nested, shortest", &text, &t, JSON_TENSOR_NESTED);
    bench_read("read the same", &text, &into);
    buffer_clear(&text);
    for (size_t i = 0; i < N; i++) /* Python: json.dumps(array.tolist()) */
        must(buffer_printf(&text, &err, "%s%.17g", i ? ", " : "[", (double)values[i]), &err);
    must(buffer_append(&text, "]", 1, &err), &err);
    bench_read("read FP32 as Python writes it (17 digits)", &text, &into);
    buffer_clear(&text);
    for (size_t i = 0; i < N; i++)
        must(buffer_printf(&text, &err, "%s%.4f", i ? "," : "[", (double)values[i]), &err);
    must(buffer_append(&text, "]", 1, &err), &err);
    bench_read("read FP32 with 4 decimals", &text, &into);
    bench_write("write INT64", &text, &id_tensor, JSON_TENSOR_FLAT);
    bench_read("read the same", &text, &id_tensor);
    buffer_done(&text);
    free(values);
    free(back);
    free(ids);
    return 0;
}
