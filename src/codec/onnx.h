/* onnx.h - model.onnx as plain structs, without a copy of its weights.
 *
 * The reader checks the wire format, the limits below and that what it returns is complete
 * (no dangling count, no out-of-range enum that it uses); it does not check what ONNX's rules
 * say about graphs: that is compiler/import. Every str and every array points into the mapped
 * file or into the model's arena and lives until onnx_model_free(). Immutable after reading, so
 * any thread may look at a model; field numbers are those of ONNX IR 3 to 13. */
#ifndef CODEC_ONNX_H
#define CODEC_ONNX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/dtype.h"

enum {
    ONNX_DEPTH_MAX = 100,     /* messages inside each other: as in other protobuf readers */
    ONNX_ITEMS_MAX = 4 << 20, /* structs, strings and list elements in one model, data excepted */
    ONNX_RANK_MAX = 64,       /* dims of one tensor or type */
    ONNX_EXTERNAL_FILES_MAX = 4096,
};

/* TensorProto.DataType numbers that have no dtype of ours (dtype_from_onnx gives NONE). */
enum { ONNX_COMPLEX64 = 14, ONNX_COMPLEX128 = 15, ONNX_UINT4 = 21, ONNX_INT4 = 22 };

typedef enum onnx_storage {
    ONNX_STORAGE_NONE,     /* no data at all (legal when a dim is 0) */
    ONNX_STORAGE_RAW,      /* raw_data: little-endian, dense */
    ONNX_STORAGE_TYPED,    /* float_data, int32_data, string_data... */
    ONNX_STORAGE_EXTERNAL, /* a range of another file */
} onnx_storage;

struct onnx_property {
    str key, value;
};

/* A TensorProto. Get at its elements with onnx_tensor_data(). */
struct onnx_tensor {
    str name;
    int32_t elem_type; /* TensorProto.DataType */
    size_t n_dims;
    const int64_t *dims; /* [n_dims], all >= 0, product fits int64 */
    int64_t n_elements;

    onnx_storage storage;
    str raw;                 /* RAW */
    str location;            /* EXTERNAL: path relative to the model's folder */
    uint64_t offset, length; /* EXTERNAL */
    bool has_length;         /* EXTERNAL: false means as many bytes as the elements need */
    int typed_field;         /* TYPED: the field of TensorProto that holds the elements */
    size_t n_typed;          /* TYPED: how many values it has */
    str message;             /* the whole TensorProto */
    int32_t data_location;   /* 1: EXTERNAL, described by: */
    const struct onnx_property *external;
    size_t n_external;
    struct onnx_slot *slot; /* the reader's own */
};

struct onnx_dim {
    int64_t value; /* -1: not known as a number */
    str param;     /* symbol, or empty */
};

typedef enum onnx_type_kind {
    ONNX_TYPE_NONE, /* absent: value_info without a type */
    ONNX_TYPE_TENSOR,
    ONNX_TYPE_SPARSE_TENSOR,
    ONNX_TYPE_SEQUENCE,
    ONNX_TYPE_OPTIONAL,
    ONNX_TYPE_MAP,
    ONNX_TYPE_OPAQUE,
} onnx_type_kind;

struct onnx_type {
    onnx_type_kind kind;
    int32_t elem_type; /* TENSOR, SPARSE_TENSOR: DataType; MAP: the key's */
    bool has_shape;    /* TENSOR: false means unknown rank */
    size_t n_dims;
    const struct onnx_dim *dims;
    const struct onnx_type *element; /* SEQUENCE, OPTIONAL, MAP (its value); may be NULL */
};

struct onnx_value_info {
    str name;
    struct onnx_type type;
};

/* AttributeProto.AttributeType, same numbers. */
typedef enum onnx_attribute_type {
    ONNX_ATTRIBUTE_UNDEFINED = 0,
    ONNX_ATTRIBUTE_FLOAT = 1,
    ONNX_ATTRIBUTE_INT = 2,
    ONNX_ATTRIBUTE_STRING = 3,
    ONNX_ATTRIBUTE_TENSOR = 4,
    ONNX_ATTRIBUTE_GRAPH = 5,
    ONNX_ATTRIBUTE_FLOATS = 6,
    ONNX_ATTRIBUTE_INTS = 7,
    ONNX_ATTRIBUTE_STRINGS = 8,
    ONNX_ATTRIBUTE_TENSORS = 9,
    ONNX_ATTRIBUTE_GRAPHS = 10,
    ONNX_ATTRIBUTE_SPARSE_TENSOR = 11,
    ONNX_ATTRIBUTE_SPARSE_TENSORS = 12,
    ONNX_ATTRIBUTE_TYPE_PROTO = 13,
    ONNX_ATTRIBUTE_TYPE_PROTOS = 14,
} onnx_attribute_type;

/* `type` says which member counts; old files without a type get it from the field that is set.
 * ref_attr_name (inside functions): the value is the caller's attribute of that name. */
struct onnx_attribute {
    str name;
    str ref_attr_name;
    onnx_attribute_type type;
    float f;
    int64_t i;
    str s;
    const struct onnx_tensor *t;
    const struct onnx_graph *g;
    const struct onnx_type *tp;
    const float *floats; /* [n] */
    const int64_t *ints;
    const str *strings;
    const struct onnx_tensor *tensors;
    const struct onnx_graph *graphs;
    const struct onnx_type *type_protos;
    size_t n; /* elements of the list that `type` names: one of the following */
    size_t n_floats, n_ints, n_strings, n_tensors, n_graphs, n_type_protos;
};

struct onnx_node {
    str name, op_type, domain, overload; /* domain "" is ai.onnx */
    const str *inputs;                   /* "": an optional input that is left out */
    size_t n_inputs;
    const str *outputs;
    size_t n_outputs;
    const struct onnx_attribute *attributes;
    size_t n_attributes;
};

struct onnx_graph {
    str name;
    const struct onnx_node *nodes; /* in file order: mostly, not always, topological */
    size_t n_nodes;
    const struct onnx_tensor *initializers;
    size_t n_initializers;
    const struct onnx_value_info *inputs; /* may repeat initializers (IR < 4) */
    size_t n_inputs;
    const struct onnx_value_info *outputs;
    size_t n_outputs;
    const struct onnx_value_info *value_infos;
    size_t n_value_infos;
    size_t n_sparse_initializers; /* counted, not read */
};

struct onnx_opset {
    str domain; /* "" is ai.onnx */
    int64_t version;
};

struct onnx_function {
    str domain, name, overload;
    const str *inputs;
    size_t n_inputs;
    const str *outputs;
    size_t n_outputs;
    const str *attributes; /* names without a default */
    size_t n_attributes;
    const struct onnx_attribute *default_attributes; /* names with a default */
    size_t n_default_attributes;
    const struct onnx_node *nodes;
    size_t n_nodes;
    const struct onnx_opset *opsets;
    size_t n_opsets;
    const struct onnx_value_info *value_infos;
    size_t n_value_infos;
};

struct onnx_model {
    int64_t ir_version;
    str producer_name, producer_version, domain;
    int64_t model_version;
    struct onnx_graph graph;
    const struct onnx_opset *opsets;
    size_t n_opsets;
    const struct onnx_property *metadata;
    size_t n_metadata;
    const struct onnx_function *functions;
    size_t n_functions;
    size_t n_training_infos; /* counted, not read */
};

/* Maps and reads the model at `path`. INVALID_ARGUMENT: not ONNX, or damaged (the text has the
 * byte offset and the place: "graph.node[3].attribute[0]"); RESOURCE_EXHAUSTED: a limit above. */
NODISCARD status onnx_model_open(struct onnx_model **out, const char *path, struct error *err);

/* Reads a model from `size` bytes that the caller keeps until onnx_model_free(). `folder` is
 * where external data is looked for; NULL: external data is refused. */
NODISCARD status onnx_model_read(struct onnx_model **out, const void *bytes, size_t size,
                                 const char *folder, struct error *err);

void onnx_model_free(struct onnx_model *m); /* NULL is fine */
DEFINE_CLEANUP(struct onnx_model, onnx_model_free)

/* The elements of `t`, dense and row-major, as our dtype dtype_from_onnx(t->elem_type) lays them
 * out (BYTES: {u32 length, bytes} one after the other). Sub-byte types come packed as in the
 * file. Nothing is copied for raw and external data, so *data may be UNALIGNED: memcpy it.
 * Typed fields and strings are converted once into memory of the model. External files are mapped
 * at first use. The size is checked against dims and type. Not thread-safe: one thread at a time
 * for one model. UNIMPLEMENTED: a type that we cannot size. */
NODISCARD status onnx_tensor_data(struct onnx_model *m, const struct onnx_tensor *t,
                                  const void **data, size_t *size, struct error *err);

const char *onnx_elem_type_name(int32_t elem_type);          /* "FLOAT"; "UNKNOWN" */
const char *onnx_attribute_type_name(onnx_attribute_type t); /* "INTS" */

/* The attribute `name` of `node`, or NULL. */
const struct onnx_attribute *onnx_attribute_find(const struct onnx_node *node, const char *name);

#endif
