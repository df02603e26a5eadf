/* stats.h - what a model version has done so far: Triton's counters, cumulative nanoseconds, and
 * histograms of ours. Guarded by its scheduler's lock; readers get a copy. */
#ifndef SERVER_SCHEDULER_STATS_H
#define SERVER_SCHEDULER_STATS_H

#include "server/backend/backend.h"

struct duration_stats {
    uint64_t count, ns;
};

typedef enum failure_reason {
    FAILURE_REJECTED,
    FAILURE_CANCELED,
    FAILURE_BACKEND,
    FAILURE_OTHER,
    FAILURE_COUNT
} failure_reason;

/* The parts of a request's time, as statistics and histograms name them. */
typedef enum request_part {
    PART_REQUEST, /* whole */
    PART_QUEUE,
    PART_COMPUTE_INPUT,
    PART_COMPUTE_INFER,
    PART_COMPUTE_OUTPUT,
    PART_COUNT
} request_part;

enum { LATENCY_BUCKETS = 15, BATCH_BUCKETS = 9 };
extern const uint64_t latency_bounds_us[LATENCY_BUCKETS]; /* upper bounds, ascending */
extern const uint64_t batch_bounds[BATCH_BUCKETS];

struct latency_histogram {
    uint64_t counts[LATENCY_BUCKETS + 1]; /* the last: over every bound */
    uint64_t sum_ns;
};

/* Executions at one batch size. */
struct batch_stats {
    int64_t size;
    struct duration_stats input, infer, output;
};

enum { BATCH_STATS_MAX = 256 }; /* different batch sizes that are told apart */

struct model_stats {
    int64_t last_inference_ms; /* since 1970 */
    uint64_t inference_count, execution_count;
    struct duration_stats success, fail, queue, input, infer, output;
    uint64_t failures[FAILURE_COUNT];
    struct latency_histogram latency[PART_COUNT];
    uint64_t batch_counts[BATCH_BUCKETS + 1], batch_sum;
    struct batch_stats batches[BATCH_STATS_MAX]; /* ascending size */
    size_t n_batches;
    uint64_t n_pending; /* waiting, not yet started */
};

/* The times of one answered request. */
struct request_times {
    int64_t start_ns, compute_start_ns, input_end_ns, output_start_ns, end_ns;
};

void stats_add_success(struct model_stats *s, const struct request_times *t, int64_t n_batch);
void stats_add_failure(struct model_stats *s, failure_reason reason, int64_t duration_ns);
void stats_add_execution(struct model_stats *s, const struct infer_batch *b, int64_t end_ns);

#endif
