/* importer.h - what the files of this folder share. */
#ifndef COMPILER_IMPORT_IMPORTER_H
#define COMPILER_IMPORT_IMPORTER_H

#include "compiler/import/import.h"

/* A node that we cannot compile. */
struct unsupported {
    const struct onnx_node *node;
    int64_t opset; /* of its domain; 0: the model does not import it */
    struct value **in;
    const char *why; /* NULL: the operator is not known */
    str detail;      /* for why; may be empty */
};

struct importer {
    struct onnx_model *model;
    const struct import_options *options;
    struct graph *g;
    struct arena *scratch; /* until the import ends */
    struct unsupported *unsupported;
    size_t n_unsupported, unsupported_capacity;
    struct map symbols; /* name -> what it stands for: "=PARAM", "?INPUT.dim_N" */
    struct error *err;
};

/* The names of one graph or one call of a function. */
struct scope {
    struct map values;              /* name -> struct value */
    const struct onnx_function *fn; /* NULL: the model's graph */
    const struct onnx_node *call;   /* of fn */
    const struct scope *caller;     /* of fn: the scope that `call` stands in */
    str prefix;                     /* for names of values and nodes */
    const struct onnx_opset *opsets;
    size_t n_opsets;
    int depth;
};

/* An ONNX tensor as ours: a view of the file, so its elements may be unaligned. `what` names it. */
NODISCARD status import_tensor(struct importer *im, const struct onnx_tensor *t, const char *what,
                               str name, struct tensor *out);

/* The value of a Constant node. *is_supported false: it has no form that we know. */
NODISCARD status import_constant(struct importer *im, const struct onnx_node *n, str name,
                                 struct value **out, bool *is_supported);

/* The attributes of `n`, references to the attributes of a function resolved. Those that have no
 * form in the graph: *unsupported names the kind, otherwise it is NULL. */
NODISCARD status import_attributes(struct importer *im, const struct scope *s,
                                   const struct onnx_node *n, struct attr_list *out,
                                   const char **unsupported);

/* Makes the graph inputs that are no initializers, with options->shapes applied. */
NODISCARD status import_inputs(struct importer *im, struct scope *s);

void unsupported_add(struct importer *im, struct unsupported u);

/* The error for all that unsupported_add() got; lines go to `report`. */
NODISCARD status unsupported_error(struct importer *im, struct buffer *report);

#endif
