#include "net/server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/thread.h"
#include "net/http_call.h"
#include "support/test.h"

/* --- a server that shows what an exchange can do --- */

static void echo_body(struct exchange *x) {
    exchange_respond(x, &(struct response){.status = 200,
                                           .content_type = STR("application/octet-stream"),
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

static void answer(struct exchange *x, int code, str text) {
    exchange_respond(x, &(struct response){.status = code,
                                           .content_type = STR("text/plain"),
                                           .body = &SEGMENT_STR(text),
                                           .n_body = 1});
}

static void hello(struct exchange *x) {
    answer(x, 200, STR("hello"));
}

static void hello_from_elsewhere(void *arg) {
    usleep(20000);
    exchange_post(arg, hello);
}

static struct exchange *held; /* of /hold */
static int n_cancelled, n_over;

static void note_cancel(struct exchange *x) {
    (void)x;
    __atomic_add_fetch(&n_cancelled, 1, __ATOMIC_SEQ_CST);
}

static void note_over(void *arg) {
    (void)arg;
    __atomic_add_fetch(&n_over, 1, __ATOMIC_SEQ_CST);
}

static void handle(void *arg, struct exchange *x) {
    pthread_t t;
    (void)arg;
    arena_defer(&x->arena, note_over, NULL);
    if (str_eq(x->path, STR("/echo"))) {
        exchange_collect(x, BODY_SIZE_MAX, echo_body);
    } else if (str_eq(x->path, STR("/small"))) {
        exchange_collect(x, 1000, echo_body);
    } else if (str_eq(x->path, STR("/stream"))) {
        exchange_start(x, &(struct response){.status = 200, .content_length = -1});
        exchange_on_drain(x, exchange_resume);
        exchange_stream(x, echo_piece);
    } else if (str_eq(x->path, STR("/thread"))) {
        CHECK_EQ(thread_start(&t, "answer", hello_from_elsewhere, x, NULL), STATUS_OK);
        pthread_detach(t);
    } else if (str_eq(x->path, STR("/hold"))) {
        x->on_cancel = note_cancel;
        __atomic_store_n(&held, x, __ATOMIC_SEQ_CST);
    } else if (str_eq(x->path, STR("/abort"))) {
        exchange_start(x, &(struct response){.status = 200, .content_length = 10});
        exchange_write(x, &SEGMENT_STR(STR("half")), 1);
        exchange_abort(x);
    } else {
        answer(x, str_eq(x->path, STR("/")) ? 200 : 404, x->path);
    }
}

static struct server *start(struct server_options o) {
    struct server_listen listen = {.address = "127.0.0.1:0", .handle = handle};
    struct server *s = NULL;
    struct error err;
    o.listens = &listen;
    o.n_listens = 1;
    if (server_start(&s, &o, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return s;
}

static int dial(const struct server *s) {
    const struct net_address *a = server_address(s, 0);
    int fd = socket(a->sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(fd, &a->sa.any, a->size), 0);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static void say(int fd, const char *text) {
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until `wanted` has come, and not a byte more, or the end. */
static void hear(int fd, const char *wanted) {
    char got[4096] = "";
    size_t n = 0;
    while (!strstr(got, wanted) && n < sizeof got - 1) {
        ssize_t r = recv(fd, got + n, 1, 0);
        if (r <= 0)
            break;
        n += (size_t)r;
        got[n] = '\0';
    }
    if (!strstr(got, wanted))
        test_fail(__FILE__, __LINE__, "got \"%s\", want \"%s\"", got, wanted);
}

static void hear_the_end(int fd) {
    char bytes[256];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        ;
    CHECK(n == 0 || errno != EAGAIN);
}

/* Sends `text` on a new connection and wants `wanted` in the answer, and then the end. */
static void converse(const struct server *s, const char *text, const char *wanted) {
    int fd = dial(s);
    say(fd, text);
    hear(fd, wanted);
    hear_the_end(fd);
    close(fd);
}

#define HOST "Host: x\r\n"

TEST(server_answers_over_a_kept_connection) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    int fd = dial(s);
    for (int i = 0; i < 3; i++) {
        say(fd, "GET /thread HTTP/1.1\r\n" HOST "\r\n");
        hear(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
    }
    say(fd, "GET /x%20y?z HTTP/1.1\r\n" HOST "\r\n");
    hear(fd,
         "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\n/x%20y");
    CHECK_EQ(server_n_connections(s), 1);
    close(fd);
}

TEST(server_answers_pipelined_requests_in_order) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    int fd = dial(s);
    say(fd, "GET /thread HTTP/1.1\r\n" HOST "\r\n"
            "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
            "POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nxxxx"
            "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
            "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    hear(fd, "hello");
    hear(fd, "abc");
    hear(fd, "/nothing");
    hear(fd, "\r\n\r\nde");
    hear(fd, "Connection: close\r\n\r\n/");
    hear_the_end(fd);
    close(fd);
}

TEST(server_refuses_smuggling_and_stays_alive) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    converse(s, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\nhello",
             "400 Bad Request");
    converse(s,
             "POST /echo HTTP/1.1\r\n" HOST
             "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             "400 Bad Request");
    converse(s, "GET / HTTP/1.1\n\n", "400 Bad Request");
    converse(s, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", "501 Not Impl");
    converse(s, "GET / HTTP/3.0\r\n\r\n", "505 HTTP");
    converse(s, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
             "400 Bad Request");
    converse(s, "GET / HTTP/1.0\r\n\r\n", "200 OK");
}

TEST(server_echoes_bodies_of_all_sizes_both_ways) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){.n_loops = 2});
    static const size_t sizes[] = {0, 1, 16000, 16384, 100000, 5000000};
    static const char *const targets[] = {"/echo", "/stream"};
    char address[NET_ADDRESS_TEXT_SIZE];
    net_address_format(server_address(s, 0), address);
    CLEANUP(http_link_closep) struct http_link *link = NULL;
    CHECK_EQ(http_link_open(&link, str_from_c(address), NULL), STATUS_OK);
    char *bytes = malloc(5000000);
    for (size_t i = 0; i < 5000000; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    for (size_t i = 0; i < ARRAY_LEN(sizes) * 2; i++) {
        struct http_reply reply = {0};
        struct error err = {0};
        struct http_request request = {.method = STR("POST"),
                                       .target = str_from_c(targets[i % 2]),
                                       .body = {.p = bytes, .n = sizes[i / 2]}};
        if (http_link_call(link, &reply, &request, &err) != STATUS_OK)
            test_fail(__FILE__, __LINE__, "%s", err.text);
        CHECK_EQ(reply.status, 200);
        CHECK(str_eq(buffer_str(&reply.body), request.body));
        http_reply_done(&reply);
    }
    free(bytes);
}

TEST(server_refuses_a_body_of_100_mb_so_that_the_client_hears_it) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    char address[NET_ADDRESS_TEXT_SIZE];
    char *body = calloc(1, 100000000);
    struct http_reply reply = {0};
    struct error err = {0};
    struct http_request request = {
        .method = STR("POST"), .target = STR("/echo"), .body = {.p = body, .n = 100000000}};
    net_address_format(server_address(s, 0), address);
    if (http_call(&reply, str_from_c(address), &request, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    CHECK_EQ(reply.status, 413);
    http_reply_done(&reply);
    free(body);
    converse(s,
             "POST /small HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n",
             "413 Content Too Large");
}

TEST(server_refuses_bodies_past_the_memory_for_all_of_them) {
    CLEANUP(server_freep)
    struct server *s = start((struct server_options){.bodies_size_max = 100000});
    int first = dial(s);
    say(first, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 90000\r\n\r\nabc");
    usleep(20000);
    converse(s, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 20000\r\n\r\nabc",
             "503 Service Unavailable");
    close(first);
    usleep(20000);
    int second = dial(s);
    say(second,
        "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 20000\r\n\r\n");
    hear(second, "100 Continue");
    close(second);
}

TEST(server_asks_for_an_expected_body) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    int fd = dial(s);
    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    hear(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "abc");
    hear(fd, "abc");
    close(fd);
}

TEST(server_times_out_slow_heads_and_bodies_and_idle_connections) {
    CLEANUP(server_freep)
    struct server *s = start((struct server_options){
        .idle_timeout_ms = 300, .head_timeout_ms = 100, .body_grace_ms = 100});
    converse(s, "GET / HTT", "408 Request Timeout");
    converse(s, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nabc",
             "408 Request Timeout");
    int fd = dial(s);
    int64_t from = clock_now(clock_system());
    hear_the_end(fd);
    CHECK(clock_now(clock_system()) - from > 200 * NS_PER_MS);
    close(fd);
}

TEST(server_writes_to_a_slow_client_without_blocking_others) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    enum { SIZE = 8000000 };
    int slow = dial(s), small = 64 * 1024;
    setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    char head[128];
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", SIZE);
    say(slow, head);
    char *bytes = calloc(1, SIZE);
    for (size_t n = 0; n < SIZE;)
        n += (size_t)send(slow, bytes + n, SIZE - n, MSG_NOSIGNAL);
    converse(s, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "200 OK");
    size_t got = 0;
    for (ssize_t n; got < SIZE && (n = recv(slow, bytes, SIZE, 0)) > 0;)
        got += (size_t)n;
    CHECK(got >= SIZE);
    free(bytes);
    close(slow);
}

static void wait_until(const int *value, int wanted) {
    for (int i = 0; i < 500 && __atomic_load_n(value, __ATOMIC_SEQ_CST) < wanted; i++)
        usleep(10000);
    CHECK_EQ(__atomic_load_n(value, __ATOMIC_SEQ_CST), wanted);
}

TEST(server_tells_the_handler_that_the_client_has_gone) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    int fd = dial(s);
    say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    while (!__atomic_load_n(&held, __ATOMIC_SEQ_CST))
        usleep(1000);
    close(fd);
    wait_until(&n_cancelled, 1);
    CHECK_EQ(n_over, 0);
    exchange_post(held, hello);
    wait_until(&n_over, 1);
}

TEST(server_forgets_an_exchange_whose_body_never_comes) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    int fd = dial(s);
    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nabc");
    usleep(20000);
    close(fd);
    wait_until(&n_over, 1);
}

TEST(server_cuts_the_connection_of_an_aborted_answer) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    int fd = dial(s);
    say(fd, "GET /abort HTTP/1.1\r\n" HOST "\r\n");
    hear(fd, "half");
    hear_the_end(fd);
    close(fd);
}

static void drain_in_thread(void *s) {
    server_drain(s, 5000);
}

TEST(server_drain_finishes_exchanges_and_closes_idle_connections) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){.n_loops = 2});
    int idle = dial(s), busy = dial(s);
    say(idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
    hear(idle, "200 OK");
    say(busy, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    while (!__atomic_load_n(&held, __ATOMIC_SEQ_CST))
        usleep(1000);
    pthread_t t;
    CHECK_EQ(thread_start(&t, "drain", drain_in_thread, s, NULL), STATUS_OK);
    hear_the_end(idle);
    usleep(50000); /* the other loop has begun to drain, too */
    int late = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(late, &server_address(s, 0)->sa.any, server_address(s, 0)->size) != 0);
    exchange_post(held, hello);
    hear(busy, "Connection: close\r\n\r\nhello");
    hear_the_end(busy);
    thread_join(t);
    close(late);
    close(idle);
    close(busy);
}

TEST(server_says_that_a_port_is_in_use) {
    CLEANUP(server_freep) struct server *s = start((struct server_options){0});
    char address[NET_ADDRESS_TEXT_SIZE];
    net_address_format(server_address(s, 0), address);
    struct server_listen listen = {.address = address, .handle = handle};
    struct server *second = NULL;
    struct error err;
    CHECK_EQ(
        server_start(&second, &(struct server_options){.listens = &listen, .n_listens = 1}, &err),
        STATUS_ALREADY_EXISTS);
    CHECK(strstr(err.text, "Address already in use"));
}

TEST(server_listens_on_unix_sockets_and_given_descriptors) {
    struct net_address a;
    char path[64], text[80];
    int fd = -1;
    snprintf(path, sizeof path, "/tmp/culmen-net-test-%d.sock", (int)getpid());
    snprintf(text, sizeof text, "unix:%s", path);
    CHECK_EQ(net_address_parse(&a, str_from_c(text), NULL), STATUS_OK);
    CHECK_EQ(net_listen(&fd, &a, NULL), STATUS_OK);
    struct server_listen listen = {.fd = fd, .handle = handle};
    struct server_options o = {.listens = &listen, .n_listens = 1};
    CLEANUP(server_freep) struct server *s = NULL;
    CHECK_EQ(server_start(&s, &o, NULL), STATUS_OK);
    struct http_reply reply = {0};
    struct http_request request = {.target = STR("/")};
    CHECK_EQ(http_call(&reply, str_from_c(text), &request, NULL), STATUS_OK);
    CHECK_EQ(reply.status, 200);
    http_reply_done(&reply);
    unlink(path);
}
