/* host - compiles and runs one model after the other for run.py, which talks to it by pipes.
 *
 * A request on stdin: text path; u32 n; n tensors. A reply on stdout: u32 status, text message,
 * u32 n, n tensors. A text is u32 size and its bytes; a tensor is a text (its name), u32 ONNX
 * type, u32 rank, i64 dims[rank], u64 size and its bytes. Numbers are little-endian.
 * Usage: host LEVEL THREADS DISABLED-PASS... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/compile.h"
#include "engine/engine.h"
#include "plan/write.h"

enum { TEXT_MAX = 1 << 20 };

static void get(void *to, size_t size) {
    if (size && fread(to, 1, size, stdin) != size)
        exit(0); /* run.py is done */
}

static uint32_t get_u32(void) {
    uint32_t v;
    get(&v, sizeof v);
    return v;
}

static str get_text(struct arena *a) {
    uint32_t n = get_u32();
    char *p = arena_alloc(a, (size_t)n + 1, 1);
    get(p, n);
    return (str){.p = p, .n = n};
}

static void put(const void *from, size_t size) {
    if (size && fwrite(from, 1, size, stdout) != size)
        exit(1);
}

static void put_u32(uint32_t v) {
    put(&v, sizeof v);
}

static void put_text(str s) {
    put_u32((uint32_t)s.n);
    put(s.p, s.n);
}

struct input {
    str name;
    struct tensor t;
};

static struct input get_input(struct arena *a) {
    struct input in = {.name = get_text(a)};
    uint64_t size;
    in.t.dtype = dtype_from_onnx(get_u32());
    in.t.rank = (uint8_t)get_u32();
    if (in.t.rank > TENSOR_RANK_MAX)
        exit(1);
    get(in.t.dims, in.t.rank * sizeof *in.t.dims);
    get(&size, sizeof size);
    in.t.size = size;
    in.t.data = arena_alloc(a, size + 1, 64);
    get(in.t.data, size);
    return in;
}

/* The engine lives in *e, the plan's bytes in *plan; the caller frees both. */
static status compile(struct engine **e, void **plan, const char *path,
                      const struct compile_options *options, struct error *err) {
    CLEANUP(compiled_freep) struct compiled *c = NULL;
    size_t size;
    status s = compile_model(&c, path, options, err);
    if (s != STATUS_OK && c && compiled_diagnostics(c).n)
        error_set(err, s, "%.*s", STR_ARG(str_slice(compiled_diagnostics(c), 0, 500)));
    if (s != STATUS_OK)
        return s;
    TRY(plan_encode(plan, &size, compiled_plan(c), err));
    return engine_open_bytes(e, *plan, size, err);
}

static unsigned n_threads = 1;

static status run(struct session **out, struct engine *e, const struct input *inputs, uint32_t n,
                  struct error *err) {
    TRY(session_new(out, e, &(struct session_options){.n_threads = n_threads}, err));
    for (uint32_t i = 0; i < n; i++) {
        ptrdiff_t at = engine_find_input(e, inputs[i].name);
        if (at < 0)
            return error_set(err, STATUS_INTERNAL, "the plan has no input \"%.*s\"",
                             STR_ARG(inputs[i].name));
        TRY(session_set_input(*out, (size_t)at, &inputs[i].t, err));
    }
    return session_run(*out, err);
}

static void put_outputs(const struct engine *e, const struct session *s) {
    size_t n;
    const struct engine_io *io = engine_outputs(e, &n);
    put_u32((uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = session_output(s, i);
        size_t size = 0;
        (void)!tensor_size(t->dtype, t->dims, t->rank, &size);
        put_text(io[i].name);
        put_u32((uint32_t)dtype_onnx(t->dtype));
        put_u32(t->rank);
        put(t->dims, t->rank * sizeof *t->dims);
        put(&(uint64_t){size}, sizeof(uint64_t));
        put(t->data, size);
    }
}

static void serve_one(const struct compile_options *options) {
    struct arena a CLEANUP(arena_release) = {0};
    CLEANUP(engine_unrefp) struct engine *e = NULL;
    CLEANUP(session_freep) struct session *s = NULL;
    void *plan = NULL;
    struct error err = {.text = ""};
    str path = get_text(&a);
    uint32_t n = get_u32();
    struct input *inputs = arena_array(&a, struct input, n);
    for (uint32_t i = 0; i < n; i++)
        inputs[i] = get_input(&a);
    status code = compile(&e, &plan, path.p, options, &err);
    if (code == STATUS_OK)
        code = run(&s, e, inputs, n, &err);
    put_u32((uint32_t)code);
    put_text(str_from_c(code == STATUS_OK ? "" : err.text));
    if (code == STATUS_OK)
        put_outputs(e, s);
    else
        put_u32(0);
    fflush(stdout);
    session_free(TAKE(s));
    engine_unref(TAKE(e));
    free(plan);
}

int main(int argc, char **argv) {
    struct compile_options options = {.isa = isa_host()};
    struct error err;
    if (argc > 1 && isa_parse(&options.isa, str_from_c(argv[1]), &err) != STATUS_OK) {
        fprintf(stderr, "host: %s\n", err.text);
        return 2;
    }
    if (options.isa > isa_host())
        options.isa = isa_host();
    if (argc > 2)
        n_threads = (unsigned)atoi(argv[2]);
    options.disabled_passes = argc > 3 ? (const char *const *)(argv + 3) : NULL;
    options.n_disabled_passes = argc > 3 ? (size_t)(argc - 3) : 0;
    for (;;)
        serve_one(&options);
}
