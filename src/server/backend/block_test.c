#include "server/backend/block.h"

#include "support/test.h"

TEST(block_pool_gives_a_released_block_again) {
    CLEANUP(block_pool_freep) struct block_pool *p = block_pool_new();
    struct block *a = block_get(p, 100);
    char *data = block_data(a);
    block_unref(a);
    struct block *b = block_get(p, 50);
    CHECK(block_data(b) == data);
    block_unref(b);
}

TEST(block_lives_as_long_as_its_last_reference) {
    CLEANUP(block_pool_freep) struct block_pool *p = block_pool_new();
    struct block *a = block_get(p, 8);
    block_ref(a);
    block_unref(a);
    struct block *b = block_get(p, 8);
    CHECK(block_data(a) != block_data(b));
    block_unref(a);
    block_unref(b);
}

TEST(block_outlives_its_pool) {
    struct block_pool *p = block_pool_new();
    struct block *a = block_get(p, 8);
    block_pool_free(p);
    block_data(a)[7] = 1;
    block_unref(a);
}

TEST(block_pool_enlarges_what_is_too_small) {
    CLEANUP(block_pool_freep) struct block_pool *p = block_pool_new();
    block_unref(block_get(p, 8));
    struct block *a = block_get(p, 1 << 20);
    block_data(a)[(1 << 20) - 1] = 1;
    block_unref(a);
    a = block_get(p, 0);
    block_unref(a);
}
