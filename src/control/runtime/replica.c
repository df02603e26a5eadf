#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "control/runtime/replica_internal.h"
#include "net/address.h"

enum {
    LISTEN_FD = 3, /* where the replica finds its socket */
    STATE_SIZE_MAX = 4096,
    EXIT_NOT_STARTED = 127,
};

uint64_t process_start_time(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    /* The name, in brackets, may hold anything; after it come the state and 18 numbers. */
    char *p = strrchr(text, ')');
    if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
        return 0;
    p += 2;
    for (int field = 3; field < 22 && p; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p + 1, NULL, 10) : 0;
}

struct replica *replica_new(struct process_runtime *p, str set, uint64_t generation,
                            unsigned ordinal, const char *uid) {
    struct replica *r = calloc(1, sizeof *r);
    if (!r)
        abort(); /* as arena_alloc(): the operator's own objects */
    r->owner = p;
    snprintf(r->set, sizeof r->set, "%.*s", STR_ARG(set));
    r->generation = generation;
    r->ordinal = ordinal;
    if (uid) {
        snprintf(r->uid, sizeof r->uid, "%s", uid);
    } else {
        uint64_t random = 0;
        while (getrandom(&random, sizeof random, 0) != sizeof random)
            ;
        snprintf(r->uid, sizeof r->uid, "%016llx", (unsigned long long)random);
    }
    snprintf(r->folder, sizeof r->folder, "%.3000s/replicas/%s", p->folder, r->uid);
    snprintf(r->log_path, sizeof r->log_path, "%.3000s/logs/%s.%u.log", p->folder, r->set, ordinal);
    r->listen_fd = r->pid_fd = -1;
    r->state = REPLICA_WAITING;
    r->attach.run = probe_attach;
    r->release.run = probe_release;
    return r;
}

void replica_free(struct replica *r) {
    if (r->listen_fd >= 0)
        close(r->listen_fd);
    if (r->pid_fd >= 0)
        close(r->pid_fd);
    free(r);
}

static status state_write(struct replica *r, struct error *err) {
    char text[STATE_SIZE_MAX], path[PATH_MAX + 16];
    int n = snprintf(text, sizeof text,
                     "set=%s\ngeneration=%llu\nordinal=%u\naddress=%s\nboot=%s\npid=%d\n"
                     "start_time=%llu\n",
                     r->set, (unsigned long long)r->generation, r->ordinal, r->address,
                     r->owner->boot, (int)r->pid, (unsigned long long)r->start_time);
    TRY(file_make_folder(r->folder, err));
    snprintf(path, sizeof path, "%s/state", r->folder);
    return file_write(path, text, (size_t)n, err);
}

/* The value of `key` in lines of key=value; empty when it is not there. */
static str state_value(str text, str key) {
    str line;
    while (str_next(&text, '\n', &line)) {
        str name;
        if (str_next(&line, '=', &name) && str_eq(name, key))
            return line;
    }
    return STR("");
}

/* Takes over a running process, if it is the one that was recorded. */
static void replica_adopt(struct replica *r, pid_t pid, uint64_t start_time) {
    int fd = pidfd_open(pid, 0);
    /* Read after the descriptor is open: from here on the number cannot change its owner. */
    if (fd < 0 || process_start_time(pid) != start_time) {
        if (fd >= 0)
            close(fd);
        return;
    }
    r->pid = pid;
    r->pid_fd = fd;
    r->start_time = start_time;
    r->state = REPLICA_UNREADY; /* it may be at work: that it is ready is for the probe to say */
    r->was_ready = r->needs_attach = true;
    /* Where the kernel allows it: then a restart keeps the socket. */
    r->listen_fd = pidfd_getfd(fd, LISTEN_FD, 0);
    if (r->listen_fd >= 0)
        fcntl(r->listen_fd, F_SETFD, FD_CLOEXEC);
}

status replica_load(struct replica **out, struct process_runtime *p, const char *uid,
                    struct error *err) {
    char path[PATH_MAX];
    struct buffer text = {.size_max = STATE_SIZE_MAX};
    snprintf(path, sizeof path, "%.3000s/replicas/%s/state", p->folder, uid);
    status st = file_read(&text, path, err);
    int64_t generation = 0, ordinal = 0, pid = 0, start_time = 0;
    str all = buffer_str(&text);
    if (st == STATUS_OK && (!str_to_int64(state_value(all, STR("generation")), &generation) ||
                            !str_to_int64(state_value(all, STR("ordinal")), &ordinal) ||
                            !str_to_int64(state_value(all, STR("pid")), &pid) ||
                            !str_to_int64(state_value(all, STR("start_time")), &start_time) ||
                            ordinal < 0 || ordinal >= RUNTIME_REPLICAS_MAX || pid <= 1))
        st = error_set(err, STATUS_DATA_LOSS, "%s: not a replica's state", path);
    if (st != STATUS_OK) {
        buffer_done(&text);
        return st;
    }
    struct replica *r =
        replica_new(p, state_value(all, STR("set")), (uint64_t)generation, (unsigned)ordinal, uid);
    snprintf(r->address, sizeof r->address, "%.*s", STR_ARG(state_value(all, STR("address"))));
    if (str_eq_c(state_value(all, STR("boot")), p->boot))
        replica_adopt(r, (pid_t)pid, (uint64_t)start_time);
    buffer_done(&text);
    *out = r;
    return STATUS_OK;
}

/* Opens the socket: where it was before, else on a free port. */
static status socket_open(struct replica *r, struct error *err) {
    struct net_address address;
    if (r->listen_fd >= 0)
        return STATUS_OK;
    if (!r->address[0] || net_address_parse(&address, str_from_c(r->address), err) != STATUS_OK ||
        net_listen(&r->listen_fd, &address, err) != STATUS_OK) {
        TRY(net_address_parse(&address, STR("127.0.0.1:0"), err));
        TRY(net_listen(&r->listen_fd, &address, err));
    }
    TRY(net_address_of_socket(&address, r->listen_fd, err));
    char text[NET_ADDRESS_TEXT_SIZE];
    mutex_lock(&r->owner->lock);
    snprintf(r->address, sizeof r->address, "%.63s", net_address_format(&address, text));
    mutex_unlock(&r->owner->lock);
    return STATUS_OK;
}

/* What the child needs, made before the fork: after it only system calls are safe. */
struct birth {
    const char *path;
    const char *const *argv;
    const char *environment[RUNTIME_ENVIRONMENT_MAX + 8];
    char listen_pid[32], port[32];
    int listen_fd, log_fd, null_fd, go_fd;
};

static _Noreturn void child_run(struct birth *b) {
    setsid();
    struct sigaction plain = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &plain, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* Not recorded, not born: the pipe ends without a byte when the driver died. */
    char go;
    if (read(b->go_fd, &go, 1) != 1)
        _exit(EXIT_NOT_STARTED);
    /* Everything above the standard descriptors first, so that no dup2 hits another's source. */
    int listen_fd = fcntl(b->listen_fd, F_DUPFD, 16), log_fd = fcntl(b->log_fd, F_DUPFD, 16);
    if (listen_fd < 0 || log_fd < 0 || dup2(b->null_fd, 0) < 0 || dup2(log_fd, 1) < 0 ||
        dup2(log_fd, 2) < 0 || dup2(listen_fd, LISTEN_FD) < 0)
        _exit(EXIT_NOT_STARTED);
    close_range(LISTEN_FD + 1, ~0u, 0);
    *str_put_u64(b->listen_pid + sizeof "LISTEN_PID=" - 1, (uint64_t)getpid()) = '\0';
    union { /* execve takes pointers to what it does not change */
        const char *const *in;
        char *const *out;
    } argv = {.in = b->argv}, environment = {.in = b->environment};
    execve(b->path, argv.out, environment.out);
    static const char text[] = "culmen: the replica's program could not be started\n";
    if (write(2, text, sizeof text - 1) < 0)
        _exit(EXIT_NOT_STARTED);
    _exit(EXIT_NOT_STARTED);
}

static void birth_prepare(struct birth *b, struct replica *r, const struct runtime_set *set) {
    size_t n = 0;
    for (size_t i = 0; i < set->n_environment && n < RUNTIME_ENVIRONMENT_MAX; i++)
        b->environment[n++] = set->environment[i];
    struct net_address address;
    struct error ignored; /* the address is our own */
    int port = net_address_of_socket(&address, r->listen_fd, &ignored) == STATUS_OK
                   ? net_address_port(&address)
                   : 0;
    snprintf(b->listen_pid, sizeof b->listen_pid, "LISTEN_PID=");
    snprintf(b->port, sizeof b->port, "AIP_HTTP_PORT=%d", port);
    b->environment[n++] = b->listen_pid;
    b->environment[n++] = b->port;
    b->environment[n++] = "LISTEN_FDS=1";
    b->environment[n] = NULL;
    b->path = r->owner->path;
    b->argv = r->owner->argv;
    b->listen_fd = r->listen_fd;
}

/* Records the child, then lets it go; kills it when that fails. */
static status child_record(struct replica *r, pid_t pid, int go_fd, struct error *err) {
    int pid_fd = pidfd_open(pid, 0);
    if (pid_fd < 0)
        return error_set(err, file_status(errno), "pidfd_open: %s", strerror(errno));
    fcntl(pid_fd, F_SETFD, FD_CLOEXEC);
    mutex_lock(&r->owner->lock);
    r->pid = pid;
    r->pid_fd = pid_fd;
    r->start_time = process_start_time(pid);
    mutex_unlock(&r->owner->lock);
    TRY(state_write(r, err));
    if (write(go_fd, "g", 1) != 1)
        return error_set(err, STATUS_INTERNAL, "start the replica: %s", strerror(errno));
    return STATUS_OK;
}

static status child_fork(struct replica *r, struct birth *b, int pipe_fds[2], struct error *err) {
    b->go_fd = pipe_fds[0];
    pid_t pid = fork();
    if (pid < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "fork: %s", strerror(errno));
    if (pid == 0) {
        close(pipe_fds[1]);
        child_run(b);
    }
    status st = child_record(r, pid, pipe_fds[1], err);
    if (st == STATUS_OK)
        return st;
    kill(pid, SIGKILL);
    siginfo_t info;
    waitid(P_PID, (id_t)pid, &info, WEXITED);
    mutex_lock(&r->owner->lock);
    if (r->pid_fd >= 0)
        close(r->pid_fd);
    r->pid_fd = -1;
    r->pid = 0;
    mutex_unlock(&r->owner->lock);
    return st;
}

status replica_spawn(struct replica *r, const struct runtime_set *set, struct error *err) {
    TRY(socket_open(r, err));
    struct birth b = {0};
    birth_prepare(&b, r, set);
    int pipe_fds[2] = {-1, -1};
    b.log_fd = open(r->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    b.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    status st = STATUS_OK;
    if (b.log_fd < 0 || b.null_fd < 0 || pipe2(pipe_fds, O_CLOEXEC) != 0)
        st = error_set(err, file_status(errno), "%s: %s", r->log_path, strerror(errno));
    else
        st = child_fork(r, &b, pipe_fds, err);
    int fds[] = {b.log_fd, b.null_fd, pipe_fds[0], pipe_fds[1]};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    TRY(st);
    mutex_lock(&r->owner->lock);
    r->state = REPLICA_STARTING;
    r->is_hung = false;
    snprintf(r->health_route, sizeof r->health_route, "%s", set->health_route);
    mutex_unlock(&r->owner->lock);
    r->needs_attach = true;
    log_info("runtime", "replica started", "set=%s ordinal=%u generation=%llu pid=%d address=%s",
             r->set, r->ordinal, (unsigned long long)r->generation, (int)r->pid, r->address);
    return STATUS_OK;
}

void replica_forget(struct replica *r) {
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/state", r->folder);
    unlink(path);
    rmdir(r->folder);
    if (r->listen_fd >= 0)
        close(r->listen_fd);
    r->listen_fd = -1;
}

void replica_trim_log(struct replica *r) {
    struct stat info;
    if (stat(r->log_path, &info) != 0 || info.st_size <= REPLICA_LOG_SIZE_MAX)
        return;
    /* The process writes on at the end of the same file, so the bytes move, not the file. */
    char old_path[PATH_MAX + 8];
    snprintf(old_path, sizeof old_path, "%s.1", r->log_path);
    struct buffer text = {.size_max = 2 * REPLICA_LOG_SIZE_MAX};
    struct error err;
    status st = file_read(&text, r->log_path, &err);
    if (st == STATUS_OK)
        st = file_write(old_path, text.p, text.n, &err);
    if (st != STATUS_OK)
        log_warn("runtime", "a log was cut without a copy", "set=%s ordinal=%u", r->set,
                 r->ordinal);
    if (truncate(r->log_path, 0) != 0)
        log_warn("runtime", "a log could not be cut", "set=%s ordinal=%u", r->set, r->ordinal);
    buffer_done(&text);
}

static bool log_is_live(struct process_runtime *p, const char *path) {
    for (size_t i = 0; i < p->n_replicas; i++)
        if (!strncmp(p->replicas[i]->log_path, path, strlen(p->replicas[i]->log_path)))
            return true;
    return false;
}

void replica_trim_logs(struct process_runtime *p) {
    char folder[PATH_MAX], path[PATH_MAX + 300], oldest[PATH_MAX + 300];
    snprintf(folder, sizeof folder, "%.3000s/logs", p->folder);
    for (;;) {
        DIR *d = opendir(folder);
        size_t n = 0;
        struct timespec oldest_time = {0};
        for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
            struct stat info;
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            if (e->d_name[0] == '.' || log_is_live(p, path) || stat(path, &info) != 0)
                continue;
            if (n++ == 0 || info.st_mtim.tv_sec < oldest_time.tv_sec) {
                oldest_time = info.st_mtim;
                snprintf(oldest, sizeof oldest, "%s", path);
            }
        }
        if (d)
            closedir(d);
        if (n <= REPLICA_LOGS_MAX || unlink(oldest) != 0)
            return;
    }
}
