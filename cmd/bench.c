/* culmen bench: how fast a plan, or a model of a server, is. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "command.h"
#include "model.h"
#include "plan/plan.h"

static struct {
    const char *precision, *isa;
    struct option_list inputs, shapes;
    int64_t threads;
    double duration;
    bool json, profile;
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
    {"profile", 0, OPTION_FLAG, &o.profile, NULL, "also shows the time of each kind of step"},
    {"json", 0, OPTION_FLAG, &o.json, NULL, "as JSON"},
};

static const struct usage usage = {
    "bench", "MODEL.plan|MODEL.onnx|http://HOST:PORT/v2/models/NAME",
    "Runs a model, or asks a KServe v2 server for one, again and again, and shows throughput and "
    "latencies.\n\n"
    "  culmen bench model.plan --threads=2 --duration=10\n"
    "  culmen bench http://127.0.0.1:8000/v2/models/minilm --threads=16 --json",
    options, ARRAY_LEN(options)};

struct kind {
    str op, kernel;
    uint32_t n;
    int64_t ns;
};

static int compare_kinds(const void *a, const void *b) {
    int64_t x = ((const struct kind *)a)->ns, y = ((const struct kind *)b)->ns;
    return x > y ? -1 : x < y;
}

/* Steps of the same operator and kernel in one line, the slowest kind first. */
static void print_profile(const struct session *s, const struct plan *p, uint64_t n_runs) {
    struct arena a CLEANUP(arena_release) = {0};
    const int64_t *times = session_step_times(s);
    struct kind *kinds = arena_array(&a, struct kind, p->n_steps + 1);
    size_t n = 0;
    int64_t all = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        size_t k = 0;
        while (k < n && !(str_eq(kinds[k].op, p->steps[i].op) &&
                          str_eq(kinds[k].kernel, p->steps[i].kernel)))
            k++;
        if (k == n)
            kinds[n++] = (struct kind){.op = p->steps[i].op, .kernel = p->steps[i].kernel};
        kinds[k].n++;
        kinds[k].ns += times[i];
        all += times[i];
    }
    qsort(kinds, n, sizeof *kinds, compare_kinds);
    printf("%-20s %-32s %6s %12s %7s\n", "op", "kernel", "steps", "ms per run", "share");
    for (size_t k = 0; k < n; k++)
        printf("%-20.*s %-32.*s %6u %12.4f %6.1f%%\n", STR_ARG(kinds[k].op),
               STR_ARG(kinds[k].kernel), kinds[k].n,
               (double)kinds[k].ns / NS_PER_MS / (double)n_runs,
               all ? 100 * (double)kinds[k].ns / (double)all : 0);
}

static status bench_plan(struct bench_samples *samples, double *seconds, const char *path,
                         const struct compile_options *how, struct error *err) {
    enum { WARM_UP_NS = NS_PER_S / 5 };
    struct arena a CLEANUP(arena_release) = {0};
    struct model m CLEANUP(model_done) = {0};
    CLEANUP(session_freep) struct session *s = NULL;
    TRY(model_open(&m, path, how, err));
    const struct session_options with = {
        .n_threads = (unsigned)o.threads, .name = "bench", .keeps_times = o.profile};
    TRY(session_new(&s, m.engine, &with, err));
    TRY(model_set_inputs(s, m.engine, &o.inputs, &o.shapes, &a, err));
    const struct clock *clock = clock_system();
    int64_t start = clock_now(clock);
    uint64_t n_warm_ups = 0;
    do {
        TRY(session_run(s, err));
        n_warm_ups++;
    } while (clock_now(clock) - start < WARM_UP_NS);

    start = clock_now(clock);
    int64_t now = start, end = start + (int64_t)(o.duration * NS_PER_S);
    while (now < end) {
        int64_t before = now;
        TRY(session_run(s, err));
        now = clock_now(clock);
        bench_add(samples, now - before);
    }
    *seconds = (double)(now - start) / NS_PER_S;
    if (o.profile && !o.json)
        print_profile(s, engine_plan(m.engine), samples->n_runs + n_warm_ups);
    return STATUS_OK;
}

static bool is_url(const char *model) {
    return str_starts(str_from_c(model), STR("http://"));
}

static status check_options(const char *model, struct compile_options *how, struct error *err) {
    const struct option_list none = {0};
    TRY(model_parse_options(how, o.precision, o.isa, &none, err));
    TRY(model_check_options(model, o.precision, o.isa, err));
    if (str_starts(str_from_c(model), STR("https://")))
        return error_set(err, STATUS_INVALID_ARGUMENT, "https is not spoken here; use http://");
    if (o.inputs.n && o.shapes.n)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "--shape gives the dims of random inputs; those of --input are in its file");
    if (is_url(model) && o.profile)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--profile: a server does not show its steps; bench the plan itself");
    if (!(o.duration > 0 && o.duration < 1e6))
        return error_set(err, STATUS_INVALID_ARGUMENT, "--duration: wanted more than 0 seconds");
    return STATUS_OK;
}

static status bench(const char *model, const struct compile_options *with, struct error *err) {
    struct bench_samples samples = {0};
    double seconds = 0;
    status code = is_url(model) ? bench_http(&samples, &seconds, model, &o.inputs, &o.shapes,
                                             (unsigned)o.threads, o.duration, err)
                                : bench_plan(&samples, &seconds, model, with, err);
    if (code == STATUS_OK) {
        struct bench_summary summary;
        bench_sum_up(&summary, &samples, seconds);
        char how[100];
        snprintf(how, sizeof how, "%d %s%s%s", (int)o.threads,
                 is_url(model) ? "connection" : "thread", o.threads > 1 ? "s" : "",
                 o.inputs.n ? "" : ", random inputs");
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
    struct error err = {0};
    struct compile_options how;
    if (check_options(words[0], &how, &err) != STATUS_OK)
        return command_misuse(&usage, "%s", err.text);
    return bench(words[0], &how, &err) == STATUS_OK ? EXIT_OK : command_fail(&usage, &err);
}
