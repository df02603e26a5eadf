/* number_run_internal.h - the fast ways of number_run.c; only where isa_host() is ISA_AVX2 or
 * more. */
#ifndef CODEC_NUMBER_RUN_INTERNAL_H
#define CODEC_NUMBER_RUN_INTERNAL_H

#include <stddef.h>

#include "base/str.h"

/* Reads numbers that have a comma behind them from *at on, where one must start, until it meets one
 * that it leaves to number_scan(). *at is then where that one starts, behind a comma. */
size_t number_read_f32_avx2(const char **at, str text, char *to, size_t n_max);

/* number_run_write_f32() */
char *number_write_f32_avx2(char *out, const char *from, size_t n);

#endif
