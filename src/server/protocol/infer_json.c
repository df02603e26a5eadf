#include "server/protocol/infer_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec/json_tensor.h"

static const char *problem_text(json_problem p) {
    switch (p) {
    case JSON_PROBLEM_EMPTY:
        return "The document is empty.";
    case JSON_PROBLEM_TRAILING:
        return "The document root must not be followed by other values.";
    case JSON_PROBLEM_NAME:
        return "Missing a name for object member.";
    case JSON_PROBLEM_COLON:
        return "Missing a colon after a name of object member.";
    case JSON_PROBLEM_MEMBER_COMMA:
        return "Missing a comma or '}' after an object member.";
    case JSON_PROBLEM_ELEMENT_COMMA:
        return "Missing a comma or ] after an array element.";
    case JSON_PROBLEM_TOO_LARGE:
        return "Number too big to be stored in double.";
    case JSON_PROBLEM_QUOTE:
        return "Missing a closing quotation mark in string.";
    case JSON_PROBLEM_ESCAPE:
        return "Invalid escape character in string.";
    case JSON_PROBLEM_SURROGATE:
        return "The surrogate pair in string is invalid.";
    case JSON_PROBLEM_ENCODING:
        return "Invalid encoding in string.";
    case JSON_PROBLEM_LIMIT:
        return "The document has more than 100 arrays and objects inside each other.";
    default:
        return "Invalid value.";
    }
}

/* What stopped the reader, in Triton's words. */
static status syntax_error(const struct json_reader *r, struct error *err) {
    return error_set(err, STATUS_INTERNAL, "failed to parse the request JSON buffer: %s at %zu",
                     problem_text(r->problem), r->problem_offset);
}

status triton_json_parse(struct json_value **out, struct arena *a, str text, struct error *err) {
    struct error ignored;
    struct json_reader r;
    json_reader_init(&r, text, &ignored);
    r.allow_nan = true;
    json_skip(&r, NULL);
    if (json_reader_finish(&r) != STATUS_OK)
        return syntax_error(&r, err);
    return json_parse(out, a, text, err);
}

static status type_error(const char *member, const char *wanted, struct error *err) {
    return error_set(err, STATUS_INTERNAL,
                     "Unable to parse '%s': attempt to access JSON non-%s as %s", member, wanted,
                     wanted);
}

/* The next value is of type `t`, or the reader will say why not. */
static bool comes(struct json_reader *r, json_type t) {
    json_type found = json_peek(r);
    return found == t || found == JSON_NONE;
}

static status read_text(struct json_reader *r, const char *member, struct arena *a, str *out,
                        struct error *err) {
    struct json_string s;
    if (!comes(r, JSON_STRING))
        return type_error(member, "string", err);
    if (!json_read_string(r, &s))
        return syntax_error(r, err);
    *out = json_string_text(s, a);
    return STATUS_OK;
}

static status read_flag(struct json_reader *r, const char *member, bool *out, struct error *err) {
    if (!comes(r, JSON_BOOL))
        return type_error(member, "boolean", err);
    return json_read_bool(r, out) ? STATUS_OK : syntax_error(r, err);
}

static status read_u64(struct json_reader *r, const char *member, uint64_t *out,
                       struct error *err) {
    struct number n;
    if (!comes(r, JSON_NUMBER))
        return type_error(member, "unsigned-integer", err);
    if (!json_read_number(r, &n, NULL))
        return syntax_error(r, err);
    if (!number_to_u64(&n, out))
        return type_error(member, "unsigned-integer", err);
    return STATUS_OK;
}

static status enter_object(struct json_reader *r, struct error *err, const char *text) {
    if (!comes(r, JSON_OBJECT))
        return error_set(err, STATUS_INTERNAL, "%s", text);
    return json_enter_object(r) ? STATUS_OK : syntax_error(r, err);
}

static status enter_array(struct json_reader *r, const char *member, struct error *err) {
    if (!comes(r, JSON_ARRAY))
        return type_error(member, "array", err);
    return json_enter_array(r) ? STATUS_OK : syntax_error(r, err);
}

static status skip(struct json_reader *r, str *raw, struct error *err) {
    return json_skip(r, raw) ? STATUS_OK : syntax_error(r, err);
}

static status over(const struct json_reader *r, struct error *err) {
    return r->problem ? syntax_error(r, err) : STATUS_OK;
}

/* --- tensors as JSON arrays --- */

static status shape_error(struct error *err) {
    return error_set(err, STATUS_INTERNAL,
                     "Unable to parse 'data': Shape does not match true shape of 'data' field");
}

/* Why json_tensor_read() stopped, in Triton's words. */
static status data_error(const struct json_reader *r, dtype t, struct error *err) {
    if (r->problem == JSON_PROBLEM_SHAPE)
        return shape_error(err);
    if (r->problem != JSON_PROBLEM_TYPE && r->problem != JSON_PROBLEM_RANGE)
        return syntax_error(r, err);
    if (t == DTYPE_BYTES)
        return error_set(err, STATUS_INTERNAL,
                         "Unable to parse JSON bytes array: attempt to access JSON non-string as "
                         "string");
    if (dtype_is_float(t))
        return error_set(err, STATUS_INTERNAL,
                         "Unable to parse 'data': attempt to access JSON non-number as double");
    return type_error("data",
                      t == DTYPE_BOOL      ? "boolean"
                      : dtype_is_signed(t) ? "signed-integer"
                                           : "unsigned-integer",
                      err);
}

static void bytes_done(void *arg) {
    buffer_done(arg);
}

static status read_data(struct json_reader *r, struct infer_call *c, struct infer_named *named,
                        struct error *err) {
    struct tensor *t = &named->tensor;
    if (t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "receiving %s data via JSON is not supported. Please use the binary data "
                         "format for input %.*s",
                         dtype_kserve_name(t->dtype), STR_ARG(named->name));
    int64_t n = tensor_n_elements(t);
    /* An element takes a digit and a comma at least, so text bounds what a shape may ask for. */
    bool fits = n >= 0 && (uint64_t)n <= (uint64_t)(r->end - r->p) / 2 + 1;
    if (!comes(r, JSON_ARRAY))
        return type_error("data", "array", err);
    if (!fits)
        return shape_error(err);
    if (t->dtype == DTYPE_BYTES) {
        struct buffer *bytes = arena_new(&c->x->arena, struct buffer);
        arena_defer(&c->x->arena, bytes_done, bytes);
        if (!json_tensor_read_bytes(r, t->dims, t->rank, bytes))
            return data_error(r, t->dtype, err);
        t->data = bytes->p;
        t->size = bytes->n;
        return STATUS_OK;
    }
    t->size = (size_t)n * dtype_size(t->dtype);
    TRY(infer_call_space(c, t->size, &t->data, err));
    return json_tensor_read(r, t) ? STATUS_OK : data_error(r, t->dtype, err);
}

status infer_json_data(struct infer_call *c, struct infer_named *named, str json,
                       struct error *err) {
    struct error ignored;
    struct json_reader r;
    json_reader_init(&r, json, &ignored);
    r.allow_nan = true;
    return read_data(&r, c, named, err);
}

/* --- "inputs" --- */

/* One element of "inputs", while its members come in any order. */
struct input_members {
    bool has_name, has_dtype, has_shape, has_data, has_shared_memory, is_read;
    str datatype, data, region;
    uint64_t binary_size;
    bool has_binary_size;
};

static status read_shape(struct json_reader *r, struct tensor *t, struct error *err) {
    size_t rank = 0;
    TRY(enter_array(r, "shape", err));
    while (json_next_element(r)) {
        uint64_t dim = 0;
        TRY(read_u64(r, "shape", &dim, err));
        if (dim > INT64_MAX)
            return type_error("shape", "unsigned-integer", err);
        if (rank == TENSOR_RANK_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "a shape has more than %d dimensions",
                             TENSOR_RANK_MAX);
        t->dims[rank++] = (int64_t)dim;
    }
    t->rank = (uint8_t)rank;
    return over(r, err);
}

static status read_input_parameters(struct json_reader *r, struct infer_call *c,
                                    struct input_members *m, struct error *err) {
    struct json_string key;
    TRY(enter_object(r, err,
                     "Unable to parse 'parameters': attempt to get members for non-object"));
    while (json_next_member(r, &key)) {
        if (json_string_is(key, STR("binary_data_size"))) {
            TRY(read_u64(r, "binary_data_size", &m->binary_size, err));
            m->has_binary_size = true;
        } else if (json_string_is(key, STR("shared_memory_region"))) {
            TRY(read_text(r, "shared_memory_region", &c->x->arena, &m->region, err));
            m->has_shared_memory = true;
        } else {
            TRY(skip(r, NULL, err));
        }
    }
    return over(r, err);
}

static status read_input_member(struct json_reader *r, struct infer_call *c, struct json_string key,
                                struct infer_named *named, struct input_members *m,
                                struct error *err) {
    if (json_string_is(key, STR("name"))) {
        m->has_name = true;
        return read_text(r, "name", &c->x->arena, &named->name, err);
    }
    if (json_string_is(key, STR("datatype"))) {
        m->has_dtype = true;
        TRY(read_text(r, "datatype", &c->x->arena, &m->datatype, err));
        named->tensor.dtype = dtype_from_kserve_name(m->datatype);
        return STATUS_OK;
    }
    if (json_string_is(key, STR("shape"))) {
        m->has_shape = true;
        return read_shape(r, &named->tensor, err);
    }
    if (json_string_is(key, STR("parameters")))
        return read_input_parameters(r, c, m, err);
    if (!json_string_is(key, STR("data")))
        return skip(r, NULL, err);
    m->has_data = true;
    if (!m->has_name || !m->has_shape || named->tensor.dtype == DTYPE_NONE)
        return skip(r, &m->data, err);
    m->is_read = true;
    return read_data(r, c, named, err);
}

static status missing(const char *member, struct error *err) {
    return error_set(err, STATUS_INTERNAL,
                     "Unable to parse '%s': attempt to access non-existing object member '%s'",
                     member, member);
}

static status check_source(const struct input_members *m, struct error *err) {
    int n = m->has_data + m->has_binary_size + m->has_shared_memory;
    if (n == 1)
        return STATUS_OK;
    char set[160];
    snprintf(set, sizeof set, "set %s%s%s", m->has_data ? "['data'" : "[",
             m->has_binary_size ? ", 'binary_data_size' in 'parameters'" : "",
             m->has_shared_memory ? ", 'shared_memory_region' in 'parameters']" : "]");
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "Input must set only one of the following fields: 'data', 'binary_data_size' "
                     "in 'parameters', 'shared_memory_region' in 'parameters'. But %s",
                     n ? set : "no field is set");
}

static status read_input(struct json_reader *r, struct infer_call *c, struct error *err) {
    struct infer_named *named = infer_call_input(c, err);
    if (!named)
        return err->code;
    struct input_members m = {0};
    struct json_string key;
    TRY(enter_object(r, err,
                     "Input must set only one of the following fields: 'data', 'binary_data_size' "
                     "in 'parameters', 'shared_memory_region' in 'parameters'. But no field is "
                     "set"));
    while (json_next_member(r, &key))
        TRY(read_input_member(r, c, key, named, &m, err));
    TRY(over(r, err));
    if (!m.has_name)
        return missing("name", err);
    if (!m.has_dtype)
        return missing("datatype", err);
    if (named->tensor.dtype == DTYPE_NONE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "invalid datatype for input %.*s",
                         STR_ARG(named->name));
    if (!m.has_shape)
        return missing("shape", err);
    TRY(check_source(&m, err));
    if (m.has_shared_memory)
        return error_set(err, STATUS_NOT_FOUND, "Unable to find shared memory region: '%.*s'",
                         STR_ARG(m.region));
    if (m.has_binary_size)
        c->binary_sizes[c->n_named - 1] = m.binary_size < SIZE_MAX ? m.binary_size : SIZE_MAX - 1;
    if (m.has_data && !m.is_read)
        return infer_json_data(c, named, m.data, err);
    return STATUS_OK;
}

static status read_inputs(struct json_reader *r, struct infer_call *c, struct error *err) {
    TRY(enter_array(r, "inputs", err));
    while (json_next_element(r))
        TRY(read_input(r, c, err));
    return over(r, err);
}

/* --- "outputs" --- */

static status read_wish(struct json_reader *r, struct infer_call *c, struct output_wish *wish,
                        struct error *err) {
    struct json_string key;
    str region;
    TRY(enter_object(r, err,
                     "Unable to parse 'parameters': attempt to get members for non-object"));
    while (json_next_member(r, &key)) {
        if (json_string_is(key, STR("binary_data"))) {
            TRY(read_flag(r, "binary_data", &wish->is_binary, err));
        } else if (json_string_is(key, STR("classification"))) {
            struct error inner = {0};
            status code = read_u64(r, "classification", &wish->n_classes, &inner);
            if (code != STATUS_OK)
                return error_set(err, code,
                                 "Unable to set 'classification': attempt to access JSON "
                                 "non-unsigned-integer as unsigned-integer");
        } else if (json_string_is(key, STR("shared_memory_region"))) {
            TRY(read_text(r, "shared_memory_region", &c->x->arena, &region, err));
            return error_set(err, STATUS_NOT_FOUND, "Unable to find shared memory region: '%.*s'",
                             STR_ARG(region));
        } else {
            TRY(skip(r, NULL, err));
        }
    }
    return over(r, err);
}

static status read_output(struct json_reader *r, struct infer_call *c, struct error *err) {
    struct output_wish wish = {0};
    str name = {0};
    struct json_string key;
    TRY(enter_object(r, err,
                     "Unable to parse 'name': attempt to access non-existing object member "
                     "'name'"));
    while (json_next_member(r, &key)) {
        if (json_string_is(key, STR("name")))
            TRY(read_text(r, "name", &c->x->arena, &name, err));
        else if (json_string_is(key, STR("parameters")))
            TRY(read_wish(r, c, &wish, err));
        else
            TRY(skip(r, NULL, err));
    }
    TRY(over(r, err));
    if (!name.p)
        return missing("name", err);
    ptrdiff_t i = model_output_index(&c->version->spec, name);
    if (i < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unexpected inference output '%.*s' for model '%.*s'", STR_ARG(name),
                         STR_ARG(c->version->spec.name));
    c->is_wanted[i] = true;
    c->wishes[i] = wish;
    return STATUS_OK;
}

static status read_outputs(struct json_reader *r, struct infer_call *c, struct error *err) {
    TRY(enter_array(r, "outputs", err));
    while (json_next_element(r))
        TRY(read_output(r, c, err));
    return over(r, err);
}

/* --- "parameters" --- */

static status read_custom(struct json_reader *r, struct infer_call *c, str name,
                          struct infer_parameter *p, struct error *err) {
    struct number n;
    str text;
    bool flag;
    p->name = name;
    switch (json_peek(r)) {
    case JSON_STRING:
        p->kind = PARAMETER_TEXT;
        return read_text(r, "parameters", &c->x->arena, &p->text, err);
    case JSON_BOOL:
        p->kind = PARAMETER_BOOL;
        TRY(read_flag(r, "parameters", &flag, err));
        p->integer = flag;
        return STATUS_OK;
    case JSON_NUMBER:
        if (!json_read_number(r, &n, &text))
            return syntax_error(r, err);
        p->kind = number_to_i64(&n, &p->integer) ? PARAMETER_INT : PARAMETER_REAL;
        p->real = number_to_f64(&n, text.p, text.p + text.n);
        return STATUS_OK;
    case JSON_NONE:
        return skip(r, NULL, err);
    default:
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "parameter '%.*s' has invalid type. It should be either 'int', 'bool', or "
                         "'string'.",
                         STR_ARG(name));
    }
}

static status read_sequence_flag(struct json_reader *r, struct infer_call *c, const char *member,
                                 unsigned flag, struct error *err) {
    bool is_set;
    TRY(read_flag(r, member, &is_set, err));
    if (is_set)
        c->request.sequence_flags |= flag;
    return STATUS_OK;
}

static status read_parameter(struct json_reader *r, struct infer_call *c, str name,
                             struct infer_parameter *custom, struct error *err) {
    struct infer_request *q = &c->request;
    if (str_eq(name, STR("binary_data_output")))
        return read_flag(r, "binary_data_output", &c->are_outputs_binary, err);
    if (str_eq(name, STR("priority")))
        return read_u64(r, "priority", &q->priority, err);
    if (str_eq(name, STR("timeout")))
        return read_u64(r, "timeout", &q->timeout_us, err);
    if (str_eq(name, STR("sequence_start")))
        return read_sequence_flag(r, c, "sequence_start", SEQUENCE_START, err);
    if (str_eq(name, STR("sequence_end")))
        return read_sequence_flag(r, c, "sequence_end", SEQUENCE_END, err);
    if (str_eq(name, STR("sequence_id")))
        return json_peek(r) == JSON_STRING
                   ? read_text(r, "sequence_id", &c->x->arena, &q->sequence_name, err)
                   : read_u64(r, "sequence_id", &q->sequence_id, err);
    if (str_starts(name, STR("triton_")))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "parameter keys starting with 'triton_' are reserved for Triton usage and "
                         "should not be specified.");
    if (q->n_parameters == INFER_PARAMETERS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "request has more than %d parameters",
                         INFER_PARAMETERS_MAX);
    return read_custom(r, c, name, &custom[q->n_parameters++], err);
}

static status read_parameters(struct json_reader *r, struct infer_call *c, struct error *err) {
    struct infer_parameter *custom =
        arena_array(&c->x->arena, struct infer_parameter, INFER_PARAMETERS_MAX);
    struct json_string key;
    TRY(enter_object(r, err,
                     "failed to get request params.: attempt to get members for non-object"));
    while (json_next_member(r, &key))
        TRY(read_parameter(r, c, json_string_text(key, &c->x->arena), custom, err));
    c->request.parameters = custom;
    return over(r, err);
}

status infer_json_read(struct infer_call *c, str json, struct error *err) {
    struct error ignored;
    struct json_reader r;
    struct json_string key;
    bool has_inputs = false;
    json_reader_init(&r, json, &ignored);
    r.allow_nan = true;
    if (!comes(&r, JSON_OBJECT)) {
        TRY(skip(&r, NULL, err));
        return json_reader_finish(&r) == STATUS_OK ? missing("inputs", err) : syntax_error(&r, err);
    }
    json_enter_object(&r);
    while (json_next_member(&r, &key)) {
        if (json_string_is(key, STR("inputs"))) {
            has_inputs = true;
            TRY(read_inputs(&r, c, err));
        } else if (json_string_is(key, STR("outputs"))) {
            TRY(read_outputs(&r, c, err));
        } else if (json_string_is(key, STR("id"))) {
            TRY(read_text(&r, "id", &c->x->arena, &c->request.id, err));
        } else if (json_string_is(key, STR("parameters"))) {
            TRY(read_parameters(&r, c, err));
        } else {
            TRY(skip(&r, NULL, err));
        }
    }
    if (json_reader_finish(&r) != STATUS_OK)
        return syntax_error(&r, err);
    return has_inputs ? STATUS_OK : missing("inputs", err);
}
