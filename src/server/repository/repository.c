#include "server/repository/repository.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/repository/repository_internal.h"

const char *model_state_name(model_state s) {
    static const char *const names[] = {"UNKNOWN", "LOADING", "READY", "UNLOADING", "UNAVAILABLE"};
    return names[s];
}

void model_version_unref(struct model_version *v) {
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct repository *r = v->repository;
    mutex_lock(&r->lock);
    v->next_dead = r->dead;
    r->dead = v;
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
}

status repository_new(struct repository **out, const struct repository_options *o,
                      struct error *err) {
    struct repository *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a repository");
    mutex_init(&r->lock);
    cond_init(&r->changed);
    r->options = *o;
    r->options.compile.is_cancelled = &r->is_stopping;
    r->jobs_end = &r->jobs;
    status code = thread_start(&r->thread, "repository", repository_thread, r, err);
    r->has_thread = code == STATUS_OK;
    if (code != STATUS_OK) {
        repository_free(r);
        return code;
    }
    *out = r;
    return STATUS_OK;
}

void repository_stop_loading(struct repository *r) {
    atomic_store(&r->is_stopping, true);
}

void repository_free(struct repository *r) {
    if (!r)
        return;
    for (size_t i = 0; i < r->models.n; i++) {
        struct model *m = r->models.entries[i].value;
        mutex_lock(&r->lock);
        struct slot *slots = TAKE(m->slots);
        size_t n = m->n_slots;
        m->n_slots = 0;
        mutex_unlock(&r->lock);
        slots_free(slots, n);
    }
    mutex_lock(&r->lock);
    r->is_ending = true;
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    if (r->has_thread)
        thread_join(r->thread);
    for (size_t i = 0; i < r->models.n; i++) {
        struct model *m = r->models.entries[i].value;
        free(m->name);
        free(m->folder);
        free(m);
    }
    map_done(&r->models);
    cond_done(&r->changed);
    mutex_done(&r->lock);
    free(r);
}

status repository_start(struct repository *r, const char *const *names, size_t n_names,
                        size_t *n_failed, struct error *err) {
    TRY(repository_scan(r, err));
    struct model **models = calloc(r->models.n + 1, sizeof *models);
    size_t n = 0;
    *n_failed = 0;
    bool is_all =
        r->options.control != MODEL_CONTROL_EXPLICIT || (n_names == 1 && !strcmp(names[0], "*"));
    for (size_t i = 0; i < r->models.n && is_all; i++)
        models[n++] = r->models.entries[i].value;
    for (size_t i = 0; i < n_names && !is_all; i++) {
        struct model *m = repository_model(r, str_from_c(names[i]));
        if (m && n < r->models.n) {
            models[n++] = m;
        } else {
            log_error("repository", "failed to load", "model=%s error=\"not in the repository\"",
                      names[i]);
            ++*n_failed;
        }
    }
    if (is_all && n == 0)
        log_warn("repository", "there is no model; a model is DIR/NAME/1/model.onnx", "folder=%s",
                 r->options.n_paths ? r->options.paths[0] : "");
    *n_failed += repository_load_models(r, models, n);
    free(models);
    mutex_lock(&r->lock);
    r->has_started = true;
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    return STATUS_OK;
}

/* --- looking up --- */

static status find_locked(struct repository *r, str name, int64_t version,
                          struct model_version **out, struct error *err) {
    const struct model *m = map_get(&r->models, name);
    if (!m || m->n_slots == 0)
        return error_set(err, STATUS_NOT_FOUND, "Request for unknown model: '%.*s' is not found",
                         STR_ARG(name));
    for (size_t i = m->n_slots; i-- > 0;) {
        const struct slot *s = &m->slots[i];
        if (version >= 0 ? s->number != version : !s->version)
            continue;
        if (!s->version)
            return error_set(err, STATUS_UNAVAILABLE,
                             "Request for unknown model: '%.*s' version %" PRId64
                             " is not at ready state",
                             STR_ARG(name), version);
        atomic_fetch_add_explicit(&s->version->refs, 1, memory_order_relaxed);
        *out = s->version;
        return STATUS_OK;
    }
    if (version >= 0)
        return error_set(err, STATUS_NOT_FOUND,
                         "Request for unknown model: '%.*s' version %" PRId64 " is not found",
                         STR_ARG(name), version);
    return error_set(err, STATUS_NOT_FOUND,
                     "Request for unknown model: '%.*s' has no available versions", STR_ARG(name));
}

status repository_find(struct repository *r, str name, int64_t version, struct model_version **out,
                       struct error *err) {
    mutex_lock(&r->lock);
    status code = find_locked(r, name, version, out, err);
    mutex_unlock(&r->lock);
    return code;
}

static int compare_models(const void *a, const void *b) {
    const struct model *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static struct model **sorted_locked(struct repository *r, struct arena *a) {
    struct model **models = arena_array(a, struct model *, r->models.n + 1);
    for (size_t i = 0; i < r->models.n; i++)
        models[i] = r->models.entries[i].value;
    if (r->models.n)
        qsort(models, r->models.n, sizeof *models, compare_models);
    return models;
}

size_t repository_list(struct repository *r, str name, struct arena *a,
                       struct model_version ***out) {
    mutex_lock(&r->lock);
    struct model **models = sorted_locked(r, a);
    size_t capacity = 0, n = 0;
    for (size_t i = 0; i < r->models.n; i++)
        capacity += models[i]->n_slots;
    *out = arena_array(a, struct model_version *, capacity + 1);
    for (size_t i = 0; i < r->models.n; i++)
        for (size_t k = 0; k < models[i]->n_slots; k++) {
            struct model_version *v = models[i]->slots[k].version;
            if (!v || (name.n && !str_eq_c(name, models[i]->name)))
                continue;
            atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
            (*out)[n++] = v;
        }
    mutex_unlock(&r->lock);
    return n;
}

size_t repository_index(struct repository *r, struct arena *a, struct repository_row **out) {
    mutex_lock(&r->lock);
    struct model **models = sorted_locked(r, a);
    size_t capacity = 0, n = 0;
    for (size_t i = 0; i < r->models.n; i++)
        capacity += models[i]->n_slots + 1;
    *out = arena_array(a, struct repository_row, capacity + 1);
    for (size_t i = 0; i < r->models.n; i++) {
        const struct model *m = models[i];
        str name = str_copy(a, str_from_c(m->name));
        if (m->n_slots == 0 && !m->is_gone)
            (*out)[n++] = (struct repository_row){.name = name, .version = -1};
        for (size_t k = 0; k < m->n_slots; k++)
            (*out)[n++] =
                (struct repository_row){.name = name,
                                        .version = m->slots[k].number,
                                        .state = m->slots[k].state,
                                        .reason = str_copy(a, str_from_c(m->slots[k].reason))};
    }
    mutex_unlock(&r->lock);
    return n;
}

bool repository_knows(struct repository *r, str name) {
    mutex_lock(&r->lock);
    const struct model *m = map_get(&r->models, name);
    bool knows = m && m->n_slots > 0;
    mutex_unlock(&r->lock);
    return knows;
}

bool repository_is_ready(struct repository *r) {
    bool is_ready = true;
    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->models.n; i++) {
        const struct model *m = r->models.entries[i].value;
        for (size_t k = 0; k < m->n_slots; k++)
            is_ready = is_ready && (m->slots[k].state == MODEL_STATE_READY ||
                                    !strcmp(m->slots[k].reason, "unloaded"));
    }
    mutex_unlock(&r->lock);
    return is_ready;
}

model_control repository_control(const struct repository *r) {
    return r->options.control;
}

static status post_job(struct repository *r, struct job job, struct error *err) {
    struct job *j = malloc(sizeof *j);
    if (r->options.control != MODEL_CONTROL_EXPLICIT || !j) {
        free(j);
        free(job.name);
        free(job.config_json);
        load_files_free(job.files);
        return error_set(err, STATUS_UNAVAILABLE,
                         "explicit model load / unload is not allowed if polling is enabled");
    }
    *j = job;
    mutex_lock(&r->lock);
    *r->jobs_end = j;
    r->jobs_end = &j->next;
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    return STATUS_OK;
}

status repository_load(struct repository *r, str name, str config_json, struct load_files *files,
                       repository_done_fn done, void *arg, struct error *err) {
    struct job job = {.name = strndup(name.p, name.n), .files = files, .done = done, .arg = arg};
    if (config_json.n)
        job.config_json = strndup(config_json.p, config_json.n);
    return post_job(r, job, err);
}

status repository_unload(struct repository *r, str name, repository_done_fn done, void *arg,
                         struct error *err) {
    struct job job = {.name = strndup(name.p, name.n), .is_unload = true, .done = done, .arg = arg};
    return post_job(r, job, err);
}
