/* replica PORT - an HTTP server that does nothing but answer 120 bytes: what stands behind both
 * gateways in bench/gateway/run, and the front end by itself in bench/gateway/front. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/server.h"

static const char reply[] = "{\"predictions\":[[0.12,0.34,0.56,0.78,0.90,0.12,0.34,0.56,0.78,0.90,"
                            "0.12,0.34,0.56,0.78,0.90,0.12,0.34,0.56,0.78,0.9]]}";

static void answer(struct exchange *x) {
    exchange_respond(x, &(struct response){.status = 200,
                                           .content_type = STR("application/json"),
                                           .body = &SEGMENT_STR(str_from_c(reply)),
                                           .n_body = 1});
}

static void handle(void *arg, struct exchange *x) {
    (void)arg;
    exchange_collect(x, BODY_SIZE_MAX, answer);
}

int main(int argc, char **argv) {
    char address[64];
    struct error err;
    struct server *s;
    snprintf(address, sizeof address, "127.0.0.1:%s", argc > 1 ? argv[1] : "0");
    struct server_listen listen = {.address = address, .handle = handle};
    if (server_start(&s, &(struct server_options){.listens = &listen, .n_listens = 1}, &err) !=
        STATUS_OK) {
        fprintf(stderr, "replica: %s\n", err.text);
        return EXIT_FAILURE;
    }
    sigset_t set;
    int sig;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigwait(&set, &sig);
    server_free(s);
    return EXIT_SUCCESS;
}
