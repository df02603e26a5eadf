#include "server/protocol/infer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "server/scheduler/scheduler.h"

static void call_over(void *arg) {
    struct infer_call *c = arg;
    const struct model_spec *m = &c->version->spec;
    for (size_t i = 0; i < c->n_named; i++)
        tensor_release(&c->named[i].tensor);
    for (size_t i = 0; i < m->n_inputs; i++)
        tensor_release(&c->request.inputs[i]);
    for (size_t i = 0; i < m->n_outputs; i++)
        tensor_release(&c->results[i]);
    model_version_unref(c->version);
}

/* On the loop's thread, once the last response has come. */
static void call_finish(struct exchange *x) {
    struct infer_call *c = x->user;
    c->finish(x);
}

/* On the backend's thread, or on the loop's when the model ran there. */
static void call_respond(struct infer_request *r, struct infer_response *response) {
    struct infer_call *c = r->owner;
    struct exchange *x = c->x;
    c->code = response->code;
    if (response->code != STATUS_OK)
        snprintf(c->text, sizeof c->text, "%s", response->text ? response->text : "");
    else
        memcpy(c->results, response->outputs,
               c->version->spec.n_outputs * sizeof *response->outputs);
    if (loop_is_current(x->loop))
        call_finish(x);
    else
        exchange_post(x, call_finish);
}

static void call_cancelled(struct exchange *x) {
    struct infer_call *c = x->user;
    infer_request_cancel(&c->request);
}

struct infer_call *infer_call_new(struct route_call *route, struct exchange *x,
                                  void (*finish)(struct exchange *x)) {
    struct error err = {0};
    struct model_version *v;
    status code = route_find_model(route, &v, &err);
    if (code != STATUS_OK) {
        reply_error(x, code, err.text);
        return NULL;
    }
    struct infer_call *c = arena_new(&x->arena, struct infer_call);
    size_t n_outputs = v->spec.n_outputs;
    c->x = x;
    c->service = route->service;
    c->version = v;
    c->finish = finish;
    c->request.model = &v->spec;
    c->request.inputs = arena_array(&x->arena, struct tensor, v->spec.n_inputs + 1);
    c->request.respond = call_respond;
    c->request.owner = c;
    c->capacity = v->spec.n_inputs + 1;
    c->named = arena_array(&x->arena, struct infer_named, c->capacity);
    c->binary_sizes = arena_array(&x->arena, size_t, c->capacity);
    c->wishes = arena_array(&x->arena, struct output_wish, n_outputs + 1);
    c->is_wanted = arena_array(&x->arena, bool, n_outputs + 1);
    c->results = arena_array(&x->arena, struct tensor, n_outputs + 1);
    arena_defer(&x->arena, call_over, c);
    x->user = c;
    return c;
}

struct infer_named *infer_call_input(struct infer_call *c, struct error *err) {
    if (c->n_named == c->capacity) {
        size_t capacity = 2 * c->capacity;
        if (c->n_named >= INFER_INPUTS_MAX) {
            error_set(err, STATUS_INVALID_ARGUMENT, "request has more than %d inputs",
                      INFER_INPUTS_MAX);
            return NULL;
        }
        struct infer_named *named = arena_array(&c->x->arena, struct infer_named, capacity);
        size_t *sizes = arena_array(&c->x->arena, size_t, capacity);
        memcpy(named, c->named, c->n_named * sizeof *named);
        memcpy(sizes, c->binary_sizes, c->n_named * sizeof *sizes);
        c->named = named;
        c->binary_sizes = sizes;
        c->capacity = capacity;
    }
    c->binary_sizes[c->n_named] = SIZE_MAX;
    return &c->named[c->n_named++];
}

static void free_space(void *arg) {
    free(arg);
}

status infer_call_space(struct infer_call *c, size_t size, void **out, struct error *err) {
    if (size <= INFER_SMALL_TENSOR) {
        *out = arena_alloc(&c->x->arena, size ? size : 1, 64);
        return STATUS_OK;
    }
    *out = buffer_alloc(size);
    if (!*out)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a tensor of %zu bytes",
                         size);
    arena_defer(&c->x->arena, free_space, *out);
    return STATUS_OK;
}

void infer_call_start(struct infer_call *c) {
    struct error err = {0};
    status code = infer_request_bind(&c->request, c->named, c->n_named, &err);
    c->request.is_wanted = c->is_wanted;
    c->x->on_cancel = call_cancelled;
    if (code == STATUS_OK)
        code = scheduler_push(c->version->scheduler, &c->request, &err);
    if (code != STATUS_OK)
        reply_error(c->x, code, err.text);
}
