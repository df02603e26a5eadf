#include "server/repository/compile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

static void fd_closep(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static status path_set(char out[PATH_MAX], struct error *err, const char *fmt, const char *a,
                       const char *b) {
    char text[2 * PATH_MAX];
    int n = snprintf(text, sizeof text, "%s%s%s", a, fmt, b);
    if (n < 0 || n >= PATH_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "path \"%.60s...\" is too long", text);
    memcpy(out, text, (size_t)n + 1);
    return STATUS_OK;
}

status plan_cache_dir(const struct compile_limits *limits, char out[PATH_MAX], struct error *err) {
    const char *dir = limits->cache_dir ? limits->cache_dir : getenv("CULMEN_CACHE_DIR");
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (dir && *dir)
        TRY(path_set(out, err, "", dir, ""));
    else if (xdg && *xdg)
        TRY(path_set(out, err, "/", xdg, "culmen"));
    else if (home && *home)
        TRY(path_set(out, err, "/", home, ".cache/culmen"));
    else
        TRY(path_set(out, err, "/", "/var/cache", "culmen"));
    status code = file_make_folder(out, err);
    if (code != STATUS_OK)
        return error_wrap(err, code, "plan cache (CULMEN_CACHE_DIR)");
    return STATUS_OK;
}

static status hash_file(uint64_t *hash, const char *path, struct error *err) {
    struct file_map m;
    TRY(file_map_open(&m, path, err));
    *hash = hash_bytes(m.p, m.size, *hash);
    file_map_close(&m);
    return STATUS_OK;
}

static uint64_t hash_stat(const char *name, const struct stat *st, uint64_t hash) {
    int64_t facts[3] = {st->st_size, st->st_mtim.tv_sec, st->st_mtim.tv_nsec};
    return hash_bytes(name, strlen(name), hash_bytes(facts, sizeof facts, hash));
}

/* External data lies beside the model: name, size and time of what is there. The sum does not
 * depend on the order in which the folder lists it. */
static uint64_t hash_folder(const char *onnx_path) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", onnx_path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    uint64_t sum = 0;
    DIR *d = opendir(slash ? folder : ".");
    if (!d)
        return 0;
    struct dirent *e;
    struct stat st;
    while ((e = readdir(d)))
        if (fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) &&
            strcmp(e->d_name, slash ? slash + 1 : onnx_path) != 0)
            sum += hash_stat(e->d_name, &st, 1);
    closedir(d);
    return sum;
}

/* The CPU's feature flags: a plan made for one is not for another. */
static uint64_t hash_cpu(uint64_t hash) {
    const char *cap = getenv("CULMEN_ISA");
    if (cap)
        hash = hash_bytes(cap, strlen(cap), hash);
    char line[16384];
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "flags", 5) || !strncmp(line, "Features", 8)) {
            hash = hash_bytes(line, strlen(line), hash);
            break;
        }
    if (f)
        fclose(f);
    return hash;
}

static status cache_key(uint64_t *key, const char *onnx_path, const char *const *args,
                        struct error *err) {
    *key = 0;
    TRY(hash_file(key, onnx_path, err));
    *key += hash_folder(onnx_path);
    for (; *args; args++)
        *key = hash_bytes(*args, strlen(*args) + 1, *key);
    struct stat self;
    if (stat("/proc/self/exe", &self) == 0)
        *key = hash_stat(CULMEN_VERSION, &self, *key);
    *key = hash_cpu(*key);
    return STATUS_OK;
}

static uint64_t memory_limit(const struct compile_limits *limits) {
    if (limits->memory_max)
        return limits->memory_max;
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES), size = (uint64_t)sysconf(_SC_PAGESIZE);
    return pages * size / 100 * COMPILE_MEMORY_PERCENT;
}

/* In the child, between fork and exec: only what is safe there. Never returns. */
static void exec_compiler(char *const *argv, int stderr_fd, uint64_t memory_max) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(stderr_fd, STDERR_FILENO);
    close_range(3, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no compiler without its server */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpriority(PRIO_PROCESS, 0, 5); /* models that already serve come first */
    struct rlimit memory = {memory_max, memory_max}, core = {0, 0};
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_CORE, &core);
    execv("/proc/self/exe", argv);
    static const char text[] = "cannot start /proc/self/exe\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(127);
}

/* Reads what the child says until it closes its end, the time is up (DEADLINE_EXCEEDED) or nobody
 * wants the plan any more (CANCELLED). */
static status read_messages(const struct compile_limits *limits, int fd, int64_t deadline_ns,
                            char *text, size_t size) {
    size_t n = 0;
    text[0] = 0;
    for (;;) {
        int64_t left_ms = (deadline_ns - clock_now(clock_system())) / NS_PER_MS;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0)
            return STATUS_DEADLINE_EXCEEDED;
        if (limits->is_cancelled && atomic_load(limits->is_cancelled))
            return STATUS_CANCELLED;
        if (poll(&p, 1, left_ms > COMPILE_CANCEL_MS ? COMPILE_CANCEL_MS : (int)left_ms) <= 0)
            continue;
        char chunk[1024];
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return STATUS_OK;
        size_t keep = (size_t)got < size - 1 - n ? (size_t)got : size - 1 - n;
        memcpy(text + n, chunk, keep);
        n += keep;
        text[n] = 0;
    }
}

static status child_error(int wait_status, char *text, const char *onnx_path, struct error *err) {
    str said = str_trim(str_from_c(text));
    str prefix = STR("culmen compile: ");
    if (str_starts(said, prefix))
        said = str_slice(said, prefix.n, said.n);
    for (char *c = text; *c; c++)
        if (*c == '\n')
            *c = ' ';
    if (WIFSIGNALED(wait_status))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "compiling \"%s\": the compiler was ended by signal %d%s%.*s", onnx_path,
                         WTERMSIG(wait_status), said.n ? ": " : "", STR_ARG(said));
    return error_set(err, STATUS_INVALID_ARGUMENT, "compiling \"%s\": %.*s", onnx_path,
                     STR_ARG(said.n ? said : STR("the compiler failed without a message")));
}

static status run_compiler(const struct compile_limits *limits, char *const *argv,
                           const char *onnx_path, struct error *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return error_set(err, file_status(errno), "pipe: %s", strerror(errno));
    CLEANUP(fd_closep) int in = ends[0];
    CLEANUP(fd_closep) int out = ends[1];
    uint64_t memory_max = memory_limit(limits);
    pid_t pid = fork();
    if (pid < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "fork: %s", strerror(errno));
    if (pid == 0)
        exec_compiler(argv, out, memory_max);
    close(out);
    out = -1;
    int64_t timeout_ms = limits->timeout_ms ? limits->timeout_ms : COMPILE_TIMEOUT_MS;
    char text[400];
    status end = read_messages(limits, in, clock_now(clock_system()) + timeout_ms * NS_PER_MS, text,
                               sizeof text);
    if (end != STATUS_OK)
        kill(pid, SIGKILL);
    int wait_status = 0;
    while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
        ;
    if (end == STATUS_CANCELLED)
        return error_set(err, end, "compiling \"%s\": the server is stopping", onnx_path);
    if (end != STATUS_OK)
        return error_set(err, STATUS_DEADLINE_EXCEEDED,
                         "compiling \"%s\" took more than %" PRId64 " s", onnx_path,
                         timeout_ms / 1000);
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0)
        return child_error(wait_status, text, onnx_path, err);
    return STATUS_OK;
}

static status compile_locked(const struct compile_limits *limits, const char *onnx_path,
                             const char *const *args, const char *plan_path, struct error *err) {
    char temporary[PATH_MAX], output[PATH_MAX + 16], suffix[32];
    snprintf(suffix, sizeof suffix, "%d", (int)getpid());
    TRY(path_set(temporary, err, ".tmp", plan_path, suffix));
    snprintf(output, sizeof output, "--output=%s", temporary);
    char *argv[COMPILE_ARGS_MAX + 5];
    size_t n = 0;
    char program[] = "culmen", command[] = "compile";
    argv[n++] = program;
    argv[n++] = command;
    char *model = strdup(onnx_path);
    argv[n++] = model;
    argv[n++] = output;
    for (; *args && n < COMPILE_ARGS_MAX + 4; args++)
        argv[n++] = strdup(*args);
    argv[n] = NULL;
    status code = run_compiler(limits, argv, onnx_path, err);
    for (size_t i = 4; i < n; i++)
        free(argv[i]);
    free(model);
    if (code == STATUS_OK && rename(temporary, plan_path) != 0)
        code = error_set(err, file_status(errno), "plan \"%s\": %s", plan_path, strerror(errno));
    if (code != STATUS_OK)
        unlink(temporary);
    return code;
}

/* Replicas that start together compile once: the others wait for the lock. Its holder removes the
 * lock's file, so one who has waited may hold a file that is no longer there: he starts anew. */
static status lock_plan(const char *path, int *out, struct error *err) {
    for (;;) {
        struct stat held, there;
        CLEANUP(fd_closep) int lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
        if (lock < 0)
            return error_set(err, file_status(errno), "plan cache \"%s\": %s", path,
                             strerror(errno));
        while (flock(lock, LOCK_EX) != 0 && errno == EINTR)
            ;
        if (fstat(lock, &held) == 0 && stat(path, &there) == 0 && held.st_ino == there.st_ino &&
            held.st_dev == there.st_dev) {
            *out = lock;
            lock = -1;
            return STATUS_OK;
        }
    }
}

/* Halves of the plan `name` that a server left behind when it was killed; with the lock held. */
static void remove_halves(const char *folder, const char *name) {
    DIR *d = opendir(folder);
    struct dirent *e;
    size_t n = strlen(name);
    while (d && (e = readdir(d)))
        if (!strncmp(e->d_name, name, n) && !strncmp(e->d_name + n, ".tmp", 4))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

status plan_compile(const struct compile_limits *limits, const char *onnx_path,
                    const char *const *args, char out[PATH_MAX], struct error *err) {
    char folder[PATH_MAX], name[32], plan_path[PATH_MAX], lock_path[PATH_MAX];
    uint64_t key;
    TRY(plan_cache_dir(limits, folder, err));
    TRY(cache_key(&key, onnx_path, args, err));
    snprintf(name, sizeof name, "%016" PRIx64 ".plan", key);
    TRY(path_set(plan_path, err, "/", folder, name));
    if (access(plan_path, R_OK) != 0) {
        CLEANUP(fd_closep) int lock = -1;
        TRY(path_set(lock_path, err, "", plan_path, ".lock"));
        TRY(lock_plan(lock_path, &lock, err));
        remove_halves(folder, name);
        status code = STATUS_OK;
        if (access(plan_path, R_OK) != 0)
            code = compile_locked(limits, onnx_path, args, plan_path, err);
        unlink(lock_path);
        if (code != STATUS_OK)
            return code;
    }
    memcpy(out, plan_path, PATH_MAX);
    return STATUS_OK;
}
