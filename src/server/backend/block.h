/* block.h - memory that the outputs of one batch share until the last of them has been sent.
 *
 * A pool belongs to an instance; blocks come back to it from whatever thread releases them last.
 * The pool itself lives until its owner and all of its blocks are gone. */
#ifndef SERVER_BACKEND_BLOCK_H
#define SERVER_BACKEND_BLOCK_H

#include <stddef.h>

#include "base/attr.h"

struct block_pool;
struct block;

enum { BLOCK_POOL_KEEP = 8, /* free blocks that a pool keeps */ BLOCK_ALIGN = 64 };

struct block_pool *block_pool_new(void);
void block_pool_free(struct block_pool *p); /* blocks in use stay valid */
DEFINE_CLEANUP(struct block_pool, block_pool_free)

/* A block of at least `size` bytes with one reference; NULL: no memory. */
struct block *block_get(struct block_pool *p, size_t size);
char *block_data(struct block *b);
void block_ref(struct block *b);
void block_unref(struct block *b); /* any thread */

/* As a tensor's release callback; `arg` is the block. */
void block_release(void *arg, void *data, size_t size);

#endif
