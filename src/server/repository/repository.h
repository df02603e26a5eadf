/* repository.h - the models that a server knows: found in folders, loaded, unloaded, looked up.
 *
 * A repository holds models, a model holds versions; a loaded version is a model_version, which is
 * counted: whoever found one keeps it alive until model_version_unref(), also while it is being
 * unloaded. Everything is guarded by the repository's lock; a model_version is immutable. */
#ifndef SERVER_REPOSITORY_REPOSITORY_H
#define SERVER_REPOSITORY_REPOSITORY_H

#include "server/repository/compile.h"
#include "server/repository/config.h"
#include "server/repository/load_files.h"

struct scheduler;
struct repository;

struct model_version {
    struct model_spec spec;
    const model_config *config;
    str config_json;
    str folder;   /* of the model */
    str platform; /* as metadata says it: the platform, or the backend */
    const struct backend *backend;
    struct backend_model *backend_model;
    struct scheduler *scheduler; /* the hooks' */
    int64_t load_ns;             /* how long loading took */

    /* The repository's. */
    struct repository *repository;
    struct arena arena;
    _Atomic size_t refs;
    struct model_version *next_dead;
};

typedef enum model_control {
    MODEL_CONTROL_NONE,
    MODEL_CONTROL_POLL,
    MODEL_CONTROL_EXPLICIT
} model_control;

typedef enum model_state {
    MODEL_STATE_UNKNOWN, /* never loaded */
    MODEL_STATE_LOADING,
    MODEL_STATE_READY,
    MODEL_STATE_UNLOADING,
    MODEL_STATE_UNAVAILABLE,
} model_state;
const char *model_state_name(model_state s);

#define FLAT_MODEL_NAME "model"

enum {
    REPOSITORY_MODELS_MAX = 10000,
    REPOSITORY_LOAD_THREADS_MAX = 64,
    DEFAULT_MAX_BATCH_SIZE = 4, /* Triton's, for model.onnx in a repository */
    PLAN_MAX_BATCH_SIZE =
        128, /* model.plan, and models behind an endpoint: a plan takes any batch */
};

struct repository_options {
    const char *const *paths;
    size_t n_paths;
    model_control control;
    int64_t poll_interval_ms;
    bool is_auto_complete_off;
    const char *config_name; /* configs/NAME.pbtxt is read where there is one; may be NULL */
    int64_t default_max_batch_size;
    size_t n_load_threads;
    struct compile_limits compile;
    const struct backend *const *backends;
    size_t n_backends;

    /* A folder that is itself the one version of one model, called FLAT_MODEL_NAME; may be NULL. */
    const char *flat_folder;

    /* Where a loaded version gets its scheduler (and may still be refused), and gives it back when
     * nobody refers to it any more. `ended` may block; it runs on a thread of the repository. */
    status (*started)(void *arg, struct model_version *v, struct error *err);
    void (*ended)(void *arg, struct model_version *v);
    void *arg;
};

NODISCARD status repository_new(struct repository **out, const struct repository_options *o,
                                struct error *err);
/* Unloads everything and waits for the last reference to every version. */
void repository_free(struct repository *r);

/* The server ends: a model that is being compiled is given up, and its load fails. Any thread. */
void repository_stop_loading(struct repository *r);
DEFINE_CLEANUP(struct repository, repository_free)

/* Finds every model of the folders and loads it (explicit: only those `names`; "*" is all).
 * Fails when a folder cannot be read; a model that fails is in the index. Returns the number of
 * models that failed in *n_failed. */
NODISCARD status repository_start(struct repository *r, const char *const *names, size_t n_names,
                                  size_t *n_failed, struct error *err);

/* A loaded version; `version` -1: the newest. NOT_FOUND and UNAVAILABLE with Triton's texts. */
NODISCARD status repository_find(struct repository *r, str name, int64_t version,
                                 struct model_version **out, struct error *err);
void model_version_unref(struct model_version *v); /* any thread, does not block */

/* The loaded versions of `name` (n = 0: of all), by name and number, each with a reference. */
size_t repository_list(struct repository *r, str name, struct arena *a,
                       struct model_version ***out);

bool repository_knows(struct repository *r, str name);
/* Every known version is READY or was unloaded on demand. */
bool repository_is_ready(struct repository *r);

struct repository_row {
    str name;
    int64_t version; /* -1: none */
    model_state state;
    str reason;
};
size_t repository_index(struct repository *r, struct arena *a, struct repository_row **out);

/* Loads or reloads, unloads: on a thread of the repository, which then calls done(arg, code,
 * text). `config_json` (n = 0: none) replaces config.pbtxt, `files` (taken, also on failure; may be
 * NULL) the model's folder. UNAVAILABLE: not in explicit mode. */
typedef void (*repository_done_fn)(void *arg, status code, const char *text);
NODISCARD status repository_load(struct repository *r, str name, str config_json,
                                 struct load_files *files, repository_done_fn done, void *arg,
                                 struct error *err);
NODISCARD status repository_unload(struct repository *r, str name, repository_done_fn done,
                                   void *arg, struct error *err);

model_control repository_control(const struct repository *r);

/* --- load.c --- */

/* Loads one version: configuration, compiler, backend, hooks. Blocks. */
NODISCARD status model_version_load(const struct repository_options *o, const char *folder,
                                    const char *name, int64_t version, str config_json,
                                    struct model_version **out, struct error *err);
void model_version_free(const struct repository_options *o, struct model_version *v);

/* Version numbers in `folder` that its version policy serves, ascending. The rest of the
 * configuration is checked, too. */
NODISCARD status model_versions_find(const struct repository_options *o, const char *folder,
                                     const char *name, str config_json, struct arena *a,
                                     int64_t **out, size_t *n, struct error *err);

#endif
