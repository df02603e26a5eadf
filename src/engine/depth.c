#include "engine/depth.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine_internal.h"

size_t depth_cache_size(void) {
    long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return (size > 0 ? (size_t)size : DEPTH_L2_SIZE) / 2; /* the other half: weights and scratch */
}

static bool is_constant(const struct plan *p, uint32_t v) {
    return p->values[plan_root(p, v)].kind == PLAN_CONSTANT;
}

/* The symbol that is the first dim of value v and of the bytes it stands for; PLAN_NONE: none. */
static uint32_t first_symbol(const struct plan *p, uint32_t v) {
    const struct plan_value *value = &p->values[v];
    dim x = value->rank > 0 ? value->dims[0] : 0;
    if (value->kind == PLAN_DYNAMIC || value->dtype == DTYPE_BYTES || !dim_is_expr(x) ||
        p->exprs[x - DIM_EXPR].op != DIM_SYMBOL)
        return PLAN_NONE;
    uint32_t symbol = (uint32_t)p->exprs[x - DIM_EXPR].a;
    if (value->kind == PLAN_ALIAS && first_symbol(p, value->of) != symbol)
        return PLAN_NONE;
    return symbol;
}

/* Operators that compute each element of the first dim from the same element of the operands that
 * are not constants. */
static bool keeps_elements_apart(const struct plan *p, const struct plan_step *s, op_id op) {
    size_t n, rank = p->values[s->out[0]].rank;
    const int64_t *perm;
    switch (op) {
    case OP_Conv2d:
    case OP_ConvTranspose2d:
    case OP_Pool2d:
    case OP_Resize2d:
    case OP_Linear:
    case OP_Norm:
        return true;
    case OP_Transpose:
        perm = attr_ints(&s->attrs, "perm", &n);
        return n > 0 && perm[0] == 0;
    case OP_Elementwise:
        for (uint32_t k = 0; k < s->n_in; k++) {
            const struct plan_value *in = s->in[k] == PLAN_NONE ? NULL : &p->values[s->in[k]];
            if (in && is_constant(p, s->in[k]) && in->rank == rank && in->dims[0] != 1)
                return false;
        }
        return true;
    default:
        return false;
    }
}

/* May step i be run for a part of the elements of `symbol`? */
static bool is_sliceable(const struct engine *e, uint32_t i, uint32_t symbol) {
    const struct plan *p = &e->plan;
    const struct plan_step *s = &p->steps[i];
    if (symbol == PLAN_NONE || e->steps[i].is_dynamic ||
        !keeps_elements_apart(p, s, e->steps[i].id))
        return false;
    size_t rank = p->values[s->out[0]].rank;
    for (uint32_t k = 0; k < s->n_in + s->n_out; k++) {
        uint32_t v = k < s->n_in ? s->in[k] : s->out[k - s->n_in];
        if (v == PLAN_NONE || is_constant(p, v))
            continue;
        if (first_symbol(p, v) != symbol || p->values[v].rank != rank || rank < 2)
            return false;
    }
    return true;
}

void depth_find_spans(struct engine *e) {
    const struct plan *p = &e->plan;
    e->spans = arena_array(&e->arena, struct span, p->n_steps / 2 + 1);
    for (uint32_t i = 0; i < p->n_steps;) {
        uint32_t out = p->steps[i].out[0], end = i;
        uint32_t symbol = out == PLAN_NONE ? PLAN_NONE : first_symbol(p, out);
        while (end < p->n_steps && is_sliceable(e, end, symbol))
            end++;
        if (end - i >= 2)
            e->spans[e->n_spans++] = (struct span){.first = i, .end = end};
        i = end > i ? end : i + 1;
    }
}

/* Bytes of step i: activations of one of n elements, and weights. */
static void weigh(const struct plan *p, const struct binding *b, uint32_t i, int64_t n,
                  size_t *moved, size_t *weights) {
    const struct plan_step *s = &p->steps[i];
    *moved = *weights = 0;
    for (uint32_t k = 0; k < s->n_in + s->n_out; k++) {
        uint32_t v = k < s->n_in ? s->in[k] : s->out[k - s->n_in];
        if (v == PLAN_NONE)
            continue;
        if (is_constant(p, v))
            *weights += p->values[plan_root(p, v)].size;
        else
            *moved += b->values[v].size / (size_t)n;
    }
}

/* The part of `span` in which activations outweigh weights the most; in *peak the most
 * activations of one of its steps. */
static void narrow(const struct plan *p, const struct binding *b, struct span *span, size_t *peak) {
    uint32_t from = span->first, first = from, end = from;
    double sum = 0, best = 0;
    size_t moved, weights;
    for (uint32_t i = span->first; i < span->end; i++) {
        weigh(p, b, i, span->n, &moved, &weights);
        sum += (double)moved - (double)weights;
        if (sum <= 0) {
            sum = 0;
            from = i + 1;
        } else if (sum > best) {
            best = sum;
            first = from;
            end = i + 1;
        }
    }
    span->first = first;
    span->end = end;
    *peak = 1;
    for (uint32_t i = first; i < end; i++) {
        weigh(p, b, i, span->n, &moved, &weights);
        *peak = moved > *peak ? moved : *peak;
    }
}

static int64_t clamp(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

static void choose_span(const struct session *s, const struct binding *b, struct span *span) {
    const struct plan *p = &s->engine->plan;
    int64_t n_threads = team_n_threads(s->team);
    size_t peak;
    span->n = b->values[p->steps[span->first].out[0]].dims[0];
    if (span->n >= 2)
        narrow(p, b, span, &peak);
    if (span->n < 2 || span->end - span->first < 2) {
        span->end = span->first;
        return;
    }
    int64_t fit = (int64_t)(s->cache_size / peak);
    bool has_lanes = span->n >= n_threads;
    span->slice =
        has_lanes ? clamp(fit, 1, span->n / n_threads) : clamp(fit * n_threads, 1, span->n);
    span->n_slices = (span->n + span->slice - 1) / span->slice;
    int64_t rest = span->n_slices % n_threads;
    if (has_lanes) /* a last round that would keep few threads busy is done together */
        span->n_own = rest <= n_threads / 2 ? span->n_slices - rest : span->n_slices;
    if (span->n_slices == 1)
        span->end = span->first;
}

void depth_choose(const struct session *s, struct binding *b) {
    const struct engine *e = s->engine;
    b->n_spans = 0;
    for (uint32_t i = 0; i < e->n_spans; i++) {
        struct span span = e->spans[i];
        choose_span(s, b, &span);
        if (span.end > span.first)
            b->spans[b->n_spans++] = span;
    }
}

const struct span *depth_span_of(const struct binding *b, uint32_t first, uint32_t last) {
    for (uint32_t i = 0; i < b->n_spans; i++)
        if (first < b->spans[i].end && last >= b->spans[i].first)
            return &b->spans[i];
    return NULL;
}

/* Lets the lane's calls of a span see `count` elements from `from`. Values of the lane are in
 * `memory` (NULL while only sizes count). */
static void set_slice(const struct session *s, const struct binding *b, struct lane *lane,
                      const struct span *span, int64_t from, int64_t count, char *memory) {
    const struct plan *p = &s->engine->plan;
    for (uint32_t i = span->first; i < span->end; i++) {
        const struct plan_step *step = &p->steps[i];
        for (uint32_t k = 0; k < step->n_in + step->n_out; k++) {
            uint32_t v = k < step->n_in ? step->in[k] : step->out[k - step->n_in];
            if (v == PLAN_NONE || is_constant(p, v))
                continue;
            const struct bound_value *root = &b->values[plan_root(p, v)];
            struct tensor *t = &lane->tensors[v];
            *t = s->tensors[v];
            size_t stride = t->size / (size_t)span->n;
            t->dims[0] = count;
            t->size = stride * (size_t)count;
            if (!memory)
                continue;
            t->data =
                root->is_sliced ? memory + root->offset : (char *)t->data + stride * (size_t)from;
        }
    }
}

static void set_scratch(struct lane *lane, const struct span *span, char *scratch, size_t size) {
    for (uint32_t i = span->first; i < span->end; i++) {
        lane->calls[i].scratch = scratch;
        lane->calls[i].scratch_size = size;
    }
}

static void make_lanes(struct session *s) {
    const struct plan *p = &s->engine->plan;
    unsigned n = team_n_threads(s->team);
    s->lanes = arena_array(&s->arena, struct lane, n);
    for (unsigned i = 0; i < n; i++) {
        s->lanes[i].tensors = arena_array(&s->arena, struct tensor, p->n_values);
        memcpy(s->lanes[i].tensors, s->tensors, p->n_values * sizeof *s->tensors);
        s->lanes[i].calls = session_make_calls(s, s->lanes[i].tensors);
    }
}

static void raise_to(size_t *most, size_t x) {
    *most = x > *most ? x : *most;
}

void depth_prepare(struct session *s, const struct binding *b, size_t *lane_scratch,
                   size_t *team_scratch) {
    *lane_scratch = *team_scratch = 0;
    if (b->n_spans && !s->lanes)
        make_lanes(s);
    for (uint32_t k = 0; k < b->n_spans; k++) {
        const struct span *span = &b->spans[k];
        const int64_t counts[] = {span->slice, span->n - span->slice * (span->n_slices - 1)};
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            set_slice(s, b, &s->lanes[0], span, 0, counts[c], NULL);
            for (uint32_t i = span->first; i < span->end; i++) {
                const struct kernel *kernel = s->engine->steps[i].kernel;
                const struct kernel_call *call = &s->lanes[0].calls[i];
                if (kernel->scratch && span->n_own > 0)
                    raise_to(lane_scratch, kernel->scratch(call, 1));
                if (kernel->scratch && span->n_own < span->n_slices)
                    raise_to(team_scratch, kernel->scratch(call, team_n_threads(s->team)));
            }
        }
    }
}

static int64_t slice_count(const struct span *span, int64_t slice) {
    int64_t left = span->n - slice * span->slice;
    return left < span->slice ? left : span->slice;
}

static void note_time(int64_t *times, uint32_t step, int64_t *before) {
    if (!times)
        return;
    int64_t now = clock_now(clock_system());
    times[step] += now - *before;
    *before = now;
}

static void no_barrier(void *arg) {
    (void)arg; /* a lane is alone */
}

/* Takes slices as long as there are any, each with all steps. */
static void run_own(struct session *s, const struct span *span, unsigned thread, int64_t *times) {
    const struct binding *b = s->current;
    const struct device *device = s->engine->device;
    const struct kernel_team alone = {.n_threads = 1, .barrier = no_barrier};
    struct lane *lane = &s->lanes[thread];
    char *memory = (char *)s->memory.p + b->lanes_offset + b->lane_size * thread;
    int64_t before = times ? clock_now(clock_system()) : 0, slice;
    set_scratch(lane, span, memory + b->lane_scratch_offset, b->lane_scratch_size);
    while ((slice = atomic_fetch_add_explicit(&s->next_slice, 1, memory_order_relaxed)) <
           span->n_own) {
        set_slice(s, b, lane, span, slice * span->slice, slice_count(span, slice), memory);
        for (uint32_t i = span->first; i < span->end; i++) {
            if (atomic_load_explicit(&s->failed, memory_order_relaxed))
                return;
            if (device->launch(device, &lane->calls[i], &alone, &s->errors[thread]) != STATUS_OK)
                session_fail(s, thread, i);
            note_time(times, i, &before);
        }
    }
}

/* The slices that are left: the whole team works on one, in the first lane's memory. */
static bool run_shared(struct session *s, const struct span *span, const struct kernel_team *team,
                       int64_t *times) {
    const struct binding *b = s->current;
    const struct device *device = s->engine->device;
    struct lane *lane = &s->lanes[0];
    int64_t before = times ? clock_now(clock_system()) : 0;
    for (int64_t slice = span->n_own; slice < span->n_slices; slice++) {
        if (team->thread == 0) {
            set_slice(s, b, lane, span, slice * span->slice, slice_count(span, slice),
                      (char *)s->memory.p + b->lanes_offset);
            set_scratch(lane, span, (char *)s->memory.p + b->scratch_offset, b->scratch_size);
        }
        team_barrier(s->team);
        for (uint32_t i = span->first; i < span->end; i++) {
            bool is_mine = team->thread == 0 || !s->engine->steps[i].kernel->is_serial;
            if (is_mine && device->launch(device, &lane->calls[i], team,
                                          &s->errors[team->thread]) != STATUS_OK)
                session_fail(s, team->thread, i);
            team_barrier(s->team);
            if (team_is_stopped(s->team))
                return false;
            note_time(times, i, &before);
        }
    }
    return true;
}

bool depth_run(struct session *s, const struct span *span, const struct kernel_team *team,
               int64_t *times) {
    if (team->thread == 0)
        atomic_store_explicit(&s->next_slice, 0, memory_order_relaxed);
    team_barrier(s->team);
    if (team_is_stopped(s->team))
        return false;
    if (span->n_own > 0) {
        run_own(s, span, team->thread, times);
        team_barrier(s->team);
        if (team_is_stopped(s->team))
            return false;
    }
    return run_shared(s, span, team, times);
}
