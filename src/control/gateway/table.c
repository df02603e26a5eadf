#include "control/gateway/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/json_writer.h"

struct shared_table *shared_table_ref(struct shared_table *t) {
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void shared_table_unref(struct shared_table *t) {
    if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    route_table_done(&t->routes);
    free(t);
}

/* --- backends --- */

static struct backend *get_backend(struct backends *b, str address) {
    struct backend *be = map_get(&b->by_address, address);
    struct client_peer *peer;
    struct error err;
    if (be)
        return be;
    if (client_peer(&peer, b->client, address, &err) != STATUS_OK) {
        char quoted[LOG_QUOTE_SIZE];
        log_error("gateway", "replica cannot be reached", "error=%s", log_quote(err.text, quoted));
        return NULL;
    }
    be = calloc(1, sizeof *be);
    if (!be)
        abort();
    be->peer = peer;
    map_set(&b->by_address, address, be);
    be->address = b->by_address.entries[b->by_address.n - 1].key;
    return be;
}

static void forget_unnamed(struct backends *b) {
    for (size_t i = 0; i < b->by_address.n; i++) {
        struct backend *be = b->by_address.entries[i].value;
        if (!be || be->mark == b->mark || be->n_in_flight > 0)
            continue;
        map_remove(&b->by_address, be->address);
        client_forget(be->peer);
        free(be);
    }
}

void backends_done(struct backends *b) {
    for (size_t i = 0; i < b->by_address.n; i++)
        free(b->by_address.entries[i].value);
    map_done(&b->by_address);
}

/* --- tables --- */

static str make_splice(const struct route_model *m, struct arena *a) {
    CLEANUP(buffer_done) struct buffer text = {0};
    struct json_writer w;
    json_writer_init(&w, &text, NULL);
    json_begin_object(&w);
    json_member_string(&w, "deployedModelId", m->id);
    json_member_string(&w, "model", m->model);
    json_member_string(&w, "modelDisplayName", m->display_name);
    json_member_string(&w, "modelVersionId", m->version_id);
    json_end_object(&w);
    if (json_writer_finish(&w) != STATUS_OK)
        abort();
    str s = str_copy(a, buffer_str(&text));
    *(char *)(uintptr_t)s.p = ','; /* instead of the brace: the copy is ours */
    return s;
}

static str last_segment(str name) {
    ptrdiff_t slash = str_find_last(name, '/');
    return str_slice(name, (size_t)(slash + 1), name.n);
}

static void build_model(struct table_model *m, const struct route_endpoint *e,
                        const struct route_model *route, struct backends *b, struct arena *a) {
    m->route = route;
    m->backends = arena_array(a, struct backend *, route->n_replicas);
    for (int is_ready = 1; is_ready >= 0; is_ready--)
        for (size_t i = 0; i < route->n_replicas; i++) {
            struct backend *be = route->replicas[i].is_ready == (bool)is_ready
                                     ? get_backend(b, route->replicas[i].address)
                                     : NULL;
            if (!be)
                continue;
            be->mark = b->mark;
            m->backends[m->n_backends + m->n_waiting] = be;
            m->n_backends += is_ready;
            m->n_waiting += !is_ready;
        }
    m->splice = make_splice(route, a);
    m->headers[0] = (struct http_header){STR("X-Vertex-AI-Endpoint-Id"), last_segment(e->name)};
    m->headers[1] = (struct http_header){STR("X-Vertex-AI-Deployed-Model-Id"), route->id};
    m->headers[2] = (struct http_header){STR("X-Vertex-AI-Model"), route->model};
    m->headers[3] = (struct http_header){STR("X-Vertex-AI-Model-Version-Id"), route->version_id};
}

struct table *table_new(struct backends *b, struct shared_table *shared) {
    struct table *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->refs = 1;
    t->shared = shared_table_ref(shared);
    b->mark++;
    for (size_t i = 0; i < shared->routes.n_endpoints; i++) {
        const struct route_endpoint *route = &shared->routes.endpoints[i];
        struct table_endpoint *e = arena_new(&t->arena, struct table_endpoint);
        e->route = route;
        e->models = arena_array(&t->arena, struct table_model, route->n_models);
        for (size_t k = 0; k < route->n_models; k++) {
            build_model(&e->models[k], route, &route->models[k], b, &t->arena);
            e->total_weight += route->models[k].weight;
        }
        map_set(&t->endpoints, route->name, e);
    }
    forget_unnamed(b);
    return t;
}

void table_unref(struct table *t) {
    if (!t || --t->refs > 0)
        return;
    map_done(&t->endpoints);
    arena_release(&t->arena);
    shared_table_unref(t->shared);
    free(t);
}

const struct table_endpoint *table_find(const struct table *t, str name) {
    return t ? map_get(&t->endpoints, name) : NULL;
}

/* --- choices --- */

static uint64_t next_random(struct backends *b) { /* xorshift64 */
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

const struct table_model *table_pick_model(struct backends *b, const struct table_endpoint *e) {
    if (e->total_weight == 0)
        return NULL;
    uint64_t at = next_random(b) % e->total_weight;
    for (size_t i = 0; i < e->route->n_models; i++) {
        if (at < e->models[i].route->weight)
            return &e->models[i];
        at -= e->models[i].route->weight;
    }
    return NULL;
}

static bool was_tried(const struct backend *be, struct backend *const *tried, size_t n_tried) {
    for (size_t i = 0; i < n_tried; i++)
        if (tried[i] == be)
            return true;
    return false;
}

/* Expected wait: smaller is better. A measurement loses weight as it ages, so that a replica that
 * was slow once is tried again. */
static double cost(const struct backend *be, int64_t now_ns) {
    double age = (double)(now_ns - be->measured_ns) / ((double)LATENCY_DECAY_MS * NS_PER_MS);
    return (double)(be->n_in_flight + 1) * (double)(be->latency_ns + NS_PER_US) / (1 + age);
}

static struct backend *best_of(struct backends *b, const struct table_model *m,
                               struct backend *const *tried, size_t n_tried, int64_t now_ns,
                               bool ejected_too) {
    struct backend *best = NULL;
    size_t n = m->n_backends ? m->n_backends : m->n_waiting, n_looks = n <= SCAN_MAX ? n : 2;
    double least = 0;
    for (size_t i = 0, at = n ? next_random(b) % n : 0; i < n_looks; i++) {
        struct backend *be = m->backends[at];
        at = n <= SCAN_MAX ? (at + 1) % n : next_random(b) % n;
        if (was_tried(be, tried, n_tried) || (!ejected_too && be->ejected_until_ns > now_ns))
            continue;
        double c = cost(be, now_ns);
        if (!best || c < least) {
            best = be;
            least = c;
        }
    }
    return best;
}

struct backend *table_pick_backend(struct backends *b, const struct table_model *m,
                                   struct backend *const *tried, size_t n_tried, int64_t now_ns) {
    struct backend *be = best_of(b, m, tried, n_tried, now_ns, false);
    return be ? be : best_of(b, m, tried, n_tried, now_ns, true);
}

bool table_is_waiting(const struct table_model *m, const struct backend *b) {
    for (size_t i = 0; i < m->n_waiting; i++)
        if (m->backends[m->n_backends + i] == b)
            return true;
    return false;
}

void backend_succeeded(struct backend *be, int64_t latency_ns, int64_t now_ns) {
    be->n_failures = 0;
    be->ejected_until_ns = 0;
    be->measured_ns = now_ns;
    if (latency_ns > be->latency_ns)
        be->latency_ns = (be->latency_ns + latency_ns) / 2;
    else
        be->latency_ns += (latency_ns - be->latency_ns) / 16;
}

void backend_failed(struct backend *be, int64_t now_ns) {
    int doublings = be->n_failures < 10 ? be->n_failures : 10;
    int64_t ms = (int64_t)EJECT_MS << doublings;
    be->n_failures++;
    be->ejected_until_ns = now_ns + (ms < EJECT_MS_MAX ? ms : EJECT_MS_MAX) * NS_PER_MS;
}
