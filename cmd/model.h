/* model.h - what the subcommands that take a model share: opening it, its inputs, its names. */
#ifndef CMD_MODEL_H
#define CMD_MODEL_H

#include "base/arena.h"
#include "base/option.h"
#include "base/status.h"
#include "compiler/compile.h"
#include "engine/engine.h"

/* A plan, or an ONNX model that is compiled in memory. */
struct model {
    struct engine *engine;
    void *bytes; /* of the plan that was made in memory */
};

bool model_is_onnx(const char *path); /* by its ending */
bool model_is_plan(const char *path); /* by its first bytes */

/* Puts in front of the error with which `path` could not be opened what the file ought to be. */
status model_explain(const char *path, status code, struct error *err);

/* Opens `path`; `options` are for ONNX models. Diagnostics go to stderr. */
NODISCARD status model_open(struct model *out, const char *path,
                            const struct compile_options *options, struct error *err);
void model_done(struct model *m);

/* Sets all inputs of `s`: from the files NAME=FILE of `inputs` (.npy), or all of them from a fixed
 * random sequence when `inputs` is empty; then free dims are those of `shapes` (NAME:1x128), else
 * the smallest that fits. The tensors live in `a`. INVALID_ARGUMENT: a name that is no input, or
 * that is given twice, an input that is missing, a shape that does not fit. */
NODISCARD status model_set_inputs(struct session *s, const struct engine *e,
                                  const struct option_list *inputs,
                                  const struct option_list *shapes, struct arena *a,
                                  struct error *err);

/* Fills `t` with numbers of a fixed random sequence: floats in [-1, 1), integers 0 or 1. */
void model_fill_random(struct tensor *t, uint64_t seed);

/* "f32 [batch,128]" of an input or output. */
str model_io_text(struct arena *a, const struct engine_io *io);

/* The part of `word` before its last '=', and after it. False: there is none. */
bool model_split_input(const char *word, str *name, const char **file);

/* The options that set a compile_options. INVALID_ARGUMENT: the command line is wrong. */
NODISCARD status model_parse_options(struct compile_options *out, const char *precision_text,
                                     const char *isa_text, const struct option_list *shapes,
                                     struct error *err);

/* INVALID_ARGUMENT: an option that says how to compile is given for what is not compiled, a plan or
 * a server's model. */
NODISCARD status model_check_options(const char *model, const char *precision_text,
                                     const char *isa_text, struct error *err);

#endif
