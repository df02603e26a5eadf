/* route.h - the route snapshot: all that the gateway knows about endpoints.
 *
 * The control process writes one file whenever something changed; the file is replaced whole, so
 * a gateway that starts while control is down has the last one. JSON:
 *
 *     {"format": 1, "generation": 17, "endpoints": [
 *       {"name": "projects/p/locations/us-central1/endpoints/7", "timeoutMs": 60000, "models": [
 *         {"id": "1234", "model": "projects/p/locations/us-central1/models/m",
 *          "modelDisplayName": "minilm", "modelVersionId": "1", "weight": 90,
 *          "predictRoute": "/v1/endpoints/7/deployedModels/1234:predict", "idempotent": true,
 *          "replicas": [{"address": "127.0.0.1:41234", "ready": true}]}]}]}
 *
 * `weight` is the model's share of the endpoint's traffic (a trafficSplit's per cent); a model
 * with weight 0 gets none. An endpoint that the file does not name is a question for control. */
#ifndef CONTROL_GATEWAY_ROUTE_H
#define CONTROL_GATEWAY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/status.h"
#include "base/str.h"

enum {
    ROUTE_FORMAT = 1,
    ROUTE_FILE_SIZE_MAX = 64 * 1024 * 1024,
    ROUTE_REPLICAS_MAX = 256,   /* of one deployed model */
    ROUTE_MODELS_MAX = 64,      /* of one endpoint */
    ROUTE_WEIGHT_MAX = 1000000, /* of one deployed model */
    ROUTE_TIMEOUT_MS = 60000,   /* of a predict, when the endpoint says nothing */
    ROUTE_TIMEOUT_MS_MAX = 3600000,
};

struct route_replica {
    str address;   /* net/address.h: "127.0.0.1:41234", "unix:/path" */
    bool is_ready; /* false: its socket is open, a request waits there for the process to come */
};

struct route_model {
    str id;            /* of the DeployedModel */
    str model;         /* resource name, without @version */
    str display_name;  /* of the model */
    str version_id;    /* of the model */
    str predict_route; /* of the container: "/predict" */
    unsigned weight;
    bool is_idempotent; /* a predict may be sent again after it was cut short */
    struct route_replica *replicas;
    size_t n_replicas;
};

struct route_endpoint {
    str name;           /* "projects/P/locations/L/endpoints/E" */
    int64_t timeout_ms; /* of a predict; 0: ROUTE_TIMEOUT_MS */
    struct route_model *models;
    size_t n_models;
};

struct route_table {
    uint64_t generation;
    struct route_endpoint *endpoints;
    size_t n_endpoints;
    struct arena arena; /* holds what was read; a writer may point elsewhere */
};

/* Reads a snapshot; everything in it lives in out->arena. INVALID_ARGUMENT says what is wrong. */
NODISCARD status route_table_parse(struct route_table *out, str text, struct error *err);
NODISCARD status route_table_read(struct route_table *out, const char *path, struct error *err);
void route_table_done(struct route_table *t);

/* Replaces the file at `path`. Blocks (fsync). */
NODISCARD status route_table_write(const struct route_table *t, const char *path,
                                   struct error *err);

#endif
