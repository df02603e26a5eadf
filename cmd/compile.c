/* culmen compile: model.onnx -> model.plan. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "command.h"
#include "model.h"
#include "plan/write.h"

static struct {
    const char *output, *precision, *isa, *report, *print_after;
    struct option_list shapes, disabled_passes;
    bool quiet;
} o;

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, &o.output, "FILE", "where the plan goes", .is_required = true},
    {"precision", 0, OPTION_TEXT, &o.precision, "P", "fp32 (default) or bf16"},
    {"shape", 0, OPTION_LIST, &o.shapes, "NAME:DIMS",
     "fixes an input's dims: ids:1x128; ? leaves one free, 1..64 within a range; may be given "
     "several times"},
    {"isa", 0, OPTION_TEXT, &o.isa, "LEVEL",
     "highest instruction set to use: generic, avx2, avx512, avx512-bf16, amx (default: this "
     "machine's)"},
    {"report", 0, OPTION_TEXT, &o.report, "FILE", "writes what was done as JSON"},
    {"print-after", 0, OPTION_TEXT, &o.print_after, "PASS",
     "prints the graph as it is after a pass, or after \"import\"; an unknown name lists them"},
    {"disable-pass", 0, OPTION_LIST, &o.disabled_passes, "PASS", "leaves a pass out"},
    {"quiet", 'q', OPTION_FLAG, &o.quiet, NULL, "no progress on the terminal"},
};

static const struct usage usage = {
    "compile", "MODEL.onnx -o MODEL.plan [OPTIONS]",
    "Compiles an ONNX model for this kind of machine into a plan, which `culmen run`, "
    "`culmen serve` and libculmen load in milliseconds.\n\n"
    "  culmen compile model.onnx -o model.plan --precision=bf16\n"
    "  culmen compile model.onnx -o model.plan --shape=ids:1..8x128 --report=r.json",
    options, ARRAY_LEN(options)};

static void show_phase(void *arg, const char *phase) {
    (void)arg;
    fprintf(stderr, "\r\033[K%s ...", phase);
}

static void end_progress(bool is_shown) {
    if (is_shown)
        fprintf(stderr, "\r\033[K");
}

static status write_report(const struct compiled *c, struct error *err) {
    CLEANUP(buffer_done) struct buffer text = {0};
    TRY(compiled_report(c, &text, err));
    TRY(buffer_append(&text, "\n", 1, err));
    return file_write(o.report, text.p, text.n, err);
}

static bool is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The plan must not take the model's place: there is no way back. */
static status check_paths(const char *model, struct error *err) {
    if (!model_is_onnx(model) && model_is_plan(model))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "\"%s\" is a plan already; wanted the .onnx model that it was made from",
                         model);
    if (is_same_file(model, o.output))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--output=%s would overwrite the model; name it MODEL.plan", o.output);
    if (model_is_onnx(o.output))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--output=%s: .onnx is the ending of models; name it MODEL.plan",
                         o.output);
    return STATUS_OK;
}

static void show_result(const struct plan *p, const struct compile_options *how, int64_t ns) {
    fprintf(stderr, "%s: %u steps, %.1f MB of weights, %s, %s, %.1f s\n", o.output, p->n_steps,
            (double)p->weights_size / 1e6, precision_name(how->precision), isa_name((isa)p->isa),
            (double)ns / NS_PER_S);
}

static status compile_to_file(const char *path, const struct compile_options *with,
                              struct error *err) {
    bool shows = !o.quiet && isatty(STDERR_FILENO);
    int64_t start = clock_now(clock_system());
    struct compile_options how = *with;
    TRY(check_paths(path, err));
    how.disabled_passes = o.disabled_passes.items;
    how.n_disabled_passes = o.disabled_passes.n;
    how.print_after = o.print_after;
    how.on_phase = shows ? show_phase : NULL;
    CLEANUP(compiled_freep) struct compiled *c = NULL;
    status code = compile_model(&c, path, &how, err);
    if (code == STATUS_OK) {
        compiled_begin_phase(c, "write");
        code = plan_write(compiled_plan(c), o.output, err);
        compiled_begin_phase(c, NULL);
    }
    end_progress(shows);
    if (code != STATUS_OK) {
        str lines = c ? compiled_diagnostics(c) : (str){0};
        fwrite(lines.p, 1, lines.n, stderr);
        return code;
    }
    if (shows)
        show_result(compiled_plan(c), &how, clock_now(clock_system()) - start);
    return o.report ? write_report(c, err) : STATUS_OK;
}

int cmd_compile(int argc, char **argv) {
    int n_words;
    char **words = command_parse(&usage, argc, argv, &n_words);
    if (n_words != 1)
        return command_misuse(&usage, "wanted one model, found %d", n_words);
    struct error err = {0};
    struct compile_options how;
    if (model_parse_options(&how, o.precision, o.isa, &o.shapes, &err) != STATUS_OK)
        return command_misuse(&usage, "%s", err.text);
    return compile_to_file(words[0], &how, &err) == STATUS_OK ? EXIT_OK
                                                              : command_fail(&usage, &err);
}
