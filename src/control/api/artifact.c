/* What image "culmen" serves: a local folder. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/api/call_internal.h"
#include "net/uri.h"

enum { ARTIFACT_PATH_MAX = 2048, ARTIFACT_ENTRIES_MAX = 10000 };

#define ACCEPTED                                                                                   \
    "a folder that holds model.onnx or model.plan, or a Triton model repository (a folder a "      \
    "model, with config.pbtxt or versions 1/, 2/, ...)"

bool image_is_culmen(str image) {
    return str_eq(image, STR("culmen")) || str_eq(image, STR("culmen:latest"));
}

static bool is_there(const char *folder, const char *name, mode_t type) {
    char path[PATH_MAX];
    struct stat info;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n < (int)sizeof path && stat(path, &info) == 0 && (info.st_mode & S_IFMT) == type;
}

static bool is_number(const char *text) {
    return *text && strspn(text, "0123456789") == strlen(text);
}

static bool is_model_folder(const char *folder) {
    if (is_there(folder, "config.pbtxt", S_IFREG))
        return true;
    bool has_version = false;
    DIR *d = opendir(folder);
    struct dirent *e;
    for (int i = 0; d && !has_version && i < ARTIFACT_ENTRIES_MAX && (e = readdir(d)) != NULL; i++)
        has_version = is_number(e->d_name) && is_there(folder, e->d_name, S_IFDIR);
    if (d)
        closedir(d);
    return has_version;
}

static bool is_repository(const char *folder) {
    bool has_model = false;
    DIR *d = opendir(folder);
    struct dirent *e;
    for (int i = 0; d && !has_model && i < ARTIFACT_ENTRIES_MAX && (e = readdir(d)) != NULL; i++) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        has_model = e->d_name[0] != '.' && n < (int)sizeof path &&
                    is_there(folder, e->d_name, S_IFDIR) && is_model_folder(path);
    }
    if (d)
        closedir(d);
    return has_model;
}

status artifact_check(struct arena *a, str uri, str *path, struct error *err) {
    str text = uri;
    if (uri.n == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model.artifact_uri is missing: image \"culmen\" serves %s.", ACCEPTED);
    /* The SDK passes on nothing but gs:// (it would copy a local folder to a bucket), so that a
     * gs:// without a bucket is a way to say a local path, too. */
    size_t scheme_n = str_starts(text, STR("file://localhost/")) ? sizeof "file://localhost" - 1
                      : str_starts(text, STR("file://"))         ? sizeof "file://" - 1
                      : str_starts(text, STR("gs:///"))          ? sizeof "gs://" - 1
                                                                 : 0;
    if (scheme_n) {
        text = str_slice(text, scheme_n, text.n);
        if (!uri_decode(&text, text, false, a))
            return error_set(err, STATUS_INVALID_ARGUMENT, "model.artifact_uri: a broken escape.");
    }
    if (text.n == 0 || text.p[0] != '/' || text.n > ARTIFACT_PATH_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model.artifact_uri \"%.*s\": image \"culmen\" takes an absolute local "
                         "path, file:///path or gs:///path (for clients that insist on gs://), to "
                         "%s.",
                         (int)(uri.n < 120 ? uri.n : 120), uri.p, ACCEPTED);
    text = str_copy(a, text);
    struct stat info;
    if (strlen(text.p) != text.n || stat(text.p, &info) != 0 || !S_ISDIR(info.st_mode) ||
        access(text.p, R_OK | X_OK) != 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "model.artifact_uri \"%.*s\" is no folder that can be read, wanted %s.",
                         (int)(uri.n < 120 ? uri.n : 120), uri.p, ACCEPTED);
    if (!is_there(text.p, "model.onnx", S_IFREG) && !is_there(text.p, "model.plan", S_IFREG) &&
        !is_repository(text.p))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "model.artifact_uri \"%.*s\" holds nothing that can be served, wanted %s.",
                         (int)(uri.n < 120 ? uri.n : 120), uri.p, ACCEPTED);
    *path = text;
    return STATUS_OK;
}
