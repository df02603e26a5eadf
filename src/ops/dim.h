/* dim.h - sizes that are numbers or expressions over symbols.
 *
 * A dim is an int64_t. Below DIM_EXPR it is the number itself (contents of shape tensors may
 * be negative); from DIM_EXPR on it is an index into the pool's table of hash-consed
 * expressions, so that equal expressions are equal dims. DIM_UNKNOWN is a size that nobody
 * knows before the model runs.
 *
 * With concrete operands the functions never touch the pool, so `pool` may be NULL then:
 * the same shape functions serve the compiler (symbols) and the engine (numbers). */
#ifndef OPS_DIM_H
#define OPS_DIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

typedef int64_t dim;

#define DIM_EXPR    (INT64_C(1) << 62)
#define DIM_UNKNOWN INT64_MAX

static inline bool dim_is_number(dim d) {
    return d < DIM_EXPR;
}
static inline bool dim_is_expr(dim d) {
    return d >= DIM_EXPR && d != DIM_UNKNOWN;
}

typedef enum dim_op {
    DIM_SYMBOL, /* a: index into symbols */
    DIM_ADD,
    DIM_SUB,
    DIM_MUL,
    DIM_FLOORDIV, /* towards minus infinity; b > 0 */
    DIM_CEILDIV,
    DIM_MIN,
    DIM_MAX,
} dim_op;

struct dim_expr {
    uint8_t op; /* enum dim_op */
    dim a, b;   /* operands: numbers or earlier expressions of the same pool */
};

/* A named size with the range that the plan accepts. */
struct dim_symbol {
    str name;
    int64_t min, max; /* 1 <= min <= max */
};

enum { DIM_EXPRS_MAX = 1 << 20, DIM_SYMBOLS_MAX = 4096 };

struct dim_pool {
    struct arena *arena;
    struct dim_expr *exprs;
    uint32_t n_exprs, exprs_capacity;
    struct dim_symbol *symbols;
    uint32_t n_symbols, symbols_capacity;
    uint32_t *slots; /* hash table of exprs; private */
    uint32_t n_slots;
};

void dim_pool_init(struct dim_pool *pool, struct arena *arena);

/* The symbol called `name`, made with range 1..INT32_MAX when new. */
dim dim_symbol(struct dim_pool *pool, str name);

/* Arithmetic with constant folding and the usual identities (x+0, x*1, x*0, x-x, (x*c)/c,
 * sums and products in canonical order). DIM_UNKNOWN in gives DIM_UNKNOWN out; overflow of
 * numbers gives DIM_UNKNOWN. */
dim dim_add(struct dim_pool *pool, dim a, dim b);
dim dim_sub(struct dim_pool *pool, dim a, dim b);
dim dim_mul(struct dim_pool *pool, dim a, dim b);
dim dim_floordiv(struct dim_pool *pool, dim a, dim b);
dim dim_ceildiv(struct dim_pool *pool, dim a, dim b);
dim dim_min(struct dim_pool *pool, dim a, dim b);
dim dim_max(struct dim_pool *pool, dim a, dim b);

/* The number that `d` is when symbol i has the value symbols[i]; no allocation, no recursion
 * deeper than the expression. -1: overflow, division by zero or DIM_UNKNOWN. */
int64_t dim_eval(const struct dim_expr *exprs, uint32_t n_exprs, dim d, const int64_t *symbols);

/* The largest value of `d` with every symbol in its range, by interval arithmetic; INT64_MAX when
 * it does not fit. */
int64_t dim_upper_bound(const struct dim_pool *pool, dim d);

/* The smallest, alike; -INT64_MAX when nothing is known. */
int64_t dim_lower_bound(const struct dim_pool *pool, dim d);

/* Text as the IR prints it: "128", "batch", "(seq + 1)", "?"; from the pool's arena. */
str dim_format(const struct dim_pool *pool, struct arena *a, dim d);

#endif
