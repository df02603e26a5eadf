/* client_internal.h - what client.c and client_request.c share. */
#ifndef NET_CLIENT_INTERNAL_H
#define NET_CLIENT_INTERNAL_H

#include "base/arena.h"
#include "base/map.h"
#include "net/address.h"
#include "net/client.h"
#include "net/http1.h"

enum { INPUT_SIZE = 64 * 1024, INPUTS_MAX = 16 };

struct client {
    struct loop *loop;
    struct map peers; /* by address */
    char *inputs[INPUTS_MAX];
    size_t n_inputs;
};

struct client_peer {
    struct client *client;
    struct net_address address;
    char name[NET_ADDRESS_TEXT_SIZE];
    struct client_connection *idle; /* most recently used first */
    struct client_connection *all;
    size_t n_idle, n_connections, n_calls;
    bool is_forgotten;
};

struct client_connection {
    struct loop_watch watch; /* edge-triggered, in and out, once and for all */
    struct loop_timer timer;
    struct client_peer *peer;
    struct client_connection *next_idle;
    struct client_connection *next, **link;
    struct client_call *call; /* NULL: idle */

    bool is_connected, is_readable, hung_up, saw_end, is_broken, is_running;
    bool is_paused, is_streaming; /* more of the request is to come */
    bool sends_chunks, is_head_request;
    bool sent_any, got_any, has_head;
    bool keep_alive, is_timed_out;
    int error;           /* errno of what broke it */
    int64_t deadline_ns; /* of the response's first byte */

    struct segment_queue out;
    char *head; /* of the request */
    size_t head_capacity;

    char *input;
    size_t from, to;
    struct http1_scan scan;
    struct http1_body framing;
    struct http1_head response;
    struct http1_error bad;
    struct arena arena;
};

/* Queues the request's line and headers. */
void client_push_head(struct client_connection *c, const struct client_request *r);

/* Queues pieces of the request's body, as a chunk where it is sent in chunks. */
void client_push_body(struct client_connection *c, const struct segment *segments, size_t n);

#endif
