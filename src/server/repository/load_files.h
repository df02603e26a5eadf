/* load_files.h - the files of a model that come with the request to load it.
 *
 * They take the place of the model's folder: they are written to a folder of their own beside the
 * compiled plans, and removed once the model is loaded. */
#ifndef SERVER_REPOSITORY_LOAD_FILES_H
#define SERVER_REPOSITORY_LOAD_FILES_H

#include "base/str.h"
#include "server/repository/compile.h"

enum { LOAD_FILES_MAX = 64 };

struct load_files;

void load_files_free(struct load_files *f);

/* Adds a file; *f NULL: the first. `path` is below the model's folder: 1/model.onnx. `size_max`
 * bounds all of them together. INVALID_ARGUMENT: such a path, or no base64. */
NODISCARD status load_files_add(struct load_files **f, str path, str base64, size_t size_max,
                                struct error *err);

/* Writes them to a new folder. */
NODISCARD status load_files_write(const struct load_files *f, const struct compile_limits *limits,
                                  char folder[PATH_MAX], struct error *err);

/* Removes a folder that load_files_write() made. */
void load_files_remove(const char *folder);

#endif
