/* attention.h - softmax(scale q k^T + mask) v for each head (template; see README).
 *
 * A thread takes whole heads: it packs k^T and v once, then goes through the queries in strips
 * whose scores stay in the cache. Keys at the end that the mask shuts out for all queries (the
 * padding of a batch) are left out. Rows of q are read where they lie in the joint tensor.
 * Probabilities are not divided by their sum before the second product but after it. */
#ifndef KERNELS_SIMD_ATTENTION_H
#define KERNELS_SIMD_ATTENTION_H

#include "kernels/simd/gemm.h"
#include "kernels/simd/math.h"

#include <float.h>
#include <string.h>

enum { ATTENTION_STRIP = 4 * TILE_ROWS }; /* queries at a time */

struct attention {
    const struct tile_kind *kind;
    int64_t batch, heads, sq, sk, size, size_v;
    int64_t keys;                           /* of sk, those before the padding of this batch */
    int64_t ld_q, ld_k, ld_v;               /* elements of a row */
    int64_t q_offset, k_offset, v_offset;   /* elements */
    int64_t mask_b, mask_h, mask_q, mask_k; /* elements to the next batch, head, query, key */
    float scale;
    const float *mask;
    const char *q, *k, *v;
    void *y;
    bool y_is_bf16;
};

/* Where a thread's pieces of scratch lie, in bytes. */
struct attention_room {
    size_t k, v, scores, weights, sums, size;
    int64_t ld_scores, ld_weights, ld_sums; /* elements of a row */
};

static bool attention_accepts(const struct kernel_call *c) {
    const struct tensor *q = c->in[0];
    bool fits = q->dtype == DTYPE_BF16 || (q->dtype == DTYPE_F32 && LEVEL_TAKES_F32);
    for (size_t i = 0; i < 3; i++)
        fits = fits && c->in[i]->dtype == q->dtype && c->in[i]->rank == 3;
    const struct tensor *mask = c->n_in > 3 ? c->in[3] : NULL;
    int64_t size = attr_int(c->attrs, "head_size", 1);
    bool whole = q->dtype != DTYPE_BF16 || size % LEVEL(tile_bf16).group == 0;
    return fits && whole && (!mask || (mask->dtype == DTYPE_F32 && mask->rank <= 4));
}

static struct attention attention_of(const struct kernel_call *c) {
    const struct tensor *q = c->in[0], *k = c->in[1], *v = c->in[2];
    const struct tensor *mask = c->n_in > 3 ? c->in[3] : NULL;
    struct attention a = {
        .kind = q->dtype == DTYPE_BF16 ? &LEVEL(tile_bf16) : &LEVEL(tile_f32),
        .batch = q->dims[0],
        .heads = attr_int(c->attrs, "heads", 1),
        .sq = q->dims[1],
        .sk = k->dims[1],
        .size = attr_int(c->attrs, "head_size", 1),
        .ld_q = q->dims[2],
        .ld_k = k->dims[2],
        .ld_v = v->dims[2],
        .q_offset = attr_int(c->attrs, "q_offset", 0),
        .k_offset = attr_int(c->attrs, "k_offset", 0),
        .v_offset = attr_int(c->attrs, "v_offset", 0),
        .scale =
            attr_float(c->attrs, "scale", 1 / sqrtf((float)attr_int(c->attrs, "head_size", 1))),
        .mask = mask ? mask->data : NULL,
        .q = q->data,
        .k = k->data,
        .v = v->data,
        .y = c->out[0]->data,
        .y_is_bf16 = c->out[0]->dtype == DTYPE_BF16,
    };
    a.size_v = attr_int(c->attrs, "head_size_v", a.size);
    int64_t *const steps[] = {&a.mask_k, &a.mask_q, &a.mask_h, &a.mask_b};
    int64_t step = 1;
    for (int i = 0; mask && i < mask->rank; i++) {
        int64_t d = mask->dims[mask->rank - 1 - i];
        *steps[i] = d == 1 ? 0 : step;
        step *= d;
    }
    return a;
}

static struct attention_room attention_room(const struct attention *a) {
    struct attention_room r = {
        .ld_scores = (a->sk + VL - 1) / VL * VL,
        .ld_weights = (a->sk + VL - 1) / VL * VL,
        .ld_sums = (a->size_v + VL - 1) / VL * VL,
    };
    size_t rows = ATTENTION_STRIP;
    r.v = (LEVEL(gemm_packed_size)(a->kind, a->size, a->sk) + 63) / 64 * 64;
    r.scores = r.v + (LEVEL(gemm_packed_size)(a->kind, a->sk, a->size_v) + 63) / 64 * 64;
    r.weights = r.scores + rows * (size_t)r.ld_scores * sizeof(float);
    r.sums = r.weights; /* f32: the scores turn into weights where they are */
    if (a->kind->size == 2)
        r.sums += rows * (size_t)r.ld_weights * sizeof(uint16_t);
    r.size = r.sums + rows * ((size_t)r.ld_sums * sizeof(float)) + 64;
    r.size = r.size / 64 * 64;
    return r;
}

static size_t attention_scratch(const struct kernel_call *c, unsigned n_threads) {
    struct attention a = attention_of(c);
    return attention_room(&a).size * n_threads;
}

#define LOG2_E 1.44269504f

/* Lanes past the first n become `value`. */
SIMD_INLINE vf attention_fill(vf v, int64_t n, float value) {
    float lanes[VL];
    vf_store(lanes, vf_set(value));
    vf_store_n(lanes, v, n);
    return vf_load(lanes);
}

/* scale * score + mask for a vector of keys; n of them are there. */
SIMD_INLINE vf attention_score(const float *s, const float *mask, vf scale, vf broadcast,
                               int64_t n) {
    if (!mask)
        return vf_fma(vf_load(s), scale, broadcast);
    vf m = n >= VL ? vf_load(mask) : vf_load_n(mask, n);
    return vf_fma(vf_load(s), scale, m);
}

/* Turns scores [sk] into e^(score - max), rounded to bf16 at `weights` or in place; returns their
 * sum. */
SIMD_INLINE float attention_softmax(const struct attention *a, float *s, const float *mask,
                                    uint16_t *weights) {
    vf scale = vf_set(a->scale), max = vf_set(-INFINITY), total = vf_set(0);
    vf broadcast = vf_set(mask && !a->mask_k ? *mask : 0);
    const float *row = mask && a->mask_k ? mask : NULL;
    int64_t n = a->keys, whole = n / VL * VL;
    for (int64_t j = 0; j < whole; j += VL) {
        vf x = attention_score(s + j, row ? row + j : NULL, scale, broadcast, VL);
        vf_store(s + j, x);
        max = vf_max(max, x);
    }
    if (whole < n) { /* what is past the end must not win */
        vf x = attention_score(s + whole, row ? row + whole : NULL, scale, broadcast, n - whole);
        x = attention_fill(x, n - whole, -INFINITY);
        vf_store(s + whole, x);
        max = vf_max(max, x);
    }
    vf top = vf_set(vf_reduce_max(max));
    for (int64_t j = 0; j < n; j += VL) {
        /* The factor comes last: masks of -FLT_MAX must not become infinite. NaN stays NaN. */
        vf x = vf_max(vf_set(-140), (vf_load(s + j) - top) * vf_set(LOG2_E));
        vf e = vf_exp2(x, weights != NULL);
        if (j == whole)
            e = attention_fill(e, n - j, 0);
        total += e;
        if (weights)
            vf_store_bf16(weights + j, e);
        else
            vf_store(s + j, e);
    }
    return vf_reduce_add(total);
}

/* Queries [q0, q1), at most a strip of them, of one head, whose keys and values are packed. */
static void attention_strip(const struct attention *a, const struct attention_room *r, char *room,
                            int64_t b, int64_t h, int64_t q0, int64_t q1) {
    static const int64_t no_tap = 0;
    float *scores = (float *)(room + r->scores), *sums = (float *)(room + r->sums);
    uint16_t *weights = a->kind->size == 2 ? (uint16_t *)(room + r->weights) : NULL;
    float inverse[ATTENTION_STRIP];
    int64_t ld_q = a->ld_q * a->kind->size, rows = q1 - q0;
    struct gemm g = {
        .kind = a->kind,
        .n = (a->keys + VL - 1) / VL * VL,
        .x = a->q + (b * a->sq + q0) * ld_q + (a->q_offset + h * a->size) * a->kind->size,
        .per_line = INT64_MAX,
        .step = ld_q,
        .taps = &no_tap,
        .n_taps = 1,
        .k = a->size,
        .w = room + r->k,
        .tail = {.scale = 1, .y = scores, .ld_y = r->ld_scores},
    };
    LEVEL(gemm_run)(&g, 0, rows, 0, g.n);
    for (int64_t i = 0; i < rows; i++) {
        const float *mask = a->mask;
        if (mask)
            mask += b * a->mask_b + h * a->mask_h + (q0 + i) * a->mask_q;
        float *s = scores + i * r->ld_scores;
        inverse[i] = 1 / (weights ? attention_softmax(a, s, mask, weights + i * r->ld_weights)
                                  : attention_softmax(a, s, mask, NULL));
    }
    g = (struct gemm){
        .kind = a->kind,
        .n = r->ld_sums,
        .x = weights ? (const void *)weights : scores,
        .per_line = INT64_MAX,
        .step = weights ? r->ld_weights * 2 : r->ld_scores * 4,
        .taps = &no_tap,
        .n_taps = 1,
        .k = a->keys,
        .w = room + r->v,
        .tail = {.scale = 1, .y = sums, .ld_y = r->ld_sums},
    };
    LEVEL(gemm_run)(&g, 0, rows, 0, g.n);
    for (int64_t i = 0; i < rows; i++) {
        int64_t y = (b * a->sq + q0 + i) * a->heads * a->size_v + h * a->size_v;
        for (int64_t j = 0; j < a->size_v; j += VL)
            vf_store_as(a->y_is_bf16, a->y, y + j,
                        vf_load(sums + i * r->ld_sums + j) * vf_set(inverse[i]), a->size_v - j);
    }
}

/* The largest square of a length among n rows of a->size elements. */
static float attention_longest(const struct attention *a, const char *rows, int64_t ld, int64_t n) {
    float longest = 0;
    for (int64_t i = 0; i < n; i++) {
        vf sum = vf_set(0);
        for (int64_t j = 0; j < a->size; j += VL) {
            vf x = vf_load_as(a->kind->size == 2, rows, i * ld + j, a->size - j);
            sum = vf_fma(x, x, sum);
        }
        float length = vf_reduce_add(sum);
        if (!(length <= longest)) /* NaN wins, too */
            longest = length;
        if (!(length <= FLT_MAX))
            return length;
    }
    return longest;
}

/* The keys of a head up to the last that can have any weight. Masks let in with 0 and shut out with
 * -1e4 (older exports), -1e9, -FLT_MAX or less; how far scores can be apart is known from the
 * lengths of q and k, and e^-100 of the largest weight is less than FP32 sums keep. Queries with
 * masks of their own: all keys. */
static int64_t attention_keys(const struct attention *a, const char *q, int64_t n_q, const char *k,
                              int64_t b, int64_t h) {
    static const float negligible = -100;
    int64_t n = a->sk, last = n;
    if (!a->mask || a->mask_q || !a->mask_k || n == 0)
        return n;
    const float *mask = a->mask + b * a->mask_b + h * a->mask_h;
    float top = mask[0];
    for (int64_t i = 1; i < n; i++)
        top = mask[i] > top ? mask[i] : top;
    if (!(mask[n - 1] - top <= negligible))
        return n;
    float apart =
        2 * fabsf(a->scale) *
        sqrtf(attention_longest(a, q, a->ld_q, n_q) * attention_longest(a, k, a->ld_k, n));
    while (last > 0 && mask[last - 1] - top + apart <= negligible)
        last--;
    return last;
}

static void attention_head(struct attention *a, const struct attention_room *r, char *room,
                           int64_t b, int64_t h, int64_t q0, int64_t q1) {
    int64_t size = a->kind->size;
    const char *k = a->k + (b * a->sk * a->ld_k + a->k_offset + h * a->size) * size;
    const char *v = a->v + (b * a->sk * a->ld_v + a->v_offset + h * a->size_v) * size;
    if (q0 >= q1)
        return;
    const char *q = a->q + ((b * a->sq + q0) * a->ld_q + a->q_offset + h * a->size) * size;
    a->keys = attention_keys(a, q, q1 - q0, k, b, h);
    LEVEL(gemm_pack)(a->kind, k, a->size, a->keys, 1, a->ld_k, 0, a->keys, room + r->k);
    LEVEL(gemm_pack)(a->kind, v, a->keys, a->size_v, a->ld_v, 1, 0, a->size_v, room + r->v);
    for (int64_t i = q0; i < q1; i += ATTENTION_STRIP)
        attention_strip(a, r, room, b, h, i, i + ATTENTION_STRIP < q1 ? i + ATTENTION_STRIP : q1);
}

static status attention_run(const struct kernel_call *c, const struct kernel_team *t,
                            struct error *err) {
    (void)err;
    struct attention a = attention_of(c);
    struct attention_room r = attention_room(&a);
    char *room = (char *)c->scratch + r.size * t->thread;
    int64_t heads = a.batch * a.heads, from, to;
    if (heads < t->n_threads) { /* too few heads: everybody does some queries of each */
        kernel_share(t, a.sq, TILE_ROWS, &from, &to);
        for (int64_t i = 0; i < heads; i++)
            attention_head(&a, &r, room, i / a.heads, i % a.heads, from, to);
        return STATUS_OK;
    }
    kernel_share(t, heads, 1, &from, &to);
    for (int64_t i = from; i < to; i++)
        attention_head(&a, &r, room, i / a.heads, i % a.heads, 0, a.sq);
    return STATUS_OK;
}

const struct kernel LEVEL(attention) = {
    .name = LEVEL_NAME ".attention",
    .isa = LEVEL_ISA,
    .op = OP_Attention,
    .accepts = attention_accepts,
    .scratch = attention_scratch,
    .run = attention_run,
};

#endif
