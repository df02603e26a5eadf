#include "control/deployment_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/api/name.h"

enum { LOG_TAIL_SIZE_MAX = 4096 };

status deployment_read(struct deployment *d, struct arena *a, const struct record *r,
                       struct error *err) {
    struct resource_name name;
    str rest = str_slice(r->key, sizeof "deployments/" - 1, r->key.n);
    ptrdiff_t slash = str_find_last(rest, '/');
    if (slash < 0)
        return error_set(err, STATUS_DATA_LOSS, "the record \"%.*s\" is no deployment",
                         STR_ARG(r->key));
    *d = (struct deployment){.arena = a, .key = r->key, .revision = r->revision};
    d->record = r->value;
    d->endpoint_name = str_slice(rest, 0, (size_t)slash);
    d->id = str_slice(rest, (size_t)slash + 1, rest.n);
    TRY(name_parse(&name, d->endpoint_name, err));
    d->set_name = str_format(a, "%.*s.%.*s.%.*s.%.*s", STR_ARG(name.project),
                             STR_ARG(name.location), STR_ARG(name.id), STR_ARG(d->id));
    str state = record_string(r->value, "state");
    d->is_deploying = str_eq(state, STR(DEPLOYMENT_DEPLOYING));
    d->is_undeploying = str_eq(state, STR(DEPLOYMENT_UNDEPLOYING));
    int64_t n = record_i64(r->value, "n", 1);
    d->n_wanted = d->is_undeploying || n < 0 ? 0 : (unsigned)n;
    const struct json_value *dm = json_get(r->value, "deployedModel");
    d->n_required = (unsigned)record_i64(json_get(dm, "dedicatedResources"), "requiredReplicaCount",
                                         d->n_wanted);
    return STATUS_OK;
}

static str route_of(const struct deployment *d, const char *member, const char *suffix) {
    str route = record_string(json_get(d->record, "containerSpec"), member);
    struct resource_name name;
    struct error ignored; /* deployment_read() has parsed it */
    if (route.n || name_parse(&name, d->endpoint_name, &ignored) != STATUS_OK)
        return str_copy(d->arena, route);
    return str_format(d->arena, "/v1/endpoints/%.*s/deployedModels/%.*s%s", STR_ARG(name.id),
                      STR_ARG(d->id), suffix);
}

str deployment_health_route(const struct deployment *d) {
    return route_of(d, "healthRoute", "");
}

str deployment_predict_route(const struct deployment *d) {
    return route_of(d, "predictRoute", ":predict");
}

struct environment {
    struct arena *arena;
    const char *texts[RUNTIME_ENVIRONMENT_MAX];
    size_t n;
    bool is_full;
};

static void environment_add(struct environment *e, const char *name, str value) {
    if (e->n == RUNTIME_ENVIRONMENT_MAX) {
        e->is_full = true;
        return;
    }
    e->texts[e->n++] = str_format(e->arena, "%s=%.*s", name, STR_ARG(value)).p;
}

static str environment_get(const struct environment *e, str name) {
    for (size_t i = e->n; i > 0; i--) {
        str text = str_from_c(e->texts[i - 1]);
        if (str_starts(text, name) && text.n > name.n && text.p[name.n] == '=')
            return str_slice(text, name.n + 1, text.n);
    }
    return (str){0};
}

/* $(NAME) becomes its value, $$(NAME) becomes $(NAME), an unknown name stays. */
static str expand(const struct environment *e, str text) {
    enum { EXPANDED_SIZE_MAX = 65536 };
    struct buffer out = {.size_max = EXPANDED_SIZE_MAX};
    struct error ignored; /* over the limit the text stays as it is */
    status st = STATUS_OK;
    for (size_t i = 0; i < text.n && st == STATUS_OK;) {
        str rest = str_slice(text, i, text.n);
        ptrdiff_t end = str_find(rest, ')');
        if (str_starts(rest, STR("$$("))) {
            st = buffer_append_str(&out, STR("$("), &ignored);
            i += 3;
        } else if (str_starts(rest, STR("$(")) && end > 0) {
            str value = environment_get(e, str_slice(rest, 2, (size_t)end));
            st = buffer_append_str(&out, value.p ? value : str_slice(rest, 0, (size_t)end + 1),
                                   &ignored);
            i += (size_t)end + 1;
        } else {
            st = buffer_append(&out, rest.p, 1, &ignored);
            i++;
        }
    }
    str result = st == STATUS_OK ? str_copy(e->arena, buffer_str(&out)) : text;
    buffer_done(&out);
    return result;
}

/* What a program needs, and what the operator may have set for all of culmen. */
static void environment_inherit(struct environment *e) {
    static const char *const names[] = {"PATH",         "HOME",         "LANG",
                                        "TZ",           "TMPDIR",       "CULMEN_ISA",
                                        "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (getenv(names[i]))
            environment_add(e, names[i], str_from_c(getenv(names[i])));
}

status deployment_environment(const struct deployment *d, const char *cache_folder,
                              const char ***out, size_t *n, struct error *err) {
    struct resource_name name;
    struct environment *e = arena_new(d->arena, struct environment);
    e->arena = d->arena;
    TRY(name_parse(&name, d->endpoint_name, err));
    environment_inherit(e);
    environment_add(e, "CULMEN_CACHE_DIR", str_from_c(cache_folder));
    environment_add(e, "AIP_MODE", STR("PREDICTION"));
    environment_add(e, "AIP_MODE_VERSION", STR("1.0.0"));
    environment_add(e, "AIP_FRAMEWORK", STR("CUSTOM_CONTAINER"));
    environment_add(e, "AIP_PROJECT_NUMBER", name.project);
    environment_add(e, "AIP_ENDPOINT_ID", name.id);
    environment_add(e, "AIP_MODEL_NAME", name.id);
    environment_add(e, "AIP_DEPLOYED_MODEL_ID", d->id);
    environment_add(e, "AIP_VERSION_NAME", d->id);
    environment_add(e, "AIP_STORAGE_URI", record_string(d->record, "artifactPath"));
    environment_add(e, "AIP_HEALTH_ROUTE", deployment_health_route(d));
    environment_add(e, "AIP_PREDICT_ROUTE", deployment_predict_route(d));
    const struct json_value *machine = json_get(
        json_get(json_get(d->record, "deployedModel"), "dedicatedResources"), "machineSpec");
    environment_add(e, "AIP_MACHINE_TYPE", record_string(machine, "machineType"));
    if (json_get(machine, "acceleratorType"))
        environment_add(e, "AIP_ACCELERATOR_TYPE", record_string(machine, "acceleratorType"));
    const struct json_value *own = json_get(json_get(d->record, "containerSpec"), "env");
    for (const struct json_value *v = own ? own->first : NULL; v; v = v->next)
        environment_add(e, str_copy(d->arena, record_string(v, "name")).p,
                        expand(e, record_string(v, "value")));
    if (e->is_full)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %d environment variables",
                         RUNTIME_ENVIRONMENT_MAX);
    *out = e->texts;
    *n = e->n;
    return STATUS_OK;
}

/* The last lines of a log. */
static str log_tail(struct arena *a, const char *path) {
    char text[LOG_TAIL_SIZE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0)
        return STR("");
    off_t from = fstat(fd, &info) == 0 && info.st_size > LOG_TAIL_SIZE_MAX
                     ? info.st_size - LOG_TAIL_SIZE_MAX
                     : 0;
    ssize_t n = pread(fd, text, sizeof text, from);
    close(fd);
    str all = str_trim((str){.p = text, .n = n > 0 ? (size_t)n : 0});
    size_t at = all.n;
    for (int lines = 0; at > 0; at--)
        if (all.p[at - 1] == '\n' && ++lines == LOG_TAIL_LINES)
            break;
    return str_copy(a, str_slice(all, at, all.n));
}

static str failure(struct deployment *d, const char *what, const struct replica_status *r) {
    str tail = r ? log_tail(d->arena, str_copy(d->arena, r->log_path).p) : STR("");
    return str_format(d->arena, "%s%s%.*s%s%s%.*s%s%.*s", what, r && r->exit_text.n ? " It " : "",
                      r ? (int)r->exit_text.n : 0, r ? r->exit_text.p : "",
                      r && r->exit_text.n ? "." : "",
                      r ? " Model server logs can be found at " : "", r ? (int)r->log_path.n : 0,
                      r ? r->log_path.p : "", tail.n ? ", which end with:\n" : "", STR_ARG(tail));
}

static void deployment_fail(struct deployment *d, str reason) {
    d->step = STEP_FAILED;
    d->reason = reason;
}

void deployment_judge(struct deployment *d, int64_t wall_ns) {
    d->step = STEP_NONE;
    if (d->is_undeploying) {
        d->step = d->n_replicas == 0 ? STEP_UNDEPLOYED : STEP_NONE;
        return;
    }
    if (!d->is_deploying)
        return;
    if (d->n_ready >= d->n_required) {
        d->step = STEP_DEPLOYED;
        return;
    }
    for (size_t i = 0; i < d->n_replicas; i++)
        if (!d->replicas[i].was_ready && d->replicas[i].n_exits >= DEPLOY_EXITS_MAX) {
            deployment_fail(d, failure(d, "Model server exited unexpectedly.", &d->replicas[i]));
            return;
        }
    if (wall_ns >= record_i64(d->record, "deadline", INT64_MAX))
        deployment_fail(
            d, failure(d,
                       "Deployment timed out: model server never became ready. Please validate "
                       "that your model file or container configuration are valid.",
                       d->n_replicas ? &d->replicas[0] : NULL));
}

/* The endpoint's split with the new model in it, which the request calls "0". A model that has
 * left the endpoint since the request leaves its share to the new one. */
static struct json_value *split_with(struct deployment *d, const struct json_value *asked) {
    struct json_value *split = json_new_object(d->arena);
    const struct json_value *list = json_get(d->endpoint, "deployedModels");
    int64_t share = 0;
    for (const struct json_value *s = asked->first; s; s = s->next) {
        int64_t percent = 0;
        bool is_there = false;
        json_to_i64(s, &percent);
        for (const struct json_value *m = list ? list->first : NULL; m; m = m->next)
            is_there |= str_eq(record_string(m, "id"), s->name) && !str_eq(s->name, d->id);
        if (is_there)
            json_set(split, s->name, json_new_i64(d->arena, percent));
        else
            share += percent;
    }
    json_set(split, d->id, json_new_i64(d->arena, share));
    return split;
}

void deployment_enter_endpoint(struct deployment *d) {
    struct json_value *list = json_get(d->endpoint, "deployedModels");
    struct json_value *asked = json_get(d->record, "trafficSplit");
    if (asked)
        json_set(d->endpoint, STR("trafficSplit"), split_with(d, asked));
    if (!list) {
        list = json_new_array(d->arena);
        json_set(d->endpoint, STR("deployedModels"), list);
    }
    json_append(list, json_copy(d->arena, json_get(d->record, "deployedModel")));
    record_set_string(d->arena, d->endpoint, "updateTime", record_now(d->arena));
}

/* Reads the open operation; *record is NULL when there is none (any more). */
static status operation_read(struct deployment *d, struct store *s, struct json_value **record,
                             int64_t *revision, struct error *err) {
    str name = record_string(d->record, "operation");
    *record = NULL;
    if (name.n == 0)
        return STATUS_OK;
    status st =
        record_get(s, d->arena, record_key(d->arena, "operations", name), record, revision, err);
    return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

static void commit_deployed(struct deployment *d, struct record_commit *commit,
                            struct json_value *operation) {
    struct arena *a = d->arena;
    if (operation)
        operation_deployed(a, operation, json_get(d->record, "deployedModel"));
    record_set_string(a, d->record, "state", STR(DEPLOYMENT_DEPLOYED));
    json_remove(d->record, STR("operation"));
    json_remove(d->record, STR("trafficSplit"));
    json_remove(d->record, STR("deadline"));
    record_put(commit, d->key, d->record, d->revision);
    record_put(commit, record_key(a, "endpoints", d->endpoint_name), d->endpoint,
               d->endpoint_revision);
}

static void commit_removed(struct deployment *d, struct record_commit *commit) {
    struct arena *a = d->arena;
    record_delete(commit, d->key, d->revision);
    record_delete(commit, record_key_status(a, d->endpoint_name, d->id), STORE_ANY);
    record_delete(commit,
                  record_key_use(a, record_string(d->record, "modelName"),
                                 record_string(d->record, "versionId"), d->endpoint_name, d->id),
                  STORE_ANY);
}

status deployment_commit(struct deployment *d, struct store *s, struct error *err) {
    struct arena *a = d->arena;
    struct json_value *operation;
    int64_t revision = 0;
    TRY(operation_read(d, s, &operation, &revision, err));
    struct record_commit commit = {.arena = a};
    if (d->step == STEP_DEPLOYED) {
        commit_deployed(d, &commit, operation);
    } else {
        commit_removed(d, &commit);
        if (operation && d->step == STEP_FAILED)
            operation_failed(a, operation, STATUS_FAILED_PRECONDITION, d->reason);
        else if (operation)
            operation_done(a, operation, "UndeployModelResponse", json_new_object(a));
    }
    if (operation)
        operation_put(&commit, operation, revision);
    return record_commit(&commit, s, NULL, err);
}

status deployment_write_status(struct deployment *d, struct store *s, struct error *err) {
    struct arena *a = d->arena;
    struct json_value *before;
    str key = record_key_status(a, d->endpoint_name, d->id), message = STR("");
    for (size_t i = 0; i < d->n_replicas && d->n_ready < d->n_wanted; i++)
        if (d->replicas[i].state != REPLICA_READY && d->replicas[i].exit_text.n)
            message = str_format(a, "Replica %u %.*s.", d->replicas[i].ordinal,
                                 STR_ARG(d->replicas[i].exit_text));
    status st = record_get(s, a, key, &before, NULL, err);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND)
        return st;
    if (st == STATUS_OK && record_i64(before, "availableReplicaCount", 0) == (int64_t)d->n_ready &&
        str_eq(record_string(before, "message"), message))
        return STATUS_OK;
    struct json_value *state = json_new_object(a);
    if (d->n_ready)
        record_set_i64(a, state, "availableReplicaCount", (int64_t)d->n_ready);
    if (message.n)
        record_set_string(a, state, "message", message);
    record_set_string(a, state, "lastUpdateTime", record_now(a));
    struct record_commit commit = {.arena = a};
    record_put(&commit, key, state, STORE_ANY);
    return record_commit(&commit, s, NULL, err);
}
