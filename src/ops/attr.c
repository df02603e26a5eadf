#include "ops/attr.h"

#include <string.h>

/* The bytes of a list: a header, then each attribute as a head, its name, its payload; every
 * part starts at a multiple of 8. */
struct list_head {
    uint32_t n, reserved;
};

struct attr_head {
    uint32_t kind, name_size;
    uint64_t n; /* elements of the payload */
};

struct tensor_head {
    uint32_t dtype, rank;
    uint64_t size;
};

enum { ATTRS_MAX = 1 << 16 };

const struct attr *attr_find(const struct attr_list *list, const char *name) {
    for (size_t i = 0; list && i < list->n; i++)
        if (str_eq_c(list->items[i].name, name))
            return &list->items[i];
    return NULL;
}

static const struct attr *find_kind(const struct attr_list *list, const char *name, attr_kind k) {
    const struct attr *a = attr_find(list, name);
    return a && a->kind == k ? a : NULL;
}

int64_t attr_int(const struct attr_list *list, const char *name, int64_t fallback) {
    const struct attr *a = find_kind(list, name, ATTR_INT);
    return a ? a->i : fallback;
}

float attr_float(const struct attr_list *list, const char *name, float fallback) {
    const struct attr *a = find_kind(list, name, ATTR_FLOAT);
    return a ? a->f : fallback;
}

str attr_string(const struct attr_list *list, const char *name, const char *fallback) {
    const struct attr *a = find_kind(list, name, ATTR_STRING);
    return a ? a->s : str_from_c(fallback);
}

const int64_t *attr_ints(const struct attr_list *list, const char *name, size_t *n) {
    const struct attr *a = find_kind(list, name, ATTR_INTS);
    *n = a ? a->n : 0;
    return a && a->n ? a->ints : NULL;
}

const float *attr_floats(const struct attr_list *list, const char *name, size_t *n) {
    const struct attr *a = find_kind(list, name, ATTR_FLOATS);
    *n = a ? a->n : 0;
    return a && a->n ? a->floats : NULL;
}

static status put(struct buffer *out, size_t base, const void *bytes, size_t n, struct error *err) {
    static const char zeros[8];
    TRY(buffer_append(out, bytes, n, err));
    return buffer_append(out, zeros, (0 - (out->n - base)) & 7, err);
}

static status put_strings(struct buffer *out, size_t base, const struct attr *a,
                          struct error *err) {
    for (size_t i = 0; i < a->n; i++) {
        uint64_t n = a->strings[i].n;
        TRY(put(out, base, &n, sizeof n, err));
        TRY(put(out, base, a->strings[i].p, a->strings[i].n, err));
    }
    return STATUS_OK;
}

static status put_tensor(struct buffer *out, size_t base, const struct tensor *t,
                         struct error *err) {
    struct tensor_head head = {.dtype = (uint32_t)t->dtype, .rank = t->rank, .size = t->size};
    TRY(put(out, base, &head, sizeof head, err));
    TRY(put(out, base, t->dims, t->rank * sizeof *t->dims, err));
    return put(out, base, t->data, t->size, err);
}

static status put_attr(struct buffer *out, size_t base, const struct attr *a, struct error *err) {
    bool is_list = a->kind == ATTR_INTS || a->kind == ATTR_FLOATS || a->kind == ATTR_STRINGS;
    struct attr_head head = {
        .kind = (uint32_t)a->kind, .name_size = (uint32_t)a->name.n, .n = is_list ? a->n : 1};
    if (a->kind == ATTR_STRING)
        head.n = a->s.n;
    TRY(put(out, base, &head, sizeof head, err));
    TRY(put(out, base, a->name.p, a->name.n, err));
    switch (a->kind) {
    case ATTR_INT:
        return put(out, base, &a->i, sizeof a->i, err);
    case ATTR_FLOAT:
        return put(out, base, &a->f, sizeof a->f, err);
    case ATTR_STRING:
        return put(out, base, a->s.p, a->s.n, err);
    case ATTR_INTS:
        return put(out, base, a->ints, a->n * sizeof *a->ints, err);
    case ATTR_FLOATS:
        return put(out, base, a->floats, a->n * sizeof *a->floats, err);
    case ATTR_STRINGS:
        return put_strings(out, base, a, err);
    case ATTR_TENSOR:
        return put_tensor(out, base, a->tensor, err);
    case ATTR_GRAPH:
        break;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "attribute \"%.*s\" of kind %d has no bytes",
                     STR_ARG(a->name), (int)a->kind);
}

status attr_list_encode(struct buffer *out, const struct attr_list *list, struct error *err) {
    size_t base = out->n;
    struct list_head head = {.n = (uint32_t)list->n};
    TRY(put(out, base, &head, sizeof head, err));
    for (size_t i = 0; i < list->n; i++)
        TRY(put_attr(out, base, &list->items[i], err));
    return STATUS_OK;
}

struct reader {
    const char *p;
    size_t n, at;
};

/* The next `size` bytes and their padding; NULL: there are not that many. */
static const void *take(struct reader *r, uint64_t size) {
    if (size > r->n - r->at)
        return NULL;
    const char *p = r->p + r->at;
    size_t padded = ((size_t)size + 7) & ~(size_t)7;
    r->at = padded > r->n - r->at ? r->n : r->at + padded;
    return p;
}

static bool get_strings(struct attr *a, struct arena *arena, struct reader *r) {
    if (a->n > (r->n - r->at) / sizeof(uint64_t))
        return false;
    str *items = arena_array(arena, str, a->n);
    for (size_t i = 0; i < a->n; i++) {
        const uint64_t *n = take(r, sizeof *n);
        const char *p = n ? take(r, *n) : NULL;
        if (!p)
            return false;
        items[i] = (str){.p = p, .n = (size_t)*n};
    }
    a->strings = items;
    return true;
}

static bool get_tensor(struct attr *a, struct arena *arena, struct reader *r) {
    struct tensor *t = arena_new(arena, struct tensor);
    const struct tensor_head *head = take(r, sizeof *head);
    if (!head || head->dtype == DTYPE_NONE || head->dtype >= DTYPE_COUNT ||
        head->rank > TENSOR_RANK_MAX)
        return false;
    const int64_t *dims = take(r, head->rank * sizeof *dims);
    const char *data = dims ? take(r, head->size) : NULL;
    if (!data)
        return false;
    *t = (struct tensor){
        .dtype = (dtype)head->dtype, .rank = (uint8_t)head->rank, .size = (size_t)head->size};
    memcpy(t->dims, dims, head->rank * sizeof *dims);
    memcpy(&t->data, &data, sizeof data); /* a view: nobody writes to an attribute */
    size_t wanted;
    if (!tensor_size(t->dtype, t->dims, t->rank, &wanted) || wanted != t->size)
        return false;
    a->tensor = t;
    return true;
}

/* False: the payload is cut off or of no known kind. */
static bool get_payload(struct attr *a, struct arena *arena, struct reader *r) {
    const void *p;
    switch (a->kind) {
    case ATTR_INT:
        if ((p = take(r, sizeof a->i)))
            memcpy(&a->i, p, sizeof a->i);
        return p;
    case ATTR_FLOAT:
        if ((p = take(r, sizeof a->f)))
            memcpy(&a->f, p, sizeof a->f);
        return p;
    case ATTR_STRING:
        a->s = (str){.p = take(r, a->n), .n = a->n};
        a->n = 1;
        return a->s.p;
    case ATTR_INTS:
        return a->n <= SIZE_MAX / 16 && (a->ints = take(r, a->n * sizeof *a->ints));
    case ATTR_FLOATS:
        return a->n <= SIZE_MAX / 16 && (a->floats = take(r, a->n * sizeof *a->floats));
    case ATTR_STRINGS:
        return get_strings(a, arena, r);
    case ATTR_TENSOR:
        return get_tensor(a, arena, r);
    case ATTR_GRAPH:
        break;
    }
    return false;
}

status attr_list_decode(struct attr_list *out, struct arena *a, const void *bytes, size_t size,
                        struct error *err) {
    struct reader r = {.p = bytes, .n = size};
    const struct list_head *list = take(&r, sizeof *list);
    if ((uintptr_t)bytes % 8 != 0)
        return error_set(err, STATUS_DATA_LOSS,
                         "attributes start at an odd address, wanted a "
                         "multiple of 8");
    if (!list || list->n > ATTRS_MAX || list->n > size / sizeof(struct attr_head))
        return error_set(err, STATUS_DATA_LOSS, "attributes: %zu bytes hold no list of %u", size,
                         list ? list->n : 0);
    struct attr *items = arena_array(a, struct attr, list->n);
    for (uint32_t i = 0; i < list->n; i++) {
        size_t start = r.at;
        const struct attr_head *head = take(&r, sizeof *head);
        const char *name = head ? take(&r, head->name_size) : NULL;
        if (!name)
            return error_set(err, STATUS_DATA_LOSS, "attribute %u at byte %zu is cut off", i,
                             start);
        items[i] = (struct attr){.name = {.p = name, .n = head->name_size},
                                 .kind = (attr_kind)head->kind,
                                 .n = (size_t)head->n};
        if (!get_payload(&items[i], a, &r))
            return error_set(err, STATUS_DATA_LOSS,
                             "attribute %u at byte %zu: bad payload of kind %u, %llu elements", i,
                             start, head->kind, (unsigned long long)head->n);
    }
    *out = (struct attr_list){.items = items, .n = list->n};
    return STATUS_OK;
}
