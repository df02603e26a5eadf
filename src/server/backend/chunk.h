/* chunk.h - in how large pieces a batch is run, learnt from what runs have cost.
 *
 * Whoever batches hopes that an element gets cheaper. With weights larger than the cache it does,
 * and the batch is run whole. Where a piece of it costs an element no more, it is run in pieces:
 * the requests of a piece are answered when the piece is done, their clients come back while the
 * next one runs, and a piece of one request needs no copy. From the whole batch it goes down by
 * halves, a few runs each, as long as that costs nothing; now and then it looks at the whole again.
 * Owned by an instance. */
#ifndef SERVER_BACKEND_CHUNK_H
#define SERVER_BACKEND_CHUNK_H

#include <stdint.h>

#include "server/backend/backend.h"

enum {
    CHUNK_SIZES = 17,       /* powers of two, up to MODEL_BATCH_MAX */
    CHUNK_RUNS_MIN = 4,     /* runs of a size before its cost is believed */
    CHUNK_RETRY_EVERY = 256 /* batches after which the whole is run again */
};

struct chunk_policy {
    struct {
        double element_ns; /* the least of late, per element */
        uint64_t n_runs;
    } costs[CHUNK_SIZES]; /* runs of 2^i up to 2^(i+1) - 1 elements */
    uint64_t n_batches;
    int64_t size_min; /* of a piece, where the batch has as many: one element a thread; 0: 1 */
};

/* The most elements that a run of a batch of `n` should have. */
int64_t chunk_choose(struct chunk_policy *p, int64_t n);

/* The next piece of `whole`, from its request *from, which moves on: in order, of `size_max`
 * elements or one request. Requests that have been cancelled are answered and left out; n is 0 when
 * none is left. Requests are never cut. */
struct infer_batch chunk_cut(struct infer_batch *whole, size_t *from, int64_t size_max);

/* A run of `n` elements took `ns`. */
void chunk_note(struct chunk_policy *p, int64_t n, int64_t ns);

#endif
