/* serve.h - the inference server as a whole: repository, schedulers, listeners, their start and
 * their end. cmd/serve.c fills the options from the command line and the environment. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "server/repository/repository.h"

struct serve;

struct serve_listen {
    const char *address; /* "127.0.0.1:8000"; NULL: not served, unless fd >= 0 */
    int fd;              /* an inherited listening socket, or -1 */
};

struct serve_options {
    struct repository_options repository; /* without the hooks; backends NULL: the built-in ones */
    const char *const *load_models;       /* model control explicit */
    size_t n_load_models;
    const char *server_id;
    const char *log_file; /* that stderr goes to, for who asks; NULL: none */
    struct serve_listen http, metrics, vertex;
    const char *predict_route, *health_route, *default_model; /* NULL: none */
    int n_loops;                                              /* 0: one a core */
    size_t input_size_max;
    bool does_exit_on_error, is_strict_readiness, has_access_log;
    int64_t exit_timeout_ms;
};

/* Loads the models and starts to listen. Borrows the options' texts until serve_stop(). Prints
 * Triton's table of models to stderr. The error is the text that Triton ends with:
 * "creating server: Internal - failed to load all models". */
NODISCARD status serve_start(struct serve **out, const struct serve_options *o, struct error *err);

/* Stops listening, lets requests finish (at most exit_timeout_ms), unloads. */
void serve_stop(struct serve *s);

/* Real ports, 0: not listening. */
int serve_http_port(const struct serve *s);

#endif
