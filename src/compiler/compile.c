#include "compiler/compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/json_writer.h"
#include "codec/onnx.h"
#include "compiler/import/import.h"
#include "compiler/ir/print.h"
#include "compiler/lower/lower.h"
#include "compiler/passes/passes.h"
#include "plan/memory.h"

enum { PHASES_MAX = 8 };

struct compiled {
    struct arena arena;
    struct onnx_model *model;
    struct graph *graph;
    struct plan plan;
    struct buffer diagnostics;
    struct buffer meta;
    const struct compile_options *options;
    const char *path;
    uint32_t *ops_before; /* [OP_COUNT] nodes of each operator after import */
    uint32_t *ops_after;  /* when the passes are done */
    struct {
        const char *name;
        int64_t ns;
    } phases[PHASES_MAX];
    size_t n_phases;
    int64_t phase_start_ns; /* 0: none has begun since the last ended */
};

const char *precision_name(precision p) {
    return p == PRECISION_BF16 ? "bf16" : "fp32";
}

status precision_parse(precision *out, str name, struct error *err) {
    for (int p = PRECISION_FP32; p <= PRECISION_BF16; p++) {
        if (!str_eq_c(name, precision_name((precision)p)))
            continue;
        *out = (precision)p;
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "precision: wanted fp32 or bf16, found \"%.*s\"",
                     STR_ARG(str_slice(name, 0, 40)));
}

/* "128", "?" or "1..64". */
static bool parse_dim(struct compile_shape *out, str word) {
    size_t d = out->rank++;
    out->dims[d] = -1;
    if (str_eq(word, STR("?")))
        return true;
    ptrdiff_t dot = str_find(word, '.');
    if (dot < 0)
        return str_to_int64(word, &out->dims[d]) && out->dims[d] >= 0 && out->dims[d] <= INT32_MAX;
    return str_starts(str_slice(word, (size_t)dot, word.n), STR("..")) &&
           str_to_int64(str_slice(word, 0, (size_t)dot), &out->min[d]) &&
           str_to_int64(str_slice(word, (size_t)dot + 2, word.n), &out->max[d]) &&
           out->min[d] >= 1 && out->max[d] >= out->min[d] && out->max[d] <= INT32_MAX;
}

status compile_shape_parse(struct compile_shape *out, const char *text, struct error *err) {
    str whole = str_from_c(text);
    ptrdiff_t colon = str_find_last(whole, ':');
    if (colon <= 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "shape: wanted NAME:1x128, found \"%.100s\"",
                         text);
    *out = (struct compile_shape){.input = str_slice(whole, 0, (size_t)colon)};
    str rest = str_slice(whole, (size_t)colon + 1, whole.n), word;
    if (rest.n == 0)
        return STATUS_OK; /* a scalar */
    while (str_next(&rest, 'x', &word)) {
        if (out->rank == TENSOR_RANK_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "shape \"%.100s\": wanted at most %d dims", text, TENSOR_RANK_MAX);
        if (!parse_dim(out, word))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "shape \"%.100s\": wanted a number, a range like 1..64 or ? as dim "
                             "%zu, found \"%.*s\"",
                             text, out->rank - 1, STR_ARG(str_slice(word, 0, 40)));
    }
    return STATUS_OK;
}

void compiled_begin_phase(struct compiled *c, const char *name) {
    int64_t now = clock_now(clock_system());
    if (c->phase_start_ns)
        c->phases[c->n_phases - 1].ns = now - c->phase_start_ns;
    c->phase_start_ns = name ? now : 0;
    if (!name)
        return;
    c->phases[c->n_phases++].name = name;
    if (c->options->on_phase)
        c->options->on_phase(c->options->on_phase_arg, name);
}

static void count_ops(const struct graph *g, uint32_t *counts) {
    GRAPH_NODES(n, g)
    counts[n->op]++;
}

static bool prints_import(const struct compile_options *o) {
    return o->print_after && !strcmp(o->print_after, "import");
}

static status print_imported(const struct compiled *c, struct error *err) {
    CLEANUP(buffer_done) struct buffer text = {0};
    if (!prints_import(c->options))
        return STATUS_OK;
    TRY(graph_print(&text, c->graph, err));
    fwrite(text.p, 1, text.n, stdout);
    return STATUS_OK;
}

/* Ranges of --shape go to the symbols of the input's dims. */
static status set_ranges(struct graph *g, const struct compile_shape *s, struct error *err) {
    const struct value *v = graph_find(g, s->input); /* an input: the importer has checked */
    for (size_t d = 0; v && d < s->rank; d++) {
        if (s->max[d] == 0)
            continue;
        dim x = v->info.dims[d];
        if (!dim_is_expr(x) || g->pool.exprs[x - DIM_EXPR].op != DIM_SYMBOL)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "--shape: dim %zu of \"%.*s\" is not free", d,
                             STR_ARG(str_slice(s->input, 0, 100)));
        struct dim_symbol *symbol = &g->pool.symbols[g->pool.exprs[x - DIM_EXPR].a];
        symbol->min = s->min[d];
        symbol->max = s->max[d];
    }
    return STATUS_OK;
}

static status import(struct compiled *c, struct error *err) {
    compiled_begin_phase(c, "read");
    TRY(onnx_model_open(&c->model, c->path, err));
    compiled_begin_phase(c, "import");
    struct import_shape *shapes =
        arena_array(&c->arena, struct import_shape, c->options->n_shapes + 1);
    for (size_t i = 0; i < c->options->n_shapes; i++) {
        const struct compile_shape *s = &c->options->shapes[i];
        shapes[i] = (struct import_shape){.input = s->input, .rank = s->rank};
        memcpy(shapes[i].dims, s->dims, sizeof shapes[i].dims);
    }
    const struct import_options options = {
        .is_mapped = true, .shapes = shapes, .n_shapes = c->options->n_shapes};
    TRY(import_onnx(&c->graph, &c->arena, c->model, &options, &c->diagnostics, err));
    for (size_t i = 0; i < c->options->n_shapes; i++)
        TRY(set_ranges(c->graph, &c->options->shapes[i], err));
    count_ops(c->graph, c->ops_before);
    return print_imported(c, err);
}

static void write_counts(struct json_writer *w, const char *name, const uint32_t *counts) {
    json_key(w, str_from_c(name));
    json_begin_object(w);
    for (int i = OP_NONE + 1; i < OP_COUNT; i++)
        if (counts[i])
            json_member_u64(w, op_get((op_id)i)->name, counts[i]);
    json_end_object(w);
}

static status write_meta(struct compiled *c, struct error *err) {
    struct json_writer w;
    json_writer_init(&w, &c->meta, err);
    const char *slash = strrchr(c->path, '/');
    json_begin_object(&w);
    json_member_string(&w, "model", c->graph->name);
    json_member_string(&w, "source", str_from_c(slash ? slash + 1 : c->path));
    json_member_string(&w, "precision", str_from_c(precision_name(c->options->precision)));
    json_member_string(&w, "isa", str_from_c(isa_name(c->options->isa)));
    json_member_string(&w, "toolchain", str_from_c("culmen " CULMEN_VERSION));
    json_member_i64(&w, "opset", c->graph->opset);
    write_counts(&w, "operators", c->ops_before);
    json_key(&w, STR("metadata"));
    json_begin_object(&w);
    for (uint32_t i = 0; i < c->graph->n_properties; i++) {
        json_key(&w, c->graph->properties[i].key);
        json_string(&w, c->graph->properties[i].value);
    }
    json_end_object(&w);
    json_end_object(&w);
    return json_writer_finish(&w);
}

static status run_passes(struct compiled *c, struct error *err) {
    compiled_begin_phase(c, "passes");
    const struct compile_options *o = c->options;
    const struct passes_options options = {
        .bf16 = o->precision == PRECISION_BF16,
        .bf16_weights_only = o->isa < ISA_AVX512_BF16,
        .disable = o->disabled_passes,
        .n_disable = o->n_disabled_passes,
        .print_after = prints_import(o) ? NULL : o->print_after,
        .print_to = stdout,
    };
    TRY(passes_run(c->graph, &options, err));
    count_ops(c->graph, c->ops_after);
    return STATUS_OK;
}

static status compile(struct compiled *c, struct error *err) {
    c->ops_before = arena_array(&c->arena, uint32_t, OP_COUNT);
    c->ops_after = arena_array(&c->arena, uint32_t, OP_COUNT);
    TRY(import(c, err));
    TRY(run_passes(c, err));
    compiled_begin_phase(c, "lower");
    TRY(write_meta(c, err));
    const struct lower_options options = {
        .isa = c->options->isa, .meta = buffer_str(&c->meta), .discards_constants = true};
    TRY(lower_graph(&c->plan, &c->arena, c->graph, &options, err));
    compiled_begin_phase(c, NULL);
    return STATUS_OK;
}

status compile_model(struct compiled **out, const char *path, const struct compile_options *options,
                     struct error *err) {
    struct compiled *c = calloc(1, sizeof *c);
    *out = c;
    if (!c)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    c->options = options;
    c->path = path;
    return compile(c, err);
}

void compiled_free(struct compiled *c) {
    if (!c)
        return;
    arena_release(&c->arena);
    onnx_model_free(c->model);
    buffer_done(&c->diagnostics);
    buffer_done(&c->meta);
    free(c);
}

const struct plan *compiled_plan(const struct compiled *c) {
    return &c->plan;
}

str compiled_diagnostics(const struct compiled *c) {
    return buffer_str(&c->diagnostics);
}

static void write_memory(struct json_writer *w, const struct plan *p, const char *name,
                         bool is_max) {
    struct arena a CLEANUP(arena_release) = {0};
    int64_t *symbols = arena_array(&a, int64_t, p->n_symbols + 1);
    for (uint32_t i = 0; i < p->n_symbols; i++)
        symbols[i] = is_max ? p->symbols[i].max : p->symbols[i].min;
    size_t live, size = plan_arena_size(p, symbols, &live);
    json_key(w, str_from_c(name));
    if (size == SIZE_MAX) {
        json_null(w); /* more than a machine has */
        return;
    }
    json_begin_object(w);
    json_member_u64(w, "arena_bytes", size);
    json_member_u64(w, "live_bytes", live);
    json_end_object(w);
}

static void write_steps(struct json_writer *w, const struct plan *p) {
    json_key(w, STR("steps"));
    json_begin_array(w);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        json_begin_object(w);
        json_member_string(w, "op", p->steps[i].op);
        json_member_string(w, "kernel", p->steps[i].kernel);
        json_member_string(w, "name", p->steps[i].origin);
        json_end_object(w);
    }
    json_end_array(w);
}

status compiled_report(const struct compiled *c, struct buffer *out, struct error *err) {
    const struct plan *p = &c->plan;
    struct json_writer w;
    json_writer_init(&w, out, err);
    w.pretty = true;
    json_begin_object(&w);
    json_member_string(&w, "model", c->graph->name);
    json_member_string(&w, "precision", str_from_c(precision_name(c->options->precision)));
    json_member_string(&w, "isa", str_from_c(isa_name((isa)p->isa)));
    write_counts(&w, "operators_before", c->ops_before);
    write_counts(&w, "operators_after", c->ops_after);
    json_member_u64(&w, "weights_bytes", p->weights_size);
    json_key(&w, STR("memory"));
    json_begin_object(&w);
    write_memory(&w, p, "min", false);
    write_memory(&w, p, "max", true);
    json_end_object(&w);
    json_key(&w, STR("time_ms"));
    json_begin_object(&w);
    for (size_t i = 0; i < c->n_phases; i++)
        json_member_f64(&w, c->phases[i].name, (double)c->phases[i].ns / NS_PER_MS);
    json_end_object(&w);
    write_steps(&w, p);
    json_end_object(&w);
    return json_writer_finish(&w);
}
