#include "server/backend/chunk.h"

/* What a piece may cost an element more than the cheapest size: 5 %. It is answered earlier. */
static const double MAY_COST = 1.05;

static int size_class(int64_t n) {
    int i = 0;
    while (n > 1 && i < CHUNK_SIZES - 1) {
        n /= 2;
        i++;
    }
    return i;
}

static bool is_known(const struct chunk_policy *p, int i) {
    return p->costs[i].n_runs >= CHUNK_RUNS_MIN;
}

int64_t chunk_choose(struct chunk_policy *p, int64_t n) {
    int whole = size_class(n), least_size = size_class(2 * p->size_min - 1), choice = least_size;
    if (++p->n_batches % CHUNK_RETRY_EVERY == 0 || !is_known(p, whole) || whole <= least_size)
        return n;
    double least = p->costs[whole].element_ns;
    for (int i = least_size; i < whole; i++)
        if (is_known(p, i) && p->costs[i].element_ns < least)
            least = p->costs[i].element_ns;
    while (!is_known(p, choice) || p->costs[choice].element_ns > MAY_COST * least)
        choice++;
    if (choice > least_size && !is_known(p, choice - 1))
        choice--;
    return choice == whole ? n : (int64_t)1 << choice;
}

struct infer_batch chunk_cut(struct infer_batch *whole, size_t *from, int64_t size_max) {
    struct infer_batch piece = {.requests = whole->requests + *from, .clock = whole->clock};
    for (; *from < whole->n; ++*from) {
        struct infer_request *r = whole->requests[*from];
        if (atomic_load_explicit(&r->is_cancelled, memory_order_relaxed)) {
            infer_respond_error(r, STATUS_CANCELLED, "request cancelled");
            continue;
        }
        if (piece.n && piece.n_elements + r->n_batch > size_max)
            break;
        piece.requests[piece.n++] = r; /* never past *from */
        piece.n_elements += r->n_batch;
    }
    return piece;
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
