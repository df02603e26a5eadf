#include "control/runtime/process.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "control/runtime/replica_internal.h"

const char *replica_state_name(replica_state s) {
    static const char *const names[] = {"waiting", "starting", "ready", "unready", "stopping"};
    return names[s];
}

static struct process_runtime *process_of(struct runtime *r) {
    return (struct process_runtime *)r;
}

static void changed(struct process_runtime *p) {
    if (p->changed)
        p->changed(p->changed_arg);
}

static void table_add(struct process_runtime *p, struct replica *r) {
    mutex_lock(&p->lock);
    if (p->n_replicas == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 16;
        p->replicas = realloc(p->replicas, p->capacity * sizeof(struct replica *));
        if (!p->replicas)
            abort();
    }
    p->replicas[p->n_replicas++] = r;
    mutex_unlock(&p->lock);
}

static void table_remove(struct process_runtime *p, struct replica *r) {
    mutex_lock(&p->lock);
    for (size_t i = 0; i < p->n_replicas; i++)
        if (p->replicas[i] == r) {
            p->replicas[i] = p->replicas[--p->n_replicas];
            break;
        }
    mutex_unlock(&p->lock);
}

static void wake_at(int64_t *wake_ns, int64_t at) {
    if (*wake_ns == RUNTIME_NEVER_NS || at < *wake_ns)
        *wake_ns = at;
}

static bool is_stopping_now(struct replica *r) {
    mutex_lock(&r->owner->lock);
    bool is_stopping = r->state == REPLICA_STOPPING;
    mutex_unlock(&r->owner->lock);
    return is_stopping;
}

static void send_signal(struct replica *r, int number) {
    mutex_lock(&r->owner->lock);
    if (r->pid_fd >= 0)
        pidfd_send_signal(r->pid_fd, number, NULL, 0);
    mutex_unlock(&r->owner->lock);
}

/* Takes a replica out: first out of the routes, then SIGTERM, then SIGKILL. */
static void replica_stop(struct replica *r, int64_t drain_ms, int64_t now) {
    mutex_lock(&r->owner->lock);
    bool is_first = r->state != REPLICA_STOPPING;
    if (is_first) {
        /* Nobody was routed to a replica that was never ready. */
        bool is_known = r->state == REPLICA_READY || r->state == REPLICA_UNREADY || r->was_ready;
        r->terminate_ns = now + (is_known ? STOP_DELAY_MS : 0) * (int64_t)NS_PER_MS;
        r->kill_ns = r->terminate_ns + drain_ms * NS_PER_MS;
        r->state = REPLICA_STOPPING;
    }
    mutex_unlock(&r->owner->lock);
    if (is_first) {
        log_info("runtime", "replica stopping", "set=%s ordinal=%u", r->set, r->ordinal);
        changed(r->owner);
    }
}

/* True when the replica is gone and was freed. */
static bool stop_step(struct replica *r, int64_t now, int64_t *wake_ns) {
    struct process_runtime *p = r->owner;
    mutex_lock(&p->lock);
    bool is_alive = r->pid != 0, must_terminate = r->terminate_ns && now >= r->terminate_ns;
    int64_t terminate_ns = r->terminate_ns, kill_ns = r->kill_ns;
    if (must_terminate)
        r->terminate_ns = 0;
    mutex_unlock(&p->lock);
    if (!is_alive) {
        replica_forget(r);
        table_remove(p, r);
        log_info("runtime", "replica removed", "set=%s ordinal=%u", r->set, r->ordinal);
        loop_post(p->loop, &r->release);
        changed(p);
        return true;
    }
    if (must_terminate)
        send_signal(r, SIGTERM);
    if (now >= kill_ns)
        send_signal(r, SIGKILL);
    else
        wake_at(wake_ns, terminate_ns && !must_terminate ? terminate_ns : kill_ns);
    return false;
}

/* What is due for a replica that is wanted. */
static void keep_step(struct replica *r, const struct runtime_set *set, int64_t now,
                      int64_t *wake_ns) {
    struct process_runtime *p = r->owner;
    mutex_lock(&p->lock);
    bool must_start = r->state == REPLICA_WAITING && now >= r->restart_ns;
    bool must_kill = r->is_hung;
    if (r->state == REPLICA_WAITING && !must_start)
        wake_at(wake_ns, r->restart_ns);
    if (r->needs_attach)
        snprintf(r->health_route, sizeof r->health_route, "%s", set->health_route);
    mutex_unlock(&p->lock);
    if (must_kill) {
        log_warn("runtime", "replica hung", "set=%s ordinal=%u", r->set, r->ordinal);
        send_signal(r, SIGKILL);
    }
    struct error err;
    if (must_start && replica_spawn(r, set, &err) != STATUS_OK) {
        char quoted[LOG_QUOTE_SIZE];
        mutex_lock(&p->lock);
        r->n_exits++;
        r->restart_ns = now + RESTART_FIRST_MS * (int64_t)NS_PER_MS;
        snprintf(r->exit_text, sizeof r->exit_text, "did not start: %.100s", err.text);
        mutex_unlock(&p->lock);
        wake_at(wake_ns, r->restart_ns);
        log_error("runtime", "replica did not start", "set=%s ordinal=%u error=%s", r->set,
                  r->ordinal, log_quote(err.text, quoted));
        changed(p);
    }
    replica_trim_log(r);
}

static unsigned n_ready(struct process_runtime *p, const struct runtime_set *set) {
    unsigned n = 0;
    mutex_lock(&p->lock);
    for (size_t i = 0; i < p->n_replicas; i++)
        n += p->replicas[i]->state == REPLICA_READY &&
             p->replicas[i]->generation == set->generation &&
             str_eq_c(set->name, p->replicas[i]->set);
    mutex_unlock(&p->lock);
    return n;
}

static status name_check(str name, struct error *err) {
    if (name.n == 0 || name.n > RUNTIME_NAME_MAX || name.p[0] == '.')
        return error_set(err, STATUS_INVALID_ARGUMENT, "set name of %zu bytes, wanted 1 to %d",
                         name.n, RUNTIME_NAME_MAX);
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(".-_:", c))))
            return error_set(err, STATUS_INVALID_ARGUMENT, "set name has byte 0x%02x at %zu", c, i);
    }
    return STATUS_OK;
}

static status process_apply(struct runtime *base, const struct runtime_set *set, int64_t *wake_ns,
                            struct error *err) {
    struct process_runtime *p = process_of(base);
    TRY(name_check(set->name, err));
    if (set->n > RUNTIME_REPLICAS_MAX || set->n_environment > RUNTIME_ENVIRONMENT_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%u replicas of %zu variables, at most %d of %d", set->n,
                         set->n_environment, RUNTIME_REPLICAS_MAX, RUNTIME_ENVIRONMENT_MAX);
    int64_t now = clock_now(clock_system());
    bool has[RUNTIME_REPLICAS_MAX] = {0};
    bool is_replaced = set->n == 0 || n_ready(p, set) >= set->n;
    bool is_gone = false;
    *wake_ns = RUNTIME_NEVER_NS;
    /* Only this thread changes the table, so it may be read without the lock here. */
    for (size_t i = 0; i < p->n_replicas;) {
        struct replica *r = p->replicas[i];
        if (!str_eq_c(set->name, r->set)) {
            i++;
            continue;
        }
        bool is_current = r->generation == set->generation;
        if (is_current ? r->ordinal >= set->n : is_replaced)
            replica_stop(r, set->drain_ms, now);
        bool is_stopping = is_stopping_now(r);
        if (r->needs_attach && set->n > 0)
            snprintf(r->health_route, sizeof r->health_route, "%s", set->health_route);
        if (!is_stopping)
            keep_step(r, set, now, wake_ns);
        if (r->needs_attach) {
            r->needs_attach = false;
            loop_post(p->loop, &r->attach);
        }
        if (is_stopping && stop_step(r, now, wake_ns)) {
            is_gone = true;
            continue; /* another one is at [i] now */
        }
        if (is_current && r->ordinal < set->n && !is_stopping)
            has[r->ordinal] = true;
        i++;
    }
    for (unsigned i = 0; i < set->n; i++)
        if (!has[i]) {
            struct replica *r = replica_new(p, set->name, set->generation, i, NULL);
            table_add(p, r);
            keep_step(r, set, now, wake_ns);
            if (r->needs_attach) {
                r->needs_attach = false;
                loop_post(p->loop, &r->attach);
            }
        }
    if (is_gone)
        replica_trim_logs(p);
    return STATUS_OK;
}

static status process_list(struct runtime *base, struct arena *a, struct replica_status **out,
                           size_t *n, struct error *err) {
    struct process_runtime *p = process_of(base);
    (void)err;
    mutex_lock(&p->lock);
    struct replica_status *list = arena_array(a, struct replica_status, p->n_replicas + 1);
    for (size_t i = 0; i < p->n_replicas; i++) {
        struct replica *r = p->replicas[i];
        list[i] = (struct replica_status){
            .set = str_copy(a, str_from_c(r->set)),
            .generation = r->generation,
            .ordinal = r->ordinal,
            .address = str_copy(a, str_from_c(r->address)),
            .state = r->state,
            .is_open = r->state != REPLICA_STOPPING && (r->listen_fd >= 0 || r->pid != 0),
            .was_ready = r->was_ready,
            .n_exits = r->n_exits,
            .exit_text = str_copy(a, str_from_c(r->exit_text)),
            .log_path = str_copy(a, str_from_c(r->log_path)),
        };
    }
    *out = list;
    *n = p->n_replicas;
    mutex_unlock(&p->lock);
    return STATUS_OK;
}

static void process_watch(struct runtime *base, void (*fn)(void *arg), void *arg) {
    process_of(base)->changed = fn;
    process_of(base)->changed_arg = arg;
}

struct closing {
    struct loop_task task;
    struct process_runtime *p;
};

static void close_on_loop(struct loop_task *t) {
    struct process_runtime *p = ((struct closing *)t)->p;
    for (size_t i = 0; i < p->n_replicas; i++)
        probe_detach(p->replicas[i]);
    loop_stop(p->loop);
}

static void process_close(struct runtime *base) {
    struct process_runtime *p = process_of(base);
    struct closing closing = {.task = {.run = close_on_loop}, .p = p};
    loop_post(p->loop, &closing.task);
    thread_join(p->thread);
    for (size_t i = 0; i < p->n_replicas; i++)
        replica_free(p->replicas[i]);
    free(p->replicas);
    client_free(p->client);
    loop_free(p->loop);
    mutex_done(&p->lock);
    free(p);
}

static const struct runtime_driver process_driver = {
    .name = "process",
    .apply = process_apply,
    .list = process_list,
    .watch = process_watch,
    .close = process_close,
};

static void run_loop(void *arg) {
    loop_run(((struct process_runtime *)arg)->loop);
}

static status boot_read(struct process_runtime *p, struct error *err) {
    struct buffer text = {.size_max = sizeof p->boot - 1};
    status st = file_read(&text, "/proc/sys/kernel/random/boot_id", err);
    if (st == STATUS_OK)
        snprintf(p->boot, sizeof p->boot, "%.*s", STR_ARG(str_trim(buffer_str(&text))));
    buffer_done(&text);
    return st;
}

static status folders_make(struct process_runtime *p, struct error *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.3000s/replicas", p->folder);
    TRY(file_make_folder(path, err));
    snprintf(path, sizeof path, "%.3000s/logs", p->folder);
    return file_make_folder(path, err);
}

/* A folder without a state is what a driver left that was killed while it made or removed a
 * replica; no process can belong to it. */
static void folder_forget(const char *folder) {
    char path[PATH_MAX + 300];
    DIR *d = opendir(folder);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path); /* a state that was not finished; not "." and ".." */
    }
    if (d)
        closedir(d);
    rmdir(folder);
}

static void adopt_one(struct process_runtime *p, const char *uid) {
    struct replica *r = NULL;
    struct error err = {0};
    char quoted[LOG_QUOTE_SIZE], path[PATH_MAX];
    status st = strlen(uid) == REPLICA_UID_SIZE - 1
                    ? replica_load(&r, p, uid, &err)
                    : error_set(&err, STATUS_DATA_LOSS, "not a replica's folder");
    if (st == STATUS_NOT_FOUND) {
        snprintf(path, sizeof path, "%.3000s/replicas/%s", p->folder, uid);
        folder_forget(path);
        return;
    }
    if (st != STATUS_OK) {
        log_warn("runtime", "a replica's state cannot be read and is left alone",
                 "uid=%.40s "
                 "error=%s",
                 uid, log_quote(err.text, quoted));
        return;
    }
    table_add(p, r);
    log_info("runtime", r->pid ? "replica adopted" : "replica found dead",
             "set=%s ordinal=%u pid=%d address=%s holds_socket=%d", r->set, r->ordinal, (int)r->pid,
             r->address, r->listen_fd >= 0);
}

static void adopt_all(struct process_runtime *p) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.3000s/replicas", p->folder);
    DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        if (e->d_name[0] != '.')
            adopt_one(p, e->d_name);
    if (d)
        closedir(d);
}

static status process_start(struct process_runtime *p, struct error *err) {
    TRY(boot_read(p, err));
    TRY(folders_make(p, err));
    TRY(loop_new(&p->loop, err));
    TRY(client_new(&p->client, p->loop, err));
    adopt_all(p);
    return thread_start(&p->thread, "runtime", run_loop, p, err);
}

status process_runtime_open(struct runtime **out, const struct process_options *o,
                            struct error *err) {
    if (strlen(o->folder) > 2000)
        return error_set(err, STATUS_INVALID_ARGUMENT, "folder name of %zu bytes, at most 2000",
                         strlen(o->folder));
    struct process_runtime *p = calloc(1, sizeof *p);
    if (!p)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    p->base.driver = &process_driver;
    p->path = o->path;
    p->argv = o->argv;
    snprintf(p->folder, sizeof p->folder, "%s", o->folder);
    mutex_init(&p->lock);
    status st = process_start(p, err);
    if (st != STATUS_OK) {
        for (size_t i = 0; i < p->n_replicas; i++)
            replica_free(p->replicas[i]);
        free(p->replicas);
        client_free(p->client);
        loop_free(p->loop);
        mutex_done(&p->lock);
        free(p);
        return st;
    }
    *out = &p->base;
    return STATUS_OK;
}
