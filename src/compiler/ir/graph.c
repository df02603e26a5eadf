#include "compiler/ir/graph.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

static void names_done(void *arg) {
    map_done(arg);
}

struct graph *graph_new(struct arena *a) {
    struct graph *g = arena_new(a, struct graph);
    g->arena = a;
    dim_pool_init(&g->pool, a);
    arena_defer(a, names_done, &g->names);
    return g;
}

/* Makes room for one more element in an array that lives in the arena. */
static void *grow(struct graph *g, void *old, uint32_t n, uint32_t *capacity, size_t elem) {
    if (n < *capacity)
        return old;
    uint32_t wanted = *capacity ? *capacity * 2 : 4;
    void *p = arena_alloc(g->arena, array_size(elem, wanted), _Alignof(max_align_t));
    if (n)
        memcpy(p, old, n * elem);
    *capacity = wanted;
    return p;
}

static str unique_name(struct graph *g, str name) {
    if (name.n && !map_get(&g->names, name))
        return name;
    for (uint32_t i = g->n_values;; i++) {
        str s = name.n ? str_format(g->arena, "%.*s.%u", STR_ARG(name), i)
                       : str_format(g->arena, "%u", i);
        if (!map_get(&g->names, s))
            return s;
    }
}

struct value *graph_value(struct graph *g, str name) {
    struct value *v = arena_new(g->arena, struct value);
    v->id = g->n_values;
    v->graph = g;
    v->has_own_name = name.n > 0;
    v->name = str_copy(g->arena, unique_name(g, name));
    v->info.rank = -1;
    map_set(&g->names, v->name, v);
    g->values = grow(g, g->values, g->n_values, &g->values_capacity, sizeof *g->values);
    g->values[g->n_values++] = v;
    return v;
}

struct value *graph_find(const struct graph *g, str name) {
    return map_get(&g->names, name);
}

/* The elements of a small integer constant as dims. */
static void constant_contents(struct graph *g, struct op_value *info, const struct tensor *t) {
    int64_t n = tensor_n_elements(t);
    if (n < 0 || n > OP_CONTENTS_MAX ||
        (t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32 && t->dtype != DTYPE_BOOL))
        return;
    dim *d = arena_array(g->arena, dim, (size_t)n + 1);
    for (int64_t i = 0; i < n; i++) {
        if (t->dtype == DTYPE_I64)
            d[i] = ((const int64_t *)t->data)[i];
        else if (t->dtype == DTYPE_I32)
            d[i] = ((const int32_t *)t->data)[i];
        else
            d[i] = ((const uint8_t *)t->data)[i] != 0;
        if (d[i] >= DIM_EXPR) /* INT64_MAX as the end of a Slice must not read as an expression */
            d[i] = DIM_EXPR - 1;
        else if (d[i] <= -DIM_EXPR)
            d[i] = 1 - DIM_EXPR;
    }
    info->contents = d;
    info->n_contents = (size_t)n;
}

static bool is_aligned(const struct tensor *t) {
    size_t align = dtype_size(t->dtype);
    return align <= 1 || (uintptr_t)t->data % align == 0;
}

static struct value *constant_new(struct graph *g, str name, const struct tensor *t) {
    struct value *v = graph_value(g, name);
    struct tensor *copy = arena_new(g->arena, struct tensor);
    *copy = *t;
    copy->release = NULL;
    if (t->size && t->size <= GRAPH_ALIGNED_SIZE && !is_aligned(t)) {
        copy->data = arena_alloc(g->arena, t->size, dtype_size(t->dtype));
        memcpy(copy->data, t->data, t->size);
    }
    v->info.dtype = t->dtype;
    v->info.rank = (int8_t)t->rank;
    memcpy(v->info.dims, t->dims, sizeof t->dims);
    v->info.constant = copy;
    constant_contents(g, &v->info, copy);
    return v;
}

struct value *graph_constant(struct graph *g, str name, const struct tensor *t) {
    return constant_new(g, name, t);
}

void *graph_alloc(struct graph *g, size_t size) {
    void *p = buffer_alloc(size ? size : 1);
    if (!p)
        return NULL;
    memset(p, 0, size);
    arena_defer(g->arena, free, p);
    return p;
}

bool value_is_aligned(const struct value *v) {
    return is_aligned(v->info.constant);
}

const void *value_data(const struct value *v) {
    const struct tensor *t = v->info.constant;
    if (is_aligned(t))
        return t->data;
    struct tensor *copy = arena_new(v->graph->arena, struct tensor);
    void *data = buffer_alloc(t->size);
    if (!data)
        return NULL;
    memcpy(data, t->data, t->size);
    arena_defer(v->graph->arena, free, data);
    *copy = *t;
    copy->data = data;
    value_rest(v);
    v->graph->values[v->id]->info.constant = copy;
    v->graph->values[v->id]->is_in_file = false;
    return data;
}

void value_rest(const struct value *v) {
    if (v->is_in_file)
        buffer_discard(v->info.constant->data, v->info.constant->size);
}

status graph_constant_copy(struct value **out, struct graph *g, dtype t, const int64_t *dims,
                           size_t rank, const void *data, struct error *err) {
    struct tensor tensor = {.dtype = t, .rank = (uint8_t)rank};
    assert(rank <= TENSOR_RANK_MAX);
    if (rank)
        memcpy(tensor.dims, dims, rank * sizeof *dims);
    char text[DIMS_TEXT_SIZE];
    if (!tensor_size(t, dims, rank, &tensor.size) || !(tensor.data = graph_alloc(g, tensor.size)))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a constant %s%s",
                         dtype_name(t), dims_format(dims, rank, text));
    if (data && tensor.size)
        memcpy(tensor.data, data, tensor.size);
    *out = constant_new(g, (str){0}, &tensor);
    return STATUS_OK;
}

struct value *graph_constant_f32(struct graph *g, float x) {
    float *p = arena_new(g->arena, float);
    *p = x;
    return constant_new(g, (str){0},
                        &(struct tensor){.dtype = DTYPE_F32, .data = p, .size = sizeof *p});
}

struct value *graph_constant_ints(struct graph *g, const int64_t *x, size_t n) {
    int64_t *p = arena_array(g->arena, int64_t, n + 1);
    if (n)
        memcpy(p, x, n * sizeof *x);
    struct tensor t = {.dtype = DTYPE_I64, .rank = 1, .data = p, .size = n * sizeof *x};
    t.dims[0] = (int64_t)n;
    return constant_new(g, (str){0}, &t);
}

void graph_add_input(struct graph *g, struct value *v) {
    g->inputs = grow(g, g->inputs, g->n_inputs, &g->inputs_capacity, sizeof *g->inputs);
    g->inputs[g->n_inputs++] = v;
    v->is_input = true;
}

void graph_add_output(struct graph *g, str name, struct value *v) {
    g->outputs = grow(g, g->outputs, g->n_outputs, &g->outputs_capacity, sizeof *g->outputs);
    g->outputs[g->n_outputs++] =
        (struct graph_output){.name = str_copy(g->arena, name), .value = v};
    v->n_output_uses++;
}

static void use_add(struct graph *g, struct value *v, struct node *n, uint32_t index) {
    if (!v)
        return;
    v->uses = grow(g, v->uses, v->n_uses, &v->uses_capacity, sizeof *v->uses);
    v->uses[v->n_uses++] = (struct use){.node = n, .index = index};
}

static void use_remove(struct value *v, const struct node *n, uint32_t index) {
    if (!v)
        return;
    for (uint32_t i = 0; i < v->n_uses; i++) {
        if (v->uses[i].node != n || v->uses[i].index != index)
            continue;
        memmove(v->uses + i, v->uses + i + 1, (v->n_uses - i - 1) * sizeof *v->uses);
        v->n_uses--;
        return;
    }
    assert(!"use not found");
}

/* Links `n` into the list before `before` (NULL: at the end). */
static void list_insert(struct graph *g, struct node *n, struct node *before) {
    n->next = before;
    n->prev = before ? before->prev : g->last;
    *(n->prev ? &n->prev->next : &g->first) = n;
    *(before ? &before->prev : &g->last) = n;
    g->n_nodes++;
}

static void list_remove(struct graph *g, struct node *n) {
    *(n->prev ? &n->prev->next : &g->first) = n->next;
    *(n->next ? &n->next->prev : &g->last) = n->prev;
    g->n_nodes--;
}

struct node *graph_insert_with(struct graph *g, struct node *before, op_id op,
                               struct value *const *in, size_t n_in, struct value *const *out,
                               size_t n_out) {
    struct node *n = arena_new(g->arena, struct node);
    n->id = g->next_node_id++;
    n->op = op;
    n->opset = op_get(op)->domain[0] ? 0 : before && before->opset ? before->opset : g->opset;
    if (before)
        n->name = before->name;
    n->n_in = (uint32_t)n_in;
    n->n_out = (uint32_t)n_out;
    n->in = arena_array(g->arena, struct value *, n_in + 1);
    n->out = arena_array(g->arena, struct value *, n_out + 1);
    for (uint32_t i = 0; i < n_in; i++) {
        n->in[i] = in[i];
        use_add(g, in[i], n, i);
    }
    for (uint32_t i = 0; i < n_out; i++) {
        n->out[i] = out[i];
        if (!out[i])
            continue;
        out[i]->def = n;
        out[i]->def_index = i;
    }
    list_insert(g, n, before);
    return n;
}

struct node *graph_insert(struct graph *g, struct node *before, op_id op, struct value *const *in,
                          size_t n_in, size_t n_out) {
    struct value **out = arena_array(g->arena, struct value *, n_out + 1);
    for (size_t i = 0; i < n_out; i++)
        out[i] = graph_value(g, (str){0});
    return graph_insert_with(g, before, op, in, n_in, out, n_out);
}

void node_set_input(struct graph *g, struct node *n, size_t i, struct value *v) {
    assert(i < n->n_in);
    use_remove(n->in[i], n, (uint32_t)i);
    n->in[i] = v;
    use_add(g, v, n, (uint32_t)i);
}

void node_set_inputs(struct graph *g, struct node *n, struct value *const *in, size_t n_in) {
    for (uint32_t i = 0; i < n->n_in; i++)
        use_remove(n->in[i], n, i);
    struct value **copy = arena_array(g->arena, struct value *, n_in + 1);
    for (uint32_t i = 0; i < n_in; i++) {
        copy[i] = in[i];
        use_add(g, in[i], n, i);
    }
    n->in = copy;
    n->n_in = (uint32_t)n_in;
}

void node_set_attr(struct graph *g, struct node *n, struct attr a) {
    struct attr *items = arena_array(g->arena, struct attr, n->attrs.n + 1);
    size_t i = 0;
    for (; i < n->attrs.n && !str_eq(n->attrs.items[i].name, a.name); i++)
        items[i] = n->attrs.items[i];
    bool is_there = i < n->attrs.n;
    items[i] = a;
    for (i++; i < n->attrs.n; i++)
        items[i] = n->attrs.items[i];
    n->attrs = (struct attr_list){.items = items, .n = n->attrs.n + !is_there};
}

void node_remove_attr(struct graph *g, struct node *n, const char *name) {
    struct attr *items = arena_array(g->arena, struct attr, n->attrs.n + 1);
    size_t kept = 0;
    for (size_t i = 0; i < n->attrs.n; i++)
        if (!str_eq_c(n->attrs.items[i].name, name))
            items[kept++] = n->attrs.items[i];
    n->attrs = (struct attr_list){.items = items, .n = kept};
}

/* Gives `new` the name of `old`, which gets a made-up one. */
static void name_move(struct graph *g, struct value *old, struct value *new) {
    str name = old->name;
    map_remove(&g->names, name);
    map_remove(&g->names, new->name);
    new->name = name;
    new->has_own_name = true;
    map_set(&g->names, name, new);
    old->has_own_name = false;
    old->name = unique_name(g, name);
    map_set(&g->names, old->name, old);
}

void graph_replace(struct graph *g, struct value *old, struct value *new) {
    if (old == new)
        return;
    for (uint32_t i = 0; i < old->n_uses; i++) {
        struct use u = old->uses[i];
        u.node->in[u.index] = new;
        use_add(g, new, u.node, u.index);
    }
    old->n_uses = 0;
    for (uint32_t i = 0; i < g->n_outputs && old->n_output_uses; i++) {
        if (g->outputs[i].value != old)
            continue;
        g->outputs[i].value = new;
        old->n_output_uses--;
        new->n_output_uses++;
    }
    if (!new->has_own_name && old->has_own_name && !old->is_input)
        name_move(g, old, new);
}

void graph_erase(struct graph *g, struct node *n) {
    assert(!n->is_erased);
    for (uint32_t i = 0; i < n->n_in; i++)
        use_remove(n->in[i], n, i);
    for (uint32_t i = 0; i < n->n_out; i++)
        assert(!n->out[i] || !value_is_used(n->out[i]));
    list_remove(g, n);
    n->is_erased = true;
}

static bool node_is_dead(const struct node *n) {
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] && value_is_used(n->out[i]))
            return false;
    return !n->is_erased;
}

void graph_erase_dead(struct graph *g, struct node *n) {
    if (!node_is_dead(n))
        return;
    /* A stack of its own: chains of dead nodes are as long as the model. */
    struct node **stack = arena_array(g->arena, struct node *, g->n_nodes + 1);
    size_t depth = 0;
    stack[depth++] = n;
    while (depth) {
        n = stack[--depth];
        graph_erase(g, n);
        for (uint32_t i = 0; i < n->n_in; i++) {
            struct node *def = n->in[i] ? n->in[i]->def : NULL;
            bool is_queued = false;
            for (uint32_t j = 0; j < i; j++)
                is_queued |= n->in[j] && n->in[j]->def == def;
            if (def && !is_queued && node_is_dead(def))
                stack[depth++] = def;
        }
    }
}

void graph_move_before(struct graph *g, struct node *n, struct node *before) {
    if (n == before)
        return;
    list_remove(g, n);
    list_insert(g, n, before);
}

/* Operands of `n` that other listed nodes make, each counted as often as it is read. */
static uint32_t pending_operands(const struct node *n) {
    uint32_t pending = 0;
    for (uint32_t i = 0; i < n->n_in; i++)
        pending += n->in[i] && n->in[i]->def;
    return pending;
}

/* A min-heap of nodes by position in the old order. */
struct heap {
    struct node **items;
    const uint32_t *position; /* by node id */
    size_t n;
};

static void heap_push(struct heap *h, struct node *n) {
    size_t i = h->n++;
    for (; i > 0 && h->position[h->items[(i - 1) / 2]->id] > h->position[n->id]; i = (i - 1) / 2)
        h->items[i] = h->items[(i - 1) / 2];
    h->items[i] = n;
}

static struct node *heap_pop(struct heap *h) {
    struct node *top = h->items[0], *last = h->items[--h->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n &&
            h->position[h->items[child + 1]->id] < h->position[h->items[child]->id])
            child++;
        if (h->position[h->items[child]->id] > h->position[last->id])
            break;
        h->items[i] = h->items[child];
    }
    h->items[i] = last;
    return top;
}

/* Is the order topological already? Most models are. */
static bool is_sorted(const struct graph *g, const uint32_t *position) {
    for (const struct node *n = g->first; n; n = n->next)
        for (uint32_t i = 0; i < n->n_in; i++)
            if (n->in[i] && n->in[i]->def && position[n->in[i]->def->id] >= position[n->id])
                return false;
    return true;
}

status graph_sort(struct graph *g, struct error *err) {
    uint32_t *position = arena_array(g->arena, uint32_t, g->next_node_id + 1);
    uint32_t at = 0;
    for (struct node *n = g->first; n; n = n->next)
        position[n->id] = at++;
    if (is_sorted(g, position))
        return STATUS_OK;
    uint32_t *pending = arena_array(g->arena, uint32_t, g->next_node_id + 1);
    struct heap ready = {.items = arena_array(g->arena, struct node *, g->n_nodes + 1),
                         .position = position};
    for (struct node *n = g->first; n; n = n->next)
        if ((pending[n->id] = pending_operands(n)) == 0)
            heap_push(&ready, n);
    uint32_t n_sorted = 0, n_nodes = g->n_nodes;
    struct node *first = NULL, *last = NULL;
    while (ready.n) {
        struct node *n = heap_pop(&ready);
        list_remove(g, n);
        n->prev = last;
        n->next = NULL;
        *(last ? &last->next : &first) = n;
        last = n;
        n_sorted++;
        for (uint32_t o = 0; o < n->n_out; o++)
            for (uint32_t u = 0; n->out[o] && u < n->out[o]->n_uses; u++)
                if (--pending[n->out[o]->uses[u].node->id] == 0)
                    heap_push(&ready, n->out[o]->uses[u].node);
    }
    const struct node *stuck = g->first;
    g->first = first; /* the rest, if any, is unreachable from here on: the caller gives up */
    g->last = last;
    g->n_nodes = n_nodes;
    if (n_sorted == n_nodes)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "the graph has a cycle: %s reads, through other nodes, its own result",
                     node_describe(g, g->arena, stuck).p);
}

struct attr attr_of_int(const char *name, int64_t i) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_INT, .i = i};
}

struct attr attr_of_float(const char *name, float f) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_FLOAT, .f = f};
}

struct attr attr_of_string(const char *name, str s) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_STRING, .s = s};
}

struct attr attr_of_ints(struct graph *g, const char *name, const int64_t *x, size_t n) {
    int64_t *copy = arena_array(g->arena, int64_t, n + 1);
    if (n)
        memcpy(copy, x, n * sizeof *x);
    return (struct attr){.name = str_from_c(name), .kind = ATTR_INTS, .n = n, .ints = copy};
}

struct attr attr_of_floats(struct graph *g, const char *name, const float *x, size_t n) {
    float *copy = arena_array(g->arena, float, n + 1);
    if (n)
        memcpy(copy, x, n * sizeof *x);
    return (struct attr){.name = str_from_c(name), .kind = ATTR_FLOATS, .n = n, .floats = copy};
}

str value_type_text(const struct graph *g, struct arena *a, const struct value *v) {
    if (!v)
        return STR("absent");
    str s = str_from_c(v->info.dtype == DTYPE_NONE ? "?" : dtype_name(v->info.dtype));
    if (v->info.rank < 0)
        return str_format(a, "%.*s[*]", STR_ARG(s));
    s = str_format(a, "%.*s[", STR_ARG(s));
    for (int i = 0; i < v->info.rank; i++)
        s = str_format(a, "%.*s%s%.*s", STR_ARG(s), i ? "," : "",
                       STR_ARG(dim_format(&g->pool, a, v->info.dims[i])));
    return str_format(a, "%.*s]", STR_ARG(s));
}

str node_describe(const struct graph *g, struct arena *a, const struct node *n) {
    enum { OPERANDS_SHOWN = 6 };
    str s = str_format(a, "%s \"%.*s\" (", op_get(n->op)->name, STR_ARG(n->name));
    if (n->opset)
        s = str_format(a, "%.*sopset %d; ", STR_ARG(s), n->opset);
    for (uint32_t i = 0; i < n->n_in && i < OPERANDS_SHOWN; i++)
        s = str_format(a, "%.*s%s%.*s", STR_ARG(s), i ? ", " : "",
                       STR_ARG(value_type_text(g, a, n->in[i])));
    return str_format(a, "%.*s%s)", STR_ARG(s), n->n_in > OPERANDS_SHOWN ? ", ..." : "");
}
