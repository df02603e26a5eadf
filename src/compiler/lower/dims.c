/* dims.c - the plan gets the symbols that inputs bind, and the expressions that its values use. */
#include <string.h>

#include "compiler/lower/lower_internal.h"

static const struct dim_expr *expr_of(const struct lowering *l, dim d) {
    return &l->graph->pool.exprs[d - DIM_EXPR];
}

void dims_find_symbols(struct lowering *l) {
    const struct graph *g = l->graph;
    l->is_bound = arena_array(l->arena, bool, g->pool.n_symbols + 1);
    for (uint32_t i = 0; i < g->n_inputs; i++)
        for (int d = 0; d < g->inputs[i]->info.rank; d++) {
            dim x = g->inputs[i]->info.dims[d];
            if (dim_is_expr(x) && expr_of(l, x)->op == DIM_SYMBOL)
                l->is_bound[expr_of(l, x)->a] = true;
        }
}

/* Marks in used[] the expressions that the marked ones need; operands come before their users. */
static void close_over(const struct dim_pool *pool, bool *used) {
    for (uint32_t i = pool->n_exprs; i-- > 0;) {
        const struct dim_expr *x = &pool->exprs[i];
        if (!used[i] || x->op == DIM_SYMBOL)
            continue;
        if (dim_is_expr(x->a))
            used[x->a - DIM_EXPR] = true;
        if (dim_is_expr(x->b))
            used[x->b - DIM_EXPR] = true;
    }
}

/* Expressions are made while values are classified, so the table of answers grows with them. */
bool dims_is_usable(struct lowering *l, dim d) {
    const struct dim_pool *pool = &l->graph->pool;
    if (!dim_is_expr(d))
        return true;
    if (pool->n_exprs > l->usable_capacity) {
        bool *grown = arena_array(l->arena, bool, (size_t)pool->n_exprs * 2);
        if (l->n_usable)
            memcpy(grown, l->usable, l->n_usable);
        l->usable = grown;
        l->usable_capacity = pool->n_exprs * 2;
    }
    for (; l->n_usable < pool->n_exprs; l->n_usable++) {
        const struct dim_expr *x = &pool->exprs[l->n_usable];
        l->usable[l->n_usable] = x->op == DIM_SYMBOL
                                     ? l->is_bound[x->a]
                                     : (!dim_is_expr(x->a) || l->usable[x->a - DIM_EXPR]) &&
                                           (!dim_is_expr(x->b) || l->usable[x->b - DIM_EXPR]);
    }
    return l->usable[d - DIM_EXPR];
}

static dim renumbered(dim d, const uint32_t *numbers) {
    return dim_is_expr(d) ? DIM_EXPR + numbers[d - DIM_EXPR] : d;
}

void dims_renumber(struct lowering *l, struct plan *p) {
    const struct dim_pool *pool = &l->graph->pool;
    bool *used = arena_array(l->arena, bool, pool->n_exprs + 1);
    uint32_t *numbers = arena_array(l->arena, uint32_t, pool->n_exprs + 1);
    uint32_t *symbol_numbers = arena_array(l->arena, uint32_t, pool->n_symbols + 1);
    for (uint32_t v = 0; v < l->n_values; v++)
        for (size_t d = 0; d < l->values[v].rank; d++)
            if (dim_is_expr(l->values[v].dims[d]))
                used[l->values[v].dims[d] - DIM_EXPR] = true;
    close_over(pool, used);

    struct dim_symbol *symbols = arena_array(l->arena, struct dim_symbol, pool->n_symbols + 1);
    for (uint32_t i = 0; i < pool->n_symbols; i++) {
        if (!l->is_bound[i])
            continue;
        symbol_numbers[i] = p->n_symbols;
        symbols[p->n_symbols++] = pool->symbols[i];
    }
    struct dim_expr *exprs = arena_array(l->arena, struct dim_expr, pool->n_exprs + 1);
    for (uint32_t i = 0; i < pool->n_exprs; i++) {
        if (!used[i])
            continue;
        const struct dim_expr *x = &pool->exprs[i];
        numbers[i] = p->n_exprs;
        exprs[p->n_exprs++] = x->op == DIM_SYMBOL
                                  ? (struct dim_expr){.op = DIM_SYMBOL, .a = symbol_numbers[x->a]}
                                  : (struct dim_expr){.op = x->op,
                                                      .a = renumbered(x->a, numbers),
                                                      .b = renumbered(x->b, numbers)};
    }
    for (uint32_t v = 0; v < l->n_values; v++)
        for (size_t d = 0; d < l->values[v].rank; d++)
            l->values[v].dims[d] = renumbered(l->values[v].dims[d], numbers);
    p->symbols = symbols;
    p->exprs = exprs;
}
