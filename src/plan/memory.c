#include "plan/memory.h"

#include <stdlib.h>
#include <string.h>

struct plan_lifetime *plan_lifetimes(const struct plan *p, struct arena *a) {
    struct plan_lifetime *l = arena_array(a, struct plan_lifetime, p->n_values);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        for (uint32_t k = 0; k < s->n_out; k++)
            if (s->out[k] != PLAN_NONE)
                l[s->out[k]] = (struct plan_lifetime){.first = i, .last = i};
        for (uint32_t k = 0; k < s->n_in; k++)
            if (s->in[k] != PLAN_NONE)
                l[plan_root(p, s->in[k])].last = i;
    }
    for (uint32_t i = 0; i < p->n_outputs; i++)
        l[plan_root(p, p->outputs[i].value)].last = p->n_steps;
    for (uint32_t i = 0; i < p->n_values; i++)
        l[i] = l[plan_root(p, i)];
    return l;
}

static bool same_bytes(const struct plan_value *a, const struct plan_value *b) {
    return a->rank == b->rank && dtype_size(a->dtype) == dtype_size(b->dtype) &&
           memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) == 0;
}

/* May the result of an Elementwise step be written over input k, block by block? Kernels compute
 * in the memory of the result, so nothing may read the input once the result's register has been
 * written. Constants' indices count as reads too: that is safe, and rare. */
static bool may_overwrite(const struct plan_step *s, uint32_t k) {
    enum { DST = 1, FIRST_READ = 2, INSTRUCTION = 5 };
    size_t n_code, n_results;
    const int64_t *code = attr_ints(&s->attrs, "code", &n_code);
    const int64_t *results = attr_ints(&s->attrs, "results", &n_results);
    bool is_written = false;
    if (n_results != 1 || n_code % INSTRUCTION)
        return false;
    for (size_t i = 0; i < n_code; i += INSTRUCTION) {
        for (size_t r = FIRST_READ; r < INSTRUCTION; r++)
            if (is_written && code[i + r] == (int64_t)k)
                return false;
        is_written = is_written || code[i + DST] == results[0];
    }
    return true;
}

uint32_t *plan_shares(const struct plan *p, const struct plan_lifetime *lifetimes,
                      struct arena *a) {
    uint32_t *shares = arena_array(a, uint32_t, p->n_values);
    for (uint32_t i = 0; i < p->n_values; i++)
        shares[i] = i;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->n_out != 1 || s->out[0] == PLAN_NONE || !str_eq_c(s->op, "Elementwise"))
            continue;
        const struct plan_value *out = &p->values[s->out[0]];
        for (uint32_t k = 0; k < s->n_in && out->kind == PLAN_PLANNED; k++) {
            uint32_t in = s->in[k];
            if (in == PLAN_NONE || p->values[in].kind != PLAN_PLANNED || lifetimes[in].last != i ||
                !same_bytes(&p->values[in], out) || !may_overwrite(s, k))
                continue;
            shares[s->out[0]] = shares[in];
            break;
        }
    }
    return shares;
}

/* Bytes of a block in memory. A large one gets three cache lines more: neighbours whose sizes are
 * powers of two would otherwise lie a multiple of 4 KB apart and evict each other. */
static size_t padded(size_t size) {
    enum { LARGE = 4096, STAGGER = 192 };
    size_t rounded = (size + PLAN_BLOCK_ALIGN - 1) & ~(size_t)(PLAN_BLOCK_ALIGN - 1);
    return size >= LARGE ? rounded + STAGGER : rounded;
}

static int compare_blocks(const void *x, const void *y) {
    const struct plan_block *a = *(struct plan_block *const *)x;
    const struct plan_block *b = *(struct plan_block *const *)y;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* The offset of the tightest gap among the placed blocks (sorted by offset) for block b. */
static size_t find_gap(const struct plan_block *b, struct plan_block *const *placed, size_t n) {
    size_t end = 0, best = SIZE_MAX, best_waste = SIZE_MAX, need = padded(b->size);
    for (size_t i = 0; i < n; i++) {
        const struct plan_block *o = placed[i];
        if (o->last < b->first || b->last < o->first)
            continue;
        if (o->offset > end && o->offset - end >= need && o->offset - end - need < best_waste) {
            best = end;
            best_waste = o->offset - end - need;
        }
        if (o->offset + padded(o->size) > end)
            end = o->offset + padded(o->size);
    }
    return best == SIZE_MAX ? end : best;
}

size_t plan_place(struct plan_block *blocks, size_t n, struct arena *a) {
    struct plan_block **order = arena_array(a, struct plan_block *, n);
    struct plan_block **placed = arena_array(a, struct plan_block *, n);
    size_t sum = 0, total = 0;
    for (size_t i = 0; i < n; i++) {
        order[i] = &blocks[i];
        if (blocks[i].size > SIZE_MAX / 2 ||
            __builtin_add_overflow(sum, padded(blocks[i].size), &sum))
            return SIZE_MAX;
    }
    qsort(order, n, sizeof *order, compare_blocks);
    for (size_t i = 0; i < n; i++) {
        struct plan_block *b = order[i];
        b->offset = find_gap(b, placed, i);
        size_t k = i;
        for (; k > 0 && placed[k - 1]->offset > b->offset; k--)
            placed[k] = placed[k - 1];
        placed[k] = b;
        if (b->offset + padded(b->size) > total)
            total = b->offset + padded(b->size);
    }
    return total;
}

size_t plan_live_bytes(const struct plan_block *blocks, size_t n, uint32_t n_steps,
                       struct arena *a) {
    size_t *change = arena_array(a, size_t, (size_t)n_steps + 2);
    for (size_t i = 0; i < n; i++) {
        change[blocks[i].first] += blocks[i].size;
        change[blocks[i].last + 1] -= blocks[i].size;
    }
    size_t live = 0, most = 0;
    for (uint32_t i = 0; i <= n_steps; i++) {
        live += change[i];
        if (live > most)
            most = live;
    }
    return most;
}

size_t plan_arena_size(const struct plan *p, const int64_t *symbols, size_t *live) {
    struct arena a CLEANUP(arena_release) = {0};
    const struct plan_lifetime *lifetimes = plan_lifetimes(p, &a);
    const uint32_t *shares = plan_shares(p, lifetimes, &a);
    struct plan_block *blocks = arena_array(&a, struct plan_block, p->n_values);
    *live = 0;
    for (uint32_t v = 0; v < p->n_values; v++) {
        const struct plan_value *value = &p->values[v];
        if (value->kind != PLAN_PLANNED)
            continue;
        struct plan_block *b = &blocks[shares[v]]; /* blocks of other values stay empty */
        int64_t dims[TENSOR_RANK_MAX];
        for (size_t d = 0; d < value->rank; d++)
            dims[d] = dim_is_expr(value->dims[d])
                          ? dim_eval(p->exprs, p->n_exprs, value->dims[d], symbols)
                          : value->dims[d];
        size_t size;
        if (!tensor_size((dtype)value->dtype, dims, value->rank, &size))
            return SIZE_MAX;
        if (b->size == 0)
            *b = (struct plan_block){.size = size, .first = lifetimes[v].first};
        if (size > b->size)
            b->size = size;
        if (lifetimes[v].first < b->first)
            b->first = lifetimes[v].first;
        if (lifetimes[v].last > b->last)
            b->last = lifetimes[v].last;
    }
    *live = plan_live_bytes(blocks, p->n_values, p->n_steps, &a);
    return plan_place(blocks, p->n_values, &a);
}
