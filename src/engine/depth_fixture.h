/* depth_fixture.h - a plan built by hand with steps that are worth running depth first. */
#ifndef ENGINE_DEPTH_FIXTURE_H
#define ENGINE_DEPTH_FIXTURE_H

#include "ops/fused.h"
#include "plan/write.h"

/* z = relu(transpose(pool(norm(t) + t))), t = transpose(relu(x)), x [n, 3, 4, 4]; `mid` is norm(t).
 * The two Relus are ONNX's and stay outside of the span, which is steps 1 to 5. */
enum { IN, SCALE, CLIPPED, T, NORM, SUMMED, POOL, Y, Z, N_DEPTH_VALUES };
enum { N_DEPTH_STEPS = 7, BATCH_MAX = 13, IN_SIZE = 3 * 4 * 4, Z_SIZE = 3 * 2 * 2 };

static const float scale[16] = {1, 2, 3};

static struct attr to_nhwc[] = {
    {.name = STR("perm"), .kind = ATTR_INTS, .n = 4, .ints = (const int64_t[]){0, 2, 3, 1}}};
static struct attr to_nchw[] = {
    {.name = STR("perm"), .kind = ATTR_INTS, .n = 4, .ints = (const int64_t[]){0, 3, 1, 2}}};
static struct attr layer[] = {{.name = STR("kind"), .kind = ATTR_STRING, .n = 1, .s = STR("layer")},
                              {.name = STR("epsilon"), .kind = ATTR_FLOAT, .n = 1, .f = 1e-5F}};
static struct attr add[] = {
    {.name = STR("code"), .kind = ATTR_INTS, .n = 5, .ints = (const int64_t[]){EW_ADD, 2, 0, 1, 0}},
    {.name = STR("results"), .kind = ATTR_INTS, .n = 1, .ints = (const int64_t[]){2}},
    {.name = STR("dtypes"), .kind = ATTR_INTS, .n = 1, .ints = (const int64_t[]){DTYPE_F32}}};
static struct attr pool[] = {
    {.name = STR("kind"), .kind = ATTR_STRING, .n = 1, .s = STR("max")},
    {.name = STR("kernel_shape"), .kind = ATTR_INTS, .n = 2, .ints = (const int64_t[]){2, 2}},
    {.name = STR("strides"), .kind = ATTR_INTS, .n = 2, .ints = (const int64_t[]){2, 2}}};

#define VALUE(k, r, ...)                                                                           \
    {                                                                                              \
        .kind = PLAN_##k, .dtype = DTYPE_F32, .rank = (r), .dims = { __VA_ARGS__ }                 \
    }
#define STEP(o, k, a, n_inputs, n_attrs, ...)                                                      \
    {.op = STR(o),                                                                                 \
     .kernel = STR(k),                                                                             \
     .opset = 14,                                                                                  \
     .attrs = {(a), (n_attrs)},                                                                    \
     .in = (const uint32_t[]){__VA_ARGS__},                                                        \
     .n_in = (n_inputs),                                                                           \
     .n_out = 1,                                                                                   \
     .out = (const uint32_t[]){__VA_ARGS__} + (n_inputs)}

static struct plan_value values[N_DEPTH_VALUES] = {
    [IN] = {.name = STR("x"),
            .kind = PLAN_INPUT,
            .dtype = DTYPE_F32,
            .rank = 4,
            .dims = {DIM_EXPR, 3, 4, 4}},
    [CLIPPED] = VALUE(PLANNED, 4, DIM_EXPR, 3, 4, 4),
    [T] = VALUE(PLANNED, 4, DIM_EXPR, 4, 4, 3),
    [NORM] = VALUE(PLANNED, 4, DIM_EXPR, 4, 4, 3),
    [SUMMED] = VALUE(PLANNED, 4, DIM_EXPR, 4, 4, 3),
    [POOL] = VALUE(PLANNED, 4, DIM_EXPR, 2, 2, 3),
    [Y] = VALUE(PLANNED, 4, DIM_EXPR, 3, 2, 2),
    [Z] = VALUE(PLANNED, 4, DIM_EXPR, 3, 2, 2),
    [SCALE] = {.kind = PLAN_CONSTANT, .dtype = DTYPE_F32, .rank = 1, .dims = {3}, .size = 12}};

static const struct plan_step steps[N_DEPTH_STEPS] = {
    STEP("Relu", "ref.Relu", NULL, 1, 0, IN, CLIPPED),
    STEP("Transpose", "generic.transpose", to_nhwc, 1, ARRAY_LEN(to_nhwc), CLIPPED, T),
    STEP("Norm", "ref.Norm", layer, 2, ARRAY_LEN(layer), T, SCALE, NORM),
    STEP("Elementwise", "generic.elementwise", add, 2, ARRAY_LEN(add), NORM, T, SUMMED),
    STEP("Pool2d", "generic.pool2d", pool, 1, ARRAY_LEN(pool), SUMMED, POOL),
    STEP("Transpose", "generic.transpose", to_nchw, 1, ARRAY_LEN(to_nchw), POOL, Y),
    STEP("Relu", "ref.Relu", NULL, 1, 0, Y, Z)};

static inline void *depth_fixture_bytes(size_t *size) {
    void *bytes = NULL;
    struct error err;
    const struct plan plan = {
        .meta = STR("{}"),
        .symbols = &(struct dim_symbol){.name = STR("n"), .min = 1, .max = BATCH_MAX},
        .n_symbols = 1,
        .exprs = &(struct dim_expr){.op = DIM_SYMBOL},
        .n_exprs = 1,
        .values = values,
        .n_values = N_DEPTH_VALUES,
        .steps = steps,
        .n_steps = N_DEPTH_STEPS,
        .inputs = (const uint32_t[]){IN},
        .n_inputs = 1,
        .outputs = (const struct plan_output[]){{.name = STR("z"), .value = Z},
                                                {.name = STR("mid"), .value = NORM}},
        .n_outputs = 2,
        .weights = (const char *)scale,
        .weights_size = sizeof scale};
    return plan_encode(&bytes, size, &plan, &err) == STATUS_OK ? bytes : NULL;
}

static inline void depth_fixture_fill(float *x) {
    for (int i = 0; i < BATCH_MAX * IN_SIZE; i++)
        x[i] = (float)(i * 37 % 101) - 20;
}

#endif
