/* simd_bench.c - each kernel on the layers that models are made of: one thread, one core.
 *
 * Prints kernel, layer, microseconds (the least of many runs) and G/s; for products also the part
 * of the core's peak, which is measured first. `simd_bench WORD` runs only lines that hold WORD. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernel.h"
#include "ops/fused.h"
#include "tensor/convert.h"

enum { BENCH_NS = 60 * 1000 * 1000, BENCH_RUNS_MIN = 5 };

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static struct tensor tensor_of(dtype t, int rank, const int64_t *dims) {
    struct tensor x = {.dtype = t, .rank = (uint8_t)rank};
    memcpy(x.dims, dims, (size_t)rank * sizeof *dims);
    if (!tensor_size(t, dims, (size_t)rank, &x.size))
        abort();
    x.data = aligned_alloc(64, (x.size + 127) / 64 * 64);
    for (int64_t i = 0; i < tensor_n_elements(&x); i++) {
        float v = (float)rand() / (float)RAND_MAX - 0.5f;
        if (t == DTYPE_F32)
            ((float *)x.data)[i] = v;
        else if (t == DTYPE_BF16)
            ((uint16_t *)x.data)[i] = bf16_from_f32(v);
    }
    return x;
}
#define DIMS(...)                                                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]) {                                     \
        __VA_ARGS__                                                                                \
    }

static void no_barrier(void *arg) {
    (void)arg;
}

struct bench {
    op_id op;
    struct attr attrs[12];
    size_t n_attrs;
    struct tensor in[4], out[1];
    size_t n_in;
    double work; /* floating-point operations, or bytes moved */
    const char *unit;
};

static const char *filter = "";

/* Runs the best kernel of this machine and prints a line; frees the operands. Returns
 * microseconds. */
static double bench_run(struct bench *b, const char *layer) {
    const struct tensor *ins[4];
    struct tensor *outs[1] = {&b->out[0]};
    struct attr_list attrs = {b->attrs, b->n_attrs};
    struct error err = {0};
    double best = 1e30;
    for (size_t i = 0; i < b->n_in; i++)
        ins[i] = &b->in[i];
    struct kernel_call c = {NULL, b->op, 17, &attrs, ins, outs, b->n_in, 1, NULL, NULL, 0};
    c.kernel = kernel_choose(&c, isa_host());
    size_t packed_size = c.kernel->packed_size ? c.kernel->packed_size(&c, 1) : 0;
    void *packed = aligned_alloc(64, packed_size / 64 * 64 + 64), *plain = b->in[1].data;
    if (packed_size) {
        c.kernel->pack(&c, 1, packed);
        b->in[1].data = packed;
    }
    c.scratch_size = c.kernel->scratch ? c.kernel->scratch(&c, 1) : 0;
    c.scratch = aligned_alloc(64, c.scratch_size / 64 * 64 + 64);
    struct kernel_team team = {0, 1, no_barrier, NULL};
    int64_t start = now_ns();
    for (int i = 0; i < BENCH_RUNS_MIN || now_ns() - start < BENCH_NS; i++) {
        int64_t t = now_ns();
        if (c.kernel->run(&c, &team, &err) != STATUS_OK)
            abort();
        double us = (double)(now_ns() - t) * 1e-3;
        best = us < best ? us : best;
    }
    printf("%-28s %-44s %9.1f us %7.1f %s\n", c.kernel->name, layer, best, b->work / best * 1e-3,
           b->unit);
    b->in[1].data = plain;
    for (size_t i = 0; i < b->n_in; i++)
        free(b->in[i].data);
    free(b->out[0].data);
    free(c.scratch);
    free(packed);
    return best;
}

static void attr_add(struct bench *b, const char *name, int64_t value) {
    struct attr a = {.name = str_from_c(name), .kind = ATTR_INT};
    a.i = value;
    b->attrs[b->n_attrs++] = a;
}

static void attr_add_ints(struct bench *b, const char *name, size_t n, const int64_t *values) {
    struct attr a = {.name = str_from_c(name), .kind = ATTR_INTS, .n = n};
    a.ints = values;
    b->attrs[b->n_attrs++] = a;
}

static void bench_linear(dtype t, int64_t m, int64_t n, int64_t k, activation act) {
    char layer[64];
    snprintf(layer, sizeof layer, "%s [%d,%d] x [%d,%d]%s", dtype_name(t), (int)m, (int)k, (int)k,
             (int)n, act ? " gelu" : "");
    if (!strstr(layer, filter) && !strstr("linear", filter))
        return;
    struct bench b = {.op = OP_Linear, .n_in = 3, .unit = "G/s"};
    b.in[0] = tensor_of(t, DIMS(m, k));
    b.in[1] = tensor_of(t, DIMS(k, n));
    b.in[2] = tensor_of(DTYPE_F32, DIMS(n));
    b.out[0] = tensor_of(t, DIMS(m, n));
    b.work = 2. * (double)(m * n * k);
    attr_add(&b, "activation", act);
    bench_run(&b, layer);
}

static double bench_conv(dtype t, int64_t hw, int64_t c, int64_t m, int64_t k, int64_t s,
                         int64_t group) {
    char layer[64];
    snprintf(layer, sizeof layer, "%s %dx%dx%d %dx%d/%d %s%d", dtype_name(t), (int)hw, (int)hw,
             (int)c, (int)k, (int)k, (int)s, group > 1 ? "depthwise " : "to ", (int)m);
    if (!strstr(layer, filter) && !strstr("conv", filter))
        return 0;
    int64_t out = (hw - 1) / s + 1, strides[] = {s, s}, p = k / 2, pads[] = {p, p, p, p};
    struct bench b = {.op = OP_Conv2d, .n_in = 3, .unit = "G/s"};
    b.in[0] = tensor_of(t, DIMS(1, hw, hw, c));
    b.in[1] = tensor_of(t, DIMS(m, k, k, c / group));
    b.in[2] = tensor_of(DTYPE_F32, DIMS(m));
    b.out[0] = tensor_of(t, DIMS(1, out, out, m));
    b.work = 2. * (double)(out * out * m * k * k * c / group);
    attr_add_ints(&b, "strides", 2, strides);
    attr_add_ints(&b, "pads", 4, pads);
    attr_add(&b, "group", group);
    attr_add(&b, "activation", ACTIVATION_RELU);
    return bench_run(&b, layer);
}

static void bench_attention(dtype t, int64_t s, int64_t heads, int64_t size) {
    char layer[64];
    snprintf(layer, sizeof layer, "%s %d heads, %d x %d", dtype_name(t), (int)heads, (int)s,
             (int)size);
    if (!strstr("attention", filter))
        return;
    struct bench b = {.op = OP_Attention, .n_in = 3, .unit = "G/s"};
    for (int i = 0; i < 3; i++)
        b.in[i] = tensor_of(t, DIMS(1, s, heads * size));
    b.out[0] = tensor_of(t, DIMS(1, s, heads * size));
    b.work = 4. * (double)(s * s * heads * size);
    attr_add(&b, "heads", heads);
    attr_add(&b, "head_size", size);
    bench_run(&b, layer);
}

/* Operators that only pass over their input [rows, d]. */
static void bench_pass(op_id op, dtype t, int64_t rows, int64_t d, size_t n_in) {
    char layer[64];
    snprintf(layer, sizeof layer, "%s [%d,%d]", dtype_name(t), (int)rows, (int)d);
    if (!strstr("pass", filter))
        return;
    struct bench b = {.op = op, .n_in = n_in, .unit = "GB/s"};
    b.in[0] = tensor_of(t, DIMS(rows, d));
    for (size_t i = 1; i < n_in; i++)
        b.in[i] = tensor_of(DTYPE_F32, DIMS(d));
    b.out[0] = op == OP_Transpose ? tensor_of(t, DIMS(d, rows)) : tensor_of(t, DIMS(rows, d));
    b.work = 2. * (double)b.in[0].size;
    attr_add(&b, "axis", -1);
    bench_run(&b, layer);
}

/* One Elementwise instruction over [rows, d], with a second operand [d] where it takes two. */
static void bench_elementwise(ew_op op, const char *name, dtype t, int64_t rows, int64_t d) {
    if (!strstr("elementwise", filter))
        return;
    const int64_t code[] = {op, 2, 0, op == EW_ACT ? ACTIVATION_GELU_ERF : 1, 0}, results[] = {2};
    const float consts[] = {0, 0};
    struct bench b = {.op = OP_Elementwise, .n_in = 2, .unit = "GB/s"};
    b.in[0] = tensor_of(t, DIMS(rows, d));
    b.in[1] = tensor_of(DTYPE_F32, DIMS(d));
    b.out[0] = tensor_of(t, DIMS(rows, d));
    b.work = 2. * (double)b.in[0].size;
    attr_add_ints(&b, "code", 5, code);
    attr_add_ints(&b, "results", 1, results);
    struct attr a = {.name = STR("consts"), .kind = ATTR_FLOATS, .n = 2};
    a.floats = consts;
    b.attrs[b.n_attrs++] = a;
    char layer[64];
    snprintf(layer, sizeof layer, "%s %s [%d,%d]", name, dtype_name(t), (int)rows, (int)d);
    bench_run(&b, layer);
}

/* The layers of ResNet-50 {size of the input's side, C, M, K, stride, how many}; their sum. */
static void bench_resnet(dtype t) {
    static const int64_t layers[][6] = {
        {224, 3, 64, 7, 2, 1},    {56, 64, 64, 1, 1, 1},    {56, 64, 64, 3, 1, 3},
        {56, 64, 256, 1, 1, 4},   {56, 256, 64, 1, 1, 2},   {56, 256, 128, 1, 1, 1},
        {56, 128, 128, 3, 2, 1},  {28, 128, 512, 1, 1, 4},  {56, 256, 512, 1, 2, 1},
        {28, 512, 128, 1, 1, 3},  {28, 128, 128, 3, 1, 3},  {28, 512, 256, 1, 1, 1},
        {28, 256, 256, 3, 2, 1},  {14, 256, 1024, 1, 1, 6}, {28, 512, 1024, 1, 2, 1},
        {14, 1024, 256, 1, 1, 5}, {14, 256, 256, 3, 1, 5},  {14, 1024, 512, 1, 1, 1},
        {14, 512, 512, 3, 2, 1},  {7, 512, 2048, 1, 1, 3},  {14, 1024, 2048, 1, 2, 1},
        {7, 2048, 512, 1, 1, 2},  {7, 512, 512, 3, 1, 2}};
    double sum = 0;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const int64_t *l = layers[i];
        sum += (double)l[5] * bench_conv(t, l[0], l[1], l[2], l[3], l[4], 1);
    }
    printf("%-28s %-44s %9.1f us\n", "", "resnet-50, its convolutions", sum);
}

static void bench_efficientnet(dtype t) {
    static const int64_t layers[][7] = {
        {224, 3, 32, 3, 2, 1, 1},     {112, 32, 32, 3, 1, 32, 1},
        {112, 32, 16, 1, 1, 1, 1},    {112, 16, 96, 1, 1, 1, 1},
        {112, 96, 96, 3, 2, 96, 1},   {56, 96, 24, 1, 1, 1, 1},
        {56, 24, 144, 1, 1, 1, 2},    {56, 144, 144, 3, 1, 144, 1},
        {56, 144, 24, 1, 1, 1, 1},    {56, 144, 144, 5, 2, 144, 1},
        {28, 144, 40, 1, 1, 1, 1},    {28, 40, 240, 1, 1, 1, 2},
        {28, 240, 240, 5, 1, 240, 1}, {28, 240, 40, 1, 1, 1, 1},
        {28, 240, 240, 3, 2, 240, 1}, {14, 240, 80, 1, 1, 1, 1},
        {14, 80, 480, 1, 1, 1, 3},    {14, 480, 480, 3, 1, 480, 2},
        {14, 480, 80, 1, 1, 1, 2},    {14, 480, 480, 5, 1, 480, 1},
        {14, 480, 112, 1, 1, 1, 1},   {14, 112, 672, 1, 1, 1, 3},
        {14, 672, 672, 5, 1, 672, 2}, {14, 672, 112, 1, 1, 1, 2},
        {14, 672, 672, 5, 2, 672, 1}, {7, 672, 192, 1, 1, 1, 1},
        {7, 192, 1152, 1, 1, 1, 4},   {7, 1152, 1152, 5, 1, 1152, 3},
        {7, 1152, 192, 1, 1, 1, 3},   {7, 1152, 1152, 3, 1, 1152, 1},
        {7, 1152, 320, 1, 1, 1, 1},   {7, 320, 1280, 1, 1, 1, 1}};
    double sum = 0;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const int64_t *l = layers[i];
        sum += (double)l[6] * bench_conv(t, l[0], l[1], l[2], l[3], l[4], l[5]);
    }
    printf("%-28s %-44s %9.1f us\n", "", "efficientnet-lite0, its convolutions", sum);
}

int main(int argc, char **argv) {
    static const int64_t products[][3] = {
        {128, 1024, 4096}, {1, 3072, 768},   {8, 3072, 768},   {128, 384, 384},  {128, 1536, 384},
        {128, 384, 1536},  {128, 768, 768},  {128, 3072, 768}, {128, 768, 3072}, {197, 768, 768},
        {197, 2304, 768},  {197, 768, 3072}, {1576, 768, 3072}};
    static const dtype types[] = {DTYPE_F32, DTYPE_BF16};
    filter = argc > 1 ? argv[1] : "";
    for (int i = 0; i < 2; i++) {
        dtype t = types[i];
        for (size_t j = 0; j < sizeof products / sizeof *products; j++) {
            const int64_t *p = products[j];
            bool widens = p[1] == 4 * p[2];
            bench_linear(t, p[0], p[1], p[2], widens ? ACTIVATION_GELU_ERF : ACTIVATION_NONE);
        }
        bench_attention(t, 197, 12, 64);
        bench_attention(t, 128, 12, 64);
        bench_attention(t, 128, 12, 32);
        bench_pass(OP_Norm, t, 197, 768, 3);
        bench_pass(OP_Norm, t, 128, 384, 3);
        bench_pass(OP_Softmax, t, 1536, 128, 1);
        bench_pass(OP_Transpose, t, 3136, 64, 1);
        bench_elementwise(EW_ADD, "add", t, 197, 768);
        bench_elementwise(EW_EXP, "exp", t, 197, 768);
        bench_elementwise(EW_ERF, "erf", t, 197, 768);
        bench_elementwise(EW_TANH, "tanh", t, 197, 768);
        bench_elementwise(EW_LOG, "log", t, 197, 768);
        bench_elementwise(EW_ACT, "gelu", t, 197, 768);
        bench_resnet(t);
        bench_efficientnet(t);
    }
    return 0;
}
