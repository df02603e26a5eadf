#include "server/backend/solo.h"

#include "support/test.h"

enum { LONG = 2 * SOLO_RUN_NS_MAX, QUICK = SOLO_RUN_NS_MAX / 2 };

TEST(solo_gives_a_team_to_a_model_that_computes_long) {
    struct solo_policy p = {0};
    for (int i = 1; i < SOLO_RUNS_MAX; i++)
        CHECK(!solo_note(&p, LONG, LONG));
    CHECK(solo_note(&p, LONG, LONG));
}

TEST(solo_gives_none_to_a_quick_model_that_waits_for_its_cpu) {
    struct solo_policy p = {0};
    CHECK(!solo_wants_cpu(&p));
    for (int i = 0; i < 100; i++)
        CHECK(!solo_note(&p, LONG, QUICK));
}

TEST(solo_counts_runs_in_a_row) {
    struct solo_policy p = {0};
    for (int i = 0; i < 100; i++)
        CHECK(!solo_note(&p, i % SOLO_RUNS_MAX ? LONG : QUICK, i % SOLO_RUNS_MAX ? LONG : QUICK));
}
