/* routes.h - the reconciler's view of what is served, written as the gateway's route snapshot. */
#ifndef CONTROL_ROUTES_H
#define CONTROL_ROUTES_H

#include <limits.h>

#include "control/reconciler.h"

struct routes {
    char path[PATH_MAX];
    uint64_t generation; /* of the last snapshot */
    uint64_t hash;       /* of what it says */
    bool is_written;
};

/* Goes on from the generation of the file at `path`, if there is one. */
void routes_init(struct routes *r, const char *path);

/* For reconciler_options.publish; `arg` is a struct routes. Writes the file when what it would
 * say has changed. */
status routes_publish(void *arg, const struct served_endpoint *endpoints, size_t n,
                      struct error *err);

#endif
