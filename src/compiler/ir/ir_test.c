#include <stdio.h>

#include "compiler/ir/graph.h"
#include "compiler/ir/parse.h"
#include "compiler/ir/print.h"
#include "compiler/ir/verify.h"
#include "support/test.h"

static struct graph *parse(struct arena *a, const char *text) {
    struct error err = {0};
    struct graph *g = NULL;
    if (graph_parse(&g, a, str_from_c(text), &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return g;
}

/* The text of g, in a buffer of the caller. */
static const char *print(const struct graph *g, struct buffer *b) {
    struct error err = {0};
    buffer_clear(b);
    CHECK_EQ(graph_print(b, g, &err), STATUS_OK);
    CHECK_EQ(buffer_append(b, "", 1, &err), STATUS_OK);
    return b->p;
}

TEST(text_reads_back) {
    static const char text[] =
        "graph \"all of it\" opset 17\n"
        "symbol batch 1..64\n"
        "symbol \"odd name\" 2..3\n"
        "input %x: f32[batch,4]\n"
        "input %\"a:0\": i64[]\n"
        "const %w: f32[2,2] = {1, -2.5, inf, 1e-08}\n"
        "const %s: f32[20] = splat 0.5\n"
        "const %f: bool[2] = {0, 1}\n"
        "%y: f32[(batch + 1),4], _, %z: ?[*] = Norm(%x, _, %w) {kind=\"layer\", epsilon=1e-05, "
        "axes=[1, 2], scales=[1.0, 0.5], none=ints[], texts=[\"a\", \"b\\x0a\"], t=f32[1] = {3}} "
        "\"node 1\"\n"
        "%c: i64[2]{batch,4} = Shape(%x) opset 11\n"
        "%u: f32[2] = Add(%s, %f)\n"
        "output \"y\" = %y\n"
        "output \"a:0\" = %\"a:0\"\n"
        "property \"author\" = \"some\\\"body\"\n";
    struct arena a = {0};
    struct buffer once = {0}, twice = {0};
    struct graph *g = parse(&a, text);
    if (g) {
        print(g, &once);
        struct graph *again = parse(&a, once.p);
        if (again)
            CHECK_STR(print(again, &twice), once.p);
        CHECK(strstr(once.p, "%y: f32[(batch + 1),4], _, %z: ?[*] = Norm(%x, _, %w) {kind=") !=
              NULL);
        CHECK(strstr(once.p, "= {1, -2.5, inf, 1e-08}") != NULL);
        CHECK(strstr(once.p, "= splat 0.5") != NULL);
        CHECK(strstr(once.p, "{batch,4} = Shape(%x) opset 11") != NULL);
        CHECK(strstr(once.p, "property \"author\" = \"some\\\"body\"") != NULL);
    }
    buffer_done(&once);
    buffer_done(&twice);
    arena_release(&a);
}

TEST(wrong_text_names_line_and_column) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"grap", "line 1, column 1: want graph "},
        {"graph \"g\" opset x", "line 1, column 17: want an integer"},
        {"graph \"g\" opset 17\n%y = Relu(%x)", "line 2, column 11: want a value that is defined"},
        {"graph \"g\" opset 17\n%y = Nothing()", "line 2, column 6: want an operator"},
        {"graph \"g\" opset 17\ninput %x: f31[1]", "want a dtype"},
        {"graph \"g\" opset 17\ninput %x: f32[1,1,1,1,1,1,1,1,1]", "want at most 8 dims"},
        {"graph \"g\" opset 17\ninput %x: f32[1]\ninput %x: f32[1]", "a name that is not taken"},
        {"graph \"g\" opset 17\nconst %x: f32[2] = {1}", "want ,"},
        {"graph \"g\" opset 17\nconst %x: f32[99999,99999,99] = {1}", "want a smaller constant"},
        {"graph \"g\" opset 17\ninput %x: f32[((((((((((((((((((((((((((((((((((((((((",
         "fewer paren"},
        {"graph \"g\" opset 17\ninput %\"x: f32[1]", "want closing quote"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = {0};
        struct error err = {0};
        struct graph *g;
        CHECK_EQ(graph_parse(&g, &a, str_from_c(cases[i].text), &err), STATUS_INVALID_ARGUMENT);
        if (!strstr(err.text, cases[i].want))
            test_fail(__FILE__, __LINE__, "got \"%s\", want \"%s\"", err.text, cases[i].want);
        arena_release(&a);
    }
}

static const char chain[] = "graph \"g\" opset 17\n"
                            "input %x: f32[2]\n"
                            "%a: f32[2] = Relu(%x) \"one\"\n"
                            "%b: f32[2] = Add(%a, %a) \"two\"\n"
                            "%c: f32[2] = Neg(%b) \"three\"\n"
                            "output \"c\" = %c\n";

TEST(replacing_a_value_moves_its_readers_and_its_name) {
    struct arena a = {0};
    struct buffer text = {0};
    struct graph *g = parse(&a, chain);
    struct value *x = graph_find(g, STR("x")), *old = graph_find(g, STR("a"));
    struct node *n = graph_insert(g, old->def, OP_Abs, &x, 1, 1);
    graph_replace(g, old, n->out[0]);
    CHECK_EQ(old->n_uses, 0);
    CHECK_EQ(n->out[0]->n_uses, 2);
    CHECK(str_eq_c(n->out[0]->name, "a"));
    graph_erase_dead(g, old->def);
    CHECK_EQ(g->n_nodes, 3);
    CHECK(strstr(print(g, &text), "%a: ?[*] = Abs(%x) \"one\"") != NULL);
    buffer_done(&text);
    arena_release(&a);
}

TEST(erasing_takes_what_only_the_erased_read) {
    struct arena a = {0};
    struct error err = {0};
    struct graph *g = parse(&a, chain);
    struct value *x = graph_find(g, STR("x")), *c = graph_find(g, STR("c"));
    graph_replace(g, c, x);
    graph_erase_dead(g, c->def);
    CHECK_EQ(g->n_nodes, 0);
    CHECK_EQ(x->n_uses, 0);
    CHECK_EQ(x->n_output_uses, 1);
    CHECK_EQ(graph_verify(g, true, &err), STATUS_OK);
    arena_release(&a);
}

TEST(sorting_orders_nodes_and_finds_cycles) {
    struct arena a = {0};
    struct error err = {0};
    struct graph *g = parse(&a, chain);
    struct node *first = g->first;
    graph_move_before(g, g->last, first);
    CHECK_EQ(graph_verify(g, true, &err), STATUS_INTERNAL);
    CHECK(strstr(err.text, "reads what a later node makes") != NULL);
    CHECK_EQ(graph_sort(g, &err), STATUS_OK);
    CHECK_EQ(graph_verify(g, true, &err), STATUS_OK);
    CHECK(g->first == first);
    node_set_input(g, first, 0, graph_find(g, STR("b")));
    CHECK_EQ(graph_sort(g, &err), STATUS_INVALID_ARGUMENT);
    CHECK(strstr(err.text, "cycle") != NULL);
    arena_release(&a);
}

TEST(verifier_sees_a_use_that_is_not_listed) {
    struct arena a = {0};
    struct error err = {0};
    struct graph *g = parse(&a, chain);
    g->last->in[0] = graph_find(g, STR("a"));
    CHECK_EQ(graph_verify(g, true, &err), STATUS_INTERNAL);
    CHECK(strstr(err.text, "\"three\"") != NULL);
    arena_release(&a);
}

TEST(names_stay_unique) {
    struct arena a = {0};
    struct graph *g = graph_new(&a);
    struct value *x = graph_value(g, STR("x")), *y = graph_value(g, STR("x"));
    CHECK(str_eq_c(x->name, "x"));
    CHECK(!str_eq(x->name, y->name));
    CHECK(graph_find(g, y->name) == y);
    arena_release(&a);
}

TEST(inference_errors_describe_the_node) {
    struct arena a = {0};
    struct error err = {0};
    struct graph *g = parse(&a, "graph \"g\" opset 17\ninput %x: f32[2,3]\ninput %y: f32[4,5]\n"
                                "%z = MatMul(%x, %y) \"layer/1\"\noutput \"z\" = %z\n");
    CHECK_EQ(node_infer(g, g->first, NULL, &err), STATUS_INVALID_ARGUMENT);
    CHECK(strstr(err.text, "MatMul \"layer/1\" (opset 17; f32[2,3], f32[4,5])") != NULL);
    arena_release(&a);
}
