#include "codec/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static void link_last(struct json_value *parent, struct json_value *v) {
    v->next = NULL;
    if (parent->last)
        parent->last->next = v;
    else
        parent->first = v;
    parent->last = v;
    parent->n++;
}

static int compare_names(const void *a, const void *b) {
    const struct json_value *x = *(struct json_value *const *)a;
    const struct json_value *y = *(struct json_value *const *)b;
    return str_compare(x->name, y->name);
}

static bool fail_duplicate(struct json_reader *r, str name) {
    return json_fail(r, JSON_PROBLEM_DUPLICATE, STATUS_INVALID_ARGUMENT, NULL,
                     "the object that ends here has \"%.*s\" twice",
                     (int)(name.n > 100 ? 100 : name.n), name.p);
}

/* Few members are compared each with each, many are sorted: time stays n log n. */
static bool check_duplicates(struct json_reader *r, const struct json_value *object) {
    enum { FEW = 16 };
    if (object->n <= FEW) {
        for (const struct json_value *v = object->first; v; v = v->next)
            for (const struct json_value *u = v->next; u; u = u->next)
                if (str_eq(u->name, v->name))
                    return fail_duplicate(r, v->name);
        return true;
    }
    const struct json_value **sorted = buffer_alloc(object->n * sizeof *sorted);
    if (!sorted)
        return json_fail(r, JSON_PROBLEM_LIMIT, STATUS_RESOURCE_EXHAUSTED, NULL,
                         "no memory to check %zu members", object->n);
    size_t n = 0;
    for (const struct json_value *v = object->first; v; v = v->next)
        sorted[n++] = v;
    qsort(sorted, n, sizeof *sorted, compare_names);
    bool unique = true;
    for (size_t i = 1; i < n && unique; i++)
        if (str_eq(sorted[i - 1]->name, sorted[i]->name))
            unique = fail_duplicate(r, sorted[i]->name);
    free(sorted);
    return unique;
}

/* Reads a scalar, or enters an array or object. */
static bool read_value(struct json_reader *r, struct arena *a, struct json_value *v) {
    struct number number;
    struct json_string string;
    switch (v->type) {
    case JSON_OBJECT:
        return json_enter_object(r);
    case JSON_ARRAY:
        return json_enter_array(r);
    case JSON_BOOL:
        return json_read_bool(r, &v->boolean);
    case JSON_NUMBER:
        return json_read_number(r, &number, &v->text);
    case JSON_STRING:
        if (!json_read_string(r, &string))
            return false;
        v->text = json_string_text(string, a);
        return true;
    default:
        return json_read_null(r);
    }
}

/* Goes to the next value of the innermost open container, closing those that end here. */
static bool next_value(struct json_reader *r, struct json_value **open, size_t *depth,
                       struct json_string *name) {
    while (*depth) {
        struct json_value *parent = open[*depth - 1];
        bool is_object = parent->type == JSON_OBJECT;
        if (is_object ? json_next_member(r, name) : json_next_element(r))
            return true;
        if (r->problem || (is_object && !check_duplicates(r, parent)))
            return false;
        --*depth;
    }
    return false;
}

static void read_tree(struct json_reader *r, struct arena *a, struct json_value **out) {
    struct json_value *open[JSON_DEPTH_MAX];
    struct json_string name = {0};
    size_t depth = 0, n_values = 0;
    do {
        if (++n_values > JSON_VALUES_MAX) {
            json_fail(r, JSON_PROBLEM_LIMIT, STATUS_INVALID_ARGUMENT, NULL, "more than %d values",
                      JSON_VALUES_MAX);
            return;
        }
        struct json_value *v = arena_new(a, struct json_value);
        v->type = json_peek(r);
        if (!read_value(r, a, v))
            return;
        if (depth) {
            if (open[depth - 1]->type == JSON_OBJECT)
                v->name = json_string_text(name, a);
            link_last(open[depth - 1], v);
        } else {
            *out = v;
        }
        if (v->type == JSON_ARRAY || v->type == JSON_OBJECT)
            open[depth++] = v;
    } while (next_value(r, open, &depth, &name));
}

status json_parse(struct json_value **out, struct arena *a, str text, struct error *err) {
    struct json_reader r;
    struct json_value *root = NULL;
    json_reader_init(&r, text, err);
    read_tree(&r, a, &root);
    TRY(json_reader_finish(&r));
    *out = root;
    return STATUS_OK;
}

/* ---- looking ---- */

struct json_value *json_get_str(const struct json_value *object, str name) {
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    for (struct json_value *v = object->first; v; v = v->next)
        if (str_eq(v->name, name))
            return v;
    return NULL;
}

struct json_value *json_get(const struct json_value *object, const char *name) {
    return json_get_str(object, str_from_c(name));
}

bool json_to_bool(const struct json_value *v, bool *out) {
    if (!v || v->type != JSON_BOOL)
        return false;
    *out = v->boolean;
    return true;
}

bool json_to_str(const struct json_value *v, str *out) {
    if (!v || v->type != JSON_STRING)
        return false;
    *out = v->text;
    return true;
}

/* The number that `v` is, or that the text of `v` is. */
static bool to_number(const struct json_value *v, struct number *out) {
    if (!v || (v->type != JSON_NUMBER && v->type != JSON_STRING) || !v->text.n)
        return false;
    const char *end = v->text.p + v->text.n;
    return number_scan(v->text.p, end, out) == end;
}

bool json_to_i64(const struct json_value *v, int64_t *out) {
    struct number n;
    if (!to_number(v, &n))
        return false;
    if (n.integral)
        return number_to_i64(&n, out);
    double d = number_to_f64(&n, v->text.p, v->text.p + v->text.n);
    if (!(fabs(d) < 0x1p63) || d != trunc(d))
        return false;
    *out = (int64_t)d;
    return true;
}

bool json_to_u64(const struct json_value *v, uint64_t *out) {
    struct number n;
    if (!to_number(v, &n))
        return false;
    if (n.integral)
        return number_to_u64(&n, out);
    double d = number_to_f64(&n, v->text.p, v->text.p + v->text.n);
    if (!(d >= 0 && d < 0x1p64) || d != trunc(d))
        return false;
    *out = (uint64_t)d;
    return true;
}

bool json_to_f64(const struct json_value *v, double *out) {
    struct number n;
    if (!v || v->type != JSON_NUMBER || !to_number(v, &n))
        return false;
    double d = number_to_f64(&n, v->text.p, v->text.p + v->text.n);
    if (isinf(d))
        return false;
    *out = d;
    return true;
}

/* ---- making ---- */

static struct json_value *new_value(struct arena *a, json_type type) {
    struct json_value *v = arena_new(a, struct json_value);
    v->type = type;
    return v;
}

struct json_value *json_new_object(struct arena *a) {
    return new_value(a, JSON_OBJECT);
}

struct json_value *json_new_array(struct arena *a) {
    return new_value(a, JSON_ARRAY);
}

struct json_value *json_new_null(struct arena *a) {
    return new_value(a, JSON_NULL);
}

struct json_value *json_new_string(struct arena *a, str s) {
    struct json_value *v = new_value(a, JSON_STRING);
    v->text = s;
    return v;
}

struct json_value *json_new_bool(struct arena *a, bool b) {
    struct json_value *v = new_value(a, JSON_BOOL);
    v->boolean = b;
    return v;
}

struct json_value *json_new_i64(struct arena *a, int64_t i) {
    struct json_value *v = new_value(a, JSON_NUMBER);
    char text[NUMBER_TEXT_SIZE];
    v->text = str_copy(a, (str){.p = text, .n = number_format_i64(text, i)});
    return v;
}

struct json_value *json_new_f64(struct arena *a, double d) {
    struct json_value *v = new_value(a, isfinite(d) ? JSON_NUMBER : JSON_STRING);
    char text[NUMBER_TEXT_SIZE];
    str s = {.p = text, .n = number_format_f64(text, d)};
    if (str_ends(s, STR(".0")))
        s.n -= 2;
    v->text = str_copy(a, s);
    return v;
}

void json_append(struct json_value *array, struct json_value *v) {
    link_last(array, v);
}

void json_set(struct json_value *object, str name, struct json_value *v) {
    v->name = name;
    struct json_value *before = NULL, *old = object->first;
    while (old && !str_eq(old->name, name)) {
        before = old;
        old = old->next;
    }
    if (!old) {
        link_last(object, v);
        return;
    }
    v->next = old->next;
    if (before)
        before->next = v;
    else
        object->first = v;
    if (object->last == old)
        object->last = v;
}

bool json_remove(struct json_value *object, str name) {
    struct json_value *before = NULL, *v = object->first;
    while (v && !str_eq(v->name, name)) {
        before = v;
        v = v->next;
    }
    if (!v)
        return false;
    if (before)
        before->next = v->next;
    else
        object->first = v->next;
    if (object->last == v)
        object->last = before;
    object->n--;
    return true;
}

/* Recursion ends at JSON_DEPTH_MAX: no parsed tree is deeper, and what we build is shallow. */
struct json_value *json_copy(struct arena *a, const struct json_value *v) {
    struct json_value *copy = new_value(a, v->type);
    copy->boolean = v->boolean;
    copy->text = v->text.n ? str_copy(a, v->text) : (str){0};
    for (const struct json_value *child = v->first; child; child = child->next) {
        struct json_value *c = json_copy(a, child);
        c->name = child->name.n ? str_copy(a, child->name) : (str){0};
        link_last(copy, c);
    }
    return copy;
}

static bool equal_numbers(const struct json_value *a, const struct json_value *b) {
    struct number x, y;
    if (!to_number(a, &x) || !to_number(b, &y))
        return false;
    if (x.integral && y.integral && !x.cut && !y.cut)
        return x.digits == y.digits && (x.negative == y.negative || !x.digits);
    return number_to_f64(&x, a->text.p, a->text.p + a->text.n) ==
           number_to_f64(&y, b->text.p, b->text.p + b->text.n);
}

bool json_equal(const struct json_value *a, const struct json_value *b) {
    if (a->type != b->type || a->n != b->n)
        return false;
    switch (a->type) {
    case JSON_BOOL:
        return a->boolean == b->boolean;
    case JSON_NUMBER:
        return equal_numbers(a, b);
    case JSON_STRING:
        return str_eq(a->text, b->text);
    case JSON_ARRAY:
        for (const struct json_value *x = a->first, *y = b->first; x; x = x->next, y = y->next)
            if (!json_equal(x, y))
                return false;
        return true;
    case JSON_OBJECT:
        for (const struct json_value *x = a->first; x; x = x->next) {
            const struct json_value *y = json_get_str(b, x->name);
            if (!y || !json_equal(x, y))
                return false;
        }
        return true;
    default:
        return true;
    }
}

void json_write(struct json_writer *w, const struct json_value *v) {
    switch (v->type) {
    case JSON_OBJECT:
        json_begin_object(w);
        for (const struct json_value *m = v->first; m; m = m->next) {
            json_key(w, m->name);
            json_write(w, m);
        }
        json_end_object(w);
        return;
    case JSON_ARRAY:
        json_begin_array(w);
        for (const struct json_value *e = v->first; e; e = e->next)
            json_write(w, e);
        json_end_array(w);
        return;
    case JSON_STRING:
        json_string(w, v->text);
        return;
    case JSON_NUMBER:
        json_raw(w, v->text);
        return;
    case JSON_BOOL:
        json_bool(w, v->boolean);
        return;
    default:
        json_null(w);
    }
}
