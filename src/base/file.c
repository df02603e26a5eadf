#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
    TRY(open_file(&fd, path, &size, err));
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

static status write_all(int fd, const struct file_part *part, const char *path, struct error *err) {
    const char *p = part->p;
    size_t size = part->size;
    off_t offset = (off_t)part->offset;
    while (size) {
        ssize_t n = pwrite(fd, p, size, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, "write", path);
        p += n;
        offset += n;
        size -= (size_t)n;
    }
    return STATUS_OK;
}

static void sync_folder_of(const char *path) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    CLEANUP(close_fd) int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        fsync(fd);
}

status file_write_parts(const char *path, const struct file_part *parts, size_t n,
                        struct error *err) {
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof tmp, "%s.XXXXXX", path) >= (int)sizeof tmp)
        return error_set(err, STATUS_INVALID_ARGUMENT, "path \"%.100s...\" is too long", path);
    CLEANUP(close_fd) int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return fail(err, "create", path);
    status written = STATUS_OK;
    for (size_t i = 0; i < n && written == STATUS_OK; i++)
        written = write_all(fd, &parts[i], path, err);
    if (written == STATUS_OK && (fchmod(fd, 0644) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0))
        written = fail(err, "write", path);
    if (written != STATUS_OK)
        unlink(tmp);
    else
        sync_folder_of(path);
    return written;
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
