/* lifecycle.c - models come and go: loading, reloading, unloading, and the thread that does it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/repository/repository_internal.h"

void slots_free(struct slot *slots, size_t n) {
    for (size_t i = 0; i < n; i++) {
        model_version_unref(slots[i].version);
        free(slots[i].reason);
    }
    free(slots);
}

/* The reason as Triton words it: the code's name goes before the text of a version's failure. */
static struct slot failed_slot(int64_t number, const struct error *err) {
    char text[sizeof err->text + 32];
    snprintf(text, sizeof text, "%s%s", number < 0 ? "" : "Invalid argument: ", err->text);
    return (struct slot){
        .number = number, .state = MODEL_STATE_UNAVAILABLE, .reason = strdup(text)};
}

/* Puts `slots` in place of the model's. A version that failed to reload keeps its old self. */
static void replace_slots(struct repository *r, struct model *m, struct slot *slots, size_t n) {
    mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m->n_slots && !slots[i].version; k++)
            if (m->slots[k].number == slots[i].number && m->slots[k].version) {
                log_warn("repository", "reload failed, the loaded version stays",
                         "model=%s version=%" PRId64, m->name, slots[i].number);
                slots[i].version = TAKE(m->slots[k].version);
                slots[i].state = MODEL_STATE_READY;
            }
    struct slot *old = m->slots;
    size_t n_old = m->n_slots;
    m->slots = slots;
    m->n_slots = n;
    mutex_unlock(&r->lock);
    slots_free(old, n_old);
}

static void load_slot(struct repository *r, const struct model *m, const char *folder,
                      str config_json, struct slot *slot) {
    struct error err = {0};
    char text[LOG_QUOTE_SIZE];
    int64_t start_ns = clock_now(clock_system());
    log_info("repository", "loading", "model=%s version=%" PRId64, m->name, slot->number);
    if (model_version_load(&r->options, folder, m->name, slot->number, config_json, &slot->version,
                           &err) != STATUS_OK) {
        log_error("repository", "failed to load", "model=%s version=%" PRId64 " error=%s", m->name,
                  slot->number, log_quote(err.text, text));
        *slot = failed_slot(slot->number, &err);
        return;
    }
    slot->version->repository = r;
    slot->version->load_ns = clock_now(clock_system()) - start_ns;
    slot->state = MODEL_STATE_READY;
    mutex_lock(&r->lock);
    r->n_versions++;
    mutex_unlock(&r->lock);
    log_info("repository", "successfully loaded", "model=%s version=%" PRId64 " ms=%" PRId64,
             m->name, slot->number, slot->version->load_ns / NS_PER_MS);
}

static bool has_version(const struct model *m) {
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->slots[i].version)
            return true;
    return false;
}

/* Loads from `folder`, the model's own or one of files that came with the request. False: something
 * of it failed, and `err` says what; *is_structural: before a version was looked at (then
 * FAILED_PRECONDITION: there is none). What was
 * loaded before stays where its successor fails. */
static bool load_model(struct repository *r, struct model *m, const char *folder, str config_json,
                       bool *is_structural, struct error *err) {
    struct arena arena = {0};
    int64_t *versions = NULL;
    size_t n = 0;
    m->stamp = folder_stamp(folder, 2);
    m->is_overridden = config_json.n > 0;
    status code = STATUS_OK;
    if (m->is_duplicate)
        code = error_set(err, STATUS_INVALID_ARGUMENT,
                         "model '%s' is not unique across all model repositories", m->name);
    else
        code = model_versions_find(&r->options, folder, m->name, config_json, &arena, &versions, &n,
                                   err);
    *is_structural = code != STATUS_OK;
    if (*is_structural) {
        char text[LOG_QUOTE_SIZE];
        log_error("repository", "failed to load", "model=%s error=%s", m->name,
                  log_quote(err->text, text));
    }
    if (*is_structural && has_version(m) && !m->is_duplicate) {
        log_warn("repository", "reload failed, the loaded versions stay", "model=%s", m->name);
        arena_release(&arena);
        return false;
    }
    struct slot *slots = calloc(n + 1, sizeof *slots);
    if (*is_structural) {
        slots[0] = failed_slot(-1, err);
        n = 1;
    }
    bool is_whole = code == STATUS_OK;
    for (size_t i = 0; i < n && code == STATUS_OK; i++) {
        slots[i].number = versions[i];
        load_slot(r, m, folder, config_json, &slots[i]);
        if (slots[i].state != MODEL_STATE_READY) {
            error_set(err, STATUS_INVALID_ARGUMENT,
                      "version %" PRId64 " is at UNAVAILABLE state: %s;", versions[i],
                      slots[i].reason);
            is_whole = false;
        }
    }
    replace_slots(r, m, slots, n);
    arena_release(&arena);
    return is_whole;
}

struct load_work {
    struct repository *r;
    struct model **models;
    size_t n;
    _Atomic size_t next, n_failed;
};

static void load_some(void *arg) {
    struct load_work *w = arg;
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->n;) {
        struct error err;
        bool is_structural;
        if (!load_model(w->r, w->models[i], w->models[i]->folder, (str){0}, &is_structural, &err))
            atomic_fetch_add(&w->n_failed, 1);
    }
}

size_t repository_load_models(struct repository *r, struct model **models, size_t n) {
    struct load_work w = {.r = r, .models = models, .n = n};
    pthread_t threads[REPOSITORY_LOAD_THREADS_MAX];
    size_t n_threads = 0;
    while (n_threads + 1 < n && n_threads + 1 < r->options.n_load_threads &&
           thread_start(&threads[n_threads], "load", load_some, &w, NULL) == STATUS_OK)
        n_threads++;
    load_some(&w);
    for (size_t i = 0; i < n_threads; i++)
        thread_join(threads[i]);
    return w.n_failed;
}

static void reap_locked(struct repository *r) {
    while (r->dead) {
        struct model_version *v = r->dead;
        r->dead = v->next_dead;
        mutex_unlock(&r->lock);
        log_info("repository", "successfully unloaded", "model=%.*s version=%" PRId64,
                 STR_ARG(v->spec.name), v->spec.version);
        model_version_free(&r->options, v);
        mutex_lock(&r->lock);
        r->n_versions--;
    }
}

static void unload_model(struct repository *r, struct model *m) {
    mutex_lock(&r->lock);
    struct slot *slots = calloc(m->n_slots + 1, sizeof *slots);
    for (size_t i = 0; i < m->n_slots; i++)
        slots[i] = (struct slot){.number = m->slots[i].number,
                                 .state = MODEL_STATE_UNAVAILABLE,
                                 .reason = strdup("unloaded")};
    struct slot *old = m->slots;
    m->slots = slots;
    size_t n = m->n_slots;
    m->stamp = 0;
    mutex_unlock(&r->lock);
    slots_free(old, n);
}

/* Loading it again would change nothing. */
static bool is_current(const struct model *m, const struct job *j) {
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->slots[i].state != MODEL_STATE_READY)
            return false;
    return m->n_slots > 0 && !j->config_json && !m->is_overridden && !m->is_duplicate &&
           folder_stamp(m->folder, 2) == m->stamp;
}

/* Loads what the job asks for: from the repository, or from the files that came with it. */
static bool load_for_job(struct repository *r, const struct job *j, struct model *m,
                         bool *is_structural, struct error *err) {
    str config_json = str_from_c(j->config_json);
    char folder[PATH_MAX];
    if (!j->files)
        return is_current(m, j) || load_model(r, m, m->folder, config_json, is_structural, err);
    if (load_files_write(j->files, &r->options.compile, folder, err) != STATUS_OK)
        return false;
    bool is_whole = load_model(r, m, folder, config_json, is_structural, err);
    m->is_overridden = true;
    load_files_remove(folder);
    return is_whole;
}

static void run_load(struct repository *r, struct job *j) {
    struct error err = {0};
    if (repository_scan(r, &err) != STATUS_OK) {
        j->done(j->arg, STATUS_INTERNAL, err.text);
        return;
    }
    struct model *m = j->files ? repository_model_for_files(r, j->name)
                               : repository_model(r, str_from_c(j->name));
    bool is_structural = !m || (m->is_gone && !j->files);
    if (j->files && !j->config_json) {
        log_error("repository", "failed to load",
                  "model=%s error=\"Load parameter 'config' must be specified for model file "
                  "override\"",
                  j->name);
        is_structural = true;
    }
    if (!is_structural && load_for_job(r, j, m, &is_structural, &err)) {
        j->done(j->arg, STATUS_OK, "");
        return;
    }
    char text[sizeof err.text + 256];
    is_structural = is_structural && err.code != STATUS_FAILED_PRECONDITION; /* no version */
    if (is_structural)
        snprintf(text, sizeof text, "failed to load '%s', failed to poll from model repository",
                 j->name);
    else
        snprintf(text, sizeof text, "load failed for model '%s': %s\n", j->name, err.text);
    j->done(j->arg, is_structural ? STATUS_INTERNAL : STATUS_INVALID_ARGUMENT, text);
}

static void run_job(struct repository *r, struct job *j) {
    if (j->is_unload) {
        struct model *m = repository_model(r, str_from_c(j->name));
        if (m)
            unload_model(r, m);
        j->done(j->arg, STATUS_OK, "");
    } else {
        run_load(r, j);
    }
    free(j->name);
    free(j->config_json);
    load_files_free(j->files);
    free(j);
}

static void poll_once(struct repository *r) {
    struct error err = {0};
    bool is_structural;
    if (repository_scan(r, &err) != STATUS_OK) {
        log_error("repository", "poll failed", "error=\"%s\"", err.text);
        return;
    }
    for (size_t i = 0; i < r->models.n; i++) {
        struct model *m = r->models.entries[i].value;
        bool is_loaded = m->n_slots > 0 && m->stamp != 0;
        if (m->is_gone && is_loaded)
            unload_model(r, m);
        else if (!m->is_gone && folder_stamp(m->folder, 2) != m->stamp)
            load_model(r, m, m->folder, (str){0}, &is_structural, &err);
    }
}

void repository_thread(void *arg) {
    struct repository *r = arg;
    int64_t interval_ns = r->options.poll_interval_ms * NS_PER_MS;
    int64_t poll_ns = clock_now(clock_system()) + interval_ns;
    mutex_lock(&r->lock);
    for (;;) {
        reap_locked(r);
        struct job *j = r->jobs;
        if (j) {
            r->jobs = j->next;
            if (!r->jobs)
                r->jobs_end = &r->jobs;
            mutex_unlock(&r->lock);
            run_job(r, j);
            mutex_lock(&r->lock);
            continue;
        }
        if (r->is_ending && r->n_versions == 0)
            break;
        if (r->options.control != MODEL_CONTROL_POLL || r->is_ending || !r->has_started) {
            cond_wait(&r->changed, &r->lock);
        } else if (!cond_wait_until(&r->changed, &r->lock, poll_ns)) {
            mutex_unlock(&r->lock);
            poll_once(r);
            poll_ns = clock_now(clock_system()) + interval_ns;
            mutex_lock(&r->lock);
        }
    }
    mutex_unlock(&r->lock);
}
