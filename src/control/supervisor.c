#include "control/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* In a child: reads as ended when the parent is gone. In the parent: its other end. */
static int parent_pipe[2] = {-1, -1};

/* Where the words of the command line lie, one after the other: fields 48 and 49 of proc(5)'s
 * stat. 0: not known. */
static size_t title_space(char **out) {
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *p = strrchr(text, ')');
    for (int field = 2; field < 48 && p; field++)
        p = strchr(p + 1, ' ');
    uintptr_t begin = 0, end = 0;
    if (!p || sscanf(p, "%" SCNuPTR "%" SCNuPTR, &begin, &end) != 2 || end <= begin)
        return 0;
    *out = (char *)begin;
    return end - begin;
}

void title_set(const char *text) {
    char name[16]; /* what the kernel keeps of it elsewhere */
    snprintf(name, sizeof name, "%.15s", text);
    prctl(PR_SET_NAME, name);
    char *space;
    size_t size = title_space(&space);
    if (size == 0)
        return;
    memset(space, 0, size);
    snprintf(space, size, "%s", text);
}

static void signals_block(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGCHLD);
    sigprocmask(SIG_BLOCK, set, NULL);
}

void child_wait(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct pollfd fds[] = {
        {.fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN},
        {.fd = parent_pipe[0], .events = POLLIN},
    };
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    close(fds[0].fd);
}

static _Noreturn void child_main(struct child *c, const char *title, pid_t parent) {
    close(parent_pipe[1]);
    parent_pipe[1] = -1;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it ended before the line above */
        _exit(0);
    char text[128];
    snprintf(text, sizeof text, "%s: %s", title, c->name);
    title_set(text);
    exit(c->run(c->arg));
}

static status child_start(struct child *c, const char *title, struct error *err) {
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "fork: %s", strerror(errno));
    if (pid == 0)
        child_main(c, title, parent);
    c->pid = pid;
    c->started_ns = clock_now(clock_system());
    log_info("up", "process started", "name=%s pid=%d", c->name, (int)pid);
    return STATUS_OK;
}

static int64_t backoff_ms(int n_quick_exits) {
    if (n_quick_exits == 0)
        return 0;
    int64_t delay = CHILD_BACKOFF_FIRST_MS;
    for (int i = 1; i < n_quick_exits && delay < CHILD_BACKOFF_MAX_MS; i++)
        delay *= 2;
    return delay < CHILD_BACKOFF_MAX_MS ? delay : CHILD_BACKOFF_MAX_MS;
}

static void child_ended(struct child *c, int code) {
    int64_t now = clock_now(clock_system());
    bool is_quick = now - c->started_ns < CHILD_STEADY_MS * (int64_t)NS_PER_MS;
    c->n_quick_exits = is_quick ? c->n_quick_exits + 1 : 0;
    int64_t delay_ms = backoff_ms(c->n_quick_exits);
    c->restart_ns = now + delay_ms * NS_PER_MS;
    log_warn("up", "process ended", "name=%s pid=%d %s=%d restart_in_ms=%lld", c->name, (int)c->pid,
             WIFSIGNALED(code) ? "signal" : "status",
             WIFSIGNALED(code) ? WTERMSIG(code) : WEXITSTATUS(code), (long long)delay_ms);
    c->pid = 0;
}

static void reap(struct child *children, size_t n) {
    int code;
    pid_t pid;
    while ((pid = waitpid(-1, &code, WNOHANG)) > 0)
        for (size_t i = 0; i < n; i++)
            if (children[i].pid == pid)
                child_ended(&children[i], code);
}

/* Starts what is due; returns milliseconds until the next one is, at most a second. */
static int64_t start_due(struct child *children, size_t n, const char *title) {
    int64_t now = clock_now(clock_system()), wait_ms = 1000;
    for (size_t i = 0; i < n; i++) {
        struct child *c = &children[i];
        struct error err;
        if (c->pid)
            continue;
        if (c->restart_ns <= now && child_start(c, title, &err) != STATUS_OK) {
            char quoted[LOG_QUOTE_SIZE];
            log_error("up", "process did not start", "name=%s error=%s", c->name,
                      log_quote(err.text, quoted));
            c->restart_ns = now + CHILD_BACKOFF_MAX_MS * (int64_t)NS_PER_MS;
        } else if (c->restart_ns > now && (c->restart_ns - now) / NS_PER_MS + 1 < wait_ms) {
            wait_ms = (c->restart_ns - now) / NS_PER_MS + 1;
        }
    }
    return wait_ms;
}

static void child_stop(struct child *c) {
    if (!c->pid)
        return;
    kill(c->pid, SIGTERM);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    int64_t deadline = clock_now(clock_system()) + CHILD_STOP_MS * (int64_t)NS_PER_MS;
    int code;
    while (waitpid(c->pid, &code, WNOHANG) == 0) {
        int64_t left = deadline - clock_now(clock_system());
        if (left <= 0) {
            log_warn("up", "process killed", "name=%s pid=%d", c->name, (int)c->pid);
            kill(c->pid, SIGKILL);
            waitpid(c->pid, &code, 0);
            break;
        }
        int64_t slice = left < 100 * NS_PER_MS ? left : 100 * NS_PER_MS;
        sigtimedwait(&set, NULL, &(struct timespec){.tv_nsec = slice});
    }
    log_info("up", "process stopped", "name=%s pid=%d", c->name, (int)c->pid);
    c->pid = 0;
}

status supervisor_run(struct child *children, size_t n, const char *title, struct error *err) {
    sigset_t set;
    if (n > CHILDREN_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu children, at most %d", n, CHILDREN_MAX);
    if (pipe2(parent_pipe, O_CLOEXEC) != 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "pipe: %s", strerror(errno));
    signals_block(&set);
    for (;;) {
        int64_t wait_ms = start_due(children, n, title);
        struct timespec wait = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * NS_PER_MS};
        int number = sigtimedwait(&set, NULL, &wait);
        if (number == SIGTERM || number == SIGINT)
            break;
        reap(children, n);
    }
    log_info("up", "stopping", "pid=%d", (int)getpid());
    for (size_t i = 0; i < n; i++)
        child_stop(&children[i]);
    close(parent_pipe[0]);
    close(parent_pipe[1]);
    return STATUS_OK;
}
