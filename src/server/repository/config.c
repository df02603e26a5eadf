#include "server/repository/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "codec/pbtxt.h"
#include "codec/protobuf_json.h"

/* What is known of a backend by name: the file it wants and what Triton calls it. */
static const struct known_backend {
    const char *backend, *platform, *file;
    int n_cpu_instances; /* default count of a KIND_CPU group */
} known_backends[] = {
#define BACKEND_NAME(backend, platform, file, n_cpu_instances)                                     \
    {backend, platform, file, n_cpu_instances},
#include "server/repository/backends.def"
#undef BACKEND_NAME
};

static const struct known_backend *known_by_backend(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(known_backends); i++)
        if (!strcmp(known_backends[i].backend, name))
            return &known_backends[i];
    return NULL;
}

static const struct known_backend *known_by_platform(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(known_backends); i++)
        if (*known_backends[i].platform && !strcmp(known_backends[i].platform, name))
            return &known_backends[i];
    return NULL;
}

static char *text_in(struct arena *a, const char *text) {
    size_t n = strlen(text);
    char *copy = arena_alloc(a, n + 1, 1);
    memcpy(copy, text, n);
    return copy;
}

static bool has(const char *text) {
    return text && *text;
}

status config_fill(struct arena *a, model_config *c, const char *folder_name,
                   const char *version_dir, struct error *err) {
    if (!has(c->name))
        c->name = text_in(a, folder_name);
    else if (strcmp(c->name, folder_name) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unexpected directory name '%s' for model '%s', directory name must "
                         "equal model name",
                         folder_name, c->name);
    if (c->scheduling_choice_case == INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_ENSEMBLE_SCHEDULING)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "model '%s' is an ensemble, which this server does not run", c->name);
    const struct known_backend *known = NULL;
    if (has(c->backend))
        known = known_by_backend(c->backend);
    else if (has(c->platform))
        known = known_by_platform(c->platform);
    else
        for (size_t i = 0; i < ARRAY_LEN(known_backends) && version_dir && !known; i++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", version_dir, known_backends[i].file);
            if (access(path, F_OK) == 0)
                known = &known_backends[i];
        }
    if (!known && has(c->platform) && !has(c->backend))
        return error_set(err, STATUS_INVALID_ARGUMENT, "unexpected platform type '%s' for %s",
                         c->platform, c->name);
    if (!known && !has(c->backend) && !version_dir)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "at least one version must be available under the version policy of "
                         "model '%s'",
                         c->name);
    if (!known && !has(c->backend))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Invalid model name: Could not determine backend for model '%s' with no "
                         "backend in model configuration. Expected model name of the form "
                         "'model.<backend_name>'.",
                         c->name);
    if (!known)
        return STATUS_OK; /* an unknown backend fails when it is looked up */
    if (!has(c->backend))
        c->backend = text_in(a, known->backend);
    const struct known_backend *other = has(c->platform) ? known_by_platform(c->platform) : NULL;
    if (other && strcmp(other->backend, known->backend) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unexpected 'platform' and 'backend' pair, got:%s, %s", c->platform,
                         c->backend);
    if (!has(c->platform))
        c->platform = text_in(a, known->platform);
    if (!has(c->default_model_filename))
        c->default_model_filename = text_in(a, known->file);
    return STATUS_OK;
}

#define MESSAGE_NEW(a, T, init)                                                                    \
    ({                                                                                             \
        T *message_ = arena_new(a, T);                                                             \
        init(message_);                                                                            \
        message_;                                                                                  \
    })

static void normalize_batching(struct arena *a, model_config *c) {
    if (c->scheduling_choice_case != INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING)
        return;
    Inference__ModelDynamicBatching *d = c->dynamic_batching;
    if (d->n_preferred_batch_size == 0 && c->max_batch_size > 0) {
        d->preferred_batch_size = arena_array(a, int32_t, 1);
        d->preferred_batch_size[0] = c->max_batch_size;
        d->n_preferred_batch_size = 1;
    }
}

static void normalize_optimization(struct arena *a, model_config *c) {
    typedef Inference__ModelOptimizationPolicy__PinnedMemoryBuffer pinned;
    if (!c->optimization)
        c->optimization = MESSAGE_NEW(a, Inference__ModelOptimizationPolicy,
                                      inference__model_optimization_policy__init);
    pinned **both[] = {&c->optimization->input_pinned_memory,
                       &c->optimization->output_pinned_memory};
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        if (!*both[i]) {
            *both[i] = MESSAGE_NEW(
                a, pinned, inference__model_optimization_policy__pinned_memory_buffer__init);
            (*both[i])->enable = true;
        }
}

static void normalize_groups(struct arena *a, model_config *c) {
    const struct known_backend *known = known_by_backend(c->backend);
    if (c->n_instance_group == 0) {
        c->instance_group = arena_array(a, Inference__ModelInstanceGroup *, 1);
        c->instance_group[0] =
            MESSAGE_NEW(a, Inference__ModelInstanceGroup, inference__model_instance_group__init);
        c->instance_group[0]->name = text_in(a, c->name);
        c->n_instance_group = 1;
    }
    for (size_t i = 0; i < c->n_instance_group; i++) {
        Inference__ModelInstanceGroup *g = c->instance_group[i];
        if (!has(g->name)) {
            str name = str_format(a, "%s_%zu", c->name, i);
            g->name = text_in(a, name.p);
        }
        if (g->kind == INFERENCE__MODEL_INSTANCE_GROUP__KIND__KIND_AUTO)
            g->kind = INFERENCE__MODEL_INSTANCE_GROUP__KIND__KIND_CPU;
        if (g->count < 1)
            g->count = known && g->kind == INFERENCE__MODEL_INSTANCE_GROUP__KIND__KIND_CPU
                           ? known->n_cpu_instances
                           : 1;
    }
}

void config_normalize(struct arena *a, model_config *c) {
    if (!c->version_policy)
        c->version_policy =
            MESSAGE_NEW(a, Inference__ModelVersionPolicy, inference__model_version_policy__init);
    Inference__ModelVersionPolicy *v = c->version_policy;
    if (v->policy_choice_case == INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE__NOT_SET) {
        v->policy_choice_case = INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE_LATEST;
        v->latest = MESSAGE_NEW(a, Inference__ModelVersionPolicy__Latest,
                                inference__model_version_policy__latest__init);
        v->latest->num_versions = 1;
    }
    normalize_batching(a, c);
    normalize_optimization(a, c);
    normalize_groups(a, c);
}

static bool delays(const Inference__ModelQueuePolicy *p) {
    return p && p->timeout_action == INFERENCE__MODEL_QUEUE_POLICY__TIMEOUT_ACTION__DELAY;
}

static status check_priorities(const model_config *c, const Inference__ModelDynamicBatching *d,
                               struct error *err) {
    if (d->priority_levels > 64)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%" PRIu64 " priority levels in %s, this server has at most 64",
                         d->priority_levels, c->name);
    if (d->priority_levels > 0 &&
        (d->default_priority_level == 0 || d->default_priority_level > d->priority_levels))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "default priority level must be in range [1, %" PRIu64 "] for %s",
                         d->priority_levels, c->name);
    if (d->preserve_ordering && d->priority_levels > 1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Only one priority level is allowed when 'preserve_ordering' is true "
                         "for %s",
                         c->name);
    bool has_delay = delays(d->default_queue_policy);
    for (size_t i = 0; i < d->n_priority_queue_policy; i++)
        has_delay = has_delay || delays(d->priority_queue_policy[i]->value);
    if (d->preserve_ordering && has_delay)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Queue policy can not have DELAY as timeout action when "
                         "'preserve_ordering' is true for %s",
                         c->name);
    for (size_t i = 0; i < d->n_priority_queue_policy; i++) {
        uint64_t level = d->priority_queue_policy[i]->key;
        if (level == 0 || level > d->priority_levels)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "priority queue policy must have priority level in range [1, %" PRIu64
                             "] for %s",
                             d->priority_levels, c->name);
    }
    return STATUS_OK;
}

static status check_batching(const model_config *c, struct error *err) {
    if (c->scheduling_choice_case == INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_SEQUENCE_BATCHING)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "model '%s' wants sequence_batching, which this server does not do",
                         c->name);
    if (c->scheduling_choice_case != INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING)
        return STATUS_OK;
    const Inference__ModelDynamicBatching *d = c->dynamic_batching;
    if (d->n_preferred_batch_size > 64)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%zu preferred batch sizes for %s, this server takes at most 64",
                         d->n_preferred_batch_size, c->name);
    for (size_t i = 0; i < d->n_preferred_batch_size; i++) {
        if (d->preferred_batch_size[i] <= 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "dynamic batching preferred size must be positive for %s", c->name);
        if (d->preferred_batch_size[i] > c->max_batch_size)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "dynamic batching preferred size must be <= max batch size for %s",
                             c->name);
    }
    return check_priorities(c, d, err);
}

status config_check_groups(const model_config *c, struct error *err) {
    size_t n = config_n_instances(c);
    for (size_t i = 0; i < c->n_instance_group; i++) {
        const Inference__ModelInstanceGroup *g = c->instance_group[i];
        if (g->kind == INFERENCE__MODEL_INSTANCE_GROUP__KIND__KIND_GPU)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "instance group %s of model %s has kind KIND_GPU but server does not "
                             "support GPUs",
                             g->name, c->name);
        if (g->n_gpus)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "instance group %s of model %s has kind KIND_CPU but specifies one or "
                             "more GPUs",
                             g->name, c->name);
    }
    if (n == 0 || n > 256)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model %s has %zu instances, this server runs 1 to 256", c->name, n);
    return STATUS_OK;
}

/* Tags become labels of every metric of the model, and must not spoil the others' lines. */
static status check_tags(const model_config *c, struct error *err) {
    size_t size = 0;
    for (size_t i = 0; i < c->n_metric_tags; i++) {
        const char *key = c->metric_tags[i]->key, *k = key;
        while (*k == '_' || (*k >= '0' && *k <= '9') || ((*k | 32) >= 'a' && (*k | 32) <= 'z'))
            k++;
        if (*k || k == key)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "metric_tags of model '%s': key \"%s\" must consist of letters, "
                             "digits and _ to be a label",
                             c->name, key);
        size += strlen(key) + strlen(c->metric_tags[i]->value);
    }
    if (size > METRIC_TAGS_SIZE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "metric_tags of model '%s' are %zu bytes, limit %d", c->name, size,
                         METRIC_TAGS_SIZE_MAX);
    return STATUS_OK;
}

status config_check(const model_config *c, struct error *err) {
    if (c->max_batch_size < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "'max_batch_size' must be non-negative value for %s", c->name);
    if (c->max_batch_size > MODEL_BATCH_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'max_batch_size' of %s is %d, limit %d",
                         c->name, c->max_batch_size, MODEL_BATCH_MAX);
    if (c->n_input > MODEL_TENSORS_MAX || c->n_output > MODEL_TENSORS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model %s has %zu inputs and %zu outputs, limit %d", c->name, c->n_input,
                         c->n_output, MODEL_TENSORS_MAX);
    if (c->model_transaction_policy && c->model_transaction_policy->decoupled)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "model '%s' is decoupled, which backend '%s' cannot be", c->name,
                         c->backend);
    if (c->n_batch_input || c->n_batch_output)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "model '%s' has batch_input or batch_output, which this server does not "
                         "make",
                         c->name);
    for (size_t i = 0; i < c->n_input; i++)
        if (c->input[i]->allow_ragged_batch)
            return error_set(err, STATUS_UNIMPLEMENTED,
                             "input '%s' of model '%s' allows ragged batches, which backend '%s' "
                             "does not take",
                             c->input[i]->name, c->name, c->backend);
    TRY(check_batching(c, err));
    TRY(check_tags(c, err));
    return config_check_effects(c, err);
}

size_t config_n_instances(const model_config *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_instance_group; i++)
        if (!c->instance_group[i]->passive && c->instance_group[i]->count > 0)
            n += (size_t)c->instance_group[i]->count;
    return n;
}

status config_read(struct arena *a, const char *path, model_config **out, struct error *err) {
    CLEANUP(buffer_done) struct buffer text = {.size_max = CONFIG_SIZE_MAX};
    status code = file_read(&text, path, err);
    if (code != STATUS_OK && code != STATUS_NOT_FOUND)
        return code;
    struct error inner = {0};
    ProtobufCMessage *message = NULL;
    if (pbtxt_read(&message, a, &inference__model_config__descriptor, buffer_str(&text), &inner) !=
        STATUS_OK)
        return error_set(err, STATUS_INVALID_ARGUMENT, "failed to read text proto from %s: %s",
                         path, inner.text);
    *out = (model_config *)message;
    return STATUS_OK;
}

status config_read_json(struct arena *a, str json, model_config **out, struct error *err) {
    struct json_value *tree;
    ProtobufCMessage *message = NULL;
    str text = str_copy(a, json); /* the message's strings point into it */
    TRY(json_parse(&tree, a, text, err));
    TRY(protobuf_json_read(&message, a, &inference__model_config__descriptor, tree, err));
    *out = (model_config *)message;
    return STATUS_OK;
}

status config_write_json(const model_config *c, struct buffer *out, struct error *err) {
    struct json_writer w;
    json_writer_init(&w, out, err);
    protobuf_json_write(&w, &c->base,
                        PROTOBUF_JSON_ORIGINAL_NAMES | PROTOBUF_JSON_DEFAULTS |
                            PROTOBUF_JSON_INT64_NUMBERS);
    return json_writer_finish(&w);
}
