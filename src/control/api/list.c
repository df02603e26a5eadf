/* List calls: filter, orderBy, pageSize, pageToken. */
#include <stdlib.h>
#include <string.h>

#include "control/api/call_internal.h"

enum { FILTER_TERMS_MAX = 16, FILTER_SIZE_MAX = 2048 };

typedef enum filter_op { FILTER_EQUAL, FILTER_UNEQUAL, FILTER_HAS } filter_op;

struct filter_term {
    str path[2]; /* "displayName", or "labels" and the key; path[1].p NULL: none */
    filter_op op;
    str value;
};

struct filter {
    struct filter_term terms[FILTER_TERMS_MAX];
    size_t n;
};

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_spaces(str *s) {
    while (s->n && is_space(s->p[0]))
        *s = str_slice(*s, 1, s->n);
}

/* A word up to one of `ends`, or a text in quotes. */
static bool word_take(str *s, const char *ends, str *word) {
    if (s->n && s->p[0] == '"') {
        str rest = str_slice(*s, 1, s->n);
        ptrdiff_t end = str_find(rest, '"');
        if (end < 0)
            return false;
        *word = str_slice(rest, 0, (size_t)end);
        *s = str_slice(rest, (size_t)end + 1, rest.n);
        return true;
    }
    size_t n = 0;
    while (n < s->n && !is_space(s->p[n]) && !strchr(ends, s->p[n]))
        n++;
    *word = str_slice(*s, 0, n);
    *s = str_slice(*s, n, s->n);
    return n > 0;
}

static bool op_take(str *s, filter_op *op) {
    if (str_starts(*s, STR("!=")))
        *op = FILTER_UNEQUAL;
    else if (str_starts(*s, STR("=")))
        *op = FILTER_EQUAL;
    else if (str_starts(*s, STR(":")))
        *op = FILTER_HAS;
    else
        return false;
    *s = str_slice(*s, *op == FILTER_UNEQUAL ? 2 : 1, s->n);
    return true;
}

static bool term_take(struct arena *a, str *s, struct filter_term *t) {
    *t = (struct filter_term){0};
    skip_spaces(s);
    if (!word_take(s, "=!:.\"", &t->path[0]))
        return false;
    t->path[0] = message_camel(a, t->path[0]);
    if (str_starts(*s, STR("."))) {
        *s = str_slice(*s, 1, s->n);
        if (!word_take(s, "=!:\"", &t->path[1]))
            return false;
    }
    skip_spaces(s);
    if (!op_take(s, &t->op))
        return false;
    skip_spaces(s);
    return word_take(s, "()", &t->value);
}

static status filter_read(struct filter *f, struct arena *a, str text, struct error *err) {
    str s = text;
    f->n = 0;
    for (skip_spaces(&s); s.n; skip_spaces(&s)) {
        str word;
        if (f->n > 0) {
            if (!word_take(&s, "()", &word) || !str_eq(word, STR("AND")))
                break;
            skip_spaces(&s);
        }
        if (f->n == FILTER_TERMS_MAX || !term_take(a, &s, &f->terms[f->n]))
            break;
        f->n++;
    }
    if (s.n || text.n > FILTER_SIZE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "filter: \"%.*s\" is not understood: wanted up to %d terms such as "
                         "display_name=\"x\", labels.key=value or labels.key:*, joined by AND.",
                         (int)(s.n < 80 ? s.n : 80), s.p, FILTER_TERMS_MAX);
    return STATUS_OK;
}

/* done=true, done=false: what is false is not written down. */
static bool is_truth(const struct json_value *v, str wanted) {
    bool is_true = v && v->type == JSON_BOOL && v->boolean;
    return (!v || v->type == JSON_BOOL) && str_eq_c(wanted, is_true ? "true" : "false");
}

static bool term_matches(const struct filter_term *t, const struct list_item *item,
                         const char *id_field) {
    const struct json_value *v = json_get_str(item->resource, t->path[0]);
    str text;
    if (str_eq_c(t->path[0], id_field)) {
        str id = str_slice(item->key, (size_t)(str_find_last(item->key, '/') + 1), item->key.n);
        bool is_equal = str_eq(id, t->value) || str_eq(item->key, t->value);
        return t->op == FILTER_UNEQUAL ? !is_equal : is_equal;
    }
    if (t->path[1].p)
        v = json_get_str(v, t->path[1]);
    else if (t->op == FILTER_HAS && v && v->type == JSON_OBJECT)
        return json_get_str(v, t->value) != NULL; /* labels:key */
    if (t->op == FILTER_HAS && str_eq(t->value, STR("*")))
        return v != NULL;
    bool is_equal = json_to_str(v, &text) ? str_eq(text, t->value)
                    : t->path[1].p        ? false
                                          : is_truth(v, t->value);
    return t->op == FILTER_UNEQUAL ? !is_equal : is_equal;
}

static bool filter_matches(const struct filter *f, const struct list_item *item,
                           const char *id_field) {
    for (size_t i = 0; i < f->n; i++)
        if (!term_matches(&f->terms[i], item, id_field))
            return false;
    return true;
}

struct order {
    str field;
    bool is_descending;
};

static int compare_items(const void *a, const void *b, void *arg) {
    const struct order *order = arg;
    const struct list_item *x = a, *y = b;
    int result = 0;
    if (order->field.n)
        result = str_compare(record_string(x->resource, order->field.p),
                             record_string(y->resource, order->field.p));
    if (order->is_descending)
        result = -result;
    return result ? result : str_compare(x->key, y->key);
}

static status order_read(struct order *o, struct arena *a, str text, struct error *err) {
    str field = STR(""), direction;
    text = str_trim(text);
    if (text.n == 0)
        return STATUS_OK;
    word_take(&text, "", &field);
    direction = str_trim(text);
    o->field = str_copy(a, message_camel(a, field));
    o->is_descending = str_eq(direction, STR("desc"));
    if ((!str_eq(o->field, STR("displayName")) && !str_eq(o->field, STR("createTime")) &&
         !str_eq(o->field, STR("updateTime"))) ||
        (direction.n && !o->is_descending && !str_eq(direction, STR("asc"))))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "order_by: wanted display_name, create_time or update_time, with desc or "
                         "nothing behind.");
    return STATUS_OK;
}

static status page_size(struct api_call *c, size_t *size, struct error *err) {
    int64_t number = 0;
    str text = call_query(c, "pageSize");
    if (text.n && (!str_to_int64(text, &number) || number < 0))
        return error_set(err, STATUS_INVALID_ARGUMENT, "page_size must be a number from 0.");
    *size =
        number == 0 ? PAGE_SIZE_DEFAULT : (size_t)(number < PAGE_SIZE_MAX ? number : PAGE_SIZE_MAX);
    return STATUS_OK;
}

/* The fields of `v` that the mask names: "name,dedicatedResources.machineSpec". */
static struct json_value *masked(struct arena *a, const struct json_value *v,
                                 const struct field_mask *mask) {
    struct json_value *out = json_new_object(a);
    for (size_t i = 0; i < mask->n; i++) {
        const struct json_value *from = v;
        struct json_value *to = out;
        str rest = mask->paths[i], name;
        while (str_next(&rest, '.', &name) && (from = json_get_str(from, name)) != NULL) {
            if (!json_get_str(to, name))
                json_set(to, name, rest.p ? json_new_object(a) : json_copy(a, from));
            to = json_get_str(to, name);
        }
    }
    return out;
}

static status read_mask(struct api_call *c, const struct list_form *form, struct field_mask *mask,
                        struct error *err) {
    TRY(field_mask_read(mask, c->arena, call_query(c, "readMask"), err));
    if (!form->message || field_mask_is_all(mask))
        mask->n = 0;
    for (size_t i = 0; i < mask->n; i++) {
        str rest = mask->paths[i], name;
        str_next(&rest, '.', &name);
        if (!message_has_field(form->message, name, c->version))
            return error_set(err, STATUS_INVALID_ARGUMENT, "read_mask: there is no field \"%.*s\".",
                             (int)(name.n < 80 ? name.n : 80), name.p);
    }
    return STATUS_OK;
}

status call_reply_list(struct api_call *c, const struct list_form *form, struct list_item *items,
                       size_t n, struct error *err) {
    struct filter filter;
    struct order order = {0};
    struct field_mask mask;
    size_t size = PAGE_SIZE_DEFAULT, n_matching = 0, from = 0;
    str token = call_query(c, "pageToken");
    TRY(page_size(c, &size, err));
    TRY(filter_read(&filter, c->arena, call_query(c, "filter"), err));
    TRY(order_read(&order, c->arena, call_query(c, "orderBy"), err));
    TRY(read_mask(c, form, &mask, err));
    for (size_t i = 0; i < n; i++)
        if (filter_matches(&filter, &items[i], form->id_field))
            items[n_matching++] = items[i];
    qsort_r(items, n_matching, sizeof *items, compare_items, &order);
    if (token.n) {
        while (from < n_matching && !str_eq(items[from].key, token))
            from++;
        if (from == n_matching)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "page_token is not valid any more: list from the start.");
        from++;
    }
    struct json_value *list = json_new_array(c->arena);
    size_t end = n_matching - from > size ? from + size : n_matching;
    for (size_t i = from; i < end; i++)
        json_append(list, mask.n ? masked(c->arena, items[i].resource, &mask) : items[i].resource);
    c->reply = json_new_object(c->arena);
    if (list->n)
        json_set(c->reply, str_from_c(form->key), list);
    if (end < n_matching)
        record_set_string(c->arena, c->reply, "nextPageToken", items[end - 1].key);
    return STATUS_OK;
}
