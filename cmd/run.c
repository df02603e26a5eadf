/* culmen run: one inference. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"
#include "codec/npy.h"
#include "command.h"
#include "model.h"
#include "tensor/convert.h"

static struct {
    const char *precision, *isa, *output_dir;
    struct option_list inputs, shapes;
    int64_t threads;
} o;

static const struct option options[] = {
    {"input", 'i', OPTION_LIST, &o.inputs, "NAME=FILE.npy",
     "one input; may be given several times; without any, all inputs are random numbers"},
    {"output-dir", 0, OPTION_TEXT, &o.output_dir, "DIR",
     "writes DIR/NAME.npy for each output; characters of NAME outside A-Za-z0-9._- become _"},
    {"threads", 't', OPTION_INT, &o.threads, "N", "default 1", .min = 1,
     .max = SESSION_THREADS_MAX},
    {"precision", 0, OPTION_TEXT, &o.precision, "P", "of a .onnx model: fp32 (default) or bf16"},
    {"shape", 0, OPTION_LIST, &o.shapes, "NAME:DIMS",
     "dims of a random input; of a .onnx model: fixes them"},
    {"isa", 0, OPTION_TEXT, &o.isa, "LEVEL", "of a .onnx model: highest instruction set to use"},
};

static const struct usage usage = {
    "run", "MODEL.plan|MODEL.onnx [OPTIONS]",
    "Runs a model once and shows its outputs. A .onnx model is compiled in memory first.\n\n"
    "NAME=FILE splits at the last \"=\", NAME:DIMS at the last \":\", so that exported names such "
    "as "
    "\"serving_default_x:0\" need no quoting.\n\n"
    "  culmen run model.plan --input=image=image.npy --output-dir=out\n"
    "  culmen run model.onnx --precision=bf16 --threads=2",
    options, ARRAY_LEN(options)};

enum { SHOWN_MAX = 4, TEXT_SHOWN_MAX = 40 };

/* The first texts of {u32 length, bytes}... */
static void print_texts(const struct tensor *t) {
    struct arena a CLEANUP(arena_release) = {0};
    int64_t n = tensor_n_elements(t);
    const char *p = t->data;
    for (int64_t i = 0; i < n && i < SHOWN_MAX; i++) {
        uint32_t size;
        memcpy(&size, p, sizeof size);
        str text = {.p = p + sizeof size, .n = size};
        str shown = str_printable(&a, str_slice(text, 0, TEXT_SHOWN_MAX));
        printf("%s\"%.*s%s\"", i ? " " : "", STR_ARG(shown), shown.n < text.n ? "..." : "");
        p += sizeof size + size;
    }
    printf("%s\n", n > SHOWN_MAX ? " ..." : "");
}

static void print_integers(const struct tensor *t, size_t n) {
    int64_t min = INT64_MAX, max = INT64_MIN, x, first[SHOWN_MAX] = {0};
    double sum = 0;
    const size_t step = dtype_size(t->dtype);
    for (size_t i = 0; i < n; i++) {
        if (convert(DTYPE_I64, &x, t->dtype, (const char *)t->data + i * step, 1, NULL) !=
            STATUS_OK)
            return;
        min = x < min ? x : min;
        max = x > max ? x : max;
        sum += (double)x;
        if (i < SHOWN_MAX)
            first[i] = x;
    }
    printf("min %" PRId64 "  max %" PRId64 "  mean %.6g  first", min, max, sum / (double)n);
    for (size_t i = 0; i < n && i < SHOWN_MAX; i++)
        printf(" %" PRId64, first[i]);
    printf("%s\n", n > SHOWN_MAX ? " ..." : "");
}

/* NaN is counted and left out of the rest. */
static void print_reals(const struct tensor *t, size_t n) {
    double min = INFINITY, max = -INFINITY, sum = 0, x, first[SHOWN_MAX] = {0};
    size_t n_nan = 0;
    const size_t step = dtype_size(t->dtype);
    for (size_t i = 0; i < n; i++) {
        if (convert(DTYPE_F64, &x, t->dtype, (const char *)t->data + i * step, 1, NULL) !=
            STATUS_OK)
            return;
        if (i < SHOWN_MAX)
            first[i] = x;
        if (isnan(x)) {
            n_nan++;
            continue;
        }
        min = x < min ? x : min;
        max = x > max ? x : max;
        sum += x;
    }
    if (n_nan)
        printf("%zu of %zu are NaN  ", n_nan, n);
    if (n_nan < n)
        printf("min %.6g  max %.6g  mean %.6g  ", min, max, sum / (double)(n - n_nan));
    printf("first");
    for (size_t i = 0; i < n && i < SHOWN_MAX; i++)
        printf(" %.6g", first[i]);
    printf("%s\n", n > SHOWN_MAX ? " ..." : "");
}

/* A short line: enough to see that the answer is one. */
static void print_values(const struct tensor *t) {
    int64_t n = tensor_n_elements(t);
    if (n <= 0)
        printf("empty\n");
    else if (t->dtype == DTYPE_BYTES)
        print_texts(t);
    else if (dtype_is_float(t->dtype) || t->dtype == DTYPE_U64)
        print_reals(t, (size_t)n);
    else
        print_integers(t, (size_t)n);
}

static void print_outputs(const struct session *s, const struct engine_io *io, size_t n) {
    struct arena a CLEANUP(arena_release) = {0};
    int width = 6;
    for (size_t i = 0; i < n; i++)
        width = (int)io[i].name.n > width ? (int)io[i].name.n : width;
    if (width > 40)
        width = 40;
    printf("%-*s  %-5s  %-20s  values\n", width, "output", "dtype", "dims");
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = session_output(s, i);
        char dims[DIMS_TEXT_SIZE];
        printf("%-*.*s  %-5s  %-20s  ", width, STR_ARG(str_printable(&a, io[i].name)),
               dtype_name(t->dtype), dims_format(t->dims, t->rank, dims));
        print_values(t);
    }
}

static str safe_name(struct arena *a, str name) {
    char *p = arena_alloc(a, name.n + 1, 1);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool is_safe = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
        p[i] = is_safe ? c : '_';
    }
    return (str){.p = p, .n = name.n};
}

/* The file names of the outputs. Two that would be the same are told apart and the user told. */
static str *name_files(const struct engine_io *io, size_t n, struct arena *a) {
    struct map taken CLEANUP(map_done) = {0};
    str *files = arena_array(a, str, n + 1);
    for (size_t i = 0; i < n; i++) {
        str name = safe_name(a, io[i].name), file = str_format(a, "%.*s.npy", STR_ARG(name));
        for (int k = 2; map_get(&taken, file); k++)
            file = str_format(a, "%.*s.%d.npy", STR_ARG(name), k);
        map_set(&taken, file, &files[i]);
        if (file.n != name.n + strlen(".npy"))
            fprintf(stderr,
                    "culmen run: output \"%.*s\" is in %.*s: another has the shorter name\n",
                    STR_ARG(str_printable(a, io[i].name)), STR_ARG(file));
        files[i] = file;
    }
    return files;
}

static status save_outputs(const struct session *s, const struct engine_io *io, size_t n,
                           struct arena *a, struct error *err) {
    const str *files = name_files(io, n, a);
    for (size_t i = 0; i < n; i++) {
        str path = str_format(a, "%s/%.*s", o.output_dir, STR_ARG(files[i]));
        TRY(npy_save(path.p, session_output(s, i), err));
    }
    return STATUS_OK;
}

static status check_options(const char *path, struct compile_options *how, struct error *err) {
    TRY(model_parse_options(how, o.precision, o.isa, &o.shapes, err));
    TRY(model_check_options(path, o.precision, o.isa, err));
    if (o.inputs.n && o.shapes.n && !model_is_onnx(path))
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "--shape gives the dims of random inputs; those of --input are in its file");
    return STATUS_OK;
}

static status run_model(const char *path, const struct compile_options *how, struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    struct model m CLEANUP(model_done) = {0};
    CLEANUP(session_freep) struct session *s = NULL;
    if (o.output_dir)
        TRY(file_make_folder(o.output_dir, err));
    TRY(model_open(&m, path, how, err));
    const struct session_options with = {.n_threads = (unsigned)o.threads, .name = "run"};
    TRY(session_new(&s, m.engine, &with, err));
    TRY(model_set_inputs(s, m.engine, &o.inputs, &o.shapes, &a, err));
    size_t n_inputs, n_outputs;
    (void)engine_inputs(m.engine, &n_inputs);
    const struct engine_io *io = engine_outputs(m.engine, &n_outputs);
    if (o.inputs.n == 0 && n_inputs)
        fprintf(stderr, "culmen run: no --input given: %zu input%s of random numbers\n", n_inputs,
                n_inputs > 1 ? "s" : "");
    int64_t start = clock_now(clock_system());
    TRY(session_run(s, err));
    double ms = (double)(clock_now(clock_system()) - start) / NS_PER_MS;
    print_outputs(s, io, n_outputs);
    printf("%.3f ms\n", ms);
    return o.output_dir ? save_outputs(s, io, n_outputs, &a, err) : STATUS_OK;
}

int cmd_run(int argc, char **argv) {
    int n_words;
    char **words = command_parse(&usage, argc, argv, &n_words);
    if (n_words != 1)
        return command_misuse(&usage, "wanted one model, found %d", n_words);
    struct error err = {0};
    struct compile_options how;
    if (check_options(words[0], &how, &err) != STATUS_OK)
        return command_misuse(&usage, "%s", err.text);
    return run_model(words[0], &how, &err) == STATUS_OK ? EXIT_OK : command_fail(&usage, &err);
}
