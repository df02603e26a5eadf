/* serve.c - `culmen serve`: the inference server, with Triton's flag names. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "command.h"
#include "server/serve.h"

enum {
    PORTS_TEXT_SIZE = 300,
    MEMORY_GIB_MAX = 4096,
    STOP_GRACE_S = 5, /* past the exit time-out a stop that hangs is ended */
    /* A request with instances is one batch: whoever serves a folder by AIP_STORAGE_URI has not
     * thought of Triton's default of 4. */
    FLAT_MAX_BATCH_SIZE = 128
};

static struct {
    struct option_list repositories, load_models, backend_config, ignored, restricted;
    const char *http_address, *metrics_address, *vertex_address, *id, *control, *default_model;
    const char *cache_dir, *config_name, *log_file;
    int64_t http_port, metrics_port, vertex_port, threads, http_fd, metrics_fd, poll_secs;
    int64_t exit_timeout_secs, load_threads, input_size_max, compile_timeout_secs, compile_memory;
    int64_t verbose;
    bool allow_http, allow_metrics, allow_vertex, exit_on_error, strict_readiness, access_log;
    bool no_auto_complete, strict_config, has_namespaces;
} o = {
    .id = "triton",
    .control = "none",
    .http_port = 8000,
    .metrics_port = 8002,
    .vertex_port = -1,
    .http_fd = -1,
    .metrics_fd = -1,
    .poll_secs = 15,
    .exit_timeout_secs = 30,
    .load_threads = 4,
    .exit_on_error = true,
    .strict_readiness = true,
};

/* Triton's flags that change nothing here: accepted, so that command lines need no edit, and
 * named once in the log. */
#define IGNORED(name)                                                                              \
    {name,                                                                                         \
     0,                                                                                            \
     OPTION_LIST,                                                                                  \
     &o.ignored,                                                                                   \
     "VALUE",                                                                                      \
     .help = "accepted, without effect",                                                           \
     .is_hidden = true}

static const struct option options[] = {
    {"model-repository", 0, OPTION_LIST, &o.repositories, "DIR",
     .help = "folder of models; may be given several times"},
    {"model-store", 0, OPTION_LIST, &o.repositories, "DIR", .help = "the same", .is_hidden = true},
    {"model-control-mode", 0, OPTION_TEXT, &o.control, "MODE",
     .help = "none (load all at start), poll, or explicit (default none)"},
    {"load-model", 0, OPTION_LIST, &o.load_models, "NAME",
     .help = "model to load at start in explicit mode; * is all"},
    {"repository-poll-secs", 0, OPTION_INT, &o.poll_secs, "S",
     .help = "poll mode's interval (default 15)", .min = 1, .max = 86400},
    {"model-load-thread-count", 0, OPTION_INT, &o.load_threads, "N",
     .help = "models loaded at the same time (default 4)", .min = 1,
     .max = REPOSITORY_LOAD_THREADS_MAX},
    {"disable-auto-complete-config", 0, OPTION_FLAG, &o.no_auto_complete, NULL,
     .help = "take config.pbtxt as it is"},
    {"strict-model-config", 0, OPTION_FLAG, &o.strict_config, NULL, .help = "the same",
     .is_hidden = true},
    {"model-config-name", 0, OPTION_TEXT, &o.config_name, "NAME",
     .help = "use a model's configs/NAME.pbtxt where it has one"},
    {"backend-config", 0, OPTION_LIST, &o.backend_config, "[BACKEND,]KEY=VALUE",
     .help = "default-max-batch-size=N"},
    {"exit-on-error", 0, OPTION_FLAG, &o.exit_on_error, NULL,
     .help = "end when a model cannot be loaded at start (default true)"},
    {"strict-readiness", 0, OPTION_FLAG, &o.strict_readiness, NULL,
     .help = "ready only when every model is (default true)"},
    {"exit-timeout-secs", 0, OPTION_INT, &o.exit_timeout_secs, "S",
     .help = "how long requests may take to finish on SIGTERM (default 30)", .min = 0,
     .max = 86400},
    {"id", 0, OPTION_TEXT, &o.id, "NAME", .help = "name in server metadata (default triton)"},
    {"allow-http", 0, OPTION_FLAG, &o.allow_http, NULL, .help = "serve HTTP (default true)"},
    {"http-address", 0, OPTION_TEXT, &o.http_address, "ADDRESS",
     .help = "default 127.0.0.1; 0.0.0.0 when called as tritonserver or with AIP_* set"},
    {"http-port", 0, OPTION_INT, &o.http_port, "PORT", .help = "default 8000; 0: any free one",
     .min = 0, .max = 65535},
    {"http-thread-count", 0, OPTION_INT, &o.threads, "N",
     .help = "event loops (default: one a core)", .min = 1, .max = 64},
    {"http-max-input-size", 0, OPTION_INT, &o.input_size_max, "BYTES",
     .help = "largest JSON body (default 64 MiB)", .min = 1, .max = INT64_MAX / 16},
    {"allow-metrics", 0, OPTION_FLAG, &o.allow_metrics, NULL,
     .help = "serve Prometheus metrics (default true)"},
    {"metrics-address", 0, OPTION_TEXT, &o.metrics_address, "ADDRESS",
     .help = "default as http-address"},
    {"metrics-port", 0, OPTION_INT, &o.metrics_port, "PORT", .help = "default 8002", .min = 0,
     .max = 65535},
    {"allow-vertex-ai", 0, OPTION_FLAG, &o.allow_vertex, NULL,
     .help =
         "serve Vertex AI's container contract (default: when AIP_HTTP_PORT is set, or AIP_MODE "
         "is PREDICTION)"},
    {"vertex-ai-port", 0, OPTION_INT, &o.vertex_port, "PORT",
     .help = "default AIP_HTTP_PORT, or 8080", .min = 0, .max = 65535},
    {"vertex-ai-default-model", 0, OPTION_TEXT, &o.default_model, "NAME",
     .help = "model of the predict route (default: the only one)"},
    {"cache-dir", 0, OPTION_TEXT, &o.cache_dir, "DIR",
     .help = "where compiled plans are kept (default CULMEN_CACHE_DIR, else the user's cache)"},
    {"compile-timeout-secs", 0, OPTION_INT, &o.compile_timeout_secs, "S",
     .help = "longest compilation of one model.onnx (default 600)", .min = 1, .max = 86400},
    {"compile-memory-gib", 0, OPTION_INT, &o.compile_memory, "GIB",
     .help = "most memory of one compilation (default 90 % of the machine's)", .min = 1,
     .max = MEMORY_GIB_MAX},
    {"access-log", 0, OPTION_FLAG, &o.access_log, NULL, .help = "one line a request on stderr"},
    {"log-file", 0, OPTION_TEXT, &o.log_file, "FILE", .help = "append the log to FILE"},
    {"log-verbose", 0, OPTION_INT, &o.verbose, "LEVEL", .help = "1 and more: debug messages"},
    {"http-restricted-api", 0, OPTION_LIST, &o.restricted, "APIS:KEY=VALUE", .is_hidden = true},
    {"model-namespacing", 0, OPTION_FLAG, &o.has_namespaces, NULL, .is_hidden = true},
    {"http-fd", 0, OPTION_INT, &o.http_fd, "FD", .help = "inherited listening socket", .min = 0,
     .max = 1 << 20, .is_hidden = true},
    {"metrics-fd", 0, OPTION_INT, &o.metrics_fd, "FD", .help = "inherited listening socket",
     .min = 0, .max = 1 << 20, .is_hidden = true},
#define FLAG(name) IGNORED(name),
#include "serve_ignored.def"
#undef FLAG
};

static const struct usage usage = {
    .command = "serve",
    .synopsis = "--model-repository=DIR [OPTIONS]",
    .text = "Serves the models of a Triton model repository: KServe v2 over HTTP, Prometheus "
            "metrics, and\nVertex AI's container contract. A model.onnx is compiled when it is "
            "loaded.\n\n"
            "  culmen serve --model-repository=models\n"
            "  AIP_HTTP_PORT=8080 AIP_PREDICT_ROUTE=/predict AIP_HEALTH_ROUTE=/health \\\n"
            "      AIP_STORAGE_URI=model/ culmen serve",
    .options = options,
    .n_options = ARRAY_LEN(options),
};

static bool is_given(int argc, char *const *argv, const char *name) {
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "--", 2) && !strncmp(argv[i] + 2, name, n) &&
            (argv[i][2 + n] == 0 || argv[i][2 + n] == '='))
            return true;
    return false;
}

/* Started as a container of Vertex AI's; other values of AIP_MODE mean nothing. */
static bool has_vertex_environment(void) {
    const char *mode = getenv("AIP_MODE");
    return getenv("AIP_HTTP_PORT") || (mode && !strcmp(mode, "PREDICTION"));
}

static const char *const ignored_names[] = {
#define FLAG(name) name,
#include "serve_ignored.def"
#undef FLAG
};

static void warn_of_ignored(int argc, char *const *argv) {
    char names[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < ARRAY_LEN(ignored_names) && used < sizeof names; i++)
        if (is_given(argc, argv, ignored_names[i]))
            used += (size_t)snprintf(names + used, sizeof names - used, "%s--%s", used ? "," : "",
                                     ignored_names[i]);
    if (used)
        log_warn("serve", "flags without effect in this server", "flags=%s", names);
}

/* Triton's flags that would be dangerous to ignore. */
static status refuse_missing(struct error *err) {
    if (o.restricted.n)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "--http-restricted-api: this server cannot restrict its API by a header; "
                         "without that it would be open to every client");
    if (o.has_namespaces)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "--model-namespacing: this server has one name space of models");
    return STATUS_OK;
}

static status open_log(struct error *err) {
    if (!o.log_file)
        return STATUS_OK;
    int fd = open(o.log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "--log-file=%s: %s", o.log_file,
                         strerror(errno));
    close(fd);
    return STATUS_OK;
}

/* "127.0.0.1" and a port, or Triton's "ipv6:[::1]", as net/address.h reads them. */
static const char *join(char out[PORTS_TEXT_SIZE], const char *address, int64_t port) {
    if (!strncmp(address, "ipv6:", 5))
        address += 5;
    bool is_bare_v6 = strchr(address, ':') && address[0] != '[';
    snprintf(out, PORTS_TEXT_SIZE, is_bare_v6 ? "[%s]:%d" : "%s:%d", address, (int)port);
    return out;
}

static status read_control(model_control *out, struct error *err) {
    static const char *const names[] = {"none", "poll", "explicit"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(o.control, names[i])) {
            *out = (model_control)i;
            if (o.load_models.n && *out != MODEL_CONTROL_EXPLICIT)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "Error: Use of '--load-model' requires setting "
                                 "'--model-control-mode=explicit' as well.");
            return STATUS_OK;
        }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "--model-control-mode is \"%s\", want none, poll or explicit", o.control);
}

static status read_backend_config(int64_t *max_batch_size, struct error *err) {
    *max_batch_size = DEFAULT_MAX_BATCH_SIZE;
    for (size_t i = 0; i < o.backend_config.n; i++) {
        str text = str_from_c(o.backend_config.items[i]);
        ptrdiff_t comma = str_find(text, ','), equals;
        if (comma >= 0)
            text = str_slice(text, (size_t)comma + 1, text.n);
        equals = str_find(text, '=');
        if (equals < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "--backend-config=%s: want [BACKEND,]KEY=VALUE",
                             o.backend_config.items[i]);
        str key = str_slice(text, 0, (size_t)equals);
        str value = str_slice(text, (size_t)equals + 1, text.n);
        if (!str_eq(key, STR("default-max-batch-size"))) {
            log_warn("serve", "backend-config without effect", "key=%.*s", STR_ARG(key));
            continue;
        }
        if (!str_to_int64(value, max_batch_size) || *max_batch_size < 0 ||
            *max_batch_size > MODEL_BATCH_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "default-max-batch-size is \"%.*s\", want 0..%d", STR_ARG(value),
                             MODEL_BATCH_MAX);
    }
    return STATUS_OK;
}

/* A folder that holds a model file itself is one model; any other is a repository. */
static bool is_model_folder(const char *path) {
    char file[4096];
    static const char *const names[] = {"model.plan", "model.onnx"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        if (access(file, R_OK) == 0)
            return true;
    }
    return false;
}

static status read_storage_uri(struct repository_options *r, struct error *err) {
    const char *uri = getenv("AIP_STORAGE_URI");
    static const char *single[1];
    if (o.repositories.n || !uri || !*uri)
        return STATUS_OK;
    if (!strncmp(uri, "file://", 7))
        uri += 7;
    else if (strstr(uri, "://"))
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "AIP_STORAGE_URI is \"%s\": this server reads a path or file://, not a "
                         "bucket",
                         uri);
    if (is_model_folder(uri)) {
        r->flat_folder = uri;
        if (o.backend_config.n == 0)
            r->default_max_batch_size = FLAT_MAX_BATCH_SIZE;
    } else {
        single[0] = uri;
        r->paths = single;
        r->n_paths = 1;
    }
    return STATUS_OK;
}

static status fill_repository(struct repository_options *r, struct error *err) {
    *r = (struct repository_options){
        .paths = o.repositories.items,
        .n_paths = o.repositories.n,
        .config_name = o.config_name,
        .poll_interval_ms = o.poll_secs * 1000,
        .is_auto_complete_off = o.no_auto_complete || o.strict_config,
        .n_load_threads = (size_t)o.load_threads,
        .compile = {.cache_dir = o.cache_dir,
                    .timeout_ms = o.compile_timeout_secs * 1000,
                    .memory_max = (uint64_t)o.compile_memory << 30},
    };
    for (size_t i = 0; i < r->n_paths; i++)
        if (strstr(r->paths[i], "://"))
            return error_set(err, STATUS_UNIMPLEMENTED,
                             "--model-repository is \"%s\": this server reads folders, not buckets",
                             r->paths[i]);
    TRY(read_control(&r->control, err));
    TRY(read_backend_config(&r->default_max_batch_size, err));
    TRY(read_storage_uri(r, err));
    if (r->n_paths == 0 && !r->flat_folder)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "creating server: Invalid argument - --model-repository must be "
                         "specified");
    return STATUS_OK;
}

static status fill_vertex(struct serve_options *s, bool is_on, struct error *err) {
    s->predict_route = getenv("AIP_PREDICT_ROUTE");
    s->health_route = getenv("AIP_HEALTH_ROUTE");
    s->default_model = o.default_model;
    if (!is_on)
        return STATUS_OK;
    static const char form[] =
        "failed to start Vertex AI service: Invalid argument - %s is not defined for Vertex AI "
        "endpoint";
    if (!s->predict_route || !*s->predict_route)
        return error_set(err, STATUS_INVALID_ARGUMENT, form, "API_PREDICT_ROUTE");
    if (!s->health_route || !*s->health_route)
        return error_set(err, STATUS_INVALID_ARGUMENT, form, "AIP_HEALTH_ROUTE");
    return STATUS_OK;
}

static status vertex_port(int64_t *out, struct error *err) {
    const char *text = getenv("AIP_HTTP_PORT");
    *out = o.vertex_port >= 0 ? o.vertex_port : 8080;
    if (o.vertex_port >= 0 || !text || !*text)
        return STATUS_OK;
    if (!str_to_int64(str_from_c(text), out) || *out < 0 || *out > 65535)
        return error_set(err, STATUS_INVALID_ARGUMENT, "AIP_HTTP_PORT is \"%s\", want a port",
                         text);
    return STATUS_OK;
}

static status fill(struct serve_options *s, bool is_triton, struct error *err) {
    static char http[PORTS_TEXT_SIZE], metrics[PORTS_TEXT_SIZE], vertex[PORTS_TEXT_SIZE];
    bool has_aip = has_vertex_environment();
    const char *address = o.http_address         ? o.http_address
                          : is_triton || has_aip ? "0.0.0.0"
                                                 : "127.0.0.1";
    int64_t port;
    *s = (struct serve_options){.load_models = o.load_models.items,
                                .n_load_models = o.load_models.n,
                                .server_id = o.id,
                                .log_file = o.log_file,
                                .http = {.fd = (int)o.http_fd},
                                .metrics = {.fd = (int)o.metrics_fd},
                                .vertex = {.fd = -1},
                                .n_loops = (int)o.threads,
                                .input_size_max = (size_t)o.input_size_max,
                                .does_exit_on_error = o.exit_on_error,
                                .is_strict_readiness = o.strict_readiness,
                                .has_access_log = o.access_log,
                                .exit_timeout_ms = o.exit_timeout_secs * 1000};
    TRY(fill_repository(&s->repository, err));
    TRY(fill_vertex(s, o.allow_vertex, err));
    TRY(vertex_port(&port, err));
    if (o.allow_http && o.http_fd < 0)
        s->http.address = join(http, address, o.http_port);
    if (o.allow_metrics && o.metrics_fd < 0)
        s->metrics.address =
            join(metrics, o.metrics_address ? o.metrics_address : address, o.metrics_port);
    if (o.allow_vertex)
        s->vertex.address = join(vertex, address, port);
    return STATUS_OK;
}

/* What is on unless said otherwise depends on how and where the program was started. */
static void set_defaults(int argc, char *const *argv) {
    bool has_aip = has_vertex_environment();
    bool is_inherited = is_given(argc, argv, "http-fd");
    o.allow_http = !has_aip || is_given(argc, argv, "http-port");
    o.allow_metrics = !is_inherited;
    o.allow_vertex = has_aip && !is_inherited;
}

/* Waits for SIGTERM or SIGINT on a thread of its own. Before the server has started there is
 * nothing to drain, and loading may take long: the program ends at once. */
struct end {
    sigset_t signals;
    struct mutex lock;
    struct cond changed;
    bool has_started, has_come;
};

static void wait_for_end(void *arg) {
    struct end *e = arg;
    int number = 0;
    sigwait(&e->signals, &number);
    log_info("serve", "signal received", "signal=%d", number);
    mutex_lock(&e->lock);
    if (!e->has_started)
        _exit(EXIT_OK);
    e->has_come = true;
    cond_signal(&e->changed);
    mutex_unlock(&e->lock);
}

static status end_watch(struct end *e, struct error *err) {
    pthread_t thread;
    sigemptyset(&e->signals);
    sigaddset(&e->signals, SIGTERM);
    sigaddset(&e->signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &e->signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    mutex_init(&e->lock);
    cond_init(&e->changed);
    TRY(thread_start(&thread, "signals", wait_for_end, e, err));
    pthread_detach(thread);
    return STATUS_OK;
}

static void end_await(struct end *e) {
    mutex_lock(&e->lock);
    e->has_started = true;
    while (!e->has_come)
        cond_wait(&e->changed, &e->lock);
    mutex_unlock(&e->lock);
    pthread_sigmask(SIG_UNBLOCK, &e->signals, NULL); /* a second signal ends at once */
}

int cmd_serve(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    bool is_triton = !strcmp(slash ? slash + 1 : argv[0], "tritonserver");
    int n_words;
    set_defaults(argc, argv);
    warn_of_ignored(argc, argv);
    char **words = command_parse(&usage, argc, argv, &n_words);
    if (n_words > 0)
        return command_misuse(&usage, "unexpected argument \"%s\"", words[0]);
    if (o.verbose > 0)
        log_set_level(LOG_DEBUG);

    file_limit_raise();
    static struct end end;
    struct error err = {0};
    struct serve_options s;
    struct serve *serve = NULL;
    status code = open_log(&err);
    if (code == STATUS_OK)
        code = refuse_missing(&err);
    if (code == STATUS_OK)
        code = end_watch(&end, &err);
    if (code == STATUS_OK)
        code = fill(&s, is_triton, &err);
    if (code == STATUS_OK)
        code = serve_start(&serve, &s, &err);
    if (code != STATUS_OK) {
        fprintf(stderr, "error: %s\n", err.text);
        return EXIT_FAILED;
    }
    end_await(&end);
    alarm((unsigned)(o.exit_timeout_secs + STOP_GRACE_S));
    serve_stop(serve);
    return EXIT_OK;
}
