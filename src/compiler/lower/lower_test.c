#include "compiler/lower/lower.h"

#include <string.h>

#include "compiler/ir/parse.h"
#include "support/test.h"

static struct error err;

static void fail(void) {
    test_fail(__FILE__, __LINE__, "%s", err.text);
}

static struct plan lower_text(struct arena *a, const char *text) {
    const struct lower_options options = {.isa = ISA_GENERIC, .meta = STR("{}")};
    struct graph *g;
    struct plan p = {0};
    if (graph_parse(&g, a, str_from_c(text), &err) != STATUS_OK) {
        fail();
        return p;
    }
    GRAPH_NODES(n, g) {
        if (node_infer(g, n, NULL, &err) != STATUS_OK)
            fail();
    }
    if (lower_graph(&p, a, g, &options, &err) != STATUS_OK)
        fail();
    return p;
}

static const struct plan_value *find(const struct plan *p, const char *name) {
    for (uint32_t i = 0; i < p->n_values; i++)
        if (str_eq_c(p->values[i].name, name))
            return &p->values[i];
    return NULL;
}

TEST(views_are_aliases_and_their_shape_arithmetic_falls_away) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p = lower_text(&a, "graph \"g\" opset 17\n"
                                   "symbol n 1..64\n"
                                   "input %x: f32[n,4]\n"
                                   "%r: ?[*] = Relu(%x)\n"
                                   "%s: ?[*] = Shape(%r)\n"
                                   "const %zero: i64[] = {0}\n"
                                   "%rows: ?[*] = Gather(%s, %zero)\n"
                                   "const %axis: i64[1] = {0}\n"
                                   "%rows1: ?[*] = Unsqueeze(%rows, %axis)\n"
                                   "const %rest: i64[2] = {2, 2}\n"
                                   "%shape: ?[*] = Concat(%rows1, %rest) {axis=0}\n"
                                   "%y: ?[*] = Reshape(%r, %shape)\n"
                                   "%z: ?[*] = Neg(%y)\n"
                                   "output \"z\" = %z\n");
    CHECK_EQ(p.n_steps, 2);
    CHECK(str_eq(p.steps[0].op, STR("Relu")) && str_eq(p.steps[1].op, STR("Neg")));
    const struct plan_value *y = find(&p, "y");
    CHECK(y && y->kind == PLAN_ALIAS && &p.values[y->of] == find(&p, "r"));
    CHECK(y->rank == 3 && dim_is_expr(y->dims[0]) && y->dims[1] == 2 && y->dims[2] == 2);
    CHECK_EQ(p.n_symbols, 1);
    CHECK_EQ(p.weights_size, 0);
}

TEST(values_whose_size_depends_on_data_are_dynamic) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p = lower_text(&a, "graph \"g\" opset 17\n"
                                   "input %x: f32[8]\n"
                                   "%i: ?[*] = NonZero(%x)\n"
                                   "%j: ?[*] = Neg(%i)\n"
                                   "const %axes: i64[2] = {0, 1}\n"
                                   "%n: ?[*] = ReduceSum(%j, %axes) {keepdims=0}\n"
                                   "output \"n\" = %n\n"
                                   "output \"j\" = %j\n");
    CHECK_EQ(p.n_steps, 3);
    CHECK_EQ(find(&p, "i")->kind, PLAN_DYNAMIC);
    CHECK_EQ(find(&p, "j")->kind, PLAN_DYNAMIC);
    CHECK(find(&p, "j")->dims[1] == DIM_UNKNOWN);
    CHECK_EQ(find(&p, "n")->kind, PLAN_PLANNED);
}

TEST(equal_constants_are_stored_once_in_order_of_use) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p = lower_text(&a, "graph \"g\" opset 17\n"
                                   "input %x: f32[2]\n"
                                   "const %late: f32[2] = {5, 6}\n"
                                   "const %one: f32[2] = {1, 2}\n"
                                   "const %same: f32[2] = {1, 2}\n"
                                   "%a: ?[*] = Add(%x, %one)\n"
                                   "%b: ?[*] = Add(%a, %same)\n"
                                   "%c: ?[*] = Add(%b, %late)\n"
                                   "output \"c\" = %c\n");
    CHECK_EQ(p.weights_size, 2 * PLAN_WEIGHT_ALIGN);
    CHECK_EQ(find(&p, "one")->offset, 0);
    CHECK_EQ(find(&p, "same")->offset, 0);
    CHECK_EQ(find(&p, "late")->offset, PLAN_WEIGHT_ALIGN);
    CHECK(!memcmp(p.weights, (float[]){1, 2}, 8) && !memcmp(p.weights + 64, (float[]){5, 6}, 8));
}

TEST(constants_are_packed_by_the_kernel_that_reads_them) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p =
        lower_text(&a, "graph \"g\" opset 17\n"
                       "input %x: f32[3,4]\n"
                       "const %w: f32[4,5] = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20}\n"
                       "%y: f32[3,5] = Linear(%x, %w)\n"
                       "output \"y\" = %y\n");
    CHECK(str_eq(p.steps[0].kernel, STR("generic.linear")));
    const struct plan_value *w = &p.values[p.steps[0].in[1]];
    CHECK(w->is_packed && w->size >= 80 && w->dims[0] == 4 && w->dims[1] == 5);
    CHECK_EQ(p.isa, ISA_GENERIC);
}

TEST(outputs_may_be_inputs_and_constants) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p = lower_text(&a, "graph \"g\" opset 17\n"
                                   "input %x: f32[2]\n"
                                   "input %unused: f32[k]\n"
                                   "const %c: f32[2] = {1, 2}\n"
                                   "%i: ?[*] = Identity(%x)\n"
                                   "output \"x\" = %i\n"
                                   "output \"c\" = %c\n");
    CHECK_EQ(p.n_steps, 0);
    CHECK_EQ(p.n_inputs, 2);
    CHECK_EQ(p.values[p.outputs[0].value].kind, PLAN_ALIAS);
    CHECK_EQ(p.values[p.outputs[1].value].kind, PLAN_CONSTANT);
}

/* `late`'s reader gets a view of what `early`'s reads: the bytes must outlive both. */
static struct plan lower_shared(struct arena *a, bool discards) {
    struct lower_options options = {.isa = ISA_GENERIC, .meta = STR("{}")};
    struct plan p = {0};
    struct graph *g;
    const char *text = "graph \"g\" opset 17\n"
                       "input %x: f32[3,256]\n"
                       "const %w: f32[256,256] = #01\n"
                       "const %other: f32[256,256] = #02\n"
                       "const %unused: f32[256,256] = #03\n"
                       "const %out: f32[256,256] = #04\n"
                       "%early: f32[3,256] = Linear(%x, %w)\n"
                       "%middle: f32[3,256] = Linear(%early, %other)\n"
                       "%late: f32[3,256] = Linear(%middle, %other)\n"
                       "output \"y\" = %late\n"
                       "output \"c\" = %out\n";
    options.discards_constants = discards;
    if (graph_parse(&g, a, str_from_c(text), &err) != STATUS_OK) {
        fail();
        return p;
    }
    struct value *view = graph_constant(g, STR("view"), graph_find(g, STR("w"))->info.constant);
    node_set_input(g, graph_find(g, STR("late"))->def, 1, view);
    if (lower_graph(&p, a, g, &options, &err) != STATUS_OK)
        fail();
    return p;
}

TEST(discarding_constants_does_not_change_the_plan) {
    struct arena a CLEANUP(arena_release) = {0};
    struct plan kept = lower_shared(&a, false), discarded = lower_shared(&a, true);
    CHECK_EQ(kept.weights_size, discarded.weights_size);
    CHECK(kept.weights_size >= (size_t)3 * 256 * 256 * 4);
    CHECK(!memcmp(kept.weights, discarded.weights, kept.weights_size));
}
