/* bench.h - latencies of one benchmark, and how they are summed up and shown. */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/option.h"
#include "base/status.h"

enum { BENCH_SAMPLES_MAX = 4 << 20 };

/* Grows up to BENCH_SAMPLES_MAX; later latencies are counted, not kept. */
struct bench_samples {
    int64_t *ns;
    size_t n, capacity;
    uint64_t n_runs;
};
void bench_add(struct bench_samples *s, int64_t ns);

struct bench_summary {
    uint64_t n_runs;
    double seconds, throughput;              /* runs a second */
    double min, mean, median, p90, p95, p99; /* ms */
    double first_half, second_half;          /* medians, ms */
    bool is_stable;
};
/* `s` is sorted by it. */
void bench_sum_up(struct bench_summary *out, struct bench_samples *s, double seconds);

void bench_print(const struct bench_summary *b, const char *model, const char *how);
NODISCARD status bench_print_json(const struct bench_summary *b, const char *model,
                                  int64_t n_threads, struct error *err);

/* Asks http://HOST:PORT/v2/models/NAME over n_connections connections for `duration_s` seconds. */
NODISCARD status bench_http(struct bench_samples *out, double *seconds, const char *url,
                            const struct option_list *inputs, const struct option_list *shapes,
                            unsigned n_connections, double duration_s, struct error *err);

#endif
