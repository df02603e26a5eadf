/* The loop's side of a replica: is its process alive, does its health route answer? */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/runtime/replica_internal.h"

static struct replica *replica_of_call(struct client_call *c) {
    return c->user;
}

static void changed(struct replica *r) {
    if (r->owner->changed)
        r->owner->changed(r->owner->changed_arg);
}

static void probe_later(struct replica *r, int64_t delay_ms) {
    loop_timer_set(r->owner->loop, &r->timer, loop_now_ns(r->owner->loop) + delay_ms * NS_PER_MS);
}

static void probe_good(struct replica *r) {
    mutex_lock(&r->owner->lock);
    bool is_news = r->state == REPLICA_STARTING || r->state == REPLICA_UNREADY;
    if (is_news) {
        r->state = REPLICA_READY;
        r->was_ready = true;
        r->ready_ns = clock_now(clock_system());
    }
    mutex_unlock(&r->owner->lock);
    r->n_failures = r->n_timeouts = 0;
    r->probe_delay_ms = PROBE_INTERVAL_MS;
    if (is_news) {
        log_info("runtime", "replica ready", "set=%s ordinal=%u address=%s", r->set, r->ordinal,
                 r->address);
        changed(r);
    }
}

static void probe_bad(struct replica *r, call_result result) {
    r->n_failures++;
    r->n_timeouts = result == CALL_TIMED_OUT ? r->n_timeouts + 1 : 0;
    mutex_lock(&r->owner->lock);
    bool is_news = r->state == REPLICA_READY && r->n_failures >= PROBE_FAILURES_MAX;
    if (is_news)
        r->state = REPLICA_UNREADY;
    /* A process that loads a big model does not answer either: only one that was ready can hang. */
    bool is_hung = r->ready_ns && r->n_timeouts >= PROBE_HUNG_MAX && !r->is_hung;
    if (is_hung)
        r->is_hung = true;
    mutex_unlock(&r->owner->lock);
    if (is_news)
        log_warn("runtime", "replica unready", "set=%s ordinal=%u status=%d result=%s", r->set,
                 r->ordinal, r->probe_status, call_result_name(result));
    if (is_news || is_hung)
        changed(r);
}

static void probe_response(struct client_call *c, const struct client_response *response) {
    replica_of_call(c)->probe_status = response->status;
}

static void probe_body(struct client_call *c, str bytes) {
    (void)c;
    (void)bytes; /* health is in the status alone */
}

static void probe_done(struct client_call *c, call_result result, const struct error *err) {
    struct replica *r = replica_of_call(c);
    (void)err;
    if (!r->is_attached)
        return;
    if (result == CALL_DONE && r->probe_status == 200)
        probe_good(r);
    else
        probe_bad(r, result);
    probe_later(r, r->probe_delay_ms);
    if (r->probe_delay_ms < PROBE_INTERVAL_MS)
        r->probe_delay_ms =
            r->probe_delay_ms * 2 < PROBE_INTERVAL_MS ? r->probe_delay_ms * 2 : PROBE_INTERVAL_MS;
}

static void probe_fire(struct loop_timer *t) {
    struct replica *r = (struct replica *)((char *)t - offsetof(struct replica, timer));
    struct error err;
    r->probe_status = 0;
    if (!r->peer &&
        client_peer(&r->peer, r->owner->client, str_from_c(r->address), &err) != STATUS_OK) {
        log_error("runtime", "no probe possible", "set=%s ordinal=%u", r->set, r->ordinal);
        return;
    }
    r->call = (struct client_call){
        .user = r, .on_response = probe_response, .on_body = probe_body, .on_done = probe_done};
    struct client_request request = {.method = STR("GET"),
                                     .target = str_from_c(r->health_route),
                                     .timeout_ms = PROBE_TIMEOUT_MS};
    client_start(r->peer, &r->call, &request);
}

/* How the process ended, as far as that can be known: an adopted one is not our child. */
static void exit_describe(struct replica *r) {
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)r->pid_fd, &info, WEXITED | WNOHANG) != 0)
        snprintf(r->exit_text, sizeof r->exit_text, "ended (it was adopted: no exit status)");
    else if (info.si_code == CLD_EXITED)
        snprintf(r->exit_text, sizeof r->exit_text, "exited with status %d", info.si_status);
    else
        snprintf(r->exit_text, sizeof r->exit_text, "was killed by signal %d (%s)", info.si_status,
                 sigabbrev_np(info.si_status) ? sigabbrev_np(info.si_status) : "?");
}

/* The first exit costs nothing, the others `first_ms`, doubled up to `max_ms`. */
static int64_t restart_delay_ms(int n_exits, int64_t first_ms, int64_t max_ms) {
    if (n_exits <= 1)
        return 0;
    int64_t delay_ms = first_ms;
    for (int i = 2; i < n_exits && delay_ms < max_ms; i++)
        delay_ms *= 2;
    return delay_ms < max_ms ? delay_ms : max_ms;
}

static void process_exited(struct loop_watch *w, uint32_t events) {
    struct replica *r = (struct replica *)((char *)w - offsetof(struct replica, exit_watch));
    (void)events;
    probe_detach(r);
    char exit_text[sizeof r->exit_text], quoted[LOG_QUOTE_SIZE];
    mutex_lock(&r->owner->lock);
    int64_t now = clock_now(clock_system());
    int pid = (int)r->pid;
    exit_describe(r);
    if (r->ready_ns && now - r->ready_ns >= RESTART_PARDON_MS * (int64_t)NS_PER_MS)
        r->n_exits = 0;
    r->n_exits++;
    r->n_failed_starts = r->ready_ns ? 0 : r->n_failed_starts + 1;
    int64_t delay_ms =
        r->ready_ns ? restart_delay_ms(r->n_exits, RESTART_READY_FIRST_MS, RESTART_READY_MAX_MS)
                    : restart_delay_ms(r->n_failed_starts, RESTART_FIRST_MS, RESTART_MAX_MS);
    close(r->pid_fd);
    r->pid_fd = -1;
    r->pid = 0;
    r->ready_ns = 0;
    r->restart_ns = now + delay_ms * NS_PER_MS;
    bool is_stopping = r->state == REPLICA_STOPPING;
    if (!is_stopping)
        r->state = REPLICA_WAITING;
    snprintf(exit_text, sizeof exit_text, "%s", r->exit_text);
    mutex_unlock(&r->owner->lock);
    log_event(is_stopping ? LOG_INFO : LOG_WARN, "runtime", "replica exited",
              "set=%s ordinal=%u pid=%d exit=%s restart_in_ms=%lld", r->set, r->ordinal, pid,
              log_quote(exit_text, quoted), is_stopping ? -1ll : (long long)delay_ms);
    changed(r);
}

void probe_attach(struct loop_task *t) {
    struct replica *r = (struct replica *)((char *)t - offsetof(struct replica, attach));
    struct error err;
    r->is_attached = true;
    r->n_failures = r->n_timeouts = 0;
    r->probe_delay_ms = PROBE_FIRST_MS;
    r->exit_watch = (struct loop_watch){.ready = process_exited, .fd = r->pid_fd};
    r->timer = (struct loop_timer){.fire = probe_fire};
    if (loop_watch_add(r->owner->loop, &r->exit_watch, EPOLLIN, &err) != STATUS_OK) {
        char quoted[LOG_QUOTE_SIZE];
        log_error("runtime", "a process cannot be watched", "set=%s ordinal=%u error=%s", r->set,
                  r->ordinal, log_quote(err.text, quoted));
    }
    if (r->health_route[0]) /* else it was adopted only to be stopped */
        probe_later(r, 0);
}

void probe_detach(struct replica *r) {
    if (!r->is_attached)
        return;
    r->is_attached = false;
    loop_watch_remove(r->owner->loop, &r->exit_watch);
    loop_timer_clear(r->owner->loop, &r->timer);
    if (r->call.is_open)
        client_cancel(&r->call);
    if (r->peer)
        client_forget(r->peer);
    r->peer = NULL;
}

void probe_release(struct loop_task *t) {
    struct replica *r = (struct replica *)((char *)t - offsetof(struct replica, release));
    probe_detach(r);
    replica_free(r);
}
