#include "compiler/import/import.h"

#include "compiler/ir/print.h"
#include "compiler/ir/verify.h"
#include "support/test.h"

/* Models are written down as the structs that the reader gives. */

static const struct onnx_opset opset17 = {.version = 17};

struct node_text {
    const char *name, *domain, *op, *in, *out; /* names with blanks between; "-" is left out */
};

static const str *split(struct arena *a, const char *text, size_t *n) {
    str rest = str_from_c(text), word;
    str *list = arena_array(a, str, strlen(text) + 1);
    for (*n = 0; rest.p && str_next(&rest, ' ', &word);)
        if (word.n)
            list[(*n)++] = str_eq_c(word, "-") ? (str){.p = "", .n = 0} : word;
    return list;
}

static const struct onnx_node *nodes_of(struct arena *a, const struct node_text *texts, size_t n) {
    struct onnx_node *nodes = arena_array(a, struct onnx_node, n + 1);
    for (size_t i = 0; i < n; i++) {
        nodes[i] = (struct onnx_node){.name = str_from_c(texts[i].name),
                                      .domain = str_from_c(texts[i].domain),
                                      .op_type = str_from_c(texts[i].op)};
        nodes[i].inputs = split(a, texts[i].in, &nodes[i].n_inputs);
        nodes[i].outputs = split(a, texts[i].out, &nodes[i].n_outputs);
    }
    return nodes;
}

enum { FLOAT = 1 };

/* An F32 input; dims: numbers, names, "?" with blanks between. */
static struct onnx_value_info input_of(struct arena *a, const char *name, const char *dims) {
    struct onnx_value_info v = {.name = str_from_c(name)};
    const str *words = split(a, dims, &v.type.n_dims);
    struct onnx_dim *d = arena_array(a, struct onnx_dim, v.type.n_dims + 1);
    for (size_t i = 0; i < v.type.n_dims; i++) {
        d[i].value = -1;
        if (!str_to_int64(words[i], &d[i].value) && !str_eq_c(words[i], "?"))
            d[i].param = words[i];
    }
    v.type.kind = ONNX_TYPE_TENSOR;
    v.type.elem_type = FLOAT;
    v.type.has_shape = true;
    v.type.dims = d;
    return v;
}

struct fixture {
    struct arena a;
    struct onnx_model m;
    struct onnx_value_info inputs[4], outputs[4];
    struct import_options options;
    struct graph *g;
    struct buffer report, text;
    struct error err;
    status code;
};

static void begin(struct fixture *f, const struct node_text *nodes, size_t n, const char *output) {
    f->m.opsets = &opset17;
    f->m.n_opsets = 1;
    f->m.graph.nodes = nodes_of(&f->a, nodes, n);
    f->m.graph.n_nodes = n;
    f->m.graph.inputs = f->inputs;
    f->m.graph.outputs = f->outputs;
    f->outputs[0].name = str_from_c(output);
    f->m.graph.n_outputs = 1;
}

static void add_input(struct fixture *f, const char *name, const char *dims) {
    f->inputs[f->m.graph.n_inputs++] = input_of(&f->a, name, dims);
}

/* The text of the graph, or the error's. */
static const char *run(struct fixture *f) {
    f->code = import_onnx(&f->g, &f->a, &f->m, &f->options, &f->report, &f->err);
    if (f->code != STATUS_OK)
        return f->err.text;
    struct error err = {0};
    CHECK_EQ(graph_verify(f->g, false, &err), STATUS_OK);
    CHECK_EQ(graph_print(&f->text, f->g, &err), STATUS_OK);
    CHECK_EQ(buffer_append(&f->text, "", 1, &err), STATUS_OK);
    return f->text.p;
}

static void done(struct fixture *f) {
    buffer_done(&f->report);
    buffer_done(&f->text);
    arena_release(&f->a);
}

static void check_contains(const char *text, const char *want) {
    if (!strstr(text, want))
        test_fail(__FILE__, __LINE__, "no \"%s\" in\n%s", want, text);
}

TEST(nodes_are_brought_into_order) {
    const struct node_text nodes[] = {{"second", "", "Relu", "a", "y"},
                                      {"first", "", "Neg", "x", "a"}};
    struct fixture f = {0};
    begin(&f, nodes, 2, "y");
    add_input(&f, "x", "batch 3");
    CHECK_STR(run(&f), "graph \"\" opset 17\n"
                       "symbol batch 1..2147483647\n"
                       "input %x: f32[batch,3]\n"
                       "%a: ?[*] = Neg(%x) \"first\"\n"
                       "%y: ?[*] = Relu(%a) \"second\"\n"
                       "output \"y\" = %y\n");
    done(&f);
}

TEST(equal_dim_names_are_one_symbol_and_unnamed_dims_are_not) {
    const struct node_text nodes[] = {{"", "", "Add", "x z", "y"}};
    struct fixture f = {0};
    begin(&f, nodes, 1, "y");
    add_input(&f, "x", "n ? ?");
    add_input(&f, "z", "n 4 ?");
    const char *text = run(&f);
    check_contains(text, "input %x: f32[n,x.dim_1,x.dim_2]\n");
    check_contains(text, "input %z: f32[n,4,z.dim_2]\n");
    done(&f);
}

TEST(dims_stay_different_when_their_names_are_cleaned_to_the_same) {
    static const struct onnx_dim first[] = {
        {-1, STR("a b")}, {-1, STR("a_b")}, {-1, STR("x.dim_3")}, {-1, STR("")}};
    static const struct onnx_dim second[] = {
        {-1, STR("a b")}, {-1, STR("\xff")}, {-1, STR("\xfe")}, {-1, STR("?")}};
    struct fixture f = {0};
    begin(&f, NULL, 0, "x");
    add_input(&f, "x", "1 1 1 1");
    add_input(&f, "z", "1 1 1 1");
    f.inputs[0].type.dims = first;
    f.inputs[1].type.dims = second;
    const char *text = run(&f);
    check_contains(text, "input %x: f32[a_b,a_b_2,x.dim_3,x.dim_3_2]\n");
    check_contains(text, "input %z: f32[a_b,z.dim_1,z.dim_2,z.dim_3]\n");
    done(&f);
}

TEST(given_shapes_fix_symbols_everywhere) {
    const struct node_text nodes[] = {{"", "", "Add", "x z", "y"}};
    const struct import_shape shape = {.input = STR("x"), .rank = 2, .dims = {8, -1}};
    struct fixture f = {.options = {.shapes = &shape, .n_shapes = 1}};
    begin(&f, nodes, 1, "y");
    add_input(&f, "x", "n s");
    add_input(&f, "z", "n s");
    const char *text = run(&f);
    check_contains(text, "input %x: f32[8,s]\n");
    check_contains(text, "input %z: f32[8,s]\n");
    done(&f);
}

TEST(given_shapes_that_do_not_fit_are_refused) {
    static const struct {
        struct import_shape shape;
        const char *want;
    } cases[] = {
        {{.input = STR("w"), .rank = 1, .dims = {1}},
         "which is not an input of the model; inputs: "},
        {{.input = STR("x"), .rank = 1, .dims = {1}}, "has 1 dimensions, the model says 2"},
        {{.input = STR("x"), .rank = 2, .dims = {1, 4}}, "the model fixes it to 3"},
    };
    const struct node_text nodes[] = {{"", "", "Relu", "x", "y"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f = {.options = {.shapes = &cases[i].shape, .n_shapes = 1}};
        begin(&f, nodes, 1, "y");
        add_input(&f, "x", "n 3");
        check_contains(run(&f), cases[i].want);
        CHECK_EQ(f.code, STATUS_INVALID_ARGUMENT);
        done(&f);
    }
}

TEST(an_initializer_that_is_also_an_input_is_a_constant) {
    static const float data[2] = {1, 2};
    static const int64_t dims[1] = {2};
    const struct onnx_tensor w = {.name = STR("w"),
                                  .elem_type = FLOAT,
                                  .n_dims = 1,
                                  .dims = dims,
                                  .n_elements = 2,
                                  .storage = ONNX_STORAGE_RAW,
                                  .raw = {.p = (const char *)data, .n = sizeof data}};
    const struct node_text nodes[] = {{"", "", "Add", "x w", "y"}};
    struct fixture f = {0};
    begin(&f, nodes, 1, "y");
    f.m.graph.initializers = &w;
    f.m.graph.n_initializers = 1;
    add_input(&f, "x", "2");
    add_input(&f, "w", "2");
    const char *text = run(&f);
    check_contains(text, "const %w: f32[2] = {1, 2}\n");
    CHECK(strstr(text, "input %w") == NULL);
    done(&f);
}

/* The bytes of a model's file lie where they lie. */
TEST(large_initializers_are_views_of_the_file_until_somebody_reads_numbers) {
    enum { LARGE = 20000, SMALL = 3 };
    const struct node_text nodes[] = {{"n", "", "Add", "w s", "y"}};
    static char bytes[1 + LARGE * sizeof(float) + 16];
    const int64_t large[] = {LARGE}, small[] = {SMALL};
    struct fixture f = {0};
    begin(&f, nodes, 1, "y");
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    char *odd = bytes + ((uintptr_t)bytes % 2 == 0);
    struct onnx_slot *slot = NULL;
    const struct onnx_tensor initializers[] = {{.name = STR("w"),
                                                .elem_type = FLOAT,
                                                .n_dims = 1,
                                                .dims = large,
                                                .n_elements = LARGE,
                                                .storage = ONNX_STORAGE_RAW,
                                                .raw = {.p = odd, .n = LARGE * sizeof(float)},
                                                .slot = slot},
                                               {.name = STR("s"),
                                                .elem_type = FLOAT,
                                                .n_dims = 1,
                                                .dims = small,
                                                .n_elements = SMALL,
                                                .storage = ONNX_STORAGE_RAW,
                                                .raw = {.p = odd, .n = SMALL * sizeof(float)},
                                                .slot = slot}};
    f.m.graph.initializers = initializers;
    f.m.graph.n_initializers = 2;
    run(&f);
    CHECK_EQ(f.code, STATUS_OK);
    const struct value *w = graph_find(f.g, STR("w")), *s = graph_find(f.g, STR("s"));
    CHECK(w->info.constant->data == odd && !value_is_aligned(w) && value_is_aligned(s));
    const void *numbers = value_data(w);
    CHECK(numbers && numbers != odd && value_is_aligned(w) && value_data(w) == numbers);
    CHECK(!memcmp(numbers, odd, LARGE * sizeof(float)));
    CHECK(!memcmp(value_data(s), odd, SMALL * sizeof(float)));
    done(&f);
}

TEST(an_output_may_be_an_input) {
    struct fixture f = {0};
    begin(&f, NULL, 0, "x");
    add_input(&f, "x", "2");
    check_contains(run(&f), "output \"x\" = %x\n");
    done(&f);
}

TEST(functions_are_inlined) {
    const struct node_text body[] = {{"add", "", "Add", "a a", "r"}};
    const struct node_text nodes[] = {{"one", "my", "Twice", "x", "t"},
                                      {"two", "my", "Twice", "t", "y"}};
    struct fixture f = {0};
    struct onnx_function fn = {.domain = STR("my"), .name = STR("Twice")};
    fn.inputs = split(&f.a, "a", &fn.n_inputs);
    fn.outputs = split(&f.a, "r", &fn.n_outputs);
    fn.nodes = nodes_of(&f.a, body, 1);
    fn.n_nodes = 1;
    begin(&f, nodes, 2, "y");
    f.m.functions = &fn;
    f.m.n_functions = 1;
    add_input(&f, "x", "2");
    const char *text = run(&f);
    check_contains(text, "%one/r: ?[*] = Add(%x, %x) \"one/add\"\n");
    check_contains(text, "%two/r: ?[*] = Add(%t, %t) \"two/add\"\n");
    check_contains(text, "%y: ?[*] = Identity(%two/r)");
    done(&f);
}

TEST(a_function_that_calls_itself_is_refused) {
    const struct node_text body[] = {{"again", "my", "Loop", "a", "r"}};
    struct fixture f = {0};
    struct onnx_function fn = {.domain = STR("my"), .name = STR("Loop")};
    fn.inputs = split(&f.a, "a", &fn.n_inputs);
    fn.outputs = split(&f.a, "r", &fn.n_outputs);
    fn.nodes = nodes_of(&f.a, body, 1);
    fn.n_nodes = 1;
    begin(&f, (const struct node_text[]){{"one", "my", "Loop", "x", "y"}}, 1, "y");
    f.m.functions = &fn;
    f.m.n_functions = 1;
    add_input(&f, "x", "2");
    check_contains(run(&f), "calls are nested deeper than 16");
    CHECK_EQ(f.code, STATUS_RESOURCE_EXHAUSTED);
    done(&f);
}

TEST(every_unsupported_node_is_listed) {
    const struct node_text nodes[] = {{"a", "", "Relu", "x", "t"},
                                      {"b", "com.acme", "Frob", "t", "u"},
                                      {"c", "", "Loop", "- - u", "v"},
                                      {"d", "com.acme", "Frob", "v", "y"}};
    struct fixture f = {0};
    begin(&f, nodes, 4, "y");
    add_input(&f, "x", "n 3");
    check_contains(
        run(&f), "3 of 4 nodes cannot be compiled: com.acme.Frob (2), Loop (1); first: node \"b\"");
    CHECK_EQ(f.code, STATUS_UNIMPLEMENTED);
    CHECK_EQ(buffer_append(&f.report, "", 1, NULL), STATUS_OK);
    check_contains(f.report.p, "com.acme.Frob (opset 0) node \"b\" on (f32[n,3]): replace");
    check_contains(f.report.p, "Loop (opset 17) node \"c\" on (absent, absent, ?[*]): unroll");
    check_contains(f.report.p, "node \"d\"");
    done(&f);
}

TEST(what_onnx_forbids_is_refused) {
    static const struct {
        struct node_text nodes[2];
        const char *output, *want;
    } cases[] = {
        {{{"n", "", "Relu", "a", "y"}, {"m", "", "Relu", "y", "a"}}, "y", "the graph has a cycle"},
        {{{"n", "", "Relu", "x", "y"}, {"m", "", "Relu", "x", "y"}}, "y", "is defined twice"},
        {{{"n", "", "Relu", "x", "x"}, {"m", "", "Relu", "x", "y"}}, "y", "is defined twice"},
        {{{"n", "", "Relu", "q", "y"}, {"m", "", "Relu", "x", "z"}},
         "y",
         "nothing defines its inp"},
        {{{"n", "", "Relu", "x", "y"}, {"m", "", "Relu", "x", "z"}}, "q", "model's output \"q\""},
        {{{"n", "", "Relu", "x x", "y"}, {"m", "", "Relu", "x", "z"}}, "y", "has 2 inputs"},
        {{{"n", "", "Relu", "", "y"}, {"m", "", "Relu", "x", "z"}}, "y", "has 0 inputs"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f = {0};
        begin(&f, cases[i].nodes, 2, cases[i].output);
        add_input(&f, "x", "2");
        check_contains(run(&f), cases[i].want);
        CHECK_EQ(f.code, STATUS_INVALID_ARGUMENT);
        done(&f);
    }
}

TEST(opsets_that_do_not_exist_are_refused) {
    const struct onnx_opset future = {.version = 99};
    struct fixture f = {0};
    begin(&f, (const struct node_text[]){{"n", "", "Relu", "x", "y"}}, 1, "y");
    f.m.opsets = &future;
    add_input(&f, "x", "2");
    check_contains(run(&f), "the model imports opset 99, supported are 1 to 28");
    done(&f);
}

TEST(an_input_without_a_shape_needs_one_given) {
    const struct import_shape shape = {.input = STR("x"), .rank = 2, .dims = {2, -1}};
    for (size_t given = 0; given < 2; given++) {
        struct fixture f = {.options = {.shapes = &shape, .n_shapes = given}};
        begin(&f, (const struct node_text[]){{"n", "", "Relu", "x", "y"}}, 1, "y");
        add_input(&f, "x", "");
        f.inputs[0].type.has_shape = false;
        check_contains(run(&f), given ? "input %x: f32[2,x.dim_1]\n" : "has no shape in the model");
        done(&f);
    }
}
