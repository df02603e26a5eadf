#include "engine/depth.h"

#include <stdlib.h>
#include <string.h>

#include "engine/depth_fixture.h"
#include "engine/engine_internal.h"
#include "support/test.h"

static struct error err;

static struct engine *open_plan(void *bytes, size_t size) {
    struct engine *e = NULL;
    if (engine_open_bytes(&e, bytes, size, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return e;
}

/* A session whose slices have one element when `cache_size` is 1. */
static struct session *new_session(struct engine *e, unsigned n_threads, size_t cache_size) {
    struct session *s = NULL;
    CHECK_EQ(session_new(&s, e, &(struct session_options){.n_threads = n_threads}, &err),
             STATUS_OK);
    s->cache_size = cache_size;
    return s;
}

static status run_batch(struct session *s, float *x, int64_t size) {
    struct tensor t = {.dtype = DTYPE_F32,
                       .rank = 4,
                       .dims = {size, 3, 4, 4},
                       .data = x,
                       .size = (size_t)size * IN_SIZE * sizeof *x};
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_OK);
    return session_run(s, &err);
}

TEST(depth_gives_the_same_answers_bit_by_bit) {
    static float x[BATCH_MAX * IN_SIZE], z[BATCH_MAX * Z_SIZE], mid[BATCH_MAX * IN_SIZE];
    size_t size;
    void *bytes = depth_fixture_bytes(&size);
    CLEANUP(engine_unrefp) struct engine *e = open_plan(bytes, size);
    CHECK_EQ(e->n_spans, 1);
    CHECK_EQ(e->spans[0].first, 1);
    CHECK_EQ(e->spans[0].end, 6);
    struct session *one = new_session(e, 1, 1);
    depth_fixture_fill(x);
    for (int i = 0; i < BATCH_MAX; i++) {
        CHECK_EQ(run_batch(one, x + i * IN_SIZE, 1), STATUS_OK);
        CHECK_EQ(one->current->n_spans, 0);
        memcpy(z + i * Z_SIZE, session_output(one, 0)->data, Z_SIZE * sizeof *z);
        memcpy(mid + i * IN_SIZE, session_output(one, 1)->data, IN_SIZE * sizeof *mid);
    }
    session_free(one);
    const size_t cache_sizes[] = {1, 1200, 1 << 20};
    for (unsigned n_threads = 1; n_threads <= 4; n_threads++)
        for (size_t c = 0; c < ARRAY_LEN(cache_sizes); c++) {
            struct session *s = new_session(e, n_threads, cache_sizes[c]);
            for (int64_t batch = BATCH_MAX; batch > 0; batch--) {
                CHECK_EQ(run_batch(s, x, batch), STATUS_OK);
                CHECK_EQ(memcmp(session_output(s, 0)->data, z, (size_t)batch * Z_SIZE * 4), 0);
                CHECK_EQ(memcmp(session_output(s, 1)->data, mid, (size_t)batch * IN_SIZE * 4), 0);
            }
            session_free(s);
        }
    free(bytes);
}

TEST(depth_keeps_memory_for_slices_only) {
    static float x[BATCH_MAX * IN_SIZE];
    size_t size;
    void *bytes = depth_fixture_bytes(&size);
    CLEANUP(engine_unrefp) struct engine *e = open_plan(bytes, size);
    struct session *s = new_session(e, 2, 1);
    CHECK_EQ(run_batch(s, x, 13), STATUS_OK);
    const struct binding *b = s->current;
    CHECK_EQ(b->n_spans, 1);
    CHECK_EQ(b->spans[0].slice, 1);
    CHECK_EQ(b->spans[0].n_slices, 13);
    CHECK_EQ(b->spans[0].n_own, 12); /* the thirteenth is done together */
    CHECK(b->values[T].is_sliced && b->values[SUMMED].is_sliced && b->values[POOL].is_sliced);
    CHECK(!b->values[CLIPPED].is_sliced && !b->values[NORM].is_sliced && !b->values[Y].is_sliced);
    CHECK_EQ(b->values[SUMMED].offset, b->values[T].offset); /* written over it */
    session_free(s);
    free(bytes);
}

TEST(depth_leaves_steps_alone_whose_weights_outweigh_activations) {
    static float x[BATCH_MAX * IN_SIZE];
    size_t size;
    void *bytes = depth_fixture_bytes(&size);
    CLEANUP(engine_unrefp) struct engine *e = open_plan(bytes, size);
    ((struct plan_value *)(uintptr_t)e->plan.values)[SCALE].size = 1 << 20;
    struct session *s = new_session(e, 1, 1);
    CHECK_EQ(run_batch(s, x, 13), STATUS_OK);
    CHECK_EQ(s->current->n_spans, 1);
    CHECK_EQ(s->current->spans[0].first, 3);
    CHECK_EQ(s->current->spans[0].end, 6);
    session_free(s);
    free(bytes);
}

static _Atomic int n_calls_left;

static status run_fails(const struct kernel_call *c, const struct kernel_team *t, struct error *e) {
    (void)t;
    memset(c->out[0]->data, 0, c->out[0]->size);
    if (atomic_fetch_sub(&n_calls_left, 1) == 1)
        return error_set(e, STATUS_INVALID_ARGUMENT, "enough");
    return STATUS_OK;
}

TEST(depth_stops_all_threads_when_a_step_of_a_slice_fails) {
    static const struct kernel failing = {.name = "failing", .is_serial = true, .run = run_fails};
    static float x[BATCH_MAX * IN_SIZE];
    size_t size;
    void *bytes = depth_fixture_bytes(&size);
    CLEANUP(engine_unrefp) struct engine *e = open_plan(bytes, size);
    e->steps[4].kernel = &failing;
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct session *s = new_session(e, n_threads, 1);
        for (int at = 1; at <= 13; at++) {
            atomic_store(&n_calls_left, at);
            CHECK_EQ(run_batch(s, x, 13), STATUS_INVALID_ARGUMENT);
            CHECK_STR(err.text, "step 4 (Pool2d \"\"): enough");
        }
        CHECK_EQ(run_batch(s, x, 13), STATUS_OK);
        session_free(s);
    }
    free(bytes);
}

static void try_plan(void *bytes, size_t size) {
    static float x[BATCH_MAX * IN_SIZE];
    CLEANUP(engine_unrefp) struct engine *e = NULL;
    if (engine_open_bytes(&e, bytes, size, &err) != STATUS_OK)
        return;
    struct session *s = new_session(e, 2, 1);
    for (int64_t batch = 3; batch <= 4; batch++) {
        struct tensor t = {.dtype = DTYPE_F32,
                           .rank = 4,
                           .dims = {batch, 3, 4, 4},
                           .data = x,
                           .size = (size_t)batch * IN_SIZE * sizeof *x};
        if (session_set_input(s, 0, &t, &err) == STATUS_OK && session_run(s, &err) == STATUS_OK)
            CHECK(session_output(s, 0)->size == 0 || session_output(s, 0)->data);
    }
    session_free(s);
}

/* Whatever happens, it happens within the memory: the sanitizer watches. */
TEST(depth_survives_plans_that_lie_about_a_value) {
    static const int64_t dims[] = {DIM_EXPR, 0, 1, 2, 3, 4, 48, 1 << 20};
    for (int v = 0; v < N_DEPTH_VALUES; v++)
        for (int what = 0; what < 4 * (int)ARRAY_LEN(dims) + PLAN_KIND_END * N_DEPTH_VALUES;
             what++) {
            const struct plan_value kept = values[v];
            if (what < 4 * (int)ARRAY_LEN(dims)) {
                values[v].dims[what % 4] = dims[what / 4];
            } else {
                values[v].kind = (uint8_t)((what - 4 * (int)ARRAY_LEN(dims)) % PLAN_KIND_END);
                values[v].of = (uint32_t)((what - 4 * (int)ARRAY_LEN(dims)) / PLAN_KIND_END);
            }
            size_t size;
            void *bytes = depth_fixture_bytes(&size);
            if (bytes)
                try_plan(bytes, size);
            free(bytes);
            values[v] = kept;
        }
}
