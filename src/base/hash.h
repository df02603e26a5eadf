/* hash.h - a fast 64-bit hash for tables, cache keys and damage checks; not for secrets. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Reads at memory speed (four lanes of 8 bytes). The value is part of the plan file
 * format: it never changes. */
uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed);

#endif
