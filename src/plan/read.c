#include "plan/read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "plan/format.h"
#include "plan/read_internal.h"

status plan_damaged(struct error *err, const char *section, uint64_t offset, const char *what,
                    const char *wanted, uint64_t found) {
    return error_set(err, STATUS_DATA_LOSS,
                     "damaged plan: section %s, offset %" PRIu64 ": %s: wanted %s, found %" PRIu64,
                     section, offset, what, wanted, found);
}

static status read_header(const struct reader *r, struct error *err) {
    const struct plan_file_header *h = r->header;
    if (r->size < sizeof *h)
        return plan_damaged(err, "HEADER", 0, "size of the file", "64 bytes or more", r->size);
    if (memcmp(h->magic, PLAN_MAGIC, sizeof h->magic) != 0) {
        uint64_t found;
        memcpy(&found, h->magic, sizeof found);
        return error_set(err, STATUS_DATA_LOSS,
                         "not a plan: section HEADER, offset 0: wanted \"%s\", found %016" PRIx64,
                         PLAN_MAGIC, found);
    }
    if (h->format_version != PLAN_FORMAT_VERSION || h->kernel_abi != PLAN_KERNEL_ABI)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the plan has format %u, kernel ABI %u; this program reads format %d, "
                         "kernel ABI %d; compile it again: culmen compile MODEL.onnx -o MODEL.plan",
                         h->format_version, h->kernel_abi, PLAN_FORMAT_VERSION, PLAN_KERNEL_ABI);
    uint64_t hash = hash_bytes(h, offsetof(struct plan_file_header, header_hash), 0);
    if (hash != h->header_hash)
        return plan_damaged(err, "HEADER", offsetof(struct plan_file_header, header_hash), "hash",
                            "the header's", h->header_hash);
    if (h->file_size != r->size)
        return error_set(err, STATUS_DATA_LOSS,
                         "damaged plan: section HEADER, offset %zu: size of the file: wanted "
                         "%" PRIu64 ", found %zu",
                         offsetof(struct plan_file_header, file_size), h->file_size, r->size);
    return STATUS_OK;
}

/* Everything but the weights is copied out of the file: kernels believe what was checked, also when
 * somebody writes to the file or cuts it later. */
static const void *copy(const struct reader *r, uint64_t offset, size_t size) {
    char *p = arena_alloc(r->arena, size + 1, PLAN_SECTION_ALIGN);
    memcpy(p, r->bytes + offset, size);
    return p;
}

static status read_section(struct reader *r, size_t at, const struct plan_file_section *s,
                           struct error *err) {
    const char *name = plan_section_name(s->type);
    if (s->align == 0 || (s->align & (s->align - 1)) || s->align > PLAN_HUGE_PAGE)
        return plan_damaged(err, "TABLE", at, name, "an alignment", s->align);
    if (s->offset > r->size || s->size > r->size - s->offset)
        return plan_damaged(err, "TABLE", at, name, "a section within the file",
                            s->offset + s->size);
    if (s->offset % s->align)
        return plan_damaged(err, "TABLE", at, name, "an aligned offset", s->offset);
    if (s->type == 0 || s->type >= PLAN_SECTION_END || s->target != PLACE_CPU)
        return STATUS_OK;
    if (r->sections[s->type])
        return plan_damaged(err, "TABLE", at, name, "one section of the type", 2);
    if (s->type == PLAN_SECTION_WEIGHTS) {
        if (s->size && s->align < PLAN_WEIGHT_ALIGN)
            return plan_damaged(err, "TABLE", at, name, "an alignment of 64 or more", s->align);
        r->data[s->type] = r->bytes + s->offset;
    } else {
        if (s->align < PLAN_SECTION_ALIGN)
            return plan_damaged(err, "TABLE", at, name, "an alignment of 64 or more", s->align);
        if (s->size > PLAN_SECTION_SIZE_MAX)
            return plan_damaged(err, "TABLE", at, name, "a section of at most 1 GiB", s->size);
        r->data[s->type] = copy(r, s->offset, s->size);
        uint64_t hash = hash_bytes(r->data[s->type], s->size, 0);
        if (hash != s->hash)
            return error_set(err, STATUS_DATA_LOSS,
                             "damaged plan: section %s, offset %" PRIu64 ": hash: wanted "
                             "%016" PRIx64 ", found %016" PRIx64,
                             name, s->offset, s->hash, hash);
    }
    r->sections[s->type] = s;
    return STATUS_OK;
}

static status read_table(struct reader *r, struct error *err) {
    const struct plan_file_header *h = r->header;
    const size_t at = sizeof *h;
    if (h->n_sections > PLAN_SECTIONS_MAX ||
        h->n_sections * sizeof(struct plan_file_section) > r->size - at)
        return plan_damaged(err, "HEADER", offsetof(struct plan_file_header, n_sections),
                            "number of sections", "at most 64, within the file", h->n_sections);
    const struct plan_file_section *table =
        copy(r, at, h->n_sections * sizeof(struct plan_file_section));
    if (hash_bytes(table, h->n_sections * sizeof *table, 0) != h->table_hash)
        return plan_damaged(err, "TABLE", at, "hash", "the table's", h->table_hash);
    for (uint32_t i = 0; i < h->n_sections; i++)
        TRY(read_section(r, at + i * sizeof *table, &table[i], err));
    for (uint32_t t = 1; t < PLAN_SECTION_END; t++)
        if (!r->sections[t])
            return plan_damaged(err, "TABLE", at, plan_section_name(t), "a section of the type", 0);
    return STATUS_OK;
}

const void *plan_records(const struct reader *r, plan_section type, size_t record, uint64_t max,
                         uint32_t *n, struct error *err) {
    const struct plan_file_section *s = r->sections[type];
    if (s->size % record || s->size / record > max) {
        (void)plan_damaged(err, plan_section_name(type), s->offset, "size of the section",
                           "whole records within the limit", s->size);
        return NULL;
    }
    *n = (uint32_t)(s->size / record);
    return r->data[type];
}

uint64_t plan_record_offset(const struct reader *r, plan_section type, size_t record, uint32_t i) {
    return r->sections[type]->offset + (uint64_t)record * i;
}

static status read_text(const struct reader *r, struct plan_file_text t, uint64_t at,
                        const char *section, str *out, struct error *err) {
    const struct plan_file_section *s = r->sections[PLAN_SECTION_STRINGS];
    if (t.offset > s->size || t.size > s->size - t.offset)
        return plan_damaged(err, section, at, "end of a text", "within STRINGS",
                            (uint64_t)t.offset + t.size);
    *out = (str){.p = r->data[PLAN_SECTION_STRINGS] + t.offset, .n = t.size};
    return STATUS_OK;
}

static status read_symbols(struct reader *r, struct error *err) {
    struct plan *p = r->plan;
    const struct plan_file_symbol *f =
        plan_records(r, PLAN_SECTION_SYMBOLS, sizeof *f, DIM_SYMBOLS_MAX, &p->n_symbols, err);
    if (!f)
        return STATUS_DATA_LOSS;
    struct dim_symbol *symbols = arena_array(r->arena, struct dim_symbol, p->n_symbols);
    p->symbols = symbols;
    for (uint32_t i = 0; i < p->n_symbols; i++) {
        uint64_t at = plan_record_offset(r, PLAN_SECTION_SYMBOLS, sizeof *f, i);
        TRY(read_text(r, f[i].name, at, "SYMBOLS", &symbols[i].name, err));
        if (f[i].min < 0 || f[i].max < f[i].min || f[i].max > INT32_MAX)
            return plan_damaged(err, "SYMBOLS", at, "range of a symbol", "0 <= min <= max < 2^31",
                                (uint64_t)f[i].max);
        symbols[i].min = f[i].min;
        symbols[i].max = f[i].max;
    }
    return STATUS_OK;
}

static status read_exprs(struct reader *r, struct error *err) {
    struct plan *p = r->plan;
    const struct plan_file_expr *f =
        plan_records(r, PLAN_SECTION_EXPRS, sizeof *f, DIM_EXPRS_MAX, &p->n_exprs, err);
    if (!f)
        return STATUS_DATA_LOSS;
    struct dim_expr *exprs = arena_array(r->arena, struct dim_expr, p->n_exprs);
    p->exprs = exprs;
    for (uint32_t i = 0; i < p->n_exprs; i++) {
        uint64_t at = plan_record_offset(r, PLAN_SECTION_EXPRS, sizeof *f, i);
        if (f[i].op > DIM_MAX)
            return plan_damaged(err, "EXPRS", at, "operation", "0 to 7", f[i].op);
        if (f[i].op == DIM_SYMBOL && (f[i].a < 0 || f[i].a >= p->n_symbols))
            return plan_damaged(err, "EXPRS", at, "symbol", "one of the plan's", (uint64_t)f[i].a);
        const int64_t operands[] = {f[i].a, f[i].b};
        for (int k = 0; k < 2 && f[i].op != DIM_SYMBOL; k++)
            if (!dim_is_number(operands[k]) && (uint64_t)(operands[k] - DIM_EXPR) >= i)
                return plan_damaged(err, "EXPRS", at, "operand", "an earlier expression",
                                    (uint64_t)operands[k]);
        exprs[i] = (struct dim_expr){.op = (uint8_t)f[i].op, .a = f[i].a, .b = f[i].b};
    }
    return STATUS_OK;
}

static status read_value(struct reader *r, uint32_t i, const struct plan_file_value *f,
                         struct plan_value *v, struct error *err) {
    uint64_t at = plan_record_offset(r, PLAN_SECTION_VALUES, sizeof *f, i);
    if (f->kind == 0 || f->kind >= PLAN_KIND_END)
        return plan_damaged(err, "VALUES", at, "kind", "1 to 5", f->kind);
    if (f->dtype == DTYPE_NONE || f->dtype >= DTYPE_COUNT)
        return plan_damaged(err, "VALUES", at, "dtype", "a known one", f->dtype);
    if (f->rank > TENSOR_RANK_MAX)
        return plan_damaged(err, "VALUES", at, "rank", "0 to 8", f->rank);
    for (size_t d = 0; d < f->rank; d++) {
        int64_t x = f->dims[d];
        bool fits = dim_is_number(x) ? x >= 0
                    : dim_is_expr(x)
                        ? (uint64_t)(x - DIM_EXPR) < r->plan->n_exprs && f->kind != PLAN_CONSTANT
                        : f->kind == PLAN_DYNAMIC;
        if (!fits)
            return plan_damaged(err, "VALUES", at, "dim", "a number or an expression", (uint64_t)x);
    }
    *v = (struct plan_value){
        .kind = f->kind,
        .dtype = f->dtype,
        .rank = f->rank,
        .is_packed = f->flags & PLAN_FILE_PACKED,
        .of = f->of,
        .offset = f->offset,
        .size = f->size,
    };
    memcpy(v->dims, f->dims, v->rank * sizeof v->dims[0]);
    if (v->kind == PLAN_CONSTANT) {
        uint64_t weights = r->plan->weights_size;
        if (v->offset > weights || v->size > weights - v->offset || v->offset % PLAN_WEIGHT_ALIGN)
            return plan_damaged(err, "VALUES", at, "end of a constant", "within WEIGHTS, aligned",
                                v->offset + v->size);
        /* A packed constant is never smaller than a plain one. */
        size_t size = 0;
        bool has_size = v->dtype == DTYPE_BYTES || tensor_size(v->dtype, v->dims, v->rank, &size);
        if (!has_size || size > v->size ||
            (size < v->size && !v->is_packed && v->dtype != DTYPE_BYTES))
            return plan_damaged(err, "VALUES", at, "size of a constant", "what its dims need",
                                v->size);
    }
    return read_text(r, f->name, at, "VALUES", &v->name, err);
}

static status read_values(struct reader *r, struct error *err) {
    struct plan *p = r->plan;
    const struct plan_file_value *f =
        plan_records(r, PLAN_SECTION_VALUES, sizeof *f, PLAN_VALUES_MAX, &p->n_values, err);
    if (!f)
        return STATUS_DATA_LOSS;
    struct plan_value *values = arena_array(r->arena, struct plan_value, p->n_values);
    p->values = values;
    for (uint32_t i = 0; i < p->n_values; i++)
        TRY(read_value(r, i, &f[i], &values[i], err));
    return STATUS_OK;
}

static status read_step(struct reader *r, uint64_t at, const struct plan_file_step *f,
                        struct plan_step *s, struct error *err) {
    TRY(read_text(r, f->op, at, "STEPS", &s->op, err));
    TRY(read_text(r, f->kernel, at, "STEPS", &s->kernel, err));
    TRY(read_text(r, f->origin, at, "STEPS", &s->origin, err));
    uint32_t n_operands = (uint32_t)(r->sections[PLAN_SECTION_OPERANDS]->size / sizeof(uint32_t));
    if (f->n_in > PLAN_OPERANDS_MAX || f->n_out > PLAN_OPERANDS_MAX || f->operands > n_operands ||
        f->n_in + f->n_out > n_operands - f->operands)
        return plan_damaged(err, "STEPS", at, "end of the operands", "within OPERANDS",
                            (uint64_t)f->operands + f->n_in + f->n_out);
    const struct plan_file_section *attrs = r->sections[PLAN_SECTION_ATTRS];
    if (f->attrs_offset > attrs->size || f->attrs_size > attrs->size - f->attrs_offset ||
        f->attrs_offset % 8)
        return plan_damaged(err, "STEPS", at, "end of the attributes", "within ATTRS, aligned",
                            f->attrs_offset + f->attrs_size);
    const uint32_t *operands = (const void *)r->data[PLAN_SECTION_OPERANDS];
    s->in = operands + f->operands;
    s->out = s->in + f->n_in;
    s->n_in = f->n_in;
    s->n_out = f->n_out;
    s->opset = f->opset;
    uint64_t from = attrs->offset + f->attrs_offset;
    const char *bytes = r->data[PLAN_SECTION_ATTRS] + f->attrs_offset;
    status decoded = attr_list_decode(&s->attrs, r->arena, bytes, f->attrs_size, err);
    if (decoded != STATUS_OK)
        return error_wrap(err, decoded, "damaged plan: section ATTRS, offset %" PRIu64, from);
    return STATUS_OK;
}

static status read_steps(struct reader *r, struct error *err) {
    struct plan *p = r->plan;
    const struct plan_file_step *f =
        plan_records(r, PLAN_SECTION_STEPS, sizeof *f, PLAN_STEPS_MAX, &p->n_steps, err);
    uint32_t n_operands;
    if (!f ||
        !plan_records(r, PLAN_SECTION_OPERANDS, sizeof(uint32_t), UINT32_MAX, &n_operands, err))
        return STATUS_DATA_LOSS;
    struct plan_step *steps = arena_array(r->arena, struct plan_step, p->n_steps);
    p->steps = steps;
    for (uint32_t i = 0; i < p->n_steps; i++)
        TRY(read_step(r, plan_record_offset(r, PLAN_SECTION_STEPS, sizeof *f, i), &f[i], &steps[i],
                      err));
    return STATUS_OK;
}

static status read_io(struct reader *r, struct error *err) {
    struct plan *p = r->plan;
    uint32_t n;
    const struct plan_file_io *f =
        plan_records(r, PLAN_SECTION_IO, sizeof *f, PLAN_IO_MAX, &n, err);
    if (!f)
        return STATUS_DATA_LOSS;
    uint32_t *inputs = arena_array(r->arena, uint32_t, n);
    struct plan_output *outputs = arena_array(r->arena, struct plan_output, n);
    p->inputs = inputs;
    p->outputs = outputs;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = plan_record_offset(r, PLAN_SECTION_IO, sizeof *f, i);
        if (f[i].value >= p->n_values)
            return plan_damaged(err, "IO", at, "value", "one of the plan's", f[i].value);
        if (!f[i].is_output) {
            inputs[p->n_inputs++] = f[i].value;
            continue;
        }
        struct plan_output *o = &outputs[p->n_outputs++];
        o->value = f[i].value;
        TRY(read_text(r, f[i].name, at, "IO", &o->name, err));
    }
    return STATUS_OK;
}

status plan_read(struct plan *out, struct arena *a, const void *bytes, size_t size,
                 struct error *err) {
    struct plan p = {0};
    struct reader r = {.bytes = bytes, .size = size, .header = bytes, .arena = a, .plan = &p};
    if (size >= sizeof *r.header)
        r.header = copy(&r, 0, sizeof *r.header);
    TRY(read_header(&r, err));
    TRY(read_table(&r, err));
    p.isa = r.header->isa;
    p.meta = (str){.p = r.data[PLAN_SECTION_META], .n = r.sections[PLAN_SECTION_META]->size};
    p.weights = r.data[PLAN_SECTION_WEIGHTS];
    p.weights_size = r.sections[PLAN_SECTION_WEIGHTS]->size;
    TRY(read_symbols(&r, err));
    TRY(read_exprs(&r, err));
    TRY(read_values(&r, err));
    TRY(read_steps(&r, err));
    TRY(read_io(&r, err));
    TRY(plan_check_references(&r, err));
    *out = p;
    return STATUS_OK;
}

static const struct plan_file_section *section_at(const void *bytes, size_t i) {
    const struct plan_file_header *h = bytes;
    const struct plan_file_section *table = (const void *)(h + 1);
    return i < h->n_sections ? &table[i] : NULL;
}

status plan_verify_weights(const void *bytes, size_t size, struct error *err) {
    const struct plan_file_section *s;
    for (size_t i = 0; (s = section_at(bytes, i)); i++) {
        if (s->type != PLAN_SECTION_WEIGHTS || s->offset > size || s->size > size - s->offset)
            continue;
        uint64_t hash = hash_bytes((const char *)bytes + s->offset, s->size, 0);
        if (hash != s->hash)
            return error_set(err, STATUS_DATA_LOSS,
                             "damaged plan: section WEIGHTS, offset %" PRIu64 ": hash: wanted "
                             "%016" PRIx64 ", found %016" PRIx64,
                             s->offset, s->hash, hash);
    }
    return STATUS_OK;
}

uint64_t plan_identity(const void *bytes) {
    const struct plan_file_header *h = bytes;
    return h->header_hash; /* covers the table's hash, which covers the sections' */
}

bool plan_section_at(struct plan_section_info *out, const void *bytes, size_t i) {
    const struct plan_file_section *s = section_at(bytes, i);
    if (!s)
        return false;
    *out = (struct plan_section_info){.name = plan_section_name(s->type),
                                      .target = s->target,
                                      .offset = s->offset,
                                      .size = s->size};
    return true;
}
