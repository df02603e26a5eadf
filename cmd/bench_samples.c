#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "bench.h"
#include "codec/json_writer.h"

void bench_add(struct bench_samples *s, int64_t ns) {
    s->n_runs++;
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 4096;
        int64_t *grown =
            capacity <= BENCH_SAMPLES_MAX ? realloc(s->ns, capacity * sizeof *s->ns) : NULL;
        if (!grown)
            return;
        s->ns = grown;
        s->capacity = capacity;
    }
    s->ns[s->n++] = ns;
}

static int compare_ns(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* In ms; `sorted` has n > 0 elements. */
static double percentile(const int64_t *sorted, size_t n, double p) {
    size_t i = (size_t)((double)(n - 1) * p + 0.5);
    return (double)sorted[i] / NS_PER_MS;
}

void bench_sum_up(struct bench_summary *out, struct bench_samples *s, double seconds) {
    *out = (struct bench_summary){.n_runs = s->n_runs, .seconds = seconds};
    if (s->n == 0)
        return;
    size_t half = s->n / 2;
    if (half > 0) {
        qsort(s->ns, half, sizeof *s->ns, compare_ns);
        qsort(s->ns + half, s->n - half, sizeof *s->ns, compare_ns);
        out->first_half = percentile(s->ns, half, 0.5);
        out->second_half = percentile(s->ns + half, s->n - half, 0.5);
    }
    qsort(s->ns, s->n, sizeof *s->ns, compare_ns);
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += (double)s->ns[i] / NS_PER_MS;
    out->throughput = (double)s->n_runs / seconds;
    out->min = percentile(s->ns, s->n, 0);
    out->mean = sum / (double)s->n;
    out->median = percentile(s->ns, s->n, 0.5);
    out->p90 = percentile(s->ns, s->n, 0.9);
    out->p95 = percentile(s->ns, s->n, 0.95);
    out->p99 = percentile(s->ns, s->n, 0.99);
    double drift = out->first_half > 0 ? out->second_half / out->first_half : 1;
    out->is_stable = s->n >= 20 && drift > 0.95 && drift < 1.05 && out->p90 < 1.2 * out->median &&
                     out->median < 1.5 * out->min;
}

void bench_print(const struct bench_summary *b, const char *model, const char *how) {
    printf("=== %s (%s) ===\n", model, how);
    printf("Runs:       %llu in %.2f s\n", (unsigned long long)b->n_runs, b->seconds);
    printf("Throughput: %.2f runs/s\n", b->throughput);
    printf("Latency:    min = %.4f ms, mean = %.4f ms, median = %.4f ms,\n"
           "            p90 = %.4f ms, p95 = %.4f ms, p99 = %.4f ms\n",
           b->min, b->mean, b->median, b->p90, b->p95, b->p99);
    if (b->is_stable)
        printf("Stability:  stable (medians of both halves within 5 %%,\n"
               "            p90 within 20 %% of the median)\n");
    else
        printf("Stability:  NOT stable: median %.4f ms in the first half, %.4f ms in the\n"
               "            second, min %.0f %%, p90 %.0f %% of the median; busy machine, or too\n"
               "            short a --duration?\n",
               b->first_half, b->second_half, b->median > 0 ? 100 * b->min / b->median : 0,
               b->median > 0 ? 100 * b->p90 / b->median : 0);
}

status bench_print_json(const struct bench_summary *b, const char *model, int64_t n_threads,
                        struct error *err) {
    CLEANUP(buffer_done) struct buffer text = {0};
    struct json_writer w;
    json_writer_init(&w, &text, err);
    w.pretty = true;
    json_begin_object(&w);
    json_member_string(&w, "model", str_from_c(model));
    json_member_i64(&w, "threads", n_threads);
    json_member_u64(&w, "runs", b->n_runs);
    json_member_f64(&w, "seconds", b->seconds);
    json_member_f64(&w, "throughput", b->throughput);
    json_key(&w, STR("latency_ms"));
    json_begin_object(&w);
    json_member_f64(&w, "min", b->min);
    json_member_f64(&w, "mean", b->mean);
    json_member_f64(&w, "median", b->median);
    json_member_f64(&w, "p90", b->p90);
    json_member_f64(&w, "p95", b->p95);
    json_member_f64(&w, "p99", b->p99);
    json_end_object(&w);
    json_member_bool(&w, "is_stable", b->is_stable);
    json_end_object(&w);
    TRY(json_writer_finish(&w));
    printf("%.*s\n", STR_ARG(buffer_str(&text)));
    return STATUS_OK;
}
