/* complete.c - the part of config.h that deals in inputs and outputs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "server/repository/config.h"

static const struct {
    Inference__DataType type;
    dtype dtype;
    const char *name;
} types[] = {
    {INFERENCE__DATA_TYPE__TYPE_BOOL, DTYPE_BOOL, "TYPE_BOOL"},
    {INFERENCE__DATA_TYPE__TYPE_UINT8, DTYPE_U8, "TYPE_UINT8"},
    {INFERENCE__DATA_TYPE__TYPE_UINT16, DTYPE_U16, "TYPE_UINT16"},
    {INFERENCE__DATA_TYPE__TYPE_UINT32, DTYPE_U32, "TYPE_UINT32"},
    {INFERENCE__DATA_TYPE__TYPE_UINT64, DTYPE_U64, "TYPE_UINT64"},
    {INFERENCE__DATA_TYPE__TYPE_INT8, DTYPE_I8, "TYPE_INT8"},
    {INFERENCE__DATA_TYPE__TYPE_INT16, DTYPE_I16, "TYPE_INT16"},
    {INFERENCE__DATA_TYPE__TYPE_INT32, DTYPE_I32, "TYPE_INT32"},
    {INFERENCE__DATA_TYPE__TYPE_INT64, DTYPE_I64, "TYPE_INT64"},
    {INFERENCE__DATA_TYPE__TYPE_FP16, DTYPE_F16, "TYPE_FP16"},
    {INFERENCE__DATA_TYPE__TYPE_FP32, DTYPE_F32, "TYPE_FP32"},
    {INFERENCE__DATA_TYPE__TYPE_FP64, DTYPE_F64, "TYPE_FP64"},
    {INFERENCE__DATA_TYPE__TYPE_STRING, DTYPE_BYTES, "TYPE_STRING"},
    {INFERENCE__DATA_TYPE__TYPE_BF16, DTYPE_BF16, "TYPE_BF16"},
};

const char *config_dtype_name(Inference__DataType t) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].type == t)
            return types[i].name;
    return "TYPE_INVALID";
}

dtype config_dtype(Inference__DataType t) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].type == t)
            return types[i].dtype;
    return DTYPE_NONE;
}

static Inference__DataType config_type_of(dtype t) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].dtype == t)
            return types[i].type;
    return INFERENCE__DATA_TYPE__TYPE_INVALID;
}

/* An input or an output of the configuration; the two messages differ only in their C type. */
struct io_view {
    const char *name, *label_file;
    Inference__DataType type;
    const int64_t *dims, *reshape;
    size_t n_dims, n_reshape;
    bool has_reshape, is_optional, allows_ragged;
};

static struct io_view input_view(const Inference__ModelInput *i) {
    return (struct io_view){.name = i->name,
                            .label_file = "",
                            .type = i->data_type,
                            .dims = i->dims,
                            .n_dims = i->n_dims,
                            .has_reshape = i->reshape != NULL,
                            .reshape = i->reshape ? i->reshape->shape : NULL,
                            .n_reshape = i->reshape ? i->reshape->n_shape : 0,
                            .is_optional = i->optional,
                            .allows_ragged = i->allow_ragged_batch};
}

static struct io_view output_view(const Inference__ModelOutput *o) {
    return (struct io_view){.name = o->name,
                            .label_file = o->label_filename,
                            .type = o->data_type,
                            .dims = o->dims,
                            .n_dims = o->n_dims,
                            .has_reshape = o->reshape != NULL,
                            .reshape = o->reshape ? o->reshape->shape : NULL,
                            .n_reshape = o->reshape ? o->reshape->n_shape : 0};
}

/* A reshape keeps the number of elements, between wildcards too. */
static bool reshape_fits(const struct io_view *v) {
    size_t d = 0, r = 0;
    for (;;) {
        int64_t n_dims = 1, n_reshape = 1;
        for (; d < v->n_dims && v->dims[d] != -1; d++)
            if (__builtin_mul_overflow(n_dims, v->dims[d], &n_dims))
                return false;
        for (; r < v->n_reshape && v->reshape[r] != -1; r++)
            if (__builtin_mul_overflow(n_reshape, v->reshape[r], &n_reshape))
                return false;
        if (n_dims != n_reshape || (d == v->n_dims) != (r == v->n_reshape))
            return false;
        if (d == v->n_dims)
            return true;
        d++;
        r++;
    }
}

static status check_one(const model_config *c, const struct io_view *v, const char *what,
                        struct error *err) {
    if (!*v->name)
        return error_set(err, STATUS_INVALID_ARGUMENT, "model %s must specify 'name' for %s", what,
                         c->name);
    if (config_dtype(v->type) == DTYPE_NONE)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model %s '%s' must specify 'data_type' for %s", what, v->name, c->name);
    if (v->n_dims == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "model %s '%s' must specify 'dims' for %s",
                         what, v->name, c->name);
    if (v->n_dims >= TENSOR_RANK_MAX || v->n_reshape >= TENSOR_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "model %s '%s' of %s has %zu dims, limit %d",
                         what, v->name, c->name,
                         v->n_dims > v->n_reshape ? v->n_dims : v->n_reshape, TENSOR_RANK_MAX - 1);
    for (size_t d = 0; d < v->n_dims; d++)
        if (v->dims[d] < 1 && v->dims[d] != -1)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "model %s '%s' dimension must be integer >= 1, or -1 to indicate a "
                             "variable-size dimension for %s",
                             what, v->name, c->name);
    if (!v->has_reshape)
        return STATUS_OK;
    if (v->n_reshape == 0 && c->max_batch_size == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model %s '%s' cannot have empty reshape for non-batching model as "
                         "scalar tensors are not supported for %s",
                         what, v->name, c->name);
    if (!reshape_fits(v))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model %s '%s' has different size for dims and reshape for %s", what,
                         v->name, c->name);
    return STATUS_OK;
}

status config_check_io(const model_config *c, struct error *err) {
    if (c->n_input == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "model configuration of '%s' has no input",
                         c->name);
    if (c->n_output == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "model configuration of '%s' has no output",
                         c->name);
    for (size_t i = 0; i < c->n_input; i++) {
        struct io_view v = input_view(c->input[i]);
        TRY(check_one(c, &v, "input", err));
        for (size_t k = 0; k < i; k++)
            if (!strcmp(c->input[k]->name, v.name))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "model configuration of '%s' has input '%s' twice", c->name,
                                 v.name);
    }
    for (size_t i = 0; i < c->n_output; i++) {
        struct io_view v = output_view(c->output[i]);
        TRY(check_one(c, &v, "output", err));
    }
    return STATUS_OK;
}

static char *text_of(struct arena *a, str s) {
    char *copy = arena_alloc(a, s.n + 1, 1);
    memcpy(copy, s.p, s.n);
    return copy;
}

/* The file's dims without the batch dimension; what would be a scalar becomes [1] reshaped. */
static void complete_dims(struct arena *a, const struct io_spec *io, bool is_batching,
                          int64_t **dims, size_t *n_dims, Inference__ModelTensorReshape **reshape) {
    size_t lead = is_batching && io->rank > 0;
    *n_dims = io->rank - lead;
    *dims = arena_array(a, int64_t, *n_dims + 1);
    for (size_t d = 0; d < *n_dims; d++)
        (*dims)[d] = io->dims[d + lead];
    if (*n_dims == 0) {
        (*dims)[0] = 1;
        *n_dims = 1;
        *reshape = arena_new(a, Inference__ModelTensorReshape);
        inference__model_tensor_reshape__init(*reshape);
    }
}

static void complete_inputs(struct arena *a, model_config *c, const struct backend_signature *s) {
    c->n_input = s->n_inputs;
    c->input = arena_array(a, Inference__ModelInput *, s->n_inputs);
    for (size_t i = 0; i < s->n_inputs; i++) {
        Inference__ModelInput *in = c->input[i] = arena_new(a, Inference__ModelInput);
        inference__model_input__init(in);
        in->name = text_of(a, s->inputs[i].name);
        in->data_type = config_type_of(s->inputs[i].dtype);
        complete_dims(a, &s->inputs[i], c->max_batch_size > 0, &in->dims, &in->n_dims,
                      &in->reshape);
    }
}

static void complete_outputs(struct arena *a, model_config *c, const struct backend_signature *s) {
    c->n_output = s->n_outputs;
    c->output = arena_array(a, Inference__ModelOutput *, s->n_outputs);
    for (size_t i = 0; i < s->n_outputs; i++) {
        Inference__ModelOutput *out = c->output[i] = arena_new(a, Inference__ModelOutput);
        inference__model_output__init(out);
        out->name = text_of(a, s->outputs[i].name);
        out->data_type = config_type_of(s->outputs[i].dtype);
        complete_dims(a, &s->outputs[i], c->max_batch_size > 0, &out->dims, &out->n_dims,
                      &out->reshape);
    }
}

status config_complete(struct arena *a, model_config *c, const struct backend_signature *s,
                       int64_t default_max_batch_size, struct error *err) {
    if (c->n_input > 0 && c->n_output > 0)
        return STATUS_OK;
    if (!s->can_batch && c->max_batch_size != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "autofill failed for model '%s': model does not support batching while "
                         "non-zero max_batch_size is specified",
                         c->name);
    if (s->can_batch && c->max_batch_size == 0) {
        int64_t size = default_max_batch_size;
        if (s->batch_max && size > s->batch_max)
            size = s->batch_max;
        c->max_batch_size = (int32_t)size;
    }
    if (c->max_batch_size > 1 &&
        c->scheduling_choice_case == INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE__NOT_SET) {
        c->scheduling_choice_case = INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING;
        c->dynamic_batching = arena_new(a, Inference__ModelDynamicBatching);
        inference__model_dynamic_batching__init(c->dynamic_batching);
    }
    if (c->n_input == 0)
        complete_inputs(a, c, s);
    if (c->n_output == 0)
        complete_outputs(a, c, s);
    return STATUS_OK;
}

static const struct io_spec *signature_find(const struct io_spec *list, size_t n,
                                            const char *name) {
    for (size_t i = 0; i < n; i++)
        if (str_eq_c(list[i].name, name))
            return &list[i];
    return NULL;
}

static status refuse_name(const model_config *c, const char *what, const char *name,
                          const struct io_spec *list, size_t n, struct error *err) {
    char allowed[300] = "";
    size_t used = 0;
    for (size_t i = 0; i < n && used < sizeof allowed - 1; i++) {
        int more = snprintf(allowed + used, sizeof allowed - used, "%s%.*s", i ? ", " : "",
                            STR_ARG(list[i].name));
        used += more > 0 ? (size_t)more : 0;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "unexpected inference %s '%s' for model '%s', allowed %ss are: %s", what, name,
                     c->name, what, allowed);
}

static status match_one(const model_config *c, const struct io_view *v, const char *what,
                        const struct io_spec *file, struct error *err) {
    int64_t dims[TENSOR_RANK_MAX + 1];
    size_t rank = 0;
    if (c->max_batch_size > 0)
        dims[rank++] = -1;
    const int64_t *own = v->has_reshape ? v->reshape : v->dims;
    for (size_t d = 0; d < (v->has_reshape ? v->n_reshape : v->n_dims); d++)
        dims[rank++] = own[d];
    if (config_dtype(v->type) != file->dtype)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model '%s', %s '%s': the configuration says %s, the model file %s",
                         c->name, what, v->name, config_dtype_name(v->type),
                         config_dtype_name(config_type_of(file->dtype)));
    bool fits = rank == file->rank;
    for (size_t d = 0; fits && d < rank; d++)
        fits = dims[d] == file->dims[d] || dims[d] == -1 || file->dims[d] == -1;
    char want[DIMS_TEXT_SIZE], found[DIMS_TEXT_SIZE];
    if (!fits)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model '%s', tensor '%s': the model expects %d dimensions (shape %s) but "
                         "the model configuration specifies %zu dimensions (shape %s)",
                         c->name, v->name, file->rank, dims_format(file->dims, file->rank, want),
                         rank, dims_format(dims, rank, found));
    return STATUS_OK;
}

status config_match(const model_config *c, const struct backend_signature *s, struct error *err) {
    if (c->n_input != s->n_inputs)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unable to load model '%s', configuration expects %zu inputs, model "
                         "provides %zu",
                         c->name, c->n_input, s->n_inputs);
    for (size_t i = 0; i < c->n_input; i++) {
        struct io_view v = input_view(c->input[i]);
        const struct io_spec *file = signature_find(s->inputs, s->n_inputs, v.name);
        if (!file)
            return refuse_name(c, "input", v.name, s->inputs, s->n_inputs, err);
        TRY(match_one(c, &v, "input", file, err));
    }
    for (size_t i = 0; i < c->n_output; i++) {
        struct io_view v = output_view(c->output[i]);
        const struct io_spec *file = signature_find(s->outputs, s->n_outputs, v.name);
        if (!file)
            return refuse_name(c, "output", v.name, s->outputs, s->n_outputs, err);
        TRY(match_one(c, &v, "output", file, err));
    }
    return STATUS_OK;
}

static status read_labels(struct arena *a, const char *folder, const char *file,
                          struct io_spec *out, struct error *err) {
    if (strchr(file, '/') || !strcmp(file, ".."))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "label file \"%s\" is not a name in the model's folder", file);
    str path = str_format(a, "%s/%s", folder, file);
    CLEANUP(buffer_done) struct buffer text = {.size_max = CONFIG_SIZE_MAX * 16};
    TRY(file_read(&text, path.p, err));
    str all = str_copy(a, buffer_str(&text)), rest = all, line;
    if (str_ends(rest, STR("\n")))
        rest.n--;
    for (str count = rest; str_next(&count, '\n', &line);)
        out->n_labels++;
    str *labels = arena_array(a, str, out->n_labels);
    for (size_t i = 0; str_next(&rest, '\n', &line); i++)
        labels[i] = str_ends(line, STR("\r")) ? str_slice(line, 0, line.n - 1) : line;
    out->labels = labels;
    return STATUS_OK;
}

static status spec_one(struct arena *a, const struct io_view *v, const char *folder,
                       struct io_spec *out, struct error *err) {
    out->name = str_copy(a, str_from_c(v->name));
    out->dtype = config_dtype(v->type);
    out->rank = (uint8_t)v->n_dims;
    out->reshape_rank = (uint8_t)v->n_reshape;
    out->has_reshape = v->has_reshape;
    out->is_optional = v->is_optional;
    out->allows_ragged = v->allows_ragged;
    for (size_t d = 0; d < v->n_dims; d++)
        out->dims[d] = v->dims[d];
    for (size_t d = 0; d < v->n_reshape; d++)
        out->reshape[d] = v->reshape[d];
    if (*v->label_file)
        return read_labels(a, folder, v->label_file, out, err);
    return STATUS_OK;
}

status config_spec(struct arena *a, const model_config *c, const char *folder, int64_t version,
                   struct model_spec *out, struct error *err) {
    struct model_spec m = {.name = str_copy(a, str_from_c(c->name)),
                           .version = version,
                           .max_batch_size = c->max_batch_size,
                           .n_inputs = c->n_input,
                           .n_outputs = c->n_output,
                           .n_parameters = c->n_parameters};
    m.inputs = arena_array(a, struct io_spec, m.n_inputs);
    m.outputs = arena_array(a, struct io_spec, m.n_outputs);
    for (size_t i = 0; i < m.n_inputs; i++) {
        struct io_view v = input_view(c->input[i]);
        TRY(spec_one(a, &v, folder, &m.inputs[i], err));
        m.has_optional_inputs = m.has_optional_inputs || v.is_optional;
    }
    for (size_t i = 0; i < m.n_outputs; i++) {
        struct io_view v = output_view(c->output[i]);
        TRY(spec_one(a, &v, folder, &m.outputs[i], err));
    }
    struct model_parameter *parameters = arena_array(a, struct model_parameter, m.n_parameters);
    for (size_t i = 0; i < m.n_parameters; i++) {
        const Inference__ModelParameter *value = c->parameters[i]->value;
        parameters[i].name = str_copy(a, str_from_c(c->parameters[i]->key));
        parameters[i].value = str_copy(a, str_from_c(value ? value->string_value : ""));
    }
    m.parameters = parameters;
    *out = m;
    return STATUS_OK;
}
