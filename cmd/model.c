#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/npy.h"
#include "plan/write.h"
#include "tensor/convert.h"

bool model_is_onnx(const char *path) {
    return str_ends(str_from_c(path), STR(".onnx"));
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
    for (size_t i = 0; shapes && i < shapes->n; i++)
        TRY(compile_shape_parse(&out->shapes[out->n_shapes++], shapes->items[i], err));
    return STATUS_OK;
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

status model_open(struct model *out, const char *path, const struct compile_options *options,
                  struct error *err) {
    struct model m = {0};
    status code = model_is_onnx(path) ? compile_in_memory(&m, path, options, err)
                                      : engine_open(&m.engine, path, err);
    if (code != STATUS_OK) {
        model_done(&m);
        return code;
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

static status set_random(struct session *s, const struct engine_io *io, size_t i,
                         const struct option_list *shapes, struct error *err) {
    struct compile_shape shape = {0};
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
    if (i < 0) {
        size_t n;
        const struct engine_io *io = engine_inputs(e, &n);
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "no input \"%.*s\"; the model has %zu, the first is \"%.*s\"",
                         STR_ARG(str_slice(name, 0, 100)), n,
                         STR_ARG(str_slice(n ? io[0].name : STR(""), 0, 100)));
    }
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
