#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

status file_status(int error_number) {
    switch (error_number) {
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_PERMISSION_DENIED;
    case EEXIST:
        return STATUS_ALREADY_EXISTS;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return STATUS_RESOURCE_EXHAUSTED;
    default:
        return STATUS_UNKNOWN;
    }
}

static status fail(struct error *err, const char *verb, const char *path) {
    int e = errno;
    return error_set(err, file_status(e), "%s \"%s\": %s", verb, path, strerror(e));
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static status open_file(int *out, const char *path, size_t *size, struct error *err) {
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(err, "open", path);
    if (S_ISDIR(st.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT, "open \"%s\": it is a folder, not a file",
                         path);
    *size = (size_t)st.st_size;
    *out = fd;
    fd = -1;
    return STATUS_OK;
}

status file_read(struct buffer *out, const char *path, struct error *err) {
    CLEANUP(close_fd) int fd = -1;
    size_t size = 0;
    TRY(open_file(&fd, path, &size, err));
    for (;;) {
        size_t want = size > 0 && size < SSIZE_MAX ? size + 1 : 64 * 1024;
        if (out->size_max && want > out->size_max - out->n)
            want = out->size_max - out->n + (out->n < out->size_max ? 0 : 1);
        status reserved = buffer_reserve(out, want, err);
        if (reserved != STATUS_OK)
            return error_wrap(err, reserved, "read \"%s\"", path);
        ssize_t n = read(fd, out->p + out->n, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, "read", path);
        if (n == 0)
            return STATUS_OK;
        out->n += (size_t)n;
        size = size > (size_t)n ? size - (size_t)n : 0;
    }
}

status file_map_open(struct file_map *out, const char *path, struct error *err) {
    CLEANUP(close_fd) int fd = -1;
    size_t size = 0;
    struct stat st;
    TRY(open_file(&fd, path, &size, err));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT, "open \"%s\": it is not a regular file",
                         path);
    if (size == 0) {
        *out = (struct file_map){.p = ""};
        return STATUS_OK;
    }
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return fail(err, "map", path);
    *out = (struct file_map){.p = p, .size = size};
    return STATUS_OK;
}

void file_map_close(struct file_map *m) {
    if (m->size)
        munmap((void *)(uintptr_t)m->p, m->size);
    *m = (struct file_map){0};
}

static status write_all(int fd, const char *p, size_t size, const char *path, struct error *err) {
    while (size) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, "write", path);
        p += n;
        size -= (size_t)n;
    }
    return STATUS_OK;
}

/* A file skips what lies between the parts; a pipe or a device is given the zeroes. */
static status write_gap(int fd, uint64_t size, const char *path, struct error *err) {
    static const char zeroes[4096];
    if (size == 0 || lseek(fd, (off_t)size, SEEK_CUR) >= 0)
        return STATUS_OK;
    for (; size > sizeof zeroes; size -= sizeof zeroes)
        TRY(write_all(fd, zeroes, sizeof zeroes, path, err));
    return write_all(fd, zeroes, (size_t)size, path, err);
}

static status write_parts(int fd, const struct file_part *parts, size_t n, const char *path,
                          struct error *err) {
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        assert(parts[i].offset >= at);
        TRY(write_gap(fd, parts[i].offset - at, path, err));
        TRY(write_all(fd, parts[i].p, parts[i].size, path, err));
        at = parts[i].offset + parts[i].size;
    }
    return STATUS_OK;
}

static void folder_of(char folder[PATH_MAX], const char *path) {
    snprintf(folder, PATH_MAX, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash)
        snprintf(folder, PATH_MAX, ".");
    else
        slash[slash == folder] = '\0';
}

static void sync_folder_of(const char *path) {
    char folder[PATH_MAX];
    folder_of(folder, path);
    CLEANUP(close_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        fsync(fd);
}

enum { TMP_SUFFIX_SIZE = sizeof ".xxxxxx", TMP_TRIES_MAX = 100 };

/* Beside `path`, another one in each call. */
static void make_tmp_name(char tmp[PATH_MAX], const char *path) {
    static _Atomic unsigned n_names;
    unsigned x = (unsigned)getpid() * 2654435761u + n_names++ * 40503u;
    snprintf(tmp, PATH_MAX, "%.*s.%06x", PATH_MAX - TMP_SUFFIX_SIZE, path, x & 0xffffff);
}

/* A new file in the folder of `path`: without a name where the file system can, so that nothing is
 * left when the process is killed (then *tmp is empty), else named *tmp. */
static int open_tmp(char tmp[PATH_MAX], const char *path) {
    char folder[PATH_MAX];
    folder_of(folder, path);
    *tmp = '\0';
    int fd = access("/proc/self/fd", X_OK) == 0
                 ? open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666)
                 : -1;
    for (int i = 0; fd < 0 && i < TMP_TRIES_MAX; i++) {
        make_tmp_name(tmp, path);
        fd = open(tmp, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd;
}

/* Gives a file that has none the name *tmp. */
static int name_tmp(int fd, char tmp[PATH_MAX], const char *path) {
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    for (int i = 0; i < TMP_TRIES_MAX; i++) {
        make_tmp_name(tmp, path);
        if (linkat(AT_FDCWD, self, AT_FDCWD, tmp, AT_SYMLINK_FOLLOW) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    *tmp = '\0';
    return -1;
}

static status replace_file(const char *path, const struct file_part *parts, size_t n,
                           struct error *err) {
    char tmp[PATH_MAX];
    CLEANUP(close_fd) int fd = open_tmp(tmp, path);
    if (fd < 0)
        return fail(err, "create", path);
    status written = write_parts(fd, parts, n, path, err);
    if (written == STATUS_OK &&
        (fsync(fd) < 0 || (!*tmp && name_tmp(fd, tmp, path) < 0) || rename(tmp, path) < 0))
        written = fail(err, "write", path);
    if (written == STATUS_OK)
        sync_folder_of(path);
    else if (*tmp)
        unlink(tmp);
    return written;
}

status file_write_parts(const char *path, const struct file_part *parts, size_t n,
                        struct error *err) {
    char real[PATH_MAX];
    struct stat st;
    if (strlen(path) >= PATH_MAX - TMP_SUFFIX_SIZE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "path \"%.100s...\" is too long", path);
    if (stat(path, &st) < 0)
        return replace_file(path, parts, n, err);
    if (S_ISDIR(st.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT, "write \"%s\": it is a folder", path);
    if (S_ISREG(st.st_mode)) /* what a link names is replaced, not the link */
        return replace_file(realpath(path, real) ? real : path, parts, n, err);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, "open", path);
    return write_parts(fd, parts, n, path, err);
}

status file_write(const char *path, const void *bytes, size_t size, struct error *err) {
    const struct file_part part = {.p = bytes, .size = size};
    return file_write_parts(path, &part, 1, err);
}

status file_make_folder(const char *path, struct error *err) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return error_set(err, STATUS_INVALID_ARGUMENT, "path \"%.100s...\" is too long", path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return fail(err, "make folder", part);
        if (!slash)
            return STATUS_OK;
        *slash = '/';
    }
}

void file_limit_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
