#include "compiler/passes/passes.h"

#include <string.h>

#include "compiler/ir/print.h"
#include "compiler/ir/verify.h"
#include "compiler/passes/layout.h"
#include "compiler/passes/precision.h"

typedef enum pass_when { PASS_ALWAYS, PASS_BF16, PASS_BF16_WEIGHTS } pass_when;

static const struct {
    const char *name;
    pass_fn run;
    pass_when when;
} passes[] = {
#define PASS(name, run, when) {#name, run, when},
#include "compiler/passes/passes.def"
#undef PASS
};

const char *passes_name(size_t i) {
    return i < ARRAY_LEN(passes) ? passes[i].name : NULL;
}

static status check_name(const char *name, struct error *err) {
    for (size_t i = 0; i < ARRAY_LEN(passes); i++)
        if (!strcmp(passes[i].name, name))
            return STATUS_OK;
    error_set(err, STATUS_INVALID_ARGUMENT, "no pass is called \"%s\"; there are", name);
    for (size_t i = 0; err && i < ARRAY_LEN(passes); i++) {
        size_t n = strlen(err->text);
        snprintf(err->text + n, sizeof err->text - n, "%s %s", i ? "," : "", passes[i].name);
    }
    return STATUS_INVALID_ARGUMENT;
}

static bool is_disabled(const struct passes_options *o, const char *name) {
    for (size_t i = 0; i < o->n_disable; i++)
        if (!strcmp(o->disable[i], name))
            return true;
    return false;
}

static bool is_for(pass_when when, const struct passes_options *o) {
    return when == PASS_ALWAYS || (o->bf16 && (when == PASS_BF16_WEIGHTS) == o->bf16_weights_only);
}

static status print_graph(const struct graph *g, FILE *to, struct error *err) {
    struct buffer text = {0};
    status printed = graph_print(&text, g, err);
    if (printed == STATUS_OK)
        fwrite(text.p, 1, text.n, to);
    buffer_done(&text);
    return printed;
}

static status run_pass(size_t i, struct graph *g, const struct passes_options *o,
                       struct error *err) {
    status done = passes[i].run(g, err);
    if (done == STATUS_OK)
        done = graph_verify(g, true, err);
    if (done != STATUS_OK)
        return error_wrap(err, done, "pass %s", passes[i].name);
    if (o->print_after && !strcmp(o->print_after, passes[i].name))
        TRY(print_graph(g, o->print_to, err));
    return STATUS_OK;
}

status passes_run(struct graph *g, const struct passes_options *o, struct error *err) {
    for (size_t i = 0; i < o->n_disable; i++)
        TRY(check_name(o->disable[i], err));
    if (o->print_after)
        TRY(check_name(o->print_after, err));
    for (size_t i = 0; i < ARRAY_LEN(passes); i++) {
        if (is_disabled(o, passes[i].name) || !is_for(passes[i].when, o))
            continue;
        TRY(run_pass(i, g, o, err));
    }
    return STATUS_OK;
}
