/* culmen inspect: what is in a model or a plan. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/isa.h"
#include "base/map.h"
#include "codec/json.h"
#include "codec/onnx.h"
#include "command.h"
#include "model.h"
#include "ops/op.h"
#include "plan/memory.h"
#include "plan/read.h"

static struct {
    bool json, verify;
} o;

static const struct option options[] = {
    {"json", 0, OPTION_FLAG, &o.json, NULL, "as JSON"},
    {"verify", 0, OPTION_FLAG, &o.verify, NULL,
     "also reads a plan's weights and compares their hash (opening a plan does not)"},
};

static const struct usage usage = {"inspect", "MODEL.plan|MODEL.onnx [OPTIONS]",
                                   "Shows inputs, outputs, operators or steps, weights, memory, "
                                   "instruction set level and what was fused. `[batch,128]` are "
                                   "dims: a name stands for any size.\n\n"
                                   "  culmen inspect model.plan --verify\n"
                                   "  culmen inspect model.onnx --json",
                                   options, ARRAY_LEN(options)};

/* Names out of a file, without what would steer the terminal. */
static void print_name(str s) {
    struct arena a CLEANUP(arena_release) = {0};
    printf("%.*s", STR_ARG(str_printable(&a, s)));
}

/* How often each name comes, in order of first appearance. */
static void count(struct map *m, str name) {
    uintptr_t n = (uintptr_t)map_get(m, name);
    map_set(m, name, (void *)(n + 1));
}

static struct json_value *counts_json(struct arena *a, const struct map *m) {
    struct json_value *v = json_new_object(a);
    for (size_t i = 0; i < m->n; i++)
        json_set(v, str_copy(a, m->entries[i].key),
                 json_new_i64(a, (int64_t)(uintptr_t)m->entries[i].value));
    return v;
}

static void print_counts(const char *title, const struct json_value *counts) {
    enum { WIDTH = 80 };
    size_t column = (size_t)printf("%-12s", title);
    for (const struct json_value *c = counts ? counts->first : NULL; c; c = c->next) {
        size_t size = c->text.n + strlen(" ") + c->name.n + strlen(",");
        if (c != counts->first && column + strlen(" ") + size > WIDTH)
            column = (size_t)printf("\n%-12s", "") - 1;
        else if (c != counts->first)
            column += (size_t)printf(" ");
        printf("%.*s ", STR_ARG(c->text));
        print_name(c->name);
        printf("%s", c->next ? "," : "");
        column += size;
    }
    printf("\n");
}

/* {"name", "dtype", "dims": [1, "batch"]} */
static struct json_value *io_json(struct arena *a, str name, const char *type) {
    struct json_value *v = json_new_object(a);
    json_set(v, STR("name"), json_new_string(a, name));
    json_set(v, STR("dtype"), json_new_string(a, str_from_c(type)));
    json_set(v, STR("dims"), json_new_array(a));
    return v;
}

static void add_dim(struct arena *a, struct json_value *io, int64_t n, str symbol) {
    json_append(json_get(io, "dims"), n >= 0 ? json_new_i64(a, n) : json_new_string(a, symbol));
}

static void print_io(const char *title, const struct json_value *list) {
    for (const struct json_value *v = list ? list->first : NULL; v; v = v->next) {
        const struct json_value *dims = json_get(v, "dims");
        printf("%-12s", title);
        print_name(json_get(v, "name")->text);
        printf(": %.*s [%s", STR_ARG(json_get(v, "dtype")->text),
               dims->type == JSON_NULL ? "*" : "");
        for (const struct json_value *d = dims->first; d; d = d->next) {
            print_name(d->text);
            printf("%s", d->next ? "," : "");
        }
        printf("]\n");
        title = "";
    }
}

static struct json_value *plan_io(struct arena *a, const struct plan *p, str name, uint32_t v) {
    const struct plan_value *value = &p->values[v];
    const struct dim_pool pool = {.exprs = (struct dim_expr *)(uintptr_t)p->exprs, /* only read */
                                  .n_exprs = p->n_exprs,
                                  .symbols = (struct dim_symbol *)(uintptr_t)p->symbols,
                                  .n_symbols = p->n_symbols};
    struct json_value *io = io_json(a, name, dtype_name((dtype)value->dtype));
    for (size_t d = 0; d < value->rank; d++) {
        dim x = value->dims[d];
        add_dim(a, io, dim_is_number(x) ? x : -1,
                dim_is_number(x) ? STR("") : dim_format(&pool, a, x));
    }
    return io;
}

/* Bytes between the steps when every free dim is `n` (within its range). */
static struct json_value *memory_json(struct arena *a, const struct plan *p, int64_t n) {
    int64_t *symbols = arena_array(a, int64_t, p->n_symbols + 1);
    for (uint32_t i = 0; i < p->n_symbols; i++) {
        symbols[i] = n < p->symbols[i].min ? p->symbols[i].min : n;
        symbols[i] = symbols[i] > p->symbols[i].max ? p->symbols[i].max : symbols[i];
    }
    size_t live, size = plan_arena_size(p, symbols, &live);
    return size == SIZE_MAX ? json_new_null(a) : json_new_i64(a, (int64_t)size);
}

static void add_symbols(struct arena *a, const struct plan *p, struct json_value *v) {
    struct json_value *symbols = json_new_object(a);
    for (uint32_t i = 0; i < p->n_symbols; i++) {
        struct json_value *range = json_new_array(a);
        json_append(range, json_new_i64(a, p->symbols[i].min));
        json_append(range, json_new_i64(a, p->symbols[i].max));
        json_set(symbols, p->symbols[i].name, range);
    }
    json_set(v, STR("symbols"), symbols);
}

static void add_steps(struct arena *a, const struct plan *p, struct json_value *v) {
    struct map ops CLEANUP(map_done) = {0};
    struct map kernels CLEANUP(map_done) = {0};
    struct map fused CLEANUP(map_done) = {0};
    uint32_t n_dynamic = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        count(&ops, s->op);
        count(&kernels, s->kernel);
        if (op_find(STR("culmen"), s->op) != OP_NONE)
            count(&fused, s->op);
    }
    for (uint32_t i = 0; i < p->n_values; i++)
        n_dynamic += p->values[i].kind == PLAN_DYNAMIC;
    json_set(v, STR("n_steps"), json_new_i64(a, p->n_steps));
    json_set(v, STR("steps"), counts_json(a, &ops));
    json_set(v, STR("fused"), counts_json(a, &fused));
    json_set(v, STR("kernels"), counts_json(a, &kernels));
    json_set(v, STR("n_dynamic_values"), json_new_i64(a, n_dynamic));
}

static status read_plan(struct json_value **out, struct arena *a, const struct file_map *map,
                        struct error *err) {
    struct plan p;
    TRY(plan_read(&p, a, map->p, map->size, err));
    if (o.verify)
        TRY(plan_verify_weights(map->p, map->size, err));
    struct json_value *meta, *v = json_new_object(a), *inputs = json_new_array(a),
                             *outputs = json_new_array(a);
    TRY(json_parse(&meta, a, p.meta, err));
    json_set(v, STR("kind"), json_new_string(a, STR("plan")));
    const char *const copied[] = {"model", "source", "precision", "toolchain", "opset"};
    for (size_t i = 0; i < ARRAY_LEN(copied); i++)
        if (json_get(meta, copied[i]))
            json_set(v, str_from_c(copied[i]), json_copy(a, json_get(meta, copied[i])));
    json_set(v, STR("isa"),
             json_new_string(a, str_from_c(p.isa < ISA_COUNT ? isa_name((isa)p.isa) : "unknown")));
    json_set(v, STR("identity"),
             json_new_string(a, str_format(a, "%016" PRIx64, plan_identity(map->p))));
    for (uint32_t i = 0; i < p.n_inputs; i++)
        json_append(inputs, plan_io(a, &p, p.values[p.inputs[i]].name, p.inputs[i]));
    for (uint32_t i = 0; i < p.n_outputs; i++)
        json_append(outputs, plan_io(a, &p, p.outputs[i].name, p.outputs[i].value));
    json_set(v, STR("inputs"), inputs);
    json_set(v, STR("outputs"), outputs);
    add_symbols(a, &p, v);
    add_steps(a, &p, v);
    json_set(v, STR("weights_bytes"), json_new_i64(a, (int64_t)p.weights_size));
    struct json_value *memory = json_new_object(a);
    json_set(memory, STR("1"), memory_json(a, &p, 1));
    if (p.n_symbols) {
        json_set(memory, STR("8"), memory_json(a, &p, 8));
        json_set(memory, STR("64"), memory_json(a, &p, 64));
    }
    json_set(v, STR("memory_bytes"), memory);
    json_set(v, STR("file_bytes"), json_new_i64(a, (int64_t)map->size));
    json_set(v, STR("is_verified"), json_new_bool(a, o.verify));
    if (json_get(meta, "operators"))
        json_set(v, STR("operators"), json_copy(a, json_get(meta, "operators")));
    if (json_get(meta, "metadata"))
        json_set(v, STR("metadata"), json_copy(a, json_get(meta, "metadata")));
    *out = v;
    return STATUS_OK;
}

static struct json_value *onnx_io(struct arena *a, const struct onnx_value_info *info) {
    const struct onnx_type *t = &info->type;
    dtype type = dtype_from_onnx(t->elem_type);
    struct json_value *io =
        io_json(a, info->name, type ? dtype_name(type) : onnx_elem_type_name(t->elem_type));
    if (!t->has_shape)
        json_set(io, STR("dims"), json_new_null(a)); /* of any rank */
    for (size_t d = 0; d < t->n_dims; d++)
        add_dim(a, io, t->dims[d].value, t->dims[d].param.n ? t->dims[d].param : STR("?"));
    return io;
}

static bool is_initializer(const struct onnx_graph *g, str name) {
    for (size_t i = 0; i < g->n_initializers; i++)
        if (str_eq(g->initializers[i].name, name))
            return true;
    return false;
}

static status read_onnx(struct json_value **out, struct arena *a, struct onnx_model *m,
                        const struct file_map *map, struct error *err) {
    (void)err;
    const struct onnx_graph *g = &m->graph;
    struct map ops CLEANUP(map_done) = {0};
    struct map unknown CLEANUP(map_done) = {0};
    struct json_value *v = json_new_object(a), *inputs = json_new_array(a),
                      *outputs = json_new_array(a), *metadata = json_new_object(a);
    json_set(v, STR("kind"), json_new_string(a, STR("onnx")));
    json_set(v, STR("model"), json_new_string(a, g->name));
    json_set(v, STR("toolchain"),
             json_new_string(a, str_format(a, "%.*s %.*s", STR_ARG(m->producer_name),
                                           STR_ARG(m->producer_version))));
    for (size_t i = 0; i < m->n_opsets; i++)
        if (m->opsets[i].domain.n == 0)
            json_set(v, STR("opset"), json_new_i64(a, m->opsets[i].version));
    uint64_t weights = 0;
    for (size_t i = 0; i < g->n_initializers; i++)
        weights += (uint64_t)g->initializers[i].n_elements *
                   dtype_size(dtype_from_onnx(g->initializers[i].elem_type));
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct onnx_node *n = &g->nodes[i];
        str name = n->domain.n ? str_format(a, "%.*s.%.*s", STR_ARG(n->domain), STR_ARG(n->op_type))
                               : n->op_type;
        count(&ops, name);
        if (op_find(n->domain, n->op_type) == OP_NONE)
            count(&unknown, name);
    }
    for (size_t i = 0; i < g->n_inputs; i++)
        if (!is_initializer(g, g->inputs[i].name))
            json_append(inputs, onnx_io(a, &g->inputs[i]));
    for (size_t i = 0; i < g->n_outputs; i++)
        json_append(outputs, onnx_io(a, &g->outputs[i]));
    for (size_t i = 0; i < m->n_metadata; i++)
        json_set(metadata, m->metadata[i].key, json_new_string(a, m->metadata[i].value));
    json_set(v, STR("inputs"), inputs);
    json_set(v, STR("outputs"), outputs);
    json_set(v, STR("n_nodes"), json_new_i64(a, (int64_t)g->n_nodes));
    json_set(v, STR("operators"), counts_json(a, &ops));
    json_set(v, STR("not_known"), counts_json(a, &unknown));
    json_set(v, STR("weights_bytes"), json_new_i64(a, (int64_t)weights));
    json_set(v, STR("file_bytes"), json_new_i64(a, (int64_t)map->size));
    json_set(v, STR("metadata"), metadata);
    *out = v;
    return STATUS_OK;
}

static void print_text(const char *title, const struct json_value *v) {
    if (!v || str_trim(v->text).n == 0)
        return;
    printf("%-12s", title);
    print_name(v->text);
    printf("\n");
}

static void print_size(double n) {
    if (n < 1e6)
        printf("%.1f kB", n / 1e3);
    else
        printf("%.1f MB", n / 1e6);
}

static void print_bytes(const char *title, const struct json_value *v) {
    double n;
    if (!json_to_f64(v, &n))
        return;
    printf("%-12s", title);
    print_size(n);
    printf("\n");
}

static void print_report(const struct json_value *v) {
    print_text("kind", json_get(v, "kind"));
    print_text("model", json_get(v, "model"));
    print_text("made by", json_get(v, "toolchain"));
    print_text("opset", json_get(v, "opset"));
    print_text("precision", json_get(v, "precision"));
    print_text("isa", json_get(v, "isa"));
    print_text("identity", json_get(v, "identity"));
    print_io("inputs", json_get(v, "inputs"));
    print_io("outputs", json_get(v, "outputs"));
    print_text("nodes", json_get(v, "n_nodes"));
    if (json_get(v, "operators"))
        print_counts("operators", json_get(v, "operators"));
    if (json_get(v, "not_known") && json_get(v, "not_known")->first)
        print_counts("not known", json_get(v, "not_known"));
    print_text("steps", json_get(v, "n_steps"));
    if (json_get(v, "steps"))
        print_counts("", json_get(v, "steps"));
    if (json_get(v, "fused") && json_get(v, "fused")->first)
        print_counts("fused", json_get(v, "fused"));
    if (json_get(v, "kernels"))
        print_counts("kernels", json_get(v, "kernels"));
    print_bytes("weights", json_get(v, "weights_bytes"));
    const struct json_value *memory = json_get(v, "memory_bytes");
    for (const struct json_value *m = memory ? memory->first : NULL; m; m = m->next) {
        double n;
        if (!json_to_f64(m, &n))
            continue;
        printf("%-12s", m == memory->first ? "memory" : "");
        print_size(n);
        if (memory->n > 1)
            printf(" with free dims of %.*s", STR_ARG(m->name));
        printf("\n");
    }
    print_bytes("file", json_get(v, "file_bytes"));
    bool is_verified;
    if (json_to_bool(json_get(v, "is_verified"), &is_verified) && is_verified)
        printf("%-12s%s\n", "weights are", "as they were written");
}

static status inspect(const char *path, struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    struct file_map map CLEANUP(file_map_close) = {0};
    CLEANUP(onnx_model_freep) struct onnx_model *m = NULL;
    struct json_value *v = NULL;
    TRY(file_map_open(&map, path, err));
    if (model_is_onnx(path)) {
        TRY(onnx_model_open(&m, path, err));
        TRY(read_onnx(&v, &a, m, &map, err));
    } else {
        status code = read_plan(&v, &a, &map, err);
        if (code != STATUS_OK)
            return model_explain(path, error_wrap(err, code, "plan \"%s\"", path), err);
    }
    if (!o.json) {
        print_report(v);
        return STATUS_OK;
    }
    CLEANUP(buffer_done) struct buffer text = {0};
    struct json_writer w;
    json_writer_init(&w, &text, err);
    w.pretty = true;
    json_write(&w, v);
    TRY(json_writer_finish(&w));
    printf("%.*s\n", STR_ARG(buffer_str(&text)));
    return STATUS_OK;
}

int cmd_inspect(int argc, char **argv) {
    int n_words;
    char **words = command_parse(&usage, argc, argv, &n_words);
    if (n_words != 1)
        return command_misuse(&usage, "wanted one model, found %d", n_words);
    struct error err = {0};
    return inspect(words[0], &err) == STATUS_OK ? EXIT_OK : command_fail(&usage, &err);
}
