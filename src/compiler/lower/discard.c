/* discard.c - constants leave memory when the plan has them: a model of 400 MB would otherwise be
 * there as the pages of its file, as weights that passes have changed, and as packed weights.
 *
 * Constants may share their bytes (views with other dims), so what counts is where the bytes
 * lie. */
#include "compiler/lower/lower_internal.h"

enum { DISCARD_SIZE_MIN = 1 << 16 }; /* bytes; below, pages are shared with others */

static str key_of(const struct tensor *t) {
    return (str){.p = (const char *)&t->data, .n = sizeof t->data};
}

static const struct tensor *constant_of(const struct lowering *l, const struct value *v) {
    return v ? l->roots[v->id]->info.constant : NULL;
}

static void note_use(struct lowering *l, const struct value *v, uintptr_t last) {
    const struct tensor *t = constant_of(l, v);
    if (t && t->size >= DISCARD_SIZE_MIN)
        map_set(&l->constant_uses, key_of(t), (void *)last);
}

void discard_begin(struct lowering *l) {
    if (!l->discards_constants)
        return;
    for (uint32_t i = 0; i < l->n_steps; i++)
        for (uint32_t k = 0; k < l->steps[i].node->n_in; k++)
            note_use(l, l->steps[i].node->in[k], i + 1);
    for (uint32_t i = 0; i < l->graph->n_outputs; i++)
        note_use(l, l->graph->outputs[i].value, UINTPTR_MAX);
    for (uint32_t i = 0; i < l->graph->n_values; i++) {
        const struct tensor *t = l->graph->values[i]->info.constant;
        if (t && t->size >= DISCARD_SIZE_MIN && !map_get(&l->constant_uses, key_of(t)))
            buffer_discard(t->data, t->size); /* a pass has put another in its place */
    }
}

void discard_after(struct lowering *l, uint32_t step) {
    const struct node *n = l->steps[step].node;
    for (uint32_t k = 0; l->discards_constants && k < n->n_in; k++) {
        const struct tensor *t = constant_of(l, n->in[k]);
        if (t && t->size >= DISCARD_SIZE_MIN &&
            (uintptr_t)map_get(&l->constant_uses, key_of(t)) == step + 1)
            buffer_discard(t->data, t->size);
    }
}
