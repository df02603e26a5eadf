#include "codec/wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool wire_varint(const char **p, const char *end, uint64_t *out) {
    uint64_t v = 0;
    const char *q = *p;
    for (unsigned shift = 0; shift < 70 && q < end; shift += 7) {
        unsigned char byte = (unsigned char)*q++;
        if (shift == 63 && byte > 1)
            return false;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *p = q;
            *out = v;
            return true;
        }
    }
    return false;
}

size_t wire_count_varints(str packed) {
    size_t n = 0;
    for (size_t i = 0; i < packed.n; i++)
        n += (unsigned char)packed.p[i] < 0x80;
    return n;
}

void wire_init(struct wire *w, str message) {
    *w = (struct wire){.p = message.p, .end = message.p + message.n, .field = message.p};
}

static bool stop(struct wire *w, const char *problem) {
    w->problem = problem;
    return false;
}

static bool read_fixed(struct wire *w, size_t size, uint64_t *out) {
    if ((size_t)(w->end - w->p) < size)
        return stop(w, "a fixed-size value is cut off");
    *out = 0;
    memcpy(out, w->p, size); /* little-endian, as we are */
    w->p += size;
    return true;
}

bool wire_next(struct wire *w, struct wire_field *out) {
    if (w->problem || w->p == w->end)
        return false;
    w->field = w->p;
    uint64_t key, size;
    if (!wire_varint(&w->p, w->end, &key))
        return stop(w, "a field's key is cut off or too long");
    if (key >> 3 == 0 || key >> 32)
        return stop(w, "a field has an impossible number");
    *out = (struct wire_field){.number = (uint32_t)(key >> 3), .type = (wire_type)(key & 7)};
    switch (out->type) {
    case WIRE_TYPE_VARINT:
        return wire_varint(&w->p, w->end, &out->value) ||
               stop(w, "a varint is cut off or too long");
    case WIRE_TYPE_FIXED64:
        return read_fixed(w, 8, &out->value);
    case WIRE_TYPE_FIXED32:
        return read_fixed(w, 4, &out->value);
    case WIRE_TYPE_BYTES:
        if (!wire_varint(&w->p, w->end, &size))
            return stop(w, "a length is cut off or too long");
        if (size > (uint64_t)(w->end - w->p))
            return stop(w, "a length reaches over the end of its message");
        out->bytes = (str){.p = w->p, .n = (size_t)size};
        w->p += size;
        return true;
    default:
        return stop(w, "a field has a wire type that does not exist or is a group");
    }
}

/* ---- reading by table ---- */

enum { PLACE_TEXT_SIZE = 200 };

/* Writes the place from the outside in; what does not fit is left out in the middle. */
static size_t format_place(const struct wire_place *at, char *out, size_t size) {
    size_t n = 0;
    if (at->parent && at->parent->name)
        n = format_place(at->parent, out, size);
    int written = at->index == SIZE_MAX
                      ? snprintf(out + n, size - n, "%s%s", n ? "." : "", at->name)
                      : snprintf(out + n, size - n, "%s%s[%zu]", n ? "." : "", at->name, at->index);
    size_t more = written < 0 ? 0 : (size_t)written;
    return more < size - n ? n + more : size - 1;
}

status wire_fail(struct wire_reader *r, const struct wire_place *at, status code, const char *p,
                 const char *fmt, ...) {
    char place[PLACE_TEXT_SIZE] = "", text[256];
    if (at->name)
        format_place(at, place, sizeof place);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(r->err, code, "%s%s%s at byte %zu", place, *place ? ": " : "", text,
                     (size_t)(p - r->begin));
}

static wire_type natural_type(wire_kind kind) {
    switch (kind) {
    case WIRE_INT64:
    case WIRE_INT32:
    case WIRE_INT64S:
    case WIRE_COUNT_VARINTS:
        return WIRE_TYPE_VARINT;
    case WIRE_FLOAT:
    case WIRE_FLOATS:
    case WIRE_COUNT_FIXED32:
        return WIRE_TYPE_FIXED32;
    case WIRE_COUNT_FIXED64:
        return WIRE_TYPE_FIXED64;
    default:
        return WIRE_TYPE_BYTES;
    }
}

static bool may_be_packed(wire_kind kind) {
    return kind == WIRE_INT64S || kind == WIRE_FLOATS || kind == WIRE_COUNT_VARINTS ||
           kind == WIRE_COUNT_FIXED32 || kind == WIRE_COUNT_FIXED64;
}

static bool is_singular(wire_kind kind) {
    return kind <= WIRE_POINTER;
}

/* Values in one field; false: packed values of another size. */
static bool count_values(const struct wire_rule *rule, const struct wire_field *f, size_t *out) {
    wire_type natural = natural_type(rule->kind);
    size_t n = 1;
    if (f->type != natural) {
        size_t width = natural == WIRE_TYPE_FIXED32 ? 4 : 8;
        n = natural == WIRE_TYPE_VARINT ? wire_count_varints(f->bytes) : f->bytes.n / width;
        bool cut = natural == WIRE_TYPE_VARINT
                       ? f->bytes.n && (unsigned char)f->bytes.p[f->bytes.n - 1] >= 0x80
                       : f->bytes.n % width != 0;
        if (cut)
            return false;
    }
    *out = n;
    return true;
}

/* One reading of one message: its rules by number, and how many values each field has. */
struct reading {
    const struct wire_message *message;
    const struct wire_rule *rules[WIRE_NUMBER_MAX + 1];
    size_t counts[WIRE_NUMBER_MAX + 1];
    size_t filled[WIRE_NUMBER_MAX + 1];
};

/* First pass: checks the wire format and counts. */
static status count_fields(struct wire_reader *r, const struct wire_place *at, str bytes,
                           struct reading *g) {
    struct wire w;
    struct wire_field f;
    wire_init(&w, bytes);
    while (wire_next(&w, &f)) {
        const struct wire_rule *rule = f.number <= WIRE_NUMBER_MAX ? g->rules[f.number] : NULL;
        if (!rule)
            continue;
        bool packed = may_be_packed(rule->kind) && f.type == WIRE_TYPE_BYTES;
        size_t n;
        if (f.type != natural_type(rule->kind) && !packed)
            return wire_fail(r, at, STATUS_INVALID_ARGUMENT, w.field,
                             "field %u (%s) has wire type %d, wanted %d", f.number, rule->name,
                             (int)f.type, (int)natural_type(rule->kind));
        if (!count_values(rule, &f, &n))
            return wire_fail(r, at, STATUS_INVALID_ARGUMENT, w.field,
                             "packed field %u (%s) ends within a value", f.number, rule->name);
        g->counts[f.number] += n;
        if (g->counts[f.number] > 1 && (rule->kind == WIRE_MESSAGE || rule->kind == WIRE_POINTER))
            return wire_fail(r, at, STATUS_INVALID_ARGUMENT, w.field,
                             "field %u (%s) is there twice", f.number, rule->name);
    }
    if (w.problem)
        return wire_fail(r, at, STATUS_INVALID_ARGUMENT, w.field, "%s", w.problem);
    return STATUS_OK;
}

static size_t element_size(const struct wire_rule *rule) {
    switch (rule->kind) {
    case WIRE_INT64S:
        return sizeof(int64_t);
    case WIRE_FLOATS:
        return sizeof(float);
    case WIRE_STRINGS:
        return sizeof(str);
    case WIRE_MESSAGES:
        return rule->message->size;
    default:
        return 0; /* not an array */
    }
}

/* Between the passes: arrays of exactly the counted size. */
static status allocate_lists(struct wire_reader *r, const struct wire_place *at, str bytes,
                             struct reading *g, char *out) {
    for (size_t i = 0; i < g->message->n_rules; i++) {
        const struct wire_rule *rule = &g->message->rules[i];
        size_t n = g->counts[rule->number], size = element_size(rule);
        if (n && (size || rule->kind == WIRE_POINTER)) {
            if (n > r->n_items_max - r->n_items)
                return wire_fail(r, at, STATUS_RESOURCE_EXHAUSTED, bytes.p,
                                 "more than %zu items in one file", r->n_items_max);
            r->n_items += n;
        }
        if (n && size) {
            void *list = arena_alloc(r->arena, array_size(size, n), _Alignof(max_align_t));
            memcpy(out + rule->offset, &list, sizeof list);
        }
        if (!is_singular(rule->kind) && rule->length)
            memcpy(out + rule->length, &n, sizeof n);
    }
    return STATUS_OK;
}

static void fill_int64s(const struct wire_field *f, int64_t *to) {
    if (f->type == WIRE_TYPE_VARINT) {
        *to = (int64_t)f->value;
        return;
    }
    const char *p = f->bytes.p, *end = p + f->bytes.n;
    for (uint64_t v; wire_varint(&p, end, &v);)
        *to++ = (int64_t)v;
}

static status read_nested(struct wire_reader *r, const struct wire_place *at,
                          const struct wire_rule *rule, size_t index, str bytes, void *to) {
    struct wire_place here = {at, rule->name, index};
    if (r->depth == r->depth_max)
        return wire_fail(r, at, STATUS_RESOURCE_EXHAUSTED, bytes.p,
                         "more than %u messages inside each other", r->depth_max);
    r->depth++;
    TRY(wire_read(r, &here, rule->message, bytes, to));
    r->depth--;
    return STATUS_OK;
}

/* Where the next element of a list goes. */
static void *list_element(const struct wire_rule *rule, const struct reading *g, char *out) {
    char *list;
    memcpy(&list, out + rule->offset, sizeof list);
    return list + g->filled[rule->number] * element_size(rule);
}

static status fill_field(struct wire_reader *r, const struct wire_place *at, struct reading *g,
                         const struct wire_rule *rule, const struct wire_field *f, char *out) {
    size_t *filled = &g->filled[rule->number];
    uint32_t low = (uint32_t)f->value;
    void *element;
    if (!is_singular(rule->kind) && !g->counts[rule->number])
        return STATUS_OK; /* packed, and empty */
    switch (rule->kind) {
    case WIRE_INT64:
        memcpy(out + rule->offset, &f->value, sizeof f->value);
        return STATUS_OK;
    case WIRE_INT32:
    case WIRE_FLOAT:
        memcpy(out + rule->offset, &low, sizeof low);
        return STATUS_OK;
    case WIRE_STRING:
        memcpy(out + rule->offset, &f->bytes, sizeof f->bytes);
        return STATUS_OK;
    case WIRE_MESSAGE:
        return read_nested(r, at, rule, SIZE_MAX, f->bytes, out + rule->offset);
    case WIRE_POINTER:
        element = arena_alloc(r->arena, rule->message->size, _Alignof(max_align_t));
        memcpy(out + rule->offset, &element, sizeof element);
        return read_nested(r, at, rule, SIZE_MAX, f->bytes, element);
    case WIRE_STRINGS:
        memcpy(list_element(rule, g, out), &f->bytes, sizeof f->bytes);
        ++*filled;
        return STATUS_OK;
    case WIRE_MESSAGES:
        TRY(read_nested(r, at, rule, *filled, f->bytes, list_element(rule, g, out)));
        ++*filled;
        return STATUS_OK;
    case WIRE_INT64S:
        fill_int64s(f, list_element(rule, g, out));
        *filled += f->type == WIRE_TYPE_VARINT ? 1 : wire_count_varints(f->bytes);
        return STATUS_OK;
    case WIRE_FLOATS:
        element = list_element(rule, g, out);
        if (f->type == WIRE_TYPE_FIXED32)
            memcpy(element, &low, sizeof low);
        else if (f->bytes.n)
            memcpy(element, f->bytes.p, f->bytes.n);
        *filled += f->type == WIRE_TYPE_FIXED32 ? 1 : f->bytes.n / sizeof(float);
        return STATUS_OK;
    default:
        return STATUS_OK; /* only counted */
    }
}

/* Packed varints of more than 10 bytes pass the counting; they are caught here. */
static bool has_bad_varint(const struct wire_rule *rule, const struct wire_field *f) {
    if (rule->kind != WIRE_INT64S || f->type != WIRE_TYPE_BYTES)
        return false;
    const char *p = f->bytes.p, *end = p + f->bytes.n;
    for (uint64_t v; p < end;)
        if (!wire_varint(&p, end, &v))
            return true;
    return false;
}

status wire_read(struct wire_reader *r, const struct wire_place *at,
                 const struct wire_message *message, str bytes, void *out) {
    struct reading g = {.message = message};
    for (size_t i = 0; i < message->n_rules; i++)
        g.rules[message->rules[i].number] = &message->rules[i];
    TRY(count_fields(r, at, bytes, &g));
    TRY(allocate_lists(r, at, bytes, &g, out));
    struct wire w;
    struct wire_field f;
    wire_init(&w, bytes);
    while (wire_next(&w, &f)) {
        const struct wire_rule *rule = f.number <= WIRE_NUMBER_MAX ? g.rules[f.number] : NULL;
        if (!rule)
            continue;
        if (has_bad_varint(rule, &f))
            return wire_fail(r, at, STATUS_INVALID_ARGUMENT, w.field,
                             "packed field %u (%s) has a varint over 10 bytes", f.number,
                             rule->name);
        TRY(fill_field(r, at, &g, rule, &f, out));
    }
    return message->finish ? message->finish(r, at, bytes, g.counts, out) : STATUS_OK;
}
