/* graph.h - a model while it is being compiled: values, the nodes that make them, their order.
 *
 * A graph is in SSA form: a value is a graph input, a constant, or one output of one node.
 * Nodes stand in a list whose order is topological (a node comes after the nodes whose outputs
 * it reads); passes keep it so by inserting a new node right before the one it replaces.
 * ir/verify.h checks all of this, ir/print.h and ir/parse.h are the text form.
 *
 * Everything lives in the arena that the graph was made with, and numbers (ids) grow in order of
 * creation, so that the same input gives the same graph, byte for byte. Owned by one thread. */
#ifndef COMPILER_IR_GRAPH_H
#define COMPILER_IR_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/status.h"
#include "base/str.h"
#include "ops/attr.h"
#include "ops/dim.h"
#include "ops/op.h"
#include "tensor/tensor.h"

struct node;
struct graph;

/* Operand `index` of `node` reads the value. */
struct use {
    struct node *node;
    uint32_t index;
};

struct value {
    uint32_t id;
    str name; /* unique within the graph, never empty */

    /* dtype, rank, dims; contents of small integer tensors; info.constant is the tensor of a
     * constant, and only of a constant. */
    struct op_value info;

    struct graph *graph; /* that it belongs to */
    struct node *def;    /* NULL: graph input or constant */
    uint32_t def_index;  /* which output of def */
    bool is_input;       /* one of the graph's inputs */
    bool is_in_file;     /* a constant whose bytes lie in a mapped file */
    bool has_own_name;   /* named by the model, not made up by graph_insert() */

    struct use *uses; /* by nodes, in order of creation */
    uint32_t n_uses, uses_capacity;
    uint32_t n_output_uses; /* graph outputs that are this value */
};

struct node {
    uint32_t id;
    op_id op;
    int opset; /* of the model's default domain; 0 for operators of "culmen" */
    str name;  /* the ONNX node that it comes from; for messages; may be empty */
    struct attr_list attrs;

    struct value **in;  /* [n_in]; NULL: an optional operand that is left out */
    struct value **out; /* [n_out]; NULL: an optional result that nobody wants */
    uint32_t n_in, n_out;

    struct node *prev, *next; /* topological order */
    bool is_erased;
};

struct graph_output {
    str name; /* as the model calls it; value->name may differ */
    struct value *value;
};

struct graph_property {
    str key, value;
};

struct graph {
    struct arena *arena;
    str name;
    int opset; /* of the default domain */
    struct dim_pool pool;

    struct node *first, *last;
    uint32_t n_nodes; /* in the list */
    uint32_t next_node_id;

    struct value **values; /* by id, all that were ever made, constants and inputs included */
    uint32_t n_values, values_capacity;
    struct map names; /* of values */

    struct value **inputs;
    uint32_t n_inputs, inputs_capacity;
    struct graph_output *outputs;
    uint32_t n_outputs, outputs_capacity;
    const struct graph_property *properties; /* metadata_props */
    uint32_t n_properties;
};

/* `for` over the nodes in order; the body may insert nodes anywhere and erase any: an erased node
 * keeps its place in the walk (its `next` stays) and is passed over. */
#define GRAPH_NODES(n, g)                                                                          \
    for (struct node *n = (g)->first, *n##_next = n ? n->next : NULL; n;                           \
         n = n##_next, n##_next = n ? n->next : NULL)                                              \
        if (n->is_erased) {                                                                        \
        } else

struct graph *graph_new(struct arena *a); /* lives until arena_release(a) */

/* A value called `name`, or a name made of it when it is empty or taken. */
struct value *graph_value(struct graph *g, str name);
struct value *graph_find(const struct graph *g, str name); /* NULL: no such value */

/* Constants of at most so many bytes are aligned for their dtype; of larger ones value_data()
 * says. */
#define GRAPH_ALIGNED_SIZE ((size_t)64 << 10)

/* A constant that borrows t->data until the graph ends. Its dtype, rank, dims and, when small
 * and of an integer type, contents follow from the tensor. */
struct value *graph_constant(struct graph *g, str name, const struct tensor *t);

/* The elements of a constant, aligned for their dtype. Model files hold weights at odd addresses
 * and constants are views of them; whoever reads numbers gets a copy, made at the first call, that
 * lives as long as the graph. NULL: no memory for it. Bytes alone can be had from
 * info.constant->data. */
const void *value_data(const struct value *v);
bool value_is_aligned(const struct value *v);

/* Nobody reads the constant soon: the pages of its file leave memory, and come back when read. */
void value_rest(const struct value *v);

/* A constant whose bytes are copied from `data` (NULL: zeroes). RESOURCE_EXHAUSTED: no memory. */
NODISCARD status graph_constant_copy(struct value **out, struct graph *g, dtype t,
                                     const int64_t *dims, size_t rank, const void *data,
                                     struct error *err);
struct value *graph_constant_f32(struct graph *g, float x);                     /* a scalar */
struct value *graph_constant_ints(struct graph *g, const int64_t *x, size_t n); /* I64 [n] */

/* Zeroed bytes (64-byte aligned) that live as long as the graph, from the heap. NULL: no memory. */
void *graph_alloc(struct graph *g, size_t size);

void graph_add_input(struct graph *g, struct value *v);
void graph_add_output(struct graph *g, str name, struct value *v);

/* A node with operands `in` (copied; entries may be NULL) and n_out fresh results, put before
 * `before` (NULL: at the end). Name and opset are those of `before`, if any. */
struct node *graph_insert(struct graph *g, struct node *before, op_id op, struct value *const *in,
                          size_t n_in, size_t n_out);

/* As graph_insert() with the results that the caller made (entries may be NULL). */
struct node *graph_insert_with(struct graph *g, struct node *before, op_id op,
                               struct value *const *in, size_t n_in, struct value *const *out,
                               size_t n_out);

void node_set_input(struct graph *g, struct node *n, size_t i, struct value *v);
void node_set_inputs(struct graph *g, struct node *n, struct value *const *in, size_t n_in);
void node_set_attr(struct graph *g, struct node *n, struct attr a); /* adds or replaces */
void node_remove_attr(struct graph *g, struct node *n, const char *name);

/* Lets all users of `old`, graph outputs included, read `new`. A made-up name of `new` gives way
 * to old's. */
void graph_replace(struct graph *g, struct value *old, struct value *new);

/* Takes `n` out of the graph; nothing may use its results. */
void graph_erase(struct graph *g, struct node *n);

/* Erases `n` if nothing uses its results, then likewise the nodes that made its operands. */
void graph_erase_dead(struct graph *g, struct node *n);

void graph_move_before(struct graph *g, struct node *n, struct node *before);

/* Brings the nodes into topological order, keeping the order they have where it is free.
 * INVALID_ARGUMENT: a cycle; the text names a node of it. */
NODISCARD status graph_sort(struct graph *g, struct error *err);

/* Is there exactly one reader: one operand of one node, no graph output? */
static inline bool value_has_one_use(const struct value *v) {
    return v->n_uses == 1 && v->n_output_uses == 0;
}
static inline bool value_is_used(const struct value *v) {
    return v->n_uses > 0 || v->n_output_uses > 0;
}
/* A constant lies in memory now; a value with all contents known need not be one. */
static inline bool value_is_constant(const struct value *v) {
    return v && v->info.constant;
}
/* The value of operand i, or NULL when it is left out. */
static inline struct value *node_in(const struct node *n, size_t i) {
    return i < n->n_in ? n->in[i] : NULL;
}

/* Attributes for node_set_attr(). Names are literals; ints and floats are copied into g's arena. */
struct attr attr_of_int(const char *name, int64_t i);
struct attr attr_of_float(const char *name, float f);
struct attr attr_of_string(const char *name, str s);
struct attr attr_of_ints(struct graph *g, const char *name, const int64_t *x, size_t n);
struct attr attr_of_floats(struct graph *g, const char *name, const float *x, size_t n);

/* Works out dtype, dims and contents of the node's results from its operands, by op_infer().
 * *changed (may be NULL) is set when something got known that was not; what was known and is not
 * derivable stays. INVALID_ARGUMENT is wrapped with node_describe(). */
NODISCARD status node_infer(struct graph *g, struct node *n, bool *changed, struct error *err);

/* `Conv "backbone/conv1" (opset 17; f32[1,3,224,224], f32[64,3,7,7])`, for messages. */
str node_describe(const struct graph *g, struct arena *a, const struct node *n);
str value_type_text(const struct graph *g, struct arena *a, const struct value *v); /* "f32[n,4]" */

#endif
