#include "control/control.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "control/api/service.h"
#include "control/reconciler.h"
#include "control/routes.h"
#include "control/runtime/process.h"
#include "control/supervisor.h"
#include "net/server.h"

enum { STOP_MS = 2000, STOP_STEP_MS = 20, FOLDER_SIZE_MAX = 2000 };

/* The replicas' program is this one; the socket is descriptor 3 (runtime/process.h). */
static const char *const replica_argv[] = {"culmen", "serve", "--http-fd=3", NULL};

static status runtime_open(struct runtime **out, const char *folder, struct error *err) {
    struct process_options o = {.folder = folder, .path = "/proc/self/exe", .argv = replica_argv};
    return process_runtime_open(out, &o, err);
}

/* What file_write() leaves when its process is killed. */
static void remove_unfinished(void) {
    glob_t found;
    if (glob(CONTROL_ROUTES_PATH ".??????", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
        globfree(&found);
    }
}

static void run_reconciler(void *arg) {
    reconciler_run(arg);
}

static void settle(void *arg, int64_t revision) {
    reconciler_settle(arg, revision);
}

/* The API's server, until the process is told to end. */
static status serve_api(struct store *store, struct reconciler *reconciler,
                        const struct control_options *o, struct error *err) {
    struct api api = {.store = store,
                      .public_address = o->public_address,
                      .settle = settle,
                      .settle_arg = reconciler};
    CLEANUP(service_freep) struct service *service = NULL;
    CLEANUP(server_freep) struct server *server = NULL;
    TRY(service_start(&service, &api, err));
    struct server_listen listen = {.fd = o->listen_fd, .handle = service_handle, .arg = service};
    struct server_options options = {.listens = &listen, .n_listens = 1};
    status st = server_start(&server, &options, err);
    if (st == STATUS_OK) {
        log_info("control", "ready", "pid=%d address=%s", (int)getpid(), CONTROL_ADDRESS);
        child_wait();
        log_info("control", "stopping", "pid=%d", (int)getpid());
    }
    service_stop(service);
    if (server)
        server_drain(server, STOP_MS);
    return st;
}

status control_run(const struct control_options *o, struct error *err) {
    CLEANUP(store_closep) struct store *store = NULL;
    CLEANUP(reconciler_freep) struct reconciler *reconciler = NULL;
    CLEANUP(runtime_closep) struct runtime *runtime = NULL; /* calls the reconciler: ends first */
    struct routes routes;
    char cache[PATH_MAX];
    pthread_t thread;
    TRY(store_open(&store, CONTROL_STORE_PATH, err));
    TRY(runtime_open(&runtime, o->folder, err));
    remove_unfinished();
    routes_init(&routes, CONTROL_ROUTES_PATH);
    snprintf(cache, sizeof cache, "%.*s/%s", FOLDER_SIZE_MAX, o->folder, CONTROL_CACHE);
    struct reconciler_options options = {
        .store = store,
        .runtime = runtime,
        .clock = clock_system(),
        .cache_folder = cache,
        .publish = routes_publish,
        .publish_arg = &routes,
    };
    TRY(reconciler_new(&reconciler, &options, err));
    TRY(thread_start(&thread, "reconciler", run_reconciler, reconciler, err));
    status st = serve_api(store, reconciler, o, err);
    reconciler_stop(reconciler);
    thread_join(thread);
    return st;
}

/* Tells each set that is there to stop; returns how many replicas are left. */
static status stop_step(struct runtime *r, size_t *n_left, struct error *err) {
    struct arena a = {0};
    struct replica_status *replicas;
    status st = r->driver->list(r, &a, &replicas, n_left, err);
    for (size_t i = 0; i < *n_left && st == STATUS_OK; i++) {
        int64_t wake_ns;
        struct runtime_set set = {
            .name = replicas[i].set, .health_route = "/", .drain_ms = DRAIN_MS};
        st = r->driver->apply(r, &set, &wake_ns, err);
    }
    arena_release(&a);
    return st;
}

status control_stop_replicas(const char *folder, unsigned *n, struct error *err) {
    CLEANUP(runtime_closep) struct runtime *r = NULL;
    size_t n_left = 0;
    TRY(runtime_open(&r, folder, err));
    TRY(stop_step(r, &n_left, err));
    *n = (unsigned)n_left;
    int64_t deadline = clock_now(clock_system()) + (DRAIN_MS + 10000) * (int64_t)NS_PER_MS;
    while (n_left > 0) {
        if (clock_now(clock_system()) > deadline)
            return error_set(err, STATUS_DEADLINE_EXCEEDED, "%zu replicas do not end", n_left);
        usleep(STOP_STEP_MS * 1000);
        TRY(stop_step(r, &n_left, err));
    }
    return STATUS_OK;
}
