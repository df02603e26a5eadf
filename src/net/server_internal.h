/* server_internal.h - what server.c, connection*.c and exchange.c share. */
#ifndef NET_SERVER_INTERNAL_H
#define NET_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "net/http1.h"
#include "net/server.h"

enum {
    INPUT_SIZE = 16 * 1024,                            /* of a connection's read buffer */
    INPUT_SIZE_MAX = HTTP1_HEAD_SIZE_MAX + INPUT_SIZE, /* when a head does not fit */
    POOL_MAX = 64,                                     /* spare buffers and arenas per loop */
    DISCARD_SIZE_MAX = 1024 * 1024,       /* of a body nobody asked for; past it: close */
    LINGER_SIZE_MAX = 1024 * 1024 * 1024, /* read and dropped so that a refusal gets through */
    BODY_ROOM_MIN = 4096,                 /* behind a head, for pieces of the body */
    LINGER_TIMEOUT_MS = 10000,
};

struct connection;
struct server_loop;

struct accept_watch {
    struct loop_watch watch;
    struct server_loop *self;
    size_t index; /* of the listener */
    bool is_watched;
};

/* One loop of a server, and what its connections share. Owned by its thread; n_connections is
 * read by the others, which give new connections to the loop that has the fewest. */
struct server_loop {
    struct server *server;
    struct loop *loop;
    pthread_t thread;
    int index;
    struct accept_watch accepts[SERVER_LISTENS_MAX];
    struct connection *connections; /* a list */
    atomic_size_t n_connections;
    bool is_draining;
    struct loop_task drain;
    struct loop_timer drain_end;
    struct loop_timer pause; /* of accepting, while there are no descriptors */

    char *inputs[POOL_MAX];
    size_t n_inputs;
    struct arena arenas[POOL_MAX];
    size_t n_arenas;
};

struct server {
    struct server_options options;
    struct server_listen listens[SERVER_LISTENS_MAX];
    struct net_address addresses[SERVER_LISTENS_MAX];
    struct server_loop *loops;
    int n_loops, n_started;
    atomic_size_t n_connections;
    atomic_size_t bodies_size; /* capacity of all collected bodies */
    int64_t drain_timeout_ms;
    atomic_bool is_over;     /* draining, or drained */
    _Atomic int n_listening; /* loops that watch the listeners */
};

typedef enum connection_state {
    CONNECTION_HEAD,     /* waits for a request, or has a part of its head */
    CONNECTION_HANDLED,  /* the exchange is the handler's */
    CONNECTION_ANSWERED, /* the rest of the response waits for the client */
    CONNECTION_DISCARD,  /* reads the rest of a body that nobody asked for */
    CONNECTION_LINGER,   /* has said its last; reads until the client has read it */
} connection_state;

typedef enum body_mode { BODY_UNWANTED, BODY_COLLECTED, BODY_STREAMED, BODY_OVER } body_mode;

struct connection {
    struct loop_watch watch; /* edge-triggered, in and out, once and for all */
    struct loop_timer timer;
    struct server_loop *home;
    struct connection *next, **link;
    const struct server_listen *listen;
    struct net_address peer;
    struct loop_task task; /* arrival at its loop; later exchange_post() */
    void (*posted)(struct exchange *x);

    connection_state state;
    bool is_readable; /* the socket may hold bytes */
    bool hung_up;     /* the client has closed its side; there may be bytes before the end */
    bool saw_end;     /* and they have been read */
    bool is_broken;   /* nothing can be written any more */
    bool is_running;  /* within connection_run() */
    bool keep_alive;

    char *input; /* bytes read and not used: input[from..to) */
    size_t from, to, input_capacity;
    size_t held; /* input[0..held) has views: the head that is being handled */
    struct http1_scan scan;
    struct http1_body framing;
    int64_t began_ns; /* of the head or the body that is being read */

    body_mode mode;
    bool expects_continue; /* and has not been told to go on */
    bool is_paused;
    size_t collect_max;
    void (*collected)(struct exchange *x);
    void (*piece)(struct exchange *x, str bytes, bool is_last);
    char *body; /* a collected body that did not fit the input buffer */
    size_t body_n, body_capacity;

    struct segment_queue out;
    bool is_streaming;    /* between exchange_start() and exchange_finish() */
    bool sends_chunks;    /* of the streamed response */
    bool hides_body;      /* HEAD, 204, 304 */
    int64_t last_take_ns; /* when the client last took bytes */
    void (*drained)(struct exchange *x);

    struct exchange x;
};

static inline struct connection *connection_of(const struct exchange *x) {
    return (struct connection *)((uintptr_t)x - offsetof(struct connection, x));
}

/* Takes `fd`. To be called on the loop's thread. */
void connection_open(struct server_loop *home, const struct server_listen *listen, int fd,
                     const struct net_address *peer);

/* Does what can be done now: parses, reads, hands over, writes. May free the connection. */
void connection_run(struct connection *c);

/* Reads what is there into p[0..n) and says how much; 0: nothing, or the end or an error, noted. */
size_t connection_read_socket(struct connection *c, char *p, size_t n);
bool connection_read(struct connection *c); /* into the input buffer; false: nothing came */

/* One step of the body of the request that is handled. False: it waits for the socket. */
bool connection_body_step(struct connection *c);
/* The same for a body that nobody asked for. */
bool connection_discard_step(struct connection *c);
void connection_body_drop(struct connection *c); /* gives back the memory of a collected body */

/* Says that no more will be written, and reads on until the client has read what was. */
void connection_linger(struct connection *c);

void connection_push(struct connection *c, struct segment s); /* takes s */

/* Writes what is queued; a broken connection is noted, not closed. */
void connection_flush(struct connection *c);

/* Arms the timer for what the connection now waits for. */
void connection_wait(struct connection *c);

void connection_cut(struct connection *c);  /* cancels and closes it now */
void connection_free(struct connection *c); /* whatever it does: after the loop has ended */

/* Answers `code` with {"error": text} and closes: for what no handler has seen. */
void connection_refuse(struct connection *c, int code, const char *text);

#endif
