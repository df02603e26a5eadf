#include "control/api/service.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

/* One request on its way through the service. Lives in its exchange's arena. */
struct visit {
    struct service *service;
    struct exchange *x;
    struct visit *next;
    struct arena arena; /* the API's; released when the exchange is over */
    struct api_reply reply;
    int64_t deadline_ns; /* held until */
    bool is_checked;     /* its operation was looked at since it is held */
};

struct service {
    const struct api *api;
    pthread_t threads[SERVICE_THREADS], holder;
    size_t n_threads;
    bool has_holder;
    struct store_watch *watch;

    struct mutex lock; /* guards all below */
    struct cond arrived;
    struct visit *first, *last; /* the queue */
    size_t n_queued;
    struct visit *held;
    size_t n_held;
    bool is_ending;
};

static void visit_respond(struct exchange *x) {
    struct visit *v = x->user;
    exchange_respond(x, &(struct response){.status = v->reply.status,
                                           .content_type = STR("application/json; charset=UTF-8"),
                                           .body = &SEGMENT_STR(v->reply.body),
                                           .n_body = 1});
}

/* Back to the exchange's loop. `v` belongs to the loop from here on. */
static void visit_end(struct visit *v) {
    struct exchange *x = v->x;
    if (!str_eq(x->method, STR("GET")) || v->reply.status >= 500)
        log_info("api", "call", "method=%.*s path=%.*s status=%d ms=%.1f", STR_ARG(x->method),
                 (int)(x->path.n < 400 ? x->path.n : 400), x->path.p, v->reply.status,
                 (double)(clock_now(clock_system()) - x->started_ns) / NS_PER_MS);
    exchange_post(x, visit_respond);
}

static void visit_refuse(struct visit *v, status code, const char *text) {
    struct error err;
    error_set(&err, code, "%s", text);
    api_error_reply(&v->arena, &err, &v->reply);
}

/* Keeps the visit until its operation is done. False: it is to be answered now. */
static bool visit_hold(struct visit *v) {
    struct service *s = v->service;
    if (v->reply.wait_operation.n == 0 || v->reply.wait_ms <= 0)
        return false;
    v->deadline_ns = clock_now(clock_system()) + v->reply.wait_ms * NS_PER_MS;
    mutex_lock(&s->lock);
    bool is_held = !s->is_ending && s->n_held < SERVICE_HELD_MAX;
    if (is_held) {
        v->next = s->held;
        s->held = v;
        s->n_held++;
    }
    mutex_unlock(&s->lock);
    /* The operation may have ended before the visit was in the list. */
    if (is_held)
        store_watch_wake(s->watch);
    return is_held;
}

static struct visit *queue_pop(struct service *s) {
    mutex_lock(&s->lock);
    while (!s->first && !s->is_ending)
        cond_wait(&s->arrived, &s->lock);
    struct visit *v = s->first;
    if (v) {
        s->first = v->next;
        if (!s->first)
            s->last = NULL;
        s->n_queued--;
    }
    mutex_unlock(&s->lock);
    return v;
}

static void worker(void *arg) {
    struct service *s = arg;
    for (struct visit *v; (v = queue_pop(s)) != NULL;) {
        const struct exchange *x = v->x;
        struct api_request request = {
            .method = x->method, .path = x->path, .query = x->query, .body = x->body};
        api_handle(s->api, &v->arena, &request, &v->reply);
        if (!visit_hold(v))
            visit_end(v);
    }
}

/* Takes all held visits out of the service. */
static struct visit *held_take(struct service *s) {
    mutex_lock(&s->lock);
    struct visit *all = s->held;
    s->held = NULL;
    s->n_held = 0;
    mutex_unlock(&s->lock);
    return all;
}

static void held_put_back(struct service *s, struct visit *v) {
    mutex_lock(&s->lock);
    v->next = s->held;
    s->held = v;
    s->n_held++;
    mutex_unlock(&s->lock);
}

static bool is_ending(struct service *s) {
    mutex_lock(&s->lock);
    bool is = s->is_ending;
    mutex_unlock(&s->lock);
    return is;
}

static bool is_named(const struct visit *v, const struct store_entry *entries, size_t n) {
    static const str prefix = {.p = "operations/", .n = sizeof "operations/" - 1};
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_slice(entries[i].key, prefix.n, entries[i].key.n), v->reply.wait_operation))
            return true;
    return false;
}

/* Answers the held visits whose operation is done, as far as the changed `entries` tell, or whose
 * time is up; returns the next deadline. */
static int64_t held_check(struct service *s, const struct store_entry *entries, size_t n) {
    int64_t now = clock_now(clock_system()), next_ns = now + 60ll * NS_PER_S;
    bool is_ending_now = is_ending(s);
    struct visit *v = held_take(s);
    while (v) {
        struct visit *next = v->next;
        struct api_reply reply;
        bool is_over = v->deadline_ns <= now || is_ending_now, is_done = false;
        if (is_over || !v->is_checked || is_named(v, entries, n))
            api_wait_reply(s->api, &v->arena, v->reply.wait_operation, &is_done, &reply);
        v->is_checked = true;
        if (is_done || is_over) {
            v->reply = reply;
            visit_end(v);
        } else {
            if (v->deadline_ns < next_ns)
                next_ns = v->deadline_ns;
            held_put_back(s, v);
        }
        v = next;
    }
    return next_ns;
}

/* All held visits are to be looked at again: changes were missed. */
static void held_forget(struct service *s) {
    mutex_lock(&s->lock);
    for (struct visit *v = s->held; v; v = v->next)
        v->is_checked = false;
    mutex_unlock(&s->lock);
}

/* Wakes up when an operation changes, or a visit has waited long enough. */
static void holder(void *arg) {
    struct service *s = arg;
    int64_t deadline_ns = 0;
    while (!is_ending(s)) {
        struct arena a = {0};
        struct store_entry *entries = NULL;
        size_t n = 0;
        struct error err;
        status st = store_watch_next(s->watch, &a, deadline_ns, &entries, &n, &err);
        if (st == STATUS_OK)
            deadline_ns = held_check(s, entries, n);
        arena_release(&a);
        if (st == STATUS_OUT_OF_RANGE) {
            store_watch_skip(s->watch);
            held_forget(s);
        } else if (st != STATUS_OK) {
            char quoted[LOG_QUOTE_SIZE];
            log_error("api", "operations cannot be watched", "error=%s",
                      log_quote(err.text, quoted));
            return;
        }
    }
}

static void visit_release(void *arg) {
    arena_release(&((struct visit *)arg)->arena);
}

static void visit_queue(struct exchange *x) {
    struct visit *v = x->user;
    struct service *s = v->service;
    mutex_lock(&s->lock);
    bool is_queued = !s->is_ending && s->n_queued < SERVICE_QUEUE_MAX;
    if (is_queued) {
        v->next = NULL;
        if (s->last)
            s->last->next = v;
        else
            s->first = v;
        s->last = v;
        s->n_queued++;
        cond_signal(&s->arrived);
    }
    mutex_unlock(&s->lock);
    if (!is_queued) {
        visit_refuse(v, STATUS_UNAVAILABLE, "The control plane is busy or ending. Try again.");
        visit_respond(x);
    }
}

void service_handle(void *arg, struct exchange *x) {
    struct visit *v = arena_new(&x->arena, struct visit);
    v->service = arg;
    v->x = x;
    x->user = v;
    arena_defer(&x->arena, visit_release, v);
    exchange_collect(x, API_BODY_MAX, visit_queue);
}

static status threads_start(struct service *s, struct error *err) {
    TRY(store_watch(&s->watch, s->api->store, STR("operations/"), store_revision(s->api->store),
                    err));
    TRY(thread_start(&s->holder, "api-holder", holder, s, err));
    s->has_holder = true;
    for (; s->n_threads < SERVICE_THREADS; s->n_threads++)
        TRY(thread_start(&s->threads[s->n_threads], "api-worker", worker, s, err));
    return STATUS_OK;
}

status service_start(struct service **out, const struct api *api, struct error *err) {
    struct service *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    s->api = api;
    mutex_init(&s->lock);
    cond_init(&s->arrived);
    status st = threads_start(s, err);
    if (st != STATUS_OK) {
        service_stop(s);
        service_free(s);
        return st;
    }
    *out = s;
    return STATUS_OK;
}

void service_stop(struct service *s) {
    mutex_lock(&s->lock);
    s->is_ending = true;
    cond_broadcast(&s->arrived);
    mutex_unlock(&s->lock);
    if (s->watch)
        store_watch_wake(s->watch);
    for (size_t i = 0; i < s->n_threads; i++)
        thread_join(s->threads[i]);
    if (s->has_holder)
        thread_join(s->holder);
    s->n_threads = 0;
    s->has_holder = false;
    held_check(s, NULL, 0);
}

void service_free(struct service *s) {
    if (!s)
        return;
    store_watch_free(s->watch);
    cond_done(&s->arrived);
    mutex_done(&s->lock);
    free(s);
}
