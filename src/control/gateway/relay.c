/* relay.c - one request on its way through the gateway: to which replica, when, and whether
 * again. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/gateway/relay_internal.h"

/* --- lives --- */

static void client_gone(struct exchange *x);
static void hold_is_over(struct loop_timer *t);
static void on_response(struct client_call *call, const struct client_response *in);
static void on_body(struct client_call *call, str bytes);
static void on_done(struct client_call *call, call_result result, const struct error *err);

struct relay *relay_new(struct exchange *x, relay_kind kind) {
    struct gateway_loop *home = loop_user(x->loop);
    struct relay *r = home->spare_relays;
    if (r)
        home->spare_relays = r->next;
    else if (!(r = malloc(sizeof *r)))
        abort();
    *r = (struct relay){
        .call = {.user = r, .on_response = on_response, .on_body = on_body, .on_done = on_done},
        .hold.fire = hold_is_over,
        .home = home,
        .x = x,
        .kind = kind,
    };
    r->next = home->relays;
    r->link = &home->relays;
    if (r->next)
        r->next->link = &r->next;
    home->relays = r;
    home->n_relays++;
    x->user = r;
    x->on_cancel = client_gone;
    return r;
}

/* When the exchange has been answered and no call is open. */
static void relay_free(struct relay *r) {
    struct gateway_loop *home = r->home;
    buffer_done(&r->answer);
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    home->n_relays--;
    home->n_retries -= r->is_retry;
    r->next = home->spare_relays;
    home->spare_relays = r;
}

void relay_free_spare(struct gateway_loop *home) {
    for (struct relay *r = home->spare_relays, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    home->spare_relays = NULL;
}

void relay_fail(struct relay *r, int code, str text) {
    char quoted[LOG_QUOTE_SIZE], path[LOG_QUOTE_SIZE];
    str shown = str_copy(&r->x->arena, str_slice(r->x->path, 0, LOG_QUOTE_SIZE / 2));
    log_warn("gateway", "request failed", "status=%d path=%s error=%s", code,
             log_quote(shown.p, path), log_quote(str_copy(&r->x->arena, text).p, quoted));
    answer_error(r, code, text);
    relay_free(r);
}

/* --- choosing --- */

static void table_dropped(void *table) {
    table_unref(table);
}

void relay_aim(struct relay *r, struct table *t, const struct table_endpoint *e,
               const struct table_model *m) {
    t->refs++;
    arena_defer(&r->x->arena, table_dropped, t);
    r->table = t;
    r->endpoint = e;
    r->model = m;
}

static void hold(struct relay *r) {
    struct gateway_loop *home = r->home;
    if (home->n_held >= HELD_MAX) {
        relay_fail(r, 429, STR("too many requests wait for a replica"));
        return;
    }
    r->is_held = true;
    home->n_held++;
    r->n_tried = 0; /* all may be tried anew */
    loop_timer_set(home->loop, &r->hold,
                   loop_now_ns(home->loop) + HOLD_STEP_MS * (int64_t)NS_PER_MS);
}

/* No replica can take it now: one may come within HOLD_MS. */
static void wait_for_replica(struct relay *r) {
    int64_t now = loop_now_ns(r->home->loop);
    if (!r->hold_end_ns)
        r->hold_end_ns = now + HOLD_MS * (int64_t)NS_PER_MS;
    if (r->hold_end_ns <= now) {
        relay_fail(r, 503,
                   r->kind == RELAY_CONTROL ? STR("the control process cannot be reached")
                                            : STR("no replica of the model can be reached"));
        return;
    }
    hold(r);
}

static void release_hold(struct relay *r) {
    if (!r->is_held)
        return;
    loop_timer_clear(r->home->loop, &r->hold);
    r->is_held = false;
    r->home->n_held--;
}

static const struct table_model *same_model(const struct table_endpoint *e, str id) {
    for (size_t i = 0; e && i < e->route->n_models; i++)
        if (str_eq(e->models[i].route->id, id))
            return &e->models[i];
    return NULL;
}

/* Follows the newest table: what a request waits for may have come with it, and the backends of an
 * older one may be gone. False: the endpoint has no model any more. */
static bool follow_table(struct relay *r) {
    struct table *newest = r->home->table;
    if (newest == r->table)
        return true;
    const struct table_endpoint *e = table_find(newest, r->endpoint->route->name);
    const struct table_model *m = same_model(e, r->model->route->id);
    if (!m && e)
        m = table_pick_model(&r->home->backends, e);
    if (!m)
        return false;
    relay_aim(r, newest, e, m);
    return true;
}

static void hold_is_over(struct loop_timer *t) {
    struct relay *r = (struct relay *)((char *)t - offsetof(struct relay, hold));
    release_hold(r);
    relay_attempt(r);
}

static struct backend *choose_backend(struct relay *r) {
    if (r->kind == RELAY_CONTROL)
        return r->n_tried == 0 ? &r->home->control : NULL;
    if (r->n_tried == ATTEMPTS_MAX)
        return NULL;
    return table_pick_backend(&r->home->backends, r->model, r->tried, r->n_tried,
                              loop_now_ns(r->home->loop));
}

static bool may_repeat(const struct relay *r) {
    if (r->has_sent_pieces || r->n_reached >= ATTEMPTS_MAX || !r->x || r->x->status)
        return false;
    if (r->kind == RELAY_CONTROL)
        return str_eq(r->x->method, STR("GET")) || str_eq(r->x->method, STR("HEAD"));
    return r->model->route->is_idempotent;
}

/* Counts the request as one that is sent again. False: so many are already that another one would
 * add to what makes replicas fail. */
static bool take_retry(struct relay *r) {
    struct gateway_loop *home = r->home;
    size_t share = home->n_relays * RETRIES_PERCENT / 100;
    if (!r->is_retry && home->n_retries >= (share > RETRIES_MIN ? share : RETRIES_MIN))
        return false;
    home->n_retries += !r->is_retry;
    r->is_retry = true;
    r->needs_retry = false;
    return true;
}

/* --- the call's events --- */

/* A busy replica's answer is worth another attempt, if there is one left: the last is passed on. */
static bool asks_for_another(struct relay *r, int code) {
    return r->kind != RELAY_CONTROL && code == 503 && r->model->n_backends > 1 &&
           r->n_reached + 1 < ATTEMPTS_MAX && may_repeat(r) && take_retry(r);
}

static void on_response(struct client_call *call, const struct client_response *in) {
    struct relay *r = call->user;
    int64_t now = loop_now_ns(r->home->loop);
    if (asks_for_another(r, in->status)) {
        backend_failed(r->backend, now);
        r->wants_again = true; /* its body is read and dropped */
        return;
    }
    backend_succeeded(r->backend, now - r->attempt_ns, now);
    if (!relay_is_collected(r)) {
        answer_pass_on(r, in);
        if (!r->x && !in->is_complete)
            client_cancel(call);
        return;
    }
    str type = http_header_find(in->headers, in->n_headers, STR("content-type"));
    r->answer_type = str_copy(&r->x->arena, type);
    if (in->is_complete) {
        answer_collected(r, in->status, SEGMENT_TRANSIENT_STR(in->body));
    } else {
        r->status = in->status;
        r->answer.size_max = ANSWER_SIZE_MAX;
        if (in->content_length > ANSWER_SIZE_MAX ||
            buffer_reserve(&r->answer, in->content_length > 0 ? (size_t)in->content_length : 0,
                           NULL) != STATUS_OK ||
            buffer_append_str(&r->answer, in->body, NULL) != STATUS_OK)
            answer_error(r, 500, STR("the container's answer is too large"));
    }
    if (!r->x && !in->is_complete)
        client_cancel(call);
}

static void on_body(struct client_call *call, str bytes) {
    struct relay *r = call->user;
    if (r->wants_again)
        return;
    if (!relay_is_collected(r)) {
        struct segment s = SEGMENT_TRANSIENT_STR(bytes);
        if (exchange_write(r->x, &s, 1) > STREAM_QUEUE_MAX)
            client_pause(call);
    } else if (buffer_append_str(&r->answer, bytes, NULL) != STATUS_OK) {
        answer_error(r, 500, STR("the container's answer is too large"));
        client_cancel(call);
    }
}

/* The answer is whole. */
static void finish(struct relay *r) {
    if (r->x && !relay_is_collected(r)) {
        exchange_finish(TAKE(r->x));
    } else if (r->x) {
        struct buffer answer = r->answer;
        r->answer = (struct buffer){0};
        answer_collected(r, r->status,
                         (struct segment){.p = answer.p,
                                          .n = answer.n,
                                          .life = SEGMENT_OWNED,
                                          .release = free,
                                          .release_arg = answer.p});
    }
    relay_free(r);
}

static void give_up(struct relay *r, call_result result, const struct error *err) {
    str text = str_from_c(err->text);
    if (r->x->status != 0) { /* a part of the answer has gone out */
        exchange_abort(TAKE(r->x));
        relay_free(r);
    } else if (result == CALL_CANCELLED) {
        answer_error(r, 499, STR("the client has gone"));
        relay_free(r);
    } else {
        relay_fail(r,
                   result == CALL_TIMED_OUT      ? 504
                   : result == CALL_BAD_RESPONSE ? 502
                                                 : 503,
                   text);
    }
}

static void on_done(struct client_call *call, call_result result, const struct error *err) {
    struct relay *r = call->user;
    bool was_reached = result != CALL_CONNECT_FAILED && result != CALL_NOT_SENT && !r->is_moved;
    bool is_over = (result == CALL_CANCELLED && !r->is_moved) || result == CALL_TIMED_OUT;
    r->backend->n_in_flight--;
    if (!r->x) {
        relay_free(r);
        return;
    }
    if (result == CALL_DONE && !r->wants_again) {
        finish(r);
        return;
    }
    if (result != CALL_CANCELLED && result != CALL_TIMED_OUT && result != CALL_DONE)
        backend_failed(r->backend, loop_now_ns(r->home->loop));
    r->n_reached += was_reached;
    buffer_clear(&r->answer);
    r->wants_again = r->is_moved = false;
    r->status = 0;
    r->needs_retry = was_reached;
    if (!is_over && (was_reached ? may_repeat(r) : !r->has_sent_pieces && r->x->status == 0))
        relay_attempt(r);
    else
        give_up(r, result, err);
}

/* The client does not wait any more. */
static void client_gone(struct exchange *x) {
    struct relay *r = x->user;
    if (r->is_held) {
        release_hold(r);
        answer_error(r, 499, STR("the client has gone"));
        relay_free(r);
    } else if (r->call.is_open) {
        client_cancel(&r->call);
    }
}

/* --- the request --- */

void relay_attempt(struct relay *r) {
    int64_t now = loop_now_ns(r->home->loop);
    if (r->deadline_ns <= now) {
        relay_fail(r, 504, STR("the deadline has passed before the request could be sent"));
        return;
    }
    if (r->kind != RELAY_CONTROL && !follow_table(r)) {
        relay_fail(r, 503, STR("the endpoint has no deployed model any more"));
        return;
    }
    if (r->needs_retry && r->kind != RELAY_CONTROL && !take_retry(r)) {
        hold(r); /* until its turn comes, or its deadline */
        return;
    }
    struct backend *b = choose_backend(r);
    if (!b) {
        wait_for_replica(r);
        return;
    }
    r->tried[r->n_tried++] = b;
    r->backend = b;
    r->attempt_ns = now;
    b->n_in_flight++;
    struct segment body = SEGMENT_STR(r->body);
    struct client_request request = {
        .method = r->x->method,
        .target = r->kind == RELAY_CONTROL ? r->target : r->model->route->predict_route,
        .headers = r->headers,
        .n_headers = r->n_headers,
        .host = r->kind == RELAY_CONTROL ? exchange_header(r->x, STR("host")) : STR(""),
        .body = &body,
        .n_body = !r->is_streamed && body.n > 0,
        .is_streamed = r->is_streamed,
        .content_length = r->x->content_length,
        .timeout_ms = (r->deadline_ns - now) / NS_PER_MS + 1,
    };
    client_start(b->peer, &r->call, &request);
}

/* A replica that this request was sent to has died, as the newest table says, and another is ready:
 * the request would wait in the dead one's socket for the next process. */
static bool is_stranded(const struct relay *r, const struct table *newest) {
    if (r->kind == RELAY_CONTROL || !r->call.is_open || r->status || !may_repeat(r))
        return false;
    const struct table_model *m =
        same_model(table_find(newest, r->endpoint->route->name), r->model->route->id);
    return m && m->n_backends > 0 && table_is_waiting(m, r->backend);
}

void relay_rescue(struct gateway_loop *home) {
    for (struct relay *r = home->relays, *next; r; r = next) {
        next = r->next; /* which stays: no other relay ends within this */
        if (is_stranded(r, home->table)) {
            r->is_moved = true;
            client_cancel(&r->call);
        }
    }
}
