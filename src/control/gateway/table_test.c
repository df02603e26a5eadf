#include "control/gateway/table.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "support/test.h"

struct rig {
    struct loop *loop;
    struct backends b;
    struct route_replica replicas[40];
    struct route_model models[2];
    struct route_endpoint endpoint;
    struct table *table;
};

static void load(struct rig *r, size_t n_replicas) {
    static char addresses[40][32];
    struct shared_table *shared = calloc(1, sizeof *shared);
    atomic_init(&shared->refs, 1);
    for (size_t i = 0; i < n_replicas; i++) {
        snprintf(addresses[i], sizeof addresses[i], "127.0.0.1:%zu", 10000 + i);
        r->replicas[i] = (struct route_replica){str_from_c(addresses[i]), true};
    }
    for (size_t i = 0; i < 2; i++)
        r->models[i] = (struct route_model){.id = i ? STR("20") : STR("10"),
                                            .weight = i ? 10 : 90,
                                            .replicas = r->replicas,
                                            .n_replicas = n_replicas};
    r->endpoint = (struct route_endpoint){.name = STR("e"), .models = r->models, .n_models = 2};
    shared->routes.endpoints = &r->endpoint;
    shared->routes.n_endpoints = 1;
    struct table *old = r->table;
    r->table = table_new(&r->b, shared);
    table_unref(old);
    shared_table_unref(shared);
}

static void rig_open(struct rig *r, size_t n_replicas) {
    *r = (struct rig){.b.random = 12345};
    CHECK_EQ(loop_new(&r->loop, NULL), STATUS_OK);
    CHECK_EQ(client_new(&r->b.client, r->loop, NULL), STATUS_OK);
    load(r, n_replicas);
}

static void rig_close(struct rig *r) {
    table_unref(r->table);
    backends_done(&r->b);
    client_free(r->b.client);
    loop_free(r->loop);
}

TEST(table_splits_traffic_by_weight) {
    struct rig r;
    rig_open(&r, 1);
    const struct table_endpoint *e = table_find(r.table, STR("e"));
    int n_second = 0;
    for (int i = 0; i < 10000; i++)
        n_second += str_eq(table_pick_model(&r.b, e)->route->id, STR("20"));
    CHECK(n_second > 850 && n_second < 1150);
    CHECK(table_find(r.table, STR("other")) == NULL);
    rig_close(&r);
}

TEST(table_prefers_the_replica_with_the_least_expected_wait) {
    struct rig r;
    rig_open(&r, 3);
    const struct table_model *m = &table_find(r.table, STR("e"))->models[0];
    int64_t now = 100 * (int64_t)NS_PER_S;
    for (size_t i = 0; i < 3; i++)
        backend_succeeded(m->backends[i], 2 * NS_PER_MS, now);
    m->backends[0]->n_in_flight = 1;
    backend_succeeded(m->backends[1], 20 * NS_PER_MS, now);
    for (int i = 0; i < 20; i++)
        CHECK(table_pick_backend(&r.b, m, NULL, 0, now) == m->backends[2]);
    struct backend *tried[] = {m->backends[2], m->backends[0]};
    CHECK(table_pick_backend(&r.b, m, tried, 2, now) == m->backends[1]);
    m->backends[0]->n_in_flight = 0;
    rig_close(&r);
}

TEST(table_ejects_a_failing_replica_for_a_while) {
    struct rig r;
    rig_open(&r, 2);
    const struct table_model *m = &table_find(r.table, STR("e"))->models[0];
    int64_t now = 100 * (int64_t)NS_PER_S;
    backend_failed(m->backends[0], now);
    for (int i = 0; i < 20; i++)
        CHECK(table_pick_backend(&r.b, m, NULL, 0, now) == m->backends[1]);
    struct backend *tried[] = {m->backends[1]};
    CHECK(table_pick_backend(&r.b, m, tried, 1, now) == m->backends[0]); /* no other is left */
    CHECK(m->backends[0]->ejected_until_ns == now + EJECT_MS * (int64_t)NS_PER_MS);
    backend_failed(m->backends[0], now);
    CHECK(m->backends[0]->ejected_until_ns == now + 2 * EJECT_MS * (int64_t)NS_PER_MS);
    for (int i = 0; i < 40; i++)
        backend_failed(m->backends[0], now);
    CHECK(m->backends[0]->ejected_until_ns == now + EJECT_MS_MAX * (int64_t)NS_PER_MS);
    backend_succeeded(m->backends[0], NS_PER_MS, now);
    CHECK_EQ(m->backends[0]->ejected_until_ns, 0);
    rig_close(&r);
}

TEST(table_keeps_what_was_learnt_and_forgets_replicas_that_are_gone) {
    struct rig r;
    rig_open(&r, 40);
    const struct table_model *m = &table_find(r.table, STR("e"))->models[0];
    backend_failed(m->backends[0], 1);
    struct backend *first = m->backends[0];
    for (int i = 0; i < 100; i++) /* two of many at random */
        CHECK(table_pick_backend(&r.b, m, NULL, 0, 1) != NULL);
    load(&r, 2);
    m = &table_find(r.table, STR("e"))->models[0];
    CHECK(m->backends[0] == first && first->n_failures == 1);
    CHECK_EQ(r.b.by_address.n_live, 2);
    rig_close(&r);
}
