#include "ops/dim.h"

#include "support/test.h"

struct fixture {
    struct arena arena;
    struct dim_pool pool;
    dim b, s;
};

static void start(struct fixture *f) {
    *f = (struct fixture){0};
    dim_pool_init(&f->pool, &f->arena);
    f->b = dim_symbol(&f->pool, STR("batch"));
    f->s = dim_symbol(&f->pool, STR("seq"));
}

static const char *text(struct fixture *f, dim d) {
    return str_copy(&f->arena, dim_format(&f->pool, &f->arena, d)).p;
}

static int64_t eval(struct fixture *f, dim d, int64_t b, int64_t s) {
    int64_t symbols[] = {b, s};
    return dim_eval(f->pool.exprs, f->pool.n_exprs, d, symbols);
}

TEST(dim_numbers_need_no_pool) {
    CHECK_EQ(dim_add(NULL, 2, 3), 5);
    CHECK_EQ(dim_floordiv(NULL, -7, 2), -4);
    CHECK_EQ(dim_ceildiv(NULL, -7, 2), -3);
    CHECK_EQ(dim_ceildiv(NULL, 7, 2), 4);
    CHECK_EQ(dim_min(NULL, 2, 3), 2);
    CHECK_EQ(dim_max(NULL, 2, 3), 3);
    CHECK_EQ(dim_mul(NULL, INT64_C(1) << 40, INT64_C(1) << 40), DIM_UNKNOWN);
    CHECK_EQ(dim_floordiv(NULL, 7, 0), DIM_UNKNOWN);
    CHECK_EQ(dim_min(NULL, 5, DIM_EXPR - 1), 5);
}

TEST(dim_symbols_of_one_name_are_one) {
    struct fixture f;
    start(&f);
    CHECK_EQ(dim_symbol(&f.pool, STR("batch")), f.b);
    CHECK(f.b != f.s);
    CHECK_EQ(f.pool.n_symbols, 2);
    arena_release(&f.arena);
}

TEST(dim_equal_expressions_are_equal_dims) {
    struct fixture f;
    start(&f);
    struct dim_pool *p = &f.pool;
    CHECK_EQ(dim_add(p, f.b, f.s), dim_add(p, f.s, f.b));
    CHECK_EQ(dim_sub(p, dim_add(p, f.b, 5), 5), f.b);
    CHECK_EQ(dim_sub(p, f.b, f.b), 0);
    CHECK_EQ(dim_mul(p, dim_add(p, f.s, 1), f.b), dim_add(p, f.b, dim_mul(p, f.b, f.s)));
    CHECK_EQ(dim_mul(p, f.b, 0), 0);
    CHECK_EQ(dim_mul(p, f.b, 1), f.b);
    CHECK_EQ(dim_add(p, f.b, DIM_UNKNOWN), DIM_UNKNOWN);
    arena_release(&f.arena);
}

TEST(dim_quotients_cancel) {
    struct fixture f;
    start(&f);
    struct dim_pool *p = &f.pool;
    dim n = dim_mul(p, dim_mul(p, f.b, f.s), 768);
    CHECK_EQ(dim_floordiv(p, n, 768), dim_mul(p, f.b, f.s));
    CHECK_EQ(dim_floordiv(p, n, dim_mul(p, f.b, 768)), f.s);
    CHECK_EQ(dim_floordiv(p, n, dim_mul(p, f.b, f.s)), 768);
    dim tokens = dim_add(p, dim_mul(p, f.b, f.s), 1); /* b s + 1 */
    CHECK_EQ(dim_floordiv(p, dim_mul(p, tokens, 12), tokens), 12);
    CHECK_EQ(dim_floordiv(p, dim_mul(p, tokens, f.b), tokens), f.b);
    arena_release(&f.arena);
}

TEST(dim_nested_quotients_become_one) {
    struct fixture f;
    start(&f);
    struct dim_pool *p = &f.pool;
    dim half = dim_floordiv(p, dim_add(p, f.s, 1), 2); /* a convolution of stride 2 */
    dim quarter = dim_floordiv(p, dim_add(p, half, 1), 2);
    CHECK_EQ(quarter, dim_floordiv(p, dim_add(p, f.s, 3), 4));
    for (int64_t s = 1; s < 50; s++)
        CHECK_EQ(eval(&f, quarter, 1, s), ((s + 1) / 2 + 1) / 2);
    CHECK_EQ(dim_floordiv(p, dim_add(p, f.s, 7), 4),
             dim_add(p, 1, dim_floordiv(p, dim_add(p, f.s, 3), 4)));
    arena_release(&f.arena);
}

TEST(dim_extremes_use_ranges) {
    struct fixture f;
    start(&f);
    struct dim_pool *p = &f.pool;
    CHECK_EQ(dim_max(p, f.b, 1), f.b);
    CHECK_EQ(dim_max(p, dim_sub(p, f.b, 1), 0), dim_sub(p, f.b, 1));
    CHECK_EQ(dim_min(p, f.b, DIM_EXPR - 1), f.b);
    CHECK_EQ(dim_min(p, f.b, dim_add(p, f.b, 3)), f.b);
    dim m = dim_max(p, f.b, f.s);
    CHECK_EQ(m, dim_max(p, f.s, f.b));
    CHECK_EQ(dim_max(p, m, f.s), m);
    CHECK_EQ(eval(&f, m, 3, 7), 7);
    arena_release(&f.arena);
}

TEST(dim_bounds_follow_the_symbols) {
    struct fixture f;
    start(&f);
    struct dim_pool *p = &f.pool;
    p->symbols[0].max = 8;
    p->symbols[1].max = 512;
    CHECK_EQ(dim_upper_bound(p, dim_mul(p, dim_mul(p, f.b, f.s), 4)), 8 * 512 * 4);
    CHECK_EQ(dim_lower_bound(p, dim_sub(p, f.b, 3)), -2);
    CHECK_EQ(dim_upper_bound(p, dim_sub(p, f.b, f.s)), 7);
    CHECK_EQ(dim_upper_bound(p, DIM_UNKNOWN), INT64_MAX);
    arena_release(&f.arena);
}

TEST(dim_text_reads_like_arithmetic) {
    struct fixture f;
    start(&f);
    struct dim_pool *p = &f.pool;
    CHECK_STR(text(&f, 128), "128");
    CHECK_STR(text(&f, DIM_UNKNOWN), "?");
    CHECK_STR(text(&f, dim_add(p, f.s, 1)), "(seq + 1)");
    CHECK_STR(text(&f, dim_sub(p, f.s, 1)), "(seq - 1)");
    CHECK_STR(text(&f, dim_mul(p, f.s, f.b)), "(batch * seq)");
    CHECK_STR(text(&f, dim_max(p, f.s, f.b)), "max(seq, batch)");
    arena_release(&f.arena);
}

TEST(dim_eval_refuses_what_a_damaged_plan_may_hold) {
    const int64_t symbols[] = {5};
    const struct dim_expr exprs[] = {
        {.op = DIM_SYMBOL}, {.op = DIM_FLOORDIV, .a = 3, .b = 0}, {.op = 99, .a = 1, .b = 1}};
    CHECK_EQ(dim_eval(exprs, 3, DIM_EXPR, symbols), 5);
    CHECK_EQ(dim_eval(exprs, 3, DIM_EXPR + 1, symbols), -1);
    CHECK_EQ(dim_eval(exprs, 3, DIM_EXPR + 2, symbols), -1);
    CHECK_EQ(dim_eval(exprs, 3, DIM_EXPR + 7, symbols), -1);
    CHECK_EQ(dim_eval(exprs, 3, DIM_UNKNOWN, symbols), -1);
    /* x + x + x ...: 2^60 nodes when each is walked alone */
    struct dim_expr doubled[61] = {{.op = DIM_SYMBOL}};
    for (int i = 1; i < 61; i++)
        doubled[i] = (struct dim_expr){.op = DIM_MAX, .a = DIM_EXPR + i - 1, .b = DIM_EXPR + i - 1};
    CHECK_EQ(dim_eval(doubled, 61, DIM_EXPR + 60, symbols), -1);
}

TEST(dim_never_makes_what_dim_eval_refuses) {
    struct fixture f;
    start(&f);
    dim d = f.b;
    for (int i = 2; i < 400 && d != DIM_UNKNOWN; i++) {
        d = dim_max(&f.pool, dim_floordiv(&f.pool, d, f.s), dim_sub(&f.pool, f.s, i));
        if (d != DIM_UNKNOWN)
            CHECK(eval(&f, d, 1000, 401) >= 0);
    }
    arena_release(&f.arena);
}
