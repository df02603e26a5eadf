#include "control/api/message.h"

#include <string.h>

#include "base/buffer.h"
#include "codec/json_writer.h"
#include "codec/protobuf_json.h"

static const struct {
    const char *message, *field;
    api_version version;
} version_fields[] = {
#define FIELD(message, field, version) {#message, #field, version},
#include "control/api/version_fields.def"
#undef FIELD
};

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

/* Takes the fields that `version` does not have out of `message`; returns where the first one was,
 * "deployedModel.dedicatedResources.initialReplicaCount", or nothing. */
static str strip(struct arena *a, struct json_value *message, const ProtobufCMessageDescriptor *d,
                 api_version version, str path) {
    str first = STR("");
    if (!message || message->type != JSON_OBJECT)
        return first;
    for (size_t i = 0; i < ARRAY_LEN(version_fields); i++) {
        str field = str_from_c(version_fields[i].field);
        if (version_fields[i].version == version ||
            strcmp(d->short_name, version_fields[i].message) != 0 || !json_get_str(message, field))
            continue;
        json_remove(message, field);
        first = first.n ? first : str_format(a, "%.*s%.*s", STR_ARG(path), STR_ARG(field));
    }
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        str name = message_camel(a, str_from_c(f->name));
        struct json_value *v = json_get_str(message, name);
        if (!v || f->type != PROTOBUF_C_TYPE_MESSAGE || protobuf_is_map(f))
            continue;
        str inner = str_format(a, "%.*s%.*s.", STR_ARG(path), STR_ARG(name));
        bool is_list = v->type == JSON_ARRAY;
        for (struct json_value *e = is_list ? v->first : v; e; e = is_list ? e->next : NULL) {
            str found = strip(a, e, f->descriptor, version, inner);
            first = first.n ? first : found;
        }
    }
    return first;
}

void message_strip(struct json_value *message, const ProtobufCMessageDescriptor *d,
                   api_version version) {
    struct arena scratch = {0};
    strip(&scratch, message, d, version, STR(""));
    arena_release(&scratch);
}

/* What the message says, in one way of writing it. */
static status canonical(struct json_value **out, struct arena *a, const ProtobufCMessage *m,
                        struct error *err) {
    CLEANUP(buffer_done) struct buffer text = {0};
    struct json_writer w;
    json_writer_init(&w, &text, err);
    protobuf_json_write(&w, m, 0);
    TRY(json_writer_finish(&w));
    return json_parse(out, a, str_copy(a, buffer_str(&text)), err);
}

status message_read(struct json_value **out, struct arena *a, const ProtobufCMessageDescriptor *d,
                    const struct json_value *in, api_version version, struct error *err) {
    ProtobufCMessage *m;
    status st = protobuf_json_read(&m, a, d, in, err);
    if (st != STATUS_OK)
        return error_wrap(err, st, "Invalid JSON payload received");
    TRY(canonical(out, a, m, err));
    str foreign = strip(a, *out, d, version, STR(""));
    if (foreign.n)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Invalid JSON payload received: unknown field \"%.*s\" in %s.",
                         STR_ARG(foreign), api_version_name(version));
    return STATUS_OK;
}

bool message_has_field(const ProtobufCMessageDescriptor *d, str camel, api_version version) {
    for (size_t i = 0; i < ARRAY_LEN(version_fields); i++)
        if (version_fields[i].version != version && str_eq_c(camel, version_fields[i].field) &&
            !strcmp(d->short_name, version_fields[i].message))
            return false;
    return protobuf_json_field(d, camel) != NULL;
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
