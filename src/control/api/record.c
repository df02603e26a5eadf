#include "control/api/record.h"

#include <assert.h>

#include "base/clock.h"

str record_key(struct arena *a, const char *kind, str name) {
    return str_format(a, "%s/%.*s", kind, STR_ARG(name));
}

str record_key_deployment(struct arena *a, str endpoint, str id) {
    return str_format(a, "deployments/%.*s/%.*s", STR_ARG(endpoint), STR_ARG(id));
}

str record_key_status(struct arena *a, str endpoint, str id) {
    return str_format(a, "statuses/%.*s/%.*s", STR_ARG(endpoint), STR_ARG(id));
}

str record_key_use(struct arena *a, str model, str version, str endpoint, str id) {
    return str_format(a, "uses/%.*s@%.*s/%.*s/%.*s", STR_ARG(model), STR_ARG(version),
                      STR_ARG(endpoint), STR_ARG(id));
}

static status value_parse(struct json_value **out, struct arena *a, const struct store_entry *e,
                          struct error *err) {
    status st = json_parse(out, a, e->value, err);
    return st == STATUS_OK ? st
                           : error_set(err, STATUS_DATA_LOSS, "the record \"%.*s\" cannot be read",
                                       STR_ARG(e->key));
}

status record_get(struct store *s, struct arena *a, str key, struct json_value **out,
                  int64_t *revision, struct error *err) {
    struct store_entry e;
    TRY(store_get(s, a, key, &e, err));
    TRY(value_parse(out, a, &e, err));
    if (revision)
        *revision = e.revision;
    return STATUS_OK;
}

status record_list(struct store *s, struct arena *a, str prefix, struct record **out, size_t *n,
                   struct error *err) {
    struct record *records = NULL;
    size_t n_records = 0, capacity = 0;
    struct store_range range = {.prefix = prefix};
    for (;;) {
        struct store_entry *entries;
        size_t n_entries;
        TRY(store_list(s, a, &range, &entries, &n_entries, err));
        if (n_records + n_entries > RECORDS_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %d records under \"%.*s\"",
                             RECORDS_MAX, STR_ARG(prefix));
        if (n_records + n_entries > capacity) {
            capacity = 2 * (n_records + n_entries);
            struct record *more = arena_array(a, struct record, capacity);
            for (size_t i = 0; i < n_records; i++)
                more[i] = records[i];
            records = more;
        }
        for (size_t i = 0; i < n_entries; i++) {
            struct record *r = &records[n_records++];
            *r = (struct record){.key = entries[i].key, .revision = entries[i].revision};
            TRY(value_parse(&r->value, a, &entries[i], err));
        }
        if (n_entries < STORE_LIST_MAX)
            break;
        range.after = entries[n_entries - 1].key;
    }
    *out = records;
    *n = n_records;
    return STATUS_OK;
}

status record_text(str *out, struct arena *a, const struct json_value *v, struct error *err) {
    struct buffer text = {.size_max = STORE_VALUE_MAX};
    struct json_writer w;
    json_writer_init(&w, &text, err);
    json_write(&w, v);
    status st = json_writer_finish(&w);
    if (st == STATUS_OK)
        *out = str_copy(a, buffer_str(&text));
    buffer_done(&text);
    return st;
}

void record_put(struct record_commit *c, str key, const struct json_value *v, int64_t expected) {
    str value = STR("");
    assert(c->n < RECORD_CHANGES_MAX);
    if (c->status == STATUS_OK)
        c->status = record_text(&value, c->arena, v, &c->error);
    c->changes[c->n++] =
        (struct store_change){.op = STORE_PUT, .key = key, .value = value, .expected = expected};
}

void record_delete(struct record_commit *c, str key, int64_t expected) {
    assert(c->n < RECORD_CHANGES_MAX);
    c->changes[c->n++] =
        (struct store_change){.op = STORE_DELETE, .key = key, .expected = expected};
}

status record_commit(struct record_commit *c, struct store *s, int64_t *revision,
                     struct error *err) {
    if (c->status != STATUS_OK)
        return error_set(err, c->status, "%s", c->error.text);
    return store_commit(s, c->changes, c->n, revision, err);
}

str record_string(const struct json_value *object, const char *name) {
    str text = STR("");
    json_to_str(json_get(object, name), &text);
    return text;
}

int64_t record_i64(const struct json_value *object, const char *name, int64_t otherwise) {
    int64_t number = otherwise;
    json_to_i64(json_get(object, name), &number);
    return number;
}

void record_set_string(struct arena *a, struct json_value *object, const char *name, str value) {
    json_set(object, str_from_c(name), json_new_string(a, value));
}

void record_set_i64(struct arena *a, struct json_value *object, const char *name, int64_t value) {
    json_set(object, str_from_c(name), json_new_i64(a, value));
}

str record_now(struct arena *a) {
    char text[WALL_TEXT_SIZE];
    return str_copy(a, str_from_c(wall_format(wall_now_ns(), text)));
}
