/* config.h - config.pbtxt from the file to what the server acts on: defaults, rules, auto-complete.
 *
 * Source: Triton's model_config.proto and its model configuration pages. A configuration and
 * everything in it lives in one arena. The order is read, fill, normalize, complete, normalize,
 * check. */
#ifndef SERVER_REPOSITORY_CONFIG_H
#define SERVER_REPOSITORY_CONFIG_H

#include "base/buffer.h"
#include "proto/model_config.pb-c.h"
#include "server/backend/backend.h"

typedef Inference__ModelConfig model_config;

enum {
    CONFIG_SIZE_MAX = 1024 * 1024,
    METRIC_TAGS_SIZE_MAX = 1024 /* keys and values of a model */
};

/* Reads a config.pbtxt; no file is an empty configuration. INVALID_ARGUMENT names file, line and
 * column. */
NODISCARD status config_read(struct arena *a, const char *path, model_config **out,
                             struct error *err);

/* Reads the JSON form, as a load request carries it. */
NODISCARD status config_read_json(struct arena *a, str json, model_config **out, struct error *err);

/* Fills name, backend, platform and default_model_filename from each other, and, where the file
 * says none of them, from what lies in `version_dir` (NULL: there is no version). */
NODISCARD status config_fill(struct arena *a, model_config *c, const char *folder_name,
                             const char *version_dir, struct error *err);

/* Writes down the defaults that the wire shows: version policy, batch sizes, instance groups. */
void config_normalize(struct arena *a, model_config *c);

/* Structure that holds whatever the model file says. INVALID_ARGUMENT. */
NODISCARD status config_check(const model_config *c, struct error *err);

/* Instance groups that this machine can run. INVALID_ARGUMENT. */
NODISCARD status config_check_groups(const model_config *c, struct error *err);

/* Refuses what this server cannot do and must not ignore: fields that only TensorRT has, and
 * foreign code. INVALID_ARGUMENT, UNIMPLEMENTED. */
NODISCARD status config_check_effects(const model_config *c, struct error *err);

/* The names of fields that are set and change nothing here, with commas; false: there are none. */
bool config_list_unused(const model_config *c, char *text, size_t size);

/* Inputs and outputs are there and whole: after auto-complete. INVALID_ARGUMENT. */
NODISCARD status config_check_io(const model_config *c, struct error *err);

/* Auto-complete as Triton's ONNX Runtime backend does it: what the configuration leaves out of
 * inputs, outputs, max_batch_size and dynamic batching comes from the model file. */
NODISCARD status config_complete(struct arena *a, model_config *c,
                                 const struct backend_signature *s, int64_t default_max_batch_size,
                                 struct error *err);

/* Holds inputs and outputs to the model file's. INVALID_ARGUMENT names what is there. */
NODISCARD status config_match(const model_config *c, const struct backend_signature *s,
                              struct error *err);

/* What the rest of the server knows of one version. Label files are read from `folder`. */
NODISCARD status config_spec(struct arena *a, const model_config *c, const char *folder,
                             int64_t version, struct model_spec *out, struct error *err);

/* Appends the JSON form, as GET .../config answers it. */
NODISCARD status config_write_json(const model_config *c, struct buffer *out, struct error *err);

size_t config_n_instances(const model_config *c);

const char *config_dtype_name(Inference__DataType t); /* "TYPE_FP32" */
dtype config_dtype(Inference__DataType t);

#endif
