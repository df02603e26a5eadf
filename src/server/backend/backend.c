#include "server/backend/backend.h"

void infer_respond(struct infer_request *r, struct infer_response *response) {
    if (r->tap)
        r->tap(r, response);
    r->respond(r, response);
}

void infer_respond_error(struct infer_request *r, status code, const char *text) {
    infer_respond(r, &(struct infer_response){.code = code, .text = text, .is_last = true});
}

void infer_request_cancel(struct infer_request *r) {
    atomic_store_explicit(&r->is_cancelled, true, memory_order_relaxed);
}
