/* operation.h - long-running operations: made by a handler, ended by it or by the reconciler.
 *
 * An operation belongs to the version of the API that it was asked in: its Any's are of that
 * version and hold no field that it does not know (the SDK's parser refuses them). */
#ifndef CONTROL_API_OPERATION_H
#define CONTROL_API_OPERATION_H

#include "control/api/message.h"
#include "control/api/record.h"

enum { OPERATIONS_MAX = 10000 }; /* kept; the oldest ended ones over it go */

/* Starts {"operation": {name, metadata}, "version"} under `parent`, the name of a resource or of
 * a location. `metadata` is the message's name: "DeployModelOperationMetadata". */
struct json_value *operation_new(struct arena *a, str parent, api_version version,
                                 const char *metadata);

str operation_name(const struct json_value *record);
api_version operation_version(const struct json_value *record);

/* Ends it. `response` is a message called `type`, or NULL for Empty; taken. */
void operation_done(struct arena *a, struct json_value *record, const char *type,
                    struct json_value *response);
void operation_deployed(struct arena *a, struct json_value *record,
                        const struct json_value *deployed_model); /* with DeployModelResponse */
void operation_failed(struct arena *a, struct json_value *record, status code, str message);

bool operation_is_done(const struct json_value *record);

/* Adds the write of the record to a commit. */
void operation_put(struct record_commit *c, const struct json_value *record, int64_t expected);

/* Deletes the operations over OPERATIONS_MAX that ended first. */
NODISCARD status operations_trim(struct store *s, size_t *n_deleted, struct error *err);

#endif
