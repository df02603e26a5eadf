#include "control/reconciler.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "control/deployment_internal.h"

struct reconciler {
    struct reconciler_options options;
    struct store_watch *watch;
    _Atomic bool is_stopping;
    int64_t trim_ns; /* when operations are trimmed next */

    struct mutex lock; /* guards all below */
    struct cond settled;
    int64_t published_revision; /* the routes say at least this */
};

/* What one pass looks at. */
struct pass {
    struct reconciler *r;
    struct arena *arena;
    struct deployment *deployments;
    size_t n_deployments;
    struct replica_status *replicas;
    size_t n_replicas;
    int64_t wake_ns;  /* 0: nothing is due */
    bool is_repeated; /* a step was taken: what follows from it is for another pass */
};

static void wake_at(struct pass *p, int64_t at) {
    if (p->wake_ns == 0 || at < p->wake_ns)
        p->wake_ns = at;
}

static void report(const char *what, const struct deployment *d, const struct error *err) {
    char quoted[LOG_QUOTE_SIZE];
    log_error("reconciler", what, "endpoint=%.*s deployed_model=%.*s error=%s",
              STR_ARG(d->endpoint_name), STR_ARG(d->id), log_quote(err->text, quoted));
}

static status read_deployments(struct pass *p, struct error *err) {
    struct record *records;
    size_t n;
    TRY(record_list(p->r->options.store, p->arena, STR("deployments/"), &records, &n, err));
    p->deployments = arena_array(p->arena, struct deployment, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct deployment *d = &p->deployments[p->n_deployments];
        TRY(deployment_read(d, p->arena, &records[i], err));
        /* In the order of keys, so that those of one endpoint are neighbours. */
        const struct deployment *before = p->n_deployments ? d - 1 : NULL;
        if (before && str_eq(before->endpoint_name, d->endpoint_name)) {
            d->endpoint = before->endpoint;
            d->endpoint_revision = before->endpoint_revision;
        } else {
            TRY(record_get(p->r->options.store, p->arena,
                           record_key(p->arena, "endpoints", d->endpoint_name), &d->endpoint,
                           &d->endpoint_revision, err));
        }
        p->n_deployments++;
    }
    return STATUS_OK;
}

static status apply_one(struct pass *p, struct deployment *d, struct error *err) {
    struct runtime *runtime = p->r->options.runtime;
    const char **environment = NULL;
    size_t n_environment = 0;
    int64_t wake_ns = RUNTIME_NEVER_NS;
    TRY(deployment_environment(d, p->r->options.cache_folder, &environment, &n_environment, err));
    struct runtime_set set = {
        .name = d->set_name,
        .generation = (uint64_t)record_i64(d->record, "generation", 1),
        .n = d->n_wanted,
        .environment = environment,
        .n_environment = n_environment,
        .health_route = deployment_health_route(d).p,
        .drain_ms = DRAIN_MS,
    };
    TRY(runtime->driver->apply(runtime, &set, &wake_ns, err));
    if (wake_ns != RUNTIME_NEVER_NS)
        wake_at(p, wake_ns);
    return STATUS_OK;
}

/* Sets that run and that nobody wants: what a failed or cancelled deployment leaves. */
static status stop_orphans(struct pass *p, struct error *err) {
    struct runtime *runtime = p->r->options.runtime;
    for (size_t i = 0; i < p->n_replicas; i++) {
        bool is_wanted = false, is_seen = false;
        for (size_t k = 0; k < p->n_deployments && !is_wanted; k++)
            is_wanted = str_eq(p->deployments[k].set_name, p->replicas[i].set);
        for (size_t k = 0; k < i && !is_seen; k++)
            is_seen = str_eq(p->replicas[k].set, p->replicas[i].set);
        if (is_wanted || is_seen)
            continue;
        int64_t wake_ns = RUNTIME_NEVER_NS;
        struct runtime_set set = {
            .name = p->replicas[i].set, .health_route = "/", .drain_ms = DRAIN_MS};
        TRY(runtime->driver->apply(runtime, &set, &wake_ns, err));
        if (wake_ns != RUNTIME_NEVER_NS)
            wake_at(p, wake_ns);
    }
    return STATUS_OK;
}

static void collect_replicas(struct pass *p, struct deployment *d) {
    d->n_replicas = d->n_ready = 0;
    d->replicas = arena_array(p->arena, struct replica_status, p->n_replicas + 1);
    for (size_t i = 0; i < p->n_replicas; i++) {
        const struct replica_status *r = &p->replicas[i];
        if (!str_eq(r->set, d->set_name))
            continue;
        d->replicas[d->n_replicas++] = *r;
        d->n_ready += r->state == REPLICA_READY;
    }
}

/* Those that may get requests: the ready ones, and those whose socket is open and whose process is
 * still to come, where a request waits and is not refused; while none is ready also those that are
 * busy or hang. */
static void routable(struct pass *p, struct deployment *d, struct served_model *out) {
    struct replica_status *list = arena_array(p->arena, struct replica_status, d->n_replicas + 1);
    size_t n = 0;
    for (size_t i = 0; i < d->n_replicas; i++)
        if (d->replicas[i].is_open && (d->n_ready == 0 || d->replicas[i].state != REPLICA_UNREADY))
            list[n++] = d->replicas[i];
    out->replicas = list;
    out->n_replicas = n;
}

static const struct json_value *find_model(const struct deployment *d) {
    const struct json_value *list = json_get(d->endpoint, "deployedModels");
    for (const struct json_value *m = list ? list->first : NULL; m; m = m->next)
        if (str_eq(record_string(m, "id"), d->id))
            return m;
    return NULL;
}

static status publish(struct pass *p, struct error *err) {
    struct served_endpoint *endpoints =
        arena_array(p->arena, struct served_endpoint, p->n_deployments + 1);
    struct served_model *models = arena_array(p->arena, struct served_model, p->n_deployments + 1);
    size_t n = 0, n_models = 0;
    for (size_t i = 0; i < p->n_deployments; i++) {
        struct deployment *d = &p->deployments[i];
        const struct json_value *dm = find_model(d);
        if (n == 0 || !str_eq(endpoints[n - 1].name, d->endpoint_name))
            endpoints[n++] = (struct served_endpoint){
                .name = d->endpoint_name, .endpoint = d->endpoint, .models = &models[n_models]};
        if (!dm)
            continue;
        struct served_model *m = &models[n_models++];
        *m = (struct served_model){.deployed_model = dm,
                                   .predict_route = deployment_predict_route(d),
                                   .model_display_name =
                                       record_string(d->record, "modelDisplayName")};
        routable(p, d, m);
        endpoints[n - 1].n_models++;
    }
    return p->r->options.publish(p->r->options.publish_arg, endpoints, n, err);
}

static void published(struct reconciler *r, int64_t revision) {
    mutex_lock(&r->lock);
    r->published_revision = revision;
    cond_broadcast(&r->settled);
    mutex_unlock(&r->lock);
}

static void take_step(struct pass *p, struct deployment *d) {
    static const char *const names[] = {
        [STEP_DEPLOYED] = "model deployed",
        [STEP_FAILED] = "deployment failed",
        [STEP_UNDEPLOYED] = "model undeployed",
    };
    struct error err;
    char quoted[LOG_QUOTE_SIZE];
    p->is_repeated = true;
    status st = deployment_commit(d, p->r->options.store, &err);
    if (st == STATUS_ABORTED) /* a caller was faster: the next pass sees what it did */
        return;
    if (st != STATUS_OK) {
        report("a step was not taken", d, &err);
        return;
    }
    log_event(d->step == STEP_FAILED ? LOG_WARN : LOG_INFO, "reconciler", names[d->step],
              "endpoint=%.*s deployed_model=%.*s model=%.*s ready=%zu reason=%s",
              STR_ARG(d->endpoint_name), STR_ARG(d->id),
              STR_ARG(record_string(d->record, "modelName")), d->n_ready,
              log_quote(d->reason.n ? d->reason.p : "", quoted));
}

static void steps(struct pass *p) {
    for (size_t i = 0; i < p->n_deployments; i++) {
        struct deployment *d = &p->deployments[i];
        struct error err;
        if (d->step != STEP_NONE)
            take_step(p, d);
        else if (!d->is_undeploying &&
                 deployment_write_status(d, p->r->options.store, &err) != STATUS_OK)
            report("a status was not written", d, &err);
    }
}

static status look(struct pass *p, struct error *err) {
    struct runtime *runtime = p->r->options.runtime;
    TRY(runtime->driver->list(runtime, p->arena, &p->replicas, &p->n_replicas, err));
    for (size_t i = 0; i < p->n_deployments; i++)
        collect_replicas(p, &p->deployments[i]);
    return STATUS_OK;
}

static status pass_run(struct pass *p, struct error *err) {
    int64_t revision = store_revision(p->r->options.store);
    TRY(read_deployments(p, err));
    /* First what died out of the routes: what apply() does next takes its time. */
    TRY(look(p, err));
    TRY(publish(p, err));
    for (size_t i = 0; i < p->n_deployments; i++) {
        struct error failed;
        if (apply_one(p, &p->deployments[i], &failed) != STATUS_OK)
            report("replicas were not applied", &p->deployments[i], &failed);
    }
    TRY(look(p, err));
    TRY(stop_orphans(p, err));
    const struct deployment *entered = NULL;
    for (size_t i = 0; i < p->n_deployments; i++) {
        struct deployment *d = &p->deployments[i];
        deployment_judge(d, wall_now_ns());
        /* One commit moves an endpoint from its revision: the others wait for the next pass. */
        if (d->step == STEP_DEPLOYED && entered && entered->endpoint == d->endpoint) {
            d->step = STEP_NONE;
            p->is_repeated = true;
        } else if (d->step == STEP_DEPLOYED) {
            deployment_enter_endpoint(d);
            entered = d;
        }
    }
    TRY(publish(p, err));
    published(p->r, revision);
    steps(p);
    return STATUS_OK;
}

status reconciler_pass(struct reconciler *r, int64_t *wake_ns, struct error *err) {
    struct arena a = {0};
    struct pass p = {.r = r, .arena = &a};
    int64_t now = clock_now(r->options.clock);
    size_t n_deleted;
    status st = pass_run(&p, err);
    if (st == STATUS_OK && now >= r->trim_ns) {
        r->trim_ns = now + OPERATIONS_TRIM_MS * (int64_t)NS_PER_MS;
        st = operations_trim(r->options.store, &n_deleted, err);
    }
    wake_at(&p, now + RECONCILE_INTERVAL_MS * (int64_t)NS_PER_MS);
    if (p.is_repeated)
        wake_at(&p, now);
    for (size_t i = 0; i < p.n_deployments; i++)
        if (p.deployments[i].is_deploying) {
            int64_t left =
                record_i64(p.deployments[i].record, "deadline", INT64_MAX) - wall_now_ns();
            if (left > 0 && left < RECONCILE_INTERVAL_MS * (int64_t)NS_PER_MS)
                wake_at(&p, now + left);
        }
    *wake_ns = p.wake_ns;
    arena_release(&a);
    return st;
}

void reconciler_settle(struct reconciler *r, int64_t revision) {
    int64_t deadline_ns = clock_now(clock_system()) + SETTLE_MS * (int64_t)NS_PER_MS;
    mutex_lock(&r->lock);
    while (r->published_revision < revision)
        if (!cond_wait_until(&r->settled, &r->lock, deadline_ns))
            break;
    mutex_unlock(&r->lock);
}

static void changed(void *arg) {
    store_watch_wake(((struct reconciler *)arg)->watch);
}

status reconciler_new(struct reconciler **out, const struct reconciler_options *o,
                      struct error *err) {
    struct reconciler *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    r->options = *o;
    mutex_init(&r->lock);
    cond_init(&r->settled);
    status st = store_watch(&r->watch, o->store, STR(""), store_revision(o->store), err);
    if (st != STATUS_OK) {
        reconciler_free(r);
        return st;
    }
    o->runtime->driver->watch(o->runtime, changed, r);
    *out = r;
    return STATUS_OK;
}

void reconciler_free(struct reconciler *r) {
    if (!r)
        return;
    store_watch_free(r->watch);
    cond_done(&r->settled);
    mutex_done(&r->lock);
    free(r);
}

/* Whether a change of the store is one that a pass reads. */
static bool is_relevant(const struct store_entry *entries, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (str_starts(entries[i].key, STR("deployments/")) ||
            str_starts(entries[i].key, STR("endpoints/")))
            return true;
    return n == 0;
}

/* Waits until a pass is due. */
static void wait_for_work(struct reconciler *r, int64_t wake_ns) {
    for (;;) {
        struct arena a = {0};
        struct store_entry *entries;
        size_t n;
        struct error err;
        status st = store_watch_next(r->watch, &a, wake_ns, &entries, &n, &err);
        bool is_over = st != STATUS_OK || is_relevant(entries, n);
        arena_release(&a);
        if (st == STATUS_OUT_OF_RANGE) /* the pass that follows reads everything */
            store_watch_skip(r->watch);
        if (is_over || r->is_stopping)
            return;
    }
}

void reconciler_run(struct reconciler *r) {
    int64_t retry_ms = RECONCILE_RETRY_MS;
    while (!r->is_stopping) {
        struct error err;
        int64_t wake_ns;
        char quoted[LOG_QUOTE_SIZE];
        if (reconciler_pass(r, &wake_ns, &err) == STATUS_OK) {
            retry_ms = RECONCILE_RETRY_MS;
        } else {
            log_error("reconciler", "a pass failed", "retry_in_ms=%lld error=%s",
                      (long long)retry_ms, log_quote(err.text, quoted));
            wake_ns = clock_now(r->options.clock) + retry_ms * NS_PER_MS;
            retry_ms = retry_ms < RECONCILE_INTERVAL_MS / 2 ? 2 * retry_ms : RECONCILE_INTERVAL_MS;
        }
        if (wake_ns > clock_now(r->options.clock))
            wait_for_work(r, wake_ns);
    }
}

void reconciler_stop(struct reconciler *r) {
    r->is_stopping = true;
    store_watch_wake(r->watch);
}
