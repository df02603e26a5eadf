/* The whole server in one process, with a backend of the test's own: for the sanitizers. */
#include "server/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "net/http_call.h"
#include "server/backend/block.h"
#include "support/test.h"

/* Copies its input; a request of priority 9 fails. */
struct backend_instance {
    const struct model_spec *spec;
    struct block_pool *pool;
};

static status echo_model_open(struct backend_model **out, const struct backend_source *source,
                              struct error *err) {
    (void)source;
    (void)err;
    *out = NULL;
    return STATUS_OK;
}

static status echo_open(struct backend_instance **out, struct backend_model *m,
                        const struct model_spec *spec, struct error *err) {
    (void)m;
    (void)err;
    *out = calloc(1, sizeof **out);
    (*out)->spec = spec;
    (*out)->pool = block_pool_new();
    return STATUS_OK;
}

static void echo_close(struct backend_instance *i) {
    block_pool_free(i->pool);
    free(i);
}

static _Atomic int n_echoed; /* requests */

static void echo_run(struct backend_instance *i, struct infer_batch *b) {
    b->input_end_ns = b->output_start_ns = clock_now(b->clock);
    for (size_t k = 0; k < b->n; k++) {
        struct infer_request *r = b->requests[k];
        n_echoed++;
        if (r->priority == 9) {
            infer_respond_error(r, STATUS_INTERNAL, "as asked");
            continue;
        }
        struct tensor t = r->inputs[0];
        struct block *block = block_get(i->pool, t.size);
        if (t.size)
            memcpy(block_data(block), t.data, t.size);
        t.data = block_data(block);
        t.release = block_release;
        t.release_arg = block;
        infer_respond(r, &(struct infer_response){.outputs = &t, .is_last = true});
    }
}

static const struct backend echo = {.name = "echo",
                                    .version_path = "(test)",
                                    .model_open = echo_model_open,
                                    .instance_open = echo_open,
                                    .instance_close = echo_close,
                                    .run = echo_run};
static const struct backend *const backends[] = {&echo};

static const char config[] = "backend: \"echo\" max_batch_size: 4 dynamic_batching { }\n"
                             "input { name: \"x\" data_type: TYPE_FP32 dims: [ -1 ] }\n"
                             "output { name: \"y\" data_type: TYPE_FP32 dims: [ -1 ] }\n";

struct rig {
    char folder[64];
    char address[64];
    const char *path;
    struct serve *serve;
};

static void write_model(const struct rig *g, const char *name, const char *text) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s/1", g->folder, name);
    CHECK_EQ(file_make_folder(path, NULL), STATUS_OK);
    snprintf(path, sizeof path, "%s/%s/config.pbtxt", g->folder, name);
    CHECK_EQ(file_write(path, text, strlen(text), NULL), STATUS_OK);
}

static struct serve_options options_of(const struct rig *g) {
    return (struct serve_options){.repository = {.paths = &g->path,
                                                 .n_paths = 1,
                                                 .backends = backends,
                                                 .n_backends = 1,
                                                 .default_max_batch_size = 4,
                                                 .n_load_threads = 2},
                                  .server_id = "test",
                                  .http = {.address = "127.0.0.1:0", .fd = -1},
                                  .metrics = {.fd = -1},
                                  .vertex = {.fd = -1},
                                  .n_loops = 2,
                                  .is_strict_readiness = true,
                                  .exit_timeout_ms = 5000};
}

static void rig_start(struct rig *g, model_control control) {
    struct error err = {0};
    *g = (struct rig){0};
    snprintf(g->folder, sizeof g->folder, "/tmp/culmen-serve-XXXXXX");
    CHECK(mkdtemp(g->folder) != NULL);
    write_model(g, "m", config);
    g->path = g->folder;
    struct serve_options o = options_of(g);
    o.repository.control = control;
    CHECK_EQ(serve_start(&g->serve, &o, &err), STATUS_OK);
    snprintf(g->address, sizeof g->address, "127.0.0.1:%d", serve_http_port(g->serve));
}

static void rig_stop(struct rig *g) {
    char command[128];
    serve_stop(g->serve);
    snprintf(command, sizeof command, "rm -rf %s", g->folder);
    CHECK_EQ(system(command), 0);
}

/* The status; the body goes to `text`. */
static int call(const struct rig *g, const char *method, const char *target, const char *body,
                char text[4096]) {
    struct http_reply reply = {0};
    struct error err = {0};
    struct http_request q = {
        .method = str_from_c(method), .target = str_from_c(target), .body = str_from_c(body)};
    int http_status = 0;
    if (http_call(&reply, str_from_c(g->address), &q, &err) == STATUS_OK)
        http_status = reply.status;
    snprintf(text, 4096, "%.*s", STR_ARG(buffer_str(&reply.body)));
    http_reply_done(&reply);
    return http_status;
}

static const char infer[] = "/v2/models/m/infer";
static const char request[] =
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[1.5,2]}]}";

TEST(serve_answers_an_inference) {
    struct rig g;
    char text[4096];
    rig_start(&g, MODEL_CONTROL_NONE);
    CHECK_EQ(call(&g, "POST", infer, request, text), 200);
    CHECK_STR(text, "{\"model_name\":\"m\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"y\","
                    "\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[1.5,2.0]}]}");
    rig_stop(&g);
}

TEST(serve_passes_a_backends_error_on) {
    struct rig g;
    char text[4096];
    rig_start(&g, MODEL_CONTROL_NONE);
    CHECK_EQ(call(&g, "POST", infer,
                  "{\"parameters\":{\"priority\":9},\"inputs\":[{\"name\":\"x\",\"datatype\":"
                  "\"FP32\",\"shape\":[1,1],\"data\":[1]}]}",
                  text),
             500);
    CHECK_STR(text, "{\"error\":\"as asked\"}");
    CHECK_EQ(call(&g, "GET", "/v2/models/m/stats", NULL, text), 200);
    CHECK(strstr(text, "\"fail\":{\"count\":1"));
    rig_stop(&g);
}

static void ask_often(void *arg) {
    const struct rig *g = arg;
    struct http_link *link = NULL;
    struct error err;
    CHECK_EQ(http_link_open(&link, str_from_c(g->address), &err), STATUS_OK);
    for (int i = 0; i < 200; i++) {
        struct http_reply reply = {0};
        struct http_request q = {
            .method = STR("POST"), .target = str_from_c(infer), .body = str_from_c(request)};
        CHECK_EQ(http_link_call(link, &reply, &q, &err), STATUS_OK);
        CHECK(reply.status == 200 || reply.status == 404 || reply.status == 503);
        http_reply_done(&reply);
    }
    http_link_close(link);
}

TEST(serve_warms_a_model_up) {
    struct rig g;
    char text[4096];
    rig_start(&g, MODEL_CONTROL_EXPLICIT);
    char warm[1024];
    snprintf(warm, sizeof warm,
             "%s model_warmup [{ name: \"w\" batch_size: 2 count: 3 inputs { key: \"x\" value { "
             "data_type: TYPE_FP32 dims: [ 5 ] random_data: true } } }, { name: \"off\" }]",
             config);
    write_model(&g, "warm", warm);
    n_echoed = 0;
    CHECK_EQ(call(&g, "POST", "/v2/repository/models/warm/load", "{}", text), 200);
    CHECK_EQ(n_echoed, 3);
    rig_stop(&g);
}

TEST(serve_answers_many_at_once) {
    struct rig g;
    pthread_t threads[4];
    rig_start(&g, MODEL_CONTROL_NONE);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK_EQ(thread_start(&threads[i], "ask", ask_often, &g, NULL), STATUS_OK);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        thread_join(threads[i]);
    char text[4096];
    CHECK_EQ(call(&g, "GET", "/v2/models/m/stats", NULL, text), 200);
    CHECK(strstr(text, "\"success\":{\"count\":800"));
    rig_stop(&g);
}

TEST(serve_loads_and_unloads_under_load) {
    struct rig g;
    pthread_t thread;
    char text[4096];
    rig_start(&g, MODEL_CONTROL_EXPLICIT);
    CHECK_EQ(thread_start(&thread, "ask", ask_often, &g, NULL), STATUS_OK);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(call(&g, "POST", "/v2/repository/models/m/load", "{}", text), 200);
        CHECK_EQ(call(&g, "POST", "/v2/repository/models/m/unload", "{}", text), 200);
    }
    thread_join(thread);
    rig_stop(&g);
}

TEST(serve_takes_a_configuration_with_a_load) {
    struct rig g;
    char text[4096];
    rig_start(&g, MODEL_CONTROL_EXPLICIT);
    CHECK_EQ(
        call(&g, "POST", "/v2/repository/models/m/load",
             "{\"parameters\":{\"config\":\"{\\\"backend\\\":\\\"echo\\\",\\\"max_batch_size"
             "\\\":2,\\\"input\\\":[{\\\"name\\\":\\\"x\\\",\\\"data_type\\\":\\\"TYPE_FP32\\\","
             "\\\"dims\\\":[-1]}],\\\"output\\\":[{\\\"name\\\":\\\"y\\\",\\\"data_type\\\":"
             "\\\"TYPE_FP32\\\",\\\"dims\\\":[-1]}]}\"}}",
             text),
        200);
    CHECK_EQ(call(&g, "GET", "/v2/models/m/config", NULL, text), 200);
    CHECK(strstr(text, "\"max_batch_size\":2"));
    CHECK_EQ(call(&g, "POST", "/v2/repository/models/m/load",
                  "{\"parameters\":{\"config\":\"{\\\"nonsense\\\":1}\"}}", text),
             500);
    rig_stop(&g);
}

TEST(serve_refuses_configurations_that_cannot_be) {
    static const struct {
        const char *config, *text;
    } rows[] = {
        {"max_batch_size: -1", "non-negative"},
        {"name: \"other\"", "directory name must equal model name"},
        {"backend: \"none\"", "unable to find backend library for backend 'none'"},
        {"instance_group [{ kind: KIND_GPU }]", "does not support GPUs"},
        {"dynamic_batching { preferred_batch_size: [ 9 ] }", "must be <= max batch size"},
        {"dynamic_batching { priority_levels: 2 }", "default priority level"},
        {"version_policy: { specific: { versions: [ 7 ] } }", "at least one version"},
        {"ensemble_scheduling { }", "ensemble"},
        {"sequence_batching { }", "sequence_batching"},
        {"input { name: \"x\" data_type: TYPE_FP32 dims: [ 0 ] } output { name: \"y\" data_type: "
         "TYPE_FP32 dims: [ 1 ] }",
         "dimension must be integer >= 1"},
        {"input { name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 3 ] } } output { "
         "name: \"y\" data_type: TYPE_FP32 dims: [ 1 ] }",
         "different size for dims and reshape"},
        {"output { name: \"y\" data_type: TYPE_FP32 dims: [ 1 ] }", "has no input"},
        {"nonsense: 1", "nonsense"},
        {"platform: \"onnxruntime_onnx\" backend: \"python\"", "unexpected 'platform'"},
        {"input { name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] is_shape_tensor: true }",
         "TensorRT"},
        {"input { name: \"x\" is_non_linear_format_io: true }", "TensorRT"},
        {"instance_group { profile: \"1\" }", "TensorRT"},
        {"model_operations { op_library_filename: \"x.so\" }", "foreign code"},
        {"model_repository_agents { agents { name: \"x\" } }", "foreign code"},
        {"runtime: \"libx.so\"", "foreign code"},
        {"metric_tags { key: \"a-b\" value: \"c\" }", "to be a label"},
        {"max_batch_size: 8 dynamic_batching { preserve_ordering: true default_queue_policy { "
         "timeout_action: DELAY } }",
         "preserve_ordering"},
        {"input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] }, { name: \"x\" data_type: "
         "TYPE_FP32 dims: [ 4 ] } ] output { name: \"y\" data_type: TYPE_FP32 dims: [ 4 ] }",
         "input 'x' twice"},
        {"input { name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] } output { name: \"y\" data_type: "
         "TYPE_FP32 dims: [ 4 ] } model_warmup { name: \"w\" batch_size: 1 inputs { key: \"z\" "
         "value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } }",
         "failed to run warmup sample 'w'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig g;
        char text[1024], answer[4096];
        rig_start(&g, MODEL_CONTROL_EXPLICIT);
        bool has_backend = strstr(rows[i].config, "backend:") != NULL;
        snprintf(text, sizeof text, "%s\n%s", has_backend ? "" : "backend: \"echo\"",
                 rows[i].config);
        write_model(&g, "bad", text);
        int got = call(&g, "POST", "/v2/repository/models/bad/load", "{}", answer);
        CHECK(got == 400 || got == 500);
        CHECK_EQ(call(&g, "POST", "/v2/repository/index", "{}", answer), 200);
        if (!strstr(answer, rows[i].text))
            test_fail(__FILE__, __LINE__, "wanted %s in %s", rows[i].text, answer);
        rig_stop(&g);
    }
}
