#include "control/api/service.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "control/api/operation.h"
#include "net/http_call.h"
#include "net/server.h"
#include "support/test.h"

#define P "/v1/projects/p/locations/l"

struct fixture {
    struct api api;
    struct service *service;
    struct server *server;
    char address[NET_ADDRESS_TEXT_SIZE];
    struct arena arena;
    str operation; /* an open one */
};

static void fixture_init(struct fixture *f) {
    struct error err = {0};
    *f = (struct fixture){.api = {.public_address = "127.0.0.1:1"}};
    CHECK_EQ(store_open(&f->api.store, ":memory:", &err), STATUS_OK);
    CHECK_EQ(service_start(&f->service, &f->api, &err), STATUS_OK);
    struct server_listen listen = {
        .address = "127.0.0.1:0", .handle = service_handle, .arg = f->service};
    struct server_options o = {.listens = &listen, .n_listens = 1, .n_loops = 2};
    CHECK_EQ(server_start(&f->server, &o, &err), STATUS_OK);
    net_address_format(server_address(f->server, 0), f->address);
    struct json_value *record = operation_new(&f->arena, STR("projects/p/locations/l/endpoints/1"),
                                              API_V1, "DeployModelOperationMetadata");
    f->operation = operation_name(record);
    struct record_commit commit = {.arena = &f->arena};
    operation_put(&commit, record, STORE_ABSENT);
    CHECK_EQ(record_commit(&commit, f->api.store, NULL, &err), STATUS_OK);
}

static void fixture_done(struct fixture *f) {
    service_stop(f->service);
    server_drain(f->server, 1000);
    server_free(f->server);
    service_free(f->service);
    store_close(f->api.store);
    arena_release(&f->arena);
}

/* The status of a call; whether the answer holds `words`. */
static int call(struct fixture *f, str method, str target, str body, const char *words) {
    struct http_reply reply = {0};
    struct error err = {0};
    struct http_request request = {.method = method, .target = target, .body = body};
    if (http_call(&reply, str_from_c(f->address), &request, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    int code = reply.status;
    CHECK_EQ(buffer_append(&reply.body, "", 1, NULL), STATUS_OK);
    if (!strstr(reply.body.p, words))
        test_fail(__FILE__, __LINE__, "no \"%s\" in %s", words, reply.body.p);
    http_reply_done(&reply);
    return code;
}

TEST(service_answers_calls_and_errors) {
    struct fixture f;
    fixture_init(&f);
    CHECK_EQ(
        call(&f, STR("POST"), STR(P "/endpoints"), STR("{\"displayName\":\"e\"}"), "\"done\":true"),
        200);
    CHECK_EQ(call(&f, STR("GET"), STR(P "/endpoints?filter=display_name%3De"), STR(""),
                  "\"displayName\":\"e\""),
             200);
    CHECK_EQ(call(&f, STR("GET"), STR(P "/endpoints/x"), STR(""), "NOT_FOUND"), 404);
    fixture_done(&f);
}

static void end_operation(void *arg) {
    struct fixture *f = arg;
    struct arena a = {0};
    struct json_value *record;
    int64_t revision;
    usleep(100000);
    CHECK_EQ(record_get(f->api.store, &a, record_key(&a, "operations", f->operation), &record,
                        &revision, NULL),
             STATUS_OK);
    operation_failed(&a, record, STATUS_ABORTED, STR("for the test"));
    struct record_commit commit = {.arena = &a};
    operation_put(&commit, record, revision);
    CHECK_EQ(record_commit(&commit, f->api.store, NULL, NULL), STATUS_OK);
    arena_release(&a);
}

TEST(service_holds_a_wait_until_the_operation_has_ended) {
    struct fixture f;
    fixture_init(&f);
    pthread_t thread;
    int64_t began = clock_now(clock_system());
    CHECK_EQ(thread_start(&thread, "ender", end_operation, &f, NULL), STATUS_OK);
    str target = str_format(&f.arena, "/v1/%s:wait", f.operation.p);
    CHECK_EQ(call(&f, STR("POST"), target, STR("{\"timeout\":\"20s\"}"), "for the test"), 200);
    int64_t took = clock_now(clock_system()) - began;
    CHECK(took >= 90ll * NS_PER_MS && took < 10ll * NS_PER_S);
    thread_join(thread);
    CHECK_EQ(call(&f, STR("POST"), target, STR("{\"timeout\":\"20s\"}"), "for the test"), 200);
    fixture_done(&f);
}

TEST(service_ends_a_wait_when_its_time_is_up) {
    struct fixture f;
    fixture_init(&f);
    int64_t began = clock_now(clock_system());
    str target = str_format(&f.arena, "/v1/%s:wait", f.operation.p);
    CHECK_EQ(call(&f, STR("POST"), target, STR("{\"timeout\":\"0.2s\"}"), "metadata"), 200);
    CHECK(clock_now(clock_system()) - began >= 190ll * NS_PER_MS);
    CHECK_EQ(call(&f, STR("POST"), target, STR("{\"timeout\":\"x\"}"), "INVALID_ARGUMENT"), 400);
    fixture_done(&f);
}

static void wait_long(void *arg) {
    struct fixture *f = arg;
    str target = str_format(&f->arena, "/v1/%s:wait", f->operation.p);
    CHECK_EQ(call(f, STR("POST"), target, STR("{\"timeout\":\"20s\"}"), "metadata"), 200);
}

TEST(service_answers_what_it_holds_when_it_stops) {
    struct fixture f;
    fixture_init(&f);
    pthread_t thread;
    int64_t began = clock_now(clock_system());
    CHECK_EQ(thread_start(&thread, "waiter", wait_long, &f, NULL), STATUS_OK);
    usleep(100000);
    service_stop(f.service);
    thread_join(thread);
    CHECK(clock_now(clock_system()) - began < 10ll * NS_PER_S);
    CHECK_EQ(call(&f, STR("GET"), STR(P "/endpoints"), STR(""), "UNAVAILABLE"), 503);
    fixture_done(&f);
}
