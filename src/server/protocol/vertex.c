/* vertex.c - the container contract of Vertex AI: the health route and the predict route, on which
 * {"instances": [...]} is answered with {"predictions": [...]}, and everything that Triton's
 * Vertex endpoint takes with what KServe's routes answer. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec/json_tensor.h"
#include "server/protocol/encoding.h"
#include "server/protocol/infer_json.h"
#include "server/protocol/predict_split.h"
#include "server/protocol/tensor_json.h"

enum { INSTANCES_MAX = 100000 };

/* --- instances to inputs --- */

static void buffer_over(void *arg) {
    buffer_done(arg);
}

static struct buffer *input_buffer(struct infer_call *c) {
    struct buffer *b = arena_new(&c->x->arena, struct buffer);
    b->size_max = c->service->input_size_max * BINARY_BODY_FACTOR;
    arena_defer(&c->x->arena, buffer_over, b);
    return b;
}

static status refuse(const struct json_reader *r, const struct io_spec *io, struct error *err) {
    if (r->problem == JSON_PROBLEM_SHAPE)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "instances for input '%.*s' are ragged: every row must have the same "
                         "shape (byte %zu)",
                         STR_ARG(io->name), r->problem_offset);
    return error_set(err, STATUS_INVALID_ARGUMENT, "instances for input '%.*s': %s",
                     STR_ARG(io->name), r->err->text);
}

/* Sets the tensor from `n` stacked instances of these dims, fitted to what the model takes:
 * scalars become [1], one instance may go without a batch dimension. */
static status set_tensor(struct infer_call *c, const struct io_spec *io, struct infer_named *named,
                         struct buffer *data, const int64_t *dims, size_t rank, struct error *err) {
    struct tensor *t = &named->tensor;
    size_t lead = c->version->spec.max_batch_size > 0, want = io->rank + lead;
    size_t skip = 0;
    if (!lead && rank == want + 1 && dims[0] == 1) {
        skip = 1;
        c->is_unstacked = true;
    }
    if (rank - skip > TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "instances have %zu dimensions, limit %d",
                         rank, TENSOR_RANK_MAX);
    named->name = io->name;
    t->dtype = io->dtype;
    for (size_t d = skip; d < rank; d++)
        t->dims[t->rank++] = dims[d];
    if (t->rank + 1u == want && io->rank > 0 && (io->dims[io->rank - 1] == 1))
        t->dims[t->rank++] = 1;
    t->data = data->p;
    t->size = data->n;
    return STATUS_OK;
}

/* One input: the instances are its values, stacked. */
static status read_stacked(struct infer_call *c, struct json_reader *r, struct error *err) {
    const struct io_spec *io = &c->version->spec.inputs[0];
    struct infer_named *named = infer_call_input(c, err);
    struct buffer *data = input_buffer(c);
    int64_t dims[TENSOR_RANK_MAX];
    size_t rank;
    if (!named)
        return err->code;
    if (!json_tensor_read_any(r, io->dtype, data, dims, &rank))
        return refuse(r, io, err);
    return set_tensor(c, io, named, data, dims, rank, err);
}

/* What has come for one input while the instances are read one by one. */
struct column {
    struct buffer *data;
    int64_t dims[TENSOR_RANK_MAX];
    size_t rank;
    size_t n; /* instances */
};

static status read_field(struct infer_call *c, struct json_reader *r, struct column *column,
                         const struct io_spec *io, size_t n, struct error *err) {
    int64_t dims[TENSOR_RANK_MAX];
    size_t rank;
    (void)c;
    if (column->n != n)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "instance %zu has input '%.*s' twice, or an instance before it lacks it",
                         n, STR_ARG(io->name));
    if (!json_tensor_read_any(r, io->dtype, column->data, dims, &rank))
        return refuse(r, io, err);
    if (n > 0 && (rank != column->rank || memcmp(dims, column->dims, rank * sizeof *dims) != 0))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "instances for input '%.*s' are ragged: instance %zu has another shape "
                         "than those before it",
                         STR_ARG(io->name), n);
    memcpy(column->dims, dims, sizeof dims);
    column->rank = rank;
    column->n = n + 1;
    return STATUS_OK;
}

static status read_instance(struct infer_call *c, struct json_reader *r, struct column *columns,
                            size_t n, struct error *err) {
    const struct model_spec *m = &c->version->spec;
    struct json_string key;
    if (!json_enter_object(r))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "instance %zu must be an object by input name: the model has %zu inputs",
                         n, m->n_inputs);
    while (json_next_member(r, &key)) {
        str name = json_string_text(key, &c->x->arena);
        ptrdiff_t i = model_input_index(m, name);
        if (i < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "instance %zu has \"%.*s\", which is no input of model '%.*s'", n,
                             STR_ARG(name), STR_ARG(m->name));
        TRY(read_field(c, r, &columns[i], &m->inputs[i], n, err));
    }
    return r->problem ? error_set(err, STATUS_INVALID_ARGUMENT, "%s", r->err->text) : STATUS_OK;
}

static status read_objects(struct infer_call *c, struct json_reader *r, struct error *err) {
    const struct model_spec *m = &c->version->spec;
    struct column *columns = arena_array(&c->x->arena, struct column, m->n_inputs);
    size_t n = 0;
    for (size_t i = 0; i < m->n_inputs; i++)
        columns[i].data = input_buffer(c);
    json_enter_array(r);
    while (json_next_element(r)) {
        if (n == INSTANCES_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "more than %d instances", INSTANCES_MAX);
        TRY(read_instance(c, r, columns, n, err));
        n++;
    }
    if (r->problem)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s", r->err->text);
    for (size_t i = 0; i < m->n_inputs; i++) {
        int64_t dims[TENSOR_RANK_MAX + 1] = {(int64_t)n};
        if (columns[i].n == 0 && m->inputs[i].is_optional)
            continue;
        if (columns[i].n != n)
            return error_set(err, STATUS_INVALID_ARGUMENT, "instance %zu lacks input '%.*s'",
                             columns[i].n, STR_ARG(m->inputs[i].name));
        memcpy(dims + 1, columns[i].dims, columns[i].rank * sizeof *dims);
        struct infer_named *named = infer_call_input(c, err);
        if (!named)
            return err->code;
        TRY(set_tensor(c, &m->inputs[i], named, columns[i].data, dims, columns[i].rank + 1, err));
    }
    return STATUS_OK;
}

/* The reader stands before an object: is it one by input name, and not {"b64": ...}? */
static bool is_by_name(const struct json_reader *r, const struct model_spec *m) {
    struct json_reader ahead = *r;
    struct json_string key;
    if (m->inputs[0].dtype != DTYPE_BYTES)
        return true;
    return json_enter_object(&ahead) && json_next_member(&ahead, &key) &&
           json_string_is(key, m->inputs[0].name);
}

/* The reader stands before the value of "instances". */
static status read_instances(struct infer_call *c, struct json_reader *r, struct error *err) {
    const struct model_spec *m = &c->version->spec;
    if (json_peek(r) != JSON_ARRAY)
        return error_set(err, STATUS_INVALID_ARGUMENT, "\"instances\" must be a list");
    struct json_reader ahead = *r;
    json_enter_array(&ahead);
    if (!json_next_element(&ahead))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "\"instances\" must have at least one element");
    bool is_object = json_peek(&ahead) == JSON_OBJECT;
    if (m->n_inputs == 1 && !(is_object && is_by_name(&ahead, m)))
        return read_stacked(c, r, err);
    return read_objects(c, r, err);
}

/* --- outputs to predictions --- */

/* Instance i of output `t`; the whole of it when there is no batch dimension. */
static struct tensor instance_of(const struct infer_call *c, const struct tensor *t, size_t i,
                                 size_t n) {
    struct tensor one = *t;
    if (c->is_unstacked || t->rank == 0 || t->dtype == DTYPE_BYTES)
        return one;
    one.rank--;
    memmove(one.dims, one.dims + 1, one.rank * sizeof *one.dims);
    one.size = t->size / n;
    one.data = (char *)t->data + i * one.size;
    return one;
}

static status write_objects(struct buffer *b, const struct infer_call *c, size_t n,
                            struct error *err) {
    const struct model_spec *m = &c->version->spec;
    TRY(buffer_append_str(b, STR("["), err));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < m->n_outputs; k++) {
            TRY(buffer_append_str(b, k ? STR(",") : i ? STR(",{") : STR("{"), err));
            TRY(json_quote(b, m->outputs[k].name, err));
            TRY(buffer_append_str(b, STR(":"), err));
            struct tensor one = instance_of(c, &c->results[k], i, n);
            TRY(json_tensor_write(b, &one, JSON_TENSOR_NESTED | JSON_TENSOR_B64, err));
        }
        TRY(buffer_append_str(b, STR("}"), err));
    }
    return buffer_append_str(b, STR("]"), err);
}

/* Every output has its instances in its first dimension; false: the first that has not. */
static bool is_stacked(const struct infer_call *c, size_t n) {
    for (size_t k = 0; k < c->version->spec.n_outputs; k++)
        if (c->results[k].rank == 0 || c->results[k].dims[0] != (int64_t)n)
            return false;
    return true;
}

static status write_predictions(struct buffer *b, struct infer_call *c, struct error *err) {
    const struct model_spec *m = &c->version->spec;
    const struct tensor *first = &c->results[0];
    size_t n = first->rank && !c->is_unstacked ? (size_t)first->dims[0] : 1;
    if (!c->is_unstacked && !is_stacked(c, n))
        c->is_unstacked = true, n = 1;
    TRY(buffer_append_str(b, STR("{\"predictions\":"), err));
    if (m->n_outputs > 1) {
        TRY(write_objects(b, c, n, err));
    } else {
        if (c->is_unstacked)
            TRY(buffer_append_str(b, STR("["), err));
        TRY(json_tensor_write(b, first, JSON_TENSOR_NESTED | JSON_TENSOR_B64, err));
        if (c->is_unstacked)
            TRY(buffer_append_str(b, STR("]"), err));
    }
    return buffer_append_str(b, STR("}"), err);
}

static void predict_answer(struct exchange *x) {
    struct infer_call *c = x->user;
    struct error err = {0};
    if (c->code != STATUS_OK) {
        reply_error(x, c->code, c->text);
        return;
    }
    struct buffer *b = service_scratch(x);
    status code = write_predictions(b, c, &err);
    reply_json(x, code, b, &err);
}

/* --- the predict route --- */

enum predict_kind { PREDICT_INSTANCES, PREDICT_INPUTS, PREDICT_NEITHER };

/* What the top of the JSON object has first; leaves the reader before the value of "instances". */
static enum predict_kind predict_kind(struct json_reader *r) {
    struct json_string key;
    if (!json_enter_object(r))
        return PREDICT_NEITHER;
    while (json_next_member(r, &key)) {
        if (json_string_is(key, STR("instances")))
            return PREDICT_INSTANCES;
        if (json_string_is(key, STR("inputs")))
            return PREDICT_INPUTS;
        json_skip(r, NULL);
    }
    return PREDICT_NEITHER;
}

static void refuse_neither(struct exchange *x, const struct json_reader *r) {
    struct error err = {0};
    if (r->problem)
        error_set(&err, STATUS_INVALID_ARGUMENT, "the body is no JSON object: %s", r->err->text);
    else
        error_set(&err, STATUS_INVALID_ARGUMENT,
                  "the body has neither \"instances\" (Vertex AI) nor \"inputs\" (KServe v2)");
    reply_error(x, err.code, err.text);
}

/* The body as text. One that cannot be unpacked is left as it is: v2's reader says why. */
static str plain_body(const struct service *s, struct exchange *x) {
    str name = exchange_header(x, STR("Content-Encoding"));
    encoding e;
    if (name.n == 0 || !encoding_from_name(name, &e) || e == ENCODING_IDENTITY)
        return x->body;
    struct buffer *text = arena_new(&x->arena, struct buffer);
    struct error ignored;
    text->size_max = s->input_size_max;
    arena_defer(&x->arena, buffer_over, text);
    return encoding_unpack(e, x->body, text, &ignored) == STATUS_OK ? buffer_str(text) : (str){0};
}

/* What follows the instances. "parameters" are skipped: no backend would take them. */
static status read_rest(struct json_reader *r, struct error *err) {
    struct json_string key;
    while (json_next_member(r, &key)) {
        if (json_string_is(key, STR("instances")))
            return error_set(err, STATUS_INVALID_ARGUMENT, "\"instances\" is there twice");
        json_skip(r, NULL);
    }
    if (json_reader_finish(r) != STATUS_OK)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s", r->err->text);
    return STATUS_OK;
}

static void predict_body_done(struct exchange *x) {
    struct route_call *route = x->user;
    struct error err = {0}, reader_error = {0};
    struct json_reader r;
    str body = plain_body(route->service, x);
    json_reader_init(&r, body, &reader_error);
    enum predict_kind kind = body.p ? predict_kind(&r) : PREDICT_INPUTS;
    if (kind == PREDICT_INPUTS) {
        infer_body_done(x);
        return;
    }
    if (kind == PREDICT_NEITHER) {
        refuse_neither(x, &r);
        return;
    }
    struct infer_call *c = infer_call_new(route, x, predict_answer);
    if (!c)
        return;
    status code = read_instances(c, &r, &err);
    if (code == STATUS_OK)
        code = read_rest(&r, &err);
    if (code != STATUS_OK) {
        reply_error(x, code, err.text);
        return;
    }
    memset(c->is_wanted, true, c->version->spec.n_outputs);
    predict_start(c);
}

static status default_model(struct service *s, struct arena *a, str *out, struct error *err) {
    *out = s->default_model;
    if (s->default_model.n)
        return STATUS_OK;
    struct model_version **versions;
    size_t n = repository_list(s->repository, (str){0}, a, &versions);
    bool is_only = n > 0;
    for (size_t i = 0; i < n; i++) {
        is_only = is_only && str_eq(versions[i]->spec.name, versions[0]->spec.name);
        if (i == 0)
            *out = str_copy(a, versions[0]->spec.name);
    }
    for (size_t i = 0; i < n; i++)
        model_version_unref(versions[i]);
    if (!is_only)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Expect the model repository contains only a single model if default "
                         "model is not specified");
    return STATUS_OK;
}

status service_check_vertex(struct service *s, struct error *err) {
    struct arena a = {0};
    struct model_version *v = NULL;
    str name;
    status code = default_model(s, &a, &name, err);
    if (code == STATUS_OK && repository_find(s->repository, name, -1, &v, err) != STATUS_OK)
        code = error_set(err, STATUS_INVALID_ARGUMENT, "Expect the default model '%.*s' is loaded",
                         STR_ARG(name));
    model_version_unref(v);
    arena_release(&a);
    return code;
}

/* May the redirect header lead there? Otherwise Triton answers 400 without a text. */
static bool is_redirect_allowed(str path) {
    static const char *const refused[] = {"/v2/logging", "/v2/trace"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (str_starts(path, str_from_c(refused[i])))
            return false;
    return str_starts(path, STR("/v2")) && !str_ends(path, STR("/generate")) &&
           !str_ends(path, STR("/generate_stream")) && !str_ends(path, STR("/trace/setting"));
}

static void redirect(struct service *s, struct exchange *x, str target) {
    if (!str_eq(x->method, STR("POST"))) {
        reply_empty(x, 405);
        return;
    }
    str path = str_format(&x->arena, "/%.*s", STR_ARG(target));
    if (str_eq(target, STR("metrics")))
        service_answer_metrics(s, x);
    else if (is_redirect_allowed(path))
        route_dispatch(s, (str){0}, path, x);
    else
        reply_empty(x, 400);
}

static void predict(struct service *s, struct exchange *x) {
    str target = exchange_header(x, STR("X-Vertex-Ai-Triton-Redirect"));
    if (target.p) {
        redirect(s, x, target);
        return;
    }
    if (!str_eq(x->method, STR("POST"))) {
        reply_error_http(x, 405, "Method Not Allowed");
        return;
    }
    struct error err = {0};
    struct route_call *route = arena_new(&x->arena, struct route_call);
    route->service = s;
    route->version = -1;
    route->is_vertex = true;
    status code = default_model(s, &x->arena, &route->model, &err);
    if (code != STATUS_OK) {
        reply_error(x, code, err.text);
        return;
    }
    static const char mime[] = "application/vnd.vertex-ai-triton.binary+json;json-header-size=";
    str content_type = exchange_header(x, STR("Content-Type"));
    x->user = route;
    if (str_starts(content_type, str_from_c(mime))) {
        route->header_length = str_slice(content_type, sizeof mime - 1, content_type.n);
        exchange_collect(x, infer_body_max(s, true), infer_body_done);
    } else {
        exchange_collect(x, infer_body_max(s, false), predict_body_done);
    }
}

/* False: neither of the contract's routes. */
static bool handle_contract(struct service *s, struct exchange *x) {
    if (s->predict_route.n && str_eq(x->path, s->predict_route)) {
        predict(s, x);
    } else if (s->health_route.n && str_eq(x->path, s->health_route)) {
        if (str_eq(x->method, STR("GET")))
            reply_empty(x, service_is_ready(s) ? 200 : 400);
        else
            reply_error_http(x, 405, "Method Not Allowed");
    } else {
        return false;
    }
    return true;
}

void service_handle_vertex(void *arg, struct exchange *x) {
    struct service *s = arg;
    service_log_access(s, x);
    if (!handle_contract(s, x))
        reply_empty(x, 400);
}

void service_handle_replica(void *arg, struct exchange *x) {
    struct service *s = arg;
    service_log_access(s, x);
    if (handle_contract(s, x))
        return;
    if (str_eq(x->path, STR("/metrics")))
        service_handle_metrics(s, x);
    else
        route_dispatch(s, x->method, x->path, x);
}
