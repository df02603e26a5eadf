#include "base/option.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"

size_t name_distance(const char *a, size_t n, const char *b) {
    enum { NAME_MAX_ = 40 };
    size_t m = strlen(b), row[NAME_MAX_ + 1];
    if (n > NAME_MAX_ || m > NAME_MAX_)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            best = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m] <= n / 3 + 1 ? row[m] : SIZE_MAX;
}

static status unknown_option(const struct option *table, size_t n, const char *word, size_t length,
                             struct error *err) {
    const char *nearest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t d = name_distance(word, length, table[i].name);
        if (d < best && !table[i].is_hidden) {
            best = d;
            nearest = table[i].name;
        }
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "unknown option \"--%.*s\"%s%s%s", (int)length,
                     word, nearest ? "; did you mean \"--" : "", nearest ? nearest : "",
                     nearest ? "\"?" : "");
}

static status set_flag(bool *out, const struct option *o, const char *text, struct error *err) {
    if (!text || !strcasecmp(text, "true") || !strcmp(text, "1")) {
        *out = true;
    } else if (!strcasecmp(text, "false") || !strcmp(text, "0")) {
        *out = false;
    } else {
        return error_set(err, STATUS_INVALID_ARGUMENT, "--%s wants true or false, found \"%s\"",
                         o->name, text);
    }
    return STATUS_OK;
}

static status set_value(const struct option *o, const char *text, struct error *err) {
    struct option_list *list = o->value;
    int64_t number;
    switch (o->kind) {
    case OPTION_FLAG:
        return set_flag(o->value, o, text, err);
    case OPTION_INT:
        if (!str_to_int64(str_from_c(text), &number))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "--%s wants a whole number, found \"%s\"", o->name, text);
        if ((o->min || o->max) && (number < o->min || number > o->max))
            return error_set(err, STATUS_INVALID_ARGUMENT, "--%s wants %lld to %lld, found %lld",
                             o->name, (long long)o->min, (long long)o->max, (long long)number);
        *(int64_t *)o->value = number;
        return STATUS_OK;
    case OPTION_REAL:
        if (!str_to_double(str_from_c(text), o->value))
            return error_set(err, STATUS_INVALID_ARGUMENT, "--%s wants a number, found \"%s\"",
                             o->name, text);
        return STATUS_OK;
    case OPTION_TEXT:
        *(const char **)o->value = text;
        return STATUS_OK;
    case OPTION_LIST:
        if (list->n == OPTION_LIST_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "--%s given more than %d times", o->name,
                             OPTION_LIST_MAX);
        list->items[list->n++] = text;
        return STATUS_OK;
    }
    return STATUS_OK;
}

static bool is_bool_word(const char *text) {
    return !strcasecmp(text, "true") || !strcasecmp(text, "false");
}

static const struct option *find_option(const struct option *table, size_t n, const char *word,
                                        size_t length) {
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].name) == length && !memcmp(table[i].name, word, length))
            return &table[i];
    return NULL;
}

static const struct option *find_letter(const struct option *table, size_t n, char letter) {
    for (size_t i = 0; i < n; i++)
        if (table[i].letter == letter)
            return &table[i];
    return NULL;
}

/* One option word at argv[*at]; moves *at past a value that is a word of its own. */
static status parse_option(const struct option *table, size_t n, int argc, char **argv, int *at,
                           bool *wants_help, struct error *err) {
    const char *word = argv[*at], *value = NULL;
    const struct option *o;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        if (length == 4 && !memcmp(word + 2, "help", 4)) {
            *wants_help = true;
            return STATUS_OK;
        }
        o = find_option(table, n, word + 2, length);
        if (!o)
            return unknown_option(table, n, word + 2, length, err);
        value = word[2 + length] ? word + 3 + length : NULL;
    } else {
        o = find_letter(table, n, word[1]);
        if (!o && word[1] == 'h') {
            *wants_help = true;
            return STATUS_OK;
        }
        if (!o)
            return error_set(err, STATUS_INVALID_ARGUMENT, "unknown option \"%s\"", word);
        value = word[2] ? word + 2 : NULL;
    }
    if (!value && o->kind == OPTION_FLAG && *at + 1 < argc && is_bool_word(argv[*at + 1]))
        value = argv[++*at];
    if (!value && o->kind != OPTION_FLAG) {
        if (*at + 1 >= argc)
            return error_set(err, STATUS_INVALID_ARGUMENT, "--%s wants a value: --%s=%s", o->name,
                             o->name, o->metavar);
        value = argv[++*at];
    }
    return set_value(o, value, err);
}

static bool is_set(const struct option *o) {
    if (o->kind == OPTION_TEXT)
        return *(const char **)o->value != NULL;
    if (o->kind == OPTION_LIST)
        return ((struct option_list *)o->value)->n > 0;
    return true;
}

status options_parse(const struct option *table, size_t n, int argc, char **argv, int *n_words,
                     bool *wants_help, struct error *err) {
    int words = 0;
    bool only_words = false;
    *wants_help = false;
    for (int i = 0; i < argc; i++) {
        if (only_words || argv[i][0] != '-' || argv[i][1] == '\0')
            argv[words++] = argv[i];
        else if (!strcmp(argv[i], "--"))
            only_words = true;
        else
            TRY(parse_option(table, n, argc, argv, &i, wants_help, err));
        if (*wants_help)
            return STATUS_OK;
    }
    for (size_t i = 0; i < n; i++)
        if (table[i].is_required && !is_set(&table[i]))
            return error_set(err, STATUS_INVALID_ARGUMENT, "--%s=%s is missing", table[i].name,
                             table[i].metavar);
    *n_words = words;
    return STATUS_OK;
}

enum { HELP_COLUMN = 32, HELP_WIDTH = 80 };

/* The words of `text` up to `end`, in lines from `indent` on; the first line is begun already. */
static void print_wrapped(const char *text, const char *end, size_t indent, FILE *to) {
    size_t column = indent;
    while (text < end) {
        size_t word = strcspn(text, " \n");
        if (column > indent && column + 1 + word >= HELP_WIDTH) {
            fprintf(to, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', to);
            column++;
        }
        fprintf(to, "%.*s", (int)word, text);
        column += word;
        text += word;
        text += strspn(text, " \n");
    }
    fputc('\n', to);
}

void help_print(const char *text, FILE *to) {
    while (*text) {
        size_t line = strcspn(text, "\n");
        if (line == 0 || *text == ' ') {
            fprintf(to, "%.*s\n", (int)line, text);
            text += line + (text[line] == '\n');
            continue;
        }
        const char *blank = strstr(text, "\n\n"), *end = blank ? blank : text + strlen(text);
        print_wrapped(text, end, 0, to);
        text = end + (*end == '\n');
    }
}

void options_print(const struct option *table, size_t n, FILE *to) {
    for (size_t i = 0; i < n; i++) {
        const struct option *o = &table[i];
        if (o->is_hidden)
            continue;
        char left[HELP_COLUMN + 64];
        int width = snprintf(left, sizeof left, "  %c%c%s--%s%s%s", o->letter ? '-' : ' ',
                             o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
                             o->metavar ? "=" : "", o->metavar ? o->metavar : "");
        if (width >= HELP_COLUMN - 1)
            fprintf(to, "%s\n%*s", left, HELP_COLUMN, "");
        else
            fprintf(to, "%-*s", HELP_COLUMN, left);
        print_wrapped(o->help, o->help + strlen(o->help), HELP_COLUMN, to);
    }
}
