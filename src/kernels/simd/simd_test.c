/* Every fast kernel of this machine against the reference kernel of its operator, over shapes with
 * tails, primes, ones and zeros. Each tensor ends at a page that must not be touched. */
#include <float.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/kernel.h"
#include "ops/fused.h"
#include "support/test.h"
#include "tensor/convert.h"

enum { TENSORS_MAX = 16, THREADS_MAX = 3, PAGE = 4096 };

/* `size` bytes that end where a page without rights begins (8 bytes before it at most). */
static void *guarded_new(size_t size) {
    size_t room = (size + PAGE - 1) / PAGE * PAGE;
    char *p = mmap(NULL, room + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(p + room, PAGE, PROT_NONE);
    return p + (room - size);
}

static void guarded_free(void *p, size_t size) {
    size_t room = (size + PAGE - 1) / PAGE * PAGE;
    munmap((char *)p - (room - size), room + PAGE);
}

static uint32_t seed = 1;
static float random_float(void) { /* -1 .. 1 */
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed / 2147483648.f;
}

static struct tensor tensor_of(dtype t, int rank, const int64_t *dims) {
    struct tensor x = {.dtype = t, .rank = (uint8_t)rank};
    memcpy(x.dims, dims, (size_t)rank * sizeof *dims);
    CHECK(tensor_size(t, dims, (size_t)rank, &x.size));
    x.data = guarded_new(x.size);
    for (int64_t i = 0; i < tensor_n_elements(&x); i++) {
        if (t == DTYPE_F32)
            ((float *)x.data)[i] = random_float();
        else if (t == DTYPE_BF16)
            ((uint16_t *)x.data)[i] = bf16_from_f32(random_float());
        else if (t == DTYPE_I32)
            ((int32_t *)x.data)[i] = (int32_t)(random_float() * 5);
        else if (t == DTYPE_I64)
            ((int64_t *)x.data)[i] = (int64_t)(random_float() * 5);
        else if (t == DTYPE_BOOL)
            ((uint8_t *)x.data)[i] = random_float() > 0;
    }
    return x;
}
#define DIMS(...)                                                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]) {                                     \
        __VA_ARGS__                                                                                \
    }
#define TENSOR(t, ...) tensor_of(DTYPE_##t, DIMS(__VA_ARGS__))

static struct attr attr_of_int(const char *name, int64_t value) {
    struct attr a = {.name = str_from_c(name), .kind = ATTR_INT};
    a.i = value;
    return a;
}

static struct attr attr_of_ints(const char *name, size_t n, const int64_t *values) {
    struct attr a = {.name = str_from_c(name), .kind = ATTR_INTS, .n = n};
    a.ints = values;
    return a;
}

static struct attr attr_of_float(const char *name, float value) {
    struct attr a = {.name = str_from_c(name), .kind = ATTR_FLOAT};
    a.f = value;
    return a;
}

static struct attr attr_of_floats(const char *name, size_t n, const float *values) {
    struct attr a = {.name = str_from_c(name), .kind = ATTR_FLOATS, .n = n};
    a.floats = values;
    return a;
}

static struct attr attr_of_string(const char *name, const char *value) {
    struct attr a = {.name = str_from_c(name), .kind = ATTR_STRING};
    a.s = str_from_c(value);
    return a;
}

static float element(const struct tensor *t, int64_t i) {
    return t->dtype == DTYPE_F32    ? ((const float *)t->data)[i]
           : t->dtype == DTYPE_BF16 ? bf16_to_f32(((const uint16_t *)t->data)[i])
           : t->dtype == DTYPE_BOOL ? ((const uint8_t *)t->data)[i]
                                    : 0;
}

/* One call, run by all fast kernels that accept it and by the reference. */
struct check {
    op_id op;
    int opset;
    struct attr attrs[12];
    size_t n_attrs;
    struct tensor in[TENSORS_MAX], out[4];
    size_t n_in, n_out;
    unsigned constants, absent; /* bit i: input i */
    double tolerance;           /* of the output's range */
};

struct worker {
    const struct kernel_call *call;
    struct kernel_team team;
    status result;
    struct error err;
};

static void meet(void *arg) {
    pthread_barrier_wait(arg);
}

static void *work(void *arg) {
    struct worker *w = arg;
    w->result = w->call->kernel->run(w->call, &w->team, &w->err);
    return NULL;
}

static status run_team(const struct kernel_call *c, unsigned n_threads) {
    pthread_barrier_t barrier;
    pthread_t threads[THREADS_MAX];
    struct worker workers[THREADS_MAX];
    pthread_barrier_init(&barrier, NULL, n_threads);
    for (unsigned i = 0; i < n_threads; i++) {
        workers[i] = (struct worker){c, {i, n_threads, meet, &barrier}, STATUS_OK, {0}};
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    status s = STATUS_OK;
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        s = s != STATUS_OK ? s : workers[i].result;
    }
    pthread_barrier_destroy(&barrier);
    return s;
}

/* Prepares and runs the call with freshly guarded scratch. */
static status run_call(struct kernel_call *c, unsigned n_threads) {
    const struct kernel *k = c->kernel;
    struct error err = {0};
    void *state = calloc(1, k->state_size + 1);
    c->state = state;
    status s = k->prepare ? k->prepare(c, state, &err) : STATUS_OK;
    c->scratch_size = k->scratch ? (k->scratch(c, n_threads) + 63) / 64 * 64 : 0;
    c->scratch = guarded_new(c->scratch_size);
    memset(c->scratch, 0xff, c->scratch_size);
    if (s == STATUS_OK)
        s = run_team(c, k->is_serial ? 1 : n_threads);
    guarded_free(c->scratch, c->scratch_size);
    free(state);
    return s;
}

static void compare(const struct tensor *got, const struct tensor *want, double tolerance,
                    const char *name, const char *what) {
    double range = 1e-30, worst = 0;
    for (int64_t i = 0; i < tensor_n_elements(want); i++)
        range = fmax(range, fabs((double)element(want, i)));
    for (int64_t i = 0; i < tensor_n_elements(want); i++) {
        double e = fabs((double)element(got, i) - (double)element(want, i));
        if (isnan(element(got, i)) && isnan(element(want, i)))
            continue;
        worst = isnan(e) ? INFINITY : fmax(worst, e / range);
    }
    if (want->dtype == DTYPE_BF16)
        tolerance = fmax(tolerance, 1. / 128);
    if (!(worst <= tolerance))
        test_fail(__FILE__, __LINE__, "%s on %s: error %.2g of the range, limit %.2g", name, what,
                  worst, tolerance);
}

/* Runs `c` with kernel `k`, comparing with the outputs at `want`; false: k does not accept it. */
static bool check_kernel(const struct check *c, const struct kernel *k, const struct tensor *want,
                         const char *what) {
    struct tensor in[TENSORS_MAX], out[4];
    const struct tensor *ins[TENSORS_MAX];
    struct tensor *outs[4];
    void *packed[TENSORS_MAX] = {0};
    size_t packed_size[TENSORS_MAX] = {0};
    struct attr_list attrs = {c->attrs, c->n_attrs};
    for (size_t i = 0; i < c->n_in; i++) {
        in[i] = c->in[i];
        ins[i] = c->absent >> i & 1 ? NULL : &in[i];
    }
    for (size_t i = 0; i < c->n_out; i++) {
        out[i] = tensor_of(want[i].dtype, want[i].rank, want[i].dims);
        outs[i] = &out[i];
    }
    struct kernel_call call = {k, c->op, c->opset, &attrs, ins, outs, c->n_in, c->n_out, 0, 0, 0};
    bool accepted = !k->accepts || k->accepts(&call);
    for (size_t i = 0; accepted && i < c->n_in; i++) {
        size_t size = c->constants >> i & 1 && k->packed_size ? k->packed_size(&call, i) : 0;
        if (!size)
            continue;
        packed[i] = guarded_new((size + 63) / 64 * 64);
        packed_size[i] = (size + 63) / 64 * 64;
        k->pack(&call, i, packed[i]);
    }
    for (size_t i = 0; i < c->n_in; i++)
        if (packed[i])
            in[i].data = packed[i];
    for (unsigned n = 1; accepted && n <= THREADS_MAX; n += 2) {
        CHECK_EQ(run_call(&call, n), STATUS_OK);
        for (size_t i = 0; i < c->n_out; i++)
            compare(&out[i], &want[i], c->tolerance, k->name, what);
    }
    for (size_t i = 0; i < c->n_in; i++)
        if (packed[i])
            guarded_free(packed[i], packed_size[i]);
    for (size_t i = 0; i < c->n_out; i++)
        guarded_free(out[i].data, out[i].size);
    return accepted;
}

/* Frees the operands; the number of kernels that ran. */
static int check_all(struct check *c, const char *what) {
    int n = 0;
    const struct tensor *ins[TENSORS_MAX];
    struct tensor *outs[4];
    struct attr_list attrs = {c->attrs, c->n_attrs};
    c->tolerance = c->tolerance > 0 ? c->tolerance : 2e-6;
    c->opset = c->opset ? c->opset : 17;
    for (size_t i = 0; i < c->n_in; i++)
        ins[i] = c->absent >> i & 1 ? NULL : &c->in[i];
    for (size_t i = 0; i < c->n_out; i++)
        outs[i] = &c->out[i];
    struct kernel_call call = {kernel_ref(c->op), c->op,    c->opset, &attrs, ins, outs,
                               c->n_in,           c->n_out, 0,        0,      0};
    CHECK(!call.kernel->accepts || call.kernel->accepts(&call));
    CHECK_EQ(run_call(&call, 1), STATUS_OK);
    for (size_t i = 0; kernel_at(i); i++) {
        const struct kernel *k = kernel_at(i);
        if (k->op == c->op && k != kernel_ref(c->op) && k->isa <= isa_host())
            n += check_kernel(c, k, c->out, what);
    }
    for (size_t i = 0; i < c->n_in; i++)
        if (!(c->absent >> i & 1))
            guarded_free(c->in[i].data, c->in[i].size);
    for (size_t i = 0; i < c->n_out; i++)
        guarded_free(c->out[i].data, c->out[i].size);
    return n;
}

static const dtype types[] = {DTYPE_F32, DTYPE_BF16};

TEST(matmul_multiplies_any_shape) {
    static const int64_t shapes[][3] = {{1, 1, 2},    {5, 7, 4},    {6, 64, 32},   {13, 65, 10},
                                        {49, 130, 8}, {400, 48, 6}, {0, 4, 4},     {3, 0, 4},
                                        {7, 9, 0},    {17, 33, 21}, {97, 101, 103}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 2; t++) {
            int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            struct check c = {
                .op = OP_MatMul,
                .in = {tensor_of(types[t], DIMS(2, 1, m, k)), tensor_of(types[t], DIMS(3, k, n))},
                .n_in = 2,
                .out = {tensor_of(types[t], DIMS(2, 3, m, n))},
                .n_out = 1};
            char what[160];
            snprintf(what, sizeof what, "%s [%d,%d]x[%d,%d]", dtype_name(types[t]), (int)m, (int)k,
                     (int)k, (int)n);
            CHECK(check_all(&c, what) > (isa_host() > ISA_GENERIC));
            struct check one = {
                .op = OP_MatMul,
                .in = {tensor_of(types[t], DIMS(m, k)), tensor_of(types[t], DIMS(k, n))},
                .n_in = 2,
                .out = {TENSOR(F32, m, n)},
                .n_out = 1};
            CHECK(check_all(&one, what) > (isa_host() > ISA_GENERIC));
        }
}

TEST(softmax_sums_to_one_along_the_last_axis) {
    static const int64_t lengths[] = {1, 2, 15, 16, 17, 127, 1000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int t = 0; t < 2; t++) {
            struct check c = {.op = OP_Softmax,
                              .attrs = {attr_of_int("axis", -1)},
                              .n_attrs = 1,
                              .in = {tensor_of(types[t], DIMS(2, 5, lengths[i]))},
                              .n_in = 1,
                              .out = {tensor_of(types[t], DIMS(2, 5, lengths[i]))},
                              .n_out = 1};
            CHECK(check_all(&c, "softmax") > 0);
        }
}

TEST(reductions_run_over_last_and_middle_axes) {
    static const op_id ops[] = {OP_ReduceMean, OP_ReduceMax, OP_ReduceMin, OP_ReduceSum};
    static const int64_t last[] = {-1}, middle[] = {1, 2};
    for (size_t i = 0; i < 4; i++)
        for (int64_t n = 1; n < 40; n += 9) {
            struct check c = {.op = ops[i],
                              .opset = 12,
                              .attrs = {attr_of_ints("axes", 1, last), attr_of_int("keepdims", 1)},
                              .n_attrs = 2,
                              .in = {TENSOR(F32, 3, 5, n)},
                              .n_in = 1,
                              .out = {TENSOR(F32, 3, 5, 1)},
                              .n_out = 1};
            CHECK(check_all(&c, "last axis") > 0);
            struct check m = {
                .op = ops[i],
                .opset = 12,
                .attrs = {attr_of_ints("axes", 2, middle), attr_of_int("keepdims", 0)},
                .n_attrs = 2,
                .in = {TENSOR(F32, 2, 7, 5, n)},
                .n_in = 1,
                .out = {TENSOR(F32, 2, n)},
                .n_out = 1};
            CHECK(check_all(&m, "middle axes") > 0);
        }
}

TEST(cast_widens_and_narrows) {
    for (int64_t n = 0; n < 200; n += 33) {
        struct check c = {.op = OP_Cast,
                          .attrs = {attr_of_int("to", 16)},
                          .n_attrs = 1,
                          .in = {TENSOR(F32, n)},
                          .n_in = 1,
                          .out = {TENSOR(BF16, n)},
                          .n_out = 1};
        CHECK(check_all(&c, "to bf16") > 0);
        struct check w = {.op = OP_Cast,
                          .attrs = {attr_of_int("to", 1)},
                          .n_attrs = 1,
                          .in = {TENSOR(BF16, n)},
                          .n_in = 1,
                          .out = {TENSOR(F32, n)},
                          .n_out = 1};
        CHECK(check_all(&w, "to f32") > 0);
    }
}

TEST(comparisons_and_casts_of_integers) {
    static const op_id ops[] = {OP_Equal, OP_Greater, OP_Less, OP_GreaterOrEqual, OP_LessOrEqual};
    static const dtype from[] = {DTYPE_F32, DTYPE_I32, DTYPE_I64};
    static const int64_t shapes[][3][3] = {{{2, 5, 37}, {2, 5, 37}, {2, 5, 37}},
                                           {{3, 40, 1}, {1, 1, 7}, {3, 40, 7}},
                                           {{1, 1, 1}, {2, 3, 33}, {2, 3, 33}},
                                           {{1, 5, 1}, {4, 1, 1}, {4, 5, 1}},
                                           {{0, 5, 1}, {1, 1, 3}, {0, 5, 3}}};
    for (size_t o = 0; o < 5; o++)
        for (size_t s = 0; s < 5; s++)
            for (size_t t = 0; t < 3; t++) {
                struct check c = {.op = ops[o],
                                  .in = {tensor_of(from[t], 3, shapes[s][0]),
                                         tensor_of(from[t], 3, shapes[s][1])},
                                  .n_in = 2,
                                  .out = {tensor_of(DTYPE_BOOL, 3, shapes[s][2])},
                                  .n_out = 1};
                CHECK(check_all(&c, "comparison") > 0);
            }
    static const dtype integers[] = {DTYPE_BOOL, DTYPE_I32, DTYPE_I64};
    for (size_t t = 0; t < 3; t++) {
        struct check c = {.op = OP_Cast,
                          .attrs = {attr_of_int("to", 1)},
                          .n_attrs = 1,
                          .in = {tensor_of(integers[t], DIMS(77))},
                          .n_in = 1,
                          .out = {TENSOR(F32, 77)},
                          .n_out = 1};
        CHECK(check_all(&c, "cast") > 0);
    }
}

TEST(global_pools_reduce_all_but_channels) {
    static const op_id ops[] = {OP_GlobalMaxPool, OP_GlobalAveragePool};
    for (size_t i = 0; i < 2; i++) {
        struct check c = {.op = ops[i],
                          .in = {TENSOR(F32, 2, 5, 7, 9)},
                          .n_in = 1,
                          .out = {TENSOR(F32, 2, 5, 1, 1)},
                          .n_out = 1};
        CHECK(check_all(&c, "global pool") > 0);
    }
}

TEST(transpose_permutes_any_axes) {
    static const int64_t perms[][4] = {{0, 2, 3, 1}, {0, 3, 1, 2}, {0, 2, 1, 3}, {3, 2, 1, 0},
                                       {1, 0, 3, 2}, {0, 1, 2, 3}, {2, 3, 0, 1}, {0, 1, 3, 2}};
    static const int64_t shapes[][4] = {
        {2, 3, 17, 19}, {1, 64, 7, 7}, {1, 1, 5, 1}, {2, 0, 3, 4}, {3, 33, 1, 18}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t p = 0; p < sizeof perms / sizeof *perms; p++)
            for (int t = 0; t < 2; t++) {
                int64_t out[4];
                for (int d = 0; d < 4; d++)
                    out[d] = shapes[s][perms[p][d]];
                struct check c = {.op = OP_Transpose,
                                  .attrs = {attr_of_ints("perm", 4, perms[p])},
                                  .n_attrs = 1,
                                  .in = {tensor_of(types[t], 4, shapes[s])},
                                  .n_in = 1,
                                  .out = {tensor_of(types[t], 4, out)},
                                  .n_out = 1,
                                  .tolerance = 1e-30};
                CHECK(check_all(&c, "transpose") > 0);
            }
}

TEST(gather_takes_rows_and_counts_from_the_end) {
    struct check c = {.op = OP_Gather,
                      .in = {TENSOR(F32, 11, 5), TENSOR(I64, 2, 3)},
                      .n_in = 2,
                      .out = {TENSOR(F32, 2, 3, 5)},
                      .n_out = 1};
    memcpy(c.in[1].data, (int64_t[]){0, 10, -1, -11, 3, 3}, 48);
    CHECK(check_all(&c, "gather") > 0);
}

/* Linear with every tail that the operands allow. */
static void check_linear(int64_t m, int64_t n, int64_t k, int variant) {
    dtype t = types[variant & 1], w = variant % 7 == 0 ? DTYPE_BF16 : t;
    struct check c = {.op = OP_Linear,
                      .in = {tensor_of(t, DIMS(m, k)), tensor_of(w, DIMS(k, n)), TENSOR(F32, n),
                             tensor_of(types[variant >> 1 & 1], DIMS(m, n))},
                      .n_in = 4,
                      .constants = 2,
                      .out = {tensor_of(types[variant >> 2 & 1], DIMS(m, n))},
                      .n_out = 1,
                      .tolerance = k > 100 ? 5e-6 : 0}; /* clipped to a part of the sums' range */
    c.attrs[c.n_attrs++] = attr_of_int("activation", variant % ACTIVATION_COUNT);
    c.attrs[c.n_attrs++] =
        attr_of_float("alpha", variant % ACTIVATION_COUNT == ACTIVATION_CLIP ? -0.5f : 0.7f);
    c.attrs[c.n_attrs++] = attr_of_float("beta", 0.6f);
    c.attrs[c.n_attrs++] = attr_of_int("dtype", types[variant >> 2 & 1]);
    c.attrs[c.n_attrs++] = attr_of_int("residual_first", variant >> 3 & 1);
    if (variant % 5 == 1) {
        c.attrs[c.n_attrs++] = attr_of_float("scale", -1.5f);
        c.attrs[c.n_attrs++] = attr_of_float("shift", 0.25f);
    }
    for (unsigned i = 2; i < 4; i++)
        if (variant >> (2 + i) & 1) {
            guarded_free(c.in[i].data, c.in[i].size);
            c.absent |= 1u << i;
        }
    char what[160];
    snprintf(what, sizeof what, "%s %dx%dx%d variant %d", dtype_name(t), (int)m, (int)n, (int)k,
             variant);
    CHECK(check_all(&c, what) > 0);
}

TEST(linear_multiplies_any_shape_with_any_tail) {
    static const int64_t shapes[][3] = {
        {1, 1, 1}, {6, 64, 16},  {7, 65, 17},  {13, 47, 33},  {5, 100, 31}, {0, 5, 3},   {3, 0, 2},
        {2, 3, 0}, {50, 130, 9}, {400, 17, 3}, {12, 192, 40}, {8, 70, 600}, {7, 20, 131}};
    int variant = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int v = 0; v < 12; v++, variant++)
            check_linear(shapes[i][0], shapes[i][1], shapes[i][2], variant % 64);
}

/* All terms have one sign and the bias takes their sum away again: chains of thousands of
 * additions, or a bias that is there from the start, would lose 5e-5. */
TEST(linear_keeps_its_accuracy_over_a_long_sum) {
    enum { K = 3072, N = 70 };
    struct check c = {.op = OP_Linear,
                      .in = {TENSOR(F32, 12, K), TENSOR(F32, K, N), TENSOR(F32, N)},
                      .n_in = 3,
                      .constants = 2,
                      .out = {TENSOR(F32, 12, N)},
                      .n_out = 1,
                      .tolerance = 1e-5};
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; j < tensor_n_elements(&c.in[i]); j++)
            ((float *)c.in[i].data)[j] = fabsf(((float *)c.in[i].data)[j]);
    for (int64_t j = 0; j < N; j++)
        ((float *)c.in[2].data)[j] = -K / 4;
    CHECK(check_all(&c, "long sum") > 0);
}

static void check_attention(int64_t sq, int64_t sk, int64_t size, int64_t size_v, int variant) {
    enum { BATCH = 2, HEADS = 3 };
    static const int64_t masks[][4] = {
        {BATCH, 1, 1, -1}, {1, 1, -2, -1}, {BATCH, HEADS, -2, -1}, {1, 1, 1, 1}};
    dtype t = types[variant & 1];
    int64_t mask[4];
    for (int i = 0; i < 4; i++) {
        int64_t d = masks[variant % 4][i];
        mask[i] = d == -1 ? sk : d == -2 ? sq : d;
    }
    struct check c = {.op = OP_Attention,
                      .in = {tensor_of(t, DIMS(BATCH, sq, HEADS * size + 4)),
                             tensor_of(t, DIMS(BATCH, sk, HEADS * size)),
                             tensor_of(t, DIMS(BATCH, sk, HEADS * size_v + 2)),
                             tensor_of(DTYPE_F32, 4, mask)},
                      .n_in = variant & 4 ? 4 : 3,
                      .out = {tensor_of(types[variant >> 3 & 1], DIMS(BATCH, sq, HEADS * size_v))},
                      .n_out = 1,
                      .tolerance = t == DTYPE_BF16 ? 0.01 : 3e-6};
    c.attrs[c.n_attrs++] = attr_of_int("heads", HEADS);
    c.attrs[c.n_attrs++] = attr_of_int("head_size", size);
    c.attrs[c.n_attrs++] = attr_of_int("head_size_v", size_v);
    c.attrs[c.n_attrs++] = attr_of_int("q_offset", 4);
    c.attrs[c.n_attrs++] = attr_of_int("v_offset", 2);
    c.attrs[c.n_attrs++] = attr_of_float("scale", 0.7f);
    c.attrs[c.n_attrs++] = attr_of_int("dtype", types[variant >> 3 & 1]);
    if (variant & 4 && variant % 4 < 3) { /* a query that sees nothing, and keys that nobody sees */
        float *m = c.in[3].data;
        for (int64_t i = 0; i < tensor_n_elements(&c.in[3]); i++)
            if (i < sk || i % sk == sk - 1)
                m[i] = i < sk && variant & 1 ? -FLT_MAX : -INFINITY;
    }
    char what[160];
    snprintf(what, sizeof what, "%s sq %d sk %d size %d, %d variant %d", dtype_name(t), (int)sq,
             (int)sk, (int)size, (int)size_v, variant);
    CHECK(check_all(&c, what) > 0);
}

TEST(attention_weighs_values_by_the_softmax_of_scores) {
    static const int64_t shapes[][4] = {
        {1, 1, 8, 8}, {5, 7, 16, 12}, {50, 67, 32, 32}, {17, 128, 64, 64}, {3, 130, 6, 70}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int v = 0; v < 16; v++)
            check_attention(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], v);
}

/* A batch of sentences of different lengths; with a key in between that is shut out, too. */
TEST(attention_leaves_out_the_padding_of_a_batch) {
    enum { BATCH = 3, HEADS = 2, SQ = 21, SK = 70, SIZE = 32 };
    static const int64_t lengths[BATCH] = {1, 33, SK};
    for (int v = 0; v < 6; v++) {
        dtype t = types[v & 1];
        struct check c = {.op = OP_Attention,
                          .in = {tensor_of(t, DIMS(BATCH, SQ, HEADS * SIZE)),
                                 tensor_of(t, DIMS(BATCH, SK, HEADS * SIZE)),
                                 tensor_of(t, DIMS(BATCH, SK, HEADS * SIZE)),
                                 tensor_of(DTYPE_F32, DIMS(BATCH, 1, 1, SK))},
                          .n_in = 4,
                          .out = {tensor_of(t, DIMS(BATCH, SQ, HEADS * SIZE))},
                          .n_out = 1,
                          .tolerance = t == DTYPE_BF16 ? 0.01 : 3e-6};
        c.attrs[c.n_attrs++] = attr_of_int("heads", HEADS);
        c.attrs[c.n_attrs++] = attr_of_int("head_size", SIZE);
        c.attrs[c.n_attrs++] = attr_of_int("head_size_v", SIZE);
        c.attrs[c.n_attrs++] = attr_of_int("dtype", t);
        float *mask = c.in[3].data, out = v < 2 ? -FLT_MAX : v < 4 ? -INFINITY : -1e4f;
        for (int64_t b = 0; b < BATCH; b++)
            for (int64_t i = 0; i < SK; i++)
                mask[b * SK + i] = i < lengths[b] && i != 7 ? 0 : out;
        CHECK(check_all(&c, dtype_name(t)) > 0);
    }
}

TEST(norm_has_three_kinds_and_three_outputs) {
    static const char *const kinds[] = {"layer", "rms", "l2"};
    static const int64_t widths[] = {1, 15, 16, 17, 100, 384};
    for (int v = 0; v < 96; v++) {
        int64_t d = widths[v % 6];
        struct check c = {.op = OP_Norm,
                          .in = {tensor_of(types[v & 1], DIMS(2, 5, d)), TENSOR(F32, d),
                                 TENSOR(F32, d), tensor_of(types[v >> 1 & 1], DIMS(2, 5, d))},
                          .n_in = 4,
                          .out = {tensor_of(types[v >> 2 & 1], DIMS(2, 5, d)),
                                  tensor_of(types[v >> 3 & 1], DIMS(2, 5, d)),
                                  TENSOR(F32, 2, 5, d)},
                          .n_out = 1 + (size_t)v % 3,
                          .tolerance = 5e-6};
        c.attrs[c.n_attrs++] = attr_of_string("kind", kinds[v / 6 % 3]);
        c.attrs[c.n_attrs++] = attr_of_float("epsilon", 1e-3f);
        c.attrs[c.n_attrs++] = attr_of_int("dtype", types[v >> 2 & 1]);
        c.attrs[c.n_attrs++] = attr_of_int("dtype2", types[v >> 3 & 1]);
        c.attrs[c.n_attrs++] = attr_of_int("dtype3", DTYPE_F32);
        c.absent = v / 8 % 2 ? 8 : 0;
        if (c.absent)
            guarded_free(c.in[3].data, c.in[3].size);
        CHECK(check_all(&c, kinds[v / 6 % 3]) > 0);
    }
}

/* One instruction of three inputs that broadcast in different ways, and its result twice. */
static void check_elementwise(int op, int64_t act, int variant) {
    static const int64_t shapes[][3][4] = {{{2, 3, 5, 7}, {2, 3, 5, 7}, {2, 3, 5, 7}},
                                           {{2, 3, 40, 17}, {1, 1, 1, 17}, {1, 3, 1, 1}},
                                           {{1, 1, 1, 1}, {2, 1, 33, 1}, {1, 2, 33, 600}},
                                           {{4, 1, 3, 1}, {1, 5, 1, 16}, {1, 1, 1, 1}},
                                           {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
                                           {{2, 0, 3, 1}, {1, 1, 1, 4}, {2, 1, 3, 4}}};
    const int64_t(*s)[4] = shapes[variant % 6];
    int64_t y[4], code[10], results[] = {4, 3}, dtypes[] = {DTYPE_F32, DTYPE_BF16};
    float consts[] = {0.3f, 0.8f};
    for (int i = 0; i < 4; i++) {
        y[i] = s[0][i];
        for (int j = 1; j < 3; j++)
            y[i] = y[i] == 1 ? s[j][i] : y[i];
    }
    memcpy(code,
           (int64_t[]){op, 3, op == EW_CONST ? 1 : 0, op == EW_ACT ? act : 1, op == EW_ACT ? 0 : 2,
                       EW_ADD, 4, 3, 2, 0},
           sizeof code);
    struct check c = {.op = OP_Elementwise,
                      .in = {tensor_of(types[variant & 1], 4, s[0]), tensor_of(DTYPE_F32, 4, s[1]),
                             tensor_of(types[variant >> 1 & 1], 4, s[2])},
                      .n_in = 3,
                      .out = {tensor_of(DTYPE_F32, 4, y), tensor_of(DTYPE_BF16, 4, y)},
                      .n_out = 2,
                      /* of one element, a sum that nearly cancels has no range */
                      .tolerance = variant % 6 == 4 ? 1e-5 : 1e-6};
    if (op == EW_SQRT || op == EW_LOG || op == EW_POW || op == EW_RECIPROCAL || op == EW_DIV)
        for (size_t i = 0; i < 3; i++) /* 1.5 .. 3.5 */
            for (int64_t j = 0; j < tensor_n_elements(&c.in[i]); j++) {
                float v = element(&c.in[i], j) + 2.5f;
                if (c.in[i].dtype == DTYPE_F32)
                    ((float *)c.in[i].data)[j] = v;
                else
                    ((uint16_t *)c.in[i].data)[j] = bf16_from_f32(v);
            }
    c.attrs[c.n_attrs++] = attr_of_ints("code", 10, code);
    c.attrs[c.n_attrs++] = attr_of_ints("results", 2, results);
    c.attrs[c.n_attrs++] = attr_of_ints("dtypes", 2, dtypes);
    c.attrs[c.n_attrs++] = attr_of_floats("consts", 2, consts);
    char what[160];
    snprintf(what, sizeof what, "elementwise op %d activation %d variant %d", op, (int)act,
             variant);
    CHECK(check_all(&c, what) > 0);
}

TEST(elementwise_runs_every_instruction_on_any_broadcast) {
    for (int op = 0; op < EW_COUNT; op++)
        for (int v = 0; v < (op == EW_ACT ? 1 : 12); v++)
            check_elementwise(op, 0, v);
    for (int act = 0; act < ACTIVATION_COUNT; act++)
        check_elementwise(EW_ACT, act, 1);
}

struct conv_case {
    int64_t b, h, w, c, m, kh, kw, sh, sw, dh, dw, pads[4], group, extra[2];
};

static int64_t conv_out(int64_t size, int64_t k, int64_t s, int64_t d, int64_t pads) {
    return (size + pads - (k - 1) * d - 1) / s + 1;
}

/* Attributes of a window, which must outlive the check. */
static void window_attrs(struct check *c, const struct conv_case *v, int64_t (*pairs)[2]) {
    memcpy(pairs, (int64_t[3][2]){{v->sh, v->sw}, {v->dh, v->dw}, {v->kh, v->kw}},
           sizeof(int64_t[3][2]));
    c->attrs[c->n_attrs++] = attr_of_ints("strides", 2, pairs[0]);
    c->attrs[c->n_attrs++] = attr_of_ints("dilations", 2, pairs[1]);
    c->attrs[c->n_attrs++] = attr_of_ints("pads", 4, v->pads);
}

static void check_conv(const struct conv_case *v, int variant) {
    int64_t oh = conv_out(v->h, v->kh, v->sh, v->dh, v->pads[0] + v->pads[2]);
    int64_t ow = conv_out(v->w, v->kw, v->sw, v->dw, v->pads[1] + v->pads[3]), pairs[3][2];
    dtype t = types[variant & 1], out = types[variant >> 1 & 1], w = t;
    if (variant % 6 >
        2) /* bf16 weights for f32, and f32 ones for a depthwise convolution of bf16 */
        w = t == DTYPE_F32 ? DTYPE_BF16 : v->group == v->c && v->m == v->c ? DTYPE_F32 : t;
    struct check c = {.op = OP_Conv2d,
                      .in = {tensor_of(t, DIMS(v->b, v->h, v->w, v->c)),
                             tensor_of(w, DIMS(v->m, v->kh, v->kw, v->c / v->group)),
                             TENSOR(F32, v->m), tensor_of(t, DIMS(v->b, oh, ow, v->m))},
                      .n_in = 2 + (size_t)variant % 3,
                      .constants = 2,
                      .out = {tensor_of(out, DIMS(v->b, oh, ow, v->m))},
                      .n_out = 1};
    window_attrs(&c, v, pairs);
    c.attrs[c.n_attrs++] = attr_of_int("group", v->group);
    c.attrs[c.n_attrs++] =
        attr_of_int("activation", variant % 2 ? ACTIVATION_RELU : ACTIVATION_NONE);
    c.attrs[c.n_attrs++] = attr_of_int("dtype", out);
    char what[160];
    snprintf(what, sizeof what, "%s %dx%dx%d to %d, window %dx%d variant %d", dtype_name(t),
             (int)v->h, (int)v->w, (int)v->c, (int)v->m, (int)v->kh, (int)v->kw, variant);
    CHECK(check_all(&c, what) > 0);
}

TEST(conv2d_slides_any_window) {
    static const struct conv_case cases[] = {
        {1, 8, 9, 16, 40, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0}, 1, {0, 0}},   /* pointwise */
        {2, 9, 7, 6, 65, 1, 1, 2, 2, 1, 1, {0, 0, 0, 0}, 1, {0, 0}},    /* with stride */
        {2, 10, 11, 3, 32, 7, 7, 2, 2, 1, 1, {3, 3, 3, 3}, 1, {0, 0}},  /* a first layer */
        {1, 7, 7, 32, 70, 3, 3, 1, 1, 1, 1, {1, 1, 1, 1}, 1, {0, 0}},   /* the usual one */
        {4, 6, 5, 8, 9, 3, 3, 2, 2, 1, 1, {0, 0, 1, 1}, 1, {0, 0}},     /* TensorFlow's padding */
        {1, 9, 9, 5, 4, 3, 3, 1, 1, 2, 2, {2, 2, 2, 2}, 1, {0, 0}},     /* dilated */
        {1, 6, 6, 12, 6, 3, 3, 1, 1, 1, 1, {1, 1, 1, 1}, 3, {0, 0}},    /* groups */
        {1, 6, 6, 3, 6, 3, 3, 1, 1, 1, 1, {1, 0, 1, 0}, 3, {0, 0}},     /* two maps a channel */
        {1, 1, 30, 7, 11, 1, 5, 1, 2, 1, 1, {0, 2, 0, 1}, 1, {0, 0}},   /* one dimension */
        {2, 9, 12, 35, 35, 3, 3, 1, 1, 1, 1, {1, 1, 1, 1}, 35, {0, 0}}, /* depthwise */
        {1, 11, 45, 16, 16, 3, 3, 2, 2, 1, 1, {1, 1, 1, 1}, 16, {0, 0}},
        {1, 12, 13, 70, 70, 5, 5, 1, 1, 1, 1, {2, 2, 2, 2}, 70, {0, 0}},
        {1, 3, 2, 17, 17, 5, 5, 2, 1, 1, 1, {2, 2, 2, 2}, 17, {0, 0}},
        {1, 9, 9, 16, 16, 3, 3, 1, 1, 2, 2, {2, 2, 2, 2}, 16, {0, 0}},
        {1, 5, 9, 33, 33, 1, 7, 1, 1, 1, 1, {0, 3, 0, 3}, 33, {0, 0}},
        {0, 5, 5, 4, 4, 3, 3, 1, 1, 1, 1, {1, 1, 1, 1}, 1, {0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int v = 0; v < 6; v++)
            check_conv(&cases[i], v);
}

TEST(conv_transpose2d_is_the_conv_turned_round) {
    static const struct conv_case cases[] = {
        {1, 5, 6, 24, 40, 2, 2, 2, 2, 1, 1, {0, 0, 0, 0}, 1, {0, 0}},
        {2, 4, 3, 5, 1, 3, 3, 2, 2, 1, 1, {1, 1, 1, 1}, 1, {1, 1}},
        {1, 4, 3, 4, 66, 4, 4, 2, 2, 1, 1, {1, 1, 1, 1}, 1, {0, 0}},
        {1, 5, 5, 7, 3, 3, 3, 1, 1, 2, 2, {0, 1, 2, 0}, 1, {0, 0}},
        {1, 3, 4, 6, 8, 1, 2, 3, 3, 1, 1, {0, 0, 0, 0}, 1, {2, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int variant = 0; variant < 4; variant++) {
            const struct conv_case *v = &cases[i];
            int64_t pairs[3][2];
            int64_t oh = (v->h - 1) * v->sh + (v->kh - 1) * v->dh + 1 - v->pads[0] - v->pads[2] +
                         v->extra[0];
            int64_t ow = (v->w - 1) * v->sw + (v->kw - 1) * v->dw + 1 - v->pads[1] - v->pads[3] +
                         v->extra[1];
            dtype t = types[variant & 1], out = types[variant >> 1];
            struct check c = {.op = OP_ConvTranspose2d,
                              .in = {tensor_of(t, DIMS(v->b, v->h, v->w, v->c)),
                                     tensor_of(t, DIMS(v->c, v->kh, v->kw, v->m)),
                                     TENSOR(F32, v->m)},
                              .n_in = 3,
                              .constants = 2,
                              .out = {tensor_of(out, DIMS(v->b, oh, ow, v->m))},
                              .n_out = 1};
            window_attrs(&c, v, pairs);
            c.attrs[c.n_attrs++] = attr_of_ints("output_padding", 2, v->extra);
            c.attrs[c.n_attrs++] = attr_of_int("activation", ACTIVATION_RELU);
            c.attrs[c.n_attrs++] = attr_of_int("dtype", out);
            CHECK(check_all(&c, "transposed convolution") > 0);
        }
}

/* One chain of additions over all pixels would lose some 3e-6. */
TEST(pool2d_keeps_its_accuracy_over_a_large_image) {
    struct check c = {.op = OP_Pool2d,
                      .in = {TENSOR(F32, 1, 190, 170, 20)},
                      .n_in = 1,
                      .out = {TENSOR(F32, 1, 1, 1, 20)},
                      .n_out = 1,
                      .tolerance = 5e-7};
    for (int64_t i = 0; i < tensor_n_elements(&c.in[0]); i++)
        ((float *)c.in[0].data)[i] = fabsf(((float *)c.in[0].data)[i]) * (float)(i % 20 + 1);
    c.attrs[c.n_attrs++] = attr_of_string("kind", "average");
    c.attrs[c.n_attrs++] = attr_of_int("global", 1);
    CHECK(check_all(&c, "large image") > 0);
}

TEST(pool2d_takes_the_largest_or_the_mean) {
    static const struct conv_case cases[] = {
        {2, 9, 11, 20, 0, 3, 3, 2, 2, 1, 1, {1, 1, 1, 1}, 1, {0, 0}},
        {1, 8, 8, 5, 0, 2, 2, 2, 2, 1, 1, {0, 0, 0, 0}, 1, {0, 0}},
        {1, 7, 6, 33, 0, 3, 2, 1, 1, 2, 1, {1, 0, 1, 1}, 1, {0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int variant = 0; variant < 16; variant++) {
            const struct conv_case *v = &cases[i];
            bool is_global = variant >= 12;
            int64_t pairs[3][2];
            int64_t oh =
                is_global ? 1 : conv_out(v->h, v->kh, v->sh, v->dh, v->pads[0] + v->pads[2]);
            int64_t ow =
                is_global ? 1 : conv_out(v->w, v->kw, v->sw, v->dw, v->pads[1] + v->pads[3]);
            struct check c = {.op = OP_Pool2d,
                              .in = {tensor_of(types[variant & 1], DIMS(v->b, v->h, v->w, v->c))},
                              .n_in = 1,
                              .out = {tensor_of(types[variant & 1], DIMS(v->b, oh, ow, v->c))},
                              .n_out = 1};
            if (!is_global)
                window_attrs(&c, v, pairs);
            if (!is_global)
                c.attrs[c.n_attrs++] = attr_of_ints("kernel_shape", 2, pairs[2]);
            c.attrs[c.n_attrs++] = attr_of_string("kind", variant & 2 ? "max" : "average");
            c.attrs[c.n_attrs++] = attr_of_int("count_include_pad", variant >> 2 & 1);
            c.attrs[c.n_attrs++] = attr_of_int("global", is_global);
            c.attrs[c.n_attrs++] = attr_of_int("dtype", types[variant & 1]);
            CHECK(check_all(&c, variant & 2 ? "max" : "average") > 0);
        }
}

TEST(resize2d_is_nearest_or_linear) {
    static const char *const coordinates[] = {"half_pixel", "asymmetric", "align_corners",
                                              "pytorch_half_pixel"};
    static const int64_t sizes[][2] = {{10, 14}, {5, 7}, {3, 4}, {11, 1}, {20, 21}};
    for (int v = 0; v < 80; v++) {
        int64_t oh = sizes[v % 5][0], ow = sizes[v % 5][1];
        struct check c = {.op = OP_Resize2d,
                          .in = {tensor_of(types[v & 1], DIMS(2, 5, 7, 19))},
                          .n_in = 1,
                          .out = {tensor_of(types[v & 1], DIMS(2, oh, ow, 19))},
                          .n_out = 1};
        float scales[] = {(float)oh / 5, (float)ow / 7};
        c.attrs[c.n_attrs++] = attr_of_floats("scales", 2, scales);
        c.attrs[c.n_attrs++] = attr_of_string("mode", v & 2 ? "linear" : "nearest");
        c.attrs[c.n_attrs++] = attr_of_string("coordinate", coordinates[v / 4 % 4]);
        c.attrs[c.n_attrs++] =
            attr_of_string("nearest_mode", v / 16 % 2 ? "floor" : "round_prefer_floor");
        c.attrs[c.n_attrs++] = attr_of_int("dtype", types[v & 1]);
        CHECK(check_all(&c, coordinates[v / 4 % 4]) > 0);
    }
}

static double exact(int op, double x) {
    switch (op) {
    case EW_EXP:
        return exp(x);
    case EW_LOG:
        return log(x);
    case EW_ERF:
        return erf(x);
    case EW_TANH:
        return tanh(x);
    case EW_SIGMOID:
        return 1 / (1 + exp(-x));
    case EW_FLOOR:
        return floor(x);
    case EW_CEIL:
        return ceil(x);
    case EW_ROUND:
        return nearbyint(x);
    default:
        return sqrt(x);
    }
}

/* Values of every magnitude, and those that have an end of their own. */
static struct tensor magnitudes(void) {
    enum { N = 6000 };
    static const float special[] = {0.f,      -0.f,   INFINITY,  -INFINITY, NAN, FLT_MAX,
                                    -FLT_MAX, 0.5f,   -0.5f,     2.5f,      1.f, -1.f,
                                    88.7f,    -103.f, 8388609.f, 1e-37f};
    struct tensor t = TENSOR(F32, N);
    float *x = t.data;
    for (int i = 0; i < N; i++)
        x[i] = ldexpf(random_float(), i % 40 - 30);
    memcpy(x, special, sizeof special);
    return t;
}

TEST(elementwise_functions_are_within_four_units_in_the_last_place) {
    static const int ops[] = {EW_EXP,   EW_LOG,  EW_ERF,   EW_TANH, EW_SIGMOID,
                              EW_FLOOR, EW_CEIL, EW_ROUND, EW_SQRT};
    struct tensor x = magnitudes(), y = TENSOR(F32, x.dims[0]);
    const struct tensor *ins[] = {&x};
    struct tensor *outs[] = {&y};
    for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
        int64_t code[] = {ops[o], 1, 0, 0, 0}, results[] = {1}, dtypes[] = {DTYPE_F32};
        struct attr attrs[] = {attr_of_ints("code", 5, code), attr_of_ints("results", 1, results),
                               attr_of_ints("dtypes", 1, dtypes)};
        struct attr_list list = {attrs, 3};
        int n_kernels = 0;
        for (size_t i = 0; kernel_at(i); i++) {
            const struct kernel *k = kernel_at(i);
            struct kernel_call c = {k, OP_Elementwise, 17, &list, ins, outs, 1, 1, 0, 0, 0};
            if (k->op != OP_Elementwise || k == kernel_ref(k->op) || k->isa > isa_host() ||
                !k->accepts(&c))
                continue;
            CHECK_EQ(run_call(&c, 1), STATUS_OK);
            n_kernels++;
            for (int64_t j = 0; j < x.dims[0]; j++) {
                double v = (double)element(&x, j), want = exact(ops[o], v);
                float got = element(&y, j), near = (float)want;
                double ulp = (double)(nextafterf(fabsf(near), INFINITY) - fabsf(near));
                bool is_same = isnan(want) ? isnan(got) : got == near;
                if (!is_same && fabs((double)got - want) > fmax(4 * ulp, 2 * (double)FLT_MIN))
                    test_fail(__FILE__, __LINE__, "%s operation %d of %a: got %a, want %a", k->name,
                              ops[o], v, (double)got, want);
            }
        }
        CHECK(n_kernels > 0);
    }
    guarded_free(x.data, x.size);
    guarded_free(y.data, y.size);
}
