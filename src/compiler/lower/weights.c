/* weights.c - the weights section: constants in the order in which steps read them, each different
 * content once. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "compiler/lower/lower_internal.h"

struct weight_slot {
    uint64_t hash;
    size_t offset, size;
    bool is_used;
};

static size_t aligned(size_t size) {
    return (size + PLAN_WEIGHT_ALIGN - 1) & ~(size_t)(PLAN_WEIGHT_ALIGN - 1);
}

static size_t operand_size(const struct lowering *l, const struct lowered_step *s, uint32_t k) {
    const struct value *v = s->node->in[k];
    if (!v || l->kinds[v->id] != PLAN_CONSTANT)
        return 0;
    const struct kernel *kernel = s->call.kernel;
    size_t packed = kernel->packed_size ? kernel->packed_size(&s->call, k) : 0;
    return packed ? packed : v->info.constant->size;
}

/* Makes room for all constants that steps and outputs can need. */
status weights_begin(struct lowering *l, struct error *err) {
    size_t size = 0, n = 0;
    for (uint32_t i = 0; i < l->n_steps; i++)
        for (uint32_t k = 0; k < l->steps[i].node->n_in; k++) {
            size_t one = operand_size(l, &l->steps[i], k);
            size += aligned(one);
            n += one > 0;
        }
    for (uint32_t i = 0; i < l->graph->n_values; i++) {
        const struct value *v = l->graph->values[i];
        if (!value_is_constant(v) || !value_is_used(v))
            continue;
        size += aligned(v->info.constant->size); /* outputs, and operands of aliases */
        n++;
    }
    l->weights = buffer_alloc(size);
    if (!l->weights)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for weights of %zu bytes",
                         size);
    arena_defer(l->arena, free, l->weights);
    l->weights_capacity = size;
    l->n_slots = 16;
    while (l->n_slots < 2 * n + 2)
        l->n_slots *= 2;
    l->slots = arena_array(l->arena, struct weight_slot, l->n_slots);
    return STATUS_OK;
}

/* The `size` bytes at the end of the weights are v's: keeps them, or takes the same bytes that are
 * there already. */
static void weights_commit(struct lowering *l, size_t size, struct plan_value *v) {
    const char *bytes = l->weights + l->weights_size;
    uint64_t hash = hash_bytes(bytes, size, 0);
    v->size = size;
    uint32_t i = (uint32_t)hash & (l->n_slots - 1);
    for (; l->slots[i].is_used; i = (i + 1) & (l->n_slots - 1)) {
        const struct weight_slot *s = &l->slots[i];
        if (s->hash == hash && s->size == size && !memcmp(l->weights + s->offset, bytes, size)) {
            v->offset = s->offset;
            return;
        }
    }
    l->slots[i] = (struct weight_slot){
        .hash = hash, .offset = l->weights_size, .size = size, .is_used = true};
    v->offset = l->weights_size;
    memset(l->weights + l->weights_size + size, 0, aligned(size) - size);
    l->weights_size += aligned(size);
}

static status check_room(const struct lowering *l, size_t size, struct error *err) {
    if (aligned(size) <= l->weights_capacity - l->weights_size)
        return STATUS_OK;
    return error_set(err, STATUS_INTERNAL, "weights grew over the %zu bytes foreseen",
                     l->weights_capacity);
}

status weights_add(struct lowering *l, const struct tensor *t, struct plan_value *v,
                   struct error *err) {
    TRY(check_room(l, t->size, err));
    if (t->size)
        memcpy(l->weights + l->weights_size, t->data, t->size);
    weights_commit(l, t->size, v);
    return STATUS_OK;
}

/* Constants are views of the model's file, so the kernel may need an aligned copy of this one. */
static status align_operand(struct lowering *l, struct tensor *t, struct error *err) {
    size_t align = dtype_size(t->dtype);
    if (align <= 1 || (uintptr_t)t->data % align == 0)
        return STATUS_OK;
    buffer_clear(&l->aligned);
    TRY(buffer_append(&l->aligned, t->data, t->size, err));
    t->data = l->aligned.p;
    return STATUS_OK;
}

status weights_pack(struct lowering *l, const struct lowered_step *s, uint32_t operand, size_t size,
                    struct plan_value *v, struct error *err) {
    TRY(check_room(l, size, err));
    char *to = l->weights + l->weights_size;
    struct tensor *t = &s->operands[operand];
    void *data = t->data;
    TRY(align_operand(l, t, err));
    memset(to, 0, size); /* what pack() leaves as padding is the same each time */
    s->call.kernel->pack(&s->call, operand, to);
    t->data = data;
    weights_commit(l, size, v);
    return STATUS_OK;
}
