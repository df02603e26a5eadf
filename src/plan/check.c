/* check.c - the rules of plan.h that concern several records: each value is made once, before it
 * is read; aliases and symbols lead somewhere. */
#include <inttypes.h>

#include "plan/read_internal.h"

static uint64_t value_offset(const struct reader *r, uint32_t i) {
    return plan_record_offset(r, PLAN_SECTION_VALUES, sizeof(struct plan_file_value), i);
}

static uint64_t step_offset(const struct reader *r, uint32_t i) {
    return plan_record_offset(r, PLAN_SECTION_STEPS, sizeof(struct plan_file_step), i);
}

static status check_aliases(const struct reader *r, struct error *err) {
    const struct plan *p = r->plan;
    for (uint32_t i = 0; i < p->n_values; i++) {
        const struct plan_value *v = &p->values[i];
        if (v->kind != PLAN_ALIAS)
            continue;
        if (v->of >= p->n_values || p->values[v->of].kind == PLAN_ALIAS ||
            p->values[v->of].kind == PLAN_DYNAMIC)
            return plan_damaged(err, "VALUES", value_offset(r, i), "what an alias stands for",
                                "a value with bytes of its own", v->of);
        if (p->values[v->of].dtype != v->dtype || p->values[v->of].is_packed)
            return plan_damaged(err, "VALUES", value_offset(r, i), "dtype of an alias",
                                "that of its bytes", v->dtype);
    }
    return STATUS_OK;
}

/* Walks the steps; is_there[v]: the bytes of root value v exist by now. */
static status check_steps(const struct reader *r, bool *is_there, struct error *err) {
    const struct plan *p = r->plan;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        for (uint32_t k = 0; k < s->n_in; k++) {
            if (s->in[k] == PLAN_NONE)
                continue;
            if (s->in[k] >= p->n_values || !is_there[plan_root(p, s->in[k])])
                return plan_damaged(err, "STEPS", step_offset(r, i), "input of a step",
                                    "a value that is there by then", s->in[k]);
        }
        for (uint32_t k = 0; k < s->n_out; k++) {
            if (s->out[k] == PLAN_NONE)
                continue;
            const struct plan_value *v = s->out[k] < p->n_values ? &p->values[s->out[k]] : NULL;
            if (!v || (v->kind != PLAN_PLANNED && v->kind != PLAN_DYNAMIC) || is_there[s->out[k]])
                return plan_damaged(err, "STEPS", step_offset(r, i), "output of a step",
                                    "a value that no other step makes", s->out[k]);
            is_there[s->out[k]] = true;
        }
    }
    return STATUS_OK;
}

/* Every symbol is a whole dim of an input, so that binding the inputs binds the symbols. */
static status check_symbols(const struct reader *r, struct error *err) {
    const struct plan *p = r->plan;
    bool *is_bound = arena_array(r->arena, bool, p->n_symbols);
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        const struct plan_value *v = &p->values[p->inputs[i]];
        for (size_t d = 0; d < v->rank; d++) {
            if (!dim_is_expr(v->dims[d]))
                continue;
            const struct dim_expr *x = &p->exprs[v->dims[d] - DIM_EXPR];
            if (x->op == DIM_SYMBOL)
                is_bound[x->a] = true;
        }
    }
    for (uint32_t i = 0; i < p->n_symbols; i++)
        if (!is_bound[i])
            return plan_damaged(
                err, "SYMBOLS",
                plan_record_offset(r, PLAN_SECTION_SYMBOLS, sizeof(struct plan_file_symbol), i),
                "inputs with the symbol as a dim", "1 or more", 0);
    return STATUS_OK;
}

status plan_check_references(const struct reader *r, struct error *err) {
    const struct plan *p = r->plan;
    bool *is_there = arena_array(r->arena, bool, p->n_values);
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        uint32_t v = p->inputs[i];
        if (p->values[v].kind != PLAN_INPUT || is_there[v])
            return plan_damaged(err, "IO", r->sections[PLAN_SECTION_IO]->offset, "input",
                                "a value of kind input, once", v);
        is_there[v] = true;
    }
    for (uint32_t i = 0; i < p->n_values; i++)
        if (p->values[i].kind == PLAN_CONSTANT)
            is_there[i] = true;
    TRY(check_aliases(r, err));
    TRY(check_steps(r, is_there, err));
    for (uint32_t i = 0; i < p->n_values; i++)
        if (!is_there[plan_root(p, i)])
            return plan_damaged(err, "VALUES", value_offset(r, i), "steps that make the value", "1",
                                0);
    return check_symbols(r, err);
}
