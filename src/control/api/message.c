#include "control/api/message.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATH_SIZE_MAX = 256 };

/* Where in the body: "endpoint.traffic_split". */
struct place {
    struct arena *a;
    api_version version;
    char path[PATH_SIZE_MAX];
};

static const struct {
    const char *message, *field;
    api_version version;
} version_fields[] = {
#define FIELD(message, field, version) {#message, #field, version},
#include "control/api/version_fields.def"
#undef FIELD
};

/* Names that people write for a value that is called otherwise. */
static const struct {
    const char *alias, *name;
} enum_aliases[] = {{"NVIDIA_TESLA_L4", "NVIDIA_L4"}};

const char *api_version_name(api_version v) {
    return v == API_V1 ? "v1" : "v1beta1";
}

str message_camel(struct arena *a, str name) {
    if (str_find(name, '_') < 0)
        return name;
    char *p = arena_alloc(a, name.n + 1, 1);
    size_t n = 0;
    bool is_upper = false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c == '_') {
            is_upper = n > 0;
            continue;
        }
        p[n++] = is_upper && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        is_upper = false;
    }
    return (str){.p = p, .n = n};
}

static bool has_field(const ProtobufCMessageDescriptor *d, str camel, api_version version) {
    for (size_t i = 0; i < ARRAY_LEN(version_fields); i++)
        if (version_fields[i].version != version && str_eq_c(camel, version_fields[i].field) &&
            !strcmp(d->short_name, version_fields[i].message))
            return false;
    return true;
}

/* The field that is called `name` in lowerCamel or snake_case. */
static const ProtobufCFieldDescriptor *field_find(struct place *at,
                                                  const ProtobufCMessageDescriptor *d, str name) {
    str camel = message_camel(at->a, name);
    if (!has_field(d, camel, at->version))
        return NULL;
    for (unsigned i = 0; i < d->n_fields; i++)
        if (str_eq(message_camel(at->a, str_from_c(d->fields[i].name)), camel))
            return &d->fields[i];
    return NULL;
}

static status bad_value(struct place *at, const char *type, const struct json_value *v,
                        struct error *err) {
    str text = v->text;
    if (v->type == JSON_BOOL)
        text = v->boolean ? STR("true") : STR("false");
    else if (v->type == JSON_ARRAY || v->type == JSON_OBJECT)
        text = v->type == JSON_ARRAY ? STR("[...]") : STR("{...}");
    const char *quote = v->type == JSON_STRING ? "\"" : "";
    return error_set(err, STATUS_INVALID_ARGUMENT, "Invalid value at '%s' (%s), %s%.*s%s", at->path,
                     type, quote, (int)(text.n < 100 ? text.n : 100), text.p ? text.p : "", quote);
}

static status enum_read(struct json_value **out, struct place *at, const ProtobufCEnumDescriptor *d,
                        const struct json_value *in, struct error *err) {
    str name;
    int64_t number;
    if (json_to_str(in, &name)) {
        for (size_t i = 0; i < ARRAY_LEN(enum_aliases); i++)
            if (str_eq_c(name, enum_aliases[i].alias))
                name = str_from_c(enum_aliases[i].name);
        for (unsigned i = 0; i < d->n_values; i++)
            if (str_eq_c(name, d->values[i].name)) {
                *out = d->values[i].value ? json_new_string(at->a, name) : NULL;
                return STATUS_OK;
            }
    } else if (json_to_i64(in, &number) && number >= INT32_MIN && number <= INT32_MAX) {
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, (int)number);
        if (v) {
            *out = number ? json_new_string(at->a, str_from_c(v->name)) : NULL;
            return STATUS_OK;
        }
    }
    return bad_value(at, "TYPE_ENUM", in, err);
}

static bool is_duration(str s) {
    size_t i = s.n && s.p[0] == '-', n_digits = 0, n_fraction = 0;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        n_digits++;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            n_fraction++;
    return n_digits > 0 && n_digits <= 12 && n_fraction <= 9 && i + 1 == s.n && s.p[i] == 's';
}

/* The message types that have a JSON form of their own. False: `d` is none of them. */
static bool well_known_read(struct json_value **out, struct place *at,
                            const ProtobufCMessageDescriptor *d, const struct json_value *in,
                            status *st, struct error *err) {
    str text;
    *st = STATUS_OK;
    if (!strcmp(d->short_name, "Value")) {
        *out = json_copy(at->a, in);
    } else if (!strcmp(d->short_name, "Timestamp")) {
        if (json_to_str(in, &text) && text.n >= 20 && text.n <= 40)
            *out = json_new_string(at->a, text);
        else
            *st = bad_value(at, "type.googleapis.com/google.protobuf.Timestamp", in, err);
    } else if (!strcmp(d->short_name, "Duration")) {
        if (json_to_str(in, &text) && is_duration(text))
            *out = json_new_string(at->a, text);
        else
            *st = bad_value(at, "type.googleapis.com/google.protobuf.Duration", in, err);
    } else if (!strcmp(d->short_name, "FieldMask")) {
        if (in->type == JSON_OBJECT) { /* {"paths": ["a.b", "c"]} */
            str all = STR("");
            const struct json_value *paths = json_get(in, "paths");
            for (const struct json_value *p = paths ? paths->first : NULL; p; p = p->next)
                all = str_format(at->a, "%.*s%s%.*s", STR_ARG(all), all.n ? "," : "",
                                 STR_ARG(p->text));
            *out = json_new_string(at->a, all);
        } else if (json_to_str(in, &text)) {
            *out = json_new_string(at->a, text);
        } else {
            *st = bad_value(at, "type.googleapis.com/google.protobuf.FieldMask", in, err);
        }
    } else {
        return false;
    }
    return true;
}

static status message_at(struct json_value **out, struct place *at,
                         const ProtobufCMessageDescriptor *d, const struct json_value *in,
                         struct error *err);

/* One value that is no list; *out = NULL when it is the type's zero. */
static status value_read(struct json_value **out, struct place *at,
                         const ProtobufCFieldDescriptor *f, const struct json_value *in,
                         struct error *err) {
    str text;
    bool boolean;
    int64_t number;
    double real;
    status st;
    *out = NULL;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        if (!json_to_str(in, &text))
            return bad_value(at, "TYPE_STRING", in, err);
        *out = text.n ? json_new_string(at->a, text) : NULL;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_to_bool(in, &boolean))
            return bad_value(at, "TYPE_BOOL", in, err);
        *out = boolean ? json_new_bool(at->a, true) : NULL;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_INT32:
        if (!json_to_i64(in, &number) || number < INT32_MIN || number > INT32_MAX)
            return bad_value(at, "TYPE_INT32", in, err);
        *out = number ? json_new_i64(at->a, number) : NULL;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_INT64:
        if (!json_to_i64(in, &number))
            return bad_value(at, "TYPE_INT64", in, err);
        *out = number ? json_new_string(at->a, str_format(at->a, "%lld", (long long)number)) : NULL;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!json_to_f64(in, &real) || !isfinite(real))
            return bad_value(at, "TYPE_DOUBLE", in, err);
        *out = real != 0 ? json_new_f64(at->a, real) : NULL;
        return STATUS_OK;
    case PROTOBUF_C_TYPE_ENUM:
        return enum_read(out, at, f->descriptor, in, err);
    case PROTOBUF_C_TYPE_MESSAGE:
        if (well_known_read(out, at, f->descriptor, in, &st, err))
            return st;
        return message_at(out, at, f->descriptor, in, err);
    default:
        return bad_value(at, "a type that is not served", in, err);
    }
}

/* protoc-c knows no maps: it makes a list of messages NameEntry{key, value} of them. */
static const ProtobufCFieldDescriptor *map_value_field(const ProtobufCFieldDescriptor *f) {
    const ProtobufCMessageDescriptor *d = f->descriptor;
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE ||
        d->n_fields != 2 || strcmp(d->fields[0].name, "key") != 0 ||
        strcmp(d->fields[1].name, "value") != 0 ||
        !str_ends(str_from_c(d->short_name), STR("Entry")))
        return NULL;
    return &d->fields[1];
}

/* A map keeps its zeros: "100": 0 says something. */
static struct json_value *zero_of(struct arena *a, const ProtobufCFieldDescriptor *f) {
    return f->type == PROTOBUF_C_TYPE_STRING ? json_new_string(a, STR("")) : json_new_i64(a, 0);
}

static status map_read(struct json_value **out, struct place *at,
                       const ProtobufCFieldDescriptor *value, const struct json_value *in,
                       struct error *err) {
    if (in->type != JSON_OBJECT)
        return bad_value(at, "a map", in, err);
    struct json_value *map = json_new_object(at->a);
    for (const struct json_value *m = in->first; m; m = m->next) {
        struct json_value *v;
        TRY(value_read(&v, at, value, m, err));
        json_set(map, m->name, v ? v : zero_of(at->a, value));
    }
    *out = map->n ? map : NULL;
    return STATUS_OK;
}

static status list_read(struct json_value **out, struct place *at,
                        const ProtobufCFieldDescriptor *f, const struct json_value *in,
                        struct error *err) {
    if (in->type != JSON_ARRAY)
        return bad_value(at, "a list", in, err);
    struct json_value *list = json_new_array(at->a);
    for (const struct json_value *e = in->first; e; e = e->next) {
        struct json_value *v;
        TRY(value_read(&v, at, f, e, err));
        if (!v)
            v = f->type == PROTOBUF_C_TYPE_ENUM ? json_new_i64(at->a, 0) : zero_of(at->a, f);
        json_append(list, v);
    }
    *out = list->n ? list : NULL;
    return STATUS_OK;
}

static status oneof_check(struct place *at, const ProtobufCMessageDescriptor *d,
                          const ProtobufCFieldDescriptor *f, const struct json_value *message,
                          struct error *err) {
    if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return STATUS_OK;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &d->fields[i];
        if (other != f && (other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
            other->quantifier_offset == f->quantifier_offset &&
            json_get_str(message, message_camel(at->a, str_from_c(other->name))))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "Invalid value at '%s' (oneof): '%s' and '%s' are both set", at->path,
                             other->name, f->name);
    }
    return STATUS_OK;
}

static status member_read(struct json_value *message, struct place *at,
                          const ProtobufCMessageDescriptor *d, const struct json_value *m,
                          struct error *err) {
    size_t path_n = strlen(at->path);
    const ProtobufCFieldDescriptor *f = field_find(at, d, m->name);
    if (!f)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "Invalid JSON payload received. Unknown name \"%.*s\"%s%s%s: Cannot find field.",
            (int)(m->name.n < 100 ? m->name.n : 100), m->name.p, path_n ? " at '" : "", at->path,
            path_n ? "'" : "");
    if (m->type == JSON_NULL &&
        !(f->type == PROTOBUF_C_TYPE_MESSAGE && f->descriptor &&
          !strcmp(((const ProtobufCMessageDescriptor *)f->descriptor)->short_name, "Value")))
        return STATUS_OK;
    snprintf(at->path + path_n, sizeof at->path - path_n, "%s%s", path_n ? "." : "", f->name);
    str camel = message_camel(at->a, str_from_c(f->name));
    if (json_get_str(message, camel))
        return error_set(err, STATUS_INVALID_ARGUMENT, "Invalid value at '%s': it is there twice",
                         at->path);
    TRY(oneof_check(at, d, f, message, err));
    const ProtobufCFieldDescriptor *map_value = map_value_field(f);
    struct json_value *v = NULL;
    if (map_value)
        TRY(map_read(&v, at, map_value, m, err));
    else if (f->label == PROTOBUF_C_LABEL_REPEATED)
        TRY(list_read(&v, at, f, m, err));
    else
        TRY(value_read(&v, at, f, m, err));
    if (v)
        json_set(message, camel, v);
    at->path[path_n] = '\0';
    return STATUS_OK;
}

static status message_at(struct json_value **out, struct place *at,
                         const ProtobufCMessageDescriptor *d, const struct json_value *in,
                         struct error *err) {
    if (in->type != JSON_OBJECT)
        return bad_value(at, d->short_name, in, err);
    struct json_value *message = json_new_object(at->a);
    for (const struct json_value *m = in->first; m; m = m->next)
        TRY(member_read(message, at, d, m, err));
    *out = message;
    return STATUS_OK;
}

status message_read(struct json_value **out, struct arena *a, const ProtobufCMessageDescriptor *d,
                    const struct json_value *in, api_version version, struct error *err) {
    struct place at = {.a = a, .version = version};
    return message_at(out, &at, d, in, err);
}

void message_strip(struct json_value *message, const ProtobufCMessageDescriptor *d,
                   api_version version) {
    if (!message || message->type != JSON_OBJECT)
        return;
    for (size_t i = 0; i < ARRAY_LEN(version_fields); i++)
        if (version_fields[i].version != version &&
            !strcmp(d->short_name, version_fields[i].message))
            json_remove(message, str_from_c(version_fields[i].field));
    struct arena scratch = {0};
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE || map_value_field(f))
            continue;
        struct json_value *v = json_get_str(message, message_camel(&scratch, str_from_c(f->name)));
        if (v && v->type == JSON_ARRAY)
            for (struct json_value *e = v->first; e; e = e->next)
                message_strip(e, f->descriptor, version);
        else
            message_strip(v, f->descriptor, version);
    }
    arena_release(&scratch);
}

bool message_has_field(const ProtobufCMessageDescriptor *d, str camel, api_version version) {
    struct arena scratch = {0};
    bool is_there =
        field_find(&(struct place){.a = &scratch, .version = version}, d, camel) != NULL;
    arena_release(&scratch);
    return is_there;
}

bool field_mask_is_all(const struct field_mask *mask) {
    return mask->n == 1 && str_eq(mask->paths[0], STR("*"));
}

status field_mask_read(struct field_mask *out, struct arena *a, str text, struct error *err) {
    str path;
    out->n = 0;
    while (str_next(&text, ',', &path)) {
        path = str_trim(path);
        if (path.n == 0)
            continue;
        if (out->n == MASK_PATHS_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "updateMask has more than %d paths",
                             MASK_PATHS_MAX);
        out->paths[out->n++] = message_camel(a, path);
    }
    return STATUS_OK;
}
