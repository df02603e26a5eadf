/* tensor.h - a typed, row-major, dense block of elements somewhere in memory.
 *
 * The struct is a view that callers embed. It says where its bytes are (place) and, when
 * somebody must hear that they are no longer used, how (release). Strides do not exist:
 * layouts other than row-major are spelled out as dimensions. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/dtype.h"

enum { TENSOR_RANK_MAX = 8 };

/* Where the bytes live; the CPU is the first device, others get numbers of their own. */
typedef enum place { PLACE_CPU = 0 } place;

struct tensor {
    dtype dtype;
    uint8_t place; /* enum place */
    uint8_t rank;
    int64_t dims[TENSOR_RANK_MAX]; /* all >= 0 */
    void *data;                    /* BYTES: elements of {u32 length, bytes}, one after the other */
    size_t size;                   /* bytes at data */

    /* Called once by whoever is done with the bytes; NULL: borrowed, nobody cares. */
    void (*release)(void *arg, void *data, size_t size);
    void *release_arg;
};

/* Product of the dims; -1 when it does not fit or a dim is negative. Rank 0 gives 1. */
int64_t tensor_n_elements(const struct tensor *t);
int64_t dims_product(const int64_t *dims, size_t rank);

/* Bytes that `dims` of `t` need. False: negative dim or overflow, or t has no fixed size. */
bool tensor_size(dtype t, const int64_t *dims, size_t rank, size_t *out);

bool tensor_same_dims(const struct tensor *a, const struct tensor *b);
void tensor_release(struct tensor *t); /* calls release if any, then clears *t */

enum { DIMS_TEXT_SIZE = 200 };
/* "[1,128,384]"; a negative dim is written -1; returns `out`. */
char *dims_format(const int64_t *dims, size_t rank, char out[DIMS_TEXT_SIZE]);

#endif
