#include "codec/onnx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/onnx_internal.h"
#include "codec/wire.h"
#include "tensor/tensor.h"

/* ---- element types ---- */

static const struct {
    const char *name;
    uint8_t bits;
    uint8_t typed_field;
} elem_types[] = {
    [0] = {"UNDEFINED", 0, 0},       [1] = {"FLOAT", 32, 4},
    [2] = {"UINT8", 8, 5},           [3] = {"INT8", 8, 5},
    [4] = {"UINT16", 16, 5},         [5] = {"INT16", 16, 5},
    [6] = {"INT32", 32, 5},          [7] = {"INT64", 64, 7},
    [8] = {"STRING", 0, 6},          [9] = {"BOOL", 8, 5},
    [10] = {"FLOAT16", 16, 5},       [11] = {"DOUBLE", 64, 10},
    [12] = {"UINT32", 32, 11},       [13] = {"UINT64", 64, 11},
    [14] = {"COMPLEX64", 64, 4},     [15] = {"COMPLEX128", 128, 10},
    [16] = {"BFLOAT16", 16, 5},      [17] = {"FLOAT8E4M3FN", 8, 5},
    [18] = {"FLOAT8E4M3FNUZ", 8, 5}, [19] = {"FLOAT8E5M2", 8, 5},
    [20] = {"FLOAT8E5M2FNUZ", 8, 5}, [21] = {"UINT4", 4, 5},
    [22] = {"INT4", 4, 5},           [23] = {"FLOAT4E2M1", 4, 5},
    [24] = {"FLOAT8E8M0", 8, 5},     [25] = {"UINT2", 2, 5},
    [26] = {"INT2", 2, 5},
};

static bool known_elem_type(int32_t t) {
    return t >= 0 && (size_t)t < ARRAY_LEN(elem_types);
}

const char *onnx_elem_type_name(int32_t t) {
    return known_elem_type(t) ? elem_types[t].name : "UNKNOWN";
}

unsigned onnx_elem_bits(int32_t t) {
    return known_elem_type(t) ? elem_types[t].bits : 0;
}

int onnx_typed_field(int32_t t) {
    return known_elem_type(t) ? elem_types[t].typed_field : 0;
}

/* ---- the tables: field number -> member, from the bottom of the tree upwards ---- */

#define AT(T, member) .offset = offsetof(struct T, member)
#define LIST(T, member)                                                                            \
    .offset = offsetof(struct T, member), .length = offsetof(struct T, n_##member)
#define COUNTED .length = 0
#define MESSAGE(T, table, end)                                                                     \
    {.name = #T,                                                                                   \
     .size = sizeof(struct T),                                                                     \
     .rules = table,                                                                               \
     .n_rules = ARRAY_LEN(table),                                                                  \
     .finish = end}

static const struct wire_rule property_rules[] = {
    {1, WIRE_STRING, "key", AT(onnx_property, key)},
    {2, WIRE_STRING, "value", AT(onnx_property, value)},
};
static const struct wire_message property_message = MESSAGE(onnx_property, property_rules, NULL);

static const struct wire_rule opset_rules[] = {
    {1, WIRE_STRING, "domain", AT(onnx_opset, domain)},
    {2, WIRE_INT64, "version", AT(onnx_opset, version)},
};
static const struct wire_message opset_message = MESSAGE(onnx_opset, opset_rules, NULL);

/* TensorProto. The elements stay where they are; only their number is taken. */
static status finish_tensor(struct wire_reader *r, const struct wire_place *at, str bytes,
                            const size_t *counts, void *out);

static const struct wire_rule tensor_rules[] = {
    {1, WIRE_INT64S, "dims", LIST(onnx_tensor, dims)},
    {2, WIRE_INT32, "data_type", AT(onnx_tensor, elem_type)},
    {4, WIRE_COUNT_FIXED32, "float_data", COUNTED},
    {5, WIRE_COUNT_VARINTS, "int32_data", COUNTED},
    {6, WIRE_COUNT_BYTES, "string_data", COUNTED},
    {7, WIRE_COUNT_VARINTS, "int64_data", COUNTED},
    {8, WIRE_STRING, "name", AT(onnx_tensor, name)},
    {9, WIRE_STRING, "raw_data", AT(onnx_tensor, raw)},
    {10, WIRE_COUNT_FIXED64, "double_data", COUNTED},
    {11, WIRE_COUNT_VARINTS, "uint64_data", COUNTED},
    {13, WIRE_MESSAGES, "external_data", LIST(onnx_tensor, external), .message = &property_message},
    {14, WIRE_INT32, "data_location", AT(onnx_tensor, data_location)},
};
static const struct wire_message tensor_message = MESSAGE(onnx_tensor, tensor_rules, finish_tensor);

/* TypeProto: its kinds of type are flattened into onnx_type. */
static status finish_dim(struct wire_reader *r, const struct wire_place *at, str bytes,
                         const size_t *counts, void *out);
static status finish_shape(struct wire_reader *r, const struct wire_place *at, str bytes,
                           const size_t *counts, void *out);
static status finish_type(struct wire_reader *r, const struct wire_place *at, str bytes,
                          const size_t *counts, void *out);
static const struct wire_message type_message;

static const struct wire_rule dim_rules[] = {
    {1, WIRE_INT64, "dim_value", AT(onnx_dim, value)},
    {2, WIRE_STRING, "dim_param", AT(onnx_dim, param)},
};
static const struct wire_message dim_message = MESSAGE(onnx_dim, dim_rules, finish_dim);
static const struct wire_rule shape_rules[] = {
    {1, WIRE_MESSAGES, "dim", LIST(onnx_type, dims), .message = &dim_message},
};
static const struct wire_message shape_message = MESSAGE(onnx_type, shape_rules, finish_shape);
static const struct wire_rule tensor_type_rules[] = {
    {1, WIRE_INT32, "elem_type", AT(onnx_type, elem_type)},
    {2, WIRE_MESSAGE, "shape", .message = &shape_message},
};
static const struct wire_message tensor_type_message = MESSAGE(onnx_type, tensor_type_rules, NULL);
static const struct wire_rule element_type_rules[] = {
    {1, WIRE_POINTER, "elem_type", AT(onnx_type, element), .message = &type_message},
};
static const struct wire_message element_type_message =
    MESSAGE(onnx_type, element_type_rules, NULL);
static const struct wire_rule map_type_rules[] = {
    {1, WIRE_INT32, "key_type", AT(onnx_type, elem_type)},
    {2, WIRE_POINTER, "value_type", AT(onnx_type, element), .message = &type_message},
};
static const struct wire_message map_type_message = MESSAGE(onnx_type, map_type_rules, NULL);
static const struct wire_rule type_rules[] = {
    {1, WIRE_MESSAGE, "tensor_type", .message = &tensor_type_message},
    {4, WIRE_MESSAGE, "sequence_type", .message = &element_type_message},
    {5, WIRE_MESSAGE, "map_type", .message = &map_type_message},
    {7, WIRE_COUNT_BYTES, "opaque_type", COUNTED},
    {8, WIRE_MESSAGE, "sparse_tensor_type", .message = &tensor_type_message},
    {9, WIRE_MESSAGE, "optional_type", .message = &element_type_message},
};
static const struct wire_message type_message = MESSAGE(onnx_type, type_rules, finish_type);

static const struct wire_rule value_info_rules[] = {
    {1, WIRE_STRING, "name", AT(onnx_value_info, name)},
    {2, WIRE_MESSAGE, "type", AT(onnx_value_info, type), .message = &type_message},
};
static const struct wire_message value_info_message =
    MESSAGE(onnx_value_info, value_info_rules, NULL);

/* AttributeProto, NodeProto and GraphProto hold each other. */
static status finish_attribute(struct wire_reader *r, const struct wire_place *at, str bytes,
                               const size_t *counts, void *out);
static const struct wire_message graph_message;

static const struct wire_rule attribute_rules[] = {
    {1, WIRE_STRING, "name", AT(onnx_attribute, name)},
    {2, WIRE_FLOAT, "f", AT(onnx_attribute, f)},
    {3, WIRE_INT64, "i", AT(onnx_attribute, i)},
    {4, WIRE_STRING, "s", AT(onnx_attribute, s)},
    {5, WIRE_POINTER, "t", AT(onnx_attribute, t), .message = &tensor_message},
    {6, WIRE_POINTER, "g", AT(onnx_attribute, g), .message = &graph_message},
    {7, WIRE_FLOATS, "floats", LIST(onnx_attribute, floats)},
    {8, WIRE_INT64S, "ints", LIST(onnx_attribute, ints)},
    {9, WIRE_STRINGS, "strings", LIST(onnx_attribute, strings)},
    {10, WIRE_MESSAGES, "tensors", LIST(onnx_attribute, tensors), .message = &tensor_message},
    {11, WIRE_MESSAGES, "graphs", LIST(onnx_attribute, graphs), .message = &graph_message},
    {14, WIRE_POINTER, "tp", AT(onnx_attribute, tp), .message = &type_message},
    {15, WIRE_MESSAGES, "type_protos", LIST(onnx_attribute, type_protos), .message = &type_message},
    {20, WIRE_INT32, "type", AT(onnx_attribute, type)},
    {21, WIRE_STRING, "ref_attr_name", AT(onnx_attribute, ref_attr_name)},
    {22, WIRE_COUNT_BYTES, "sparse_tensor", COUNTED},
    {23, WIRE_COUNT_BYTES, "sparse_tensors", COUNTED},
};
static const struct wire_message attribute_message =
    MESSAGE(onnx_attribute, attribute_rules, finish_attribute);

static const struct wire_rule node_rules[] = {
    {1, WIRE_STRINGS, "input", LIST(onnx_node, inputs)},
    {2, WIRE_STRINGS, "output", LIST(onnx_node, outputs)},
    {3, WIRE_STRING, "name", AT(onnx_node, name)},
    {4, WIRE_STRING, "op_type", AT(onnx_node, op_type)},
    {5, WIRE_MESSAGES, "attribute", LIST(onnx_node, attributes), .message = &attribute_message},
    {7, WIRE_STRING, "domain", AT(onnx_node, domain)},
    {8, WIRE_STRING, "overload", AT(onnx_node, overload)},
};
static const struct wire_message node_message = MESSAGE(onnx_node, node_rules, NULL);

static const struct wire_rule graph_rules[] = {
    {1, WIRE_MESSAGES, "node", LIST(onnx_graph, nodes), .message = &node_message},
    {2, WIRE_STRING, "name", AT(onnx_graph, name)},
    {5, WIRE_MESSAGES, "initializer", LIST(onnx_graph, initializers), .message = &tensor_message},
    {11, WIRE_MESSAGES, "input", LIST(onnx_graph, inputs), .message = &value_info_message},
    {12, WIRE_MESSAGES, "output", LIST(onnx_graph, outputs), .message = &value_info_message},
    {13, WIRE_MESSAGES, "value_info", LIST(onnx_graph, value_infos),
     .message = &value_info_message},
    {15, WIRE_COUNT_BYTES, "sparse_initializer",
     .length = offsetof(struct onnx_graph, n_sparse_initializers)},
};
static const struct wire_message graph_message = MESSAGE(onnx_graph, graph_rules, NULL);

static const struct wire_rule function_rules[] = {
    {1, WIRE_STRING, "name", AT(onnx_function, name)},
    {4, WIRE_STRINGS, "input", LIST(onnx_function, inputs)},
    {5, WIRE_STRINGS, "output", LIST(onnx_function, outputs)},
    {6, WIRE_STRINGS, "attribute", LIST(onnx_function, attributes)},
    {7, WIRE_MESSAGES, "node", LIST(onnx_function, nodes), .message = &node_message},
    {9, WIRE_MESSAGES, "opset_import", LIST(onnx_function, opsets), .message = &opset_message},
    {10, WIRE_STRING, "domain", AT(onnx_function, domain)},
    {11, WIRE_MESSAGES, "attribute_proto", LIST(onnx_function, default_attributes),
     .message = &attribute_message},
    {12, WIRE_MESSAGES, "value_info", LIST(onnx_function, value_infos),
     .message = &value_info_message},
    {13, WIRE_STRING, "overload", AT(onnx_function, overload)},
};
static const struct wire_message function_message = MESSAGE(onnx_function, function_rules, NULL);

static status finish_model(struct wire_reader *r, const struct wire_place *at, str bytes,
                           const size_t *counts, void *out);

static const struct wire_rule model_rules[] = {
    {1, WIRE_INT64, "ir_version", AT(onnx_model, ir_version)},
    {2, WIRE_STRING, "producer_name", AT(onnx_model, producer_name)},
    {3, WIRE_STRING, "producer_version", AT(onnx_model, producer_version)},
    {4, WIRE_STRING, "domain", AT(onnx_model, domain)},
    {5, WIRE_INT64, "model_version", AT(onnx_model, model_version)},
    {7, WIRE_MESSAGE, "graph", AT(onnx_model, graph), .message = &graph_message},
    {8, WIRE_MESSAGES, "opset_import", LIST(onnx_model, opsets), .message = &opset_message},
    {14, WIRE_MESSAGES, "metadata_props", LIST(onnx_model, metadata), .message = &property_message},
    {20, WIRE_COUNT_BYTES, "training_info",
     .length = offsetof(struct onnx_model, n_training_infos)},
    {25, WIRE_MESSAGES, "functions", LIST(onnx_model, functions), .message = &function_message},
};
static const struct wire_message model_message = MESSAGE(onnx_model, model_rules, finish_model);

/* ---- what a table cannot say ---- */

static status finish_dim(struct wire_reader *r, const struct wire_place *at, str bytes,
                         const size_t *counts, void *out) {
    (void)r, (void)at, (void)bytes;
    struct onnx_dim *dim = out;
    if (!counts[1] || dim->value < 0) /* some exporters write -1 for "any" */
        dim->value = -1;
    return STATUS_OK;
}

static status finish_shape(struct wire_reader *r, const struct wire_place *at, str bytes,
                           const size_t *counts, void *out) {
    (void)counts;
    struct onnx_type *type = out;
    type->has_shape = true;
    if (type->n_dims > ONNX_RANK_MAX)
        return wire_fail(r, at, STATUS_RESOURCE_EXHAUSTED, bytes.p, "%zu dims, at most %d",
                         type->n_dims, ONNX_RANK_MAX);
    return STATUS_OK;
}

static status finish_type(struct wire_reader *r, const struct wire_place *at, str bytes,
                          const size_t *counts, void *out) {
    static const struct {
        uint32_t number;
        onnx_type_kind kind;
    } kinds[] = {{1, ONNX_TYPE_TENSOR},        {4, ONNX_TYPE_SEQUENCE}, {5, ONNX_TYPE_MAP},
                 {8, ONNX_TYPE_SPARSE_TENSOR}, {9, ONNX_TYPE_OPTIONAL}, {7, ONNX_TYPE_OPAQUE}};
    struct onnx_type *type = out;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!counts[kinds[i].number])
            continue;
        if (type->kind != ONNX_TYPE_NONE)
            return wire_fail(r, at, STATUS_INVALID_ARGUMENT, bytes.p, "a type of two kinds");
        type->kind = kinds[i].kind;
    }
    return STATUS_OK;
}

/* Reads the whole number in an external_data entry. */
static status read_external_number(struct wire_reader *r, const struct wire_place *at,
                                   const struct onnx_property *p, uint64_t *out) {
    int64_t v;
    if (!str_to_int64(p->value, &v) || v < 0)
        return wire_fail(r, at, STATUS_INVALID_ARGUMENT, p->value.p,
                         "external_data \"%.*s\" is \"%.*s\", wanted a number >= 0", (int)p->key.n,
                         p->key.p, (int)(p->value.n > 40 ? 40 : p->value.n), p->value.p);
    *out = (uint64_t)v;
    return STATUS_OK;
}

static status finish_external(struct wire_reader *r, const struct wire_place *at, str bytes,
                              struct onnx_tensor *t) {
    t->storage = ONNX_STORAGE_EXTERNAL;
    for (size_t i = 0; i < t->n_external; i++) {
        const struct onnx_property *p = &t->external[i];
        if (str_eq_c(p->key, "location")) {
            t->location = p->value;
        } else if (str_eq_c(p->key, "offset")) {
            TRY(read_external_number(r, at, p, &t->offset));
        } else if (str_eq_c(p->key, "length")) {
            TRY(read_external_number(r, at, p, &t->length));
            t->has_length = true;
        } /* checksum and what exporters add are not needed to find the bytes */
    }
    if (!t->location.n)
        return wire_fail(r, at, STATUS_INVALID_ARGUMENT, bytes.p,
                         "external data without a location");
    return STATUS_OK;
}

static status finish_tensor(struct wire_reader *r, const struct wire_place *at, str bytes,
                            const size_t *counts, void *out) {
    struct onnx_tensor *t = out;
    t->message = bytes;
    if (t->n_dims > ONNX_RANK_MAX)
        return wire_fail(r, at, STATUS_RESOURCE_EXHAUSTED, bytes.p, "%zu dims, at most %d",
                         t->n_dims, ONNX_RANK_MAX);
    t->n_elements = dims_product(t->dims, t->n_dims);
    if (t->n_elements < 0)
        return wire_fail(r, at, STATUS_INVALID_ARGUMENT, bytes.p,
                         "tensor \"%.*s\" has a negative dim or too many elements",
                         (int)(t->name.n > 60 ? 60 : t->name.n), t->name.p);
    int field = onnx_typed_field(t->elem_type);
    if (t->data_location == 1)
        return finish_external(r, at, bytes, t);
    if (counts[9]) {
        t->storage = ONNX_STORAGE_RAW;
    } else if (field && counts[field]) {
        t->storage = ONNX_STORAGE_TYPED;
        t->typed_field = field;
        t->n_typed = counts[field];
        t->slot = arena_new(r->arena, struct onnx_slot);
    }
    return STATUS_OK;
}

/* Files of IR 1 and 2 have no type in an attribute: it is that of the field that is there. */
static onnx_attribute_type guess_attribute_type(const size_t *counts) {
    static const uint8_t fields[] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 23, 14, 15};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (counts[fields[i]])
            return (onnx_attribute_type)(i + ONNX_ATTRIBUTE_FLOAT);
    return ONNX_ATTRIBUTE_UNDEFINED;
}

static status finish_attribute(struct wire_reader *r, const struct wire_place *at, str bytes,
                               const size_t *counts, void *out) {
    struct onnx_attribute *a = out;
    bool complete = true;
    if (!counts[20])
        a->type = guess_attribute_type(counts);
    switch (a->type) {
    case ONNX_ATTRIBUTE_TENSOR:
        complete = a->t != NULL;
        break;
    case ONNX_ATTRIBUTE_GRAPH:
        complete = a->g != NULL;
        break;
    case ONNX_ATTRIBUTE_TYPE_PROTO:
        complete = a->tp != NULL;
        break;
    case ONNX_ATTRIBUTE_FLOATS:
        a->n = a->n_floats;
        break;
    case ONNX_ATTRIBUTE_INTS:
        a->n = a->n_ints;
        break;
    case ONNX_ATTRIBUTE_STRINGS:
        a->n = a->n_strings;
        break;
    case ONNX_ATTRIBUTE_TENSORS:
        a->n = a->n_tensors;
        break;
    case ONNX_ATTRIBUTE_GRAPHS:
        a->n = a->n_graphs;
        break;
    case ONNX_ATTRIBUTE_TYPE_PROTOS:
        a->n = a->n_type_protos;
        break;
    case ONNX_ATTRIBUTE_UNDEFINED:
    case ONNX_ATTRIBUTE_FLOAT:
    case ONNX_ATTRIBUTE_INT:
    case ONNX_ATTRIBUTE_STRING:
    case ONNX_ATTRIBUTE_SPARSE_TENSOR:
    case ONNX_ATTRIBUTE_SPARSE_TENSORS:
        break;
    default:
        return wire_fail(r, at, STATUS_INVALID_ARGUMENT, bytes.p, "attribute type %d is unknown",
                         (int)a->type);
    }
    if (!complete && !a->ref_attr_name.n)
        return wire_fail(r, at, STATUS_INVALID_ARGUMENT, bytes.p,
                         "attribute \"%.*s\" is of type %s and has none",
                         (int)(a->name.n > 60 ? 60 : a->name.n), a->name.p,
                         onnx_attribute_type_name(a->type));
    return STATUS_OK;
}

static status finish_model(struct wire_reader *r, const struct wire_place *at, str bytes,
                           const size_t *counts, void *out) {
    (void)out;
    if (!counts[7])
        return wire_fail(r, at, STATUS_INVALID_ARGUMENT, bytes.p, "there is no graph");
    return STATUS_OK;
}

/* ---- opening ---- */

static void free_file_map(void *map) {
    file_map_close(map);
}

static status read_model(struct onnx_reader_model *m, str bytes, struct error *err) {
    struct wire_reader r = {.arena = &m->arena,
                            .begin = bytes.p,
                            .depth_max = ONNX_DEPTH_MAX,
                            .n_items_max = ONNX_ITEMS_MAX,
                            .err = err};
    struct wire_place root = {NULL, NULL, SIZE_MAX};
    if (!bytes.n)
        return error_set(err, STATUS_INVALID_ARGUMENT, "not an ONNX model: the file is empty");
    status result = wire_read(&r, &root, &model_message, bytes, &m->model);
    return result == STATUS_OK ? result : error_wrap(err, result, "not a good ONNX model");
}

static status new_model(struct onnx_reader_model **out, struct error *err) {
    struct onnx_reader_model *m = buffer_alloc(sizeof *m);
    if (!m)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a model");
    *m = (struct onnx_reader_model){.folder = -1};
    *out = m;
    return STATUS_OK;
}

static struct onnx_reader_model *owner(struct onnx_model *m) {
    return (struct onnx_reader_model *)m;
}

status onnx_model_read(struct onnx_model **out, const void *bytes, size_t size, const char *folder,
                       struct error *err) {
    struct onnx_reader_model *m = NULL;
    TRY(new_model(&m, err));
    CLEANUP(onnx_model_freep) struct onnx_model *model = &m->model;
    if (folder) {
        m->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (m->folder < 0)
            return error_set(err, file_status(errno), "open folder \"%s\": %s", folder,
                             strerror(errno));
    }
    TRY(read_model(m, (str){.p = bytes, .n = size}, err));
    *out = TAKE(model);
    return STATUS_OK;
}

status onnx_model_open(struct onnx_model **out, const char *path, struct error *err) {
    struct file_map map;
    TRY(file_map_open(&map, path, err));
    const char *slash = strrchr(path, '/');
    CLEANUP(onnx_model_freep) struct onnx_model *model = NULL;
    struct arena scratch = {0};
    str folder = slash ? str_format(&scratch, "%.*s", (int)(slash - path) + (slash == path), path)
                       : STR(".");
    status result = onnx_model_read(&model, map.p, map.size, folder.p, err);
    arena_release(&scratch);
    if (result != STATUS_OK) {
        file_map_close(&map);
        return error_wrap(err, result, "\"%s\"", path);
    }
    struct onnx_reader_model *m = owner(model);
    m->map = map;
    arena_defer(&m->arena, free_file_map, &m->map);
    *out = TAKE(model);
    return STATUS_OK;
}

void onnx_model_free(struct onnx_model *model) {
    if (!model)
        return;
    struct onnx_reader_model *m = owner(model);
    arena_release(&m->arena);
    if (m->folder >= 0)
        close(m->folder);
    free(m);
}

/* ---- looking ---- */

const char *onnx_attribute_type_name(onnx_attribute_type t) {
    static const char *const names[] = {
        "UNDEFINED",      "FLOAT",      "INT",        "STRING",  "TENSOR", "GRAPH",
        "FLOATS",         "INTS",       "STRINGS",    "TENSORS", "GRAPHS", "SPARSE_TENSOR",
        "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS"};
    return (size_t)t < ARRAY_LEN(names) ? names[t] : "UNKNOWN";
}

const struct onnx_attribute *onnx_attribute_find(const struct onnx_node *node, const char *name) {
    for (size_t i = 0; i < node->n_attributes; i++)
        if (str_eq_c(node->attributes[i].name, name))
            return &node->attributes[i];
    return NULL;
}
