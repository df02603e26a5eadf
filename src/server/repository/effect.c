/* effect.c - the part of config.h about fields that this server cannot do anything with. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/repository/config.h"

static bool has(const char *text) {
    return text && *text;
}

static status check_tensors(const model_config *c, struct error *err) {
    static const char form[] = "%s '%s' of model '%s' has %s, which only TensorRT models can have";
    for (size_t i = 0; i < c->n_input; i++) {
        const Inference__ModelInput *in = c->input[i];
        if (in->is_shape_tensor || in->is_non_linear_format_io)
            return error_set(err, STATUS_INVALID_ARGUMENT, form, "input", in->name, c->name,
                             in->is_shape_tensor ? "is_shape_tensor" : "is_non_linear_format_io");
    }
    for (size_t i = 0; i < c->n_output; i++) {
        const Inference__ModelOutput *out = c->output[i];
        if (out->is_shape_tensor || out->is_non_linear_format_io)
            return error_set(err, STATUS_INVALID_ARGUMENT, form, "output", out->name, c->name,
                             out->is_shape_tensor ? "is_shape_tensor" : "is_non_linear_format_io");
    }
    for (size_t i = 0; i < c->n_instance_group; i++)
        if (c->instance_group[i]->n_profile)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "instance group %s of model %s has 'profile', which only TensorRT "
                             "models can have",
                             c->instance_group[i]->name, c->name);
    return STATUS_OK;
}

status config_check_effects(const model_config *c, struct error *err) {
    static const char form[] = "model '%s' has %s: this server does not load foreign code";
    TRY(check_tensors(c, err));
    if (c->model_operations && c->model_operations->n_op_library_filename)
        return error_set(err, STATUS_UNIMPLEMENTED, form, c->name,
                         "model_operations.op_library_filename");
    if (c->model_repository_agents && c->model_repository_agents->n_agents)
        return error_set(err, STATUS_UNIMPLEMENTED, form, c->name, "model_repository_agents");
    if (has(c->runtime))
        return error_set(err, STATUS_UNIMPLEMENTED, form, c->name, "runtime");
    return STATUS_OK;
}

/* A list of names that is cut where it outgrows its space. */
struct names {
    char *text;
    size_t n, size;
};

static void add(struct names *names, bool is_set, const char *name) {
    if (!is_set || names->n + 1 >= names->size)
        return;
    int more =
        snprintf(names->text + names->n, names->size - names->n, "%s%s", names->n ? "," : "", name);
    names->n += more > 0 ? (size_t)more : 0;
}

static void add_optimization(struct names *names, const Inference__ModelOptimizationPolicy *p) {
    if (!p)
        return;
    add(names, p->graph != NULL, "optimization.graph");
    add(names, p->priority != 0, "optimization.priority");
    add(names, p->cuda != NULL, "optimization.cuda");
    add(names, p->execution_accelerators != NULL, "optimization.execution_accelerators");
    add(names, p->gather_kernel_buffer_threshold != 0,
        "optimization.gather_kernel_buffer_threshold");
    add(names, p->eager_batching, "optimization.eager_batching");
}

static void add_groups(struct names *names, const model_config *c) {
    bool has_limiter = false, has_policy = false, has_secondary = false;
    for (size_t i = 0; i < c->n_instance_group; i++) {
        const Inference__ModelInstanceGroup *g = c->instance_group[i];
        has_limiter = has_limiter || g->rate_limiter != NULL;
        has_policy = has_policy || has(g->host_policy);
        has_secondary = has_secondary || g->n_secondary_devices > 0;
    }
    add(names, has_limiter, "instance_group.rate_limiter");
    add(names, has_policy, "instance_group.host_policy");
    add(names, has_secondary, "instance_group.secondary_devices");
}

static bool is_read(const char *parameter) {
    static const char *const read[] = {"precision", "intra_op_thread_count"};
    for (size_t i = 0; i < ARRAY_LEN(read); i++)
        if (!strcmp(parameter, read[i]))
            return true;
    return false;
}

bool config_list_unused(const model_config *c, char *text, size_t size) {
    struct names names = {.text = text, .size = size};
    text[0] = 0;
    add_groups(&names, c);
    add_optimization(&names, c->optimization);
    add(&names, c->n_cc_model_filenames > 0, "cc_model_filenames");
    add(&names, c->model_metrics != NULL, "model_metrics");
    add(&names, c->response_cache && c->response_cache->enable, "response_cache");
    for (size_t i = 0; i < c->n_parameters; i++) {
        char name[100];
        snprintf(name, sizeof name, "parameters.%s", c->parameters[i]->key);
        add(&names, !is_read(c->parameters[i]->key), name);
    }
    return names.n > 0;
}
