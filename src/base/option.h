/* option.h - command lines from a table: parser, --help and shell completion are one description.
 *
 *     static const struct option options[] = {
 *         {"output", 'o', OPTION_TEXT, &o.output, "FILE", "where the plan goes", .is_required = true},
 *         {"http-port", 0, OPTION_INT, &o.port, "PORT", "default 8000", .min = 0, .max = 65535},
 *         {"input", 0, OPTION_LIST, &o.inputs, "NAME=FILE", "may be given several times"},
 *     };
 *
 * Accepts --name=value, --name value, -o value, -ovalue, and `--`. A flag takes no value,
 * or =true/=false/=1/=0, or true or false as the next word. An unknown name is an error that
 * names the nearest known one. */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/status.h"

typedef enum option_kind {
    OPTION_FLAG, /* bool */
    OPTION_INT,  /* int64_t, min..max (both 0: any) */
    OPTION_REAL, /* double */
    OPTION_TEXT, /* const char *, borrowed from argv */
    OPTION_LIST, /* struct option_list */
} option_kind;

enum { OPTION_LIST_MAX = 64 };
struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t n;
};

struct option {
    const char *name;
    char letter; /* 0: none */
    option_kind kind;
    void *value;
    const char *metavar, *help;
    int64_t min, max;
    bool is_required;
    bool is_hidden; /* accepted, not in --help */
};

/* Fills the values that `table` points at. Words that are no option stay, in order, in
 * argv[0..*n_words); argv is changed. `--help` sets *wants_help and ends the parse. */
NODISCARD status options_parse(const struct option *table, size_t n, int argc, char **argv,
                               int *n_words, bool *wants_help, struct error *err);

/* The option list as --help shows it, wrapped to 80 columns. */
void options_print(const struct option *table, size_t n, FILE *to);

/* Text as --help shows it: paragraphs are wrapped to 80 columns, lines that begin with a blank
 * (examples) are left as they are. */
void help_print(const char *text, FILE *to);

/* For "did you mean": how many letters of `name` must change to make it `known`; SIZE_MAX: too many
 * to ask. */
size_t name_distance(const char *name, size_t n, const char *known);

#endif
