#include "control/store/store.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "support/test.h"

static char folder[64];

static const char *temp_path(void) {
    static char path[128];
    snprintf(folder, sizeof folder, "/tmp/culmen-store-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/state.db", folder);
    return path;
}

static void temp_remove(void) {
    DIR *d = opendir(folder);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(folder);
}

static struct store *open_ok(const char *path) {
    struct error err = {0};
    struct store *s = NULL;
    if (store_open(&s, path, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return s;
}

TEST(store_gives_back_what_was_put_with_its_revision) {
    CLEANUP(store_closep) struct store *s = open_ok(temp_path());
    struct arena a = {0};
    struct store_entry e;
    int64_t revision = 0;
    CHECK_EQ(store_put(s, STR("models/a"), STR("one"), STORE_ABSENT, &revision, NULL), STATUS_OK);
    CHECK_EQ(revision, 1);
    CHECK_EQ(store_get(s, &a, STR("models/a"), &e, NULL), STATUS_OK);
    CHECK_STR(e.value.p, "one");
    CHECK_EQ(e.revision, 1);
    CHECK_EQ(store_get(s, &a, STR("models/b"), &e, NULL), STATUS_NOT_FOUND);
    CHECK_EQ(store_delete(s, STR("models/a"), 1, NULL), STATUS_OK);
    CHECK_EQ(store_get(s, &a, STR("models/a"), &e, NULL), STATUS_NOT_FOUND);
    CHECK_EQ(store_revision(s), 2);
    CHECK_EQ(store_delete(s, STR("models/a"), STORE_ANY, NULL), STATUS_OK);
    CHECK_EQ(store_revision(s), 2);
    arena_release(&a);
    temp_remove();
}

TEST(store_refuses_a_change_of_another_revision) {
    CLEANUP(store_closep) struct store *s = open_ok(temp_path());
    struct error err = {0};
    CHECK_EQ(store_put(s, STR("k"), STR("1"), STORE_ABSENT, NULL, &err), STATUS_OK);
    CHECK_EQ(store_put(s, STR("k"), STR("2"), STORE_ABSENT, NULL, &err), STATUS_ALREADY_EXISTS);
    CHECK_EQ(store_put(s, STR("k"), STR("2"), 7, NULL, &err), STATUS_ABORTED);
    CHECK_STR(err.text, "key \"k\" is at revision 1, expected 7");
    CHECK_EQ(store_put(s, STR("k"), STR("2"), 1, NULL, &err), STATUS_OK);
    CHECK_EQ(store_delete(s, STR("k"), 1, &err), STATUS_ABORTED);
    temp_remove();
}

TEST(store_commits_all_changes_or_none) {
    CLEANUP(store_closep) struct store *s = open_ok(temp_path());
    struct arena a = {0};
    struct store_entry e;
    CHECK_EQ(store_put(s, STR("guard"), STR("1"), STORE_ABSENT, NULL, NULL), STATUS_OK);
    struct store_change changes[] = {
        {.op = STORE_PUT, .key = STR("a"), .value = STR("x"), .expected = STORE_ABSENT},
        {.op = STORE_CHECK, .key = STR("guard"), .expected = 9},
    };
    CHECK_EQ(store_commit(s, changes, 2, NULL, NULL), STATUS_ABORTED);
    CHECK_EQ(store_get(s, &a, STR("a"), &e, NULL), STATUS_NOT_FOUND);
    CHECK_EQ(store_revision(s), 1);
    changes[1].expected = 1;
    CHECK_EQ(store_commit(s, changes, 2, NULL, NULL), STATUS_OK);
    CHECK_EQ(store_get(s, &a, STR("a"), &e, NULL), STATUS_OK);
    arena_release(&a);
    temp_remove();
}

TEST(store_lists_by_prefix_in_pages) {
    CLEANUP(store_closep) struct store *s = open_ok(temp_path());
    struct arena a = {0};
    const char *keys[] = {"b/2", "b/1", "a", "b/3", "c", "b"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        CHECK_EQ(store_put(s, str_from_c(keys[i]), STR(""), STORE_ABSENT, NULL, NULL), STATUS_OK);
    struct store_entry *e;
    size_t n;
    CHECK_EQ(
        store_list(s, &a, &(struct store_range){.prefix = STR("b/"), .limit = 2}, &e, &n, NULL),
        STATUS_OK);
    CHECK_EQ(n, 2);
    CHECK_STR(e[0].key.p, "b/1");
    CHECK_STR(e[1].key.p, "b/2");
    CHECK_EQ(store_list(s, &a,
                        &(struct store_range){.prefix = STR("b/"), .after = e[1].key, .limit = 2},
                        &e, &n, NULL),
             STATUS_OK);
    CHECK_EQ(n, 1);
    CHECK_STR(e[0].key.p, "b/3");
    CHECK_EQ(store_list(s, &a, &(struct store_range){0}, &e, &n, NULL), STATUS_OK);
    CHECK_EQ(n, 6);
    CHECK_EQ(store_count(s, STR("b/"), &n, NULL), STATUS_OK);
    CHECK_EQ(n, 3);
    arena_release(&a);
    temp_remove();
}

TEST(store_names_the_limit_that_a_key_or_value_passes) {
    CLEANUP(store_closep) struct store *s = open_ok(temp_path());
    struct error err = {0};
    char key[STORE_KEY_MAX + 2];
    memset(key, 'k', sizeof key);
    CHECK_EQ(store_put(s, (str){.p = key, .n = sizeof key}, STR(""), STORE_ANY, NULL, &err),
             STATUS_INVALID_ARGUMENT);
    CHECK_EQ(store_put(s, STR("a b"), STR(""), STORE_ANY, NULL, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "key has byte 0x20 at 1");
    CHECK_EQ(store_put(s, STR(""), STR(""), STORE_ANY, NULL, &err), STATUS_INVALID_ARGUMENT);
    char *big = calloc(1, STORE_VALUE_MAX + 1);
    CHECK_EQ(
        store_put(s, STR("k"), (str){.p = big, .n = STORE_VALUE_MAX + 1}, STORE_ANY, NULL, &err),
        STATUS_RESOURCE_EXHAUSTED);
    free(big);
    temp_remove();
}

struct writer {
    struct store *s;
    pthread_t thread;
};

static void write_later(void *arg) {
    struct writer *w = arg;
    usleep(20000);
    CHECK_EQ(store_put(w->s, STR("x/other"), STR(""), STORE_ANY, NULL, NULL), STATUS_OK);
    CHECK_EQ(store_put(w->s, STR("w/a"), STR("2"), STORE_ANY, NULL, NULL), STATUS_OK);
}

TEST(store_watch_wakes_for_changes_under_its_prefix) {
    CLEANUP(store_closep) struct store *s = open_ok(temp_path());
    struct arena a = {0};
    struct store_entry *e;
    size_t n;
    CHECK_EQ(store_put(s, STR("w/a"), STR("1"), STORE_ANY, NULL, NULL), STATUS_OK);
    CLEANUP(store_watch_freep) struct store_watch *w = NULL;
    CHECK_EQ(store_watch(&w, s, STR("w/"), 0, NULL), STATUS_OK);
    int64_t far = clock_now(clock_system()) + 10ll * NS_PER_S;
    CHECK_EQ(store_watch_next(w, &a, far, &e, &n, NULL), STATUS_OK);
    CHECK_EQ(n, 1);
    CHECK_STR(e[0].value.p, "1");
    struct writer writer = {.s = s};
    CHECK_EQ(thread_start(&writer.thread, "writer", write_later, &writer, NULL), STATUS_OK);
    CHECK_EQ(store_watch_next(w, &a, far, &e, &n, NULL), STATUS_OK);
    CHECK_EQ(n, 1);
    CHECK_STR(e[0].value.p, "2");
    thread_join(writer.thread);
    CHECK_EQ(store_delete(s, STR("w/a"), STORE_ANY, NULL), STATUS_OK);
    CHECK_EQ(store_watch_next(w, &a, far, &e, &n, NULL), STATUS_OK);
    CHECK_EQ(n, 1);
    CHECK(e[0].is_deleted);
    CHECK_EQ(store_watch_next(w, &a, clock_now(clock_system()) + NS_PER_MS, &e, &n, NULL),
             STATUS_OK);
    CHECK_EQ(n, 0);
    store_watch_wake(w);
    CHECK_EQ(store_watch_next(w, &a, far, &e, &n, NULL), STATUS_OK);
    CHECK_EQ(n, 0);
    arena_release(&a);
    temp_remove();
}

TEST(store_watch_says_when_it_fell_behind_the_history) {
    CLEANUP(store_closep) struct store *s = open_ok(temp_path());
    struct arena a = {0};
    struct store_entry *e;
    size_t n;
    CLEANUP(store_watch_freep) struct store_watch *w = NULL;
    CHECK_EQ(store_watch(&w, s, STR(""), -STORE_HISTORY_MAX, NULL), STATUS_OK);
    CHECK_EQ(store_put(s, STR("k"), STR("1"), STORE_ANY, NULL, NULL), STATUS_OK);
    CHECK_EQ(store_watch_next(w, &a, 0, &e, &n, NULL), STATUS_OUT_OF_RANGE);
    store_watch_skip(w);
    CHECK_EQ(store_watch_next(w, &a, 0, &e, &n, NULL), STATUS_OK);
    CHECK_EQ(n, 0);
    arena_release(&a);
    temp_remove();
}

TEST(store_refuses_a_second_process) {
    const char *path = temp_path();
    CLEANUP(store_closep) struct store *first = open_ok(path);
    CHECK(first != NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *second = NULL;
        struct error err = {0};
        _exit(store_open(&second, path, &err) == STATUS_FAILED_PRECONDITION ? 0 : 1);
    }
    int code;
    CHECK_EQ(waitpid(pid, &code, 0), pid);
    CHECK_EQ(code, 0);
    temp_remove();
}

TEST(store_refuses_a_file_that_is_no_store) {
    const char *path = temp_path();
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 4096; i++)
        fputs("not a database ", f);
    fclose(f);
    struct error err = {0};
    struct store *s = NULL;
    CHECK_EQ(store_open(&s, path, &err), STATUS_DATA_LOSS);
    CHECK(strstr(err.text, path) != NULL);
    CHECK(strstr(err.text, "move it away to begin anew") != NULL);
    temp_remove();
}

/* Writes key i, then says i into the pipe, until it is killed. */
static void write_until_killed(const char *path, int pipe_out, int from) {
    struct store *s = open_ok(path);
    for (int i = from;; i++) {
        char key[32];
        snprintf(key, sizeof key, "n/%08d", i);
        if (store_put(s, str_from_c(key), str_from_c(key), STORE_ABSENT, NULL, NULL) != STATUS_OK)
            _exit(1);
        if (write(pipe_out, &i, sizeof i) != sizeof i)
            _exit(2);
    }
}

TEST(store_keeps_every_acknowledged_write_over_kill_9) {
    const char *path = temp_path();
    unsigned seed = (unsigned)time(NULL) ^ (unsigned)getpid();
    int next = 0, n_acknowledged = 0;
    for (int round = 0; round < 15; round++) {
        int fds[2];
        CHECK_EQ(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            write_until_killed(path, fds[1], next);
        }
        close(fds[1]);
        usleep(5000 + (useconds_t)(rand_r(&seed) % 40000));
        kill(pid, SIGKILL);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        int last = next - 1, i;
        while (read(fds[0], &i, sizeof i) == sizeof i)
            last = i;
        close(fds[0]);
        n_acknowledged = last + 1;
        struct store *s = open_ok(path);
        struct arena a = {0};
        struct store_entry e;
        for (int k = next; k <= last; k++) {
            char key[32];
            snprintf(key, sizeof key, "n/%08d", k);
            if (store_get(s, &a, str_from_c(key), &e, NULL) != STATUS_OK)
                test_fail(__FILE__, __LINE__, "key %d was acknowledged and is lost", k);
        }
        /* One write may have reached the disk and not the pipe. */
        char key[32];
        snprintf(key, sizeof key, "n/%08d", last + 1);
        next = last + 1 + (store_get(s, &a, str_from_c(key), &e, NULL) == STATUS_OK);
        CHECK(store_revision(s) >= n_acknowledged);
        store_close(s);
        arena_release(&a);
    }
    CHECK(n_acknowledged > 0);
    temp_remove();
}
