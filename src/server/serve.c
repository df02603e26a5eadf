#include "server/serve.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "net/server.h"
#include "server/backend/plan.h"
#include "server/model_table.h"
#include "server/protocol/service.h"
#include "server/scheduler/scheduler.h"
#include "server/warmup.h"

static const struct backend *const backends[] = {&plan_backend};

enum { EXPIRE_INTERVAL_MS = 5 };

struct serve {
    struct repository *repository;
    struct server *net;
    struct service service;
    struct model_caller caller;
    int64_t exit_timeout_ms;

    /* Schedulers whose requests may expire, and the thread that sees to it. */
    struct mutex lock;
    struct cond changed;
    struct scheduler **expiring;
    size_t n_expiring, capacity;
    pthread_t ticker;
    bool has_ticker, is_ending;
};

/* --- a model's scheduler --- */

static void queue_policy_of(const Inference__ModelQueuePolicy *p, struct queue_policy *out) {
    if (!p)
        return;
    out->delays_expired = p->timeout_action == INFERENCE__MODEL_QUEUE_POLICY__TIMEOUT_ACTION__DELAY;
    out->allows_override = p->allow_timeout_override;
    out->timeout_us = p->default_timeout_microseconds;
    out->size_max = p->max_queue_size;
}

static int compare_sizes(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* True: requests may expire while they wait. */
static bool queue_options_of(const model_config *c, struct queue_options *out) {
    out->max_batch_size = c->max_batch_size;
    if (c->scheduling_choice_case != INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING)
        return false;
    const Inference__ModelDynamicBatching *d = c->dynamic_batching;
    out->is_batching = true;
    out->keeps_order = d->preserve_ordering;
    uint64_t delay_max_us = (uint64_t)INT64_MAX / NS_PER_US / 2;
    uint64_t delay_us = d->max_queue_delay_microseconds;
    out->delay_ns = (int64_t)(delay_us < delay_max_us ? delay_us : delay_max_us) * NS_PER_US;
    for (size_t i = 0; i < d->n_preferred_batch_size && i < QUEUE_PREFERRED_MAX; i++)
        out->preferred[out->n_preferred++] = d->preferred_batch_size[i];
    qsort(out->preferred, out->n_preferred, sizeof out->preferred[0], compare_sizes);
    out->n_levels = d->priority_levels;
    out->default_level = d->default_priority_level;
    bool may_expire = false;
    for (size_t i = 0; i < (out->n_levels ? out->n_levels : 1); i++) {
        queue_policy_of(d->default_queue_policy, &out->policies[i]);
        for (size_t k = 0; k < d->n_priority_queue_policy; k++)
            if (d->priority_queue_policy[k]->key == i + 1)
                queue_policy_of(d->priority_queue_policy[k]->value, &out->policies[i]);
        may_expire = may_expire || out->policies[i].timeout_us;
    }
    return may_expire;
}

static void watch_expiry(struct serve *s, struct scheduler *scheduler) {
    mutex_lock(&s->lock);
    if (s->n_expiring == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 16;
        struct scheduler **more = realloc(s->expiring, capacity * sizeof *more);
        if (!more)
            abort();
        s->expiring = more;
        s->capacity = capacity;
    }
    s->expiring[s->n_expiring++] = scheduler;
    cond_signal(&s->changed);
    mutex_unlock(&s->lock);
}

static void forget_expiry(struct serve *s, const struct scheduler *scheduler) {
    mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_expiring; i++)
        if (s->expiring[i] == scheduler) {
            s->expiring[i] = s->expiring[--s->n_expiring];
            break;
        }
    mutex_unlock(&s->lock);
}

/* Requests that wait for a busy model must hear of their time-out, too. */
static void ticker_thread(void *arg) {
    struct serve *s = arg;
    mutex_lock(&s->lock);
    while (!s->is_ending) {
        if (s->n_expiring == 0) {
            cond_wait(&s->changed, &s->lock);
            continue;
        }
        cond_wait_until(&s->changed, &s->lock,
                        clock_now(clock_system()) + EXPIRE_INTERVAL_MS * NS_PER_MS);
        for (size_t i = 0; i < s->n_expiring; i++)
            scheduler_expire(s->expiring[i]);
    }
    mutex_unlock(&s->lock);
}

static status warm_instance(void *arg, struct backend_instance *i, struct error *err) {
    return warmup_run(arg, i, err);
}

static status version_started(void *arg, struct model_version *v, struct error *err) {
    struct serve *s = arg;
    struct scheduler_options o = {.backend = v->backend,
                                  .model = v->backend_model,
                                  .spec = &v->spec,
                                  .n_instances = config_n_instances(v->config),
                                  .clock = clock_system(),
                                  .warm = warm_instance,
                                  .warm_arg = v};
    bool may_expire = queue_options_of(v->config, &o.queue);
    TRY(scheduler_new(&v->scheduler, &o, err));
    if (may_expire)
        watch_expiry(s, v->scheduler);
    return STATUS_OK;
}

static void version_ended(void *arg, struct model_version *v) {
    struct serve *s = arg;
    forget_expiry(s, v->scheduler);
    scheduler_free(v->scheduler);
}

/* --- what backends may call --- */

static struct serve *serve_of(const struct model_caller *c) {
    return (struct serve *)((uintptr_t)c - offsetof(struct serve, caller));
}

static status caller_find(const struct model_caller *c, str model, int64_t version,
                          struct model_ref *out, struct error *err) {
    struct model_version *v;
    TRY(repository_find(serve_of(c)->repository, model, version, &v, err));
    *out = (struct model_ref){.spec = &v->spec, .handle = v};
    return STATUS_OK;
}

static status caller_push(const struct model_caller *c, const struct model_ref *m,
                          struct infer_request *r, struct error *err) {
    (void)c;
    const struct model_version *v = m->handle;
    return scheduler_push(v->scheduler, r, err);
}

static void caller_release(const struct model_caller *c, struct model_ref *m) {
    (void)c;
    model_version_unref(m->handle);
    *m = (struct model_ref){0};
}

/* --- start and end --- */

/* One listener, opened here so that an error can name its service. */
static status add_listen(struct server_listen *listens, size_t *n, const struct serve_listen *l,
                         const char *service, void (*handle)(void *arg, struct exchange *x),
                         struct error *err) {
    struct net_address address;
    struct error inner = {0};
    int fd = l->fd;
    if (!l->address && fd < 0)
        return STATUS_OK;
    if (fd < 0) {
        status code = net_address_parse(&address, str_from_c(l->address), &inner);
        if (code == STATUS_OK)
            code = net_listen(&fd, &address, &inner);
        if (code == STATUS_ALREADY_EXISTS)
            return error_set(err, STATUS_UNAVAILABLE,
                             "failed to start %s service: Unavailable - Socket '%s' already in use",
                             service, l->address);
        if (code != STATUS_OK)
            return error_set(err, code, "failed to start %s service: %s", service, inner.text);
    }
    listens[(*n)++] = (struct server_listen){.fd = fd, .handle = handle};
    return STATUS_OK;
}

static int default_loops(void) {
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : CPU_COUNT(&cpus);
    return n < 1 ? 1 : n > 8 ? 8 : n;
}

static void log_started(const struct serve *s, const struct server_listen *listens, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char text[NET_ADDRESS_TEXT_SIZE];
        log_info("serve", "started", "service=%s address=%s",
                 listens[i].handle == service_handle_metrics  ? "metrics"
                 : listens[i].handle == service_handle_vertex ? "vertex"
                                                              : "http",
                 net_address_format(server_address(s->net, i), text));
    }
}

/* With explicit loading and polling the model may come later. */
static status check_vertex(struct serve *s, const struct serve_options *o, struct error *err) {
    struct error inner = {0};
    if (!o->vertex.address || o->repository.control != MODEL_CONTROL_NONE ||
        service_check_vertex(&s->service, &inner) == STATUS_OK)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "failed to start Vertex AI service: Invalid argument - %s", inner.text);
}

static status listen_all(struct serve *s, const struct serve_options *o, struct error *err) {
    struct server_listen listens[SERVER_LISTENS_MAX];
    size_t n = 0;
    status code = add_listen(listens, &n, &o->http, "HTTP",
                             o->http.fd >= 0 ? service_handle_replica : service_handle_http, err);
    if (code == STATUS_OK)
        code = add_listen(listens, &n, &o->vertex, "Vertex AI", service_handle_vertex, err);
    if (code == STATUS_OK)
        code = add_listen(listens, &n, &o->metrics, "Metrics", service_handle_metrics, err);
    if (code == STATUS_OK && n == 0)
        code = error_set(err, STATUS_INVALID_ARGUMENT, "every endpoint is turned off");
    for (size_t i = 0; i < n; i++) {
        listens[i].arg = &s->service;
        if (code != STATUS_OK)
            close(listens[i].fd);
    }
    TRY(code);
    struct server_options options = {.listens = listens,
                                     .n_listens = n,
                                     .n_loops = o->n_loops ? o->n_loops : default_loops(),
                                     .loop_started = service_loop_started,
                                     .loop_ending = service_loop_ending};
    TRY(server_start(&s->net, &options, err));
    log_started(s, listens, n);
    return STATUS_OK;
}

static void service_init(struct serve *s, const struct serve_options *o) {
    s->service.server_id = o->server_id;
    s->service.log_file = o->log_file;
    s->service.is_strict_readiness = o->is_strict_readiness;
    s->service.input_size_max = o->input_size_max ? o->input_size_max : INPUT_SIZE_MAX;
    s->service.predict_route = str_from_c(o->predict_route);
    s->service.health_route = str_from_c(o->health_route);
    s->service.default_model = str_from_c(o->default_model);
    s->service.has_access_log = o->has_access_log;
    s->exit_timeout_ms = o->exit_timeout_ms;
}

static status load_models(struct serve *s, const struct serve_options *o, struct error *err) {
    struct repository_options r = o->repository;
    if (!r.backends) {
        r.backends = backends;
        r.n_backends = ARRAY_LEN(backends);
    }
    r.started = version_started;
    r.ended = version_ended;
    r.arg = s;
    TRY(repository_new(&s->repository, &r, err));
    s->service.repository = s->repository;
    s->caller =
        (struct model_caller){.find = caller_find, .push = caller_push, .release = caller_release};
    for (size_t i = 0; i < r.n_backends; i++)
        if (r.backends[i]->start)
            TRY(r.backends[i]->start(&s->caller, err));
    size_t n_failed = 0;
    TRY(repository_start(s->repository, o->load_models, o->n_load_models, &n_failed, err));
    model_table_print(s->repository, r.backends, r.n_backends, stderr);
    if (n_failed && o->does_exit_on_error)
        return error_set(err, STATUS_INTERNAL,
                         "creating server: Internal - failed to load all models");
    atomic_store(&s->service.is_failed, n_failed > 0);
    return STATUS_OK;
}

status serve_start(struct serve **out, const struct serve_options *o, struct error *err) {
    struct serve *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a server");
    mutex_init(&s->lock);
    cond_init(&s->changed);
    service_init(s, o);
    status code = thread_start(&s->ticker, "expire", ticker_thread, s, err);
    s->has_ticker = code == STATUS_OK;
    if (code == STATUS_OK)
        code = load_models(s, o, err);
    if (code == STATUS_OK)
        code = check_vertex(s, o, err);
    if (code == STATUS_OK)
        code = listen_all(s, o, err);
    if (code != STATUS_OK) {
        serve_stop(s);
        return code;
    }
    *out = s;
    return STATUS_OK;
}

int serve_http_port(const struct serve *s) {
    return server_port(s->net, 0);
}

void serve_stop(struct serve *s) {
    if (!s)
        return;
    atomic_store(&s->service.is_draining, true);
    if (s->repository)
        repository_stop_loading(s->repository);
    if (s->net) {
        log_info("serve", "waiting for in-flight requests to complete", "timeout_ms=%" PRId64,
                 s->exit_timeout_ms);
        server_drain(s->net, s->exit_timeout_ms);
    }
    /* Models before the network: what still runs answers into exchanges. */
    repository_free(s->repository);
    server_free(s->net);
    mutex_lock(&s->lock);
    s->is_ending = true;
    cond_signal(&s->changed);
    mutex_unlock(&s->lock);
    if (s->has_ticker)
        thread_join(s->ticker);
    cond_done(&s->changed);
    mutex_done(&s->lock);
    free(s->expiring);
    free(s);
}
