/* record.h - the control plane's records in the store: which keys there are, and JSON in and out.
 *
 *     models/NAME                          {"versions": [Model...], "nextVersion": 3}
 *     uses/NAME@VERSION/ENDPOINT/ID        a deployed model keeps the version from being deleted
 *     endpoints/NAME                       Endpoint
 *     deployments/ENDPOINT/ID              what the reconciler works on (below)
 *     statuses/ENDPOINT/ID                 DeployedModel.Status, written by the reconciler
 *     operations/NAME                      {"operation": Operation, "version": "v1", "ended": ns}
 *
 * NAME and ENDPOINT are resource names, "projects/P/locations/L/endpoints/7". Messages are in the
 * canonical form of message.h. */
#ifndef CONTROL_API_RECORD_H
#define CONTROL_API_RECORD_H

#include "base/arena.h"
#include "base/status.h"
#include "codec/json.h"
#include "control/store/store.h"

/* A deployment's "state". */
#define DEPLOYMENT_DEPLOYING   "DEPLOYING"   /* its operation is open */
#define DEPLOYMENT_DEPLOYED    "DEPLOYED"    /* it is in its endpoint */
#define DEPLOYMENT_UNDEPLOYING "UNDEPLOYING" /* out of its endpoint; its operation is open */

/* A deployment's other members: "deployedModel" (DeployedModel), "operation" (the open one's name),
 * "trafficSplit" (what the endpoint's becomes, "0" being this one; absent: stays), "n" (replicas),
 * "generation", "modelName", "modelDisplayName", "versionId", "artifactPath", "containerSpec",
 * "deadline" (wall clock, ns). */

str record_key(struct arena *a, const char *kind, str name); /* "endpoints/NAME" */
str record_key_deployment(struct arena *a, str endpoint, str id);
str record_key_status(struct arena *a, str endpoint, str id);
str record_key_use(struct arena *a, str model, str version, str endpoint, str id);

/* NOT_FOUND: there is none. */
NODISCARD status record_get(struct store *s, struct arena *a, str key, struct json_value **out,
                            int64_t *revision, struct error *err);

/* All records under a prefix: at most RECORDS_MAX, else RESOURCE_EXHAUSTED. */
enum { RECORDS_MAX = 50000 };
struct record {
    str key;
    struct json_value *value;
    int64_t revision;
};
NODISCARD status record_list(struct store *s, struct arena *a, str prefix, struct record **out,
                             size_t *n, struct error *err);

/* A commit under construction. */
enum { RECORD_CHANGES_MAX = 16 };
struct record_commit {
    struct arena *arena;
    struct store_change changes[RECORD_CHANGES_MAX];
    size_t n;
    status status; /* of the first change that could not be written down */
    struct error error;
};
void record_put(struct record_commit *c, str key, const struct json_value *v, int64_t expected);
void record_delete(struct record_commit *c, str key, int64_t expected);
NODISCARD status record_commit(struct record_commit *c, struct store *s, int64_t *revision,
                               struct error *err);

/* Text of a JSON value, in the arena. */
NODISCARD status record_text(str *out, struct arena *a, const struct json_value *v,
                             struct error *err);

/* The text of member `name`, empty when it is missing; the number, or `otherwise`. */
str record_string(const struct json_value *object, const char *name);
int64_t record_i64(const struct json_value *object, const char *name, int64_t otherwise);

void record_set_string(struct arena *a, struct json_value *object, const char *name, str value);
void record_set_i64(struct arena *a, struct json_value *object, const char *name, int64_t value);

str record_now(struct arena *a); /* the wall clock as a Timestamp */

#endif
