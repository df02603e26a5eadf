/* queue.h - the requests that wait for one model version, and which of them run together next.
 *
 * Triton's dynamic batcher with its priorities and queue policies as a function of the queue and
 * the time, evaluated when an instance is free: what Triton has already bound to a batch ahead of
 * an instance does not exist here. No threads, no clock: the scheduler owns it under its lock. */
#ifndef SERVER_SCHEDULER_QUEUE_H
#define SERVER_SCHEDULER_QUEUE_H

#include "server/backend/backend.h"

enum {
    QUEUE_LEVELS_MAX = 64,       /* priority levels */
    QUEUE_PREFERRED_MAX = 64,    /* preferred batch sizes */
    QUEUE_REQUESTS_MAX = 100000, /* waiting requests of a model without max_queue_size */
    BATCH_REQUESTS_MAX = 1024    /* requests of one batch */
};

/* default_queue_policy, or one entry of priority_queue_policy. */
struct queue_policy {
    bool delays_expired; /* timeout_action DELAY, not REJECT */
    bool allows_override;
    uint64_t timeout_us; /* 0: none */
    uint64_t size_max;   /* 0: QUEUE_REQUESTS_MAX */
};

struct queue_options {
    bool is_batching; /* false: Triton's default scheduler, one request a batch, first come */
    bool keeps_order; /* answers leave in the order of the requests, whatever instance ran them */
    int64_t max_batch_size;
    int64_t preferred[QUEUE_PREFERRED_MAX]; /* ascending */
    size_t n_preferred;
    int64_t delay_ns;                               /* max_queue_delay */
    size_t n_levels;                                /* 0: no priorities */
    size_t default_level;                           /* 1..n_levels */
    struct queue_policy policies[QUEUE_LEVELS_MAX]; /* [max(1, n_levels)] */
};

struct request_list {
    struct infer_request *first, *last;
    size_t n;
};

struct queue {
    const struct queue_options *options;
    struct {
        struct request_list live, delayed;
    } levels[QUEUE_LEVELS_MAX];
    size_t n;              /* requests, all levels */
    size_t n_with_timeout; /* of them, those that can expire */
};

/* Takes `r`; its start_ns is the time of enqueueing. UNAVAILABLE: full, the caller keeps it. */
NODISCARD status queue_push(struct queue *q, struct infer_request *r, struct error *err);

/* Moves every cancelled or (REJECT) expired request into `out`; DELAYs expired ones. */
void queue_sweep(struct queue *q, int64_t now_ns, struct request_list *out);

/* Decides what a free instance runs at `now_ns`: moves 1..capacity requests into batch[] and
 * returns their number; or returns 0 and sets *wake_ns to when to ask again (INT64_MAX: when a
 * request comes). The queue has been swept. */
size_t queue_pull(struct queue *q, int64_t now_ns, struct infer_request **batch, size_t capacity,
                  int64_t *wake_ns);

struct infer_request *request_list_pop(struct request_list *l);
void request_list_push(struct request_list *l, struct infer_request *r);

#endif
