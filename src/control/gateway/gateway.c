#include "control/gateway/gateway.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "control/gateway/gateway_internal.h"

enum { WATCH_MS = 1000 }; /* a change that inotify does not tell is seen after this time */

struct gateway {
    struct server *server;
    char *routes_path, *control_address;
    int n_loops;
    struct gateway_loop loops[SERVER_LOOPS_MAX];

    /* The watcher's: a thread that reads the snapshot and sends it to the loops. */
    pthread_t watcher;
    bool has_watcher;
    int stop_fd, notify_fd;
    struct timespec seen_time;
    ino_t seen_inode;
    struct shared_table *first; /* what loops start with */
};

/* --- tables to loops --- */

struct delivery {
    struct loop_task task;
    struct gateway_loop *home;
    struct shared_table *shared;
};

static void use_shared(struct gateway_loop *home, struct shared_table *shared) {
    struct table *old = home->table;
    home->table = table_new(&home->backends, shared);
    table_unref(old);
    relay_rescue(home);
}

static void receive_table(struct loop_task *t) {
    struct delivery *d = (struct delivery *)t;
    use_shared(d->home, d->shared);
    shared_table_unref(d->shared);
    free(d);
}

static void deliver(struct gateway *g, struct shared_table *shared) {
    for (int i = 0; i < g->n_loops; i++) {
        struct delivery *d = malloc(sizeof *d);
        if (!d)
            abort();
        *d = (struct delivery){
            .task.run = receive_table, .home = &g->loops[i], .shared = shared_table_ref(shared)};
        loop_post(server_loop(g->server, i), &d->task);
    }
}

/* --- the watcher --- */

/* Reads the snapshot if it is another file than the one seen last. NULL: nothing new. */
static struct shared_table *read_new_table(struct gateway *g) {
    struct stat st;
    struct error err;
    char quoted[LOG_QUOTE_SIZE];
    if (stat(g->routes_path, &st) != 0 ||
        (st.st_ino == g->seen_inode && st.st_mtim.tv_sec == g->seen_time.tv_sec &&
         st.st_mtim.tv_nsec == g->seen_time.tv_nsec))
        return NULL;
    g->seen_inode = st.st_ino;
    g->seen_time = st.st_mtim;
    struct shared_table *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    atomic_init(&t->refs, 1);
    if (route_table_read(&t->routes, g->routes_path, &err) != STATUS_OK) {
        log_error("gateway", "routes not read, the last ones stay", "error=%s",
                  log_quote(err.text, quoted));
        free(t);
        return NULL;
    }
    log_info("gateway", "routes read", "generation=%llu endpoints=%zu",
             (unsigned long long)t->routes.generation, t->routes.n_endpoints);
    return t;
}

static void watch_folder(struct gateway *g) {
    char folder[PATH_MAX];
    const char *slash = strrchr(g->routes_path, '/');
    int n = slash ? (int)(slash - g->routes_path) : 1;
    snprintf(folder, sizeof folder, "%.*s", n ? n : 1, slash ? g->routes_path : ".");
    g->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (g->notify_fd >= 0)
        inotify_add_watch(g->notify_fd, folder, IN_MOVED_TO | IN_CLOSE_WRITE);
}

static void watch(void *arg) {
    struct gateway *g = arg;
    char events[4096];
    for (;;) {
        struct pollfd p[] = {{.fd = g->stop_fd, .events = POLLIN},
                             {.fd = g->notify_fd, .events = POLLIN}};
        int n = poll(p, 2, WATCH_MS);
        if (n > 0 && p[0].revents)
            return;
        if (n > 0 && p[1].revents)
            while (read(g->notify_fd, events, sizeof events) > 0)
                ;
        struct shared_table *t = read_new_table(g);
        if (t)
            deliver(g, t);
        shared_table_unref(t);
    }
}

/* --- loops --- */

static void loop_started(void *arg, struct loop *l, int index) {
    struct gateway *g = arg;
    struct gateway_loop *home = &g->loops[index];
    struct error err;
    *home = (struct gateway_loop){.gateway = g, .loop = l};
    loop_set_user(l, home);
    if (client_new(&home->client, l, &err) != STATUS_OK ||
        client_peer(&home->control.peer, home->client, str_from_c(g->control_address), &err) !=
            STATUS_OK)
        abort(); /* out of memory: the address has been checked */
    home->backends.client = home->client;
    home->backends.random = (uint64_t)clock_now(clock_system()) * 2 + 1 + (uint64_t)index * 1000003;
    if (g->first)
        use_shared(home, g->first);
}

static void loop_ending(void *arg, struct loop *l, int index) {
    struct gateway *g = arg;
    struct gateway_loop *home = &g->loops[index];
    (void)l;
    table_unref(home->table);
    backends_done(&home->backends);
    client_free(home->client);
    relay_free_spare(home);
}

/* --- public --- */

static str server_error_body(struct arena *a, int code, const char *text) {
    return error_body(a, code, str_from_c(text));
}

/* Before the loops end: it posts to them. */
static void stop_watcher(struct gateway *g) {
    uint64_t one = 1;
    if (!g->has_watcher)
        return;
    ssize_t n = write(g->stop_fd, &one, sizeof one);
    (void)n;
    thread_join(g->watcher);
    g->has_watcher = false;
}

static void gateway_free(struct gateway *g) {
    stop_watcher(g);
    server_free(g->server);
    shared_table_unref(g->first);
    if (g->stop_fd >= 0)
        close(g->stop_fd);
    if (g->notify_fd >= 0)
        close(g->notify_fd);
    free(g->routes_path);
    free(g->control_address);
    free(g);
}
DEFINE_CLEANUP(struct gateway, gateway_free)

status gateway_start(struct gateway **out, const struct gateway_options *o, struct error *err) {
    struct net_address address;
    struct server_listen listens[SERVER_LISTENS_MAX];
    CLEANUP(gateway_freep) struct gateway *g = calloc(1, sizeof *g);
    if (!g)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a gateway");
    g->notify_fd = -1;
    g->stop_fd = eventfd(0, EFD_CLOEXEC);
    g->routes_path = strdup(o->routes_path);
    g->control_address = strdup(o->control_address);
    if (!g->routes_path || !g->control_address || g->stop_fd < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a gateway");
    TRY(net_address_parse(&address, str_from_c(o->control_address), err));
    if (o->n_listens > SERVER_LISTENS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu listeners, at most %d", o->n_listens,
                         SERVER_LISTENS_MAX);
    for (size_t i = 0; i < o->n_listens; i++)
        listens[i] = (struct server_listen){.address = o->listens[i].address,
                                            .fd = o->listens[i].fd,
                                            .handle = relay_handle,
                                            .error_body = server_error_body};
    g->n_loops = o->n_loops ? o->n_loops : 1;
    watch_folder(g);
    g->first = read_new_table(g);
    TRY(server_start(&g->server,
                     &(struct server_options){.listens = listens,
                                              .n_listens = o->n_listens,
                                              .n_loops = g->n_loops,
                                              .loop_started = loop_started,
                                              .loop_ending = loop_ending,
                                              .loop_arg = g},
                     err));
    TRY(thread_start(&g->watcher, "routes", watch, g, err));
    g->has_watcher = true;
    *out = TAKE(g);
    return STATUS_OK;
}

int gateway_port(const struct gateway *g, size_t index) {
    return server_port(g->server, index);
}

void gateway_stop(struct gateway *g, int64_t timeout_ms) {
    if (!g)
        return;
    stop_watcher(g);
    server_drain(g->server, timeout_ms);
    gateway_free(g);
}
