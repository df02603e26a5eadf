/* golden_test.c - each file tests/golden/passes/NAME.ir is a graph, "# run: PASS..." above it,
 * and, behind a line of dashes, the graph that those passes make of it. UPDATE=1 in the
 * environment rewrites the second half: read the diff before you commit. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "compiler/ir/parse.h"
#include "compiler/ir/print.h"
#include "compiler/passes/passes.h"
#include "support/test.h"

#define FOLDER "tests/golden/passes"

enum { PASSES_MAX = 128 };

static const char *const line_between = "----\n";

struct golden {
    char path[512];
    struct buffer text;
    str before, after, run; /* run: names of passes */
};

static void golden_done(struct golden *c) {
    buffer_done(&c->text);
}

/* Where `needle` begins in s, or s.n. */
static size_t find(str s, const char *needle) {
    const char *p = memmem(s.p, s.n, needle, strlen(needle));
    return p ? (size_t)(p - s.p) : s.n;
}

static bool golden_read(struct golden *c, const char *name) {
    static const char marker[] = "# run:";
    struct error err = {0};
    snprintf(c->path, sizeof c->path, FOLDER "/%s", name);
    if (file_read(&c->text, c->path, &err) != STATUS_OK) {
        test_fail(__FILE__, __LINE__, "%s", err.text);
        return false;
    }
    str all = buffer_str(&c->text);
    size_t cut = find(all, line_between), run = find(all, marker);
    c->before = str_slice(all, 0, cut);
    c->after = str_slice(all, cut + strlen(line_between), all.n);
    str rest = str_slice(all, run + strlen(marker), all.n);
    if (!str_next(&rest, '\n', &c->run))
        test_fail(__FILE__, __LINE__, "%s: no line \"# run: PASS...\"", c->path);
    return true;
}

static bool names_pass(str run, const char *pass) {
    for (str name; str_next(&run, ' ', &name);)
        if (str_eq_c(name, pass))
            return true;
    return false;
}

/* All passes but those that `run` names. */
static size_t others(str run, const char **out) {
    size_t n = 0;
    for (size_t i = 0; passes_name(i); i++)
        if (!names_pass(run, passes_name(i)))
            out[n++] = passes_name(i);
    return n;
}

static void golden_update(const struct golden *c, str got) {
    struct buffer all = {0};
    struct error err = {0};
    if (buffer_append_str(&all, c->before, &err) != STATUS_OK ||
        buffer_append_str(&all, str_from_c(line_between), &err) != STATUS_OK ||
        buffer_append_str(&all, got, &err) != STATUS_OK ||
        file_write(c->path, all.p, all.n, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    buffer_done(&all);
}

static void compare(const struct golden *c, str got) {
    if (str_eq(got, c->after))
        return;
    if (getenv("UPDATE"))
        golden_update(c, got);
    else
        test_fail(__FILE__, __LINE__, "%s: got\n%.*s", c->path, STR_ARG(got));
}

/* The text of what `run` makes of the case's graph. */
static status transform(const struct golden *c, struct arena *a, struct buffer *out,
                        struct error *err) {
    const char *disable[PASSES_MAX];
    bool weights_only = names_pass(c->run, "precision_weights");
    struct passes_options o = {.bf16 = weights_only || names_pass(c->run, "precision_bf16"),
                               .bf16_weights_only = weights_only,
                               .disable = disable};
    struct graph *g;
    o.n_disable = others(c->run, disable);
    TRY(graph_parse(&g, a, c->before, err));
    TRY(passes_run(g, &o, err));
    return graph_print(out, g, err);
}

static void check_golden(const char *name) {
    struct golden c = {0};
    struct arena a = {0};
    struct buffer out = {0};
    struct error err = {0};
    if (golden_read(&c, name)) {
        if (transform(&c, &a, &out, &err) == STATUS_OK)
            compare(&c, buffer_str(&out));
        else
            test_fail(__FILE__, __LINE__, "%s: %s", c.path, err.text);
    }
    arena_release(&a);
    buffer_done(&out);
    golden_done(&c);
}

/* Whatever single pass is left out, the others leave a graph that holds. */
static void check_each_disabled(const char *name) {
    struct golden c = {0};
    if (!golden_read(&c, name))
        return;
    for (size_t i = 0; passes_name(i); i++) {
        const char *one = passes_name(i);
        struct passes_options o = {.bf16 = i % 2, .disable = &one, .n_disable = 1};
        struct arena a = {0};
        struct error err = {0};
        struct graph *g;
        if (!strcmp(one, "infer")) /* the others need types */
            o.n_disable = 0;
        if (graph_parse(&g, &a, c.before, &err) != STATUS_OK ||
            passes_run(g, &o, &err) != STATUS_OK)
            test_fail(__FILE__, __LINE__, "%s without %s: %s", c.path, one, err.text);
        arena_release(&a);
    }
    golden_done(&c);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_case(const struct dirent *e) {
    return str_ends(str_from_c(e->d_name), STR(".ir"));
}

static void for_each_case(void (*check)(const char *name)) {
    struct dirent **list;
    int n = scandir(FOLDER, &list, is_case, by_name);
    CHECK(n > 0);
    for (int i = 0; i < n; i++) {
        check(list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

TEST(passes_make_the_golden_graphs) {
    for_each_case(check_golden);
}

TEST(each_pass_can_be_left_out) {
    for_each_case(check_each_disabled);
}
