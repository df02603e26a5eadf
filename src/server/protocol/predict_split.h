/* predict_split.h - more instances than the model takes at once: one batch after the other.
 *
 * A client of Vertex AI sends as many instances as it has and knows nothing of batches. The loop's
 * thread starts the next batch when the one before it has been answered. */
#ifndef SERVER_PROTOCOL_PREDICT_SPLIT_H
#define SERVER_PROTOCOL_PREDICT_SPLIT_H

#include "server/protocol/infer.h"

/* Sends the call's inputs off, in one batch or in several; c->finish finds the results of all. */
void predict_start(struct infer_call *c);

#endif
