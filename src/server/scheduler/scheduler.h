/* scheduler.h - runs the requests of one model version on its instances.
 *
 * One queue, no batcher thread: whoever has a free instance pulls the next batch. Each instance
 * has a thread; but when the model has proved cheap and an instance is free, the pushing thread
 * runs the batch itself, which saves two changes of thread (docs/decisions).
 *
 * Everything is guarded by the scheduler's lock, which is never held while a backend runs or a
 * response is on its way. */
#ifndef SERVER_SCHEDULER_SCHEDULER_H
#define SERVER_SCHEDULER_SCHEDULER_H

#include "server/scheduler/queue.h"
#include "server/scheduler/stats.h"

struct scheduler_options {
    const struct backend *backend;
    struct backend_model *model; /* borrowed */
    const struct model_spec *spec;
    struct queue_options queue; /* copied */
    size_t n_instances;
    const struct clock *clock;

    /* Called with each instance before it takes requests; may be NULL. */
    status (*warm)(void *arg, struct backend_instance *i, struct error *err);
    void *warm_arg;
};

enum {
    SCHEDULER_INSTANCES_MAX = 256,
    /* A model whose batches take less than this on average runs on the pushing thread. */
    INLINE_RUN_NS_MAX = 30 * NS_PER_US
};

struct scheduler;

/* Opens the instances and starts their threads. */
NODISCARD status scheduler_new(struct scheduler **out, const struct scheduler_options *o,
                               struct error *err);

/* Waits for what is queued and running, then ends threads and instances. */
void scheduler_free(struct scheduler *s);
DEFINE_CLEANUP(struct scheduler, scheduler_free)

/* Queues a request that infer_request_bind() accepted. It comes back through its `respond`, maybe
 * before this returns. UNAVAILABLE: full, or draining; the caller keeps it. Any thread. */
NODISCARD status scheduler_push(struct scheduler *s, struct infer_request *r, struct error *err);

/* Accepts nothing more; returns at once. */
void scheduler_drain(struct scheduler *s);

/* Requests queued or running. */
size_t scheduler_in_flight(struct scheduler *s);

/* Answers requests whose time is up while every instance is busy; called every few
 * milliseconds. Returns at once when no request can expire. Any thread. */
void scheduler_expire(struct scheduler *s);

void scheduler_read_stats(struct scheduler *s, struct model_stats *out);

#endif
