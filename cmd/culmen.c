/* culmen.c - finds the subcommand and runs it. Called as `tritonserver`, it is `culmen serve`. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guard.h"
#include "command.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
#define COMMAND(name, summary) {#name, summary, cmd_##name},
#include "commands.def"
#undef COMMAND
};

/* What was printed must have arrived: a full disk is a failure. */
static int end_output(int code) {
    if ((fflush(stdout) == 0 && !ferror(stdout)) || errno == EBADF) /* closed: nobody wants it */
        return code;
    fprintf(stderr, "culmen: write to standard output: %s\n", strerror(errno));
    return code == EXIT_OK ? EXIT_FAILED : code;
}

char **command_parse(const struct usage *u, int argc, char **argv, int *n_words) {
    struct error err = {0};
    bool wants_help;
    if (options_parse(u->options, u->n_options, argc - 1, argv + 1, n_words, &wants_help, &err) !=
        STATUS_OK)
        exit(command_misuse(u, "%s", err.text));
    if (wants_help) {
        printf("usage: culmen %s%s%s\n\n", u->command, *u->synopsis ? " " : "", u->synopsis);
        help_print(u->text, stdout);
        if (u->n_options)
            printf("\n");
        options_print(u->options, u->n_options, stdout);
        exit(end_output(EXIT_OK));
    }
    return argv + 1;
}

int command_fail(const struct usage *u, const struct error *err) {
    fprintf(stderr, "culmen %s: %s\n", u->command, err->text);
    return EXIT_FAILED;
}

int command_misuse(const struct usage *u, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "culmen %s: ", u->command);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\ntry: culmen %s --help\n", u->command);
    va_end(ap);
    return EXIT_USAGE;
}

static int run_command(const char *name, int argc, char **argv) {
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (!strcmp(commands[i].name, name))
            return commands[i].run(argc, argv);
    const char *nearest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        size_t d = name_distance(name, strlen(name), commands[i].name);
        nearest = d < best ? commands[i].name : nearest;
        best = d < best ? d : best;
    }
    fprintf(stderr, "culmen: no %s \"%s\"%s%s%s\ntry: culmen help\n",
            *name == '-' ? "option" : "subcommand", name, nearest ? "; did you mean \"" : "",
            nearest ? nearest : "", nearest ? "\"?" : "");
    return EXIT_USAGE;
}

int cmd_help(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "help") != 0 && argv[1][0] != '-') {
        char help[] = "--help", *args[] = {argv[1], help, NULL};
        return run_command(argv[1], 2, args);
    }
    printf("culmen compiles models, serves them, and runs them behind managed endpoints.\n\n"
           "usage: culmen SUBCOMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-12s %s\n", commands[i].name, commands[i].summary);
    printf("\n`culmen help SUBCOMMAND` shows its options; `culmen --version` the version.\n");
    return EXIT_OK;
}

int main(int argc, char **argv) {
    guard_install();
    const char *slash = strrchr(argv[0], '/');
    if (!strcmp(slash ? slash + 1 : argv[0], "tritonserver"))
        return end_output(run_command("serve", argc, argv));
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return end_output(cmd_help(1, argv));
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        printf("culmen %s\n", CULMEN_VERSION);
        return end_output(EXIT_OK);
    }
    return end_output(run_command(argv[1], argc - 1, argv + 1));
}
