#include "server/scheduler/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

struct instance {
    struct scheduler *scheduler;
    struct backend_instance *backend;
    pthread_t thread;
    bool has_thread;
    bool is_busy;  /* its thread or a pushing thread runs a batch on it */
    uint64_t turn; /* of that batch */
};

struct scheduler {
    struct mutex lock;
    struct cond changed; /* work came, or an instance was freed, or the end */
    struct cond turned;  /* a batch has been answered; used when order is kept */
    const struct backend *backend;
    const struct model_spec *spec;
    const struct clock *clock;
    struct queue_options queue_options;
    struct queue queue;
    struct instance *instances;
    size_t n_instances, n_busy, n_sleeping;
    size_t n_in_flight;
    int64_t run_ns; /* moving average of a batch */
    size_t n_runs;
    bool keeps_order;         /* and there is more than one instance */
    uint64_t next_turn, turn; /* of the next batch to start; of the one that may answer */
    bool is_draining, is_ending;
    struct model_stats stats;
};

enum { RUNS_BEFORE_INLINE = 8 };

/* A batch run by a pushing thread answers requests, and an answer may push the next request of
 * the same connection: that one must not run on top of the first. */
static _Thread_local bool is_running_inline;

static void record_locked(struct scheduler *s, struct infer_request *r,
                          const struct infer_response *response) {
    int64_t end_ns = clock_now(s->clock);
    struct infer_batch *b = r->batch;
    if (b && ++b->n_answered == b->n) {
        stats_add_execution(&s->stats, b, end_ns);
        int64_t run_ns = end_ns - b->start_ns;
        s->run_ns += (run_ns - s->run_ns) / 8;
        s->n_runs++;
    }
    s->stats.last_inference_ms = wall_now_ns() / NS_PER_MS;
    if (response->code != STATUS_OK) {
        failure_reason reason = response->code == STATUS_CANCELLED ? FAILURE_CANCELED
                                : b                                ? FAILURE_BACKEND
                                                                   : FAILURE_REJECTED;
        stats_add_failure(&s->stats, reason, end_ns - r->start_ns);
        return;
    }
    struct request_times t = {.start_ns = r->start_ns,
                              .compute_start_ns = b ? b->start_ns : r->start_ns,
                              .input_end_ns = b ? b->input_end_ns : r->start_ns,
                              .output_start_ns = b ? b->output_start_ns : end_ns,
                              .end_ns = end_ns};
    stats_add_success(&s->stats, &t, r->n_batch);
}

/* Nothing is queued or running, also not a pushing thread that has yet to free its instance. */
static bool is_over_locked(const struct scheduler *s) {
    return s->is_ending && s->n_in_flight == 0 && s->n_busy == 0;
}

static void tap_response(struct infer_request *r, struct infer_response *response) {
    struct scheduler *s = r->queue;
    if (!response->is_last)
        return;
    mutex_lock(&s->lock);
    while (s->keeps_order && r->batch && r->batch->turn > s->turn)
        cond_wait(&s->turned, &s->lock); /* an earlier batch runs on another instance */
    record_locked(s, r, response);
    s->n_in_flight--;
    if (is_over_locked(s))
        cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
    r->is_answered = true;
}

static void refuse_all(struct request_list *l) {
    struct infer_request *r;
    while ((r = request_list_pop(l))) {
        if (atomic_load_explicit(&r->is_cancelled, memory_order_relaxed))
            infer_respond_error(r, STATUS_CANCELLED, "request cancelled");
        else
            infer_respond_error(r, STATUS_UNAVAILABLE, "Request timeout expired");
    }
}

static void instance_take_locked(struct scheduler *s, struct instance *i) {
    i->is_busy = true;
    i->turn = s->next_turn++;
    s->n_busy++;
}

static void instance_give_locked(struct scheduler *s, struct instance *i) {
    i->is_busy = false;
    s->n_busy--;
    s->turn++;
    if (s->keeps_order)
        cond_broadcast(&s->turned);
    if (is_over_locked(s))
        cond_broadcast(&s->changed);
}

/* Runs one batch on `i`, which the caller has taken; no lock held. */
static void run_batch(struct scheduler *s, struct instance *i, struct infer_request **requests,
                      size_t n) {
    struct infer_batch b = {.requests = requests, .n = n, .clock = s->clock, .turn = i->turn};
    for (size_t k = 0; k < n; k++) {
        requests[k]->batch = &b;
        b.n_elements += requests[k]->n_batch;
    }
    b.start_ns = clock_now(s->clock);
    b.input_end_ns = b.output_start_ns = b.start_ns;
    s->backend->run(i->backend, &b);
}

/* Takes what may run now. Requests that may not run at all any more land in `refused`. */
static size_t pull_locked(struct scheduler *s, struct infer_request **batch, int64_t *wake_ns,
                          struct request_list *refused) {
    int64_t now_ns = clock_now(s->clock);
    if (s->queue.n)
        queue_sweep(&s->queue, now_ns, refused);
    size_t n = queue_pull(&s->queue, now_ns, batch, BATCH_REQUESTS_MAX, wake_ns);
    s->stats.n_pending = s->queue.n;
    return n;
}

static void instance_thread(void *arg) {
    struct instance *i = arg;
    struct scheduler *s = i->scheduler;
    struct infer_request *batch[BATCH_REQUESTS_MAX];
    mutex_lock(&s->lock);
    for (;;) {
        struct request_list refused = {0};
        int64_t wake_ns = INT64_MAX;
        size_t n = i->is_busy ? 0 : pull_locked(s, batch, &wake_ns, &refused);
        if (n || refused.n) {
            if (n)
                instance_take_locked(s, i);
            mutex_unlock(&s->lock);
            refuse_all(&refused);
            if (n)
                run_batch(s, i, batch, n);
            mutex_lock(&s->lock);
            if (n)
                instance_give_locked(s, i);
            continue;
        }
        if (is_over_locked(s))
            break;
        s->n_sleeping++;
        if (wake_ns == INT64_MAX)
            cond_wait(&s->changed, &s->lock);
        else
            cond_wait_until(&s->changed, &s->lock, wake_ns);
        s->n_sleeping--;
    }
    mutex_unlock(&s->lock);
}

static struct instance *free_instance_locked(struct scheduler *s) {
    if (s->n_busy == s->n_instances)
        return NULL;
    for (size_t k = 0; k < s->n_instances; k++)
        if (!s->instances[k].is_busy)
            return &s->instances[k];
    return NULL;
}

static bool may_run_inline_locked(const struct scheduler *s) {
    return !s->keeps_order && !is_running_inline && s->n_runs >= RUNS_BEFORE_INLINE &&
           s->run_ns < INLINE_RUN_NS_MAX;
}

/* Runs one batch on the calling thread when that is cheaper than waking another. Called with the
 * lock, returns without it. */
static void work_inline_locked(struct scheduler *s, struct instance *i) {
    struct infer_request *batch[BATCH_REQUESTS_MAX];
    struct request_list refused = {0};
    int64_t wake_ns;
    size_t n = pull_locked(s, batch, &wake_ns, &refused);
    if (n)
        instance_take_locked(s, i);
    if (n == 0 && wake_ns != INT64_MAX && s->n_sleeping)
        cond_signal(&s->changed); /* a thread that can wait for the rest of the batch */
    mutex_unlock(&s->lock);
    is_running_inline = true;
    refuse_all(&refused);
    if (n)
        run_batch(s, i, batch, n);
    is_running_inline = false;
    if (n == 0)
        return;
    mutex_lock(&s->lock);
    instance_give_locked(s, i);
    if (s->queue.n && s->n_sleeping)
        cond_signal(&s->changed);
    mutex_unlock(&s->lock);
}

status scheduler_push(struct scheduler *s, struct infer_request *r, struct error *err) {
    r->tap = tap_response;
    r->queue = s;
    r->batch = NULL;
    r->is_answered = false;
    r->start_ns = clock_now(s->clock);
    mutex_lock(&s->lock);
    if (s->is_draining) {
        mutex_unlock(&s->lock);
        return error_set(err, STATUS_UNAVAILABLE,
                         "[request id: %.*s] Server is stopping, scheduler for model has stopped "
                         "accepting new inference requests",
                         STR_ARG(r->id.n ? r->id : STR("<id_unknown>")));
    }
    status code = queue_push(&s->queue, r, err);
    if (code != STATUS_OK) {
        mutex_unlock(&s->lock);
        return code;
    }
    s->n_in_flight++;
    s->stats.n_pending = s->queue.n;
    struct instance *i = free_instance_locked(s);
    if (i && may_run_inline_locked(s)) {
        work_inline_locked(s, i);
        return STATUS_OK;
    }
    if (i && s->n_sleeping)
        cond_signal(&s->changed);
    mutex_unlock(&s->lock);
    return STATUS_OK;
}

void scheduler_drain(struct scheduler *s) {
    mutex_lock(&s->lock);
    s->is_draining = true;
    mutex_unlock(&s->lock);
}

size_t scheduler_in_flight(struct scheduler *s) {
    mutex_lock(&s->lock);
    size_t n = s->n_in_flight;
    mutex_unlock(&s->lock);
    return n;
}

void scheduler_expire(struct scheduler *s) {
    struct request_list refused = {0};
    mutex_lock(&s->lock);
    if (s->queue.n_with_timeout)
        queue_sweep(&s->queue, clock_now(s->clock), &refused);
    s->stats.n_pending = s->queue.n;
    mutex_unlock(&s->lock);
    refuse_all(&refused);
}

void scheduler_read_stats(struct scheduler *s, struct model_stats *out) {
    mutex_lock(&s->lock);
    *out = s->stats;
    mutex_unlock(&s->lock);
}

static status instance_start(struct scheduler *s, struct instance *i,
                             const struct scheduler_options *o, struct error *err) {
    i->scheduler = s;
    TRY(o->backend->instance_open(&i->backend, o->model, o->spec, err));
    if (o->warm)
        TRY(o->warm(o->warm_arg, i->backend, err));
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)(o->spec->name.n < 15 ? o->spec->name.n : 15),
             o->spec->name.p);
    TRY(thread_start(&i->thread, name, instance_thread, i, err));
    i->has_thread = true;
    return STATUS_OK;
}

status scheduler_new(struct scheduler **out, const struct scheduler_options *o, struct error *err) {
    CLEANUP(scheduler_freep) struct scheduler *s = calloc(1, sizeof *s);
    struct instance *instances = calloc(o->n_instances, sizeof *instances);
    if (!s || !instances || o->n_instances == 0 || o->n_instances > SCHEDULER_INSTANCES_MAX) {
        free(instances);
        free(TAKE(s));
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu instances, want 1..%d", o->n_instances,
                         SCHEDULER_INSTANCES_MAX);
    }
    mutex_init(&s->lock);
    cond_init(&s->changed);
    cond_init(&s->turned);
    s->backend = o->backend;
    s->spec = o->spec;
    s->clock = o->clock;
    s->queue_options = o->queue;
    s->queue.options = &s->queue_options;
    s->instances = instances;
    s->n_instances = o->n_instances;
    s->keeps_order = o->queue.keeps_order && o->n_instances > 1;
    for (size_t k = 0; k < o->n_instances; k++)
        TRY(instance_start(s, &s->instances[k], o, err));
    *out = TAKE(s);
    return STATUS_OK;
}

void scheduler_free(struct scheduler *s) {
    if (!s)
        return;
    mutex_lock(&s->lock);
    s->is_draining = s->is_ending = true;
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
    for (size_t k = 0; k < s->n_instances; k++)
        if (s->instances[k].has_thread)
            thread_join(s->instances[k].thread);
    for (size_t k = 0; k < s->n_instances; k++)
        if (s->instances[k].backend)
            s->backend->instance_close(s->instances[k].backend);
    cond_done(&s->changed);
    cond_done(&s->turned);
    mutex_done(&s->lock);
    free(s->instances);
    free(s);
}
