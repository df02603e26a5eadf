/* metrics.c - the metrics port: Prometheus text, version 0.0.4. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/thread.h"
#include "server/protocol/service.h"
#include "server/scheduler/scheduler.h"

/* One scrape. */
struct scrape {
    struct buffer *out;
    struct error *err;
    status status; /* the first failure: memory */
    size_t n;
    const str *labels; /* [n]: without braces */
    const struct model_stats *stats;
    const int64_t *load_ns;
};

struct machine {
    double utilization;
    uint64_t memory_total, memory_used;
};

static void put(struct scrape *p, const char *fmt, ...) ATTR_PRINTF(2, 3);
static void put(struct scrape *p, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (p->status == STATUS_OK && n > 0)
        p->status = buffer_append(p->out, text,
                                  (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, p->err);
}

static void put_head(struct scrape *p, const char *name, const char *type, const char *help) {
    put(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_failures(struct scrape *p, const char *name, const char *help) {
    static const struct {
        failure_reason reason;
        const char *name;
    } reasons[] = {{FAILURE_REJECTED, "REJECTED"},
                   {FAILURE_CANCELED, "CANCELED"},
                   {FAILURE_BACKEND, "BACKEND"},
                   {FAILURE_OTHER, "OTHER"}};
    put_head(p, name, "counter", help);
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(reasons); k++) {
            /* Labels go in alphabetical order: reason before version, which is the last. */
            ptrdiff_t at = str_find_last(p->labels[i], ',');
            str before = str_slice(p->labels[i], 0, (size_t)at + 1);
            str after = str_slice(p->labels[i], (size_t)at + 1, p->labels[i].n);
            put(p, "%s{%.*sreason=\"%s\",%.*s} %" PRIu64 "\n", name, STR_ARG(before),
                reasons[k].name, STR_ARG(after), p->stats[i].failures[reasons[k].reason]);
        }
}

static void put_latency(struct scrape *p, const char *name, const char *help, request_part part) {
    put_head(p, name, "histogram", help);
    for (size_t i = 0; i < p->n; i++) {
        const struct latency_histogram *h = &p->stats[i].latency[part];
        uint64_t sum = 0;
        for (size_t b = 0; b < LATENCY_BUCKETS; b++) {
            sum += h->counts[b];
            put(p, "%s_bucket{%.*s,le=\"%" PRIu64 "\"} %" PRIu64 "\n", name, STR_ARG(p->labels[i]),
                latency_bounds_us[b], sum);
        }
        sum += h->counts[LATENCY_BUCKETS];
        put(p, "%s_bucket{%.*s,le=\"+Inf\"} %" PRIu64 "\n", name, STR_ARG(p->labels[i]), sum);
        put(p, "%s_sum{%.*s} %" PRIu64 "\n", name, STR_ARG(p->labels[i]), h->sum_ns / NS_PER_US);
        put(p, "%s_count{%.*s} %" PRIu64 "\n", name, STR_ARG(p->labels[i]), sum);
    }
}

static void put_batches(struct scrape *p, const char *name, const char *help) {
    put_head(p, name, "histogram", help);
    for (size_t i = 0; i < p->n; i++) {
        uint64_t sum = 0;
        for (size_t b = 0; b < BATCH_BUCKETS; b++) {
            sum += p->stats[i].batch_counts[b];
            put(p, "%s_bucket{%.*s,le=\"%" PRIu64 "\"} %" PRIu64 "\n", name, STR_ARG(p->labels[i]),
                batch_bounds[b], sum);
        }
        sum += p->stats[i].batch_counts[BATCH_BUCKETS];
        put(p, "%s_bucket{%.*s,le=\"+Inf\"} %" PRIu64 "\n", name, STR_ARG(p->labels[i]), sum);
        put(p, "%s_sum{%.*s} %" PRIu64 "\n", name, STR_ARG(p->labels[i]), p->stats[i].batch_sum);
        put(p, "%s_count{%.*s} %" PRIu64 "\n", name, STR_ARG(p->labels[i]), sum);
    }
}

static void put_loads(struct scrape *p, const char *name, const char *help) {
    put_head(p, name, "gauge", help);
    for (size_t i = 0; i < p->n; i++)
        put(p, "%s{%.*s} %.9g\n", name, STR_ARG(p->labels[i]),
            (double)p->load_ns[i] / (double)NS_PER_S);
}

static void put_all(struct scrape *p, const struct machine *machine) {
#define METRIC(name, type, help, value)                                                            \
    put_head(p, name, type, help);                                                                 \
    for (size_t i = 0; i < p->n; i++) {                                                            \
        const struct model_stats *s = &p->stats[i];                                                \
        put(p, name "{%.*s} %" PRIu64 "\n", STR_ARG(p->labels[i]), (uint64_t)(value));             \
    }
#define FAILURES(name, help)      put_failures(p, name, help);
#define LATENCY(name, help, part) put_latency(p, name, help, part);
#define BATCHES(name, help)       put_batches(p, name, help);
#define LOADS(name, help)         put_loads(p, name, help);
#define MACHINE(name, help, value)                                                                 \
    put_head(p, name, "gauge", help);                                                              \
    put(p, name " %.17g\n", value);
#include "server/protocol/metrics.def"
#undef METRIC
#undef FAILURES
#undef LATENCY
#undef BATCHES
#undef LOADS
#undef MACHINE
}

static void append_label(struct buffer *b, const char *prefix, str name, str value) {
    struct error ignored;
    status code = buffer_printf(b, &ignored, "%s%s%.*s=\"", b->n ? "," : "", prefix, STR_ARG(name));
    for (size_t i = 0; i < value.n && code == STATUS_OK; i++) {
        char c = value.p[i];
        if (c == '\\' || c == '"')
            code = buffer_printf(b, &ignored, "\\%c", c);
        else if (c == '\n')
            code = buffer_append_str(b, STR("\\n"), &ignored);
        else
            code = buffer_append(b, &c, 1, &ignored);
    }
    if (code == STATUS_OK)
        code = buffer_append_str(b, STR("\""), &ignored);
}

/* _tag="..",model="..",version="..": alphabetical, as Triton has them. */
static str labels_of(const struct model_version *v, struct arena *a) {
    CLEANUP(buffer_done) struct buffer b = {.size_max = 16384};
    for (size_t i = 0; i < v->config->n_metric_tags; i++)
        append_label(&b, "_", str_from_c(v->config->metric_tags[i]->key),
                     str_from_c(v->config->metric_tags[i]->value));
    char version[32];
    snprintf(version, sizeof version, "%" PRId64, v->spec.version);
    append_label(&b, "", STR("model"), v->spec.name);
    append_label(&b, "", STR("version"), str_from_c(version));
    return str_copy(a, buffer_str(&b));
}

/* Share of time that the machine's cores were busy since the last look. */
static double cpu_utilization(void) {
    static struct mutex lock = MUTEX_INIT;
    static uint64_t last_total, last_idle;
    static double last;
    uint64_t v[8] = {0}, total = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return 0;
    int n = fscanf(f,
                   "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                   " %" SCNu64 " %" SCNu64,
                   &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
    fclose(f);
    for (int i = 0; i < n; i++)
        total += v[i];
    uint64_t idle = v[3] + v[4];
    mutex_lock(&lock);
    if (total > last_total)
        last = 1 - (double)(idle - last_idle) / (double)(total - last_total);
    last_total = total;
    last_idle = idle;
    double result = last < 0 ? 0 : last;
    mutex_unlock(&lock);
    return result;
}

static void read_machine(struct machine *m) {
    char line[128];
    uint64_t kib, available = 0;
    *m = (struct machine){.utilization = cpu_utilization()};
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "MemTotal: %" SCNu64, &kib) == 1)
            m->memory_total = kib * 1024;
        else if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            available = kib * 1024;
    }
    if (f)
        fclose(f);
    m->memory_used = m->memory_total - available;
}

void service_answer_metrics(struct service *s, struct exchange *x) {
    struct error err = {0};
    struct model_version **versions;
    size_t n = repository_list(s->repository, (str){0}, &x->arena, &versions);
    str *labels = arena_array(&x->arena, str, n + 1);
    struct model_stats *stats = arena_array(&x->arena, struct model_stats, n + 1);
    int64_t *load_ns = arena_array(&x->arena, int64_t, n + 1);
    for (size_t i = 0; i < n; i++) {
        load_ns[i] = versions[i]->load_ns;
        scheduler_read_stats(versions[i]->scheduler, &stats[i]);
        labels[i] = labels_of(versions[i], &x->arena);
        model_version_unref(versions[i]);
    }
    struct scrape p = {.out = service_scratch(x),
                       .err = &err,
                       .n = n,
                       .labels = labels,
                       .stats = stats,
                       .load_ns = load_ns};
    struct machine machine;
    read_machine(&machine);
    put_all(&p, &machine);
    if (p.status != STATUS_OK) {
        reply_error(x, p.status, err.text);
        return;
    }
    struct segment body = {.p = p.out->p, .n = p.out->n, .life = SEGMENT_TRANSIENT};
    exchange_respond(x, &(struct response){.status = 200,
                                           .content_type = STR("text/plain; charset=utf-8"),
                                           .body = &body,
                                           .n_body = 1});
}

void service_handle_metrics(void *arg, struct exchange *x) {
    if (!str_eq(x->method, STR("GET")))
        reply_error_http(x, 405, "Method Not Allowed");
    else if (!str_eq(x->path, STR("/metrics")) && !str_eq(x->path, STR("/metrics/")))
        reply_empty(x, 200); /* as Triton: probes of this port expect it */
    else
        service_answer_metrics(arg, x);
}
