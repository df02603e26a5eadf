#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/npy.h"
#include "plan/format.h"
#include "plan/write.h"
#include "tensor/convert.h"

bool model_is_onnx(const char *path) {
    return str_ends(str_from_c(path), STR(".onnx"));
}

bool model_is_plan(const char *path) {
    char magic[sizeof PLAN_MAGIC - 1] = "";
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(magic, 1, sizeof magic, f) : 0;
    if (f)
        fclose(f);
    return n == sizeof magic && !memcmp(magic, PLAN_MAGIC, sizeof magic);
}

status model_parse_options(struct compile_options *out, const char *precision_text,
                           const char *isa_text, const struct option_list *shapes,
                           struct error *err) {
    TRY(isa_check_environment(err));
    *out = (struct compile_options){.isa = isa_host()};
    if (precision_text)
        TRY(precision_parse(&out->precision, str_from_c(precision_text), err));
    if (isa_text)
        TRY(isa_parse(&out->isa, str_from_c(isa_text), err));
    for (size_t i = 0; shapes && i < shapes->n; i++) {
        struct compile_shape *shape = &out->shapes[out->n_shapes++];
        TRY(compile_shape_parse(shape, shapes->items[i], err));
        for (size_t k = 0; k < i; k++)
            if (str_eq(out->shapes[k].input, shape->input))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--shape: input \"%.*s\" is given twice",
                                 STR_ARG(str_slice(shape->input, 0, 100)));
    }
    return STATUS_OK;
}

status model_check_options(const char *model, const char *precision_text, const char *isa_text,
                           struct error *err) {
    if (model_is_onnx(model) || !(precision_text || isa_text))
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "--%s says how to compile a .onnx model, and \"%.200s\" is compiled already",
                     precision_text ? "precision" : "isa", model);
}

static status compile_in_memory(struct model *m, const char *path,
                                const struct compile_options *options, struct error *err) {
    CLEANUP(compiled_freep) struct compiled *c = NULL;
    status code = compile_model(&c, path, options, err);
    if (code != STATUS_OK) {
        str lines = c ? compiled_diagnostics(c) : (str){0};
        fwrite(lines.p, 1, lines.n, stderr);
        return code;
    }
    size_t size;
    TRY(plan_encode(&m->bytes, &size, compiled_plan(c), err));
    return engine_open_bytes(&m->engine, m->bytes, size, err);
}

status model_explain(const char *path, status code, struct error *err) {
    bool is_other = code == STATUS_DATA_LOSS && !model_is_onnx(path) && !model_is_plan(path);
    return is_other ? error_wrap(err, code, "neither a plan nor a file that ends in .onnx") : code;
}

status model_open(struct model *out, const char *path, const struct compile_options *options,
                  struct error *err) {
    struct model m = {0};
    status code = model_is_onnx(path) ? compile_in_memory(&m, path, options, err)
                                      : engine_open(&m.engine, path, err);
    if (code != STATUS_OK) {
        model_done(&m);
        return model_explain(path, code, err);
    }
    *out = m;
    return STATUS_OK;
}

void model_done(struct model *m) {
    engine_unref(m->engine);
    free(m->bytes);
    *m = (struct model){0};
}

bool model_split_input(const char *word, str *name, const char **file) {
    const char *equals = strrchr(word, '=');
    if (!equals)
        return false;
    *name = (str){.p = word, .n = (size_t)(equals - word)};
    *file = equals + 1;
    return true;
}

static uint64_t next_random(uint64_t *state) {
    uint64_t x = *state += 0x9e3779b97f4a7c15; /* splitmix64 */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

void model_fill_random(struct tensor *t, uint64_t seed) {
    enum { CHUNK = 256 };
    size_t size = dtype_size(t->dtype), n = size ? t->size / size : 0;
    for (size_t at = 0; at < n; at += CHUNK) {
        float chunk[CHUNK];
        size_t n_chunk = n - at < CHUNK ? n - at : CHUNK;
        for (size_t i = 0; i < n_chunk; i++) {
            float x = (float)(next_random(&seed) >> 40) / (float)(1 << 24); /* [0, 1) */
            chunk[i] = dtype_is_float(t->dtype) ? 2 * x - 1 : x < 0.5f ? 0.0f : 1.0f;
        }
        (void)!convert(t->dtype, (char *)t->data + at * size, DTYPE_F32, chunk, n_chunk, NULL);
    }
}

static status no_such_input(const struct engine *e, const char *option, str name,
                            struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    size_t n;
    const struct engine_io *io = engine_inputs(e, &n);
    str known = STR("");
    for (size_t i = 0; i < n && known.n < 300; i++)
        known = str_format(&a, "%.*s%s\"%.*s\"", STR_ARG(known), i ? ", " : "",
                           STR_ARG(str_slice(io[i].name, 0, 100)));
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: no input \"%.*s\"; the model has %zu%s%.*s",
                     option, STR_ARG(str_slice(name, 0, 100)), n, n ? ": " : "", STR_ARG(known));
}

/* The dims that `shapes` gives to input `name`, for the free ones. */
static status find_shape(struct compile_shape *out, const struct option_list *shapes, str name,
                         struct error *err) {
    for (size_t i = 0; i < shapes->n; i++) {
        struct compile_shape shape;
        TRY(compile_shape_parse(&shape, shapes->items[i], err));
        if (str_eq(shape.input, name))
            *out = shape;
    }
    return STATUS_OK;
}

/* Every shape must be one of an input, and of its rank: a wrong one would go unnoticed. */
static status check_shapes(const struct engine *e, const struct option_list *shapes,
                           struct error *err) {
    for (size_t i = 0; i < shapes->n; i++) {
        struct compile_shape shape;
        TRY(compile_shape_parse(&shape, shapes->items[i], err));
        ptrdiff_t input = engine_find_input(e, shape.input);
        if (input < 0)
            return no_such_input(e, "--shape", shape.input, err);
        const struct engine_io *io = &engine_inputs(e, &(size_t){0})[input];
        if (shape.rank != io->rank)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "--shape: input \"%.*s\" has %d dims, found %zu in \"%s\"",
                             STR_ARG(str_slice(io->name, 0, 100)), io->rank, shape.rank,
                             shapes->items[i]);
    }
    return STATUS_OK;
}

static status set_random(struct session *s, const struct engine_io *io, size_t i,
                         const struct option_list *shapes, struct error *err) {
    struct compile_shape shape = {0};
    if (io->dtype == DTYPE_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "input \"%.*s\" takes texts, and none are made up; give "
                         "--input=%.*s=FILE.npy",
                         STR_ARG(str_slice(io->name, 0, 100)),
                         STR_ARG(str_slice(io->name, 0, 100)));
    TRY(find_shape(&shape, shapes, io->name, err));
    struct tensor t = {.dtype = io->dtype, .rank = io->rank};
    for (size_t d = 0; d < io->rank; d++) {
        t.dims[d] = io->dims[d] >= 0 ? io->dims[d] : io->min[d] > 1 ? io->min[d] : 1;
        if (shape.rank == io->rank && shape.dims[d] >= 0)
            t.dims[d] = shape.dims[d];
    }
    TRY(session_input_space(s, i, t.dims, io->rank, &t.data, &t.size, err));
    model_fill_random(&t, i + 1);
    return STATUS_OK;
}

static void release_tensor(void *t) {
    tensor_release(t);
}

static status set_from_file(struct session *s, const struct engine *e, const char *word,
                            bool *is_set, struct arena *a, struct error *err) {
    str name;
    const char *file;
    if (!model_split_input(word, &name, &file))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--input: wanted NAME=FILE.npy, found \"%s\"", word);
    ptrdiff_t i = engine_find_input(e, name);
    if (i < 0)
        return no_such_input(e, "--input", name, err);
    if (is_set[i])
        return error_set(err, STATUS_INVALID_ARGUMENT, "--input: \"%.*s\" is given twice",
                         STR_ARG(str_slice(name, 0, 100)));
    struct tensor *t = arena_new(a, struct tensor);
    TRY(npy_open(t, file, err));
    arena_defer(a, release_tensor, t);
    is_set[i] = true;
    return session_set_input(s, (size_t)i, t, err);
}

status model_set_inputs(struct session *s, const struct engine *e, const struct option_list *inputs,
                        const struct option_list *shapes, struct arena *a, struct error *err) {
    size_t n;
    const struct engine_io *io = engine_inputs(e, &n);
    bool *is_set = arena_array(a, bool, n + 1);
    TRY(check_shapes(e, shapes, err));
    for (size_t i = 0; i < inputs->n; i++)
        TRY(set_from_file(s, e, inputs->items[i], is_set, a, err));
    for (size_t i = 0; i < n; i++) {
        if (is_set[i])
            continue;
        if (inputs->n && !io[i].is_unused)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "input \"%.*s\" is missing; give --input=%.*s=FILE.npy",
                             STR_ARG(str_slice(io[i].name, 0, 100)),
                             STR_ARG(str_slice(io[i].name, 0, 100)));
        if (!inputs->n)
            TRY(set_random(s, &io[i], i, shapes, err));
    }
    return STATUS_OK;
}

str model_io_text(struct arena *a, const struct engine_io *io) {
    str text = str_format(a, "%s [", dtype_name(io->dtype));
    for (size_t d = 0; d < io->rank; d++)
        text =
            io->dims[d] >= 0
                ? str_format(a, "%.*s%s%lld", STR_ARG(text), d ? "," : "", (long long)io->dims[d])
                : str_format(a, "%.*s%s%.*s", STR_ARG(text), d ? "," : "", STR_ARG(io->symbols[d]));
    return str_format(a, "%.*s]", STR_ARG(text));
}
