/* replica_internal.h - one replica of the process driver: its folder, socket and process. */
#ifndef CONTROL_RUNTIME_REPLICA_INTERNAL_H
#define CONTROL_RUNTIME_REPLICA_INTERNAL_H

#include <limits.h>
#include <sys/types.h>

#include "base/thread.h"
#include "control/runtime/process.h"
#include "net/client.h"
#include "net/loop.h"

enum { REPLICA_UID_SIZE = 17, REPLICA_ADDRESS_SIZE = 64 };

struct process_runtime;

struct replica {
    struct process_runtime *owner;

    /* Set once. */
    char set[RUNTIME_NAME_MAX + 1];
    uint64_t generation;
    unsigned ordinal;
    char uid[REPLICA_UID_SIZE];
    char folder[PATH_MAX], log_path[PATH_MAX];

    /* The applying thread's. */
    int listen_fd;     /* -1: not held */
    bool needs_attach; /* has a process that the loop does not know yet */

    /* Under the driver's lock. */
    char address[REPLICA_ADDRESS_SIZE];
    char health_route[512];
    replica_state state;
    pid_t pid;           /* 0: no process */
    uint64_t start_time; /* of the process, in ticks since boot */
    int pid_fd;          /* -1: no process */
    bool was_ready, is_hung;
    int n_exits;
    int n_failed_starts; /* exits in a row before the process was ready */
    char exit_text[128];
    int64_t restart_ns;   /* WAITING: not before */
    int64_t terminate_ns; /* STOPPING: SIGTERM is due; 0: it was sent */
    int64_t kill_ns;      /* STOPPING: SIGKILL is due */
    int64_t ready_ns;     /* READY: since */

    /* The loop's. */
    struct loop_task attach, release;
    struct loop_watch exit_watch;
    struct loop_timer timer;
    struct client_call call;
    struct client_peer *peer;
    int probe_status; /* of the response; 0: none yet */
    int64_t probe_delay_ms;
    int n_failures, n_timeouts;
    bool is_attached;
};

struct process_runtime {
    struct runtime base;
    char folder[PATH_MAX];
    char boot[64]; /* this boot of the machine */
    const char *path;
    const char *const *argv;
    pthread_t thread;
    struct loop *loop;
    struct client *client;

    void (*changed)(void *arg);
    void *changed_arg;

    struct mutex lock; /* guards the table and what replica.h says */
    struct replica **replicas;
    size_t n_replicas, capacity;
};

/* --- replica.c: the applying thread's --- */

/* A replica in WAITING, without socket and process. */
struct replica *replica_new(struct process_runtime *p, str set, uint64_t generation,
                            unsigned ordinal, const char *uid);

/* Reads one state file. NOT_FOUND or DATA_LOSS: there is none that makes sense. The process
 * that it names is adopted if it is the same one and alive; else the replica is WAITING. */
NODISCARD status replica_load(struct replica **out, struct process_runtime *p, const char *uid,
                              struct error *err);

/* Opens the socket where it is not held, forks, records, lets the process go. */
NODISCARD status replica_spawn(struct replica *r, const struct runtime_set *set, struct error *err);

/* Removes the state (not the log) and closes the socket. */
void replica_forget(struct replica *r);

/* Moves the log away when it is over its limit. */
void replica_trim_log(struct replica *r);

/* Removes the oldest logs of replicas that are no more, down to REPLICA_LOGS_MAX. */
void replica_trim_logs(struct process_runtime *p);

/* Start time of `pid` in ticks since boot; 0: no such process, or a zombie. */
uint64_t process_start_time(pid_t pid);

/* --- probe.c: the loop's --- */

void probe_attach(struct loop_task *t);  /* the replica has a process: watch and probe it */
void probe_release(struct loop_task *t); /* the replica is not in the table: free it */
void probe_detach(struct replica *r);    /* stops watching, for good */
void replica_free(struct replica *r);

#endif
