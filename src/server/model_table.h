/* model_table.h - the start-up tables of backends and models, drawn as Triton draws them. */
#ifndef SERVER_MODEL_TABLE_H
#define SERVER_MODEL_TABLE_H

#include <stdio.h>

#include "server/repository/repository.h"

void model_table_print(struct repository *r, const struct backend *const *backends,
                       size_t n_backends, FILE *to);

#endif
