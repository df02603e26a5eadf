#include "server/protocol/predict_split.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct predict_split {
    void (*finish)(struct exchange *x);
    struct tensor *inputs;       /* [c->n_named], whole */
    struct buffer *outputs;      /* [n_outputs], of the batches so far */
    struct tensor *shapes;       /* [n_outputs], of the first batch */
    int64_t n, at, n_part, size; /* instances: all, done, of the batch that runs, of a full one */
};

static void buffer_over(void *arg) {
    buffer_done(arg);
}

/* How many instances the model takes at once: a batch, or what a model without batches has fixed
 * as its first dimension, which is one in most files that were exported without dynamic axes.
 * 0: no number follows. */
static int64_t part_size(const struct model_spec *m) {
    if (m->max_batch_size >= 1)
        return m->max_batch_size;
    int64_t n = m->n_inputs && m->inputs[0].rank ? m->inputs[0].dims[0] : 0;
    for (size_t k = 0; k < m->n_inputs; k++)
        if (m->inputs[k].rank == 0 || m->inputs[k].dims[0] != n)
            return 0;
    for (size_t k = 0; k < m->n_outputs; k++)
        if (m->outputs[k].rank == 0 || m->outputs[k].dims[0] != n)
            return 0;
    return n < 1 ? 0 : n;
}

/* Must and can the call be cut along the first dimension? Texts cannot: their elements differ in
 * size. */
static bool is_too_large(const struct infer_call *c) {
    const struct model_spec *m = &c->version->spec;
    int64_t size = part_size(m);
    if (size < 1 || c->n_named == 0)
        return false;
    int64_t n = c->named[0].tensor.dims[0];
    if (m->max_batch_size < 1 && n % size != 0)
        return false;
    for (size_t k = 0; k < c->n_named; k++) {
        const struct tensor *t = &c->named[k].tensor;
        if (t->rank == 0 || t->dims[0] != n || dtype_size(t->dtype) == 0)
            return false;
    }
    for (size_t k = 0; k < m->n_outputs; k++)
        if (dtype_size(m->outputs[k].dtype) == 0)
            return false;
    return n > size;
}

static void start_part(struct infer_call *c) {
    struct predict_split *p = c->split;
    const struct model_spec *m = &c->version->spec;
    p->n_part = p->n - p->at < p->size ? p->n - p->at : p->size;
    for (size_t k = 0; k < c->n_named; k++) {
        struct tensor *t = &c->named[k].tensor;
        size_t stride = p->inputs[k].size / (size_t)p->n;
        *t = p->inputs[k];
        t->dims[0] = p->n_part;
        t->size = stride * (size_t)p->n_part;
        t->data = (char *)p->inputs[k].data + stride * (size_t)p->at;
    }
    memset(c->request.inputs, 0, m->n_inputs * sizeof *c->request.inputs);
    infer_call_start(c);
}

static status keep_output(struct predict_split *p, size_t k, const struct tensor *t,
                          struct error *err) {
    struct tensor *shape = &p->shapes[k];
    if (p->at == 0) {
        *shape = *t;
        shape->release = NULL;
    }
    size_t tail = t->rank ? (t->rank - 1) * sizeof *t->dims : 0;
    if (t->rank == 0 || t->rank != shape->rank || t->dims[0] != p->n_part ||
        memcmp(t->dims + 1, shape->dims + 1, tail) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "instances %" PRId64 " and on have predictions of another shape than "
                         "those before them; send them in a request of their own",
                         p->at);
    return buffer_append(&p->outputs[k], t->data, t->size, err);
}

static void part_over(struct exchange *x) {
    struct infer_call *c = x->user;
    struct predict_split *p = c->split;
    struct error err = {0};
    for (size_t k = 0; k < c->version->spec.n_outputs && c->code == STATUS_OK; k++) {
        c->code = keep_output(p, k, &c->results[k], &err);
        tensor_release(&c->results[k]);
        if (c->code != STATUS_OK)
            snprintf(c->text, sizeof c->text, "%s", err.text);
    }
    p->at += p->n_part;
    if (c->code == STATUS_OK && p->at < p->n) {
        start_part(c);
        return;
    }
    for (size_t k = 0; k < c->version->spec.n_outputs && c->code == STATUS_OK; k++) {
        c->results[k] = p->shapes[k];
        c->results[k].dims[0] = p->n;
        c->results[k].data = p->outputs[k].p;
        c->results[k].size = p->outputs[k].n;
    }
    c->finish = p->finish;
    c->finish(x);
}

void predict_start(struct infer_call *c) {
    if (!is_too_large(c)) {
        infer_call_start(c);
        return;
    }
    struct arena *a = &c->x->arena;
    size_t n_outputs = c->version->spec.n_outputs;
    struct predict_split *p = c->split = arena_new(a, struct predict_split);
    p->finish = c->finish;
    p->n = c->named[0].tensor.dims[0];
    p->size = part_size(&c->version->spec);
    p->inputs = arena_array(a, struct tensor, c->n_named);
    p->outputs = arena_array(a, struct buffer, n_outputs);
    p->shapes = arena_array(a, struct tensor, n_outputs);
    for (size_t k = 0; k < c->n_named; k++)
        p->inputs[k] = c->named[k].tensor;
    for (size_t k = 0; k < n_outputs; k++) {
        p->outputs[k].size_max = c->service->input_size_max * BINARY_BODY_FACTOR;
        arena_defer(a, buffer_over, &p->outputs[k]);
    }
    c->finish = part_over;
    start_part(c);
}
