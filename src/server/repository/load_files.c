#include "server/repository/load_files.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "codec/base64.h"

struct load_files {
    struct {
        char *path;
        struct buffer data;
    } items[LOAD_FILES_MAX];
    size_t n, size;
};

void load_files_free(struct load_files *f) {
    if (!f)
        return;
    for (size_t i = 0; i < f->n; i++) {
        free(f->items[i].path);
        buffer_done(&f->items[i].data);
    }
    free(f);
}

/* Below the folder, whatever the path says: no way up, no empty names. */
static bool is_path_inside(str path) {
    str segment;
    if (path.n == 0 || path.n >= PATH_MAX / 2 || memchr(path.p, 0, path.n))
        return false;
    while (str_next(&path, '/', &segment))
        if (segment.n == 0 || str_eq(segment, STR(".")) || str_eq(segment, STR("..")))
            return false;
    return true;
}

status load_files_add(struct load_files **f, str path, str base64, size_t size_max,
                      struct error *err) {
    if (!is_path_inside(path))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "file \"%.*s\" is not a path below the model's folder",
                         STR_ARG(str_slice(path, 0, 100)));
    if (!*f)
        *f = calloc(1, sizeof **f);
    if (!*f)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a model's files");
    struct load_files *all = *f;
    if (all->n == LOAD_FILES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "more than %d files of a model",
                         LOAD_FILES_MAX);
    struct buffer data = {.size_max = size_max - all->size};
    struct error inner = {0};
    if (base64_decode(&data, base64, BASE64_STANDARD, &inner) != STATUS_OK) {
        buffer_done(&data);
        return error_set(err, STATUS_INVALID_ARGUMENT, "file \"%.*s\": %s",
                         STR_ARG(str_slice(path, 0, 100)), inner.text);
    }
    all->items[all->n].path = strndup(path.p, path.n);
    all->items[all->n].data = data;
    all->size += data.n;
    all->n++;
    return STATUS_OK;
}

static status write_one(const char *folder, const char *path, const struct buffer *data,
                        struct error *err) {
    char full[PATH_MAX];
    int n = snprintf(full, sizeof full, "%s/%s", folder, path);
    if (n < 0 || n >= PATH_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "path \"%.60s...\" is too long", full);
    char *slash = strrchr(full, '/');
    *slash = 0;
    TRY(file_make_folder(full, err));
    *slash = '/';
    return file_write(full, data->p, data->n, err);
}

status load_files_write(const struct load_files *f, const struct compile_limits *limits,
                        char folder[PATH_MAX], struct error *err) {
    char cache[PATH_MAX];
    TRY(plan_cache_dir(limits, cache, err));
    int n = snprintf(folder, PATH_MAX, "%s/load-XXXXXX", cache);
    if (n < 0 || n >= PATH_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "path \"%.60s...\" is too long", cache);
    if (!mkdtemp(folder))
        return error_set(err, file_status(errno), "make folder \"%s\": %s", folder,
                         strerror(errno));
    status code = STATUS_OK;
    for (size_t i = 0; i < f->n && code == STATUS_OK; i++)
        code = write_one(folder, f->items[i].path, &f->items[i].data, err);
    if (code != STATUS_OK)
        load_files_remove(folder);
    return code;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void load_files_remove(const char *folder) {
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
