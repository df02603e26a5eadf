#include "server/model_table.h"

#include <inttypes.h>
#include <string.h>

enum { TABLE_COLUMNS = 3, CELL_WIDTH_MAX = 100 };

struct table {
    const char *heads[TABLE_COLUMNS];
    str (*rows)[TABLE_COLUMNS];
    size_t n;
};

static void rule(const size_t *widths, FILE *to) {
    for (size_t c = 0; c < TABLE_COLUMNS; c++) {
        fputc('+', to);
        for (size_t i = 0; i < widths[c] + 2; i++)
            fputc('-', to);
    }
    fputs("+\n", to);
}

static void line(const str *cells, const size_t *widths, FILE *to) {
    for (size_t c = 0; c < TABLE_COLUMNS; c++)
        fprintf(to, "| %-*.*s ", (int)widths[c], STR_ARG(cells[c]));
    fputs("|\n", to);
}

/* A cell that is too wide goes on in the next line. */
static void row(const str *cells, const size_t *widths, FILE *to) {
    str left[TABLE_COLUMNS];
    memcpy(left, cells, sizeof left);
    bool is_more = true;
    while (is_more) {
        str part[TABLE_COLUMNS];
        is_more = false;
        for (size_t c = 0; c < TABLE_COLUMNS; c++) {
            part[c] = str_slice(left[c], 0, widths[c]);
            left[c] = str_slice(left[c], widths[c], left[c].n);
            is_more = is_more || left[c].n;
        }
        line(part, widths, to);
    }
}

static void table_print(const struct table *t, FILE *to) {
    size_t widths[TABLE_COLUMNS];
    str heads[TABLE_COLUMNS];
    for (size_t c = 0; c < TABLE_COLUMNS; c++) {
        heads[c] = str_from_c(t->heads[c]);
        widths[c] = heads[c].n;
        for (size_t i = 0; i < t->n; i++)
            widths[c] = t->rows[i][c].n > widths[c] ? t->rows[i][c].n : widths[c];
        widths[c] = widths[c] > CELL_WIDTH_MAX ? CELL_WIDTH_MAX : widths[c];
    }
    rule(widths, to);
    line(heads, widths, to);
    rule(widths, to);
    for (size_t i = 0; i < t->n; i++)
        row(t->rows[i], widths, to);
    rule(widths, to);
    fputc('\n', to);
}

static str status_text(const struct repository_row *r, struct arena *a) {
    if (r->state == MODEL_STATE_UNKNOWN)
        return STR("UNLOADED");
    if (r->state != MODEL_STATE_UNAVAILABLE)
        return str_from_c(model_state_name(r->state));
    return str_format(a, "UNAVAILABLE: %.*s", STR_ARG(r->reason));
}

void model_table_print(struct repository *r, const struct backend *const *backends,
                       size_t n_backends, FILE *to) {
    struct arena a = {0};
    str(*rows)[TABLE_COLUMNS] = arena_alloc(&a, sizeof *rows * (n_backends + 1), 8);
    for (size_t i = 0; i < n_backends; i++) {
        rows[i][0] = str_from_c(backends[i]->name);
        rows[i][1] = str_from_c(backends[i]->version_path);
        rows[i][2] = STR("{}");
    }
    table_print(&(struct table){{"Backend", "Path", "Config"}, rows, n_backends}, to);
    struct repository_row *models;
    size_t n = repository_index(r, &a, &models);
    rows = arena_alloc(&a, sizeof *rows * (n + 1), 8);
    for (size_t i = 0; i < n; i++) {
        rows[i][0] = models[i].name;
        rows[i][1] =
            models[i].version >= 0 ? str_format(&a, "%" PRId64, models[i].version) : STR("-");
        rows[i][2] = status_text(&models[i], &a);
    }
    table_print(&(struct table){{"Model", "Version", "Status"}, rows, n}, to);
    arena_release(&a);
}
