#include "control/routes.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "control/api/record.h"
#include "control/gateway/route.h"

static void hash_text(uint64_t *hash, str s) {
    *hash = hash_bytes(s.p, s.n, *hash * 31 + s.n);
}

static void hash_number(uint64_t *hash, int64_t number) {
    *hash = hash_bytes(&number, sizeof number, *hash);
}

static uint64_t table_hash(const struct route_table *t) {
    uint64_t hash = 1;
    for (size_t i = 0; i < t->n_endpoints; i++) {
        const struct route_endpoint *e = &t->endpoints[i];
        hash_text(&hash, e->name);
        hash_number(&hash, e->timeout_ms);
        hash_number(&hash, (int64_t)e->n_models);
        for (size_t k = 0; k < e->n_models; k++) {
            const struct route_model *m = &e->models[k];
            const str texts[] = {m->id, m->model, m->display_name, m->version_id, m->predict_route};
            for (size_t x = 0; x < ARRAY_LEN(texts); x++)
                hash_text(&hash, texts[x]);
            hash_number(&hash, m->weight);
            hash_number(&hash, (int64_t)m->n_replicas);
            for (size_t x = 0; x < m->n_replicas; x++) {
                hash_text(&hash, m->replicas[x].address);
                hash_number(&hash, m->replicas[x].is_ready);
            }
        }
    }
    return hash;
}

/* "120s" in milliseconds; 0: nothing is said. */
static int64_t timeout_of(const struct json_value *endpoint) {
    str text = record_string(json_get(endpoint, "clientConnectionConfig"), "inferenceTimeout");
    double seconds;
    if (text.n == 0 || !str_to_double(str_slice(text, 0, text.n - 1), &seconds) || seconds <= 0)
        return 0;
    double ms = seconds * 1000;
    return ms < ROUTE_TIMEOUT_MS_MAX ? (int64_t)ms + (ms < 1) : ROUTE_TIMEOUT_MS_MAX;
}

static void model_fill(struct arena *a, struct route_model *out, const struct served_model *m,
                       const struct json_value *split) {
    str id = record_string(m->deployed_model, "id");
    int64_t weight = 0;
    json_to_i64(json_get_str(split, id), &weight);
    *out = (struct route_model){
        .id = id,
        .model = record_string(m->deployed_model, "model"),
        .display_name = m->model_display_name,
        .version_id = record_string(m->deployed_model, "modelVersionId"),
        .predict_route = m->predict_route,
        .weight = weight > 0 ? (unsigned)weight : 0,
        .is_idempotent = true,
        .replicas = arena_array(a, struct route_replica, m->n_replicas + 1),
    };
    for (size_t i = 0; i < m->n_replicas && i < ROUTE_REPLICAS_MAX; i++)
        out->replicas[out->n_replicas++] = (struct route_replica){
            .address = m->replicas[i].address, .is_ready = m->replicas[i].state == REPLICA_READY};
}

void routes_init(struct routes *r, const char *path) {
    struct route_table before = {0};
    struct error ignored; /* no file, or one that is not understood: begin anew */
    *r = (struct routes){0};
    snprintf(r->path, sizeof r->path, "%s", path);
    if (route_table_read(&before, path, &ignored) == STATUS_OK) {
        r->generation = before.generation;
        route_table_done(&before);
    }
}

static status write_changed(struct routes *r, struct route_table *t, struct error *err) {
    uint64_t hash = table_hash(t);
    if (r->is_written && hash == r->hash)
        return STATUS_OK;
    t->generation = r->generation + 1;
    TRY(route_table_write(t, r->path, err));
    r->generation = t->generation;
    r->hash = hash;
    r->is_written = true;
    size_t n_replicas = 0;
    for (size_t i = 0; i < t->n_endpoints; i++)
        for (size_t k = 0; k < t->endpoints[i].n_models; k++)
            n_replicas += t->endpoints[i].models[k].n_replicas;
    log_info("routes", "routes written", "generation=%llu endpoints=%zu replicas=%zu",
             (unsigned long long)t->generation, t->n_endpoints, n_replicas);
    return STATUS_OK;
}

status routes_publish(void *arg, const struct served_endpoint *endpoints, size_t n,
                      struct error *err) {
    struct arena a = {0};
    struct route_table t = {.endpoints = arena_array(&a, struct route_endpoint, n + 1)};
    for (size_t i = 0; i < n; i++) {
        const struct served_endpoint *e = &endpoints[i];
        if (e->n_models == 0)
            continue;
        struct route_endpoint *out = &t.endpoints[t.n_endpoints++];
        *out = (struct route_endpoint){
            .name = e->name,
            .timeout_ms = timeout_of(e->endpoint),
            .models = arena_array(&a, struct route_model, e->n_models),
            .n_models = e->n_models,
        };
        for (size_t k = 0; k < e->n_models; k++)
            model_fill(&a, &out->models[k], &e->models[k], json_get(e->endpoint, "trafficSplit"));
    }
    status st = write_changed(arg, &t, err);
    arena_release(&a);
    return st;
}
