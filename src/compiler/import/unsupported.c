/* unsupported.c - the one error that names every node which we cannot compile. */
#include <inttypes.h>
#include <string.h>

#include "compiler/import/importer.h"

static const struct {
    const char *domain, *op, *hint;
} hints[] = {
    {"", "If", "fix the condition when exporting, so that one branch is left"},
    {"", "Loop", "unroll the loop when exporting"},
    {"", "Scan", "unroll the loop when exporting"},
    {"", "LSTM", "recurrent layers are not supported yet"},
    {"", "GRU", "recurrent layers are not supported yet"},
    {"", "RNN", "recurrent layers are not supported yet"},
    {"com.microsoft", NULL,
     "ONNX Runtime's own operator: export or save the model without its optimizer"},
    {"com.microsoft.nchwc", NULL,
     "ONNX Runtime's own layout: save the model without its optimizer"},
    {"ai.onnx.ml", NULL, "classic machine learning operators are not supported"},
    {"ai.onnx.training", NULL, "training operators are not supported: export for inference"},
};

static const char *hint_of(const struct onnx_node *n) {
    for (size_t i = 0; i < ARRAY_LEN(hints); i++)
        if (str_eq_c(n->domain, hints[i].domain) &&
            (!hints[i].op || str_eq_c(n->op_type, hints[i].op)))
            return hints[i].hint;
    if (str_starts(n->op_type, STR("Sequence")) || str_starts(n->op_type, STR("Optional")))
        return "only tensors are supported, no sequences or optionals";
    if (n->domain.n)
        return "replace the custom operator by standard ones, or add it to the model as a function";
    return "express it by other operators when exporting (another opset_version may do that)";
}

void unsupported_add(struct importer *im, struct unsupported u) {
    if (im->n_unsupported == im->unsupported_capacity) {
        im->unsupported_capacity = im->unsupported_capacity ? im->unsupported_capacity * 2 : 16;
        struct unsupported *p =
            arena_array(im->scratch, struct unsupported, im->unsupported_capacity);
        if (im->n_unsupported)
            memcpy(p, im->unsupported, im->n_unsupported * sizeof *p);
        im->unsupported = p;
    }
    im->unsupported[im->n_unsupported++] = u;
}

/* Works out what types can be known in spite of the gaps. */
static void infer_what_goes(struct importer *im) {
    if (graph_sort(im->g, NULL) != STATUS_OK)
        return;
    GRAPH_NODES(n, im->g) {
        if (node_infer(im->g, n, NULL, NULL) != STATUS_OK)
            continue;
    }
}

static str op_text(struct importer *im, const struct onnx_node *n) {
    return n->domain.n && !str_eq_c(n->domain, "ai.onnx")
               ? str_format(im->scratch, "%.*s.%.*s", STR_ARG(n->domain), STR_ARG(n->op_type))
               : n->op_type;
}

static status write_line(struct importer *im, const struct unsupported *u, struct buffer *report) {
    str op = op_text(im, u->node);
    TRY(buffer_printf(report, im->err, "%.*s (opset %" PRId64 ") node \"%.*s\" on (", STR_ARG(op),
                      u->opset, STR_ARG(u->node->name)));
    for (size_t i = 0; i < u->node->n_inputs; i++) {
        str type = value_type_text(im->g, im->scratch, u->in[i]);
        TRY(buffer_printf(report, im->err, "%s%.*s", i ? ", " : "", STR_ARG(type)));
    }
    if (u->why)
        return buffer_printf(report, im->err, "): %s %.*s\n", u->why, STR_ARG(u->detail));
    return buffer_printf(report, im->err, "): %s\n", hint_of(u->node));
}

status unsupported_error(struct importer *im, struct buffer *report) {
    enum { NAMES_SHOWN = 8 };
    infer_what_goes(im);
    for (size_t i = 0; report && i < im->n_unsupported; i++) {
        size_t begin = report->n;
        TRY(write_line(im, &im->unsupported[i], report));
        str_make_printable(report->p + begin, report->n - begin - 1); /* names are the file's */
    }
    /* "Foo (3), Bar (1)" for the text that fits into an error. */
    struct map counts = {0};
    for (size_t i = 0; i < im->n_unsupported; i++) {
        str op = op_text(im, im->unsupported[i].node);
        size_t *count = map_get(&counts, op);
        if (!count)
            map_set(&counts, op, count = arena_new(im->scratch, size_t));
        ++*count;
    }
    str text = STR("");
    for (size_t i = 0; i < counts.n && i < NAMES_SHOWN; i++)
        text = str_format(im->scratch, "%.*s%s%.*s (%zu)", STR_ARG(text), i ? ", " : "",
                          STR_ARG(counts.entries[i].key), *(size_t *)counts.entries[i].value);
    if (counts.n > NAMES_SHOWN)
        text = str_format(im->scratch, "%.*s and %zu more", STR_ARG(text), counts.n - NAMES_SHOWN);
    map_done(&counts);
    const struct unsupported *first = &im->unsupported[0];
    return error_set(im->err, STATUS_UNIMPLEMENTED,
                     "%zu of %zu nodes cannot be compiled: %.*s; first: node \"%.*s\": %s %.*s",
                     im->n_unsupported, im->n_unsupported + im->g->n_nodes, STR_ARG(text),
                     STR_ARG(first->node->name), first->why ? first->why : hint_of(first->node),
                     STR_ARG(first->detail));
}
