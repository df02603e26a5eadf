/* api.h - the REST verbs of Vertex AI Prediction on the store: a request in, a reply out.
 *
 * No sockets here (service.h has them) and no replicas (the reconciler has them): a handler
 * checks what was asked, changes records in one commit, and answers. Work that takes time is an
 * operation; the reconciler ends it. Blocks for the store: not on a loop thread. Any thread. */
#ifndef CONTROL_API_API_H
#define CONTROL_API_API_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/status.h"
#include "codec/json.h"
#include "control/api/message.h"
#include "control/api/name.h"
#include "control/api/record.h"
#include "control/store/store.h"

enum {
    API_BODY_MAX = 2 << 20,      /* bytes */
    ENDPOINTS_MAX = 10000,       /* in one store */
    MODELS_MAX = 10000,          /* in one store */
    MODEL_VERSIONS_MAX = 200,    /* of one model */
    DEPLOYED_MODELS_MAX = 32,    /* of one endpoint */
    LABELS_MAX = 64,             /* of one resource */
    DISPLAY_NAME_SIZE_MAX = 128, /* characters */
    REPLICAS_MAX = 64,           /* of one deployed model */
    PAGE_SIZE_DEFAULT = 100,
    PAGE_SIZE_MAX = 1000,
    HOLD_MS = 3000,              /* a deploy that is done so soon is answered as done */
    DEPLOYMENT_TIMEOUT_S = 1800, /* unless the container says otherwise */
    DEPLOYMENT_TIMEOUT_MAX_S = 7200,
    WAIT_MS_MAX = 60000, /* of operations.wait */
};

struct api {
    struct store *store;
    const char *public_address; /* "127.0.0.1:8080": what callers reach the gateway by */

    /* Waits until the routes follow the store at `revision`; may give up. NULL: nobody waits. */
    void (*settle)(void *arg, int64_t revision);
    void *settle_arg;
};

struct api_request {
    str method, path, query, body; /* as sent */
};

struct api_reply {
    int status; /* of HTTP */
    str body;   /* JSON, in the call's arena */
    /* Not empty: answer when this operation is done, or after wait_ms, by api_wait_reply(). */
    str wait_operation;
    int64_t wait_ms;
};

/* Always gives a reply, an error's too. */
void api_handle(const struct api *api, struct arena *a, const struct api_request *request,
                struct api_reply *out);

/* The operation's reply as it is now; *is_done says whether waiting is over. */
void api_wait_reply(const struct api *api, struct arena *a, str operation, bool *is_done,
                    struct api_reply *out);

/* {"error": {...}} with the HTTP status that goes with the code. */
void api_error_reply(struct arena *a, const struct error *err, struct api_reply *out);

#endif
