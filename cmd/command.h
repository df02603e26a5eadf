/* command.h - what a subcommand's file gives to culmen.c.
 *
 * To add a subcommand: a row in commands.def and a file cmd/NAME.c with cmd_NAME(). */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include "base/option.h"
#include "base/status.h"

#define COMMAND(name, summary) int cmd_##name(int argc, char **argv);
#include "commands.def"
#undef COMMAND

/* Exit codes: 0 done, 1 it failed, 2 the command line is wrong. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* The usage text of one subcommand; `options` may be NULL. */
struct usage {
    const char *command;  /* "compile" */
    const char *synopsis; /* "MODEL.onnx -o MODEL.plan [OPTIONS]" */
    const char *text;     /* what it does and two examples; help_print() wraps it */
    const struct option *options;
    size_t n_options;
};

/* Parses argv[1..]; on --help prints the usage to stdout and exits 0, on a mistake prints
 * the error and a hint to stderr and exits 2. Returns the words; their number in *n_words. */
char **command_parse(const struct usage *u, int argc, char **argv, int *n_words);

/* Prints "culmen COMMAND: text" to stderr and returns EXIT_FAILED. */
int command_fail(const struct usage *u, const struct error *err);

/* Prints a usage mistake to stderr and returns EXIT_USAGE. */
int command_misuse(const struct usage *u, const char *fmt, ...) ATTR_PRINTF(2, 3);

#endif
