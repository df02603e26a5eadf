#include "server/repository/repository.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"

/* One version as the index shows it; version NULL unless READY. */
struct slot {
    int64_t number; /* -1: the model failed before a version was looked at */
    model_state state;
    char *reason;
    struct model_version *version;
};

struct model {
    char *name, *folder;
    bool is_duplicate;  /* in two folders: neither is served */
    bool is_gone;       /* its folder is */
    uint64_t stamp;     /* of its files, when it was loaded */
    struct slot *slots; /* ascending */
    size_t n_slots;
};

struct job {
    struct job *next;
    char *name, *config_json;
    bool is_unload;
    repository_done_fn done;
    void *arg;
};

struct repository {
    struct mutex lock;
    struct cond changed;
    struct repository_options options;
    struct map models; /* of struct model; grows only */
    struct job *jobs, **jobs_end;
    struct model_version *dead;
    size_t n_versions; /* that have not been freed yet */
    pthread_t thread;
    bool has_thread, has_started, is_ending;
};

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

static void slots_free(struct slot *slots, size_t n) {
    for (size_t i = 0; i < n; i++) {
        model_version_unref(slots[i].version);
        free(slots[i].reason);
    }
    free(slots);
}

/* --- scanning --- */

static uint64_t folder_stamp(const char *folder, int depth) {
    uint64_t sum = 1;
    DIR *d = opendir(folder);
    struct dirent *e;
    struct stat st;
    while (d && (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
            fstatat(dirfd(d), e->d_name, &st, 0))
            continue;
        int64_t facts[4] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (int64_t)st.st_ino};
        if (!S_ISDIR(st.st_mode)) {
            sum += hash_bytes(e->d_name, strlen(e->d_name), hash_bytes(facts, sizeof facts, 7));
        } else if (depth > 0) {
            char path[PATH_MAX];
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            sum +=
                folder_stamp(path, depth - 1) * (hash_bytes(e->d_name, strlen(e->d_name), 3) | 1);
        }
    }
    if (d)
        closedir(d);
    return sum;
}

static void found_locked(struct repository *r, const char *name, const char *folder) {
    struct model *m = map_get(&r->models, str_from_c(name));
    if (!m) {
        if (r->models.n_live >= REPOSITORY_MODELS_MAX) {
            log_error("repository", "too many models", "limit=%d", REPOSITORY_MODELS_MAX);
            return;
        }
        m = calloc(1, sizeof *m);
        if (!m)
            return;
        m->name = strdup(name);
        m->folder = strdup(folder);
        map_set(&r->models, str_from_c(name), m);
    } else if (m->is_gone) {
        free(m->folder);
        m->folder = strdup(folder);
    } else if (strcmp(m->folder, folder) != 0) {
        m->is_duplicate = true;
    }
    m->is_gone = false;
}

/* Brings the list of models up to what the folders hold. */
static status scan(struct repository *r, struct error *err) {
    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->models.n; i++) {
        struct model *m = r->models.entries[i].value;
        m->is_gone = true;
        m->is_duplicate = false;
    }
    status code = STATUS_OK;
    for (size_t p = 0; p < r->options.n_paths && code == STATUS_OK; p++) {
        const char *root = r->options.paths[p];
        DIR *d = opendir(root);
        if (!d) {
            code = error_set(err, STATUS_INTERNAL,
                             "failed to stat file %s: model repository cannot be read: %s", root,
                             strerror(errno));
            break;
        }
        struct dirent *e;
        struct stat st;
        while ((e = readdir(d)))
            if (e->d_name[0] != '.' && !fstatat(dirfd(d), e->d_name, &st, 0) &&
                S_ISDIR(st.st_mode)) {
                char folder[PATH_MAX];
                snprintf(folder, sizeof folder, "%s/%s", root, e->d_name);
                found_locked(r, e->d_name, folder);
            }
        closedir(d);
    }
    if (r->options.flat_folder)
        found_locked(r, FLAT_MODEL_NAME, r->options.flat_folder);
    mutex_unlock(&r->lock);
    return code;
}

/* --- loading --- */

static struct slot failed_slot(int64_t number, const struct error *err) {
    return (struct slot){
        .number = number, .state = MODEL_STATE_UNAVAILABLE, .reason = strdup(err->text)};
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

static void load_slot(struct repository *r, const struct model *m, str config_json,
                      struct slot *slot) {
    struct error err = {0};
    char text[LOG_QUOTE_SIZE];
    int64_t start_ns = clock_now(clock_system());
    log_info("repository", "loading", "model=%s version=%" PRId64, m->name, slot->number);
    if (model_version_load(&r->options, m->folder, m->name, slot->number, config_json,
                           &slot->version, &err) != STATUS_OK) {
        log_error("repository", "failed to load", "model=%s version=%" PRId64 " error=%s", m->name,
                  slot->number, log_quote(err.text, text));
        *slot = failed_slot(slot->number, &err);
        return;
    }
    slot->version->repository = r;
    slot->state = MODEL_STATE_READY;
    mutex_lock(&r->lock);
    r->n_versions++;
    mutex_unlock(&r->lock);
    log_info("repository", "successfully loaded", "model=%s version=%" PRId64 " ms=%" PRId64,
             m->name, slot->number, (clock_now(clock_system()) - start_ns) / NS_PER_MS);
}

/* False: something of it failed; *text (PATH_MAX) says what. */
static bool load_model(struct repository *r, struct model *m, str config_json, struct error *err) {
    struct arena arena = {0};
    int64_t *versions = NULL;
    size_t n = 0;
    m->stamp = folder_stamp(m->folder, 2);
    status code = STATUS_OK;
    if (m->is_duplicate)
        code = error_set(err, STATUS_INVALID_ARGUMENT,
                         "model '%s' is not unique across all model repositories", m->name);
    else
        code = model_versions_find(&r->options, m->folder, m->name, config_json, &arena, &versions,
                                   &n, err);
    struct slot *slots = calloc(n + 1, sizeof *slots);
    if (code != STATUS_OK) {
        char text[LOG_QUOTE_SIZE];
        log_error("repository", "failed to load", "model=%s error=%s", m->name,
                  log_quote(err->text, text));
        slots[0] = failed_slot(-1, err);
        n = 1;
    }
    bool is_whole = code == STATUS_OK;
    for (size_t i = 0; i < n && code == STATUS_OK; i++) {
        slots[i].number = versions[i];
        load_slot(r, m, config_json, &slots[i]);
        if (slots[i].state != MODEL_STATE_READY) {
            error_set(err, STATUS_INVALID_ARGUMENT,
                      "version %" PRId64 " is at UNAVAILABLE state: Invalid argument: %s;",
                      versions[i], slots[i].reason);
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
        if (!load_model(w->r, w->models[i], (str){0}, &err))
            atomic_fetch_add(&w->n_failed, 1);
    }
}

static size_t load_all(struct repository *r, struct model **models, size_t n) {
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

/* --- the repository's thread: jobs, polling, and the end of versions --- */

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

static struct model *find_model(struct repository *r, str name) {
    mutex_lock(&r->lock);
    struct model *m = map_get(&r->models, name);
    mutex_unlock(&r->lock);
    return m;
}

static void run_load(struct repository *r, struct job *j) {
    struct error err = {0};
    if (scan(r, &err) != STATUS_OK) {
        j->done(j->arg, STATUS_INTERNAL, err.text);
        return;
    }
    struct model *m = find_model(r, str_from_c(j->name));
    char text[sizeof err.text + 256];
    if (!m || m->is_gone) {
        snprintf(text, sizeof text, "failed to load '%s', failed to poll from model repository",
                 j->name);
        j->done(j->arg, STATUS_INTERNAL, text);
        return;
    }
    if (load_model(r, m, str_from_c(j->config_json), &err)) {
        j->done(j->arg, STATUS_OK, "");
        return;
    }
    bool is_structural = m->n_slots == 1 && m->slots[0].number < 0;
    if (is_structural && !strstr(err.text, "version policy"))
        snprintf(text, sizeof text, "failed to load '%s', failed to poll from model repository",
                 j->name);
    else
        snprintf(text, sizeof text, "load failed for model '%s': %s\n", j->name, err.text);
    j->done(j->arg,
            is_structural && !strstr(err.text, "version policy") ? STATUS_INTERNAL
                                                                 : STATUS_INVALID_ARGUMENT,
            text);
}

static void run_job(struct repository *r, struct job *j) {
    if (j->is_unload) {
        struct model *m = find_model(r, str_from_c(j->name));
        if (m)
            unload_model(r, m);
        j->done(j->arg, STATUS_OK, "");
    } else {
        run_load(r, j);
    }
    free(j->name);
    free(j->config_json);
    free(j);
}

static void poll_once(struct repository *r) {
    struct error err = {0};
    if (scan(r, &err) != STATUS_OK) {
        log_error("repository", "poll failed", "error=\"%s\"", err.text);
        return;
    }
    for (size_t i = 0; i < r->models.n; i++) {
        struct model *m = r->models.entries[i].value;
        bool is_loaded = m->n_slots > 0 && m->stamp != 0;
        if (m->is_gone && is_loaded)
            unload_model(r, m);
        else if (!m->is_gone && folder_stamp(m->folder, 2) != m->stamp)
            load_model(r, m, (str){0}, &err);
    }
}

static void repository_thread(void *arg) {
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

status repository_new(struct repository **out, const struct repository_options *o,
                      struct error *err) {
    struct repository *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a repository");
    mutex_init(&r->lock);
    cond_init(&r->changed);
    r->options = *o;
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
    TRY(scan(r, err));
    struct model **models = calloc(r->models.n + 1, sizeof *models);
    size_t n = 0;
    *n_failed = 0;
    bool is_all =
        r->options.control != MODEL_CONTROL_EXPLICIT || (n_names == 1 && !strcmp(names[0], "*"));
    for (size_t i = 0; i < r->models.n && is_all; i++)
        models[n++] = r->models.entries[i].value;
    for (size_t i = 0; i < n_names && !is_all; i++) {
        struct model *m = find_model(r, str_from_c(names[i]));
        if (m && n < r->models.n) {
            models[n++] = m;
        } else {
            log_error("repository", "failed to load", "model=%s error=\"not in the repository\"",
                      names[i]);
            ++*n_failed;
        }
    }
    *n_failed += load_all(r, models, n);
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
    return error_set(err, STATUS_UNAVAILABLE,
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

status repository_load(struct repository *r, str name, str config_json, repository_done_fn done,
                       void *arg, struct error *err) {
    struct job job = {.name = strndup(name.p, name.n), .done = done, .arg = arg};
    if (config_json.n)
        job.config_json = strndup(config_json.p, config_json.n);
    return post_job(r, job, err);
}

status repository_unload(struct repository *r, str name, repository_done_fn done, void *arg,
                         struct error *err) {
    struct job job = {.name = strndup(name.p, name.n), .is_unload = true, .done = done, .arg = arg};
    return post_job(r, job, err);
}
