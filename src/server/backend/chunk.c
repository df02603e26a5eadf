#include "server/backend/chunk.h"

/* A piece must be this much cheaper per element: 10 %. */
static const double WORTH_IT = 0.9;

static int size_class(int64_t n) {
    int i = 0;
    while (n > 1 && i < CHUNK_SIZES - 1) {
        n /= 2;
        i++;
    }
    return i;
}

int64_t chunk_choose(struct chunk_policy *p, int64_t n) {
    int whole = size_class(n), best = whole;
    if (++p->n_batches % CHUNK_RETRY_EVERY == 0 || p->costs[whole].n_runs < CHUNK_RUNS_MIN)
        return n;
    for (int i = 0; i < whole; i++)
        if (p->costs[i].n_runs >= CHUNK_RUNS_MIN &&
            p->costs[i].element_ns < p->costs[best].element_ns)
            best = i;
    if (best > 0 && p->costs[best - 1].n_runs < CHUNK_RUNS_MIN)
        return (int64_t)1 << (best - 1);
    if (p->costs[best].element_ns >= WORTH_IT * p->costs[whole].element_ns)
        return n;
    return (int64_t)1 << best;
}

void chunk_note(struct chunk_policy *p, int64_t n, int64_t ns) {
    int i = size_class(n);
    double element_ns = (double)ns / (double)(n > 0 ? n : 1);
    double *cost = &p->costs[i].element_ns;
    if (p->costs[i].n_runs++ == 0 || element_ns < *cost)
        *cost = element_ns;
    else
        *cost += (element_ns - *cost) / 32; /* a disturbed run hardly counts, a slower model does */
}
