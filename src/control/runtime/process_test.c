#include "control/runtime/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "control/runtime/replica_internal.h"
#include "net/http_call.h"
#include "support/test.h"

/* --- the replica: this program, when the driver starts it --- */

static void answer(int code) {
    int fd = accept(3, NULL, NULL);
    char request[4096], reply[256];
    ssize_t n = read(fd, request, sizeof request - 1);
    int size = snprintf(reply, sizeof reply,
                        "HTTP/1.1 %d X\r\nContent-Length: 6\r\nConnection: close\r\n\r\n%-6d", code,
                        (int)getpid() % 1000000);
    if (n > 0 && write(fd, reply, (size_t)size) != size)
        _exit(9);
    close(fd);
}

__attribute__((constructor)) static void run_as_replica(void) {
    const char *kind = getenv("FAKE_REPLICA"), *pid = getenv("LISTEN_PID");
    if (!kind)
        return;
    if (!pid || atoi(pid) != (int)getpid() || getsid(0) != getpid())
        _exit(8);
    int flags = fcntl(3, F_GETFL);
    fcntl(3, F_SETFL, flags & ~O_NONBLOCK);
    fprintf(stderr, "replica of kind %s\n", kind);
    if (!strcmp(kind, "crash"))
        _exit(3);
    if (!strcmp(kind, "deaf"))
        signal(SIGTERM, SIG_IGN);
    for (;;)
        answer(!strcmp(kind, "unready") ? 503 : 200);
}

/* --- the tests --- */

struct fixture {
    char folder[64];
    struct runtime *r;
    struct arena arena;
};

static const char *const argv_self[] = {"replica", NULL};

static void fixture_open(struct fixture *f) {
    struct error err = {0};
    struct process_options o = {.folder = f->folder, .path = "/proc/self/exe", .argv = argv_self};
    if (process_runtime_open(&f->r, &o, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
}

static void fixture_init(struct fixture *f) {
    *f = (struct fixture){.folder = "/tmp/culmen-process-XXXXXX"};
    CHECK(mkdtemp(f->folder) != NULL);
    fixture_open(f);
}

static void fixture_done(struct fixture *f) {
    char command[128];
    runtime_close(f->r);
    arena_release(&f->arena);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    CHECK_EQ(system(command), 0);
}

static struct runtime_set set_of(const char *const *environment, unsigned n) {
    return (struct runtime_set){.name = STR("e.d"),
                                .generation = 1,
                                .n = n,
                                .environment = environment,
                                .n_environment = 1,
                                .health_route = "/health",
                                .drain_ms = 300};
}

static struct replica_status *list(struct fixture *f, size_t *n) {
    struct replica_status *all = NULL;
    CHECK_EQ(f->r->driver->list(f->r, &f->arena, &all, n, NULL), STATUS_OK);
    return all;
}

static size_t count(struct fixture *f, replica_state state, uint64_t generation) {
    size_t n, n_found = 0;
    struct replica_status *all = list(f, &n);
    for (size_t i = 0; i < n; i++)
        n_found += all[i].state == state && all[i].generation == generation;
    return n_found;
}

/* Applies the set again and again until `n` replicas are in `state`. */
static bool reach(struct fixture *f, const struct runtime_set *set, replica_state state, size_t n) {
    for (int i = 0; i < 1500; i++) {
        int64_t wake_ns;
        struct error err = {0};
        if (f->r->driver->apply(f->r, set, &wake_ns, &err) != STATUS_OK)
            test_fail(__FILE__, __LINE__, "%s", err.text);
        if (count(f, state, set->generation) == n)
            return true;
        usleep(4000);
    }
    return false;
}

static bool reach_none(struct fixture *f, const struct runtime_set *set) {
    for (int i = 0; i < 1500; i++) {
        int64_t wake_ns;
        size_t n;
        CHECK_EQ(f->r->driver->apply(f->r, set, &wake_ns, NULL), STATUS_OK);
        list(f, &n);
        if (n == 0)
            return true;
        usleep(4000);
    }
    return false;
}

static int pid_of(str address) {
    struct http_reply reply = {0};
    struct error err = {0};
    struct http_request request = {.target = STR("/pid"), .timeout_ms = 5000};
    if (http_call(&reply, address, &request, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    int64_t pid = 0;
    str_to_int64(str_trim(buffer_str(&reply.body)), &pid);
    http_reply_done(&reply);
    return (int)pid;
}

static const char *const env_ok[] = {"FAKE_REPLICA=ok"};
static const char *const env_crash[] = {"FAKE_REPLICA=crash"};
static const char *const env_unready[] = {"FAKE_REPLICA=unready"};
static const char *const env_deaf[] = {"FAKE_REPLICA=deaf"};

TEST(process_starts_the_replicas_of_a_set_and_stops_them) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 2);
    CHECK(reach(&f, &set, REPLICA_READY, 2));
    size_t n;
    struct replica_status *all = list(&f, &n);
    CHECK_EQ(n, 2);
    CHECK(!str_eq(all[0].address, all[1].address));
    CHECK(pid_of(all[0].address) != pid_of(all[1].address));
    set.n = 1;
    for (int i = 0; i < 500 && n != 1; i++, usleep(5000)) {
        int64_t wake_ns;
        CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_OK);
        all = list(&f, &n);
    }
    CHECK_EQ(n, 1);
    CHECK_EQ(all[0].ordinal, 0);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_restarts_a_killed_replica_on_the_same_socket) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 1);
    CHECK(reach(&f, &set, REPLICA_READY, 1));
    size_t n;
    str address = list(&f, &n)[0].address;
    int pid = pid_of(address);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    usleep(50000);
    CHECK_EQ(list(&f, &n)[0].state, REPLICA_WAITING);
    /* A connection that is made while there is no process waits for the next one. */
    pid_t client = fork();
    if (client == 0)
        _exit(pid_of(address) == pid);
    usleep(50000);
    CHECK(reach(&f, &set, REPLICA_READY, 1));
    CHECK(str_eq(address, list(&f, &n)[0].address));
    int code;
    CHECK_EQ(waitpid(client, &code, 0), client);
    CHECK_EQ(code, 0);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_backs_off_from_a_replica_that_never_gets_ready) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_crash, 1);
    size_t n = 0;
    struct replica_status *all = NULL;
    int64_t wake_ns = 0, started = clock_now(clock_system());
    for (int i = 0; i < 1000; i++, usleep(4000)) {
        CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_OK);
        all = list(&f, &n);
        if (n == 1 && all[0].n_exits == 3)
            break;
    }
    CHECK_EQ(all[0].n_exits, 3);
    CHECK_STR(all[0].exit_text.p, "exited with status 3");
    CHECK(!all[0].was_ready);
    CHECK(clock_now(clock_system()) - started >= RESTART_FIRST_MS * (int64_t)NS_PER_MS);
    CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_OK);
    CHECK(wake_ns > clock_now(clock_system()) + NS_PER_S);
    struct buffer log = {0};
    CHECK_EQ(file_read(&log, all[0].log_path.p, NULL), STATUS_OK);
    CHECK(str_starts(buffer_str(&log), STR("replica of kind crash\nreplica of")));
    buffer_done(&log);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

/* What was ready a moment ago does not crash at its start: one kill more is no reason to wait
 * long. */
TEST(process_restarts_at_once_what_was_killed_before_it_was_ready_again) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 1);
    size_t n;
    int64_t wake_ns;
    for (int i = 0; i < 3; i++) {
        CHECK(reach(&f, &set, REPLICA_READY, 1));
        if (i == 2)
            set.environment = env_unready;
        CHECK_EQ(kill(pid_of(list(&f, &n)[0].address), SIGKILL), 0);
        CHECK(reach(&f, &set, REPLICA_STARTING, 1));
    }
    int pid = pid_of(list(&f, &n)[0].address);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    for (int i = 0; i < 500 && list(&f, &n)[0].n_exits < 4; i++)
        usleep(4000);
    CHECK_EQ(list(&f, &n)[0].n_exits, 4);
    CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_OK);
    CHECK_EQ(list(&f, &n)[0].state, REPLICA_STARTING);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_calls_a_replica_ready_only_when_its_health_route_says_so) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_unready, 1);
    CHECK(reach(&f, &set, REPLICA_STARTING, 1));
    usleep(200000);
    CHECK_EQ(count(&f, REPLICA_READY, 1), 0);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_kills_a_replica_that_ignores_sigterm) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_deaf, 1);
    CHECK(reach(&f, &set, REPLICA_READY, 1));
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_replaces_a_generation_without_a_gap) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 1);
    CHECK(reach(&f, &set, REPLICA_READY, 1));
    set.generation = 2;
    for (int i = 0; i < 1000 && count(&f, REPLICA_READY, 2) < 1; i++, usleep(4000)) {
        int64_t wake_ns;
        CHECK_EQ(count(&f, REPLICA_READY, 1) + count(&f, REPLICA_READY, 2) >= 1, 1);
        CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_OK);
    }
    size_t n = 0;
    for (int i = 0; i < 1000 && n != 1; i++, usleep(4000)) {
        int64_t wake_ns;
        CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_OK);
        list(&f, &n);
    }
    CHECK_EQ(n, 1);
    CHECK_EQ(list(&f, &n)[0].generation, 2);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_adopts_what_runs_and_restarts_what_died_meanwhile) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 2);
    CHECK(reach(&f, &set, REPLICA_READY, 2));
    size_t n;
    struct replica_status *all = list(&f, &n);
    unsigned ordinal = all[0].ordinal;
    str address = all[0].address, dead_address = all[1].address;
    int pid = pid_of(address), dead = pid_of(dead_address);
    runtime_close(f.r);
    CHECK_EQ(kill(dead, SIGKILL), 0);
    CHECK_EQ(waitpid(dead, NULL, 0), dead);

    fixture_open(&f);
    CHECK(reach(&f, &set, REPLICA_READY, 2));
    all = list(&f, &n);
    CHECK_EQ(n, 2);
    size_t adopted = all[0].ordinal == ordinal ? 0 : 1;
    CHECK(str_eq(all[adopted].address, address));
    CHECK_EQ(pid_of(address), pid);
    CHECK(str_eq(all[1 - adopted].address, dead_address));
    CHECK(pid_of(dead_address) != dead);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_never_adopts_a_process_of_another_start_time) {
    struct fixture f;
    usleep(50000); /* start times are counted in ticks of 10 ms */
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 1);
    CHECK(reach(&f, &set, REPLICA_READY, 1));
    runtime_close(f.r);
    /* The state now names this test's process, as if the number had been given out anew. */
    char path[PATH_MAX], command[PATH_MAX];
    snprintf(command, sizeof command,
             "p=$(sed -n 's/^pid=//p' %s/replicas/*/state); kill -9 $p; "
             "sed -i 's/^pid=.*/pid=%d/' %s/replicas/*/state",
             f.folder, (int)getpid(), f.folder);
    CHECK_EQ(system(command), 0);
    snprintf(path, sizeof path, "%s", f.folder);
    fixture_open(&f);
    size_t n;
    struct replica_status *all = list(&f, &n);
    CHECK_EQ(n, 1);
    CHECK_EQ(all[0].state, REPLICA_WAITING);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}

TEST(process_leaves_a_state_that_makes_no_sense_alone) {
    struct fixture f;
    fixture_init(&f);
    runtime_close(f.r);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/replicas/0123456789abcdef", f.folder);
    CHECK_EQ(file_make_folder(path, NULL), STATUS_OK);
    snprintf(path, sizeof path, "%s/replicas/0123456789abcdef/state", f.folder);
    CHECK_EQ(file_write(path, "pid=1\nnonsense", 14, NULL), STATUS_OK);
    fixture_open(&f);
    size_t n;
    list(&f, &n);
    CHECK_EQ(n, 0);
    fixture_done(&f);
}

TEST(process_clears_what_a_killed_driver_left_half_made) {
    struct fixture f;
    fixture_init(&f);
    runtime_close(f.r);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/replicas/0123456789abcdef", f.folder);
    CHECK_EQ(file_make_folder(path, NULL), STATUS_OK);
    snprintf(path, sizeof path, "%s/replicas/0123456789abcdef/state.1.tmp", f.folder);
    CHECK_EQ(file_write(path, "x", 1, NULL), STATUS_OK);
    fixture_open(&f);
    snprintf(path, sizeof path, "%s/replicas/0123456789abcdef", f.folder);
    CHECK(access(path, F_OK) != 0);
    fixture_done(&f);
}

TEST(process_refuses_a_set_name_that_leaves_its_folder) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 1);
    int64_t wake_ns;
    set.name = STR("../x");
    CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_INVALID_ARGUMENT);
    set.name = STR("a/b");
    CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_INVALID_ARGUMENT);
    fixture_done(&f);
}

TEST(process_cuts_a_log_over_its_limit_and_keeps_the_old_part) {
    struct fixture f;
    fixture_init(&f);
    struct runtime_set set = set_of(env_ok, 1);
    CHECK(reach(&f, &set, REPLICA_READY, 1));
    size_t n;
    const char *path = list(&f, &n)[0].log_path.p;
    FILE *log = fopen(path, "a");
    for (int i = 0; i < REPLICA_LOG_SIZE_MAX / 16 + 1; i++)
        fputs("sixteen bytes..\n", log);
    fclose(log);
    int64_t wake_ns;
    CHECK_EQ(f.r->driver->apply(f.r, &set, &wake_ns, NULL), STATUS_OK);
    struct stat info;
    char old[PATH_MAX];
    snprintf(old, sizeof old, "%s.1", path);
    CHECK_EQ(stat(path, &info), 0);
    CHECK_EQ(info.st_size, 0);
    CHECK_EQ(stat(old, &info), 0);
    CHECK(info.st_size > REPLICA_LOG_SIZE_MAX);
    set.n = 0;
    CHECK(reach_none(&f, &set));
    fixture_done(&f);
}
