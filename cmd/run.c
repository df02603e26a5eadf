/* culmen run: one inference. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
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
    "Runs a model once. A .onnx model is compiled in memory first.\n\n"
    "  culmen run model.plan --input=image=image.npy --output-dir=out\n"
    "  culmen run model.onnx --precision=bf16 --threads=2",
    options, ARRAY_LEN(options)};

/* A short line of statistics: enough to see that the answer is one. */
static void print_values(const struct tensor *t) {
    int64_t n = tensor_n_elements(t);
    if (t->dtype == DTYPE_BYTES || n <= 0) {
        printf("%zu bytes\n", t->size);
        return;
    }
    double *x = malloc((size_t)n * sizeof *x);
    if (!x || convert(DTYPE_F64, x, t->dtype, t->data, (size_t)n, NULL) != STATUS_OK) {
        free(x);
        printf("%zu bytes\n", t->size);
        return;
    }
    double min = x[0], max = x[0], sum = 0;
    for (int64_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
        sum += x[i];
    }
    printf("min %.6g  max %.6g  mean %.6g  first", min, max, sum / (double)n);
    for (int64_t i = 0; i < n && i < 4; i++)
        printf(" %.6g", x[i]);
    printf("%s\n", n > 4 ? " ..." : "");
    free(x);
}

static void print_outputs(const struct session *s, const struct engine_io *io, size_t n) {
    int width = 6;
    for (size_t i = 0; i < n; i++)
        width = (int)io[i].name.n > width ? (int)io[i].name.n : width;
    if (width > 40)
        width = 40;
    printf("%-*s  %-5s  %-20s  values\n", width, "output", "dtype", "dims");
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = session_output(s, i);
        char dims[DIMS_TEXT_SIZE];
        printf("%-*.*s  %-5s  %-20s  ", width, STR_ARG(io[i].name), dtype_name(t->dtype),
               dims_format(t->dims, t->rank, dims));
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

static status save_outputs(const struct session *s, const struct engine_io *io, size_t n,
                           struct arena *a, struct error *err) {
    TRY(file_make_folder(o.output_dir, err));
    for (size_t i = 0; i < n; i++) {
        str path = str_format(a, "%s/%.*s.npy", o.output_dir, STR_ARG(safe_name(a, io[i].name)));
        TRY(npy_save(path.p, session_output(s, i), err));
    }
    return STATUS_OK;
}

static status run_model(const char *path, struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    struct model m CLEANUP(model_done) = {0};
    CLEANUP(session_freep) struct session *s = NULL;
    struct compile_options how;
    TRY(model_parse_options(&how, o.precision, o.isa, &o.shapes, err));
    TRY(model_open(&m, path, &how, err));
    const struct session_options with = {.n_threads = (unsigned)o.threads, .name = "run"};
    TRY(session_new(&s, m.engine, &with, err));
    TRY(model_set_inputs(s, m.engine, &o.inputs, &o.shapes, &a, err));
    size_t n_inputs, n_outputs;
    (void)engine_inputs(m.engine, &n_inputs);
    const struct engine_io *io = engine_outputs(m.engine, &n_outputs);
    if (o.inputs.n == 0 && n_inputs)
        fprintf(stderr, "culmen run: no --input given: all %zu inputs are random numbers\n",
                n_inputs);
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
    return run_model(words[0], &err) == STATUS_OK ? EXIT_OK : command_fail(&usage, &err);
}
