#include "server/backend/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

static const char BATCH_NOTE[] =
    " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
    "prepended to each input shape. If you want to specify the full shape including the batch dim "
    "in your input dims config, try setting max_batch_size to zero. See the model configuration "
    "docs for more info on max_batch_size.";

ptrdiff_t model_input_index(const struct model_spec *m, str name) {
    for (size_t i = 0; i < m->n_inputs; i++)
        if (str_eq(m->inputs[i].name, name))
            return (ptrdiff_t)i;
    return -1;
}

ptrdiff_t model_output_index(const struct model_spec *m, str name) {
    for (size_t i = 0; i < m->n_outputs; i++)
        if (str_eq(m->outputs[i].name, name))
            return (ptrdiff_t)i;
    return -1;
}

char *io_dims_format(const struct model_spec *m, const struct io_spec *io,
                     char out[DIMS_TEXT_SIZE]) {
    int64_t dims[TENSOR_RANK_MAX + 1];
    size_t rank = 0;
    if (m->max_batch_size > 0)
        dims[rank++] = -1;
    for (size_t d = 0; d < io->rank; d++)
        dims[rank++] = io->dims[d];
    return dims_format(dims, rank, out);
}

status bytes_count(const void *data, size_t size, int64_t *out, struct error *err) {
    const char *p = data;
    int64_t n = 0;
    for (size_t at = 0; at < size; n++) {
        uint32_t length;
        if (size - at < sizeof length)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "unexpected number of string elements %" PRId64
                             ", length prefix cut at byte %zu of %zu",
                             n, at, size);
        memcpy(&length, p + at, sizeof length);
        at += sizeof length;
        if (length > size - at)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "string element %" PRId64 " needs %u bytes, %zu left", n, length,
                             size - at);
        at += length;
    }
    *out = n;
    return STATUS_OK;
}

/* Every error of this file names the request, as Triton's do. */
#define REFUSE(r, err, fmt, ...)                                                                   \
    error_set(err, STATUS_INVALID_ARGUMENT, "[request id: %.*s] " fmt,                             \
              STR_ARG((r)->id.n ? (r)->id : STR("<id_unknown>")), __VA_ARGS__)

static void name_list_add(struct buffer *b, str name) {
    struct error ignored;
    if (buffer_printf(b, &ignored, "%s'%.*s'", b->n ? "," : "", STR_ARG(name)) != STATUS_OK)
        return; /* the list is as long as the limit lets it be */
}

/* Too few or too many inputs. Triton names the given ones last first. */
static status refuse_count(const struct infer_request *r, const struct infer_named *named, size_t n,
                           size_t n_required, struct error *err) {
    const struct model_spec *m = r->model;
    CLEANUP(buffer_done) struct buffer got = {.size_max = 160}, missing = {.size_max = 160};
    for (size_t i = n; i-- > 0;)
        name_list_add(&got, named[i].name);
    for (size_t i = 0; i < m->n_inputs; i++) {
        bool is_there = m->inputs[i].is_optional;
        for (size_t j = 0; j < n && !is_there; j++)
            is_there = str_eq(named[j].name, m->inputs[i].name);
        if (!is_there)
            name_list_add(&missing, m->inputs[i].name);
    }
    char lead[96];
    if (m->has_optional_inputs)
        snprintf(lead, sizeof lead, "expected number of inputs between %zu and %zu but got %zu",
                 n_required, m->n_inputs, n);
    else
        snprintf(lead, sizeof lead, "expected %zu inputs but got %zu", m->n_inputs, n);
    return REFUSE(r, err,
                  "%s inputs for model '%.*s'. Got input(s) [%.*s], but missing required input(s) "
                  "%s%.*s]. Please provide all required input(s).",
                  lead, STR_ARG(m->name), STR_ARG(buffer_str(&got)), missing.n ? "[" : "",
                  STR_ARG(buffer_str(&missing)));
}

static status check_count(const struct infer_request *r, const struct infer_named *named, size_t n,
                          struct error *err) {
    const struct model_spec *m = r->model;
    size_t n_required = 0;
    for (size_t i = 0; i < m->n_inputs; i++)
        n_required += !m->inputs[i].is_optional;
    if (n < n_required || n > m->n_inputs)
        return refuse_count(r, named, n, n_required, err);
    return STATUS_OK;
}

static status check_batch(struct infer_request *r, const struct infer_named *named, size_t n,
                          struct error *err) {
    const struct model_spec *m = r->model;
    r->n_batch = 1;
    if (m->max_batch_size <= 0)
        return STATUS_OK;
    for (size_t i = n; i-- > 0;) {
        const struct tensor *t = &named[i].tensor;
        if (t->rank == 0)
            return REFUSE(r, err,
                          "input '%.*s' has no shape but model requires batch dimension for '%.*s'",
                          STR_ARG(named[i].name), STR_ARG(m->name));
        if (i == n - 1)
            r->n_batch = t->dims[0];
        else if (t->dims[0] != r->n_batch)
            return REFUSE(r, err, "input '%.*s' batch size does not match other inputs for '%.*s'",
                          STR_ARG(named[i].name), STR_ARG(m->name));
    }
    if (r->n_batch < 1 || r->n_batch > m->max_batch_size)
        return REFUSE(r, err, "inference request batch-size must be <= %" PRId64 " for '%.*s'",
                      m->max_batch_size, STR_ARG(m->name));
    return STATUS_OK;
}

static bool dims_fit(const struct model_spec *m, const struct io_spec *io, const struct tensor *t) {
    size_t lead = m->max_batch_size > 0;
    if (t->rank != io->rank + lead)
        return false;
    for (size_t d = 0; d < io->rank; d++)
        if (io->dims[d] >= 0 && io->dims[d] != t->dims[d + lead])
            return false;
    return true;
}

static status check_bytes(const struct infer_request *r, str name, const struct tensor *t,
                          struct error *err) {
    int64_t n_expected = tensor_n_elements(t), n_found = 0;
    struct error inner = {0};
    if (bytes_count(t->data, t->size, &n_found, &inner) != STATUS_OK)
        return REFUSE(r, err, "%s for inference input '%.*s'", inner.text, STR_ARG(name));
    if (n_found != n_expected)
        return REFUSE(r, err,
                      "unexpected number of string elements %" PRId64
                      " for inference input '%.*s', expecting %" PRId64,
                      n_found, STR_ARG(name), n_expected);
    return STATUS_OK;
}

static status check_input(const struct infer_request *r, const struct infer_named *named,
                          struct error *err) {
    const struct model_spec *m = r->model;
    const struct tensor *t = &named->tensor;
    ptrdiff_t index = model_input_index(m, named->name);
    if (index < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unexpected inference input '%.*s' for model '%.*s'", STR_ARG(named->name),
                         STR_ARG(m->name));
    const struct io_spec *io = &m->inputs[index];
    str name = named->is_raw ? STR("raw_input") : named->name;
    if (t->dtype != io->dtype)
        return REFUSE(r, err,
                      "inference input '%.*s' data-type is '%s', but model '%.*s' expects '%s'",
                      STR_ARG(name), dtype_kserve_name(t->dtype), STR_ARG(m->name),
                      dtype_kserve_name(io->dtype));
    if (!dims_fit(m, io, t)) {
        char want[DIMS_TEXT_SIZE], got[DIMS_TEXT_SIZE];
        return REFUSE(r, err,
                      "unexpected shape for input '%.*s' for model '%.*s'. Expected %s, got %s.%s",
                      STR_ARG(name), STR_ARG(m->name), io_dims_format(m, io, want),
                      dims_format(t->dims, t->rank, got), m->max_batch_size > 0 ? BATCH_NOTE : "");
    }
    if (t->dtype == DTYPE_BYTES)
        return check_bytes(r, name, t, err);
    size_t size;
    if (!tensor_size(t->dtype, t->dims, t->rank, &size))
        return REFUSE(r, err, "shape of input '%.*s' for model '%.*s' is too large", STR_ARG(name),
                      STR_ARG(m->name));
    if (size != t->size)
        return REFUSE(
            r, err,
            "input byte size mismatch for input '%.*s' for model '%.*s'. Expected %zu, got %zu",
            STR_ARG(name), STR_ARG(m->name), size, t->size);
    return STATUS_OK;
}

static status check_twice(const struct infer_request *r, const struct infer_named *named, size_t n,
                          struct error *err) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (str_eq(named[i].name, named[j].name))
                return REFUSE(r, err, "input '%.*s' already exists in request",
                              STR_ARG(named[i].name));
    return STATUS_OK;
}

status infer_request_bind(struct infer_request *r, struct infer_named *named, size_t n,
                          struct error *err) {
    TRY(check_twice(r, named, n, err));
    TRY(check_count(r, named, n, err));
    TRY(check_batch(r, named, n, err));
    for (size_t i = n; i-- > 0;)
        TRY(check_input(r, &named[i], err));
    for (size_t i = 0; i < n; i++) {
        r->inputs[model_input_index(r->model, named[i].name)] = named[i].tensor;
        named[i].tensor = (struct tensor){0};
    }
    return STATUS_OK;
}
