#include "net/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/thread.h"
#include "net/server.h"
#include "support/test.h"

/* --- a server of ours on its own thread, and the client's loop on this one --- */

static void echo(struct exchange *x) {
    exchange_respond(x, &(struct response){.status = 200,
                                           .content_type = STR("text/plain"),
                                           .body = &SEGMENT_STR(x->body),
                                           .n_body = 1});
}

static void echo_piece(struct exchange *x, str bytes, bool is_last) {
    struct segment s = {.p = bytes.p, .n = bytes.n, .life = SEGMENT_TRANSIENT};
    if (exchange_write(x, &s, 1) > STREAM_QUEUE_MAX)
        exchange_pause(x);
    if (is_last)
        exchange_finish(x);
}

static void handle(void *arg, struct exchange *x) {
    (void)arg;
    if (str_eq(x->path, STR("/stream"))) {
        exchange_start(x, &(struct response){.status = 200, .content_length = -1});
        exchange_on_drain(x, exchange_resume);
        exchange_stream(x, echo_piece);
    } else if (str_eq(x->path, STR("/half"))) {
        exchange_start(x, &(struct response){.status = 200, .content_length = 10});
        exchange_write(x, &SEGMENT_STR(STR("half")), 1);
        exchange_abort(x);
    } else {
        exchange_collect(x, BODY_SIZE_MAX, echo);
    }
}

struct outcome {
    struct client_call call;
    struct loop *loop;
    struct client_peer *peer;
    struct buffer body;
    call_result result;
    int status, n_responses, n_left; /* calls to make after this one */
    bool was_complete, cancels;
    char error[512];
};

static void on_response(struct client_call *c, const struct client_response *r) {
    struct outcome *o = c->user;
    o->status = r->status;
    o->n_responses++;
    o->was_complete = r->is_complete;
    CHECK_EQ(buffer_append_str(&o->body, r->body, NULL), STATUS_OK);
    if (o->cancels)
        client_cancel(c);
}

static void on_body(struct client_call *c, str bytes) {
    struct outcome *o = c->user;
    CHECK_EQ(buffer_append_str(&o->body, bytes, NULL), STATUS_OK);
}

static void ask(struct outcome *o, str target, str body) {
    struct segment segment = SEGMENT_STR(body);
    client_start(o->peer, &o->call,
                 &(struct client_request){.method = STR("POST"),
                                          .target = target,
                                          .body = &segment,
                                          .n_body = 1,
                                          .timeout_ms = 5000});
}

static void on_done(struct client_call *c, call_result r, const struct error *err) {
    struct outcome *o = c->user;
    o->result = r;
    snprintf(o->error, sizeof o->error, "%s", err ? err->text : "");
    if (o->n_left-- > 0)
        ask(o, STR("/again"), STR("again"));
    else
        loop_stop(o->loop);
}

struct rig {
    struct server *server;
    struct loop *loop;
    struct client *client;
    struct outcome o;
};

static void rig_open(struct rig *r, const char *address) {
    struct server_listen listen = {.address = "127.0.0.1:0", .handle = handle};
    char text[NET_ADDRESS_TEXT_SIZE];
    CHECK_EQ(server_start(&r->server, &(struct server_options){.listens = &listen, .n_listens = 1},
                          NULL),
             STATUS_OK);
    CHECK_EQ(loop_new(&r->loop, NULL), STATUS_OK);
    CHECK_EQ(client_new(&r->client, r->loop, NULL), STATUS_OK);
    net_address_format(server_address(r->server, 0), text);
    r->o = (struct outcome){
        .call = {.on_response = on_response, .on_body = on_body, .on_done = on_done},
        .loop = r->loop};
    CHECK_EQ(client_peer(&r->o.peer, r->client, str_from_c(address ? address : text), NULL),
             STATUS_OK);
    r->o.call.user = &r->o;
}

static void rig_close(struct rig *r) {
    client_free(r->client);
    loop_free(r->loop);
    server_free(r->server);
    buffer_done(&r->o.body);
}

TEST(client_gets_an_answer_and_keeps_the_connection) {
    struct rig r;
    rig_open(&r, NULL);
    r.o.n_left = 2;
    ask(&r.o, STR("/"), STR("hello"));
    loop_run(r.loop);
    CHECK_EQ(r.o.result, CALL_DONE);
    CHECK_EQ(r.o.status, 200);
    CHECK_EQ(r.o.n_responses, 3);
    CHECK(r.o.was_complete);
    CHECK(str_eq(buffer_str(&r.o.body), STR("helloagainagain")));
    CHECK_EQ(server_n_connections(r.server), 1);
    rig_close(&r);
}

TEST(client_gets_a_large_answer_in_pieces) {
    struct rig r;
    rig_open(&r, NULL);
    size_t size = 3000000;
    char *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 2654435761u >> 11);
    ask(&r.o, STR("/"), (str){.p = bytes, .n = size});
    loop_run(r.loop);
    CHECK_EQ(r.o.result, CALL_DONE);
    CHECK(!r.o.was_complete);
    CHECK(str_eq(buffer_str(&r.o.body), (str){.p = bytes, .n = size}));
    free(bytes);
    rig_close(&r);
}

enum { N_PIECES = 50, PIECE_SIZE = 30000 };
static int n_pieces;

static void send_pieces(struct client_call *c) {
    static char piece[PIECE_SIZE];
    while (n_pieces < N_PIECES) {
        n_pieces++;
        memset(piece, 'a' + n_pieces % 26, sizeof piece);
        struct segment s = {.p = piece, .n = sizeof piece, .life = SEGMENT_TRANSIENT};
        if (client_write(c, &s, 1, n_pieces == N_PIECES) > 0)
            return;
    }
}

TEST(client_streams_both_ways) {
    struct rig r;
    rig_open(&r, NULL);
    r.o.call.on_drain = send_pieces;
    client_start(r.o.peer, &r.o.call,
                 &(struct client_request){.method = STR("POST"),
                                          .target = STR("/stream"),
                                          .is_streamed = true,
                                          .content_length = -1});
    send_pieces(&r.o.call);
    loop_run(r.loop);
    CHECK_EQ(r.o.result, CALL_DONE);
    CHECK_EQ(r.o.body.n, N_PIECES * PIECE_SIZE);
    CHECK_EQ(r.o.body.p[r.o.body.n - 1], 'a' + N_PIECES % 26);
    rig_close(&r);
}

TEST(client_says_that_nobody_listens) {
    struct rig r;
    rig_open(&r, "127.0.0.1:1");
    ask(&r.o, STR("/"), STR("x"));
    loop_run(r.loop);
    CHECK_EQ(r.o.result, CALL_CONNECT_FAILED);
    CHECK(strstr(r.o.error, "127.0.0.1:1: connect failed: Connection refused"));
    rig_close(&r);
}

TEST(client_says_that_the_answer_was_cut) {
    struct rig r;
    rig_open(&r, NULL);
    ask(&r.o, STR("/half"), STR("x"));
    loop_run(r.loop);
    CHECK_EQ(r.o.result, CALL_CUT);
    CHECK_EQ(r.o.status, 200);
    rig_close(&r);
}

TEST(client_cancel_ends_a_call_within_its_response) {
    struct rig r;
    rig_open(&r, NULL);
    r.o.cancels = true;
    ask(&r.o, STR("/"), STR("x"));
    loop_run(r.loop);
    CHECK_EQ(r.o.result, CALL_CANCELLED);
    rig_close(&r);
}

/* A server that does with each connection what the test says. */
struct rude {
    int fd;
    const char *answer;
};

static void be_rude(void *arg) {
    const struct rude *rude = arg;
    char bytes[4096];
    int fd;
    while ((fd = accept(rude->fd, NULL, NULL)) < 0) /* the listener does not block */
        usleep(1000);
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (rude->answer)
        n = send(fd, rude->answer, strlen(rude->answer), MSG_NOSIGNAL);
    (void)n;
    close(fd);
}

static call_result ask_rude(const char *answer, int64_t timeout_ms) {
    struct net_address a;
    char text[NET_ADDRESS_TEXT_SIZE];
    struct rude rude = {.answer = answer};
    pthread_t t;
    CHECK_EQ(net_address_parse(&a, STR("127.0.0.1:0"), NULL), STATUS_OK);
    CHECK_EQ(net_listen(&rude.fd, &a, NULL), STATUS_OK);
    CHECK_EQ(net_address_of_socket(&a, rude.fd, NULL), STATUS_OK);
    struct rig r;
    rig_open(&r, net_address_format(&a, text));
    if (timeout_ms == 0)
        CHECK_EQ(thread_start(&t, "rude", be_rude, &rude, NULL), STATUS_OK);
    struct segment segment = SEGMENT_STR(STR("x"));
    client_start(r.o.peer, &r.o.call,
                 &(struct client_request){.method = STR("POST"),
                                          .target = STR("/"),
                                          .body = &segment,
                                          .n_body = 1,
                                          .timeout_ms = timeout_ms});
    loop_run(r.loop);
    if (timeout_ms == 0)
        thread_join(t);
    close(rude.fd);
    call_result result = r.o.result;
    rig_close(&r);
    return result;
}

TEST(client_classifies_what_a_rude_server_does) {
    CHECK_EQ(ask_rude(NULL, 0), CALL_NO_RESPONSE);
    CHECK_EQ(ask_rude("HTTP/1.1 200 OK\r\nContent-Le", 0), CALL_CUT);
    CHECK_EQ(ask_rude("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", 0), CALL_CUT);
    CHECK_EQ(ask_rude("SSH-2.0-OpenSSH\r\n\r\n", 0), CALL_BAD_RESPONSE);
    CHECK_EQ(ask_rude("HTTP/1.0 200 OK\r\n\r\nuntil the end", 0), CALL_DONE);
    CHECK_EQ(ask_rude("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 0),
             CALL_DONE);
    CHECK_EQ(ask_rude(NULL, 50), CALL_TIMED_OUT);
}
