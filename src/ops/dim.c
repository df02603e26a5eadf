#include "ops/dim.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Sums and products are kept in one normal form: a sum of terms, each a coefficient and a
 * sorted product of atoms (symbols, quotients, minima, maxima), written back as a tree that
 * is always built in the same order, so that equal polynomials are equal dims. */
enum {
    TERMS_MAX = 16,
    FACTORS_MAX = 8,
    DEPTH_MAX = 200,    /* of an expression */
    VISITS_MAX = 20000, /* nodes walked for one expression, shared ones counted each time */
};
#define NUMBER_MAX (DIM_EXPR / 2) /* larger numbers are overflow or somebody's infinity */

struct term {
    int64_t c;
    size_t n;
    dim f[FACTORS_MAX];
};

struct poly {
    size_t n;
    struct term t[TERMS_MAX];
};

void dim_pool_init(struct dim_pool *pool, struct arena *arena) {
    *pool = (struct dim_pool){.arena = arena};
}

/* --- the table of expressions --- */

static uint32_t hash_of(const struct dim_expr *e) {
    uint64_t h = (uint64_t)e->op * 0x9e3779b97f4a7c15;
    h = (h ^ (uint64_t)e->a) * 0xff51afd7ed558ccd;
    h = (h ^ (h >> 32) ^ (uint64_t)e->b) * 0xc4ceb9fe1a85ec53;
    return (uint32_t)(h >> 32);
}

static void slots_grow(struct dim_pool *pool) {
    uint32_t n = pool->n_slots ? pool->n_slots * 2 : 64;
    pool->slots = arena_array(pool->arena, uint32_t, n);
    pool->n_slots = n;
    for (uint32_t i = 0; i < pool->n_exprs; i++) {
        uint32_t s = hash_of(&pool->exprs[i]) & (n - 1);
        while (pool->slots[s])
            s = (s + 1) & (n - 1);
        pool->slots[s] = i + 1;
    }
}

static dim intern(struct dim_pool *pool, dim_op op, dim a, dim b) {
    struct dim_expr e = {.op = (uint8_t)op, .a = a, .b = b};
    if (pool->n_exprs * 2 >= pool->n_slots)
        slots_grow(pool);
    uint32_t s = hash_of(&e) & (pool->n_slots - 1);
    for (; pool->slots[s]; s = (s + 1) & (pool->n_slots - 1)) {
        const struct dim_expr *o = &pool->exprs[pool->slots[s] - 1];
        if (o->op == e.op && o->a == a && o->b == b)
            return DIM_EXPR + (pool->slots[s] - 1);
    }
    if (pool->n_exprs == DIM_EXPRS_MAX)
        return DIM_UNKNOWN;
    if (pool->n_exprs == pool->exprs_capacity) {
        uint32_t capacity = pool->exprs_capacity ? pool->exprs_capacity * 2 : 32;
        struct dim_expr *exprs = arena_array(pool->arena, struct dim_expr, capacity);
        if (pool->n_exprs)
            memcpy(exprs, pool->exprs, pool->n_exprs * sizeof *exprs);
        pool->exprs = exprs;
        pool->exprs_capacity = capacity;
    }
    pool->exprs[pool->n_exprs] = e;
    pool->slots[s] = ++pool->n_exprs;
    return DIM_EXPR + (pool->n_exprs - 1);
}

static const struct dim_expr *expr_of(const struct dim_pool *pool, dim d) {
    assert(pool && dim_is_expr(d) && d - DIM_EXPR < pool->n_exprs);
    return &pool->exprs[d - DIM_EXPR];
}

dim dim_symbol(struct dim_pool *pool, str name) {
    for (uint32_t i = 0; i < pool->n_symbols; i++)
        if (str_eq(pool->symbols[i].name, name))
            return intern(pool, DIM_SYMBOL, i, 0);
    if (pool->n_symbols == DIM_SYMBOLS_MAX)
        return DIM_UNKNOWN;
    if (pool->n_symbols == pool->symbols_capacity) {
        uint32_t capacity = pool->symbols_capacity ? pool->symbols_capacity * 2 : 8;
        struct dim_symbol *symbols = arena_array(pool->arena, struct dim_symbol, capacity);
        if (pool->n_symbols)
            memcpy(symbols, pool->symbols, pool->n_symbols * sizeof *symbols);
        pool->symbols = symbols;
        pool->symbols_capacity = capacity;
    }
    pool->symbols[pool->n_symbols] =
        (struct dim_symbol){.name = str_copy(pool->arena, name), .min = 1, .max = INT32_MAX};
    return intern(pool, DIM_SYMBOL, pool->n_symbols++, 0);
}

/* --- numbers --- */

static bool is_huge(dim d) {
    return d > NUMBER_MAX || d < -NUMBER_MAX;
}

static dim number(__int128 v) {
    return v > NUMBER_MAX || v < -NUMBER_MAX ? DIM_UNKNOWN : (dim)v;
}

static int64_t floordiv(int64_t a, int64_t b) { /* b > 0 */
    return a / b - (a % b < 0);
}

/* --- walking an expression --- */

struct walk {
    const struct dim_expr *exprs;
    uint32_t n_exprs;
    const int64_t *symbols;
    int visits;
};

static int64_t apply(dim_op op, int64_t a, int64_t b) { /* INT64_MIN: no such number */
    int64_t r;
    switch (op) {
    case DIM_ADD:
        return __builtin_add_overflow(a, b, &r) ? INT64_MIN : r;
    case DIM_SUB:
        return __builtin_sub_overflow(a, b, &r) ? INT64_MIN : r;
    case DIM_MUL:
        return __builtin_mul_overflow(a, b, &r) ? INT64_MIN : r;
    case DIM_FLOORDIV:
        return b <= 0 ? INT64_MIN : floordiv(a, b);
    case DIM_CEILDIV:
        return b <= 0 || a == INT64_MIN ? INT64_MIN : -floordiv(-a, b);
    case DIM_MIN:
        return a < b ? a : b;
    case DIM_MAX:
        return a > b ? a : b;
    case DIM_SYMBOL:
        break;
    }
    return INT64_MIN;
}

static int64_t walk_eval(struct walk *w, dim d, int depth) {
    if (dim_is_number(d))
        return d;
    if (d == DIM_UNKNOWN || d - DIM_EXPR >= w->n_exprs || depth == 0 || --w->visits < 0)
        return INT64_MIN;
    const struct dim_expr *e = &w->exprs[d - DIM_EXPR];
    if (e->op == DIM_SYMBOL)
        return w->symbols[e->a];
    int64_t a = walk_eval(w, e->a, depth - 1);
    int64_t b = a == INT64_MIN ? a : walk_eval(w, e->b, depth - 1);
    return b == INT64_MIN ? b : apply((dim_op)e->op, a, b);
}

int64_t dim_eval(const struct dim_expr *exprs, uint32_t n_exprs, dim d, const int64_t *symbols) {
    struct walk w = {.exprs = exprs, .n_exprs = n_exprs, .symbols = symbols, .visits = VISITS_MAX};
    int64_t v = walk_eval(&w, d, DEPTH_MAX);
    return v < 0 ? -1 : v;
}

struct range {
    __int128 lo, hi;
};

#define WIDE_MAX ((__int128)INT64_MAX)

static struct range range_of(__int128 a, __int128 b, __int128 c, __int128 d) {
    __int128 v[4] = {a, b, c, d};
    struct range r = {.lo = a, .hi = a};
    for (int i = 1; i < 4; i++) {
        r.lo = v[i] < r.lo ? v[i] : r.lo;
        r.hi = v[i] > r.hi ? v[i] : r.hi;
    }
    r.lo = r.lo < -WIDE_MAX ? -WIDE_MAX : r.lo;
    r.hi = r.hi > WIDE_MAX ? WIDE_MAX : r.hi;
    return r;
}

static struct range range_quotient(struct range a, struct range b, bool is_ceil) {
    if (b.lo <= 0)
        b.lo = 1; /* no other divisor gives a size */
    if (b.hi < b.lo)
        b.hi = b.lo;
    if (is_ceil)
        return range_of(-(__int128)floordiv((int64_t)-a.lo, (int64_t)b.lo),
                        -(__int128)floordiv((int64_t)-a.lo, (int64_t)b.hi),
                        -(__int128)floordiv((int64_t)-a.hi, (int64_t)b.lo),
                        -(__int128)floordiv((int64_t)-a.hi, (int64_t)b.hi));
    return range_of(floordiv((int64_t)a.lo, (int64_t)b.lo), floordiv((int64_t)a.lo, (int64_t)b.hi),
                    floordiv((int64_t)a.hi, (int64_t)b.lo), floordiv((int64_t)a.hi, (int64_t)b.hi));
}

static struct range bounds(const struct dim_pool *pool, dim d, int *visits) {
    if (dim_is_number(d))
        return range_of(d, d, d, d);
    if (d == DIM_UNKNOWN || --*visits < 0)
        return (struct range){.lo = -WIDE_MAX, .hi = WIDE_MAX};
    const struct dim_expr *e = expr_of(pool, d);
    if (e->op == DIM_SYMBOL)
        return (struct range){.lo = pool->symbols[e->a].min, .hi = pool->symbols[e->a].max};
    struct range a = bounds(pool, e->a, visits), b = bounds(pool, e->b, visits);
    switch ((dim_op)e->op) {
    case DIM_ADD:
        return range_of(a.lo + b.lo, a.hi + b.hi, a.lo + b.lo, a.hi + b.hi);
    case DIM_SUB:
        return range_of(a.lo - b.hi, a.hi - b.lo, a.lo - b.hi, a.hi - b.lo);
    case DIM_MUL:
        return range_of(a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi);
    case DIM_FLOORDIV:
        return range_quotient(a, b, false);
    case DIM_CEILDIV:
        return range_quotient(a, b, true);
    case DIM_MIN:
        return (struct range){.lo = a.lo < b.lo ? a.lo : b.lo, .hi = a.hi < b.hi ? a.hi : b.hi};
    case DIM_MAX:
        return (struct range){.lo = a.lo > b.lo ? a.lo : b.lo, .hi = a.hi > b.hi ? a.hi : b.hi};
    case DIM_SYMBOL:
        break;
    }
    return (struct range){.lo = -WIDE_MAX, .hi = WIDE_MAX};
}

static struct range bounds_of(const struct dim_pool *pool, dim d) {
    int visits = VISITS_MAX;
    return bounds(pool, d, &visits);
}

int64_t dim_upper_bound(const struct dim_pool *pool, dim d) {
    return (int64_t)bounds_of(pool, d).hi;
}

int64_t dim_lower_bound(const struct dim_pool *pool, dim d) {
    return (int64_t)bounds_of(pool, d).lo;
}

static void measure(const struct dim_pool *pool, dim d, int depth, int *visits) {
    if (!dim_is_expr(d) || *visits < 0)
        return;
    const struct dim_expr *e = expr_of(pool, d);
    *visits = depth == 0 ? -1 : *visits - 3;
    if (e->op == DIM_SYMBOL)
        return;
    measure(pool, e->a, depth - 1, visits);
    measure(pool, e->b, depth - 1, visits);
}

/* An expression that dim_eval() would refuse is not made. */
static dim make(struct dim_pool *pool, dim_op op, dim a, dim b) {
    int visits = VISITS_MAX;
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    measure(pool, a, DEPTH_MAX - 2, &visits);
    measure(pool, b, DEPTH_MAX - 2, &visits);
    return visits < 0 ? DIM_UNKNOWN : intern(pool, op, a, b);
}

/* --- polynomials --- */

static int term_compare(const struct term *a, const struct term *b) {
    if (a->n != b->n)
        return a->n > b->n ? -1 : 1; /* highest degree first, the constant last */
    for (size_t i = 0; i < a->n; i++)
        if (a->f[i] != b->f[i])
            return a->f[i] < b->f[i] ? -1 : 1;
    return 0;
}

static bool poly_add_term(struct poly *p, const struct term *t) {
    size_t i = 0;
    while (i < p->n && term_compare(&p->t[i], t) < 0)
        i++;
    if (i < p->n && term_compare(&p->t[i], t) == 0) {
        if (__builtin_add_overflow(p->t[i].c, t->c, &p->t[i].c) || is_huge(p->t[i].c))
            return false;
        if (p->t[i].c == 0)
            memmove(&p->t[i], &p->t[i + 1], (--p->n - i) * sizeof *p->t);
        return true;
    }
    if (t->c == 0)
        return true;
    if (p->n == TERMS_MAX)
        return false;
    memmove(&p->t[i + 1], &p->t[i], (p->n++ - i) * sizeof *p->t);
    p->t[i] = *t;
    return true;
}

static bool poly_add(struct poly *p, const struct poly *q, int64_t factor) {
    for (size_t i = 0; i < q->n; i++) {
        struct term t = q->t[i];
        if (__builtin_mul_overflow(t.c, factor, &t.c) || is_huge(t.c) || !poly_add_term(p, &t))
            return false;
    }
    return true;
}

static bool term_mul(struct term *out, const struct term *a, const struct term *b) {
    struct term r = {.n = a->n + b->n};
    if (r.n > FACTORS_MAX || __builtin_mul_overflow(a->c, b->c, &r.c) || is_huge(r.c))
        return false;
    for (size_t i = 0, j = 0, k = 0; k < r.n; k++)
        r.f[k] = j == b->n || (i < a->n && a->f[i] <= b->f[j]) ? a->f[i++] : b->f[j++];
    *out = r;
    return true;
}

static bool poly_mul(struct poly *out, const struct poly *a, const struct poly *b) {
    *out = (struct poly){0};
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < b->n; j++) {
            struct term t;
            if (!term_mul(&t, &a->t[i], &b->t[j]) || !poly_add_term(out, &t))
                return false;
        }
    return true;
}

static bool poly_of(struct poly *out, const struct dim_pool *pool, dim d) {
    *out = (struct poly){0};
    if (dim_is_number(d))
        return !is_huge(d) && poly_add_term(out, &(struct term){.c = d});
    const struct dim_expr *e = expr_of(pool, d);
    if (e->op != DIM_ADD && e->op != DIM_SUB && e->op != DIM_MUL)
        return poly_add_term(out, &(struct term){.c = 1, .n = 1, .f = {d}});
    struct poly b;
    if (e->op == DIM_MUL) {
        struct poly a;
        return poly_of(&a, pool, e->a) && poly_of(&b, pool, e->b) && poly_mul(out, &a, &b);
    }
    return poly_of(out, pool, e->a) && poly_of(&b, pool, e->b) &&
           poly_add(out, &b, e->op == DIM_ADD ? 1 : -1);
}

static dim term_to_dim(struct dim_pool *pool, const struct term *t, int64_t c) {
    if (t->n == 0)
        return c;
    dim d = t->f[0];
    for (size_t i = 1; i < t->n; i++)
        d = make(pool, DIM_MUL, d, t->f[i]);
    return c == 1 ? d : make(pool, DIM_MUL, d, c);
}

static dim poly_to_dim(struct dim_pool *pool, const struct poly *p) {
    if (p->n == 0)
        return 0;
    size_t first = 0; /* a positive one, so that we can subtract the others */
    while (first + 1 < p->n && p->t[first].c < 0)
        first++;
    if (p->t[first].c < 0)
        first = 0;
    dim d = term_to_dim(pool, &p->t[first], p->t[first].c);
    for (size_t i = 0; i < p->n; i++) {
        const struct term *t = &p->t[i];
        if (i == first)
            continue;
        if (t->c < 0)
            d = make(pool, DIM_SUB, d, term_to_dim(pool, t, -t->c));
        else
            d = make(pool, DIM_ADD, d, term_to_dim(pool, t, t->c));
    }
    return d;
}

static bool term_div(struct term *out, const struct term *a, const struct term *b) {
    struct term r = {.c = a->c / b->c};
    if (a->c % b->c)
        return false;
    size_t j = 0;
    for (size_t i = 0; i < a->n; i++)
        if (j < b->n && a->f[i] == b->f[j])
            j++;
        else
            r.f[r.n++] = a->f[i];
    *out = r;
    return j == b->n;
}

/* a / b when it leaves no remainder. */
static bool poly_div(struct poly *out, struct poly a, const struct poly *b) {
    *out = (struct poly){0};
    for (int round = 0; a.n && round < 4 * TERMS_MAX; round++) {
        struct term t, product;
        if (!term_div(&t, &a.t[0], &b->t[0]) || !poly_add_term(out, &t))
            return false;
        for (size_t i = 0; i < b->n; i++) {
            if (!term_mul(&product, &t, &b->t[i]))
                return false;
            product.c = -product.c;
            if (!poly_add_term(&a, &product))
                return false;
        }
    }
    return a.n == 0;
}

/* --- arithmetic --- */

dim dim_add(struct dim_pool *pool, dim a, dim b) {
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    if (dim_is_number(a) && dim_is_number(b))
        return is_huge(a) || is_huge(b) ? DIM_UNKNOWN : number((__int128)a + b);
    struct poly p, q;
    if (!poly_of(&p, pool, a) || !poly_of(&q, pool, b) || !poly_add(&p, &q, 1))
        return DIM_UNKNOWN;
    return poly_to_dim(pool, &p);
}

dim dim_sub(struct dim_pool *pool, dim a, dim b) {
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    if (dim_is_number(a) && dim_is_number(b))
        return is_huge(a) || is_huge(b) ? DIM_UNKNOWN : number((__int128)a - b);
    struct poly p, q;
    if (!poly_of(&p, pool, a) || !poly_of(&q, pool, b) || !poly_add(&p, &q, -1))
        return DIM_UNKNOWN;
    return poly_to_dim(pool, &p);
}

dim dim_mul(struct dim_pool *pool, dim a, dim b) {
    if (a == 0 || b == 0)
        return 0;
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    if (dim_is_number(a) && dim_is_number(b))
        return is_huge(a) || is_huge(b) ? DIM_UNKNOWN : number((__int128)a * b);
    struct poly p, q, r;
    if (!poly_of(&p, pool, a) || !poly_of(&q, pool, b) || !poly_mul(&r, &p, &q))
        return DIM_UNKNOWN;
    return poly_to_dim(pool, &r);
}

static dim add_polys(struct dim_pool *pool, const struct poly *whole, dim rest) {
    return dim_add(pool, poly_to_dim(pool, whole), rest);
}

/* floor(a / b) for a number b: what divides goes outside, nested quotients become one. */
static dim floordiv_number(struct dim_pool *pool, const struct poly *a, int64_t b) {
    struct poly whole = {0}, rest = {0};
    for (size_t i = 0; i < a->n; i++) {
        struct term t = a->t[i], r = a->t[i];
        t.c = t.n == 0 ? floordiv(t.c, b) : t.c % b ? 0 : t.c / b;
        r.c -= t.c * b;
        if (!poly_add_term(&whole, &t) || !poly_add_term(&rest, &r))
            return DIM_UNKNOWN;
    }
    if (rest.n == 0)
        return poly_to_dim(pool, &whole);
    if (rest.t[0].n == 0 && rest.n == 1) /* a number below b */
        return poly_to_dim(pool, &whole);
    const struct term *t = &rest.t[0];
    bool is_nested = t->n == 1 && t->c == 1 && (rest.n == 1 || (rest.n == 2 && rest.t[1].n == 0)) &&
                     expr_of(pool, t->f[0])->op == DIM_FLOORDIV &&
                     dim_is_number(expr_of(pool, t->f[0])->b);
    if (is_nested) { /* floor((floor(x / k) + c) / b) = floor((x + k c) / (k b)) */
        struct dim_expr inner = *expr_of(pool, t->f[0]);
        int64_t c = rest.n == 2 ? rest.t[1].c : 0;
        dim x = dim_add(pool, inner.a, dim_mul(pool, inner.b, c));
        return add_polys(pool, &whole, dim_floordiv(pool, x, dim_mul(pool, inner.b, b)));
    }
    return add_polys(pool, &whole, make(pool, DIM_FLOORDIV, poly_to_dim(pool, &rest), b));
}

dim dim_floordiv(struct dim_pool *pool, dim a, dim b) {
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN || (dim_is_number(b) && b <= 0))
        return DIM_UNKNOWN;
    if (dim_is_number(a) && dim_is_number(b))
        return is_huge(a) || is_huge(b) ? DIM_UNKNOWN : floordiv(a, b);
    if (a == 0 || b == 1)
        return a;
    struct poly p, q, r;
    if (!poly_of(&p, pool, a) || !poly_of(&q, pool, b) || q.n == 0)
        return DIM_UNKNOWN;
    if (dim_is_number(b))
        return floordiv_number(pool, &p, b);
    if (poly_div(&r, p, &q))
        return poly_to_dim(pool, &r);
    return make(pool, DIM_FLOORDIV, a, b);
}

dim dim_ceildiv(struct dim_pool *pool, dim a, dim b) {
    if (dim_is_number(b) && b > 0)
        return dim_floordiv(pool, dim_add(pool, a, b - 1), b);
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN || dim_is_number(b))
        return DIM_UNKNOWN;
    struct poly p, q, r;
    if (!poly_of(&p, pool, a) || !poly_of(&q, pool, b) || q.n == 0)
        return DIM_UNKNOWN;
    return poly_div(&r, p, &q) ? poly_to_dim(pool, &r) : make(pool, DIM_CEILDIV, a, b);
}

/* -1: a <= b always, 1: a >= b always, 0: it depends. */
static int order(struct dim_pool *pool, dim a, dim b) {
    if (dim_is_number(a) && dim_is_number(b))
        return a <= b ? -1 : 1;
    dim difference = dim_sub(pool, a, b);
    struct range d = bounds_of(pool, difference);
    struct range x = bounds_of(pool, a), y = bounds_of(pool, b);
    if (d.hi <= 0 || x.hi <= y.lo)
        return -1;
    return d.lo >= 0 || x.lo >= y.hi ? 1 : 0;
}

static dim extreme(struct dim_pool *pool, dim_op op, dim a, dim b) {
    if (a == b)
        return a;
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    int o = order(pool, a, b);
    if (o)
        return (o < 0) == (op == DIM_MIN) ? a : b;
    /* min(min(x, y), y) is the inner one, exporters clip twice; max(min(x, y), y) is y. */
    for (int i = 0; i < 2; i++) {
        dim nested = i ? b : a, other = i ? a : b;
        const struct dim_expr *e = dim_is_expr(nested) ? expr_of(pool, nested) : NULL;
        bool is_extreme = e && (e->op == DIM_MIN || e->op == DIM_MAX);
        if (is_extreme && (e->a == other || e->b == other))
            return e->op == op ? nested : other;
    }
    return a < b ? make(pool, op, b, a) : make(pool, op, a, b); /* numbers go second */
}

dim dim_min(struct dim_pool *pool, dim a, dim b) {
    return extreme(pool, DIM_MIN, a, b);
}

dim dim_max(struct dim_pool *pool, dim a, dim b) {
    return extreme(pool, DIM_MAX, a, b);
}

/* --- text --- */

str dim_format(const struct dim_pool *pool, struct arena *a, dim d) {
    static const char *const infix[] = {[DIM_ADD] = "+",
                                        [DIM_SUB] = "-",
                                        [DIM_MUL] = "*",
                                        [DIM_FLOORDIV] = "/",
                                        [DIM_CEILDIV] = "/^"};
    if (dim_is_number(d))
        return str_format(a, "%" PRId64, d);
    if (d == DIM_UNKNOWN)
        return STR("?");
    const struct dim_expr *e = expr_of(pool, d);
    if (e->op == DIM_SYMBOL)
        return pool->symbols[e->a].name;
    str x = dim_format(pool, a, e->a), y = dim_format(pool, a, e->b);
    if (e->op == DIM_MIN || e->op == DIM_MAX)
        return str_format(a, "%s(%.*s, %.*s)", e->op == DIM_MIN ? "min" : "max", STR_ARG(x),
                          STR_ARG(y));
    return str_format(a, "(%.*s %s %.*s)", STR_ARG(x), infix[e->op], STR_ARG(y));
}
