#include "compiler/ir/parse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/convert.h"

enum {
    LIST_MAX = 4096,             /* elements of an attribute, a constant, an operand list */
    DEPTH_MAX = 32,              /* parentheses in a dim */
    PARSED_TENSOR_MAX = 1 << 28, /* bytes */
};

struct parser {
    str text;
    size_t at;
    struct graph *g;
    struct arena *a;
    struct error *err;
};

static status fail(struct parser *p, const char *wanted) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < p->at && i < p->text.n; i++, column++)
        if (p->text.p[i] == '\n') {
            line++;
            column = 0;
        }
    str rest = str_slice(p->text, p->at, p->at + 12);
    ptrdiff_t end = str_find(rest, '\n');
    if (end >= 0)
        rest.n = (size_t)end;
    return error_set(p->err, STATUS_INVALID_ARGUMENT,
                     "line %zu, column %zu: want %s, found \"%.*s\"", line, column, wanted,
                     STR_ARG(rest));
}

static char peek(const struct parser *p) {
    return p->at < p->text.n ? p->text.p[p->at] : '\0';
}

static void skip_blanks(struct parser *p) {
    while (peek(p) == ' ' || peek(p) == '\t')
        p->at++;
}

static void skip_lines(struct parser *p) {
    for (;;) {
        skip_blanks(p);
        if (peek(p) == '#')
            while (p->at < p->text.n && peek(p) != '\n')
                p->at++;
        if (peek(p) != '\n')
            return;
        p->at++;
    }
}

/* Takes `s` if it comes next. */
static bool take(struct parser *p, const char *s) {
    skip_blanks(p);
    if (!str_starts(str_slice(p->text, p->at, p->text.n), str_from_c(s)))
        return false;
    p->at += strlen(s);
    return true;
}

static status want(struct parser *p, const char *s) {
    return take(p, s) ? STATUS_OK : fail(p, s);
}

static bool is_word_char(char c) {
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (c && strchr("_./-", c));
}

static str word(struct parser *p) {
    skip_blanks(p);
    size_t from = p->at;
    while (is_word_char(peek(p)))
        p->at++;
    return str_slice(p->text, from, p->at);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static status quoted(struct parser *p, str *out) {
    TRY(want(p, "\""));
    char *to = arena_alloc(p->a, p->text.n - p->at + 1, 1);
    size_t n = 0;
    for (;; p->at++) {
        char c = peek(p);
        if (p->at >= p->text.n || c == '\n')
            return fail(p, "closing quote");
        if (c == '"')
            break;
        if (c == '\\') {
            p->at++;
            c = peek(p);
            if (c == 'x') {
                int hi = hex_digit(p->at + 2 < p->text.n ? p->text.p[p->at + 1] : '\0');
                int lo = hex_digit(p->at + 2 < p->text.n ? p->text.p[p->at + 2] : '\0');
                if (hi < 0 || lo < 0)
                    return fail(p, "two hexadecimal digits");
                c = (char)(hi << 4 | lo);
                p->at += 2;
            }
        }
        to[n++] = c;
    }
    p->at++;
    *out = (str){.p = to, .n = n};
    return STATUS_OK;
}

static status word_or_quoted(struct parser *p, str *out) {
    skip_blanks(p);
    if (peek(p) == '"')
        return quoted(p, out);
    *out = word(p);
    return out->n ? STATUS_OK : fail(p, "a name");
}

static status integer(struct parser *p, int64_t *out) {
    skip_blanks(p);
    size_t from = p->at;
    if (peek(p) == '-')
        p->at++;
    while (peek(p) >= '0' && peek(p) <= '9')
        p->at++;
    if (str_to_int64(str_slice(p->text, from, p->at), out))
        return STATUS_OK;
    p->at = from;
    return fail(p, "an integer");
}

/* A decimal, nan or inf; *is_float says whether it is written as one. */
static status number(struct parser *p, double *out, bool *is_float) {
    skip_blanks(p);
    size_t from = p->at;
    while (is_word_char(peek(p)) || peek(p) == '+')
        p->at++;
    char text[48];
    str s = str_slice(p->text, from, p->at);
    char *end = text;
    if (s.n < sizeof text) {
        memcpy(text, s.p, s.n);
        text[s.n] = '\0';
        *out = strtod(text, &end);
    }
    if (s.n && end == text + s.n) {
        *is_float = strpbrk(text, ".einf") != NULL;
        return STATUS_OK;
    }
    p->at = from;
    return fail(p, "a number");
}

static status dim_text(struct parser *p, dim *out, int depth);

/* "min(a,b)": the rest after the name. */
static status dim_call(struct parser *p, dim *out, dim (*fn)(struct dim_pool *, dim, dim),
                       int depth) {
    dim a, b;
    TRY(dim_text(p, &a, depth));
    TRY(want(p, ","));
    TRY(dim_text(p, &b, depth));
    TRY(want(p, ")"));
    *out = fn(&p->g->pool, a, b);
    return STATUS_OK;
}

static status dim_binary(struct parser *p, dim *out, int depth) {
    dim a, b;
    TRY(dim_text(p, &a, depth));
    skip_blanks(p);
    char op = peek(p);
    if (!op || !strchr("+-*/", op))
        return fail(p, "+ - * /");
    p->at++;
    bool is_ceil = op == '/' && take(p, "^");
    TRY(dim_text(p, &b, depth));
    TRY(want(p, ")"));
    struct dim_pool *pool = &p->g->pool;
    *out = op == '+'   ? dim_add(pool, a, b)
           : op == '-' ? dim_sub(pool, a, b)
           : op == '*' ? dim_mul(pool, a, b)
           : is_ceil   ? dim_ceildiv(pool, a, b)
                       : dim_floordiv(pool, a, b);
    return STATUS_OK;
}

static status dim_text(struct parser *p, dim *out, int depth) {
    if (depth > DEPTH_MAX)
        return fail(p, "fewer parentheses");
    skip_blanks(p);
    char c = peek(p);
    if (c == '-' || (c >= '0' && c <= '9'))
        return integer(p, out);
    if (take(p, "?")) {
        *out = DIM_UNKNOWN;
        return STATUS_OK;
    }
    if (take(p, "("))
        return dim_binary(p, out, depth + 1);
    if (take(p, "min("))
        return dim_call(p, out, dim_min, depth + 1);
    if (take(p, "max("))
        return dim_call(p, out, dim_max, depth + 1);
    size_t from = p->at;
    while (peek(p) && !strchr(" ,])}\n", peek(p)))
        p->at++;
    if (p->at == from)
        return fail(p, "a dim");
    *out = dim_symbol(&p->g->pool, str_slice(p->text, from, p->at));
    return STATUS_OK;
}

/* "f32[batch,4]{...}" into v. */
static status type(struct parser *p, struct op_value *info) {
    if (!take(p, "?")) {
        info->dtype = dtype_from_name(word(p));
        if (info->dtype == DTYPE_NONE)
            return fail(p, "a dtype");
    }
    TRY(want(p, "["));
    if (take(p, "*"))
        return want(p, "]");
    info->rank = 0;
    while (!take(p, "]")) {
        if (info->rank)
            TRY(want(p, ","));
        if (info->rank == TENSOR_RANK_MAX)
            return fail(p, "at most 8 dims");
        TRY(dim_text(p, &info->dims[info->rank++], 0));
    }
    if (!take(p, "{"))
        return STATUS_OK;
    dim *contents = arena_array(p->g->arena, dim, LIST_MAX);
    while (!take(p, "}")) {
        if (info->n_contents)
            TRY(want(p, ","));
        if (info->n_contents == LIST_MAX)
            return fail(p, "fewer contents");
        TRY(dim_text(p, &contents[info->n_contents++], 0));
    }
    info->contents = contents;
    return STATUS_OK;
}

static status value_name(struct parser *p, str *out) {
    TRY(want(p, "%"));
    return word_or_quoted(p, out);
}

static status element_set(struct parser *p, struct tensor *t, size_t i) {
    char *at = (char *)t->data + i * dtype_size(t->dtype);
    if (dtype_is_float(t->dtype)) {
        double x;
        bool is_float;
        TRY(number(p, &x, &is_float));
        return convert(t->dtype, at, DTYPE_F64, &x, 1, p->err);
    }
    int64_t x;
    TRY(integer(p, &x));
    return convert(t->dtype, at, DTYPE_I64, &x, 1, p->err);
}

/* Bytes that stand for a constant whose text is only its hash: small numbers, the same ones each
 * time. */
static status fill_from_hash(struct parser *p, struct tensor *t, uint64_t seed) {
    size_t size = dtype_size(t->dtype);
    for (size_t i = 0; i < t->size / size; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        double x = dtype_is_float(t->dtype) ? (double)(seed >> 40) / (1 << 24) - 0.5
                                            : (double)(seed >> 60);
        TRY(convert(t->dtype, (char *)t->data + i * size, DTYPE_F64, &x, 1, p->err));
    }
    return STATUS_OK;
}

/* What follows "=" of a constant, or the type of a tensor attribute. */
static status tensor_text(struct parser *p, struct tensor *t, const struct op_value *info) {
    t->dtype = info->dtype;
    t->rank = (uint8_t)info->rank;
    for (int i = 0; i < info->rank; i++) {
        if (!dim_is_number(info->dims[i]))
            return fail(p, "dims that are numbers");
        t->dims[i] = info->dims[i];
    }
    if (!tensor_size(t->dtype, t->dims, t->rank, &t->size) || t->size > PARSED_TENSOR_MAX ||
        !dtype_size(t->dtype))
        return fail(p, "a smaller constant");
    t->data = graph_alloc(p->g, t->size);
    if (!t->data)
        return error_set(p->err, STATUS_RESOURCE_EXHAUSTED, "no memory for a constant");
    size_t n = t->size / dtype_size(t->dtype);
    if (take(p, "#")) {
        str s = word(p);
        uint64_t seed = 0;
        for (size_t i = 0; i < s.n; i++)
            seed = seed << 4 | (uint64_t)(hex_digit(s.p[i]) & 15);
        return fill_from_hash(p, t, seed);
    }
    if (take(p, "splat")) {
        size_t from = p->at;
        for (size_t i = 0; i < n; i++) {
            p->at = from;
            TRY(element_set(p, t, i));
        }
        return STATUS_OK;
    }
    TRY(want(p, "{"));
    for (size_t i = 0; i < n; i++) {
        if (i)
            TRY(want(p, ","));
        TRY(element_set(p, t, i));
    }
    return want(p, "}");
}

static status constant(struct parser *p) {
    str name;
    struct op_value info = {.rank = -1};
    struct tensor t = {0};
    TRY(value_name(p, &name));
    TRY(want(p, ":"));
    TRY(type(p, &info));
    if (info.rank < 0)
        return fail(p, "dims");
    TRY(want(p, "="));
    TRY(tensor_text(p, &t, &info));
    if (graph_find(p->g, name))
        return fail(p, "a name that is not taken");
    graph_constant(p->g, name, &t);
    return STATUS_OK;
}

/* "[1, 2]", "[0.5, 1.0]" or "["a"]". */
static status attr_list_text(struct parser *p, struct attr *a) {
    int64_t *ints = arena_array(p->a, int64_t, LIST_MAX);
    float *floats = arena_array(p->a, float, LIST_MAX);
    str *strings = arena_array(p->g->arena, str, LIST_MAX);
    bool is_float = false, is_string = false;
    while (!take(p, "]")) {
        if (a->n)
            TRY(want(p, ","));
        if (a->n == LIST_MAX)
            return fail(p, "a shorter list");
        skip_blanks(p);
        if (peek(p) == '"') {
            is_string = true;
            TRY(quoted(p, &strings[a->n]));
            strings[a->n] = str_copy(p->g->arena, strings[a->n]);
            a->n++;
            continue;
        }
        size_t from = p->at;
        double x;
        bool has_point;
        TRY(number(p, &x, &has_point));
        is_float |= has_point;
        floats[a->n] = (float)x;
        if (!has_point) {
            p->at = from;
            TRY(integer(p, &ints[a->n]));
        }
        a->n++;
    }
    str name = a->name;
    if (is_float)
        *a = attr_of_floats(p->g, "", floats, a->n);
    else if (!is_string)
        *a = attr_of_ints(p->g, "", ints, a->n);
    else
        *a = (struct attr){.kind = ATTR_STRINGS, .n = a->n, .strings = strings};
    a->name = name;
    return STATUS_OK;
}

static status attr_text(struct parser *p, struct attr *a) {
    static const struct {
        const char *text;
        attr_kind kind;
    } empty[] = {{"ints[]", ATTR_INTS}, {"floats[]", ATTR_FLOATS}, {"strings[]", ATTR_STRINGS}};
    a->name = str_copy(p->g->arena, word(p));
    TRY(want(p, "="));
    for (size_t i = 0; i < ARRAY_LEN(empty); i++)
        if (take(p, empty[i].text)) {
            a->kind = empty[i].kind;
            return STATUS_OK;
        }
    skip_blanks(p);
    if (peek(p) == '"') {
        a->kind = ATTR_STRING;
        TRY(quoted(p, &a->s));
        a->s = str_copy(p->g->arena, a->s);
        return STATUS_OK;
    }
    if (take(p, "["))
        return attr_list_text(p, a);
    size_t from = p->at;
    str w = word(p);
    p->at = from;
    if (dtype_from_name(w) != DTYPE_NONE) {
        struct op_value info = {.rank = -1};
        struct tensor *t = arena_new(p->g->arena, struct tensor);
        a->kind = ATTR_TENSOR;
        a->tensor = t;
        TRY(type(p, &info));
        if (info.rank < 0)
            return fail(p, "dims");
        TRY(want(p, "="));
        return tensor_text(p, t, &info);
    }
    double x;
    bool is_float;
    TRY(number(p, &x, &is_float));
    a->kind = is_float ? ATTR_FLOAT : ATTR_INT;
    if (is_float) {
        a->f = (float)x;
        return STATUS_OK;
    }
    p->at = from;
    return integer(p, &a->i);
}

static status attrs(struct parser *p, struct node *n) {
    if (!take(p, "{"))
        return STATUS_OK;
    for (size_t i = 0; !take(p, "}"); i++) {
        struct attr a = {0};
        if (i)
            TRY(want(p, ","));
        if (i == LIST_MAX)
            return fail(p, "fewer attributes");
        TRY(attr_text(p, &a));
        node_set_attr(p->g, n, a);
    }
    return STATUS_OK;
}

/* A defined value, or NULL for "_". */
static status operand(struct parser *p, struct value **out) {
    str name;
    *out = NULL;
    if (take(p, "_"))
        return STATUS_OK;
    size_t from = p->at;
    TRY(value_name(p, &name));
    *out = graph_find(p->g, name);
    if (*out)
        return STATUS_OK;
    p->at = from;
    return fail(p, "a value that is defined above");
}

static status result(struct parser *p, struct value **out) {
    str name;
    *out = NULL;
    if (take(p, "_"))
        return STATUS_OK;
    TRY(value_name(p, &name));
    if (graph_find(p->g, name))
        return fail(p, "a name that is not taken");
    *out = graph_value(p->g, name);
    return take(p, ":") ? type(p, &(*out)->info) : STATUS_OK;
}

static status node_text(struct parser *p) {
    struct value **out = arena_array(p->a, struct value *, LIST_MAX);
    struct value **in = arena_array(p->a, struct value *, LIST_MAX);
    size_t n_out = 0, n_in = 0;
    do {
        if (n_out == LIST_MAX)
            return fail(p, "fewer results");
        TRY(result(p, &out[n_out++]));
    } while (take(p, ","));
    TRY(want(p, "="));
    skip_blanks(p);
    size_t from = p->at;
    str name = word(p);
    op_id op = op_find(STR(""), name);
    if (op == OP_NONE)
        op = op_find(STR("culmen"), name);
    if (op == OP_NONE) {
        p->at = from;
        return fail(p, "an operator");
    }
    TRY(want(p, "("));
    while (!take(p, ")")) {
        if (n_in)
            TRY(want(p, ","));
        if (n_in == LIST_MAX)
            return fail(p, "fewer operands");
        TRY(operand(p, &in[n_in++]));
    }
    struct node *n = graph_insert_with(p->g, NULL, op, in, n_in, out, n_out);
    TRY(attrs(p, n));
    skip_blanks(p);
    if (peek(p) == '"')
        TRY(quoted(p, &n->name));
    n->name = str_copy(p->g->arena, n->name);
    if (!take(p, "opset"))
        return STATUS_OK;
    int64_t opset;
    TRY(integer(p, &opset));
    n->opset = (int)opset;
    return STATUS_OK;
}

static status symbol(struct parser *p) {
    str name;
    TRY(word_or_quoted(p, &name));
    dim d = dim_symbol(&p->g->pool, name);
    if (!dim_is_expr(d))
        return fail(p, "fewer symbols");
    struct dim_symbol *s = &p->g->pool.symbols[p->g->pool.exprs[d - DIM_EXPR].a];
    TRY(integer(p, &s->min));
    TRY(want(p, ".."));
    return integer(p, &s->max);
}

static status input(struct parser *p) {
    str name;
    TRY(value_name(p, &name));
    if (graph_find(p->g, name))
        return fail(p, "a name that is not taken");
    struct value *v = graph_value(p->g, name);
    graph_add_input(p->g, v);
    TRY(want(p, ":"));
    return type(p, &v->info);
}

static status output(struct parser *p) {
    str name;
    struct value *v;
    TRY(quoted(p, &name));
    TRY(want(p, "="));
    TRY(operand(p, &v));
    if (!v)
        return fail(p, "a value");
    graph_add_output(p->g, name, v);
    return STATUS_OK;
}

static status property(struct parser *p) {
    str key, text;
    TRY(quoted(p, &key));
    TRY(want(p, "="));
    TRY(quoted(p, &text));
    struct graph_property *items =
        arena_array(p->g->arena, struct graph_property, p->g->n_properties + 1);
    if (p->g->n_properties)
        memcpy(items, p->g->properties, p->g->n_properties * sizeof *items);
    items[p->g->n_properties++] = (struct graph_property){.key = str_copy(p->g->arena, key),
                                                          .value = str_copy(p->g->arena, text)};
    p->g->properties = items;
    return STATUS_OK;
}

static status statement(struct parser *p) {
    if (peek(p) == '%' || peek(p) == '_')
        return node_text(p);
    if (take(p, "const "))
        return constant(p);
    if (take(p, "input "))
        return input(p);
    if (take(p, "output "))
        return output(p);
    if (take(p, "symbol "))
        return symbol(p);
    if (take(p, "property "))
        return property(p);
    return fail(p, "a statement");
}

static status graph_text(struct parser *p) {
    int64_t opset;
    skip_lines(p);
    TRY(want(p, "graph "));
    TRY(quoted(p, &p->g->name));
    p->g->name = str_copy(p->g->arena, p->g->name);
    TRY(want(p, "opset"));
    TRY(integer(p, &opset));
    p->g->opset = (int)opset;
    for (skip_lines(p); p->at < p->text.n; skip_lines(p)) {
        TRY(statement(p));
        skip_blanks(p);
        if (p->at < p->text.n && peek(p) != '\n')
            return fail(p, "end of line");
    }
    return STATUS_OK;
}

status graph_parse(struct graph **out, struct arena *a, str text, struct error *err) {
    struct arena scratch = {0};
    struct parser p = {.text = text, .g = graph_new(a), .a = &scratch, .err = err};
    status s = graph_text(&p);
    arena_release(&scratch);
    if (s == STATUS_OK)
        *out = p.g;
    return s;
}
