/* number_run.h - FP32 numbers in a row, many at a time: what stands between the brackets of a JSON
 * array.
 *
 * Where the CPU has AVX2 (and CULMEN_ISA allows it), the shapes that tensors are made of go through
 * number_read_avx2.c and number_write_avx2.c, four and eight numbers at once; the rest, and all of
 * them elsewhere, goes through number.h one by one. What comes out is the same to the last bit. */
#ifndef CODEC_NUMBER_RUN_H
#define CODEC_NUMBER_RUN_H

#include <stddef.h>

#include "base/str.h"

/* Reads "number, number, number" from *at on, a place in `text`, into `to`, until `n_max` are read
 * or something else comes; a number too large for FP32 is something else, too. Returns how many;
 * *at is then behind the last of them, before its comma. */
size_t number_run_read_f32(const char **at, str text, char *to, size_t n_max);

/* Writes `n` FP32 with a comma behind each of them and returns the end. `out` has room for n times
 * NUMBER_TEXT_SIZE, all of which may be written to. */
char *number_run_write_f32(char *out, const char *from, size_t n);

#endif
