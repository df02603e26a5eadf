/* culmen bench: how fast a plan, or a model of a server, is. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "command.h"
#include "model.h"

static struct {
    const char *precision, *isa;
    struct option_list inputs, shapes;
    int64_t threads;
    double duration;
    bool json;
} o = {.threads = 1, .duration = 3};

static const struct option options[] = {
    {"input", 'i', OPTION_LIST, &o.inputs, "NAME=FILE.npy",
     "one input; without any, all inputs are random numbers"},
    {"shape", 0, OPTION_LIST, &o.shapes, "NAME:DIMS", "dims of a random input: ids:8x128"},
    {"threads", 't', OPTION_INT, &o.threads, "N",
     "default 1; of a server: that many connections at once", .min = 1, .max = SESSION_THREADS_MAX},
    {"duration", 'd', OPTION_REAL, &o.duration, "SECONDS", "default 3"},
    {"precision", 0, OPTION_TEXT, &o.precision, "P", "of a .onnx model: fp32 (default) or bf16"},
    {"isa", 0, OPTION_TEXT, &o.isa, "LEVEL", "of a .onnx model: highest instruction set to use"},
    {"json", 0, OPTION_FLAG, &o.json, NULL, "as JSON"},
};

static const struct usage usage = {
    "bench", "MODEL.plan|MODEL.onnx|http://HOST:PORT/v2/models/NAME [OPTIONS]",
    "Runs a model again and again and shows throughput and latencies.\n\n"
    "  culmen bench model.plan --threads=2 --duration=10\n"
    "  culmen bench http://127.0.0.1:8000/v2/models/minilm --threads=16 --json",
    options, ARRAY_LEN(options)};

static status bench_plan(struct bench_samples *samples, double *seconds, const char *path,
                         struct error *err) {
    enum { WARM_UP_NS = NS_PER_S / 5 };
    struct arena a CLEANUP(arena_release) = {0};
    struct model m CLEANUP(model_done) = {0};
    CLEANUP(session_freep) struct session *s = NULL;
    struct compile_options how;
    const struct option_list none = {0};
    TRY(model_parse_options(&how, o.precision, o.isa, &none, err));
    TRY(model_open(&m, path, &how, err));
    const struct session_options with = {.n_threads = (unsigned)o.threads, .name = "bench"};
    TRY(session_new(&s, m.engine, &with, err));
    TRY(model_set_inputs(s, m.engine, &o.inputs, &o.shapes, &a, err));
    const struct clock *clock = clock_system();
    int64_t start = clock_now(clock);
    do
        TRY(session_run(s, err));
    while (clock_now(clock) - start < WARM_UP_NS);

    start = clock_now(clock);
    int64_t now = start, end = start + (int64_t)(o.duration * NS_PER_S);
    while (now < end) {
        int64_t before = now;
        TRY(session_run(s, err));
        now = clock_now(clock);
        bench_add(samples, now - before);
    }
    *seconds = (double)(now - start) / NS_PER_S;
    return STATUS_OK;
}

static status bench(const char *model, struct error *err) {
    struct bench_samples samples = {0};
    double seconds = 0;
    bool is_url = str_starts(str_from_c(model), STR("http://"));
    status code = is_url ? bench_http(&samples, &seconds, model, &o.inputs, &o.shapes,
                                      (unsigned)o.threads, o.duration, err)
                         : bench_plan(&samples, &seconds, model, err);
    if (code == STATUS_OK) {
        struct bench_summary summary;
        bench_sum_up(&summary, &samples, seconds);
        char how[100];
        snprintf(how, sizeof how, "%d %s%s%s", (int)o.threads, is_url ? "connection" : "thread",
                 o.threads > 1 ? "s" : "", o.inputs.n ? "" : ", random inputs");
        if (o.json)
            code = bench_print_json(&summary, model, o.threads, err);
        else
            bench_print(&summary, model, how);
    }
    free(samples.ns);
    return code;
}

int cmd_bench(int argc, char **argv) {
    int n_words;
    char **words = command_parse(&usage, argc, argv, &n_words);
    if (n_words != 1)
        return command_misuse(&usage, "wanted one model, found %d", n_words);
    if (!(o.duration > 0 && o.duration < 1e6))
        return command_misuse(&usage, "--duration: wanted more than 0 seconds");
    struct error err = {0};
    return bench(words[0], &err) == STATUS_OK ? EXIT_OK : command_fail(&usage, &err);
}
