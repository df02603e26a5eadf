/* kserve_infer.c - .../infer: JSON with the binary tensor extension, in and out. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec/json_writer.h"
#include "codec/number.h"
#include "server/protocol/encoding.h"
#include "server/protocol/infer.h"
#include "server/protocol/infer_json.h"
#include "server/protocol/tensor_json.h"

size_t infer_body_max(const struct service *s, bool is_binary) {
    return is_binary ? s->input_size_max * BINARY_BODY_FACTOR : s->input_size_max;
}

/* --- the request --- */

/* Hands the bytes after the JSON to the inputs that asked for them, in their order. */
static status read_tail(struct infer_call *c, struct error *err) {
    str tail = c->tail;
    for (size_t i = 0; i < c->n_named; i++) {
        struct tensor *t = &c->named[i].tensor;
        size_t size = c->binary_sizes[i];
        if (size == SIZE_MAX)
            continue;
        if (size > tail.n)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "unexpected size for input '%.*s', expecting %zu additional bytes for "
                             "model '%.*s'",
                             STR_ARG(c->named[i].name), size - tail.n,
                             STR_ARG(c->version->spec.name));
        t->data = (char *)(uintptr_t)tail.p;
        t->size = size;
        tail = str_slice(tail, size, tail.n);
    }
    if (tail.n)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unexpected additional input data for model '%.*s'",
                         STR_ARG(c->version->spec.name));
    return STATUS_OK;
}

/* The shape of a raw body from its size: at most one dim may be variable. */
static status raw_shape(const struct model_spec *m, const struct io_spec *io, struct tensor *t,
                        struct error *err) {
    int64_t known = 1, wild = -1;
    t->rank = 0;
    if (m->max_batch_size > 0)
        t->dims[t->rank++] = 1;
    for (size_t d = 0; d < io->rank; d++) {
        t->dims[t->rank] = io->dims[d];
        if (io->dims[d] == -1 && wild >= 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "The shape of the raw input '%.*s' can not be deduced because there "
                             "are more than one variable-sized dimension",
                             STR_ARG(io->name));
        if (io->dims[d] == -1)
            wild = t->rank;
        else if (__builtin_mul_overflow(known, io->dims[d], &known))
            return error_set(err, STATUS_INVALID_ARGUMENT, "input '%.*s' is too large",
                             STR_ARG(io->name));
        t->rank++;
    }
    size_t row = (size_t)known * dtype_size(io->dtype);
    if (wild >= 0)
        t->dims[wild] = row ? (int64_t)(t->size / row) : 0;
    return STATUS_OK;
}

/* The whole body is the data of the model's only input. */
static status read_raw(struct infer_call *c, str body, struct error *err) {
    const struct model_spec *m = &c->version->spec;
    if (m->n_inputs != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "[request id: <id_unknown>] Raw request must only have 1 input (found 1) "
                         "to be deduced but got %zu inputs in '%.*s' model configuration",
                         m->n_inputs, STR_ARG(m->name));
    const struct io_spec *io = &m->inputs[0];
    struct infer_named *named = infer_call_input(c, err);
    if (!named)
        return err->code;
    struct tensor *t = &named->tensor;
    named->name = io->name;
    named->is_raw = true;
    t->dtype = io->dtype;
    c->are_outputs_binary = true;
    if (io->dtype == DTYPE_BYTES) {
        if (io->rank != 1 || io->dims[0] != 1 || body.n > UINT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "For BYTE datatype raw input '%.*s', the model must have input shape "
                             "[1]",
                             STR_ARG(io->name));
        uint32_t length = (uint32_t)body.n;
        TRY(infer_call_space(c, body.n + sizeof length, &t->data, err));
        memcpy(t->data, &length, sizeof length);
        memcpy((char *)t->data + sizeof length, body.p, body.n);
        t->size = body.n + sizeof length;
        t->rank = m->max_batch_size > 0 ? 2 : 1;
        t->dims[0] = t->dims[1] = 1;
        return STATUS_OK;
    }
    t->data = (char *)(uintptr_t)body.p;
    t->size = body.n;
    return raw_shape(m, io, t, err);
}

static void buffer_over(void *arg) {
    buffer_done(arg);
}

/* The body without its Content-Encoding. */
static status plain_body(struct infer_call *c, str *out, struct error *err) {
    struct exchange *x = c->x;
    str name = exchange_header(x, STR("Content-Encoding"));
    encoding e;
    *out = x->body;
    if (!encoding_from_name(name, &e))
        return error_set(err, STATUS_UNIMPLEMENTED, "Unsupported compression type");
    if (e == ENCODING_IDENTITY)
        return STATUS_OK;
    struct buffer *plain = arena_new(&x->arena, struct buffer);
    plain->size_max = infer_body_max(c->service, true);
    arena_defer(&x->arena, buffer_over, plain);
    TRY(encoding_unpack(e, x->body, plain, err));
    *out = buffer_str(plain);
    return STATUS_OK;
}

status kserve_read(struct infer_call *c, str header_length, struct error *err) {
    str body;
    int64_t json_size = -1;
    TRY(plain_body(c, &body, err));
    if (header_length.p) {
        bool is_number = str_to_int64(str_trim(header_length), &json_size);
        if (!is_number || json_size < 0 || (uint64_t)json_size > body.n)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "inference header size should be in range (0, %zu), got: %.*s", body.n,
                             STR_ARG(header_length));
    }
    if (json_size == 0 || (json_size < 0 && body.n == 0))
        return read_raw(c, body, err);
    str json = json_size < 0 ? body : str_slice(body, 0, (size_t)json_size);
    if (json.n > c->service->input_size_max)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "request JSON size of %zu bytes exceeds the maximum allowed input size of "
                         "%zu bytes. Use --http-max-input-size to increase the limit.",
                         json.n, c->service->input_size_max);
    c->tail = str_slice(body, json.n, body.n);
    TRY(infer_json_read(c, json, err));
    for (size_t i = 0; i < c->n_named && json_size < 0; i++)
        if (c->binary_sizes[i] != SIZE_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "must specify valid 'Infer-Header-Content-Length' in request header "
                             "and 'binary_data_size' when passing inputs in binary data format");
    return read_tail(c, err);
}

/* No output named: all of them, in the request's default format. (Outputs that are named without
 * a format are JSON whatever the default: Triton's answer to bin_out_default_param_override.) */
static void settle_wishes(struct infer_call *c) {
    size_t n = c->version->spec.n_outputs, n_wanted = 0;
    for (size_t i = 0; i < n; i++)
        n_wanted += c->is_wanted[i];
    for (size_t i = 0; i < n; i++) {
        if (n_wanted == 0)
            c->wishes[i].is_binary = c->are_outputs_binary;
        c->is_wanted[i] = c->is_wanted[i] || n_wanted == 0;
    }
}

void infer_body_done(struct exchange *x) {
    struct route_call *route = x->user;
    struct error err = {0};
    struct infer_call *c = infer_call_new(route, x, kserve_answer);
    if (!c)
        return;
    c->accepts_encoding = !route->is_vertex;
    str header_length = route->is_vertex
                            ? route->header_length
                            : exchange_header(x, STR("Inference-Header-Content-Length"));
    status code = kserve_read(c, header_length, &err);
    if (code == STATUS_OK) {
        settle_wishes(c);
        infer_call_start(c);
    } else if (code == STATUS_UNIMPLEMENTED) {
        struct segment body = SEGMENT_STR(STR("{\"error\":\"Unsupported compression type\"}"));
        struct http_header accept = {STR("Accept-Encoding"), STR("gzip, deflate")};
        exchange_respond(x, &(struct response){.status = 501,
                                               .content_type = STR("application/json"),
                                               .headers = &accept,
                                               .n_headers = 1,
                                               .body = &body,
                                               .n_body = 1});
    } else {
        reply_error(x, code, err.text);
    }
}

void kserve_infer(struct route_call *route, struct exchange *x) {
    x->user = route;
    bool is_binary = route->header_length.p ||
                     exchange_header(x, STR("Inference-Header-Content-Length")).p != NULL;
    exchange_collect(x, infer_body_max(route->service, is_binary), infer_body_done);
}

/* --- the answer --- */

static status write_i64(struct buffer *b, int64_t v, struct error *err) {
    TRY(buffer_reserve(b, NUMBER_TEXT_SIZE, err));
    b->n += number_format_i64(b->p + b->n, v);
    return STATUS_OK;
}

/* {"name":...,"datatype":...,"shape":[...],"data":[...]} or with the size of its binary. */
static status write_output(struct buffer *b, const struct infer_call *c, size_t i,
                           struct error *err) {
    const struct tensor *t = &c->results[i];
    TRY(buffer_append_str(b, STR("{\"name\":"), err));
    TRY(json_quote(b, c->version->spec.outputs[i].name, err));
    TRY(buffer_append_str(b, STR(",\"datatype\":\""), err));
    TRY(buffer_append_str(b, str_from_c(dtype_kserve_name(t->dtype)), err));
    TRY(buffer_append_str(b, STR("\",\"shape\":["), err));
    for (size_t d = 0; d < t->rank; d++) {
        if (d)
            TRY(buffer_append_str(b, STR(","), err));
        TRY(write_i64(b, t->dims[d], err));
    }
    if (c->wishes[i].is_binary) {
        TRY(buffer_append_str(b, STR("],\"parameters\":{\"binary_data_size\":"), err));
        TRY(write_i64(b, (int64_t)t->size, err));
        return buffer_append_str(b, STR("}}"), err);
    }
    TRY(buffer_append_str(b, STR("],\"data\":"), err));
    TRY(tensor_write_json(b, t, err));
    return buffer_append_str(b, STR("}"), err);
}

static status write_answer(struct buffer *b, struct infer_call *c, struct error *err) {
    const struct model_spec *m = &c->version->spec;
    TRY(buffer_append_str(b, STR("{"), err));
    if (c->request.id.n) {
        TRY(buffer_append_str(b, STR("\"id\":"), err));
        TRY(json_quote(b, c->request.id, err));
        TRY(buffer_append_str(b, STR(","), err));
    }
    TRY(buffer_append_str(b, STR("\"model_name\":"), err));
    TRY(json_quote(b, m->name, err));
    TRY(buffer_append_str(b, STR(",\"model_version\":\""), err));
    TRY(write_i64(b, m->version, err));
    TRY(buffer_append_str(b, STR("\",\"outputs\":["), err));
    bool is_first = true;
    for (size_t i = 0; i < m->n_outputs; i++) {
        if (!c->is_wanted[i])
            continue;
        if (c->wishes[i].n_classes)
            TRY(tensor_classify(&c->results[i], m, &m->outputs[i], c->wishes[i].n_classes,
                                &c->x->arena, err));
        if (!is_first)
            TRY(buffer_append_str(b, STR(","), err));
        is_first = false;
        TRY(write_output(b, c, i, err));
    }
    return buffer_append_str(b, STR("]}"), err);
}

/* JSON and binary tensors in one buffer, packed into another. */
static status pack_answer(struct infer_call *c, encoding e, const struct buffer *json,
                          struct segment *segments, size_t *n, struct error *err) {
    CLEANUP(buffer_done) struct buffer all = {0};
    struct buffer *packed = arena_new(&c->x->arena, struct buffer);
    arena_defer(&c->x->arena, buffer_over, packed);
    TRY(buffer_append_str(&all, buffer_str(json), err));
    for (size_t i = 1; i < *n; i++)
        TRY(buffer_append(&all, segments[i].p, segments[i].n, err));
    TRY(encoding_pack(e, buffer_str(&all), packed, err));
    segments[0] = (struct segment){.p = packed->p, .n = packed->n};
    *n = 1;
    return STATUS_OK;
}

static void send_answer(struct infer_call *c, struct buffer *json, struct error *err) {
    struct exchange *x = c->x;
    size_t n_outputs = c->version->spec.n_outputs, n = 1, n_headers = 0;
    struct segment *segments = arena_array(&x->arena, struct segment, n_outputs + 1);
    segments[0] = (struct segment){.p = json->p, .n = json->n, .life = SEGMENT_TRANSIENT};
    for (size_t i = 0; i < n_outputs; i++)
        if (c->is_wanted[i] && c->wishes[i].is_binary && c->results[i].size)
            segments[n++] = (struct segment){.p = c->results[i].data, .n = c->results[i].size};
    struct http_header headers[2];
    char length[NUMBER_TEXT_SIZE];
    str content_type = STR("application/json");
    if (n > 1) {
        content_type = STR("application/octet-stream");
        headers[n_headers++] = (struct http_header){STR("Inference-Header-Content-Length"),
                                                    {length, number_format_u64(length, json->n)}};
    }
    encoding e = c->accepts_encoding ? encoding_choose(exchange_header(x, STR("Accept-Encoding")))
                                     : ENCODING_IDENTITY;
    if (e != ENCODING_IDENTITY) {
        status code = pack_answer(c, e, json, segments, &n, err);
        if (code != STATUS_OK) {
            reply_error(x, code, err->text);
            return;
        }
        headers[n_headers++] = (struct http_header){STR("Content-Encoding"), encoding_name(e)};
    }
    exchange_respond(x, &(struct response){.status = 200,
                                           .content_type = content_type,
                                           .headers = headers,
                                           .n_headers = n_headers,
                                           .body = segments,
                                           .n_body = n});
}

void kserve_answer(struct exchange *x) {
    struct infer_call *c = x->user;
    struct error err = {0};
    if (c->code != STATUS_OK) {
        reply_error(x, c->code, c->text);
        return;
    }
    struct buffer *json = service_scratch(x);
    status code = write_answer(json, c, &err);
    if (code != STATUS_OK)
        reply_error(x, code, err.text);
    else
        send_answer(c, json, &err);
}
