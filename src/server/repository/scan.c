/* scan.c - which models the repository's folders hold. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/log.h"
#include "server/repository/repository_internal.h"

uint64_t folder_stamp(const char *folder, int depth) {
    uint64_t sum = 1;
    DIR *d = opendir(folder);
    struct dirent *e;
    struct stat st;
    while (d && (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
            fstatat(dirfd(d), e->d_name, &st, 0))
            continue;
        int64_t facts[4] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (int64_t)st.st_ino};
        if (!S_ISDIR(st.st_mode)) {
            sum += hash_bytes(e->d_name, strlen(e->d_name), hash_bytes(facts, sizeof facts, 7));
        } else if (depth > 0) {
            char path[PATH_MAX];
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            sum +=
                folder_stamp(path, depth - 1) * (hash_bytes(e->d_name, strlen(e->d_name), 3) | 1);
        }
    }
    if (d)
        closedir(d);
    return sum;
}

static struct model *add_locked(struct repository *r, const char *name, const char *folder) {
    if (r->models.n_live >= REPOSITORY_MODELS_MAX) {
        log_error("repository", "too many models", "limit=%d", REPOSITORY_MODELS_MAX);
        return NULL;
    }
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->name = strdup(name);
    m->folder = strdup(folder);
    map_set(&r->models, str_from_c(name), m);
    return m;
}

struct model *repository_model_for_files(struct repository *r, const char *name) {
    mutex_lock(&r->lock);
    struct model *m = map_get(&r->models, str_from_c(name));
    if (!m)
        m = add_locked(r, name, "");
    if (m && !*m->folder)
        m->is_gone = true; /* nothing of it lies in the repository */
    mutex_unlock(&r->lock);
    return m;
}

static void found_locked(struct repository *r, const char *name, const char *folder) {
    struct model *m = map_get(&r->models, str_from_c(name));
    if (!m) {
        m = add_locked(r, name, folder);
        if (!m)
            return;
    } else if (m->is_gone) {
        free(m->folder);
        m->folder = strdup(folder);
    } else if (strcmp(m->folder, folder) != 0) {
        m->is_duplicate = true;
    }
    m->is_gone = false;
}

status repository_scan(struct repository *r, struct error *err) {
    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->models.n; i++) {
        struct model *m = r->models.entries[i].value;
        m->is_gone = true;
        m->is_duplicate = false;
    }
    status code = STATUS_OK;
    for (size_t p = 0; p < r->options.n_paths && code == STATUS_OK; p++) {
        const char *root = r->options.paths[p];
        DIR *d = opendir(root);
        if (!d) {
            code = error_set(err, STATUS_INTERNAL,
                             "failed to stat file %s: model repository cannot be read: %s", root,
                             strerror(errno));
            break;
        }
        struct dirent *e;
        struct stat st;
        while ((e = readdir(d)))
            if (e->d_name[0] != '.' && !fstatat(dirfd(d), e->d_name, &st, 0) &&
                S_ISDIR(st.st_mode)) {
                char folder[PATH_MAX];
                snprintf(folder, sizeof folder, "%s/%s", root, e->d_name);
                found_locked(r, e->d_name, folder);
            }
        closedir(d);
    }
    if (r->options.flat_folder)
        found_locked(r, FLAT_MODEL_NAME, r->options.flat_folder);
    mutex_unlock(&r->lock);
    return code;
}

struct model *repository_model(struct repository *r, str name) {
    mutex_lock(&r->lock);
    struct model *m = map_get(&r->models, name);
    mutex_unlock(&r->lock);
    return m;
}
