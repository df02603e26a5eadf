#include "server/backend/chunk.h"

#include "support/test.h"

static void note(struct chunk_policy *p, int64_t n, int64_t element_ns) {
    for (int i = 0; i < CHUNK_RUNS_MIN; i++)
        chunk_note(p, n, n * element_ns);
}

TEST(chunk_runs_the_whole_batch_until_costs_are_known) {
    struct chunk_policy p = {0};
    CHECK_EQ(chunk_choose(&p, 16), 16);
    note(&p, 1, 100);
    CHECK_EQ(chunk_choose(&p, 16), 16);
}

TEST(chunk_runs_pieces_when_elements_get_dearer_in_a_batch) {
    struct chunk_policy p = {0};
    note(&p, 1, 100);
    note(&p, 2, 95);
    note(&p, 16, 160);
    CHECK_EQ(chunk_choose(&p, 16), 2);
    CHECK_EQ(chunk_choose(&p, 20), 2);
}

TEST(chunk_runs_the_whole_batch_when_elements_get_cheaper) {
    struct chunk_policy p = {0};
    note(&p, 16, 10);
    CHECK_EQ(chunk_choose(&p, 16), 8); /* a look at half of it */
    note(&p, 8, 18);
    CHECK_EQ(chunk_choose(&p, 16), 16);
    note(&p, 1, 10); /* hardly cheaper: not worth it */
    CHECK_EQ(chunk_choose(&p, 16), 16);
}

TEST(chunk_goes_down_by_halves_while_that_helps) {
    struct chunk_policy p = {0};
    note(&p, 16, 160);
    CHECK_EQ(chunk_choose(&p, 16), 8);
    note(&p, 8, 130);
    CHECK_EQ(chunk_choose(&p, 16), 4);
    note(&p, 4, 140);
    CHECK_EQ(chunk_choose(&p, 16), 8);
}

TEST(chunk_tries_the_whole_batch_again) {
    struct chunk_policy p = {0};
    int n_whole = 0;
    note(&p, 1, 100);
    note(&p, 16, 160);
    for (int i = 0; i < CHUNK_RETRY_EVERY; i++)
        n_whole += chunk_choose(&p, 16) == 16;
    CHECK_EQ(n_whole, 1);
}

TEST(chunk_forgets_a_disturbed_run_and_believes_a_slower_model) {
    struct chunk_policy p = {0};
    note(&p, 4, 100);
    chunk_note(&p, 4, 4 * 1000);
    CHECK(p.costs[2].element_ns < 130);
    for (int i = 0; i < 200; i++)
        chunk_note(&p, 4, 4 * 1000);
    CHECK(p.costs[2].element_ns > 950);
}
