/* identity_backend.c - the leanest backend that Triton Inference Server can run: copies INPUT0 to
 * OUTPUT0 inside the server's process. bench/serving/run.py builds it to compare servers, not
 * models:
 *
 *     gcc -O2 -shared -fPIC -o libtriton_cidentity.so identity_backend.c
 *
 * The functions are those of Triton's backend API 1.x, found in the running server. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

struct error;
struct request;
struct response;
struct input;
struct output;
struct instance;

struct error *TRITONBACKEND_ResponseNew(struct response **r, struct request *q);
struct error *TRITONBACKEND_RequestInputByIndex(struct request *q, uint32_t i, struct input **in);
struct error *TRITONBACKEND_InputProperties(struct input *in, const char **name, int *type,
                                            const int64_t **shape, uint32_t *n_dims, uint64_t *size,
                                            uint32_t *n_buffers);
struct error *TRITONBACKEND_InputBuffer(struct input *in, uint32_t i, const void **p, uint64_t *n,
                                        int *memory, int64_t *id);
struct error *TRITONBACKEND_ResponseOutput(struct response *r, struct output **o, const char *name,
                                           int type, const int64_t *shape, uint32_t n_dims);
struct error *TRITONBACKEND_OutputBuffer(struct output *o, void **p, uint64_t n, int *memory,
                                         int64_t *id);
struct error *TRITONBACKEND_ResponseSend(struct response *r, uint32_t flags, struct error *e);
struct error *TRITONBACKEND_ModelInstanceReportStatistics(struct instance *i, struct request *q,
                                                          bool success, uint64_t t0, uint64_t t1,
                                                          uint64_t t2, uint64_t t3);
struct error *TRITONBACKEND_ModelInstanceReportBatchStatistics(struct instance *i, uint64_t n,
                                                               uint64_t t0, uint64_t t1,
                                                               uint64_t t2, uint64_t t3);
struct error *TRITONBACKEND_RequestRelease(struct request *q, uint32_t flags);
struct error *TRITONBACKEND_ModelInstanceExecute(struct instance *i, struct request **requests,
                                                 uint32_t n);

enum { FINAL = 1, RELEASE_ALL = 1 };

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct error *copy(struct request *q, struct response *r) {
    struct input *in;
    struct output *out;
    const char *name;
    const int64_t *shape;
    int type, memory = 0;
    int64_t id = 0;
    uint32_t n_dims, n_buffers;
    uint64_t size, at = 0;
    void *to;
    TRITONBACKEND_RequestInputByIndex(q, 0, &in);
    TRITONBACKEND_InputProperties(in, &name, &type, &shape, &n_dims, &size, &n_buffers);
    struct error *e = TRITONBACKEND_ResponseOutput(r, &out, "OUTPUT0", type, shape, n_dims);
    if (!e)
        e = TRITONBACKEND_OutputBuffer(out, &to, size, &memory, &id);
    for (uint32_t i = 0; i < n_buffers && !e; i++) {
        const void *from;
        uint64_t n;
        int from_memory = 0;
        int64_t from_id = 0;
        e = TRITONBACKEND_InputBuffer(in, i, &from, &n, &from_memory, &from_id);
        if (!e)
            memcpy((char *)to + at, from, n);
        at += n;
    }
    return e;
}

struct error *TRITONBACKEND_ModelInstanceExecute(struct instance *i, struct request **requests,
                                                 uint32_t n) {
    uint64_t start = now_ns();
    for (uint32_t k = 0; k < n; k++) {
        struct response *r;
        if (!TRITONBACKEND_ResponseNew(&r, requests[k]))
            TRITONBACKEND_ResponseSend(r, FINAL, copy(requests[k], r));
    }
    uint64_t end = now_ns();
    for (uint32_t k = 0; k < n; k++)
        TRITONBACKEND_ModelInstanceReportStatistics(i, requests[k], true, start, start, end, end);
    TRITONBACKEND_ModelInstanceReportBatchStatistics(i, n, start, start, end, end);
    for (uint32_t k = 0; k < n; k++)
        TRITONBACKEND_RequestRelease(requests[k], RELEASE_ALL);
    return NULL;
}
