#include "plan/memory.h"

#include "ops/fused.h"
#include "support/test.h"

/* A small generator, so that the test is the same everywhere. */
static uint32_t next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

TEST(place_never_overlaps_blocks_that_live_together) {
    struct arena a CLEANUP(arena_release) = {0};
    uint32_t seed = 1;
    for (int round = 0; round < 50; round++) {
        struct plan_block b[60];
        for (size_t i = 0; i < ARRAY_LEN(b); i++) {
            b[i] = (struct plan_block){.size = next(&seed) % 100000, .first = next(&seed) % 40};
            b[i].last = b[i].first + next(&seed) % 10;
        }
        size_t total = plan_place(b, ARRAY_LEN(b), &a);
        CHECK(total >= plan_live_bytes(b, ARRAY_LEN(b), 50, &a));
        for (size_t i = 0; i < ARRAY_LEN(b); i++) {
            CHECK(b[i].offset % PLAN_BLOCK_ALIGN == 0 && b[i].offset + b[i].size <= total);
            for (size_t k = 0; k < i; k++) {
                bool together = b[i].first <= b[k].last && b[k].first <= b[i].last;
                bool apart = b[i].offset + b[i].size <= b[k].offset ||
                             b[k].offset + b[k].size <= b[i].offset;
                CHECK(!together || apart);
            }
        }
    }
}

TEST(place_reuses_the_memory_of_the_dead) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan_block chain[] = {{.size = 640, .first = 0, .last = 1},
                                 {.size = 640, .first = 1, .last = 2},
                                 {.size = 640, .first = 2, .last = 3},
                                 {.size = 640, .first = 3, .last = 4}};
    CHECK_EQ(plan_place(chain, ARRAY_LEN(chain), &a), 1280);
    CHECK_EQ(plan_live_bytes(chain, ARRAY_LEN(chain), 5, &a), 1280);
}

TEST(place_says_when_it_does_not_fit) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan_block b[] = {{.size = SIZE_MAX / 2}, {.size = SIZE_MAX / 2}, {.size = 64}};
    CHECK(plan_place(b, ARRAY_LEN(b), &a) == SIZE_MAX);
}

TEST(lifetimes_reach_through_aliases_and_outputs) {
    struct arena a CLEANUP(arena_release) = {0};
    const uint32_t in0[] = {0}, out0[] = {1}, in1[] = {2}, out1[] = {3};
    const struct plan p = {
        .values = (const struct plan_value[]){{.kind = PLAN_INPUT},
                                              {.kind = PLAN_PLANNED},
                                              {.kind = PLAN_ALIAS, .of = 1},
                                              {.kind = PLAN_PLANNED}},
        .n_values = 4,
        .steps = (const struct plan_step[]){{.in = in0, .n_in = 1, .out = out0, .n_out = 1},
                                            {.in = in1, .n_in = 1, .out = out1, .n_out = 1}},
        .n_steps = 2,
        .outputs = (const struct plan_output[]){{.value = 3}},
        .n_outputs = 1,
    };
    const struct plan_lifetime *l = plan_lifetimes(&p, &a);
    CHECK(l[1].first == 0 && l[1].last == 1);
    CHECK(l[2].first == 0 && l[2].last == 1);
    CHECK(l[3].first == 1 && l[3].last == 2);
}

TEST(elementwise_steps_write_over_an_input_that_dies) {
    struct arena a CLEANUP(arena_release) = {0};
    const uint32_t in0[] = {0}, out0[] = {1}, in1[] = {1, 2}, out1[] = {3};
    struct plan_value v[] = {{.kind = PLAN_INPUT, .dtype = DTYPE_F32, .rank = 1, .dims = {9}},
                             {.kind = PLAN_PLANNED, .dtype = DTYPE_F32, .rank = 1, .dims = {9}},
                             {.kind = PLAN_CONSTANT, .dtype = DTYPE_F32, .rank = 1, .dims = {9}},
                             {.kind = PLAN_PLANNED, .dtype = DTYPE_F32, .rank = 1, .dims = {9}}};
    static const int64_t results[] = {4};
    static const int64_t code[] = {EW_MUL, 4, 0, 0, 0, EW_MUL, 5, 0, 1, 1, EW_ADD, 4, 5, 0, 1};
    static const int64_t reads_late[] = {EW_MUL, 4, 1, 1, 1, EW_ADD, 4, 4, 0, 1};
    struct attr attrs[] = {
        {.name = STR("results"), .kind = ATTR_INTS, .n = 1, .ints = results},
        {.name = STR("code"), .kind = ATTR_INTS, .n = 5, .ints = code + 10},
    };
    const struct attr_list list = {.items = attrs, .n = 2};
    const struct plan_step s[] = {
        {.op = STR("Elementwise"), .attrs = list, .in = in0, .n_in = 1, .out = out0, .n_out = 1},
        {.op = STR("Elementwise"), .attrs = list, .in = in1, .n_in = 2, .out = out1, .n_out = 1}};
    struct plan p = {.values = v, .n_values = 4, .steps = s, .n_steps = 2};
    uint32_t *shares = plan_shares(&p, plan_lifetimes(&p, &a), &a);
    CHECK(shares[1] == 1 && shares[3] == 1);
    attrs[1] = (struct attr){.name = STR("code"), .kind = ATTR_INTS, .n = 10, .ints = reads_late};
    shares = plan_shares(&p, plan_lifetimes(&p, &a), &a);
    CHECK_EQ(shares[3], 3);
    attrs[1] = (struct attr){.name = STR("code"), .kind = ATTR_INTS, .n = 15, .ints = code};
    shares = plan_shares(&p, plan_lifetimes(&p, &a), &a);
    CHECK_EQ(shares[3], 3); /* register 4 is written first, and input 0 read after */
    attrs[1] = (struct attr){.name = STR("code"), .kind = ATTR_INTS, .n = 5, .ints = code + 10};
    v[3].dtype = DTYPE_BF16;
    shares = plan_shares(&p, plan_lifetimes(&p, &a), &a);
    CHECK_EQ(shares[3], 3);
    v[3].dtype = DTYPE_F32;
    p.outputs = (const struct plan_output[]){{.value = 1}};
    p.n_outputs = 1;
    shares = plan_shares(&p, plan_lifetimes(&p, &a), &a);
    CHECK_EQ(shares[3], 3);
}
