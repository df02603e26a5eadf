#include "control/gateway/gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "codec/json.h"
#include "control/gateway/route.h"
#include "net/http_call.h"
#include "support/test.h"

#define ENDPOINT "projects/p/locations/us-central1/endpoints/7"

/* --- what stands behind the gateway: a server that is replica or control --- */

static int n_served;

static void respond(struct exchange *x, int code, str type, str body) {
    struct http_header header = {STR("X-Path"), x->target};
    exchange_respond(x, &(struct response){.status = code,
                                           .content_type = type,
                                           .headers = &header,
                                           .n_headers = 1,
                                           .body = &SEGMENT_STR(body),
                                           .n_body = 1});
}

static void refuse_slowly(struct exchange *x) {
    usleep(5000);
    respond(x, 503, STR("text/plain"), STR("busy"));
}

static void serve(struct exchange *x) {
    __atomic_add_fetch(&n_served, 1, __ATOMIC_SEQ_CST);
    bool is_for_control = str_starts(x->path, STR("/v1/"));
    if (exchange_header(x, STR("x-hop")).p ||
        (!is_for_control && exchange_header(x, STR("authorization")).p))
        respond(x, 500, STR("text/plain"), STR("a header that was not for me"));
    else if (str_eq(x->path, STR("/echo")))
        respond(x, 200, exchange_header(x, STR("content-type")), x->body);
    else if (str_eq(x->path, STR("/predict")))
        respond(x, 200, STR("application/json"), STR("{\"predictions\": [1, 2]} \n"));
    else if (str_eq(x->path, STR("/empty")))
        respond(x, 200, STR("application/json"), STR("{ }"));
    else if (str_eq(x->path, STR("/refuse")))
        respond(x, 422, STR("text/plain"), STR("no \"such\" input"));
    else if (str_eq(x->path, STR("/busy")))
        refuse_slowly(x);
    else
        respond(x, 404, STR("application/json"), STR("{\"control\":true}"));
}

static void handle(void *arg, struct exchange *x) {
    (void)arg;
    exchange_collect(x, BODY_SIZE_MAX, serve);
}

struct rig {
    struct server *replica;
    struct gateway *gateway;
    char replica_address[NET_ADDRESS_TEXT_SIZE], address[64], path[64];
    uint64_t generation;
};

static struct server *start_server(const char *address) {
    struct server_listen listen = {.address = address, .handle = handle};
    struct server *s = NULL;
    struct error err;
    if (server_start(&s, &(struct server_options){.listens = &listen, .n_listens = 1}, &err) !=
        STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return s;
}

/* One endpoint, one model, whose replicas are at the addresses given. */
static void write_routes(struct rig *r, const char *predict_route, const char *first,
                         const char *second) {
    struct route_replica replicas[] = {{str_from_c(first), true}, {str_from_c(second), true}};
    struct route_model model = {.id = STR("1234"),
                                .model = STR("projects/p/locations/us-central1/models/m"),
                                .display_name = STR("a model"),
                                .version_id = STR("3"),
                                .predict_route = str_from_c(predict_route),
                                .weight = 100,
                                .is_idempotent = true,
                                .replicas = replicas,
                                .n_replicas = (size_t)(first != NULL) + (second != NULL)};
    struct route_endpoint e = {.name = STR(ENDPOINT), .models = &model, .n_models = 1};
    struct route_table t = {
        .generation = ++r->generation, .endpoints = &e, .n_endpoints = predict_route ? 1 : 0};
    CHECK_EQ(route_table_write(&t, r->path, NULL), STATUS_OK);
}

static void rig_open(struct rig *r, const char *predict_route, const char *other_replica) {
    struct server_listen listen = {.address = "127.0.0.1:0"};
    struct error err;
    *r = (struct rig){.replica = start_server("127.0.0.1:0")};
    log_set_level(LOG_ERROR);
    net_address_format(server_address(r->replica, 0), r->replica_address);
    snprintf(r->path, sizeof r->path, "/tmp/culmen-gateway-test-%d", (int)getpid());
    write_routes(r, predict_route, r->replica_address, other_replica);
    if (gateway_start(&r->gateway,
                      &(struct gateway_options){.listens = &listen,
                                                .n_listens = 1,
                                                .routes_path = r->path,
                                                .control_address = r->replica_address},
                      &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    snprintf(r->address, sizeof r->address, "127.0.0.1:%d", gateway_port(r->gateway, 0));
}

static void rig_close(struct rig *r) {
    gateway_stop(r->gateway, 1000);
    server_free(r->replica);
    unlink(r->path);
}

static int call(const struct rig *r, const char *target, str body, struct http_reply *reply) {
    struct http_header headers[] = {{STR("Content-Type"), STR("application/x-test")},
                                    {STR("Authorization"), STR("Bearer secret")},
                                    {STR("Connection"), STR("keep-alive, X-Other")},
                                    {STR("Connection"), STR("X-Hop")},
                                    {STR("X-Hop"), STR("1")}};
    struct error err = {0};
    *reply = (struct http_reply){0};
    if (http_call(reply, str_from_c(r->address),
                  &(struct http_request){.method = STR("POST"),
                                         .target = str_from_c(target),
                                         .headers = headers,
                                         .n_headers = ARRAY_LEN(headers),
                                         .body = body},
                  &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return reply->status;
}

/* Calls and compares the body. */
static void check_call(const struct rig *r, const char *target, int code, const char *body) {
    struct http_reply reply;
    CHECK_EQ(call(r, target, STR("{\"instances\":[1]}"), &reply), code);
    if (!str_eq(buffer_str(&reply.body), str_from_c(body)))
        test_fail(__FILE__, __LINE__, "got %.*s, want %s", STR_ARG(buffer_str(&reply.body)), body);
    http_reply_done(&reply);
}

#define NAMES                                                                                      \
    "\"deployedModelId\":\"1234\",\"model\":\"projects/p/locations/us-central1/models/m\","        \
    "\"modelDisplayName\":\"a model\",\"modelVersionId\":\"3\"}"

TEST(gateway_predict_adds_the_names_of_the_model) {
    struct rig r;
    rig_open(&r, "/predict", NULL);
    check_call(&r, "/v1/" ENDPOINT ":predict", 200, "{\"predictions\": [1, 2]," NAMES);
    check_call(&r, "/v1beta1/" ENDPOINT ":predict", 200, "{\"predictions\": [1, 2]," NAMES);
    check_call(&r, "/ui/" ENDPOINT "%3Apredict", 200, "{\"predictions\": [1, 2]," NAMES);
    rig_close(&r);
    rig_open(&r, "/empty", NULL);
    check_call(&r, "/v1/" ENDPOINT ":predict", 200, "{" NAMES);
    rig_close(&r);
}

TEST(gateway_predict_makes_a_containers_error_googles) {
    struct rig r;
    rig_open(&r, "/refuse", NULL);
    check_call(&r, "/v1/" ENDPOINT ":predict", 422,
               "{\"error\":{\"code\":422,\"message\":\"no \\\"such\\\" input\","
               "\"status\":\"INVALID_ARGUMENT\"}}");
    rig_close(&r);
}

TEST(gateway_raw_predict_passes_bodies_through_and_names_the_model_in_headers) {
    static const size_t sizes[] = {1, 100000, 12 * 1024 * 1024};
    struct rig r;
    rig_open(&r, "/echo", NULL);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *bytes = malloc(sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            bytes[k] = (char)(k * 2654435761u >> 17);
        struct http_reply reply;
        str body = {.p = bytes, .n = sizes[i]};
        CHECK_EQ(call(&r, i ? "/v1/" ENDPOINT ":rawPredict" : "/v1/" ENDPOINT ":streamRawPredict",
                      body, &reply),
                 200);
        CHECK(str_eq(buffer_str(&reply.body), body));
        CHECK(str_eq(http_reply_header(&reply, STR("content-type")), STR("application/x-test")));
        CHECK(str_eq(http_reply_header(&reply, STR("x-path")), STR("/echo")));
        CHECK(str_eq(http_reply_header(&reply, STR("x-vertex-ai-endpoint-id")), STR("7")));
        CHECK(str_eq(http_reply_header(&reply, STR("x-vertex-ai-deployed-model-id")), STR("1234")));
        http_reply_done(&reply);
        free(bytes);
    }
    rig_close(&r);
}

/* As Google's generated clients call over REST. */
TEST(gateway_raw_predict_takes_bodies_out_of_their_wrapping) {
    struct rig r;
    struct http_reply reply;
    str wrapped = STR("{\"httpBody\":{\"contentType\":\"text/x\",\"data\":\"aGVsbG8=\"}}");
    rig_open(&r, "/echo", NULL);
    CHECK_EQ(
        call(&r, "/v1/" ENDPOINT ":rawPredict?%24alt=json%3Benum-encoding%3Dint", wrapped, &reply),
        200);
    CHECK(str_eq_c(buffer_str(&reply.body), "{\"contentType\":\"text/x\",\"data\":\"aGVsbG8=\"}"));
    CHECK(str_eq(http_reply_header(&reply, STR("x-vertex-ai-deployed-model-id")), STR("1234")));
    http_reply_done(&reply);
    CHECK_EQ(call(&r, "/v1/" ENDPOINT ":streamRawPredict?$alt=json", wrapped, &reply), 200);
    CHECK(
        str_eq_c(buffer_str(&reply.body), "[{\"contentType\":\"text/x\",\"data\":\"aGVsbG8=\"}]"));
    http_reply_done(&reply);
    CHECK_EQ(call(&r, "/v1/" ENDPOINT ":rawPredict", wrapped, &reply), 200); /* as it is */
    CHECK(str_eq(buffer_str(&reply.body), wrapped));
    http_reply_done(&reply);
    CHECK_EQ(call(&r, "/v1/" ENDPOINT ":rawPredict?$alt=json", STR("not wrapped"), &reply), 200);
    CHECK(str_eq_c(buffer_str(&reply.body), "not wrapped"));
    http_reply_done(&reply);
    CHECK_EQ(call(&r, "/v1/" ENDPOINT ":rawPredict?$alt=json",
                  STR("{\"httpBody\":{\"data\":\"!\"}}"), &reply),
             400);
    CHECK(str_find(buffer_str(&reply.body), 'h') > 0);
    http_reply_done(&reply);
    rig_close(&r);
}

TEST(gateway_sends_everything_else_to_control) {
    struct rig r;
    rig_open(&r, "/predict", NULL);
    check_call(&r, "/v1/projects/p/locations/us-central1/endpoints?pageSize=3", 404,
               "{\"control\":true}");
    check_call(&r, "/v1/projects/p/locations/us-central1/endpoints/8:predict", 404,
               "{\"control\":true}");
    check_call(&r, "/v1/" ENDPOINT ":deployModel", 404, "{\"control\":true}");
    rig_close(&r);
}

TEST(gateway_follows_the_routes_file) {
    struct rig r;
    rig_open(&r, NULL, NULL);
    check_call(&r, "/v1/" ENDPOINT ":predict", 404, "{\"control\":true}");
    write_routes(&r, "/predict", r.replica_address, NULL);
    struct http_reply reply;
    int64_t give_up = clock_now(clock_system()) + 5 * (int64_t)NS_PER_S;
    while (call(&r, "/v1/" ENDPOINT ":predict", STR("{}"), &reply) != 200 &&
           clock_now(clock_system()) < give_up) {
        http_reply_done(&reply);
        usleep(5000);
    }
    CHECK_EQ(reply.status, 200);
    http_reply_done(&reply);
    rig_close(&r);
}

/* A replica that takes a request and dies: each connection is read once and closed. */
struct dying {
    int fd;
    bool is_over;
    int n_deaths;
};

static void die_often(void *arg) {
    struct dying *d = arg;
    char bytes[4096];
    while (!__atomic_load_n(&d->is_over, __ATOMIC_SEQ_CST)) {
        int fd = accept(d->fd, NULL, NULL);
        if (fd < 0) {
            usleep(500);
            continue;
        }
        usleep(2000);
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        d->n_deaths += n > 0;
        close(fd);
    }
}

TEST(gateway_repeats_what_a_dying_replica_did_not_answer) {
    struct rig r;
    struct dying d = {0};
    struct net_address a;
    char text[NET_ADDRESS_TEXT_SIZE];
    pthread_t t;
    CHECK_EQ(net_address_parse(&a, STR("127.0.0.1:0"), NULL), STATUS_OK);
    CHECK_EQ(net_listen(&d.fd, &a, NULL), STATUS_OK);
    CHECK_EQ(net_address_of_socket(&a, d.fd, NULL), STATUS_OK);
    CHECK_EQ(thread_start(&t, "dying", die_often, &d, NULL), STATUS_OK);
    rig_open(&r, "/predict", net_address_format(&a, text));
    for (int i = 0; i < 100; i++) {
        check_call(&r, "/v1/" ENDPOINT ":predict", 200, "{\"predictions\": [1, 2]," NAMES);
        usleep(2000);
    }
    rig_close(&r);
    __atomic_store_n(&d.is_over, true, __ATOMIC_SEQ_CST);
    thread_join(t);
    close(d.fd);
    CHECK(d.n_deaths > 0);
}

static void write_states(struct rig *r, const char *first, bool first_is_ready,
                         const char *second) {
    struct route_replica replicas[] = {{str_from_c(first), first_is_ready},
                                       {str_from_c(second), true}};
    struct route_model model = {.id = STR("1234"),
                                .model = STR("projects/p/locations/us-central1/models/m"),
                                .display_name = STR("a model"),
                                .version_id = STR("3"),
                                .predict_route = STR("/predict"),
                                .weight = 100,
                                .is_idempotent = true,
                                .replicas = replicas,
                                .n_replicas = second ? 2 : 1};
    struct route_endpoint e = {.name = STR(ENDPOINT), .models = &model, .n_models = 1};
    struct route_table t = {.generation = ++r->generation, .endpoints = &e, .n_endpoints = 1};
    CHECK_EQ(route_table_write(&t, r->path, NULL), STATUS_OK);
}

struct later {
    struct rig *rig;
    const char *dead;
};

static void say_that_it_is_dead(void *arg) {
    struct later *l = arg;
    usleep(200000);
    write_states(l->rig, l->dead, false, l->rig->replica_address);
}

/* Its socket is open, so that a request waits in it for the next process. */
TEST(gateway_moves_a_request_from_a_replica_that_died_to_one_that_is_ready) {
    struct rig r;
    struct net_address a;
    char text[NET_ADDRESS_TEXT_SIZE];
    pthread_t t;
    int fd;
    CHECK_EQ(net_address_parse(&a, STR("127.0.0.1:0"), NULL), STATUS_OK);
    CHECK_EQ(net_listen(&fd, &a, NULL), STATUS_OK);
    CHECK_EQ(net_address_of_socket(&a, fd, NULL), STATUS_OK);
    struct later later = {&r, net_address_format(&a, text)};
    rig_open(&r, NULL, NULL);
    write_states(&r, later.dead, true, NULL);
    usleep(200000); /* the gateway follows the file */
    CHECK_EQ(thread_start(&t, "later", say_that_it_is_dead, &later, NULL), STATUS_OK);
    int64_t started = clock_now(clock_system());
    check_call(&r, "/v1/" ENDPOINT ":predict", 200, "{\"predictions\": [1, 2]," NAMES);
    CHECK(clock_now(clock_system()) - started < 5 * (int64_t)NS_PER_S);
    thread_join(t);
    rig_close(&r);
    close(fd);
}

static void call_once(void *arg) {
    struct http_reply reply;
    CHECK_EQ(call(arg, "/v1/" ENDPOINT ":predict", STR("{}"), &reply), 503);
    http_reply_done(&reply);
}

/* Where all replicas say that they are busy, sending everything again makes it worse. */
TEST(gateway_sends_only_a_share_of_its_requests_again) {
    enum { N = 24 };
    struct rig r;
    pthread_t t[N];
    struct server *other = start_server("127.0.0.1:0");
    char text[NET_ADDRESS_TEXT_SIZE];
    rig_open(&r, "/busy", net_address_format(server_address(other, 0), text));
    n_served = 0;
    for (size_t i = 0; i < N; i++)
        CHECK_EQ(thread_start(&t[i], "caller", call_once, &r, NULL), STATUS_OK);
    for (size_t i = 0; i < N; i++)
        thread_join(t[i]);
    CHECK(n_served > N && n_served < ATTEMPTS_MAX * N / 2);
    rig_close(&r);
    server_free(other);
}

TEST(gateway_avoids_a_replica_that_nobody_listens_at) {
    struct rig r;
    rig_open(&r, "/predict", "127.0.0.1:1");
    for (int i = 0; i < 50; i++)
        check_call(&r, "/v1/" ENDPOINT ":predict", 200, "{\"predictions\": [1, 2]," NAMES);
    CHECK_EQ(n_served, 50);
    rig_close(&r);
}

static void come_back(void *arg) {
    struct rig *r = arg;
    usleep(200000);
    r->replica = start_server(r->replica_address);
}

TEST(gateway_holds_a_request_until_a_replica_is_back) {
    struct rig r;
    pthread_t t;
    rig_open(&r, "/predict", NULL);
    server_free(r.replica);
    CHECK_EQ(thread_start(&t, "back", come_back, &r, NULL), STATUS_OK);
    check_call(&r, "/v1/" ENDPOINT ":predict", 200, "{\"predictions\": [1, 2]," NAMES);
    thread_join(t);
    rig_close(&r);
}

TEST(gateway_refuses_bad_requests_in_googles_words) {
    struct rig r;
    rig_open(&r, "/predict", NULL);
    char *body = calloc(1, PREDICT_SIZE_MAX + 1);
    struct http_reply reply;
    CHECK_EQ(
        call(&r, "/v1/" ENDPOINT ":predict", (str){.p = body, .n = PREDICT_SIZE_MAX + 1}, &reply),
        413);
    CHECK(str_starts(buffer_str(&reply.body), STR("{\"error\":{\"code\":413,")));
    http_reply_done(&reply);
    free(body);
    struct net_address a;
    CHECK_EQ(net_address_parse(&a, str_from_c(r.address), NULL), STATUS_OK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fd, &a.sa.any, a.size), 0);
    static const char bad[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n";
    char got[1024] = "";
    CHECK_EQ(send(fd, bad, sizeof bad - 1, 0), sizeof bad - 1);
    for (size_t n = 0; n < sizeof got - 1;) {
        ssize_t more = recv(fd, got + n, sizeof got - 1 - n, 0);
        if (more <= 0)
            break;
        n += (size_t)more;
    }
    close(fd);
    CHECK(strstr(got, "400 Bad Request") && strstr(got, "\"status\":\"INVALID_ARGUMENT\"}}"));
    rig_close(&r);
}
