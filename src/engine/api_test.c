#include <culmen/plan.h>
#include <stdlib.h>

#include "engine/fixture.h"
#include "plan/write.h"
#include "support/test.h"

static struct culmen_error err;

static struct culmen_plan *load(void **bytes) {
    struct fixture f;
    struct error why;
    size_t size;
    struct culmen_plan *plan = NULL;
    fixture_make(&f);
    CHECK_EQ(plan_encode(bytes, &size, &f.plan, &why), STATUS_OK);
    CHECK_EQ(culmen_plan_load_memory(&plan, *bytes, size, &err), CULMEN_OK);
    return plan;
}

TEST(api_describes_inputs_and_outputs) {
    void *bytes;
    struct culmen_plan *plan = load(&bytes);
    CHECK_EQ(culmen_plan_n_inputs(plan), 1);
    CHECK_EQ(culmen_plan_n_outputs(plan), 3);
    const struct culmen_io *x = culmen_plan_input(plan, 0);
    CHECK_STR(x->name, "x");
    CHECK(x->dtype == CULMEN_FLOAT32 && x->rank == 3);
    CHECK(x->dims[0].size == -1 && x->dims[0].min == 1 && x->dims[0].max == 8);
    CHECK_STR(x->dims[0].symbol, "n");
    CHECK(x->dims[1].size == 2 && !*x->dims[1].symbol);
    CHECK_STR(culmen_plan_output(plan, 2)->dims[1].symbol, "?");
    CHECK(!culmen_plan_input(plan, 1));
    CHECK_EQ(culmen_plan_find_output(plan, "same"), 1);
    CHECK_EQ(culmen_plan_find_input(plan, "y"), -1);
    CHECK_STR(culmen_plan_metadata(plan), "{}");
    culmen_plan_free(plan);
    free(bytes);
}

TEST(api_runs_into_the_callers_memory) {
    void *bytes;
    struct culmen_plan *plan = load(&bytes);
    struct culmen_session *s = NULL;
    CHECK_EQ(culmen_session_new(&s, plan, NULL, &err), CULMEN_OK);
    culmen_plan_free(plan); /* the session keeps what it needs */
    const float x[8] = {0};
    float y[8];
    struct culmen_tensor t;
    CHECK_EQ(culmen_bind_input(s, 0, x, (int64_t[]){2, 2, 2}, 3, &err), CULMEN_OK);
    CHECK_EQ(culmen_get_output(s, 0, &t, &err), CULMEN_OK);
    CHECK(t.size == sizeof y && !t.data && t.dims[0] == 2);
    CHECK_EQ(culmen_bind_output(s, 0, y, sizeof y, &err), CULMEN_OK);
    CHECK_EQ(culmen_run(s, &err), CULMEN_OK);
    CHECK(y[0] == 0 && y[2] == 3 && y[3] == 4 && y[7] == 4);
    CHECK_EQ(culmen_get_output(s, 2, &t, &err), CULMEN_OK);
    CHECK(t.dtype == CULMEN_INT64 && t.dims[1] == 4);
    culmen_session_free(s);
    free(bytes);
}

TEST(api_says_what_is_wrong) {
    void *bytes;
    struct culmen_plan *plan = load(&bytes), *none;
    struct culmen_session *s = NULL;
    CHECK_EQ(culmen_session_new(&s, plan, NULL, &err), CULMEN_OK);
    const float x[8] = {0};
    CHECK_EQ(culmen_bind_input(s, 0, x, (int64_t[]){2, 4}, 2, &err), CULMEN_INVALID_ARGUMENT);
    CHECK_STR(err.text, "input \"x\": wanted 3 dims, found 2");
    CHECK_EQ(culmen_bind_input(s, 7, x, NULL, 0, &err), CULMEN_INVALID_ARGUMENT);
    CHECK_EQ(culmen_bind_input(s, 0, x, NULL, 9, NULL), CULMEN_INVALID_ARGUMENT);
    CHECK_EQ(culmen_bind_input(s, 0, x, (int64_t[]){-2, 2, 2}, 3, NULL), CULMEN_INVALID_ARGUMENT);
    CHECK_EQ(culmen_bind_input(s, 0, x, NULL, 3, NULL), CULMEN_INVALID_ARGUMENT);
    CHECK_EQ(culmen_bind_input(s, 0, NULL, (int64_t[]){2, 2, 2}, 3, &err), CULMEN_INVALID_ARGUMENT);
    CHECK_STR(err.text, "input 0: data is NULL");
    CHECK_EQ(culmen_run(s, &err), CULMEN_INVALID_ARGUMENT);
    CHECK_STR(culmen_status_name(err.code), "INVALID_ARGUMENT");
    CHECK_EQ(culmen_plan_load(&none, "/no/such.plan", &err), CULMEN_NOT_FOUND);
    CHECK_EQ(culmen_plan_load_memory(&none, bytes, 100, &err), CULMEN_DATA_LOSS);
    culmen_session_free(s);
    culmen_session_free(NULL);
    culmen_plan_free(plan);
    culmen_plan_free(NULL);
    free(bytes);
}
