/* front PORT ROUTES - the gateway alone, with one loop, for a route snapshot that stands in a
 * file: `culmen up` without control. Ends on SIGTERM. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/gateway/gateway.h"

int main(int argc, char **argv) {
    if (argc < 3)
        return fprintf(stderr, "usage: front PORT ROUTES\n"), 2;
    char address[64];
    struct error err;
    struct gateway *g;
    snprintf(address, sizeof address, "127.0.0.1:%s", argv[1]);
    struct server_listen listen = {.address = address};
    if (gateway_start(&g,
                      &(struct gateway_options){.listens = &listen,
                                                .n_listens = 1,
                                                .routes_path = argv[2],
                                                .control_address = "127.0.0.1:1"},
                      &err) != STATUS_OK)
        return fprintf(stderr, "front: %s\n", err.text), 1;
    sigset_t set;
    int sig;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigwait(&set, &sig);
    gateway_stop(g, 1000);
    return EXIT_SUCCESS;
}
