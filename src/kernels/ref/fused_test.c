/* The fused operators against the ONNX operators that they stand for. */
#include "ops/fused.h"

#include "kernels/ref/ref_run_internal.h"
#include "support/test.h"

static uint32_t seed = 1;

static float random_float(void) {
    seed = seed * 1664525 + 1013904223;
    return (float)(seed >> 8) / (float)(1 << 23) - 1;
}

/* What tests allocate lives until they end: each runs in a process of its own. */
static struct arena kept;

static void keep(const struct tensor *t) {
    arena_defer(&kept, free, t->data);
}

static struct tensor random_of(int rank, const int64_t *dims) {
    struct tensor t = {.dtype = DTYPE_F32, .rank = (uint8_t)rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    CHECK(tensor_size(t.dtype, t.dims, t.rank, &t.size));
    t.data = malloc(t.size);
    keep(&t);
    for (size_t i = 0; i < t.size / 4; i++)
        ((float *)t.data)[i] = random_float();
    return t;
}

#define RANDOM(...)                                                                                \
    random_of(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static struct attr of_int(const char *name, int64_t i) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_INT, .n = 1, .i = i};
}
static struct attr of_float(const char *name, float f) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_FLOAT, .n = 1, .f = f};
}
static struct attr of_string(const char *name, const char *s) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_STRING, .n = 1, .s = str_from_c(s)};
}
static struct attr of_ints(const char *name, size_t n, const int64_t *ints) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_INTS, .n = n, .ints = ints};
}
static struct attr of_floats(const char *name, size_t n, const float *floats) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_FLOATS, .n = n, .floats = floats};
}

/* Runs an operator; ends the test when it fails. */
static struct tensor run(op_id op, size_t n_attrs, const struct attr *attrs, size_t n_in,
                         const struct tensor *const *in) {
    struct attr_list list = {.items = attrs, .n = n_attrs};
    struct tensor out;
    struct error err = {.text = ""};
    status s = ref_run(op, op_find(STR(""), str_from_c(op_get(op)->name)) ? 21 : 0, &list, in, n_in,
                       &out, 1, SIZE_MAX, &err);
    if (s != STATUS_OK) {
        test_fail(__FILE__, __LINE__, "%s: %s", op_get(op)->name, err.text);
        exit(1);
    }
    keep(&out);
    return out;
}

#define ATTRS(...)                                                                                 \
    sizeof((struct attr[]){__VA_ARGS__}) / sizeof(struct attr), (struct attr[]) {                  \
        __VA_ARGS__                                                                                \
    }
#define IN(...)                                                                                    \
    sizeof((const struct tensor *[]){__VA_ARGS__}) / sizeof(void *), (const struct tensor *[]) {   \
        __VA_ARGS__                                                                                \
    }

static struct tensor permuted(const struct tensor *t, const int64_t *perm) {
    return run(OP_Transpose, ATTRS(of_ints("perm", t->rank, perm)), IN(t));
}

static const int64_t to_nhwc[] = {0, 2, 3, 1};

static void check_same(const struct tensor *got, const struct tensor *want) {
    char a[DIMS_TEXT_SIZE], b[DIMS_TEXT_SIZE];
    if (!tensor_same_dims(got, want)) {
        test_fail(__FILE__, __LINE__, "got %s, want %s", dims_format(got->dims, got->rank, a),
                  dims_format(want->dims, want->rank, b));
        return;
    }
    for (int64_t i = 0; i < tensor_n_elements(got); i++) {
        double x = ref_get(got, i), y = ref_get(want, i);
        if (!(fabs(x - y) <= 1e-5 + 1e-5 * fabs(y))) {
            test_fail(__FILE__, __LINE__, "element %lld: got %g, want %g", (long long)i, x, y);
            return;
        }
    }
}

TEST(linear_is_matmul_bias_activation_residual) {
    struct tensor x = RANDOM(2, 5, 7), w = RANDOM(7, 70), bias = RANDOM(70);
    struct tensor residual = RANDOM(2, 5, 70);
    struct tensor p = run(OP_MatMul, 0, NULL, IN(&x, &w)), s = run(OP_Add, 0, NULL, IN(&p, &bias));
    struct tensor g = run(OP_Gelu, 0, NULL, IN(&s));
    struct tensor want = run(OP_Add, 0, NULL, IN(&g, &residual));
    struct tensor got = run(OP_Linear, ATTRS(of_int("activation", ACTIVATION_GELU_ERF)),
                            IN(&x, &w, &bias, &residual));
    check_same(&got, &want);
    struct tensor sr = run(OP_Add, 0, NULL, IN(&s, &residual)), r = run(OP_Relu, 0, NULL, IN(&sr));
    got = run(OP_Linear, ATTRS(of_int("activation", ACTIVATION_RELU), of_int("residual_first", 1)),
              IN(&x, &w, &bias, &residual));
    check_same(&got, &r);
}

static void check_conv2d(int64_t channels, int64_t maps, int64_t group, const int64_t *pads,
                         const int64_t *strides, const int64_t *dilations) {
    struct tensor x = RANDOM(2, channels, 9, 8), w = RANDOM(maps, channels / group, 3, 2);
    struct tensor bias = RANDOM(maps);
    struct attr attrs[] = {of_int("group", group), of_ints("pads", 4, pads),
                           of_ints("strides", 2, strides), of_ints("dilations", 2, dilations)};
    struct tensor y = run(OP_Conv, 4, attrs, IN(&x, &w, &bias)), want = permuted(&y, to_nhwc);
    struct tensor x2 = permuted(&x, to_nhwc), w2 = permuted(&w, to_nhwc);
    struct tensor got = run(OP_Conv2d, 4, attrs, IN(&x2, &w2, &bias));
    check_same(&got, &want);
}

TEST(conv2d_is_conv_with_channels_last) {
    static const int64_t none[4] = {0}, some[4] = {1, 0, 2, 1}, one[2] = {1, 1}, two[2] = {2, 1};
    check_conv2d(4, 6, 1, none, one, one);
    check_conv2d(4, 6, 2, some, two, one);
    check_conv2d(4, 4, 4, some, one, two);
    check_conv2d(4, 8, 4, none, two, two);
}

TEST(conv_transpose2d_is_conv_transpose_with_channels_last) {
    static const int64_t pads[4] = {1, 0, 0, 1}, strides[2] = {2, 3}, extra[2] = {1, 0};
    static const int64_t perm[] = {0, 2, 3, 1};
    struct tensor x = RANDOM(2, 4, 5, 6), w = RANDOM(4, 3, 3, 2), bias = RANDOM(3);
    struct attr attrs[] = {of_ints("pads", 4, pads), of_ints("strides", 2, strides),
                           of_ints("output_padding", 2, extra)};
    struct tensor y = run(OP_ConvTranspose, 3, attrs, IN(&x, &w, &bias));
    struct tensor want = permuted(&y, to_nhwc), x2 = permuted(&x, to_nhwc), w2 = permuted(&w, perm);
    struct tensor got = run(OP_ConvTranspose2d, 3, attrs, IN(&x2, &w2, &bias));
    check_same(&got, &want);
}

TEST(pool2d_is_a_pool_with_channels_last) {
    static const int64_t pads[4] = {1, 1, 0, 1}, strides[2] = {2, 2}, kernel[2] = {3, 2};
    struct tensor x = RANDOM(2, 3, 8, 9), x2 = permuted(&x, to_nhwc);
    for (int i = 0; i < 8; i++) {
        bool is_max = i & 1;
        struct attr attrs[] = {of_ints("pads", 4, pads),
                               of_ints("strides", 2, strides),
                               of_ints("kernel_shape", 2, kernel),
                               of_int("ceil_mode", i >> 1 & 1),
                               of_int("count_include_pad", i >> 2 & 1),
                               of_string("kind", is_max ? "max" : "average")};
        struct tensor y = run(is_max ? OP_MaxPool : OP_AveragePool, 6, attrs, IN(&x));
        struct tensor want = permuted(&y, to_nhwc), got = run(OP_Pool2d, 6, attrs, IN(&x2));
        check_same(&got, &want);
    }
    struct tensor y = run(OP_GlobalAveragePool, 0, NULL, IN(&x)), want = permuted(&y, to_nhwc);
    struct tensor got =
        run(OP_Pool2d, ATTRS(of_string("kind", "average"), of_int("global", 1)), IN(&x2));
    check_same(&got, &want);
}

TEST(resize2d_is_resize_with_channels_last) {
    static const char *const coordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners",
                                              "asymmetric"};
    struct tensor x = RANDOM(2, 3, 5, 6), x2 = permuted(&x, to_nhwc);
    int64_t four[] = {2, 3, 9, 4}, two[] = {9, 4};
    struct tensor sizes4 = {.dtype = DTYPE_I64, .rank = 1, .dims = {4}, .data = four, .size = 32};
    struct tensor sizes2 = {.dtype = DTYPE_I64, .rank = 1, .dims = {2}, .data = two, .size = 16};
    for (size_t i = 0; i < 8; i++) {
        struct attr attrs[] = {of_string("mode", i & 4 ? "linear" : "nearest"),
                               of_string("coordinate_transformation_mode", coordinates[i & 3]),
                               of_string("coordinate", coordinates[i & 3])};
        struct tensor y = run(OP_Resize, 3, attrs, IN(&x, NULL, NULL, &sizes4));
        struct tensor want = permuted(&y, to_nhwc);
        struct tensor got = run(OP_Resize2d, 3, attrs, IN(&x2, &sizes2));
        check_same(&got, &want);
    }
    static const float scales[] = {1.5f, 2};
    struct tensor got = run(OP_Resize2d, ATTRS(of_floats("scales", 2, scales)), IN(&x2));
    CHECK_EQ(got.dims[1], 7);
    CHECK_EQ(got.dims[2], 12);
}

/* q, k and v are columns of one tensor; the mask lacks the dim of heads. */
TEST(attention_is_softmax_of_products) {
    enum { B = 2, S = 5, H = 3, D = 4, ROW = 3 * H * D };
    struct tensor qkv = RANDOM(B, S, ROW), mask = RANDOM(B, 1, 1, S);
    struct tensor got =
        run(OP_Attention,
            ATTRS(of_int("heads", H), of_int("head_size", D), of_int("k_offset", H * D),
                  of_int("v_offset", 2 * H * D), of_float("scale", 0.5f)),
            IN(&qkv, &qkv, &qkv, &mask));
    struct tensor want = RANDOM(B, S, H * D);
    const float *x = qkv.data, *m = mask.data;
    for (int i = 0; i < B * S * H; i++) {
        int b = i / (S * H), s = i / H % S, h = i % H;
        double weights[S], sum = 0;
        for (int j = 0; j < S; j++) {
            double dot = 0;
            for (int d = 0; d < D; d++)
                dot += (double)x[(b * S + s) * ROW + h * D + d] *
                       (double)x[(b * S + j) * ROW + H * D + h * D + d];
            weights[j] = exp(dot * 0.5 + (double)m[b * S + j]);
            sum += weights[j];
        }
        for (int d = 0; d < D; d++) {
            double y = 0;
            for (int j = 0; j < S; j++)
                y += weights[j] / sum * (double)x[(b * S + j) * ROW + 2 * H * D + h * D + d];
            ((float *)want.data)[(b * S + s) * H * D + h * D + d] = (float)y;
        }
    }
    check_same(&got, &want);
}

TEST(norm_is_layer_normalization_of_a_sum) {
    struct tensor x = RANDOM(3, 4, 10), scale = RANDOM(10), bias = RANDOM(10);
    struct tensor residual = RANDOM(3, 4, 10);
    struct tensor sum = run(OP_Add, 0, NULL, IN(&x, &residual));
    struct attr attrs[] = {of_float("epsilon", 1e-3f), of_string("kind", "layer")};
    struct tensor want = run(OP_LayerNormalization, 1, attrs, IN(&sum, &scale, &bias));
    struct tensor got = run(OP_Norm, 2, attrs, IN(&x, &scale, &bias, &residual));
    check_same(&got, &want);
    attrs[1].s = STR("rms");
    want = run(OP_RMSNormalization, 1, attrs, IN(&x, &scale));
    got = run(OP_Norm, 2, attrs, IN(&x, &scale));
    check_same(&got, &want);
    attrs[1].s = STR("l2");
    attrs[0].f = 1e-12f;
    want = run(OP_LpNormalization, 0, NULL, IN(&x));
    got = run(OP_Norm, 2, attrs, IN(&x));
    check_same(&got, &want);
}

TEST(norm_gives_its_sum_and_a_second_dtype) {
    struct tensor x = RANDOM(2, 8), residual = RANDOM(2, 8), out[3];
    struct attr attrs[] = {of_string("kind", "rms"), of_int("dtype2", DTYPE_BF16)};
    struct attr_list list = {.items = attrs, .n = 2};
    const struct tensor *in[] = {&x, NULL, NULL, &residual};
    CHECK_EQ(ref_run(OP_Norm, 0, &list, in, 4, out, 3, SIZE_MAX, NULL), STATUS_OK);
    for (size_t i = 0; i < 3; i++)
        keep(&out[i]);
    CHECK_EQ(out[1].dtype, DTYPE_BF16);
    CHECK(fabs(ref_get(&out[1], 3) - ref_get(&out[0], 3)) <= fabs(ref_get(&out[0], 3)) / 128);
    struct tensor sum = run(OP_Add, 0, NULL, IN(&x, &residual));
    check_same(&out[2], &sum);
}

/* out0 = max(a, b) * 2 + a, out1 = sigmoid(b) as bool */
TEST(elementwise_runs_its_code) {
    static const int64_t code[] = {EW_MAX,     2, 0, 1, 0, EW_CONST, 3, 0, 0, 0, EW_FMA, 2, 2, 3, 0,
                                   EW_SIGMOID, 4, 1, 0, 0, EW_FLOOR, 4, 4, 0, 0};
    static const int64_t results[] = {2, 4}, dtypes[] = {DTYPE_F32, DTYPE_BOOL};
    static const float consts[] = {2};
    struct attr attrs[] = {of_ints("code", 25, code), of_ints("results", 2, results),
                           of_ints("dtypes", 2, dtypes), of_floats("consts", 1, consts)};
    struct attr_list list = {.items = attrs, .n = 4};
    struct tensor a = RANDOM(3, 1, 300), b = RANDOM(2, 1), out[2];
    const struct tensor *in[] = {&a, &b};
    struct error err;
    CHECK_EQ(ref_run(OP_Elementwise, 0, &list, in, 2, out, 2, SIZE_MAX, &err), STATUS_OK);
    for (size_t i = 0; i < 2; i++)
        keep(&out[i]);
    CHECK_EQ(tensor_n_elements(&out[0]), 1800);
    for (int i = 0; i < 1800; i++) {
        double x = ref_get(&a, i / 600 * 300 + i % 300), y = ref_get(&b, i / 300 % 2);
        CHECK(fabs(ref_get(&out[0], i) - ((x > y ? x : y) * 2 + x)) < 1e-6);
        CHECK_EQ(ref_get_int(&out[1], i), 0);
    }
}

TEST(elementwise_refuses_code_that_points_outside) {
    static const int64_t bad[][5] = {{EW_ADD, 1, 32, 0, 0},  {EW_ADD, 0, 1, 1, 0},
                                     {EW_CONST, 1, 1, 0, 0}, {EW_COUNT, 1, 1, 1, 0},
                                     {EW_ACT, 1, 0, 0, 0},   {EW_FMA, 1, 0, 0, -1}};
    static const int64_t results[] = {1}, dtypes[] = {DTYPE_F32};
    static const float consts[] = {2};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct attr attrs[] = {of_ints("code", 5, bad[i]), of_ints("results", 1, results),
                               of_ints("dtypes", 1, dtypes), of_floats("consts", 1, consts)};
        struct attr_list list = {.items = attrs, .n = 4};
        CHECK_EQ(elementwise_check(&list, 1, 1, NULL), STATUS_INVALID_ARGUMENT);
    }
}
