/* supervisor.h - a small parent process: starts child processes, starts them again when they
 * die, ends them in order when it is told to.
 *
 * A child is a function in a forked process. Children end with their parent, however that ends:
 * the kernel sends them SIGTERM, and child_wait() sees the pipe to the parent close. What the
 * parent holds (listening sockets) survives each child. The parent must have one thread. */
#ifndef CONTROL_SUPERVISOR_H
#define CONTROL_SUPERVISOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/status.h"

enum {
    CHILDREN_MAX = 4,
    CHILD_STEADY_MS = 1000,       /* lived so long: started again at once when it dies */
    CHILD_BACKOFF_FIRST_MS = 100, /* else after this time, doubled each time */
    CHILD_BACKOFF_MAX_MS = 5000,
    CHILD_STOP_MS = 15000, /* from SIGTERM to SIGKILL */
};

struct child {
    const char *name; /* the process title becomes "TITLE: NAME" */
    /* The process; returns its exit status. It runs until child_wait() returns. */
    int (*run)(void *arg);
    void *arg;

    /* The supervisor's. */
    pid_t pid;
    int64_t started_ns, restart_ns;
    int n_quick_exits;
};

/* Overwrites the command line of this process, as ps shows it: what points into argv is lost. */
void title_set(const char *text);

/* Runs the children until SIGTERM or SIGINT; then ends them one after the other in the order
 * given. Returns OK, or the reason why it could not go on. */
NODISCARD status supervisor_run(struct child *children, size_t n, const char *title,
                                struct error *err);

/* In a child: blocks until SIGTERM, SIGINT or the end of the parent. */
void child_wait(void);

#endif
