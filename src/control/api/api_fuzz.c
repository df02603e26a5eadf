/* Requests as a caller may send them: "METHOD /path?query\nBODY", again and again on one store
 * that holds an endpoint, a model and an open operation. */
#include <stdlib.h>

#include "control/api/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct api api = {.public_address = "127.0.0.1:8080"};

static void call(str method, str path, str query, str body) {
    struct arena a = {0};
    struct api_request request = {.method = method, .path = path, .query = query, .body = body};
    struct api_reply reply;
    api_handle(&api, &a, &request, &reply);
    if (reply.status < 200 || reply.status > 599 || reply.body.n == 0)
        abort();
    /* What is answered is JSON, whatever was asked. */
    struct json_value *v;
    if (json_parse(&v, &a, reply.body, NULL) != STATUS_OK)
        abort();
    arena_release(&a);
}

static void prepare(void) {
    struct error err;
    if (store_open(&api.store, ":memory:", &err) != STATUS_OK)
        abort();
    call(STR("POST"), STR("/v1/projects/p/locations/l/endpoints"), STR("endpointId=e"),
         STR("{\"displayName\":\"e\",\"labels\":{\"a\":\"b\"}}"));
    call(STR("POST"), STR("/v1/projects/p/locations/l/models:upload"), STR(""),
         STR("{\"modelId\":\"m\",\"model\":{\"displayName\":\"m\",\"containerSpec\":{\"imageUri\":"
             "\"x\"}}}"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int n_calls;
    if (n_calls++ % 10000 == 0) { /* a new store before this one is full */
        store_close(api.store);
        prepare();
    }
    str body = {.p = (const char *)data, .n = size}, line, method, path;
    if (!str_next(&body, '\n', &line) || !str_next(&line, ' ', &method))
        return 0;
    str query = line;
    if (!str_next(&query, '?', &path))
        return 0;
    call(method, path, query.p ? query : STR(""), body.p ? body : STR(""));
    return 0;
}
