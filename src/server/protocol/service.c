#include "server/protocol/service.h"

#include <stdlib.h>
#include <string.h>

#include "codec/json_writer.h"

struct buffer *service_scratch(struct exchange *x) {
    struct service_loop *l = loop_user(x->loop);
    if (l->scratch.capacity > SCRATCH_KEEP_MAX)
        buffer_done(&l->scratch);
    buffer_clear(&l->scratch);
    return &l->scratch;
}

void service_loop_started(void *arg, struct loop *l, int index) {
    (void)arg;
    (void)index;
    struct service_loop *state = calloc(1, sizeof *state);
    if (!state)
        abort(); /* at start: there is no server without it */
    loop_set_user(l, state);
}

void service_loop_ending(void *arg, struct loop *l, int index) {
    (void)arg;
    (void)index;
    struct service_loop *state = loop_user(l);
    buffer_done(&state->scratch);
    free(state);
    loop_set_user(l, NULL);
}

bool service_is_ready(struct service *s) {
    if (atomic_load_explicit(&s->is_draining, memory_order_relaxed))
        return false;
    if (!s->is_strict_readiness)
        return true;
    return !atomic_load_explicit(&s->is_failed, memory_order_relaxed) &&
           repository_is_ready(s->repository);
}

int http_status_of(status code) {
    switch (code) {
    case STATUS_OK:
        return 200;
    case STATUS_NOT_FOUND:
        return 404;
    case STATUS_UNAVAILABLE:
    case STATUS_RESOURCE_EXHAUSTED:
        return 503;
    case STATUS_UNIMPLEMENTED:
        return 501;
    case STATUS_DEADLINE_EXCEEDED:
        return 504;
    case STATUS_INTERNAL:
    case STATUS_DATA_LOSS:
        return 500;
    default:
        return 400;
    }
}

static void reply(struct exchange *x, int http_status, str content_type, str body) {
    struct segment s = {.p = body.p, .n = body.n, .life = SEGMENT_TRANSIENT};
    exchange_respond(x, &(struct response){.status = http_status,
                                           .content_type = content_type,
                                           .body = &s,
                                           .n_body = body.n > 0});
}

void reply_error_http(struct exchange *x, int http_status, const char *text) {
    struct buffer *b = service_scratch(x);
    struct error ignored;
    struct json_writer w;
    json_writer_init(&w, b, &ignored);
    json_begin_object(&w);
    json_member_string(&w, "error", str_from_c(text));
    json_end_object(&w);
    if (json_writer_finish(&w) != STATUS_OK)
        buffer_clear(b);
    reply(x, http_status, STR("application/json"), buffer_str(b));
}

void reply_error(struct exchange *x, status code, const char *text) {
    reply_error_http(x, http_status_of(code), text);
}

void reply_empty(struct exchange *x, int http_status) {
    reply(x, http_status, STR("text/plain"), (str){0});
}

void reply_done(struct exchange *x) {
    reply(x, 200, STR("application/json"), (str){0});
}

void reply_json(struct exchange *x, status code, const struct buffer *body,
                const struct error *err) {
    if (code != STATUS_OK)
        reply_error(x, code, err->text);
    else
        reply(x, 200, STR("application/json"), buffer_str(body));
}
