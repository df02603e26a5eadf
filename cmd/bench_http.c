/* bench_http.c - asks a server of KServe v2 for one model again and again, in the binary form. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/thread.h"
#include "bench.h"
#include "codec/json.h"
#include "codec/npy.h"
#include "compiler/compile.h"
#include "model.h"
#include "net/http_call.h"

struct target {
    str address; /* HOST:PORT, in `a` */
    str path;    /* /v2/models/NAME */
};

static status parse_url(struct target *out, const char *url, struct arena *a, struct error *err) {
    str rest = str_from_c(url + strlen("http://"));
    ptrdiff_t slash = str_find(rest, '/');
    if (slash <= 0 || !str_starts(str_slice(rest, (size_t)slash, rest.n), STR("/v2/models/")))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "wanted http://HOST:PORT/v2/models/NAME, found \"%.200s\"", url);
    str host = str_slice(rest, 0, (size_t)slash);
    bool has_port = str_find_last(host, ':') > str_find_last(host, ']');
    out->address = has_port ? host : str_format(a, "%.*s:80", STR_ARG(host));
    out->path = str_slice(rest, (size_t)slash, rest.n);
    while (str_ends(out->path, STR("/")))
        out->path.n--;
    return STATUS_OK;
}

static status check_reply(const struct http_reply *r, const char *what, struct error *err) {
    if (r->status == 200)
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE, "%s: HTTP %d: %.*s", what, r->status,
                     STR_ARG(str_slice(buffer_str(&r->body), 0, 300)));
}

static const struct json_value *find_input(const struct json_value *metadata, str name) {
    const struct json_value *list = json_get(metadata, "inputs");
    for (const struct json_value *v = list ? list->first : NULL; v; v = v->next)
        if (json_get(v, "name") && str_eq(json_get(v, "name")->text, name))
            return v;
    return NULL;
}

static status check_name(const struct json_value *metadata, const char *option, str name,
                         struct map *given, struct error *err) {
    name = str_slice(name, 0, 200);
    if (!find_input(metadata, name))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the model has no input \"%.*s\"",
                         option, STR_ARG(name));
    if (map_set(given, name, given))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: \"%.*s\" is given twice", option,
                         STR_ARG(name));
    return STATUS_OK;
}

/* Names on the command line are inputs of the model, each once, and no input is left out. */
static status check_names(const struct json_value *metadata, const struct option_list *inputs,
                          const struct option_list *shapes, struct error *err) {
    struct map with_file CLEANUP(map_done) = {0};
    struct map with_shape CLEANUP(map_done) = {0};
    const struct json_value *list = json_get(metadata, "inputs");
    for (size_t i = 0; i < inputs->n; i++) {
        str name;
        const char *file;
        if (!model_split_input(inputs->items[i], &name, &file))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "--input: wanted NAME=FILE.npy, found \"%s\"", inputs->items[i]);
        TRY(check_name(metadata, "--input", name, &with_file, err));
    }
    for (size_t i = 0; i < shapes->n; i++) {
        struct compile_shape shape;
        TRY(compile_shape_parse(&shape, shapes->items[i], err));
        TRY(check_name(metadata, "--shape", shape.input, &with_shape, err));
        const struct json_value *dims = json_get(find_input(metadata, shape.input), "shape");
        if (!dims || dims->n != shape.rank)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "--shape=%s has %zu dims, the model's input has %zu", shapes->items[i],
                             shape.rank, dims ? dims->n : 0);
    }
    for (const struct json_value *v = list ? list->first : NULL; inputs->n && v; v = v->next) {
        str name = json_get(v, "name") ? json_get(v, "name")->text : STR("");
        if (!map_get(&with_file, name))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "input \"%.*s\" is missing; give --input=%.*s=FILE.npy",
                             STR_ARG(str_slice(name, 0, 100)), STR_ARG(str_slice(name, 0, 100)));
    }
    return STATUS_OK;
}

/* One input of the request: from its file, or random with free dims of 1 (or as --shape says). */
static status make_input(struct tensor *t, const struct json_value *described,
                         const struct option_list *inputs, const struct option_list *shapes,
                         struct arena *a, struct error *err) {
    str name, type;
    if (!json_to_str(json_get(described, "name"), &name) ||
        !json_to_str(json_get(described, "datatype"), &type))
        return error_set(err, STATUS_DATA_LOSS, "the server's metadata has an input without name");
    for (size_t i = 0; i < inputs->n; i++) {
        str word;
        const char *file;
        if (model_split_input(inputs->items[i], &word, &file) && str_eq(word, name))
            return npy_open(t, file, err);
    }
    *t = (struct tensor){.dtype = dtype_from_kserve_name(type)};
    struct compile_shape shape = {0};
    for (size_t i = 0; i < shapes->n; i++) {
        struct compile_shape one;
        TRY(compile_shape_parse(&one, shapes->items[i], err));
        if (str_eq(one.input, name))
            shape = one;
    }
    const struct json_value *dims = json_get(described, "shape");
    for (const struct json_value *d = dims ? dims->first : NULL; d; d = d->next) {
        int64_t n = 0;
        if (t->rank == TENSOR_RANK_MAX || !json_to_i64(d, &n))
            return error_set(err, STATUS_DATA_LOSS, "the server's metadata has a wrong shape");
        if (shape.rank == dims->n && shape.dims[t->rank] >= 0)
            n = shape.dims[t->rank];
        t->dims[t->rank++] = n < 0 ? 1 : n;
    }
    int64_t n = tensor_n_elements(t);
    size_t element = t->dtype == DTYPE_BYTES ? sizeof(uint32_t) : dtype_size(t->dtype);
    if (n < 0 || element == 0)
        return error_set(err, STATUS_UNIMPLEMENTED, "input \"%.*s\": datatype \"%.*s\"",
                         STR_ARG(name), STR_ARG(type));
    t->size = (size_t)n * element; /* BYTES: empty texts, all lengths zero */
    t->data = arena_alloc(a, t->size + 1, 64);
    model_fill_random(t, (uint64_t)n);
    return STATUS_OK;
}

/* The body of the infer request, JSON first, then the inputs' bytes; in *json_size where they
 * begin. */
static status make_body(struct buffer *out, size_t *json_size, const struct json_value *metadata,
                        const struct option_list *inputs, const struct option_list *shapes,
                        struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    const struct json_value *list = json_get(metadata, "inputs");
    size_t n = list ? list->n : 0;
    struct tensor *tensors = arena_array(&a, struct tensor, n + 1);
    struct json_writer w;
    json_writer_init(&w, out, err);
    json_begin_object(&w);
    json_key(&w, STR("inputs"));
    json_begin_array(&w);
    const struct json_value *v = list ? list->first : NULL;
    for (size_t i = 0; v; i++, v = v->next) {
        struct tensor *t = &tensors[i];
        TRY(make_input(t, v, inputs, shapes, &a, err));
        json_begin_object(&w);
        json_member_string(&w, "name", json_get(v, "name")->text);
        json_member_string(&w, "datatype", str_from_c(dtype_kserve_name(t->dtype)));
        json_key(&w, STR("shape"));
        json_begin_array(&w);
        for (size_t d = 0; d < t->rank; d++)
            json_i64(&w, t->dims[d]);
        json_end_array(&w);
        json_key(&w, STR("parameters"));
        json_begin_object(&w);
        json_member_u64(&w, "binary_data_size", t->size);
        json_end_object(&w);
        json_end_object(&w);
    }
    json_end_array(&w);
    json_key(&w, STR("parameters"));
    json_begin_object(&w);
    json_member_bool(&w, "binary_data_output", true);
    json_end_object(&w);
    json_end_object(&w);
    TRY(json_writer_finish(&w));
    *json_size = out->n;
    for (size_t i = 0; i < n; i++) {
        TRY(buffer_append(out, tensors[i].data, tensors[i].size, err));
        tensor_release(&tensors[i]);
    }
    return STATUS_OK;
}

static status ask_metadata(struct buffer *body, size_t *json_size, const struct target *t,
                           const struct option_list *inputs, const struct option_list *shapes,
                           struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    struct http_reply reply CLEANUP(http_reply_done) = {0};
    TRY(http_call(&reply, t->address, &(struct http_request){.target = t->path}, err));
    TRY(check_reply(&reply, "model metadata", err));
    struct json_value *metadata;
    TRY(json_parse(&metadata, &a, buffer_str(&reply.body), err));
    TRY(check_names(metadata, inputs, shapes, err));
    return make_body(body, json_size, metadata, inputs, shapes, err);
}

struct worker {
    const struct target *target;
    const struct buffer *body;
    size_t json_size;
    int64_t duration_ns;
    struct bench_samples samples;
    double seconds;
    status code;
    struct error err;
    pthread_t thread;
};

static status ask_once(struct http_link *link, const struct worker *w, struct error *err) {
    struct arena a CLEANUP(arena_release) = {0};
    struct http_reply reply CLEANUP(http_reply_done) = {0};
    const struct http_header headers[] = {
        {.name = STR("Inference-Header-Content-Length"),
         .value = str_format(&a, "%zu", w->json_size)},
        {.name = STR("Content-Type"), .value = STR("application/octet-stream")},
    };
    const struct http_request request = {
        .method = STR("POST"),
        .target = str_format(&a, "%.*s/infer", STR_ARG(w->target->path)),
        .headers = headers,
        .n_headers = ARRAY_LEN(headers),
        .body = buffer_str(w->body),
    };
    TRY(http_link_call(link, &reply, &request, err));
    return check_reply(&reply, "infer", err);
}

static status ask_all(struct worker *w, struct error *err) {
    enum { WARM_UPS = 3 };
    CLEANUP(http_link_closep) struct http_link *link = NULL;
    TRY(http_link_open(&link, w->target->address, err));
    for (int i = 0; i < WARM_UPS; i++)
        TRY(ask_once(link, w, err));
    int64_t start = clock_now(clock_system()), now = start;
    while (now - start < w->duration_ns) {
        int64_t before = now;
        TRY(ask_once(link, w, err));
        now = clock_now(clock_system());
        bench_add(&w->samples, now - before);
    }
    w->seconds = (double)(now - start) / NS_PER_S;
    return STATUS_OK;
}

static void work(void *arg) {
    struct worker *w = arg;
    w->code = ask_all(w, &w->err);
}

/* Joins the first n workers and moves their samples to `out`. */
static status collect(struct bench_samples *out, double *seconds, struct worker *workers,
                      unsigned n, struct error *err) {
    status code = STATUS_OK;
    for (unsigned i = 0; i < n; i++) {
        struct worker *w = &workers[i];
        thread_join(w->thread);
        for (size_t k = 0; k < w->samples.n; k++)
            bench_add(out, w->samples.ns[k]);
        out->n_runs += w->samples.n_runs - w->samples.n;
        free(w->samples.ns);
        *seconds = w->seconds > *seconds ? w->seconds : *seconds;
        if (w->code != STATUS_OK && code == STATUS_OK) {
            code = w->code;
            *err = w->err;
        }
    }
    return code;
}

status bench_http(struct bench_samples *out, double *seconds, const char *url,
                  const struct option_list *inputs, const struct option_list *shapes,
                  unsigned n_connections, double duration_s, struct error *err) {
    struct target target;
    CLEANUP(buffer_done) struct buffer body = {0};
    size_t json_size = 0;
    struct arena a CLEANUP(arena_release) = {0};
    TRY(parse_url(&target, url, &a, err));
    TRY(ask_metadata(&body, &json_size, &target, inputs, shapes, err));
    struct worker *workers = arena_array(&a, struct worker, n_connections);
    status code = STATUS_OK;
    unsigned n = 0;
    for (; n < n_connections && code == STATUS_OK; n++) {
        workers[n] = (struct worker){.target = &target,
                                     .body = &body,
                                     .json_size = json_size,
                                     .duration_ns = (int64_t)(duration_s * NS_PER_S)};
        code = thread_start(&workers[n].thread, "bench", work, &workers[n], err);
        if (code != STATUS_OK)
            break;
    }
    struct error from_worker;
    status collected = collect(out, seconds, workers, n, &from_worker);
    if (code == STATUS_OK && collected != STATUS_OK) {
        *err = from_worker;
        return collected;
    }
    return code;
}
