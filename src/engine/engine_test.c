#include "engine/engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/fixture.h"
#include "plan/read.h"
#include "plan/write.h"
#include "support/test.h"

static struct error err;

static void *model_bytes(size_t *size) {
    struct fixture m;
    fixture_make(&m);
    void *bytes = NULL;
    CHECK_EQ(plan_encode(&bytes, size, &m.plan, &err), STATUS_OK);
    return bytes;
}

static struct session *model_session(struct engine **e, void **bytes, unsigned n_threads) {
    size_t size;
    *bytes = model_bytes(&size);
    struct session *s = NULL;
    if (engine_open_bytes(e, *bytes, size, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    CHECK_EQ(session_new(&s, *e, &(struct session_options){.n_threads = n_threads}, &err),
             STATUS_OK);
    return s;
}

static void check_run(struct session *s, int64_t n) {
    float x[32];
    for (int i = 0; i < 32; i++)
        x[i] = (float)i * 0.5f;
    struct tensor t = fixture_input(x, n);
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_OK);
    if (session_run(s, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    const struct tensor *y = session_output(s, 0), *same = session_output(s, 1);
    CHECK(y->rank == 2 && y->dims[0] == n && y->dims[1] == 4 && y->size == (size_t)n * 16);
    CHECK(same->size == (size_t)n * 16 && same->data != x && !memcmp(same->data, x, same->size));
    const float w[] = {-1, -2, 3, 4}, *got = y->data;
    int64_t n_positive = 0;
    for (int64_t i = 0; i < n * 4; i++) {
        CHECK(got[i] == fmaxf(x[i] + w[i % 4], 0));
        n_positive += got[i] > 0;
    }
    const struct tensor *where = session_output(s, 2);
    CHECK(where->dims[0] == 2 && where->dims[1] == n_positive);
    CHECK_EQ(where->size, (size_t)n_positive * 16);
    const int64_t *at = where->data;
    for (int64_t i = 0; i < n_positive; i++)
        CHECK(got[at[i] * 4 + at[n_positive + i]] > 0);
}

TEST(session_runs_any_batch_of_the_range) {
    CLEANUP(engine_unrefp) struct engine *e = NULL;
    void *bytes;
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct session *s = model_session(&e, &bytes, n_threads);
        for (int64_t n = 8; n >= 1; n--)
            check_run(s, n);
        check_run(s, 3);
        session_free(s);
        engine_unref(TAKE(e));
        free(bytes);
    }
}

TEST(inputs_that_do_not_fit_are_refused_with_name_dim_wanted_and_found) {
    struct engine *e = NULL;
    void *bytes;
    struct session *s = model_session(&e, &bytes, 1);
    float x[64] = {0};
    struct tensor t = fixture_input(x, 9);
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "input \"x\", dim 0 (n): wanted 1 to 8, found 9");
    t = fixture_input(x, 2);
    t.dims[1] = 3;
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "input \"x\", dim 1: wanted 2, found 3");
    t.dtype = DTYPE_I64;
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "input \"x\": wanted f32, found i64");
    CHECK_EQ(session_run(s, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "input \"x\" is not set");
    check_run(s, 4);
    session_free(s);
    engine_unref(e);
    free(bytes);
}

TEST(outputs_land_in_the_callers_memory) {
    struct engine *e = NULL;
    void *bytes;
    struct session *s = model_session(&e, &bytes, 1);
    float x[8] = {0}, y[8], same[8] = {1};
    struct tensor t = fixture_input(x, 2);
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_OK);
    CHECK_EQ(session_bind(s, &err), STATUS_OK);
    CHECK_EQ(session_output(s, 0)->size, 32);
    CHECK(!session_output(s, 0)->data);
    CHECK_EQ(session_set_output(s, 0, y, sizeof y, &err), STATUS_OK);
    CHECK_EQ(session_set_output(s, 1, same, sizeof same, &err), STATUS_OK);
    CHECK_EQ(session_run(s, &err), STATUS_OK);
    CHECK(session_output(s, 0)->data == y && y[0] == 0 && y[2] == 3 && y[7] == 4);
    CHECK(!memcmp(same, x, sizeof x));
    CHECK_EQ(session_set_output(s, 0, y, 31, &err), STATUS_OK);
    CHECK_EQ(session_run(s, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "output \"y\": wanted memory for 32 bytes, found 31");
    session_free(s);
    engine_unref(e);
    free(bytes);
}

TEST(memory_has_a_limit_with_a_name) {
    struct engine *e = NULL;
    void *bytes;
    struct session *s = model_session(&e, &bytes, 1);
    session_free(s);
    CHECK_EQ(session_new(&s, e, &(struct session_options){.memory_max = 100}, &err), STATUS_OK);
    float x[32] = {0};
    struct tensor t = fixture_input(x, 8);
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_OK);
    CHECK_EQ(session_run(s, &err), STATUS_RESOURCE_EXHAUSTED);
    CHECK(strstr(err.text, "memory_max"));
    session_free(s);
    engine_unref(e);
    free(bytes);
}

TEST(plan_that_lies_about_a_shape_is_refused) {
    struct fixture m;
    fixture_make(&m);
    m.values[SUM].dims[2] = 3;
    void *bytes;
    size_t size;
    CHECK_EQ(plan_encode(&bytes, &size, &m.plan, &err), STATUS_OK);
    struct engine *e;
    struct session *s;
    CHECK_EQ(engine_open_bytes(&e, bytes, size, &err), STATUS_OK);
    CHECK_EQ(session_new(&s, e, NULL, &err), STATUS_OK);
    float x[4] = {0};
    struct tensor t = fixture_input(x, 1);
    CHECK_EQ(session_set_input(s, 0, &t, &err), STATUS_OK);
    CHECK_EQ(session_run(s, &err), STATUS_DATA_LOSS);
    CHECK_STR(err.text, "step 0 (Add \"add\"): output 0, dim 2: the plan says 3, it is 2");
    session_free(s);
    engine_unref(e);
    free(bytes);
}

/* Opens and, if that works, runs. */
static void try_plan(const void *bytes, size_t size) {
    CLEANUP(engine_unrefp) struct engine *e = NULL;
    CLEANUP(session_freep) struct session *s = NULL;
    struct error why = {0};
    if (engine_open_bytes(&e, bytes, size, &why) != STATUS_OK) {
        CHECK(why.text[0]);
        return;
    }
    float x[4] = {1, 2, 3, 4};
    struct tensor t = fixture_input(x, 1);
    CHECK_EQ(session_new(&s, e, NULL, &why), STATUS_OK);
    if (session_set_input(s, 0, &t, &why) == STATUS_OK)
        (void)!session_run(s, &why);
}

TEST(damaged_plans_give_an_error_or_a_valid_run) {
    size_t size;
    char *bytes = model_bytes(&size), *copy = aligned_alloc(64, (size + 63) & ~(size_t)63);
    for (size_t bit = 0; bit < size * 8; bit += size * 8 > 4000 ? size * 8 / 4000 : 1) {
        memcpy(copy, bytes, size);
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
        try_plan(copy, size);
    }
    free(copy);
    for (size_t n = 0; n < size; n += 7) {
        copy = aligned_alloc(64, (n + 64) & ~(size_t)63);
        memcpy(copy, bytes, n);
        try_plan(copy, n);
        free(copy);
    }
    free(bytes);
}

struct worker {
    struct engine *engine;
    pthread_t thread;
};

static void *work(void *arg) {
    struct worker *w = arg;
    struct session *s;
    CHECK_EQ(session_new(&s, w->engine, &(struct session_options){.n_threads = 2}, &err),
             STATUS_OK);
    for (int64_t i = 0; i < 50; i++)
        check_run(s, 1 + i % 8);
    session_free(s);
    return NULL;
}

TEST(sessions_of_one_engine_run_side_by_side) {
    size_t size;
    void *bytes = model_bytes(&size);
    struct engine *e;
    CHECK_EQ(engine_open_bytes(&e, bytes, size, &err), STATUS_OK);
    struct worker workers[3];
    for (size_t i = 0; i < 3; i++) {
        workers[i].engine = e;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (size_t i = 0; i < 3; i++)
        pthread_join(workers[i].thread, NULL);
    engine_unref(e);
    free(bytes);
}
