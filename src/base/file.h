/* file.h - whole files: read, map, write in one piece. Blocks: never on a loop thread. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buffer.h"
#include "base/status.h"

/* Appends the bytes of `path` to `out`. NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED
 * (over out->size_max). The error names the path. */
NODISCARD status file_read(struct buffer *out, const char *path, struct error *err);

/* A read-only private mapping of a regular file (INVALID_ARGUMENT of anything else); an empty
 * file gives size 0 and p "". */
struct file_map {
    const char *p;
    size_t size;
};
NODISCARD status file_map_open(struct file_map *out, const char *path, struct error *err);
void file_map_close(struct file_map *m);

/* Writes `path` so that readers see the old or the new file and nothing between, also
 * after a crash: temporary file beside it, fsync, rename, fsync of the folder. Of a link, the file
 * that it names is replaced; a pipe or a device is written to. The mode is the umask's. */
NODISCARD status file_write(const char *path, const void *bytes, size_t size, struct error *err);

/* The same from several pieces at rising offsets; what lies between them reads as zeroes. */
struct file_part {
    const void *p;
    size_t size;
    uint64_t offset;
};
NODISCARD status file_write_parts(const char *path, const struct file_part *parts, size_t n,
                                  struct error *err);

/* Makes the folder `path` and its parents (0755); there already is fine. */
NODISCARD status file_make_folder(const char *path, struct error *err);

/* Lets the process open as many files as it ever may: a connection is one, and 1024, the usual
 * soft limit, is few. */
void file_limit_raise(void);

/* status for an errno that open, read, write... gave. */
status file_status(int error_number);

#endif
