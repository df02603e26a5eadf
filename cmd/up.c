/* up.c - `culmen up`: control plane and gateway; `culmen down`: ends them, replicas too. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "command.h"
#include "control/control.h"
#include "control/gateway/gateway.h"
#include "control/supervisor.h"
#include "net/address.h"

enum {
    DRAIN_GATEWAY_MS = 10000,
    TAKE_OVER_MS = 5000, /* waiting for what a killed `culmen up` leaves */
    DOWN_MS = 40000,
    STEP_MS = 20,
    LOOPS_MAX = 8,
};

static struct {
    const char *data_dir, *listen;
    bool insecure;
} o = {.listen = "127.0.0.1:8080"};

static const struct option up_options[] = {
    {"data-dir", 'd', OPTION_TEXT, &o.data_dir, "DIR", "state, logs and caches; made if missing",
     .is_required = true},
    {"listen", 'l', OPTION_TEXT, &o.listen, "ADDRESS", .help = "default 127.0.0.1:8080"},
    {"insecure", 0, OPTION_FLAG, &o.insecure, NULL,
     .help = "listen on an address that others can reach, though nobody is asked who they are"},
};

static const struct option down_options[] = {
    {"data-dir", 'd', OPTION_TEXT, &o.data_dir, "DIR", "of the `culmen up` to end",
     .is_required = true},
};

static const struct usage up_usage = {
    .command = "up",
    .synopsis = "--data-dir=DIR [OPTIONS]",
    .text =
        "Runs the REST API of Vertex AI Prediction and the gateway to the deployed models on one\n"
        "port. A parent process holds the socket and two processes do the work, \"culmen up:\n"
        "gateway\" and \"culmen up: control\"; they end with it and are started again when they\n"
        "die. Replicas of deployed models go on running when this ends (SIGTERM, SIGINT): the "
        "next\n"
        "`culmen up` on the same folder takes them over. `culmen down` ends them, too.\n\n"
        "  culmen up --data-dir=/var/lib/culmen\n"
        "  culmen up --data-dir=./data --listen=127.0.0.1:9000\n\n"
        "A model to deploy is uploaded with containerSpec.imageUri \"culmen\" and artifactUri: "
        "the\n"
        "absolute path of a folder with model.onnx, model.plan or a Triton model repository, as "
        "it\n"
        "is, as file:///path, or as gs:///path for clients that pass on nothing but gs://.",
    .options = up_options,
    .n_options = ARRAY_LEN(up_options),
};

static const struct usage down_usage = {
    .command = "down",
    .synopsis = "--data-dir=DIR",
    .text =
        "Ends the `culmen up` that runs on a data folder, if one does, and all replicas of its\n"
        "deployed models. Nothing is deleted: the next `culmen up` starts them again.\n\n"
        "  culmen down --data-dir=/var/lib/culmen",
    .options = down_options,
    .n_options = ARRAY_LEN(down_options),
};

/* What the three processes share. */
struct up {
    char folder[PATH_MAX];
    char public_address[NET_ADDRESS_TEXT_SIZE];
    int lock_fd, public_fd, control_fd;
};

static int64_t now_ms(void) {
    return clock_now(clock_system()) / NS_PER_MS;
}

/* A folder that is made is the caller's alone; one that is there stays as it is. */
static status folder_make(struct error *err) {
    if (access(o.data_dir, F_OK) == 0)
        return STATUS_OK;
    TRY(file_make_folder(o.data_dir, err));
    if (chmod(o.data_dir, 0700) != 0)
        return error_set(err, file_status(errno), "data folder \"%s\": %s", o.data_dir,
                         strerror(errno));
    return STATUS_OK;
}

static status folder_enter(struct up *u, struct error *err) {
    if (chdir(o.data_dir) != 0 || !getcwd(u->folder, sizeof u->folder))
        return error_set(err, file_status(errno), "data folder \"%s\": %s", o.data_dir,
                         strerror(errno));
    return STATUS_OK;
}

/* Opens the lock file and waits up to `wait_ms` for the lock. *owner: the process that the file
 * names, 0 after an orderly end. */
static status lock_take(int *fd, int64_t wait_ms, pid_t *owner, struct error *err) {
    char text[32] = "";
    int lock_fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_fd < 0)
        return error_set(err, file_status(errno), "lock: %s", strerror(errno));
    int64_t deadline = now_ms() + wait_ms;
    int failed;
    while ((failed = flock(lock_fd, LOCK_EX | LOCK_NB)) != 0 && now_ms() < deadline)
        usleep(STEP_MS * 1000);
    if (pread(lock_fd, text, sizeof text - 1, 0) < 0)
        text[0] = '\0';
    *owner = (pid_t)atoi(text);
    if (failed) {
        close(lock_fd);
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the data folder is in use by another `culmen up` (process %d)",
                         (int)*owner);
    }
    *fd = lock_fd;
    return STATUS_OK;
}

static status lock_sign(int fd, struct error *err) {
    char text[32];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return error_set(err, file_status(errno), "lock: %s", strerror(errno));
    return STATUS_OK;
}

/* The address may be taken for a moment by what a killed `culmen up` left. */
static status listen_public(struct up *u, const struct net_address *address, int64_t wait_ms,
                            struct error *err) {
    int64_t deadline = now_ms() + wait_ms;
    status st;
    while ((st = net_listen(&u->public_fd, address, err)) == STATUS_ALREADY_EXISTS &&
           now_ms() < deadline)
        usleep(STEP_MS * 1000);
    if (st == STATUS_ALREADY_EXISTS)
        return error_wrap(err, st, "another program has the address; choose one by --listen");
    TRY(st);
    struct net_address real;
    TRY(net_address_of_socket(&real, u->public_fd, err));
    net_address_format(&real, u->public_address);
    return STATUS_OK;
}

static status prepare(struct up *u, const struct net_address *address, struct error *err) {
    struct net_address control;
    pid_t owner;
    TRY(folder_make(err));
    TRY(folder_enter(u, err));
    TRY(lock_take(&u->lock_fd, TAKE_OVER_MS, &owner, err));
    TRY(listen_public(u, address, owner ? TAKE_OVER_MS : 0, err));
    TRY(lock_sign(u->lock_fd, err));
    TRY(net_address_parse(&control, STR(CONTROL_ADDRESS), err));
    return net_listen(&u->control_fd, &control, err);
}

static int run_gateway(void *arg) {
    struct up *u = arg;
    struct gateway *g = NULL;
    struct error err;
    char quoted[LOG_QUOTE_SIZE];
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    /* Half of the machine: the other half is for the replicas. */
    int n_loops = n_cores < 4 ? 1 : n_cores / 2 < LOOPS_MAX ? (int)n_cores / 2 : LOOPS_MAX;
    close(u->control_fd);
    close(u->lock_fd);
    struct server_listen listen = {.fd = u->public_fd};
    struct gateway_options options = {
        .listens = &listen,
        .n_listens = 1,
        .routes_path = CONTROL_ROUTES_PATH,
        .control_address = CONTROL_ADDRESS,
        .n_loops = n_loops,
    };
    if (gateway_start(&g, &options, &err) != STATUS_OK) {
        log_error("gateway", "not started", "error=%s", log_quote(err.text, quoted));
        return EXIT_FAILED;
    }
    log_info("gateway", "ready", "pid=%d address=%s loops=%d", (int)getpid(), u->public_address,
             n_loops);
    child_wait();
    gateway_stop(g, DRAIN_GATEWAY_MS);
    return EXIT_OK;
}

/* It keeps the lock: nobody else may have the folder before this process has ended. */
static int run_control(void *arg) {
    struct up *u = arg;
    struct error err;
    char quoted[LOG_QUOTE_SIZE];
    close(u->public_fd);
    struct control_options options = {
        .folder = u->folder, .listen_fd = u->control_fd, .public_address = u->public_address};
    if (control_run(&options, &err) != STATUS_OK) {
        log_error("control", "not started", "error=%s", log_quote(err.text, quoted));
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

int cmd_up(int argc, char **argv) {
    struct error err;
    struct net_address address;
    struct up u = {.lock_fd = -1, .public_fd = -1, .control_fd = -1};
    int n_words;
    char **words = command_parse(&up_usage, argc, argv, &n_words);
    if (n_words > 0)
        return command_misuse(&up_usage, "unexpected argument \"%s\"", words[0]);
    if (net_address_parse(&address, str_from_c(o.listen), &err) != STATUS_OK)
        return command_misuse(&up_usage, "--listen: %s", err.text);
    if (!net_address_is_loopback(&address) && !o.insecure)
        return command_misuse(&up_usage,
                              "--listen=%s can be reached from other machines, and callers are not "
                              "asked who they are yet: use 127.0.0.1, or give --insecure",
                              o.listen);
    signal(SIGPIPE, SIG_IGN);
    file_limit_raise();
    if (prepare(&u, &address, &err) != STATUS_OK)
        return command_fail(&up_usage, &err);
    log_info("up", "listening", "address=%s data_dir=%s pid=%d", u.public_address, u.folder,
             (int)getpid());
    struct child children[] = {
        {.name = "gateway", .run = run_gateway, .arg = &u},
        {.name = "control", .run = run_control, .arg = &u},
    };
    if (supervisor_run(children, ARRAY_LEN(children), "culmen up", &err) != STATUS_OK)
        return command_fail(&up_usage, &err);
    if (ftruncate(u.lock_fd, 0) != 0)
        log_warn("up", "the lock file still names this process", "pid=%d", (int)getpid());
    log_info("up", "ended", "replicas=\"left running; culmen down --data-dir=%s ends them\"",
             u.folder);
    return EXIT_OK;
}

int cmd_down(int argc, char **argv) {
    struct error err;
    struct up u = {0};
    int n_words;
    unsigned n_replicas = 0;
    pid_t owner = 0;
    char **words = command_parse(&down_usage, argc, argv, &n_words);
    if (n_words > 0)
        return command_misuse(&down_usage, "unexpected argument \"%s\"", words[0]);
    if (folder_enter(&u, &err) != STATUS_OK)
        return command_fail(&down_usage, &err);
    if (access("lock", F_OK) != 0) {
        error_set(&err, STATUS_NOT_FOUND, "\"%s\" is no data folder of culmen up", o.data_dir);
        return command_fail(&down_usage, &err);
    }
    if (lock_take(&u.lock_fd, 0, &owner, &err) != STATUS_OK) {
        /* The lock is held, so the process that it names is the one that runs. */
        if (owner <= 1 || kill(owner, SIGTERM) != 0) {
            error_set(&err, STATUS_INTERNAL, "process %d cannot be told to end: %s", (int)owner,
                      strerror(errno));
            return command_fail(&down_usage, &err);
        }
        printf("ended culmen up, process %d\n", (int)owner);
        if (lock_take(&u.lock_fd, DOWN_MS, &owner, &err) != STATUS_OK)
            return command_fail(&down_usage, &err);
    }
    log_set_level(LOG_WARN);
    if (control_stop_replicas(u.folder, &n_replicas, &err) != STATUS_OK)
        return command_fail(&down_usage, &err);
    printf("ended %u replica%s\n", n_replicas, n_replicas == 1 ? "" : "s");
    return EXIT_OK;
}
