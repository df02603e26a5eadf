/* load.c - one version of a model from its folder to a backend that can run it. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "server/repository/repository.h"

static int compare_versions(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_number(const char *name) {
    for (const char *c = name; *c; c++)
        if (*c < '0' || *c > '9')
            return false;
    return *name != 0;
}

static bool is_flat(const struct repository_options *o, const char *folder) {
    return o->flat_folder && !strcmp(o->flat_folder, folder);
}

static str version_folder(const struct repository_options *o, const char *folder, int64_t version,
                          struct arena *a) {
    if (is_flat(o, folder))
        return str_copy(a, str_from_c(folder));
    return str_format(a, "%s/%" PRId64, folder, version);
}

/* Every version folder, ascending. */
static status list_versions(const char *folder, struct arena *a, int64_t **out, size_t *n,
                            struct error *err) {
    DIR *d = opendir(folder);
    if (!d)
        return error_set(err, STATUS_NOT_FOUND, "cannot read folder \"%s\"", folder);
    struct dirent *e;
    struct stat st;
    size_t capacity = 0;
    *n = 0;
    *out = NULL;
    while ((e = readdir(d))) {
        if (!is_number(e->d_name) || fstatat(dirfd(d), e->d_name, &st, 0) || !S_ISDIR(st.st_mode))
            continue;
        int64_t version;
        if ((e->d_name[0] == '0' && e->d_name[1]) ||
            !str_to_int64(str_from_c(e->d_name), &version)) {
            log_warn("repository", "version folder ignored", "folder=%s/%s", folder, e->d_name);
            continue;
        }
        if (*n == capacity) {
            int64_t *more = arena_array(a, int64_t, capacity = capacity ? 2 * capacity : 8);
            if (*n)
                memcpy(more, *out, *n * sizeof **out);
            *out = more;
        }
        (*out)[(*n)++] = version;
    }
    closedir(d);
    if (*n)
        qsort(*out, *n, sizeof **out, compare_versions);
    return STATUS_OK;
}

/* Keeps of all[n] what the policy serves. */
static size_t apply_policy(const Inference__ModelVersionPolicy *p, int64_t *all, size_t n) {
    size_t kept = 0;
    if (p->policy_choice_case == INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE_ALL)
        return n;
    if (p->policy_choice_case == INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE_LATEST) {
        size_t latest = p->latest->num_versions;
        size_t from = latest < n ? n - latest : 0;
        for (size_t i = from; i < n; i++)
            all[kept++] = all[i];
        return kept;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < p->specific->n_versions; k++)
            if (p->specific->versions[k] == all[i]) {
                all[kept++] = all[i];
                break;
            }
    return kept;
}

/* The file of a model's configuration; there need not be one. */
static str config_path(const struct repository_options *o, struct arena *a, const char *folder) {
    if (o->config_name) {
        str chosen = str_format(a, "%s/configs/%s.pbtxt", folder, o->config_name);
        if (access(chosen.p, F_OK) == 0)
            return chosen;
    }
    return str_format(a, "%s/config.pbtxt", folder);
}

static status read_config(const struct repository_options *o, struct arena *a, const char *folder,
                          const char *name, str config_json, const char *version_dir,
                          model_config **out, struct error *err) {
    if (config_json.n)
        TRY(config_read_json(a, config_json, out, err));
    else
        TRY(config_read(a, config_path(o, a, folder).p, out, err));
    TRY(config_fill(a, *out, name, version_dir, err));
    config_normalize(a, *out);
    return config_check(*out, err);
}

status model_versions_find(const struct repository_options *o, const char *folder, const char *name,
                           str config_json, struct arena *a, int64_t **out, size_t *n,
                           struct error *err) {
    if (is_flat(o, folder)) {
        *out = arena_new(a, int64_t);
        **out = 1;
        *n = 1;
    } else {
        TRY(list_versions(folder, a, out, n, err));
    }
    /* Triton looks at the first folder in text order to tell the backend. */
    str version_dir = {0};
    for (size_t i = 0; i < *n; i++) {
        str candidate = version_folder(o, folder, (*out)[i], a);
        if (!version_dir.n || str_compare(candidate, version_dir) < 0)
            version_dir = candidate;
    }
    model_config *c;
    TRY(read_config(o, a, folder, name, config_json, version_dir.n ? version_dir.p : NULL, &c,
                    err));
    *n = apply_policy(c->version_policy, *out, *n);
    if (*n == 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "at least one version must be available under the version policy of "
                         "model '%s'",
                         name);
    return STATUS_OK;
}

static const struct backend *backend_find(const struct repository_options *o, const char *name) {
    /* ONNX models become plans, so the plan's backend runs them. */
    if (!strcmp(name, "onnxruntime"))
        name = "culmen";
    for (size_t i = 0; i < o->n_backends; i++)
        if (!strcmp(o->backends[i]->name, name))
            return o->backends[i];
    return NULL;
}

static const char *config_parameter(const model_config *c, const char *name) {
    for (size_t i = 0; i < c->n_parameters; i++)
        if (!strcmp(c->parameters[i]->key, name) && c->parameters[i]->value)
            return c->parameters[i]->value->string_value;
    return NULL;
}

/* The file to open: the plan that the folder holds, or the one made of its model.onnx. */
static status find_plan(const struct repository_options *o, const model_config *c,
                        const char *version_dir, char path[PATH_MAX], struct error *err) {
    if (strchr(c->default_model_filename, '/'))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "default_model_filename \"%s\" is not a name in the version's folder",
                         c->default_model_filename);
    int n = snprintf(path, PATH_MAX, "%s/%s", version_dir, c->default_model_filename);
    if (n < 0 || n >= PATH_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "path \"%.60s...\" is too long",
                         version_dir);
    if (strcmp(c->backend, "onnxruntime") != 0)
        return STATUS_OK;
    struct stat st;
    size_t used = (size_t)n;
    /* A folder of that name holds the model and its external data. */
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && used + sizeof "/model.onnx" <= PATH_MAX)
        memcpy(path + used, "/model.onnx", sizeof "/model.onnx");
    char onnx_path[PATH_MAX], precision[64];
    memcpy(onnx_path, path, PATH_MAX);
    const char *args[COMPILE_ARGS_MAX + 1] = {NULL};
    const char *value = config_parameter(c, "precision");
    if (value) {
        snprintf(precision, sizeof precision, "--precision=%s", value);
        args[0] = precision;
    }
    return plan_compile(&o->compile, onnx_path, args, path, err);
}

static status open_backend(const struct repository_options *o, struct model_version *v,
                           model_config *c, const char *version_dir, struct error *err) {
    v->backend = backend_find(o, c->backend);
    if (!v->backend)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unable to find backend library for backend '%s': this server runs "
                         "model.onnx (onnxruntime) and model.plan (culmen)",
                         c->backend);
    char path[PATH_MAX];
    TRY(find_plan(o, c, version_dir, path, err));
    struct model_spec parameters = {0};
    model_config only_parameters = *c;
    only_parameters.n_input = only_parameters.n_output = 0;
    TRY(config_spec(&v->arena, &only_parameters, "", 0, &parameters, err));
    struct backend_source source = {.path = path,
                                    .max_batch_size = c->max_batch_size,
                                    .parameters = parameters.parameters,
                                    .n_parameters = parameters.n_parameters,
                                    .n_instances = config_n_instances(c)};
    return v->backend->model_open(&v->backend_model, &source, err);
}

/* max_batch_size where the configuration has none. */
static int64_t default_batch(const struct repository_options *o, const model_config *c) {
    bool is_triton = str_eq_c(str_from_c(c->platform), "onnxruntime_onnx") && !o->flat_folder;
    bool is_chosen = o->default_max_batch_size != DEFAULT_MAX_BATCH_SIZE;
    return is_triton || is_chosen ? o->default_max_batch_size : PLAN_MAX_BATCH_SIZE;
}

static status load(const struct repository_options *o, struct model_version *v, const char *folder,
                   const char *name, int64_t version, str config_json, struct error *err) {
    model_config *c;
    str version_dir = version_folder(o, folder, version, &v->arena);
    TRY(read_config(o, &v->arena, folder, name, config_json, version_dir.p, &c, err));
    TRY(config_check_groups(c, err));
    TRY(open_backend(o, v, c, version_dir.p, err));
    struct backend_signature s = {0};
    bool is_described = v->backend->describe != NULL;
    if (is_described)
        TRY(v->backend->describe(v->backend_model, &v->arena, &s, err));
    if (is_described && !o->is_auto_complete_off)
        TRY(config_complete(&v->arena, c, &s, default_batch(o, c), err));
    config_normalize(&v->arena, c);
    TRY(config_check(c, err));
    TRY(config_check_io(c, err));
    if (is_described)
        TRY(config_match(c, &s, err));
    TRY(config_spec(&v->arena, c, folder, version, &v->spec, err));
    char unused[512];
    if (config_list_unused(c, unused, sizeof unused))
        log_warn("repository", "fields of the configuration without effect in this server",
                 "model=%s version=%" PRId64 " fields=%s", name, version, unused);
    CLEANUP(buffer_done) struct buffer json = {0};
    TRY(config_write_json(c, &json, err));
    v->config_json = str_copy(&v->arena, buffer_str(&json));
    v->platform = str_from_c(*c->platform ? c->platform : c->backend);
    v->config = c;
    v->folder = str_copy(&v->arena, str_from_c(folder));
    return o->started(o->arg, v, err);
}

status model_version_load(const struct repository_options *o, const char *folder, const char *name,
                          int64_t version, str config_json, struct model_version **out,
                          struct error *err) {
    struct model_version *v = calloc(1, sizeof *v);
    if (!v)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a model version");
    v->refs = 1;
    status code = load(o, v, folder, name, version, config_json, err);
    if (code != STATUS_OK) {
        model_version_free(o, v);
        return code;
    }
    *out = v;
    return STATUS_OK;
}

void model_version_free(const struct repository_options *o, struct model_version *v) {
    o->ended(o->arg, v);
    if (v->backend_model)
        v->backend->model_close(v->backend_model);
    arena_release(&v->arena);
    free(v);
}
