/* The backend's own functions are looked at from within: its pieces follow from measured times,
 * which a test sets. */
#include "server/backend/plan.c"

#include <unistd.h>

#include "base/file.h"
#include "engine/depth_fixture.h"
#include "support/test.h"

enum { N_CALLS = 6 };
static const int64_t sizes[N_CALLS] = {1, 1, 2, 1, 3, 1}; /* elements of the requests */

struct call {
    struct infer_request request;
    struct tensor input;
    float x[3 * IN_SIZE], z[3 * Z_SIZE];
    status code;
    int place; /* in which it was answered; -1: not yet */
};

static struct call calls[N_CALLS];
static int n_answered;
static int cancels_at = -1; /* whose answer lets the last client go away */

static void call_done(struct infer_request *r, struct infer_response *response) {
    struct call *c = r->owner;
    c->code = response->code;
    c->place = n_answered++;
    if (response->code == STATUS_OK) {
        CHECK_EQ(response->outputs[0].dims[0], r->n_batch);
        memcpy(c->z, response->outputs[0].data, response->outputs[0].size);
        tensor_release(&response->outputs[0]);
        tensor_release(&response->outputs[1]);
    }
    if (c == &calls[cancels_at < 0 ? 0 : cancels_at] && cancels_at >= 0)
        infer_request_cancel(&calls[N_CALLS - 1].request);
}

static struct io_spec x_io = {.name = STR("x"), .rank = 3, .dims = {3, 4, 4}, .dtype = DTYPE_F32};
static struct io_spec out_ios[] = {
    {.name = STR("z"), .rank = 3, .dims = {3, 2, 2}, .dtype = DTYPE_F32},
    {.name = STR("mid"), .rank = 3, .dims = {4, 4, 3}, .dtype = DTYPE_F32}};
static const struct model_spec spec = {.max_batch_size = BATCH_MAX,
                                       .inputs = &x_io,
                                       .n_inputs = 1,
                                       .outputs = out_ios,
                                       .n_outputs = 2};

static struct backend_model *open_model(void) {
    struct error err = {0};
    char path[] = "/tmp/plan_test.XXXXXX";
    int fd = mkstemp(path);
    size_t size;
    void *bytes = depth_fixture_bytes(&size);
    CHECK(fd >= 0 && bytes && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
    free(bytes);
    struct backend_model *m = NULL;
    struct backend_source source = {.path = path, .n_instances = 1};
    if (plan_backend.model_open(&m, &source, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    unlink(path);
    return m;
}

static struct infer_batch make_batch(struct infer_request **pointers) {
    struct infer_batch b = {.requests = pointers, .n = N_CALLS, .clock = clock_system()};
    n_answered = 0;
    cancels_at = -1;
    for (int i = 0; i < N_CALLS; i++) {
        struct call *c = &calls[i];
        *c = (struct call){.place = -1};
        for (int k = 0; k < 3 * IN_SIZE; k++)
            c->x[k] = (float)((k + i) * 37 % 101) - 20;
        c->input = (struct tensor){.dtype = DTYPE_F32,
                                   .rank = 4,
                                   .dims = {sizes[i], 3, 4, 4},
                                   .data = c->x,
                                   .size = (size_t)sizes[i] * IN_SIZE * sizeof(float)};
        c->request = (struct infer_request){.model = &spec,
                                            .inputs = &c->input,
                                            .n_batch = sizes[i],
                                            .respond = call_done,
                                            .owner = c};
        pointers[i] = &c->request;
        b.n_elements += sizes[i];
    }
    return b;
}

/* Makes the instance believe that pieces of up to `size` elements are the best. */
static void prefer(struct backend_instance *i, int64_t size) {
    i->chunks = (struct chunk_policy){0};
    for (int64_t n = 1; n <= BATCH_MAX; n *= 2)
        for (int k = 0; k < CHUNK_RUNS_MIN; k++)
            chunk_note(&i->chunks, n, n == size ? n : n * NS_PER_S);
}

static void run_alone(struct backend_instance *i, float z[N_CALLS][3 * Z_SIZE]) {
    struct infer_request *pointers[N_CALLS];
    (void)make_batch(pointers);
    for (int k = 0; k < N_CALLS; k++) {
        struct infer_batch one = {
            .requests = &pointers[k], .n = 1, .n_elements = sizes[k], .clock = clock_system()};
        plan_backend.run(i, &one);
        CHECK_EQ(calls[k].code, STATUS_OK);
        memcpy(z[k], calls[k].z, sizeof calls[k].z);
    }
}

TEST(plan_backend_answers_pieces_in_order_with_the_answers_of_single_requests) {
    static float z[N_CALLS][3 * Z_SIZE];
    struct backend_model *m = open_model();
    struct backend_instance *i = NULL;
    CHECK_EQ(plan_backend.instance_open(&i, m, &spec, NULL), STATUS_OK);
    run_alone(i, z);
    for (int64_t size = 1; size <= BATCH_MAX; size *= 2) {
        struct infer_request *pointers[N_CALLS];
        struct infer_batch b = make_batch(pointers);
        prefer(i, size);
        plan_backend.run(i, &b);
        for (int k = 0; k < N_CALLS; k++) {
            CHECK_EQ(calls[k].code, STATUS_OK);
            CHECK_EQ(calls[k].place, k);
            CHECK_EQ(memcmp(calls[k].z, z[k], (size_t)sizes[k] * Z_SIZE * sizeof(float)), 0);
        }
    }
    plan_backend.instance_close(i);
    plan_backend.model_close(m);
}

TEST(plan_backend_answers_a_piece_before_it_runs_the_next_and_copies_nothing_for_one_request) {
    struct backend_model *m = open_model();
    struct backend_instance *i = NULL;
    CHECK_EQ(plan_backend.instance_open(&i, m, &spec, NULL), STATUS_OK);
    struct infer_request *pointers[N_CALLS];
    struct infer_batch b = make_batch(pointers);
    prefer(i, 1);
    cancels_at = 2; /* its answer comes while the last request waits for its piece */
    plan_backend.run(i, &b);
    for (int k = 0; k < N_CALLS - 1; k++)
        CHECK_EQ(calls[k].code, STATUS_OK);
    CHECK_EQ(calls[N_CALLS - 1].code, STATUS_CANCELLED);
    void *space; /* where a batch would have been gathered: fresh pages */
    size_t size;
    CHECK_EQ(
        session_input_space(i->session, 0, (const int64_t[]){1, 3, 4, 4}, 4, &space, &size, NULL),
        STATUS_OK);
    for (size_t k = 0; k < IN_SIZE; k++)
        CHECK(((const float *)space)[k] == 0);
    plan_backend.instance_close(i);
    plan_backend.model_close(m);
}

TEST(plan_backend_fails_the_requests_of_one_piece_only) {
    struct backend_model *m = open_model();
    struct backend_instance *i = NULL;
    CHECK_EQ(plan_backend.instance_open(&i, m, &spec, NULL), STATUS_OK);
    struct infer_request *pointers[N_CALLS];
    struct infer_batch b = make_batch(pointers);
    prefer(i, 1);
    calls[2].input.dtype = DTYPE_NONE;
    plan_backend.run(i, &b);
    for (int k = 0; k < N_CALLS; k++) {
        CHECK_EQ(calls[k].code, k == 2 ? STATUS_INVALID_ARGUMENT : STATUS_OK);
        CHECK_EQ(calls[k].place, k);
    }
    plan_backend.instance_close(i);
    plan_backend.model_close(m);
}
