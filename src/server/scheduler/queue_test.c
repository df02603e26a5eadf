#include "server/scheduler/queue.h"

#include "support/test.h"

static struct io_spec input = {.rank = 1, .dims = {-1}};
static struct model_spec model = {.max_batch_size = 8, .inputs = &input, .n_inputs = 1};

struct rig {
    struct queue_options options;
    struct queue queue;
    struct infer_request requests[32];
    struct tensor tensors[32];
    size_t n;
    struct infer_request *batch[32];
};

static void rig_init(struct rig *g, int64_t delay_ns) {
    *g = (struct rig){.options = {.is_batching = true,
                                  .max_batch_size = 8,
                                  .preferred = {8},
                                  .n_preferred = 1,
                                  .delay_ns = delay_ns}};
    g->queue.options = &g->options;
}

static struct infer_request *push(struct rig *g, int64_t now_ns, int64_t n_batch, int64_t width) {
    struct infer_request *r = &g->requests[g->n];
    g->tensors[g->n] = (struct tensor){.dtype = DTYPE_F32, .rank = 2, .dims = {n_batch, width}};
    r->model = &model;
    r->inputs = &g->tensors[g->n++];
    r->n_batch = n_batch;
    r->start_ns = now_ns;
    CHECK_EQ(queue_push(&g->queue, r, NULL), STATUS_OK);
    return r;
}

static size_t pull(struct rig *g, int64_t now_ns) {
    int64_t wake_ns;
    return queue_pull(&g->queue, now_ns, g->batch, 32, &wake_ns);
}

TEST(queue_without_delay_sends_all_that_wait) {
    struct rig g;
    rig_init(&g, 0);
    for (int i = 0; i < 3; i++)
        push(&g, 0, 1, 4);
    CHECK_EQ(pull(&g, 0), 3);
    CHECK_EQ(pull(&g, 0), 0);
}

TEST(queue_stops_at_the_largest_batch) {
    struct rig g;
    rig_init(&g, 0);
    for (int i = 0; i < 5; i++)
        push(&g, 0, 2, 4);
    CHECK_EQ(pull(&g, 0), 4);
    CHECK_EQ(pull(&g, 0), 1);
}

TEST(queue_takes_the_largest_preferred_size_there_is) {
    struct rig g;
    rig_init(&g, 1000);
    g.options.preferred[0] = 2;
    g.options.preferred[1] = 4;
    g.options.n_preferred = 2;
    for (int i = 0; i < 5; i++)
        push(&g, 0, 1, 4);
    CHECK_EQ(pull(&g, 10), 4);
}

TEST(queue_takes_everything_once_the_delay_is_exceeded) {
    struct rig g;
    rig_init(&g, 1000);
    g.options.preferred[0] = 4;
    for (int i = 0; i < 6; i++)
        push(&g, 0, 1, 4);
    CHECK_EQ(pull(&g, 1000), 6);
}

TEST(queue_waits_for_a_preferred_size_until_the_delay_expires) {
    struct rig g;
    rig_init(&g, 1000);
    push(&g, 100, 1, 4);
    int64_t wake_ns;
    CHECK_EQ(queue_pull(&g.queue, 200, g.batch, 32, &wake_ns), 0);
    CHECK_EQ(wake_ns, 1100);
    CHECK_EQ(pull(&g, 1100), 1);
}

TEST(queue_does_not_mix_shapes) {
    struct rig g;
    rig_init(&g, 1000);
    push(&g, 0, 1, 4);
    push(&g, 0, 1, 4);
    push(&g, 0, 1, 5);
    CHECK_EQ(pull(&g, 0), 2);
    CHECK_EQ(pull(&g, 0), 0); /* alone: waits */
}

TEST(queue_mixes_shapes_of_ragged_inputs) {
    struct rig g;
    rig_init(&g, 0);
    input.allows_ragged = true;
    push(&g, 0, 1, 4);
    push(&g, 0, 1, 5);
    CHECK_EQ(pull(&g, 0), 2);
}

TEST(queue_serves_one_by_one_without_a_batcher) {
    struct rig g;
    rig_init(&g, 0);
    g.options.is_batching = false;
    push(&g, 0, 1, 4);
    push(&g, 0, 1, 4);
    CHECK_EQ(pull(&g, 0), 1);
    CHECK(g.batch[0] == &g.requests[0]);
}

TEST(queue_serves_urgent_levels_first) {
    struct rig g;
    rig_init(&g, 0);
    g.options.n_levels = 2;
    g.options.default_level = 2;
    push(&g, 0, 1, 4);
    g.requests[1].priority = 1;
    push(&g, 0, 1, 4);
    CHECK_EQ(pull(&g, 0), 2);
    CHECK(g.batch[0] == &g.requests[1]);
}

TEST(queue_refuses_past_its_size) {
    struct rig g;
    rig_init(&g, 0);
    g.options.policies[0].size_max = 1;
    push(&g, 0, 1, 4);
    struct error err;
    CHECK_EQ(queue_push(&g.queue, &g.requests[5], &err), STATUS_UNAVAILABLE);
    CHECK_STR(err.text, "[request id: <id_unknown>] Exceeds maximum queue size");
}

TEST(queue_sweeps_out_what_expired_or_was_cancelled) {
    struct rig g;
    rig_init(&g, 0);
    g.options.policies[0] = (struct queue_policy){.timeout_us = 10, .allows_override = true};
    push(&g, 0, 1, 4);
    g.requests[1].timeout_us = 2;
    push(&g, 0, 1, 4);
    infer_request_cancel(push(&g, 0, 1, 4));
    struct request_list out = {0};
    queue_sweep(&g.queue, 5 * NS_PER_US, &out);
    CHECK_EQ(out.n, 2);
    CHECK_EQ(g.queue.n, 1);
    CHECK_EQ(g.queue.n_with_timeout, 1);
}

TEST(queue_serves_delayed_requests_after_the_others_of_their_level) {
    struct rig g;
    rig_init(&g, 0);
    g.options.policies[0] = (struct queue_policy){.timeout_us = 1, .delays_expired = true};
    push(&g, 0, 1, 4);
    push(&g, 2000, 1, 4);
    struct request_list out = {0};
    queue_sweep(&g.queue, 2500, &out);
    CHECK_EQ(out.n, 0);
    CHECK_EQ(pull(&g, 2500), 2);
    CHECK(g.batch[0] == &g.requests[1]);
}
