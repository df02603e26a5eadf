/* compile.h - turns a model.onnx of a repository into a plan, once, in a child process.
 *
 * The child is this program's own `compile`, with limits on memory and time, so that a hostile or
 * huge model cannot take the server with it. Plans are kept in a folder under a key made of
 * everything that decides what the plan is: the files, the options, this program, the CPU. */
#ifndef SERVER_REPOSITORY_COMPILE_H
#define SERVER_REPOSITORY_COMPILE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/status.h"

struct compile_limits {
    const char *cache_dir; /* NULL: $CULMEN_CACHE_DIR, else the user's cache folder */
    uint64_t memory_max;   /* bytes of address space; 0: COMPILE_MEMORY_PERCENT of the machine's */
    int64_t timeout_ms;    /* 0: COMPILE_TIMEOUT_MS */
    const atomic_bool *is_cancelled; /* ends a compilation that runs; may be NULL */
};

enum {
    COMPILE_TIMEOUT_MS = 600 * 1000,
    COMPILE_CANCEL_MS = 50,      /* until a cancellation is noticed */
    COMPILE_MEMORY_PERCENT = 90, /* of the machine's memory */
    COMPILE_ARGS_MAX = 16
};

/* Finds or makes the plan of `onnx_path`. `args` are further options of `culmen compile`, ended
 * by NULL. Blocks, for as long as the compiler needs. INVALID_ARGUMENT: the compiler's own
 * message; DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED: killed, or no space in the cache; CANCELLED. */
NODISCARD status plan_compile(const struct compile_limits *limits, const char *onnx_path,
                              const char *const *args, char out[PATH_MAX], struct error *err);

/* The folder that plans are kept in: made when it is not there. */
NODISCARD status plan_cache_dir(const struct compile_limits *limits, char out[PATH_MAX],
                                struct error *err);

#endif
