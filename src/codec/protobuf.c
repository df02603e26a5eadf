#include "codec/protobuf.h"

#include <ctype.h>
#include <string.h>

#include "codec/wire.h"

/* ---- binary: what protobuf-c is about to be given, looked at before ---- */

struct scan {
    const char *begin;
    size_t n_values;
    struct error *err;
};

static status fail_scan(struct scan *s, const ProtobufCMessageDescriptor *d, const char *p,
                        const char *text) {
    return error_set(s->err, STATUS_INVALID_ARGUMENT, "%s at byte %zu: %s", d->name,
                     (size_t)(p - s->begin), text);
}

static status scan_message(struct scan *s, const ProtobufCMessageDescriptor *d, str bytes,
                           unsigned depth) {
    struct wire w;
    struct wire_field field;
    if (depth > PROTOBUF_DEPTH_MAX)
        return fail_scan(s, d, bytes.p, "messages are nested too deep");
    wire_init(&w, bytes);
    while (wire_next(&w, &field)) {
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(d, field.number);
        /* Packed numbers count as one: they take at most 8 bytes for each of theirs. */
        if (++s->n_values > PROTOBUF_VALUES_MAX)
            return fail_scan(s, d, w.field, "too many values");
        if (f && f->type == PROTOBUF_C_TYPE_MESSAGE && field.type == WIRE_TYPE_BYTES)
            TRY(scan_message(s, f->descriptor, field.bytes, depth + 1));
    }
    return w.problem ? fail_scan(s, d, w.field, w.problem) : STATUS_OK;
}

/* ---- names ---- */

const ProtobufCFieldDescriptor *protobuf_field(const ProtobufCMessageDescriptor *d, str name) {
    for (unsigned i = 0; i < d->n_fields; i++)
        if (str_eq_c(name, d->fields[i].name))
            return &d->fields[i];
    return NULL;
}

const ProtobufCEnumValue *protobuf_enum_value(const ProtobufCEnumDescriptor *d, str name) {
    for (unsigned i = 0; i < d->n_value_names; i++)
        if (str_eq_c(name, d->values_by_name[i].name))
            return &d->values[d->values_by_name[i].index];
    return NULL;
}

enum { NAME_SIZE_MAX = 80 };

static bool same_letter(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Letters to insert, delete, change or swap with their neighbour to get from one to the other. */
static size_t edit_distance(str a, const char *b) {
    size_t rows[3][NAME_SIZE_MAX + 1], n = strlen(b);
    if (a.n > NAME_SIZE_MAX || n > NAME_SIZE_MAX)
        return SIZE_MAX;
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t k = 0; k <= n; k++)
        before[k] = last[k] = k;
    for (size_t i = 1; i <= a.n; i++) {
        row[0] = i;
        for (size_t k = 1; k <= n; k++) {
            bool same = same_letter(a.p[i - 1], b[k - 1]);
            size_t best = last[k - 1] + !same;
            best = last[k] + 1 < best ? last[k] + 1 : best;
            best = row[k - 1] + 1 < best ? row[k - 1] + 1 : best;
            bool swapped = i > 1 && k > 1 && same_letter(a.p[i - 1], b[k - 2]) &&
                           same_letter(a.p[i - 2], b[k - 1]);
            if (swapped && before[k - 2] + 1 < best)
                best = before[k - 2] + 1;
            row[k] = best;
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[n];
}

/* Near enough to be what was meant: one letter in four may differ. */
static bool is_near(str name, size_t distance) {
    size_t limit = name.n / 4 ? name.n / 4 : 1;
    return distance <= limit && distance < name.n;
}

const ProtobufCFieldDescriptor *protobuf_nearest_field(const ProtobufCMessageDescriptor *d,
                                                       str name) {
    const ProtobufCFieldDescriptor *nearest = NULL;
    size_t best = SIZE_MAX;
    for (unsigned i = 0; i < d->n_fields; i++) {
        size_t distance = edit_distance(name, d->fields[i].name);
        if (distance < best) {
            best = distance;
            nearest = &d->fields[i];
        }
    }
    return nearest && is_near(name, best) ? nearest : NULL;
}

const ProtobufCEnumValue *protobuf_nearest_enum_value(const ProtobufCEnumDescriptor *d, str name) {
    const ProtobufCEnumValue *nearest = NULL;
    size_t best = SIZE_MAX;
    for (unsigned i = 0; i < d->n_values; i++) {
        size_t distance = edit_distance(name, d->values[i].name);
        if (distance < best) {
            best = distance;
            nearest = &d->values[i];
        }
    }
    return nearest && is_near(name, best) ? nearest : NULL;
}

/* ---- fields ---- */

bool protobuf_is_map(const ProtobufCFieldDescriptor *f) {
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    if (entry->n_fields != 2 || strcmp(entry->fields[0].name, "key") != 0 ||
        strcmp(entry->fields[1].name, "value") != 0)
        return false;
    /* cc_model_filenames has CcModelFilenamesEntry */
    const char *type = entry->short_name;
    bool upper = true;
    for (const char *p = f->name; *p; p++) {
        if (*p == '_') {
            upper = true;
            continue;
        }
        if (*type++ != (upper ? (char)toupper((unsigned char)*p) : *p))
            return false;
        upper = false;
    }
    return strcmp(type, "Entry") == 0;
}

const char *protobuf_type_name(const ProtobufCFieldDescriptor *f) {
    static const char *const names[] = {"int32",    "sint32", "sfixed32", "int64",  "sint64",
                                        "sfixed64", "uint32", "fixed32",  "uint64", "fixed64",
                                        "float",    "double", "bool",     "enum",   "string",
                                        "bytes",    "message"};
    if (f->type == PROTOBUF_C_TYPE_ENUM)
        return ((const ProtobufCEnumDescriptor *)f->descriptor)->name;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return ((const ProtobufCMessageDescriptor *)f->descriptor)->name;
    return names[f->type];
}

size_t protobuf_value_size(const ProtobufCFieldDescriptor *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

ProtobufCMessage *protobuf_new(struct arena *a, const ProtobufCMessageDescriptor *d) {
    ProtobufCMessage *m = arena_alloc(a, d->sizeof_message, _Alignof(max_align_t));
    protobuf_c_message_init(d, m);
    return m;
}

static char *member(const ProtobufCMessage *m, size_t offset) {
    return (char *)(uintptr_t)m + offset;
}

static bool is_in_oneof(const ProtobufCFieldDescriptor *f) {
    return f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

static uint32_t load_u32(const char *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static size_t load_count(const char *p) {
    size_t n;
    memcpy(&n, p, sizeof n);
    return n;
}

static void *load_pointer(const char *p) {
    void *q;
    memcpy(&q, p, sizeof q);
    return q;
}

/* Does a scalar without a presence differ from its default, which is zero in proto3? */
static bool differs(const ProtobufCFieldDescriptor *f, const char *p) {
    static const char zeros[sizeof(ProtobufCBinaryData)];
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = load_pointer(p);
        return text && *text;
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return load_count(p + offsetof(ProtobufCBinaryData, len)) != 0;
    /* -0.0 counts as zero, since protobuf-c leaves it out of the binary form, too. */
    if (f->type == PROTOBUF_C_TYPE_FLOAT)
        return *(const float *)(const void *)p != 0;
    if (f->type == PROTOBUF_C_TYPE_DOUBLE)
        return *(const double *)(const void *)p != 0;
    return memcmp(p, zeros, protobuf_value_size(f)) != 0;
}

size_t protobuf_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    const char *p = member(m, f->offset), *quantifier = member(m, f->quantifier_offset);
    if (protobuf_is_repeated(f))
        return load_count(quantifier);
    if (is_in_oneof(f))
        return load_u32(quantifier) == f->id;
    if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset)
        return load_u32(quantifier) != 0;
    if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type == PROTOBUF_C_TYPE_STRING)
        return load_pointer(p) != NULL && load_pointer(p) != f->default_value;
    return f->label == PROTOBUF_C_LABEL_REQUIRED || differs(f, p);
}

const void *protobuf_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t i) {
    const char *p = member(m, f->offset);
    if (!protobuf_is_repeated(f))
        return p;
    return (const char *)load_pointer(p) + i * protobuf_value_size(f);
}

/* Lists grow when their length reaches a power of two: no capacity has to be kept anywhere. */
static void *append(ProtobufCMessage *m, struct arena *a, const ProtobufCFieldDescriptor *f) {
    char *list_at = member(m, f->offset), *count_at = member(m, f->quantifier_offset);
    size_t n = load_count(count_at), size = protobuf_value_size(f);
    char *list = load_pointer(list_at);
    if ((n & (n - 1)) == 0) {
        char *grown = arena_alloc(a, array_size(size, n ? 2 * n : 1), _Alignof(max_align_t));
        if (n)
            memcpy(grown, list, n * size);
        list = grown;
        memcpy(list_at, &list, sizeof list);
    }
    size_t more = n + 1;
    memcpy(count_at, &more, sizeof more);
    return list + n * size;
}

void *protobuf_add(ProtobufCMessage *m, struct arena *a, const ProtobufCFieldDescriptor *f) {
    if (protobuf_is_repeated(f))
        return append(m, a, f);
    char *quantifier = member(m, f->quantifier_offset);
    protobuf_c_boolean present = 1;
    if (is_in_oneof(f)) {
        memcpy(quantifier, &f->id, sizeof f->id);
        memset(member(m, f->offset), 0, protobuf_value_size(f));
    } else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset) {
        memcpy(quantifier, &present, sizeof present);
    }
    return member(m, f->offset);
}

const ProtobufCFieldDescriptor *protobuf_oneof_rival(const ProtobufCMessage *m,
                                                     const ProtobufCFieldDescriptor *f) {
    if (!is_in_oneof(f))
        return NULL;
    uint32_t id = load_u32(member(m, f->quantifier_offset));
    return id && id != f->id ? protobuf_c_message_descriptor_get_field(m->descriptor, id) : NULL;
}

static bool same_key(const ProtobufCFieldDescriptor *key, const ProtobufCMessage *a,
                     const ProtobufCMessage *b) {
    const void *x = protobuf_value(a, key, 0), *y = protobuf_value(b, key, 0);
    if (key->type == PROTOBUF_C_TYPE_STRING)
        return strcmp(load_pointer(x), load_pointer(y)) == 0;
    return memcmp(x, y, protobuf_value_size(key)) == 0;
}

void protobuf_merge_last_entry(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    char *count_at = member(m, f->quantifier_offset);
    size_t n = load_count(count_at), fewer = n - 1;
    ProtobufCMessage **entries = load_pointer(member(m, f->offset));
    const ProtobufCFieldDescriptor *key =
        &((const ProtobufCMessageDescriptor *)f->descriptor)->fields[0];
    for (size_t i = 0; i + 1 < n; i++)
        if (same_key(key, entries[i], entries[n - 1])) {
            entries[i] = entries[n - 1];
            memcpy(count_at, &fewer, sizeof fewer);
            return;
        }
}

void protobuf_complete_entry(ProtobufCMessage *entry, struct arena *a) {
    const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
    if (value->type != PROTOBUF_C_TYPE_MESSAGE || protobuf_count(entry, value))
        return;
    ProtobufCMessage *empty = protobuf_new(a, value->descriptor);
    memcpy(protobuf_add(entry, a, value), &empty, sizeof empty);
}

/* ---- binary: in and out ---- */

/* Depth was checked by scan_message. */
static void complete_maps(ProtobufCMessage *m, struct arena *a) {
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        bool map = protobuf_is_map(f);
        for (size_t k = 0, n = protobuf_count(m, f); k < n; k++) {
            ProtobufCMessage *child = *(ProtobufCMessage *const *)protobuf_value(m, f, k);
            if (map)
                protobuf_complete_entry(child, a);
            complete_maps(child, a);
        }
    }
}

static void *allocate(void *arena, size_t size) {
    return arena_alloc(arena, size, _Alignof(max_align_t));
}

static void keep(void *arena, void *p) {
    (void)arena, (void)p; /* the arena frees everything at once */
}

status protobuf_unpack(ProtobufCMessage **out, struct arena *a, const ProtobufCMessageDescriptor *d,
                       str bytes, struct error *err) {
    struct scan s = {.begin = bytes.p, .err = err};
    TRY(scan_message(&s, d, bytes, 1));
    ProtobufCAllocator allocator = {.alloc = allocate, .free = keep, .allocator_data = a};
    ProtobufCMessage *m =
        protobuf_c_message_unpack(d, &allocator, bytes.n, (const uint8_t *)bytes.p);
    if (!m)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: its bytes do not fit its fields",
                         d->name);
    complete_maps(m, a);
    *out = m;
    return STATUS_OK;
}

status protobuf_pack(struct buffer *out, const ProtobufCMessage *m, struct error *err) {
    size_t size = protobuf_c_message_get_packed_size(m);
    TRY(buffer_reserve(out, size, err));
    if (size)
        out->n += protobuf_c_message_pack(m, (uint8_t *)out->p + out->n);
    return STATUS_OK;
}
