#include "control/supervisor.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/test.h"

/* What the processes of a test tell each other. */
struct board {
    _Atomic int n_starts, n_stops, pid;
};

static struct board *board;

static int run_well(void *arg) {
    (void)arg;
    board->pid = (int)getpid();
    board->n_starts++;
    child_wait();
    board->n_stops++;
    return 0;
}

static int run_badly(void *arg) {
    (void)arg;
    board->n_starts++;
    return 1;
}

static pid_t supervise(int (*run)(void *)) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        struct child c = {.name = "worker", .run = run};
        struct error err;
        _exit(supervisor_run(&c, 1, "test", &err) == STATUS_OK ? 0 : 1);
    }
    return pid;
}

static bool wait_for(const _Atomic int *counter, int n) {
    for (int i = 0; i < 2000 && *counter < n; i++)
        usleep(5000);
    return *counter >= n;
}

TEST(supervisor_starts_a_killed_child_again_and_stops_it_in_the_end) {
    pid_t pid = supervise(run_well);
    CHECK(wait_for(&board->n_starts, 1));
    kill(board->pid, SIGKILL);
    CHECK(wait_for(&board->n_starts, 2));
    usleep(50000); /* the child gets to child_wait() */
    kill(pid, SIGTERM);
    int code;
    CHECK_EQ(waitpid(pid, &code, 0), pid);
    CHECK_EQ(code, 0);
    CHECK_EQ(board->n_stops, 1);
}

TEST(supervisor_backs_off_from_a_child_that_ends_at_once) {
    pid_t pid = supervise(run_badly);
    usleep(1000000);
    kill(pid, SIGTERM);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    /* At 0, 100, 300, 700 ms. */
    CHECK(board->n_starts >= 2);
    CHECK(board->n_starts <= 5);
}

TEST(supervisor_children_end_when_the_parent_is_killed) {
    pid_t pid = supervise(run_well);
    CHECK(wait_for(&board->n_starts, 1));
    usleep(50000);
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK(wait_for(&board->n_stops, 1));
    CHECK_EQ(board->n_starts, 1);
}

TEST(supervisor_title_becomes_the_command_line) {
    char text[64] = "";
    title_set("ab: c");
    FILE *f = fopen("/proc/self/cmdline", "r");
    CHECK(fread(text, 1, sizeof text - 1, f) > 5);
    fclose(f);
    CHECK_STR(text, "ab: c");
}
