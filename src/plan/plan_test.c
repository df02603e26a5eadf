#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "plan/format.h"
#include "plan/read.h"
#include "plan/write.h"
#include "support/test.h"

static struct error err;

/* y = Reshape(Linear(x, w)), x [n, 4], with an attribute of each kind that a plan can hold. */
struct sample {
    struct plan plan;
    struct plan_value values[4];
    struct plan_step step;
    struct attr attrs[3];
    struct dim_symbol symbol;
    struct dim_expr exprs[2];
    uint32_t inputs[1], in[3], out[1];
    struct plan_output output;
    char weights[128];
};

static void sample_make(struct sample *s) {
    static const int64_t ints[] = {1, -2, 3};
    const dim n = DIM_EXPR, twice = DIM_EXPR + 1;
    *s = (struct sample){
        .values =
            {{.name = STR("x"), .kind = PLAN_INPUT, .dtype = DTYPE_F32, .rank = 2, .dims = {n, 4}},
             {.name = STR("w"),
              .kind = PLAN_CONSTANT,
              .dtype = DTYPE_F32,
              .rank = 2,
              .dims = {4, 2},
              .is_packed = true,
              .offset = 64,
              .size = 50},
             {.name = STR("h"),
              .kind = PLAN_PLANNED,
              .dtype = DTYPE_F32,
              .rank = 2,
              .dims = {n, 2}},
             {.name = STR("flat"),
              .kind = PLAN_ALIAS,
              .of = 2,
              .dtype = DTYPE_F32,
              .rank = 1,
              .dims = {twice}}},
        .attrs = {{.name = STR("activation"), .kind = ATTR_INT, .i = 3},
                  {.name = STR("alpha"), .kind = ATTR_FLOAT, .f = 0.5f},
                  {.name = STR("pads"), .kind = ATTR_INTS, .n = 3, .ints = ints}},
        .symbol = {.name = STR("n"), .min = 1, .max = 64},
        .exprs = {{.op = DIM_SYMBOL}, {.op = DIM_MUL, .a = n, .b = 2}},
        .inputs = {0},
        .in = {0, 1, PLAN_NONE},
        .out = {2},
        .output = {.name = STR("y"), .value = 3},
    };
    memset(s->weights, 7, sizeof s->weights);
    s->step = (struct plan_step){.op = STR("Linear"),
                                 .kernel = STR("generic.linear"),
                                 .origin = STR("/encoder/dense"),
                                 .attrs = {.items = s->attrs, .n = 3},
                                 .in = s->in,
                                 .n_in = 3,
                                 .out = s->out,
                                 .n_out = 1};
    s->plan = (struct plan){.isa = 2,
                            .meta = STR("{\"model\":\"m\"}"),
                            .symbols = &s->symbol,
                            .n_symbols = 1,
                            .exprs = s->exprs,
                            .n_exprs = 2,
                            .values = s->values,
                            .n_values = 4,
                            .steps = &s->step,
                            .n_steps = 1,
                            .inputs = s->inputs,
                            .n_inputs = 1,
                            .outputs = &s->output,
                            .n_outputs = 1,
                            .weights = s->weights,
                            .weights_size = sizeof s->weights};
}

static char *encode(const struct plan *p, size_t *size) {
    void *bytes = NULL;
    CHECK_EQ(plan_encode(&bytes, size, p, &err), STATUS_OK);
    return bytes;
}

/* Makes hashes right again after a test has changed bytes. */
static void seal(char *bytes) {
    struct plan_file_header *h = (void *)bytes;
    struct plan_file_section *table = (void *)(h + 1);
    for (uint32_t i = 0; i < h->n_sections; i++)
        table[i].hash = hash_bytes(bytes + table[i].offset, table[i].size, 0);
    h->table_hash = hash_bytes(table, h->n_sections * sizeof *table, 0);
    h->header_hash = hash_bytes(h, offsetof(struct plan_file_header, header_hash), 0);
}

static char *section(char *bytes, plan_section type) {
    const struct plan_file_header *h = (void *)bytes;
    const struct plan_file_section *table = (const void *)(h + 1);
    return bytes + table[type - 1].offset;
}

TEST(plan_reads_back_what_was_written) {
    struct sample s;
    sample_make(&s);
    size_t size;
    char *bytes = encode(&s.plan, &size);
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p;
    CHECK_EQ(plan_read(&p, &a, bytes, size, &err), STATUS_OK);
    CHECK(p.isa == 2 && str_eq(p.meta, s.plan.meta));
    CHECK(p.n_symbols == 1 && str_eq(p.symbols[0].name, STR("n")) && p.symbols[0].max == 64);
    CHECK(p.n_exprs == 2 && p.exprs[1].op == DIM_MUL && p.exprs[1].b == 2);
    CHECK_EQ(p.n_values, 4);
    for (uint32_t i = 0; i < 4; i++)
        CHECK(str_eq(p.values[i].name, s.values[i].name) && p.values[i].kind == s.values[i].kind &&
              p.values[i].rank == s.values[i].rank && p.values[i].dims[0] == s.values[i].dims[0] &&
              p.values[i].is_packed == s.values[i].is_packed &&
              p.values[i].size == s.values[i].size);
    CHECK_EQ(p.values[3].of, 2);
    CHECK(p.n_steps == 1 && str_eq(p.steps[0].origin, STR("/encoder/dense")));
    CHECK(p.steps[0].n_in == 3 && p.steps[0].in[1] == 1 && p.steps[0].in[2] == PLAN_NONE);
    CHECK_EQ(attr_int(&p.steps[0].attrs, "activation", 0), 3);
    CHECK(attr_float(&p.steps[0].attrs, "alpha", 0) == 0.5f);
    size_t n;
    CHECK(attr_ints(&p.steps[0].attrs, "pads", &n)[1] == -2 && n == 3);
    CHECK(p.n_inputs == 1 && p.n_outputs == 1 && str_eq(p.outputs[0].name, STR("y")));
    CHECK(p.weights_size == 128 &&
          (uintptr_t)p.weights % PLAN_PAGE == (uintptr_t)bytes % PLAN_PAGE);
    free(bytes);
}

TEST(plan_file_holds_the_same_bytes_as_memory) {
    struct sample s;
    sample_make(&s);
    size_t size;
    char *bytes = encode(&s.plan, &size), path[] = "/tmp/culmen-plan-test-XXXXXX";
    close(mkstemp(path));
    CHECK_EQ(plan_write(&s.plan, path, &err), STATUS_OK);
    struct file_map map;
    CHECK_EQ(file_map_open(&map, path, &err), STATUS_OK);
    CHECK(map.size == size && !memcmp(map.p, bytes, size));
    file_map_close(&map);
    unlink(path);
    free(bytes);
}

TEST(weights_are_verified_on_demand_only) {
    struct sample s;
    sample_make(&s);
    size_t size;
    char *bytes = encode(&s.plan, &size);
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p;
    CHECK_EQ(plan_verify_weights(bytes, size, &err), STATUS_OK);
    section(bytes, PLAN_SECTION_WEIGHTS)[70] ^= 1;
    CHECK_EQ(plan_read(&p, &a, bytes, size, &err), STATUS_OK);
    CHECK_EQ(plan_verify_weights(bytes, size, &err), STATUS_DATA_LOSS);
    CHECK(strstr(err.text, "section WEIGHTS, offset 4096"));
    free(bytes);
}

/* Reads the sample after `change` was made to it and expects an error that has `text`. */
static void check_refused(void (*change)(char *bytes), status code, const char *text) {
    struct sample s;
    sample_make(&s);
    size_t size;
    char *bytes = encode(&s.plan, &size);
    change(bytes);
    struct arena a CLEANUP(arena_release) = {0};
    struct plan p;
    CHECK_EQ(plan_read(&p, &a, bytes, size, &err), code);
    if (!strstr(err.text, text))
        test_fail(__FILE__, __LINE__, "got \"%s\", want \"%s\" in it", err.text, text);
    free(bytes);
}

static void other_version(char *b) {
    ((struct plan_file_header *)(void *)b)->format_version = 9;
}
static void changed_name(char *b) {
    section(b, PLAN_SECTION_STRINGS)[0] ^= 1;
}
static void value_kind(char *b) {
    ((struct plan_file_value *)(void *)section(b, PLAN_SECTION_VALUES))[2].kind = 99;
    seal(b);
}
static void value_dim(char *b) {
    ((struct plan_file_value *)(void *)section(b, PLAN_SECTION_VALUES))[2].dims[0] = DIM_EXPR + 2;
    seal(b);
}
static void constant_end(char *b) {
    ((struct plan_file_value *)(void *)section(b, PLAN_SECTION_VALUES))[1].size = 65;
    seal(b);
}
static void alias_of_alias(char *b) {
    ((struct plan_file_value *)(void *)section(b, PLAN_SECTION_VALUES))[3].of = 3;
    seal(b);
}
static void input_from_the_future(char *b) {
    ((uint32_t *)(void *)section(b, PLAN_SECTION_OPERANDS))[0] = 2;
    seal(b);
}
static void output_over_input(char *b) {
    ((uint32_t *)(void *)section(b, PLAN_SECTION_OPERANDS))[3] = 0;
    seal(b);
}
static void expression_loop(char *b) {
    ((struct plan_file_expr *)(void *)section(b, PLAN_SECTION_EXPRS))[1].a = DIM_EXPR + 1;
    seal(b);
}
static void too_many_operands(char *b) {
    ((struct plan_file_step *)(void *)section(b, PLAN_SECTION_STEPS))[0].n_in = 4;
    seal(b);
}
static void unbound_symbol(char *b) {
    ((struct plan_file_value *)(void *)section(b, PLAN_SECTION_VALUES))[0].dims[0] = 1;
    seal(b);
}
static void section_past_the_end(char *b) {
    struct plan_file_header *h = (void *)b;
    struct plan_file_section *table = (void *)(h + 1);
    table[4].offset = 1 << 20;
    h->table_hash = hash_bytes(table, h->n_sections * sizeof *table, 0);
    h->header_hash = hash_bytes(h, offsetof(struct plan_file_header, header_hash), 0);
}

TEST(damage_is_named_by_section_offset_wanted_and_found) {
    check_refused(other_version, STATUS_FAILED_PRECONDITION, "culmen compile MODEL.onnx");
    check_refused(changed_name, STATUS_DATA_LOSS, "section STRINGS, offset ");
    check_refused(value_kind, STATUS_DATA_LOSS, "kind: wanted 1 to 5, found 99");
    check_refused(value_dim, STATUS_DATA_LOSS, "dim: wanted a number or an expression");
    check_refused(constant_end, STATUS_DATA_LOSS, "wanted within WEIGHTS, aligned, found 129");
    check_refused(alias_of_alias, STATUS_DATA_LOSS,
                  "wanted a value with bytes of its own, found 3");
    check_refused(input_from_the_future, STATUS_DATA_LOSS,
                  "wanted a value that is there by then, found 2");
    check_refused(output_over_input, STATUS_DATA_LOSS,
                  "wanted a value that no other step makes, found 0");
    check_refused(expression_loop, STATUS_DATA_LOSS, "wanted an earlier expression");
    check_refused(too_many_operands, STATUS_DATA_LOSS,
                  "end of the operands: wanted within OPERANDS, found 5");
    check_refused(unbound_symbol, STATUS_DATA_LOSS, "section SYMBOLS");
    check_refused(section_past_the_end, STATUS_DATA_LOSS, "section TABLE, offset ");
}
