#include "server/scheduler/stats.h"

#include <string.h>

const uint64_t latency_bounds_us[LATENCY_BUCKETS] = {100,    250,    500,     1000,    2500,
                                                     5000,   10000,  25000,   50000,   100000,
                                                     250000, 500000, 1000000, 2500000, 10000000};
const uint64_t batch_bounds[BATCH_BUCKETS] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

static void add(struct duration_stats *d, int64_t ns) {
    d->count++;
    d->ns += ns > 0 ? (uint64_t)ns : 0;
}

static void observe(struct latency_histogram *h, int64_t ns) {
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    size_t i = 0;
    while (i < LATENCY_BUCKETS && value > latency_bounds_us[i] * NS_PER_US)
        i++;
    h->counts[i]++;
    h->sum_ns += value;
}

void stats_add_success(struct model_stats *s, const struct request_times *t, int64_t n_batch) {
    int64_t parts[PART_COUNT] = {
        [PART_REQUEST] = t->end_ns - t->start_ns,
        [PART_QUEUE] = t->compute_start_ns - t->start_ns,
        [PART_COMPUTE_INPUT] = t->input_end_ns - t->compute_start_ns,
        [PART_COMPUTE_INFER] = t->output_start_ns - t->input_end_ns,
        [PART_COMPUTE_OUTPUT] = t->end_ns - t->output_start_ns,
    };
    struct duration_stats *to[PART_COUNT] = {&s->success, &s->queue, &s->input, &s->infer,
                                             &s->output};
    for (size_t i = 0; i < PART_COUNT; i++) {
        add(to[i], parts[i]);
        observe(&s->latency[i], parts[i]);
    }
    s->inference_count += (uint64_t)n_batch;
}

void stats_add_failure(struct model_stats *s, failure_reason reason, int64_t duration_ns) {
    add(&s->fail, duration_ns);
    s->failures[reason]++;
}

static struct batch_stats *batch_entry(struct model_stats *s, int64_t size) {
    size_t i = 0;
    while (i < s->n_batches && s->batches[i].size < size)
        i++;
    if (i < s->n_batches && s->batches[i].size == size)
        return &s->batches[i];
    if (s->n_batches == BATCH_STATS_MAX)
        return NULL;
    memmove(&s->batches[i + 1], &s->batches[i], (s->n_batches - i) * sizeof s->batches[0]);
    s->batches[i] = (struct batch_stats){.size = size};
    s->n_batches++;
    return &s->batches[i];
}

void stats_add_execution(struct model_stats *s, const struct infer_batch *b, int64_t end_ns) {
    s->execution_count++;
    size_t i = 0;
    while (i < BATCH_BUCKETS && (uint64_t)b->n_elements > batch_bounds[i])
        i++;
    s->batch_counts[i]++;
    s->batch_sum += (uint64_t)b->n_elements;
    struct batch_stats *e = batch_entry(s, b->n_elements);
    if (!e)
        return;
    add(&e->input, b->input_end_ns - b->start_ns);
    add(&e->infer, b->output_start_ns - b->input_end_ns);
    add(&e->output, end_ns - b->output_start_ns);
}
