/* bind.c - from the inputs' dims to symbols, the dims of all values, and a place for each.
 *
 * Nothing that the plan says about shapes is believed: each step's shape function is asked with
 * the numbers at hand, and a plan that says otherwise is refused. So a kernel never sees operands
 * that do not fit each other. */
#include <inttypes.h>
#include <string.h>

#include "engine/engine_internal.h"

void op_value_of(struct op_value *out, const struct tensor *t, bool with_data) {
    *out = (struct op_value){.dtype = t->dtype, .rank = (int8_t)t->rank};
    memcpy(out->dims, t->dims, t->rank * sizeof t->dims[0]);
    if (with_data && t->data)
        out->constant = t;
}

/* Compares what the shape function found for output k of step i with the plan. */
static status check_output(struct session *s, uint32_t v, uint32_t k, const struct op_value *found,
                           struct error *err) {
    const struct plan_value *value = &s->engine->plan.values[v];
    struct tensor *t = &s->tensors[v];
    if (found->dtype != (dtype)value->dtype || found->rank != value->rank)
        return error_set(
            err, STATUS_DATA_LOSS, "output %u: the plan says %s of rank %d, it is %s of rank %d", k,
            dtype_name((dtype)value->dtype), value->rank, dtype_name(found->dtype), found->rank);
    bool is_dynamic = value->kind == PLAN_DYNAMIC;
    if (found->is_bound && !is_dynamic)
        return error_set(err, STATUS_DATA_LOSS,
                         "output %u depends on data, the plan says it does not", k);
    for (int d = 0; d < found->rank; d++) {
        if (!dim_is_number(found->dims[d]) || found->dims[d] < 0)
            return error_set(err, STATUS_DATA_LOSS, "output %u, dim %d depends on unknown data", k,
                             d);
        if (is_dynamic)
            t->dims[d] = found->dims[d];
        else if (found->dims[d] != t->dims[d])
            return error_set(err, STATUS_DATA_LOSS,
                             "output %u, dim %d: the plan says %" PRId64 ", it is %" PRId64, k, d,
                             t->dims[d], found->dims[d]);
    }
    return STATUS_OK;
}

status step_infer(struct session *s, uint32_t i, struct error *err) {
    const struct plan_step *step = &s->engine->plan.steps[i];
    const struct op_value **in = arena_array(&s->shapes, const struct op_value *, step->n_in);
    struct op_value *out = arena_array(&s->shapes, struct op_value, step->n_out);
    for (uint32_t k = 0; k < step->n_in; k++)
        in[k] = step->in[k] == PLAN_NONE ? NULL : &s->operand_values[step->in[k]];
    const struct op_call call = {
        .op = s->engine->steps[i].op,
        .opset = step->opset,
        .attrs = &step->attrs,
        .in = in,
        .out = out,
        .n_in = step->n_in,
        .n_out = step->n_out,
        .arena = &s->shapes,
    };
    TRY(op_infer(&call, err));
    for (uint32_t k = 0; k < step->n_out; k++) {
        uint32_t v = step->out[k];
        if (v == PLAN_NONE)
            continue;
        TRY(check_output(s, v, k, &out[k], err));
        s->operand_values[v] = out[k];
    }
    return STATUS_OK;
}

/* Dims and size of value v, but for what only the run can tell. */
static status bind_value(struct session *s, struct binding *b, uint32_t v, struct error *err) {
    const struct plan *p = &s->engine->plan;
    const struct plan_value *value = &p->values[v];
    struct bound_value *bound = &b->values[v];
    bool is_known = value->kind != PLAN_DYNAMIC;
    for (size_t d = 0; d < value->rank; d++) {
        dim x = value->dims[d];
        bound->dims[d] = x == DIM_UNKNOWN   ? -1
                         : dim_is_number(x) ? x
                                            : dim_eval(p->exprs, p->n_exprs, x, b->symbols);
        if (bound->dims[d] < 0 && is_known)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "value \"%.*s\", dim %zu: no size follows from the inputs' dims; they "
                             "are too small or too large for the model",
                             STR_ARG(str_slice(value->name, 0, 100)), d);
    }
    bound->size = value->kind == PLAN_CONSTANT ? value->size : 0;
    if (!is_known || value->kind == PLAN_CONSTANT || value->dtype == DTYPE_BYTES)
        return STATUS_OK;
    if (!tensor_size((dtype)value->dtype, bound->dims, value->rank, &bound->size))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "value \"%.*s\" is too large",
                         STR_ARG(str_slice(value->name, 0, 100)));
    return STATUS_OK;
}

static status bind_values(struct session *s, struct binding *b, struct error *err) {
    const struct plan *p = &s->engine->plan;
    for (uint32_t v = 0; v < p->n_values; v++)
        TRY(bind_value(s, b, v, err));
    for (uint32_t v = 0; v < p->n_values; v++) {
        const struct plan_value *value = &p->values[v];
        if (value->kind == PLAN_PLANNED && value->dtype == DTYPE_BYTES)
            return error_set(err, STATUS_UNIMPLEMENTED, "value \"%.*s\": texts made by a step",
                             STR_ARG(str_slice(value->name, 0, 100)));
        if (value->kind != PLAN_ALIAS)
            continue;
        const struct bound_value *root = &b->values[value->of];
        int64_t n = dims_product(b->values[v].dims, value->rank);
        int64_t n_root = dims_product(root->dims, p->values[value->of].rank);
        if (n < 0 || n != n_root)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "value \"%.*s\": wanted %" PRId64 " elements, found %" PRId64,
                             STR_ARG(str_slice(value->name, 0, 100)), n_root, n);
    }
    return STATUS_OK;
}

/* The contents of a root value go for its aliases too: they have the same elements. */
static void share_contents(struct session *s, uint32_t v) {
    const struct plan *p = &s->engine->plan;
    if (v == PLAN_NONE || p->values[v].kind != PLAN_ALIAS)
        return;
    const struct op_value *root = &s->operand_values[p->values[v].of];
    s->operand_values[v].contents = root->contents;
    s->operand_values[v].n_contents = root->n_contents;
}

/* Asks every shape function that can be asked before the run. */
static status check_shapes(struct session *s, struct error *err) {
    const struct engine *e = s->engine;
    const struct plan *p = &e->plan;
    arena_reset(&s->shapes);
    for (uint32_t v = 0; v < p->n_values; v++) {
        const struct plan_value *root = &p->values[plan_root(p, v)];
        op_value_of(&s->operand_values[v], &s->tensors[v],
                    root->kind == PLAN_CONSTANT && !root->is_packed);
    }
    for (uint32_t i = 0; i < p->n_steps; i++) {
        if (e->steps[i].is_dynamic)
            continue;
        for (uint32_t k = 0; k < p->steps[i].n_in; k++)
            share_contents(s, p->steps[i].in[k]);
        status code = step_infer(s, i, err);
        if (code != STATUS_OK)
            return step_error(e, i, code, err);
    }
    return STATUS_OK;
}

/* Memory for the values of a lane, or for the others: in `blocks`, those that nobody places get no
 * size. */
static size_t place_blocks(struct session *s, struct binding *b, bool is_sliced,
                           const struct plan_block *blocks, struct arena *a) {
    const struct engine *e = s->engine;
    const struct plan *p = &e->plan;
    struct plan_block *some = arena_array(a, struct plan_block, p->n_values);
    uint32_t *at = arena_array(a, uint32_t, p->n_values);
    size_t n = 0;
    for (uint32_t v = 0; v < p->n_values; v++)
        if (p->values[v].kind == PLAN_PLANNED && e->shares[v] == v &&
            b->values[v].is_sliced == is_sliced) {
            at[v] = (uint32_t)n;
            some[n++] = blocks[v];
        }
    size_t size = plan_place(some, n, a);
    for (uint32_t v = 0; v < p->n_values; v++)
        if (p->values[v].kind == PLAN_PLANNED && b->values[v].is_sliced == is_sliced)
            b->values[v].offset = some[at[e->shares[v]]].offset;
    return size;
}

/* A span's steps take turns, so what others have in memory stays theirs for all of it, and what is
 * only the span's has memory for a slice. */
static void fit_to_spans(const struct binding *b, struct plan_block *block, bool *is_sliced) {
    const struct span *span = depth_span_of(b, block->first, block->last);
    *is_sliced = span && block->first >= span->first && block->last < span->end;
    if (*is_sliced)
        block->size = block->size / (size_t)span->n * (size_t)span->slice;
    for (uint32_t i = 0; i < b->n_spans && !*is_sliced; i++) {
        span = &b->spans[i];
        if (block->first >= span->end || block->last < span->first)
            continue;
        block->first = block->first < span->first ? block->first : span->first;
        block->last = block->last >= span->end ? block->last : span->end - 1;
    }
}

static size_t size_scratch(const struct session *s, const struct binding *b) {
    const struct engine *e = s->engine;
    size_t size = 0;
    for (uint32_t i = 0; i < e->plan.n_steps; i++) {
        const struct kernel *k = e->steps[i].kernel;
        if (e->steps[i].is_dynamic || !k->scratch || depth_span_of(b, i, i))
            continue;
        size_t want = k->scratch(&s->calls[i], team_n_threads(s->team));
        size = want > size ? want : size;
    }
    return size;
}

/* All memory between the steps: `values` bytes, scratch, and what lanes need. */
static status lay_out(const struct session *s, struct binding *b, size_t values, size_t lane_values,
                      struct error *err) {
    enum { ROUND = PLAN_BLOCK_ALIGN - 1 };
    size_t n_lanes = b->n_spans ? team_n_threads(s->team) : 0, size = SIZE_MAX;
    size_t limit = SIZE_MAX / 8 / SESSION_THREADS_MAX;
    if (values < limit && lane_values < limit && b->scratch_size < limit &&
        b->lane_scratch_size < limit) {
        b->scratch_offset = values; /* a multiple of 64, as lane_values */
        b->lanes_offset = values + ((b->scratch_size + ROUND) & ~(size_t)ROUND);
        b->lane_scratch_offset = lane_values;
        b->lane_size = lane_values + ((b->lane_scratch_size + ROUND) & ~(size_t)ROUND);
        size = b->lanes_offset + n_lanes * b->lane_size;
    }
    if (size == SIZE_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "these dims need more bytes between the steps than there are addresses, "
                         "wanted at most %zu (memory_max)",
                         s->memory_max);
    if (size > s->memory_max)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "these dims need %zu bytes between the steps, wanted at most %zu "
                         "(memory_max)",
                         size, s->memory_max);
    b->arena_size = size + PLAN_BLOCK_ALIGN;
    return STATUS_OK;
}

static status place_values(struct session *s, struct binding *b, struct error *err) {
    const struct engine *e = s->engine;
    const struct plan *p = &e->plan;
    struct arena a CLEANUP(arena_release) = {0};
    struct plan_block *blocks = arena_array(&a, struct plan_block, p->n_values);
    depth_choose(s, b);
    for (uint32_t v = 0; v < p->n_values; v++)
        blocks[v] = (struct plan_block){.size = b->values[v].size,
                                        .first = e->lifetimes[v].first,
                                        .last = e->lifetimes[v].last};
    for (uint32_t v = 0; v < p->n_values; v++) {
        if (p->values[v].kind != PLAN_PLANNED)
            continue;
        struct plan_block *block = &blocks[e->shares[v]];
        if (e->lifetimes[v].last > block->last)
            block->last = e->lifetimes[v].last;
    }
    for (uint32_t v = 0; v < p->n_values; v++)
        if (p->values[v].kind == PLAN_PLANNED && e->shares[v] == v)
            fit_to_spans(b, &blocks[v], &b->values[v].is_sliced);
    for (uint32_t v = 0; v < p->n_values; v++)
        if (p->values[v].kind == PLAN_PLANNED)
            b->values[v].is_sliced = b->values[e->shares[v]].is_sliced;
    size_t lane_values = place_blocks(s, b, true, blocks, &a), team_scratch;
    size_t size = place_blocks(s, b, false, blocks, &a);
    depth_prepare(s, b, &b->lane_scratch_size, &team_scratch);
    b->scratch_size = size_scratch(s, b);
    if (team_scratch > b->scratch_size)
        b->scratch_size = team_scratch;
    return lay_out(s, b, size, lane_values, err);
}

void binding_apply_dims(struct session *s, const struct binding *b) {
    const struct plan *p = &s->engine->plan;
    for (uint32_t v = 0; v < p->n_values; v++) {
        struct tensor *t = &s->tensors[v];
        memcpy(t->dims, b->values[v].dims, t->rank * sizeof t->dims[0]);
        t->size = b->values[v].size;
    }
}

status binding_make(struct session *s, struct binding *b, struct error *err) {
    b->last_use = 0;
    memcpy(b->symbols, s->symbols, s->engine->plan.n_symbols * sizeof *b->symbols);
    TRY(bind_values(s, b, err));
    binding_apply_dims(s, b);
    TRY(check_shapes(s, err));
    return place_values(s, b, err);
}
