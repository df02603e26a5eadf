/* deployment_internal.h - one deployed model inside a pass of the reconciler. */
#ifndef CONTROL_DEPLOYMENT_INTERNAL_H
#define CONTROL_DEPLOYMENT_INTERNAL_H

#include "control/api/operation.h"
#include "control/reconciler.h"

typedef enum deployment_step {
    STEP_NONE,
    STEP_DEPLOYED,   /* enough replicas are ready: into the endpoint */
    STEP_FAILED,     /* out, with a reason */
    STEP_UNDEPLOYED, /* nothing is left of it */
} deployment_step;

struct deployment {
    struct arena *arena; /* of the pass */
    str key;
    int64_t revision;
    struct json_value *record;
    str endpoint_name, id, set_name;
    bool is_deploying, is_undeploying;
    unsigned n_wanted, n_required;

    struct replica_status *replicas; /* all of its set */
    size_t n_replicas, n_ready;

    struct json_value *endpoint; /* shared by the deployments of one endpoint */
    int64_t endpoint_revision;

    deployment_step step;
    str reason; /* STEP_FAILED */
};

/* Reads a record of "deployments/". */
NODISCARD status deployment_read(struct deployment *d, struct arena *a, const struct record *r,
                                 struct error *err);

/* The environment of its replicas: the container contract of Vertex AI, the model's own variables
 * with $(NAME) expanded, and what a program needs to run. */
NODISCARD status deployment_environment(const struct deployment *d, const char *cache_folder,
                                        const char ***out, size_t *n, struct error *err);
str deployment_health_route(const struct deployment *d);
str deployment_predict_route(const struct deployment *d);

/* Decides what is due, from the replicas that are there. */
void deployment_judge(struct deployment *d, int64_t wall_ns);

/* Puts the model into d->endpoint, in memory: its list and its traffic split. */
void deployment_enter_endpoint(struct deployment *d);

/* Commits the step. ABORTED: somebody else changed a record meanwhile; the next pass sees. */
NODISCARD status deployment_commit(struct deployment *d, struct store *s, struct error *err);

/* Writes the deployed model's status where it differs from what is there. */
NODISCARD status deployment_write_status(struct deployment *d, struct store *s, struct error *err);

#endif
