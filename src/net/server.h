/* server.h - listeners and loops: accepts connections and gives each request to a handler. */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/status.h"
#include "net/address.h"
#include "net/exchange.h"
#include "net/loop.h"

struct server;

/* A place to listen. `handle` is called on a loop's thread once the headers of a request are
 * there (exchange.h says what it owes). */
struct server_listen {
    const char *address; /* net/address.h; NULL: `fd` is given */
    int fd;              /* a listening socket, inherited or made by net_listen(); taken */
    void (*handle)(void *arg, struct exchange *x);
    void *arg;
    /* The JSON body of an answer that the connection gives by itself (400, 408, 413...). NULL:
     * {"error":"TEXT"}. `text` needs no escaping. */
    str (*error_body)(struct arena *a, int code, const char *text);
};

enum {
    SERVER_LISTENS_MAX = 8,
    SERVER_LOOPS_MAX = 64,
    SERVER_CONNECTIONS_MAX = 16384, /* default of connections_max */
    IDLE_TIMEOUT_MS = 75000,        /* between requests */
    HEAD_TIMEOUT_MS = 10000,        /* from the first byte of a request to its last header */
    BODY_GRACE_MS = 10000,          /* a body may be slower than BODY_RATE_MIN this long */
    BODY_RATE_MIN = 1024,           /* bytes a second */
    WRITE_TIMEOUT_MS = 30000,       /* without any byte taken by the client */
};

#define SERVER_BODIES_SIZE_MAX ((size_t)4 << 30) /* default of bodies_size_max */

struct server_options {
    const struct server_listen *listens;
    size_t n_listens;
    int n_loops; /* 0: 1 */
    size_t
        connections_max; /* of the server; past it an accepted connection is closed. 0: default */
    size_t bodies_size_max;  /* bytes of all bodies that are being collected; past it 503 */
    int64_t idle_timeout_ms; /* 0: the defaults above */
    int64_t head_timeout_ms;
    int64_t body_grace_ms;
    int64_t write_timeout_ms;

    /* Called on each loop's thread before its first and after its last event; `index` counts
     * loops from 0. For what a handler keeps per loop (loop_set_user()). */
    void (*loop_started)(void *arg, struct loop *l, int index);
    void (*loop_ending)(void *arg, struct loop *l, int index);
    void *loop_arg;
};

/* Listens and starts the loop threads. ALREADY_EXISTS: an address is in use. */
NODISCARD status server_start(struct server **out, const struct server_options *o,
                              struct error *err);

/* Where listener `index` listens, its real port included. */
const struct net_address *server_address(const struct server *s, size_t index);
int server_port(const struct server *s, size_t index);

struct loop *server_loop(const struct server *s, int index);
size_t server_n_connections(const struct server *s); /* any thread */

/* Graceful end: stops listening, closes idle connections, lets exchanges finish (their
 * responses say Connection: close), and after `timeout_ms` cuts what is left. Blocks until
 * the loop threads have ended; not from a loop thread. */
void server_drain(struct server *s, int64_t timeout_ms);

/* Frees a server; drains it with a time-out of 0 if that has not been done. Every exchange
 * must have been answered: stop what answers from other threads first. */
void server_free(struct server *s);
DEFINE_CLEANUP(struct server, server_free)

#endif
