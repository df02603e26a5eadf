#include "plan/write.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/map.h"
#include "plan/format.h"

/* One buffer per section; WEIGHTS stay where they are. */
struct writer {
    struct buffer sections[PLAN_SECTION_END];
    struct map texts; /* text -> offset in STRINGS + 1 */
};

static void writer_done(struct writer *w) {
    for (size_t i = 0; i < PLAN_SECTION_END; i++)
        buffer_done(&w->sections[i]);
    map_done(&w->texts);
}

static status put_text(struct writer *w, str s, struct plan_file_text *out, struct error *err) {
    struct buffer *b = &w->sections[PLAN_SECTION_STRINGS];
    *out = (struct plan_file_text){.size = (uint32_t)s.n};
    if (s.n == 0)
        return STATUS_OK;
    uintptr_t known = (uintptr_t)map_get(&w->texts, s);
    if (known) {
        out->offset = (uint32_t)(known - 1);
        return STATUS_OK;
    }
    if (s.n + b->n > UINT32_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "a plan's texts are over 4 GB");
    out->offset = (uint32_t)b->n;
    map_set(&w->texts, s, (void *)((uintptr_t)b->n + 1));
    return buffer_append_str(b, s, err);
}

static status put_dims(struct writer *w, const struct plan *p, struct error *err) {
    for (uint32_t i = 0; i < p->n_symbols; i++) {
        struct plan_file_symbol s = {.min = p->symbols[i].min, .max = p->symbols[i].max};
        TRY(put_text(w, p->symbols[i].name, &s.name, err));
        TRY(buffer_append(&w->sections[PLAN_SECTION_SYMBOLS], &s, sizeof s, err));
    }
    for (uint32_t i = 0; i < p->n_exprs; i++) {
        const struct dim_expr *x = &p->exprs[i];
        struct plan_file_expr e = {.op = x->op, .a = x->a, .b = x->b};
        TRY(buffer_append(&w->sections[PLAN_SECTION_EXPRS], &e, sizeof e, err));
    }
    return STATUS_OK;
}

static status put_values(struct writer *w, const struct plan *p, struct error *err) {
    for (uint32_t i = 0; i < p->n_values; i++) {
        const struct plan_value *v = &p->values[i];
        struct plan_file_value f = {
            .kind = v->kind,
            .dtype = v->dtype,
            .rank = v->rank,
            .flags = v->is_packed ? PLAN_FILE_PACKED : 0,
            .of = v->kind == PLAN_ALIAS ? v->of : PLAN_NONE,
            .offset = v->kind == PLAN_CONSTANT ? v->offset : 0,
            .size = v->kind == PLAN_CONSTANT ? v->size : 0,
        };
        memcpy(f.dims, v->dims, v->rank * sizeof v->dims[0]);
        TRY(put_text(w, v->name, &f.name, err));
        TRY(buffer_append(&w->sections[PLAN_SECTION_VALUES], &f, sizeof f, err));
    }
    return STATUS_OK;
}

static status put_steps(struct writer *w, const struct plan *p, struct error *err) {
    struct buffer *operands = &w->sections[PLAN_SECTION_OPERANDS];
    struct buffer *attrs = &w->sections[PLAN_SECTION_ATTRS];
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        struct plan_file_step f = {
            .operands = (uint32_t)(operands->n / sizeof(uint32_t)),
            .n_in = s->n_in,
            .n_out = s->n_out,
            .opset = s->opset,
        };
        TRY(put_text(w, s->op, &f.op, err));
        TRY(put_text(w, s->kernel, &f.kernel, err));
        TRY(put_text(w, s->origin, &f.origin, err));
        TRY(buffer_append(operands, s->in, s->n_in * sizeof *s->in, err));
        TRY(buffer_append(operands, s->out, s->n_out * sizeof *s->out, err));
        if (operands->n / sizeof(uint32_t) > UINT32_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "a plan has over 2^32 operands");
        static const char zeroes[8];
        TRY(buffer_append(attrs, zeroes, -attrs->n & 7, err));
        f.attrs_offset = attrs->n;
        /* The encoding is aligned relative to its start, which is 8-byte aligned here. */
        TRY(attr_list_encode(attrs, &s->attrs, err));
        f.attrs_size = attrs->n - f.attrs_offset;
        TRY(buffer_append(&w->sections[PLAN_SECTION_STEPS], &f, sizeof f, err));
    }
    return STATUS_OK;
}

static status put_io(struct writer *w, const struct plan *p, struct error *err) {
    struct buffer *b = &w->sections[PLAN_SECTION_IO];
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        struct plan_file_io f = {.value = p->inputs[i]};
        TRY(buffer_append(b, &f, sizeof f, err));
    }
    for (uint32_t i = 0; i < p->n_outputs; i++) {
        struct plan_file_io f = {.value = p->outputs[i].value, .is_output = 1};
        TRY(put_text(w, p->outputs[i].name, &f.name, err));
        TRY(buffer_append(b, &f, sizeof f, err));
    }
    return STATUS_OK;
}

static uint64_t align_up(uint64_t x, uint64_t align) {
    return (x + align - 1) & ~(align - 1);
}

/* Everything before the weights, into `out`; where the weights begin, into *weights_offset. */
static status encode_head(struct buffer *out, uint64_t *weights_offset, const struct plan *p,
                          struct error *err) {
    CLEANUP(writer_done) struct writer w = {0};
    TRY(buffer_append_str(&w.sections[PLAN_SECTION_META], p->meta, err));
    TRY(put_dims(&w, p, err));
    TRY(put_values(&w, p, err));
    TRY(put_steps(&w, p, err));
    TRY(put_io(&w, p, err));

    enum { N_SECTIONS = PLAN_SECTION_END - 1 };
    struct plan_file_section table[N_SECTIONS];
    uint64_t at = sizeof(struct plan_file_header) + sizeof table;
    for (uint32_t i = 0; i < N_SECTIONS; i++) {
        uint32_t type = i + 1;
        bool is_weights = type == PLAN_SECTION_WEIGHTS;
        const void *bytes = is_weights ? p->weights : w.sections[type].p;
        uint64_t size = is_weights ? p->weights_size : w.sections[type].n;
        uint64_t align = !is_weights || size == 0 ? PLAN_SECTION_ALIGN
                         : size >= PLAN_HUGE_PAGE ? PLAN_HUGE_PAGE
                                                  : PLAN_PAGE;
        if (is_weights && size == 0)
            align = 1; /* the file ends with the section before */
        at = align_up(at, align);
        table[i] = (struct plan_file_section){.type = type,
                                              .target = PLACE_CPU,
                                              .offset = at,
                                              .size = size,
                                              .align = align,
                                              .hash = hash_bytes(bytes, size, 0)};
        at += size;
    }
    struct plan_file_header h = {
        .magic = PLAN_MAGIC,
        .format_version = PLAN_FORMAT_VERSION,
        .kernel_abi = PLAN_KERNEL_ABI,
        .isa = p->isa,
        .n_sections = N_SECTIONS,
        .file_size = at,
        .table_hash = hash_bytes(table, sizeof table, 0),
    };
    h.header_hash = hash_bytes(&h, offsetof(struct plan_file_header, header_hash), 0);

    TRY(buffer_append(out, &h, sizeof h, err));
    TRY(buffer_append(out, table, sizeof table, err));
    for (uint32_t i = 0; i < N_SECTIONS - 1; i++) {
        size_t gap = table[i].offset - out->n;
        TRY(buffer_reserve(out, gap, err));
        memset(out->p + out->n, 0, gap);
        out->n += gap;
        TRY(buffer_append_str(out, buffer_str(&w.sections[table[i].type]), err));
    }
    *weights_offset = table[N_SECTIONS - 1].offset;
    return STATUS_OK;
}

status plan_encode(void **out, size_t *size, const struct plan *p, struct error *err) {
    CLEANUP(buffer_done) struct buffer head = {0};
    uint64_t offset;
    TRY(encode_head(&head, &offset, p, err));
    char *bytes = buffer_alloc(offset + p->weights_size);
    if (!bytes)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a plan of %zu bytes",
                         (size_t)offset + p->weights_size);
    memcpy(bytes, head.p, head.n);
    memset(bytes + head.n, 0, offset - head.n);
    if (p->weights_size)
        memcpy(bytes + offset, p->weights, p->weights_size);
    *out = bytes;
    *size = offset + p->weights_size;
    return STATUS_OK;
}

status plan_write(const struct plan *p, const char *path, struct error *err) {
    CLEANUP(buffer_done) struct buffer head = {0};
    uint64_t offset;
    TRY(encode_head(&head, &offset, p, err));
    const struct file_part parts[] = {
        {.p = head.p, .size = head.n, .offset = 0},
        {.p = p->weights, .size = p->weights_size, .offset = offset},
    };
    return file_write_parts(path, parts, ARRAY_LEN(parts), err);
}
