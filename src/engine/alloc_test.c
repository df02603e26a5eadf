/* alloc_test.c - a run allocates nothing once its dims have been seen: counted by standing in for
 * malloc. */
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/depth_fixture.h"
#include "engine/engine.h"
#include "engine/fixture.h"
#include "plan/write.h"
#include "support/test.h"

#ifdef __has_feature /* clang's way to say it, and gcc's from 14 on */
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#if SANITIZED

TEST(session_run_allocates_nothing_in_the_steady_state) {
    test_skip("malloc is the sanitizer's");
}

#else

static _Atomic long n_allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size) {
    n_allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    n_allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
    n_allocations++;
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size) {
    n_allocations++;
    return __libc_memalign(align, size);
}

static void run_batches(struct session *s, struct error *err) {
    float x[32];
    for (int i = 0; i < 32; i++)
        x[i] = (float)i;
    for (int64_t n = 1; n <= 8; n++) { /* fewer than a session keeps */
        struct tensor t = fixture_input(x, n);
        CHECK_EQ(session_set_input(s, 0, &t, err), STATUS_OK);
        CHECK_EQ(session_run(s, err), STATUS_OK);
        CHECK(session_output(s, 2)->dims[1] > 0);
    }
}

TEST(session_run_allocates_nothing_in_the_steady_state) {
    struct error err;
    struct fixture f;
    fixture_make(&f);
    void *bytes;
    size_t size;
    CHECK_EQ(plan_encode(&bytes, &size, &f.plan, &err), STATUS_OK);
    for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
        struct engine *e;
        struct session *s;
        CHECK_EQ(engine_open_bytes(&e, bytes, size, &err), STATUS_OK);
        CHECK_EQ(session_new(&s, e, &(struct session_options){.n_threads = n_threads}, &err),
                 STATUS_OK);
        run_batches(s, &err);
        long before = n_allocations;
        size_t memory = session_memory(s);
        CHECK(before > 0);
        for (int i = 0; i < 10; i++)
            run_batches(s, &err);
        CHECK_EQ(n_allocations - before, 0);
        CHECK_EQ(session_memory(s), memory);
        session_free(s);
        engine_unref(e);
    }
    free(bytes);
}

static void run_depth_first(struct session *s, struct error *err) {
    static float x[BATCH_MAX * IN_SIZE];
    for (int64_t n = 1; n <= BATCH_MAX; n++) {
        struct tensor t = {.dtype = DTYPE_F32,
                           .rank = 4,
                           .dims = {n, 3, 4, 4},
                           .data = x,
                           .size = (size_t)n * IN_SIZE * sizeof *x};
        CHECK_EQ(session_set_input(s, 0, &t, err), STATUS_OK);
        CHECK_EQ(session_run(s, err), STATUS_OK);
    }
}

TEST(session_run_allocates_nothing_when_it_walks_depth_first) {
    struct error err;
    size_t size;
    void *bytes = depth_fixture_bytes(&size);
    struct engine *e;
    struct session *s;
    CHECK_EQ(engine_open_bytes(&e, bytes, size, &err), STATUS_OK);
    CHECK_EQ(session_new(&s, e, &(struct session_options){.n_threads = 2}, &err), STATUS_OK);
    run_depth_first(s, &err);
    long before = n_allocations;
    for (int i = 0; i < 10; i++)
        run_depth_first(s, &err);
    CHECK_EQ(n_allocations - before, 0);
    session_free(s);
    engine_unref(e);
    free(bytes);
}

#endif
