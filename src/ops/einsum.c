#include "ops/einsum.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "ops/infer_internal.h"

enum { LETTERS = 256 };

/* Letters get their numbers by where they are first seen, after those of the ellipsis. */
struct parser {
    struct einsum *e;
    int n_ellipsis;     /* dims that "..." stands for, the most over all inputs */
    int label[LETTERS]; /* -1: not seen */
    int count[LETTERS];
    char order[LETTERS];
    int n_letters;
};

static int letters_in(str term) {
    int n = 0;
    for (size_t i = 0; i < term.n; i++)
        n += isalpha((unsigned char)term.p[i]) != 0;
    return n;
}

static bool has_ellipsis(str term) {
    return str_find(term, '.') >= 0;
}

static status label_of(struct parser *p, char c, int *out, struct error *err) {
    int *label = &p->label[(unsigned char)c];
    if (*label < 0) {
        if (p->e->n_labels == EINSUM_LABELS_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "more than %d different labels",
                             EINSUM_LABELS_MAX);
        *label = p->e->n_labels++;
        p->order[p->n_letters++] = c;
    }
    p->count[(unsigned char)c]++;
    *out = *label;
    return STATUS_OK;
}

/* The labels of one term; an ellipsis of `n_dots` dims takes the last of its numbers. */
static status read_term(struct parser *p, str term, int n_dots, int *labels, int *n,
                        struct error *err) {
    bool had_ellipsis = false;
    *n = 0;
    for (size_t i = 0; i < term.n; i++) {
        char c = term.p[i];
        if (c == ' ')
            continue;
        bool is_dots = i + 3 <= term.n && memcmp(term.p + i, "...", 3) == 0 && !had_ellipsis;
        if (*n + (is_dots ? n_dots : 1) > TENSOR_RANK_MAX ||
            (!is_dots && !isalpha((unsigned char)c)))
            return error_set(err, STATUS_INVALID_ARGUMENT, "term \"%.*s\"", STR_ARG(term));
        if (!is_dots) {
            TRY(label_of(p, c, &labels[(*n)++], err));
            continue;
        }
        for (int d = 0; d < n_dots; d++)
            labels[(*n)++] = p->n_ellipsis - n_dots + d;
        had_ellipsis = true;
        i += 2;
    }
    return STATUS_OK;
}

/* Without "->": the ellipsis, then the letters that occur once, in alphabetical order. */
static status implicit_output(struct parser *p, struct error *err) {
    struct einsum *e = p->e;
    for (int d = 0; d < p->n_ellipsis; d++)
        e->out[e->n_out++] = d;
    for (int c = 0; c < LETTERS; c++) {
        if (p->count[c] != 1)
            continue;
        if (e->n_out == TENSOR_RANK_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "output has rank above %d",
                             TENSOR_RANK_MAX);
        e->out[e->n_out++] = p->label[c];
    }
    return STATUS_OK;
}

status einsum_parse(struct einsum *out, str equation, size_t n_in, const int *ranks,
                    struct error *err) {
    struct parser p = {.e = out};
    ptrdiff_t arrow = -1;
    for (size_t i = 0; arrow < 0 && i + 1 < equation.n; i++)
        if (equation.p[i] == '-' && equation.p[i + 1] == '>')
            arrow = (ptrdiff_t)i;
    str rest = arrow < 0 ? equation : str_slice(equation, 0, (size_t)arrow), term;
    *out = (struct einsum){0};
    memset(p.label, -1, sizeof p.label);
    str terms[EINSUM_INPUTS_MAX];
    size_t n = 0;
    for (; n < EINSUM_INPUTS_MAX && str_next(&rest, ',', &term); n++) {
        terms[n] = term;
        int dots = n < n_in && has_ellipsis(term) ? ranks[n] - letters_in(term) : 0;
        p.n_ellipsis = dots > p.n_ellipsis ? dots : p.n_ellipsis;
    }
    if (n != n_in || p.n_ellipsis > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "\"%.*s\" with %zu inputs",
                         STR_ARG(equation), n_in);
    out->n_labels = p.n_ellipsis;
    for (size_t i = 0; i < n; i++) {
        int have, dots = has_ellipsis(terms[i]) ? ranks[i] - letters_in(terms[i]) : 0;
        if (dots < 0)
            dots = TENSOR_RANK_MAX + 1; /* read_term refuses it */
        TRY(read_term(&p, terms[i], dots, out->in[i], &have, err));
        if (have != ranks[i])
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "term \"%.*s\" has %d labels, input %zu rank %d", STR_ARG(terms[i]),
                             have, i, ranks[i]);
    }
    if (arrow < 0)
        return implicit_output(&p, err);
    int n_labels = out->n_labels;
    TRY(read_term(&p, str_slice(equation, (size_t)arrow + 2, equation.n), p.n_ellipsis, out->out,
                  &out->n_out, err));
    for (int i = 0; i < out->n_out; i++)
        for (int k = 0; k < i; k++)
            if (out->out[i] == out->out[k])
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "\"%.*s\": a label comes twice in "
                                 "the output",
                                 STR_ARG(equation));
    if (out->n_labels != n_labels)
        return error_set(err, STATUS_INVALID_ARGUMENT, "\"%.*s\": a label is in no input",
                         STR_ARG(equation));
    return STATUS_OK;
}

status infer_einsum(const struct op_call *c, struct error *err) {
    struct einsum e;
    int ranks[EINSUM_INPUTS_MAX];
    dim sizes[EINSUM_LABELS_MAX];
    for (size_t i = 0; i < c->n_in; i++) {
        if (!c->in[i])
            return error_set(err, STATUS_INVALID_ARGUMENT, "input %zu is missing", i);
        if (c->in[i]->rank < 0)
            return op_unknown(c, c->in[0]->dtype);
        ranks[i] = c->in[i]->rank;
    }
    TRY(einsum_parse(&e, attr_string(c->attrs, "equation", ""), c->n_in, ranks, err));
    for (int i = 0; i < e.n_labels; i++)
        sizes[i] = 1;
    for (size_t i = 0; i < c->n_in; i++)
        for (int d = 0; d < ranks[i]; d++) {
            dim *size = &sizes[e.in[i][d]], have = c->in[i]->dims[d];
            int rank = 1;
            if (op_broadcast_dims(c, &rank, size, 1, &have, NULL) != STATUS_OK)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "sizes of one label are %s and %s, wanted equal",
                                 op_show_dim(c, *size), op_show_dim(c, have));
        }
    struct op_value *out = op_out(c, 0, c->in[0]->dtype, e.n_out);
    for (int d = 0; d < e.n_out; d++)
        out->dims[d] = sizes[e.out[d]];
    return STATUS_OK;
}
