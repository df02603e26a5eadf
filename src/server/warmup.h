/* warmup.h - model_warmup: requests that every instance runs before its model is ready. */
#ifndef SERVER_WARMUP_H
#define SERVER_WARMUP_H

#include "server/repository/repository.h"

enum { WARMUP_TENSOR_SIZE_MAX = 1 << 30 };

/* Runs every sample of the version's configuration on `i`, which nobody else uses yet. Fails with
 * what the model says to a sample, or when a sample is not a request that the model takes. */
NODISCARD status warmup_run(const struct model_version *v, struct backend_instance *i,
                            struct error *err);

#endif
