#include "server/scheduler/queue.h"

#include <inttypes.h>

void request_list_push(struct request_list *l, struct infer_request *r) {
    r->next = NULL;
    if (l->last)
        l->last->next = r;
    else
        l->first = r;
    l->last = r;
    l->n++;
}

struct infer_request *request_list_pop(struct request_list *l) {
    struct infer_request *r = l->first;
    if (!r)
        return NULL;
    l->first = r->next;
    if (!l->first)
        l->last = NULL;
    l->n--;
    r->next = NULL;
    return r;
}

static size_t level_count(const struct queue *q) {
    return q->options->n_levels ? q->options->n_levels : 1;
}

/* Index into levels[]: level 1, the most urgent, is 0. */
static size_t level_of(const struct queue *q, const struct infer_request *r) {
    if (q->options->n_levels == 0)
        return 0;
    if (r->priority >= 1 && r->priority <= q->options->n_levels)
        return (size_t)r->priority - 1;
    return q->options->default_level - 1;
}

static bool can_expire(const struct infer_request *r) {
    return r->deadline_ns != INT64_MAX;
}

status queue_push(struct queue *q, struct infer_request *r, struct error *err) {
    size_t level = level_of(q, r);
    const struct queue_policy *policy = &q->options->policies[level];
    uint64_t size_max = policy->size_max ? policy->size_max : QUEUE_REQUESTS_MAX;
    if (q->levels[level].live.n + q->levels[level].delayed.n >= size_max)
        return error_set(err, STATUS_UNAVAILABLE, "[request id: %.*s] Exceeds maximum queue size",
                         STR_ARG(r->id.n ? r->id : STR("<id_unknown>")));
    uint64_t timeout_us = policy->timeout_us;
    if (policy->allows_override && r->timeout_us != 0 && r->timeout_us < timeout_us)
        timeout_us = r->timeout_us;
    int64_t left_us = (INT64_MAX - r->start_ns) / NS_PER_US;
    r->deadline_ns = timeout_us == 0 || timeout_us >= (uint64_t)left_us
                         ? INT64_MAX
                         : r->start_ns + (int64_t)timeout_us * NS_PER_US;
    request_list_push(&q->levels[level].live, r);
    q->n++;
    q->n_with_timeout += can_expire(r);
    return STATUS_OK;
}

static void sweep_list(struct queue *q, struct request_list *l, int64_t now_ns,
                       struct request_list *delayed, struct request_list *out) {
    struct request_list kept = {0};
    struct infer_request *r;
    while ((r = request_list_pop(l))) {
        bool is_expired = r->deadline_ns <= now_ns;
        if (atomic_load_explicit(&r->is_cancelled, memory_order_relaxed) ||
            (is_expired && !delayed)) {
            q->n--;
            q->n_with_timeout -= can_expire(r);
            request_list_push(out, r);
        } else if (is_expired) {
            q->n_with_timeout--;
            r->deadline_ns = INT64_MAX;
            request_list_push(delayed, r);
        } else {
            request_list_push(&kept, r);
        }
    }
    *l = kept;
}

void queue_sweep(struct queue *q, int64_t now_ns, struct request_list *out) {
    for (size_t i = 0; i < level_count(q); i++) {
        bool delays = q->options->policies[i].delays_expired;
        sweep_list(q, &q->levels[i].delayed, now_ns, NULL, out);
        sweep_list(q, &q->levels[i].live, now_ns, delays ? &q->levels[i].delayed : NULL, out);
    }
}

/* A place in the order in which requests are served. */
struct cursor {
    size_t level;
    bool is_in_delayed;
    struct infer_request *r;
};

static void cursor_settle(const struct queue *q, struct cursor *c) {
    while (!c->r) {
        if (c->is_in_delayed) {
            if (++c->level == level_count(q))
                return;
            c->is_in_delayed = false;
            c->r = q->levels[c->level].live.first;
        } else {
            c->is_in_delayed = true;
            c->r = q->levels[c->level].delayed.first;
        }
    }
}

static struct cursor cursor_first(const struct queue *q) {
    struct cursor c = {.r = q->levels[0].live.first};
    cursor_settle(q, &c);
    return c;
}

static void cursor_next(const struct queue *q, struct cursor *c) {
    c->r = c->r->next;
    cursor_settle(q, c);
}

/* Requests may share a batch when they have the same inputs, and inputs of variable shape that
 * are not ragged have the same dims past the batch dimension. Texts run alone: the size of an
 * element says nothing of the next one's. */
static bool can_join(const struct infer_request *a, const struct infer_request *b) {
    const struct model_spec *m = a->model;
    for (size_t i = 0; i < m->n_inputs; i++) {
        const struct tensor *x = &a->inputs[i], *y = &b->inputs[i];
        if ((x->dtype == DTYPE_NONE) != (y->dtype == DTYPE_NONE) || x->dtype == DTYPE_BYTES)
            return false;
        if (x->dtype == DTYPE_NONE || m->inputs[i].allows_ragged)
            continue;
        if (x->rank != y->rank)
            return false;
        for (size_t d = 1; d < x->rank; d++)
            if (x->dims[d] != y->dims[d])
                return false;
    }
    return true;
}

static bool is_preferred(const struct queue_options *o, int64_t size) {
    for (size_t i = 0; i < o->n_preferred; i++)
        if (o->preferred[i] == size)
            return true;
    return false;
}

static size_t take(struct queue *q, size_t n, struct infer_request **batch) {
    for (size_t i = 0; i < n; i++) {
        size_t level = 0;
        while (!q->levels[level].live.n && !q->levels[level].delayed.n)
            level++;
        struct request_list *l =
            q->levels[level].live.n ? &q->levels[level].live : &q->levels[level].delayed;
        batch[i] = request_list_pop(l);
        q->n--;
        q->n_with_timeout -= can_expire(batch[i]);
    }
    return n;
}

/* What the scan from the queue's head found. */
struct scan {
    size_t n, best;   /* requests scanned; of the largest preferred size, or 0 */
    int64_t size;     /* batch elements of n */
    bool is_send_now; /* the next request cannot join */
    int64_t oldest_ns, deadline_ns;
};

static struct scan scan_queue(const struct queue *q, size_t capacity) {
    const struct queue_options *o = q->options;
    struct scan s = {.oldest_ns = INT64_MAX, .deadline_ns = INT64_MAX};
    int64_t preferred_max = o->n_preferred ? o->preferred[o->n_preferred - 1] : 0;
    int64_t size_max = o->max_batch_size > 1 ? o->max_batch_size : 1;
    const struct infer_request *first = NULL;
    for (struct cursor c = cursor_first(q); c.r; cursor_next(q, &c)) {
        int64_t size = c.r->n_batch > 1 ? c.r->n_batch : 1;
        if (!first) {
            first = c.r;
        } else {
            if (s.size + size > preferred_max && s.best == 0)
                s.best = s.n;
            if (s.n == capacity || s.size + size > size_max || !can_join(first, c.r)) {
                s.is_send_now = true;
                break;
            }
        }
        s.n++;
        s.size += size;
        s.oldest_ns = c.r->start_ns < s.oldest_ns ? c.r->start_ns : s.oldest_ns;
        s.deadline_ns = c.r->deadline_ns < s.deadline_ns ? c.r->deadline_ns : s.deadline_ns;
        if (is_preferred(o, s.size))
            s.best = s.n;
    }
    return s;
}

size_t queue_pull(struct queue *q, int64_t now_ns, struct infer_request **batch, size_t capacity,
                  int64_t *wake_ns) {
    const struct queue_options *o = q->options;
    *wake_ns = INT64_MAX;
    if (q->n == 0)
        return 0;
    if (!o->is_batching)
        return take(q, 1, batch);
    int64_t preferred_max = o->n_preferred ? o->preferred[o->n_preferred - 1] : 0;
    struct scan s = scan_queue(q, capacity);
    bool is_exceeded = o->delay_ns != 0 && now_ns - s.oldest_ns >= o->delay_ns;
    if (s.best != 0 && !is_exceeded)
        return take(q, s.best, batch);
    if (s.is_send_now || s.size >= preferred_max || is_exceeded || o->delay_ns == 0)
        return take(q, s.n, batch);
    int64_t due_ns = s.oldest_ns + o->delay_ns;
    *wake_ns = due_ns < s.deadline_ns ? due_ns : s.deadline_ns;
    return 0;
}
