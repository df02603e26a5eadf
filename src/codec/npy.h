/* npy.h - NumPy's .npy files, versions 1 to 3: C order, little-endian, no pickles.
 *
 * Strings: '|S5' and '<U5' are read as BYTES (without their trailing NULs, as NumPy does; U as
 * UTF-8); BYTES are written as '|S'. bfloat16 is '<V2', as the ml_dtypes package has it. */
#ifndef CODEC_NPY_H
#define CODEC_NPY_H

#include "base/buffer.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/tensor.h"

/* Reads a whole file. Numbers are a view into it (no release, maybe unaligned only if `file` is);
 * strings are converted into memory that tensor_release() frees. INVALID_ARGUMENT: damaged;
 * UNIMPLEMENTED: a kind of array that we cannot hold, with what to do about it. */
NODISCARD status npy_read(struct tensor *out, str file, struct error *err);

/* The same from a file, which stays mapped until tensor_release(). */
NODISCARD status npy_open(struct tensor *out, const char *path, struct error *err);

/* Appends a file to `out`. */
NODISCARD status npy_write(struct buffer *out, const struct tensor *t, struct error *err);
NODISCARD status npy_save(const char *path, const struct tensor *t, struct error *err);

#endif
