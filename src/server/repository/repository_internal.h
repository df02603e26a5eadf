/* repository_internal.h - what the files of the repository share: its structs, and the steps from a
 * folder to a loaded model. repository.c looks up, scan.c finds, lifecycle.c loads and unloads. */
#ifndef SERVER_REPOSITORY_REPOSITORY_INTERNAL_H
#define SERVER_REPOSITORY_REPOSITORY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/thread.h"
#include "server/repository/repository.h"

/* One version as the index shows it; version NULL unless READY. */
struct slot {
    int64_t number; /* -1: the model failed before a version was looked at */
    model_state state;
    char *reason;
    struct model_version *version;
};

struct model {
    char *name, *folder;
    bool is_duplicate;  /* in two folders: neither is served */
    bool is_gone;       /* its folder is */
    bool is_overridden; /* loaded with a configuration or files that came with the request */
    uint64_t stamp;     /* of its files, when it was loaded */
    struct slot *slots; /* ascending */
    size_t n_slots;
};

struct job {
    struct job *next;
    char *name, *config_json;
    struct load_files *files;
    bool is_unload;
    repository_done_fn done;
    void *arg;
};

struct repository {
    struct mutex lock;
    struct cond changed;
    struct repository_options options;
    struct map models; /* of struct model; grows only */
    struct job *jobs, **jobs_end;
    struct model_version *dead;
    size_t n_versions; /* that have not been freed yet */
    pthread_t thread;
    bool has_thread, has_started, is_ending;
    atomic_bool is_stopping; /* no compilation is worth waiting for */
};

/* Brings the list of models up to what the folders hold. */
NODISCARD status repository_scan(struct repository *r, struct error *err);

/* Changes when a file of the folder does, down to `depth` folders below it. */
uint64_t folder_stamp(const char *folder, int depth);

struct model *repository_model(struct repository *r, str name); /* NULL: there is none */

/* The same; makes one without a folder where there is none. NULL: no memory, or too many. */
struct model *repository_model_for_files(struct repository *r, const char *name);

/* Loads models on several threads; returns how many failed. */
size_t repository_load_models(struct repository *r, struct model **models, size_t n);

/* Releases the versions of slots that no model has any more. */
void slots_free(struct slot *slots, size_t n);

/* The repository's thread: load requests, polling, and the end of versions. */
void repository_thread(void *repository);

#endif
