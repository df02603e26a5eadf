/* control.h - the control process of `culmen up`: store, API, reconciler, runtime, wired.
 *
 * The data folder (the current one of the process) holds all of it:
 *     state.db      the store              control.sock  where the gateway reaches the API
 *     routes.json   for the gateway        lock          held by the running `culmen up`
 *     replicas/     what runs, for the     logs/         of replicas
 *                   next control process   cache/        plans that were compiled from ONNX */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "base/attr.h"
#include "base/status.h"

#define CONTROL_STORE_PATH  "state.db"
#define CONTROL_ROUTES_PATH "routes.json"
#define CONTROL_ADDRESS     "unix:control.sock"
#define CONTROL_CACHE       "cache"

struct control_options {
    const char *folder;         /* the data folder, absolute */
    int listen_fd;              /* a listening socket for the API; taken */
    const char *public_address; /* where callers reach the gateway: "127.0.0.1:8080" */
};

/* Runs until child_wait() returns. */
NODISCARD status control_run(const struct control_options *o, struct error *err);

/* Stops all replicas that the data folder knows of; *n is how many there were. Nothing else may
 * use the folder meanwhile. Blocks until they have gone. */
NODISCARD status control_stop_replicas(const char *folder, unsigned *n, struct error *err);

#endif
