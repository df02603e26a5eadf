#include "server/scheduler/scheduler.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/thread.h"
#include "support/test.h"

/* A backend that adds one to its only FP32 input, after `wait` says it may. */
struct backend_instance {
    struct mutex *gate;
};
static struct mutex gate = MUTEX_INIT;
static size_t largest_batch;

static status fake_open(struct backend_instance **out, struct backend_model *m,
                        const struct model_spec *spec, struct error *err) {
    (void)m;
    (void)spec;
    (void)err;
    *out = calloc(1, sizeof **out);
    (*out)->gate = &gate;
    return STATUS_OK;
}

static void fake_close(struct backend_instance *i) {
    free(i);
}

static _Atomic bool has_started; /* a batch is at the gate */

enum { SLOW = 1000 }; /* the value of a request that waits for `may_go_on` */
static _Atomic bool may_go_on;
static _Atomic int n_ran;

static void fake_run(struct backend_instance *i, struct infer_batch *b) {
    atomic_store(&has_started, true);
    while (*(float *)b->requests[0]->inputs[0].data == SLOW && !atomic_load(&may_go_on))
        usleep(50);
    mutex_lock(i->gate);
    if (b->n > largest_batch)
        largest_batch = b->n;
    mutex_unlock(i->gate);
    b->input_end_ns = b->output_start_ns = clock_now(b->clock);
    for (size_t k = 0; k < b->n; k++) {
        struct tensor t = b->requests[k]->inputs[0];
        ((float *)t.data)[0] += 1;
        atomic_fetch_add(&n_ran, 1);
        infer_respond(b->requests[k], &(struct infer_response){.outputs = &t, .is_last = true});
    }
}

static const struct backend fake = {
    .name = "fake", .instance_open = fake_open, .instance_close = fake_close, .run = fake_run};

static struct io_spec io = {.rank = 1, .dims = {1}, .dtype = DTYPE_F32};
static struct model_spec model = {
    .max_batch_size = 8, .inputs = &io, .n_inputs = 1, .outputs = &io, .n_outputs = 1};

struct call {
    struct infer_request request;
    struct tensor input;
    float value;
    status code;
    int place; /* in which it was answered */
    _Atomic bool is_done;
};

static _Atomic int n_done;

static void call_done(struct infer_request *r, struct infer_response *response) {
    struct call *c = r->owner;
    c->code = response->code;
    c->place = atomic_fetch_add(&n_done, 1);
    atomic_store(&c->is_done, true);
}

static void call_start(struct call *c, struct scheduler *s) {
    c->input = (struct tensor){.dtype = DTYPE_F32, .rank = 2, .dims = {1, 1}, .data = &c->value};
    c->request = (struct infer_request){
        .model = &model, .inputs = &c->input, .n_batch = 1, .respond = call_done, .owner = c};
    CHECK_EQ(scheduler_push(s, &c->request, NULL), STATUS_OK);
}

static void call_wait(struct call *c) {
    while (!atomic_load(&c->is_done))
        usleep(50);
}

static struct scheduler *scheduler_of(size_t n_instances) {
    struct scheduler *s = NULL;
    struct scheduler_options o = {
        .backend = &fake,
        .spec = &model,
        .queue = {.is_batching = true, .max_batch_size = 8, .preferred = {8}, .n_preferred = 1},
        .n_instances = n_instances,
        .clock = clock_system()};
    CHECK_EQ(scheduler_new(&s, &o, NULL), STATUS_OK);
    return s;
}

TEST(scheduler_answers_every_request) {
    CLEANUP(scheduler_freep) struct scheduler *s = scheduler_of(2);
    static struct call calls[1000];
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        call_start(&calls[i], s);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        call_wait(&calls[i]);
        CHECK(calls[i].value == 1);
    }
    struct model_stats stats;
    scheduler_read_stats(s, &stats);
    CHECK_EQ(stats.success.count, 1000);
    CHECK_EQ(stats.inference_count, 1000);
    CHECK_EQ(stats.n_pending, 0);
    CHECK_EQ(scheduler_in_flight(s), 0);
}

TEST(scheduler_batches_what_waits_for_a_busy_instance) {
    CLEANUP(scheduler_freep) struct scheduler *s = scheduler_of(1);
    static struct call calls[9];
    mutex_lock(&gate);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        call_start(&calls[i], s);
    mutex_unlock(&gate);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        call_wait(&calls[i]);
    CHECK(largest_batch >= 4);
}

TEST(scheduler_runs_cheap_models_on_the_pushing_thread) {
    CLEANUP(scheduler_freep) struct scheduler *s = scheduler_of(1);
    for (int i = 0; i < 200; i++) {
        struct call c = {0};
        call_start(&c, s);
        call_wait(&c);
    }
    struct call c = {0};
    call_start(&c, s);
    CHECK(atomic_load(&c.is_done));
}

TEST(scheduler_answers_expired_requests_while_its_instance_is_busy) {
    struct fake_clock clock; /* lives longer than the scheduler that reads it */
    fake_clock_init(&clock, NS_PER_S);
    CLEANUP(scheduler_freep) struct scheduler *s = NULL;
    struct scheduler_options o = {.backend = &fake,
                                  .spec = &model,
                                  .queue = {.is_batching = true,
                                            .max_batch_size = 1,
                                            .preferred = {1},
                                            .n_preferred = 1,
                                            .policies = {{.timeout_us = 1000}}},
                                  .n_instances = 1,
                                  .clock = &clock.base};
    CHECK_EQ(scheduler_new(&s, &o, NULL), STATUS_OK);
    static struct call calls[2];
    mutex_lock(&gate);
    call_start(&calls[0], s);
    while (!atomic_load(&has_started)) /* the instance has it and waits at the gate */
        usleep(50);
    call_start(&calls[1], s);
    fake_clock_advance(&clock, 2 * NS_PER_MS);
    scheduler_expire(s);
    call_wait(&calls[1]);
    CHECK_EQ(calls[1].code, STATUS_UNAVAILABLE);
    mutex_unlock(&gate);
    call_wait(&calls[0]);
    CHECK_EQ(calls[0].code, STATUS_OK);
}

/* Two instances, the first of two requests is slow; true: they were answered in order. */
static bool answers_in_order(bool keeps_order) {
    CLEANUP(scheduler_freep) struct scheduler *s = NULL;
    struct scheduler_options o = {.backend = &fake,
                                  .spec = &model,
                                  .queue = {.is_batching = true,
                                            .keeps_order = keeps_order,
                                            .max_batch_size = 1,
                                            .preferred = {1},
                                            .n_preferred = 1},
                                  .n_instances = 2,
                                  .clock = clock_system()};
    CHECK_EQ(scheduler_new(&s, &o, NULL), STATUS_OK);
    struct call slow = {.value = SLOW}, quick = {0};
    atomic_store(&may_go_on, false);
    atomic_store(&has_started, false);
    call_start(&slow, s);
    while (!atomic_load(&has_started))
        usleep(50);
    int n_before = atomic_load(&n_ran);
    call_start(&quick, s);
    while (atomic_load(&n_ran) == n_before) /* until it has run on the other instance */
        usleep(50);
    usleep(20000);
    atomic_store(&may_go_on, true);
    call_wait(&slow);
    call_wait(&quick);
    return slow.place < quick.place;
}

TEST(scheduler_keeps_the_order_of_answers_when_it_is_told_to) {
    CHECK(answers_in_order(true));
    CHECK(!answers_in_order(false));
}

static _Atomic int n_may_answer;

/* Answers one request after the other, each when it may, like a backend that runs pieces. */
static void run_one_by_one(struct backend_instance *i, struct infer_batch *b) {
    (void)i;
    for (size_t k = 0; k < b->n; k++) {
        while (atomic_load(&n_may_answer) == 0)
            usleep(50);
        atomic_fetch_sub(&n_may_answer, 1);
        struct tensor t = b->requests[k]->inputs[0];
        infer_respond(b->requests[k], &(struct infer_response){.outputs = &t, .is_last = true});
    }
}

TEST(scheduler_lets_answers_go_before_their_batch_is_over_and_counts_one_execution) {
    static const struct backend one_by_one = {
        .instance_open = fake_open, .instance_close = fake_close, .run = run_one_by_one};
    struct scheduler_options o = {
        .backend = &one_by_one,
        .spec = &model,
        .queue = {.is_batching = true, .max_batch_size = 8, .preferred = {8}, .n_preferred = 1},
        .n_instances = 1,
        .clock = clock_system()};
    CLEANUP(scheduler_freep) struct scheduler *s = NULL;
    CHECK_EQ(scheduler_new(&s, &o, NULL), STATUS_OK);
    static struct call calls[5];
    struct model_stats stats;
    call_start(&calls[0], s);
    do
        scheduler_read_stats(s, &stats);
    while (stats.n_pending); /* until the instance has it */
    for (int i = 1; i <= 3; i++)
        call_start(&calls[i], s);
    atomic_store(&n_may_answer, 2);
    call_wait(&calls[1]);
    scheduler_read_stats(s, &stats);
    CHECK_EQ(stats.success.count, 2);
    CHECK_EQ(stats.execution_count, 1);
    CHECK(!atomic_load(&calls[2].is_done) && !atomic_load(&calls[3].is_done));
    call_start(&calls[4], s); /* the first client is back while the batch runs */
    atomic_store(&n_may_answer, 3);
    for (int i = 2; i <= 4; i++)
        call_wait(&calls[i]);
    scheduler_read_stats(s, &stats);
    CHECK_EQ(stats.inference_count, 5);
    CHECK_EQ(stats.execution_count, 3);
    CHECK_EQ(stats.n_batches, 2);
    CHECK_EQ(stats.batches[1].size, 3);
    CHECK_EQ(stats.batches[1].infer.count, 1);
}

TEST(scheduler_refuses_new_requests_while_it_drains) {
    CLEANUP(scheduler_freep) struct scheduler *s = scheduler_of(1);
    scheduler_drain(s);
    struct call c = {.request = {.model = &model}};
    CHECK_EQ(scheduler_push(s, &c.request, NULL), STATUS_UNAVAILABLE);
}
