#include "server/backend/request.h"

#include <stdlib.h>

#include "support/test.h"

static struct io_spec inputs[2] = {
    {.name = {"A", 1}, .dtype = DTYPE_F32, .rank = 1, .dims = {4}},
    {.name = {"B", 1}, .dtype = DTYPE_BYTES, .rank = 1, .dims = {-1}}};
static struct model_spec model = {
    .name = {"m", 1}, .max_batch_size = 8, .inputs = inputs, .n_inputs = 2};

struct rig {
    struct tensor bound[2];
    struct infer_request request;
    struct infer_named named[3];
    struct error err;
};

static float data[64];
static const char texts[] = "\2\0\0\0hi\0\0\0\0";

static void rig_init(struct rig *g) {
    *g = (struct rig){
        .request = {.model = &model},
        .named =
            {{.name = STR("B"),
              .tensor = {.dtype = DTYPE_BYTES,
                         .rank = 2,
                         .dims = {1, 2},
                         .data = (void *)(uintptr_t)texts,
                         .size = sizeof texts - 1}},
             {.name = STR("A"),
              .tensor = {.dtype = DTYPE_F32, .rank = 2, .dims = {1, 4}, .data = data, .size = 16}}},
    };
    g->request.inputs = g->bound;
}

static const char *refusal(struct rig *g, size_t n) {
    CHECK_EQ(infer_request_bind(&g->request, g->named, n, &g->err), STATUS_INVALID_ARGUMENT);
    return g->err.text;
}

TEST(request_bind_puts_inputs_into_the_models_order) {
    struct rig g;
    rig_init(&g);
    CHECK_EQ(infer_request_bind(&g.request, g.named, 2, &g.err), STATUS_OK);
    CHECK(g.bound[0].data == data);
    CHECK_EQ(g.bound[1].dtype, DTYPE_BYTES);
    CHECK_EQ(g.request.n_batch, 1);
    CHECK(!g.named[0].tensor.data);
}

TEST(request_bind_names_missing_inputs) {
    struct rig g;
    rig_init(&g);
    CHECK_STR(refusal(&g, 1),
              "[request id: <id_unknown>] expected 2 inputs but got 1 inputs for model 'm'. Got "
              "input(s) ['B'], but missing required input(s) ['A']. Please provide all required "
              "input(s).");
}

TEST(request_bind_refuses_an_input_given_twice) {
    struct rig g;
    rig_init(&g);
    g.named[1] = g.named[0];
    CHECK_STR(refusal(&g, 2), "[request id: <id_unknown>] input 'B' already exists in request");
}

TEST(request_bind_refuses_too_large_and_unequal_batches) {
    struct rig g;
    rig_init(&g);
    g.named[1].tensor.dims[0] = 2;
    CHECK(strstr(refusal(&g, 2), "batch size does not match other inputs"));
    g.named[0].tensor.dims[0] = g.named[1].tensor.dims[0] = 9;
    CHECK(strstr(refusal(&g, 2), "batch-size must be <= 8"));
    g.named[0].tensor.dims[0] = g.named[1].tensor.dims[0] = 0;
    CHECK(strstr(refusal(&g, 2), "batch-size must be <= 8"));
}

TEST(request_bind_checks_type_shape_and_size) {
    struct rig g;
    rig_init(&g);
    g.named[1].tensor.size = 12;
    CHECK(strstr(refusal(&g, 2), "Expected 16, got 12"));
    g.named[1].tensor.dims[1] = 3;
    CHECK(strstr(refusal(&g, 2), "Expected [-1,4], got [1,3]"));
    g.named[1].tensor.dtype = DTYPE_I32;
    CHECK(strstr(refusal(&g, 2), "data-type is 'INT32', but model 'm' expects 'FP32'"));
}

TEST(request_bind_counts_the_elements_of_bytes) {
    struct rig g;
    rig_init(&g);
    g.named[0].tensor.dims[1] = 3;
    CHECK(strstr(refusal(&g, 2), "unexpected number of string elements 2"));
    g.named[0].tensor.size--;
    CHECK(strstr(refusal(&g, 2), "cut at byte 6"));
}

TEST(request_bind_survives_shapes_that_overflow) {
    struct rig g;
    rig_init(&g);
    struct io_spec wide = {.name = {"A", 1}, .dtype = DTYPE_F32, .rank = 2, .dims = {-1, -1}};
    struct model_spec m = {.name = {"m", 1}, .inputs = &wide, .n_inputs = 1};
    g.request.model = &m;
    g.named[0] = (struct infer_named){
        .name = STR("A"),
        .tensor = {.dtype = DTYPE_F32, .rank = 2, .dims = {INT64_MAX, 4}, .data = data}};
    CHECK(strstr(refusal(&g, 1), "too large"));
}
