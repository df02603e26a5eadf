/* relay.c - one request on its way through the gateway. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/json_writer.h"
#include "control/gateway/gateway_internal.h"
#include "net/uri.h"

/* What happens to the answer of a replica. */
typedef enum relay_kind {
    RELAY_PREDICT, /* JSON: gets the names of the model that answered */
    RELAY_RAW,     /* goes through as it is, with the names in headers */
    RELAY_CONTROL, /* goes through as it is */
} relay_kind;

/* Lives until the exchange is answered and the call has ended, whichever is later. */
struct relay {
    struct client_call call;
    struct loop_timer hold;
    struct gateway_loop *home;
    struct exchange *x; /* NULL: answered */
    struct relay *next; /* among the spare ones */
    relay_kind kind;

    struct table *table; /* the exchange holds a reference; NULL for control */
    const struct table_endpoint *endpoint;
    const struct table_model *model;
    struct backend *backend;             /* of the attempt that is under way */
    struct backend *tried[ATTEMPTS_MAX]; /* since the last hold */
    size_t n_tried, n_reached;

    str target; /* for control */
    struct http_header *headers;
    size_t n_headers;
    int64_t attempt_ns, deadline_ns, hold_end_ns;

    bool is_streamed;     /* the body is passed on as it comes */
    bool has_sent_pieces; /* of it: it cannot be sent again */
    bool is_held;         /* waits for a replica */
    bool wants_again;     /* the answer asks for another attempt */
    int status;           /* of the replica's answer, while it is collected */
    struct buffer answer; /* a predict's, while it is collected */
};

static void attempt(struct relay *r);

/* --- answers of the gateway's own --- */

static const char *google_status(int code) {
    static const struct {
        int code;
        const char *name;
    } names[] = {{400, "INVALID_ARGUMENT"}, {401, "UNAUTHENTICATED"},  {403, "PERMISSION_DENIED"},
                 {404, "NOT_FOUND"},        {405, "UNIMPLEMENTED"},    {408, "DEADLINE_EXCEEDED"},
                 {409, "ABORTED"},          {413, "INVALID_ARGUMENT"}, {429, "RESOURCE_EXHAUSTED"},
                 {499, "CANCELLED"},        {501, "UNIMPLEMENTED"},    {502, "UNAVAILABLE"},
                 {503, "UNAVAILABLE"},      {504, "DEADLINE_EXCEEDED"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].code == code)
            return names[i].name;
    return code >= 400 && code < 500 ? "INVALID_ARGUMENT" : "INTERNAL";
}

str error_body(struct arena *a, int code, str text) {
    CLEANUP(buffer_done) struct buffer b = {0};
    struct json_writer w;
    json_writer_init(&w, &b, NULL);
    json_begin_object(&w);
    json_key(&w, STR("error"));
    json_begin_object(&w);
    json_member_i64(&w, "code", code);
    json_member_string(&w, "message", text);
    json_member_string(&w, "status", str_from_c(google_status(code)));
    json_end_object(&w);
    json_end_object(&w);
    return json_writer_finish(&w) == STATUS_OK ? str_copy(a, buffer_str(&b)) : STR("{}");
}

/* The exchange, which is over for the relay with what is done to it now. */
static struct exchange *take_exchange(struct relay *r) {
    return TAKE(r->x);
}

static void answer_error(struct relay *r, int code, str text) {
    struct exchange *x = take_exchange(r);
    str body = error_body(&x->arena, code, text);
    struct http_header retry = {STR("Retry-After"), STR("1")};
    exchange_respond(x, &(struct response){.status = code,
                                           .content_type = STR("application/json; charset=UTF-8"),
                                           .headers = &retry,
                                           .n_headers = code == 429 || code == 503,
                                           .body = &SEGMENT_STR(body),
                                           .n_body = 1});
}

/* --- lives --- */

static void client_gone(struct exchange *x);
static void hold_is_over(struct loop_timer *t);
static void on_response(struct client_call *call, const struct client_response *in);
static void on_body(struct client_call *call, str bytes);
static void on_done(struct client_call *call, call_result result, const struct error *err);

static struct relay *relay_new(struct exchange *x, relay_kind kind) {
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
    x->user = r;
    x->on_cancel = client_gone;
    return r;
}

/* When the exchange has been answered and no call is open. */
static void relay_free(struct relay *r) {
    buffer_done(&r->answer);
    r->next = r->home->spare_relays;
    r->home->spare_relays = r;
}

void relay_free_spare(struct gateway_loop *home) {
    for (struct relay *r = home->spare_relays, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    home->spare_relays = NULL;
}

static void fail(struct relay *r, int code, str text) {
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

/* The response may borrow from the table: the exchange keeps it. */
static void use_table(struct relay *r, struct table *t) {
    t->refs++;
    arena_defer(&r->x->arena, table_dropped, t);
    r->table = t;
}

static void hold_on(struct relay *r) {
    struct gateway_loop *home = r->home;
    int64_t now = loop_now_ns(home->loop);
    if (!r->hold_end_ns)
        r->hold_end_ns = now + HOLD_MS * (int64_t)NS_PER_MS;
    if (r->hold_end_ns <= now) {
        fail(r, 503,
             r->kind == RELAY_CONTROL ? STR("the control process cannot be reached")
                                      : STR("no replica of the model can be reached"));
        return;
    }
    if (home->n_held >= HELD_MAX) {
        fail(r, 429, STR("too many requests wait for a replica"));
        return;
    }
    r->is_held = true;
    home->n_held++;
    r->n_tried = 0; /* all may be tried anew */
    loop_timer_set(home->loop, &r->hold, now + HOLD_STEP_MS * (int64_t)NS_PER_MS);
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
    use_table(r, newest);
    r->endpoint = e;
    r->model = m;
    return true;
}

static void hold_is_over(struct loop_timer *t) {
    struct relay *r = (struct relay *)((char *)t - offsetof(struct relay, hold));
    release_hold(r);
    attempt(r);
}

static struct backend *choose_backend(struct relay *r) {
    if (r->kind == RELAY_CONTROL)
        return r->n_tried == 0 ? &r->home->control : NULL;
    if (r->n_tried == ATTEMPTS_MAX)
        return NULL;
    return table_pick_backend(&r->home->backends, r->model, r->tried, r->n_tried,
                              loop_now_ns(r->home->loop));
}

/* --- answers of a replica --- */

/* True for headers that are about one connection: the known ones, and those that the message's
 * Connection header names. */
static bool is_hop_by_hop(str name, const struct http_header *headers, size_t n) {
    static const char *const names[] = {"connection",        "keep-alive",      "te",     "trailer",
                                        "transfer-encoding", "upgrade",         "expect", "host",
                                        "content-length",    "proxy-connection"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (http_name_eq(name, str_from_c(names[i])))
            return true;
    str listed = http_header_find(headers, n, STR("connection")), option;
    while (str_next(&listed, ',', &option))
        if (http_name_eq(str_trim(option), name))
            return true;
    return false;
}

/* The headers of the answer for the client; views that live as long as the response's. */
static struct http_header *answer_headers(const struct relay *r, const struct client_response *in,
                                          size_t *n) {
    struct http_header *out =
        arena_array(&r->x->arena, struct http_header, in->n_headers + ARRAY_LEN(r->model->headers));
    for (size_t i = 0; i < in->n_headers; i++)
        if (!is_hop_by_hop(in->headers[i].name, in->headers, in->n_headers) &&
            !http_name_eq(in->headers[i].name, STR("content-type")))
            out[(*n)++] = in->headers[i];
    for (size_t i = 0; r->model && i < ARRAY_LEN(r->model->headers); i++)
        out[(*n)++] = r->model->headers[i];
    return out;
}

static struct segment transient(str s) {
    return (struct segment){.p = s.p, .n = s.n, .life = SEGMENT_TRANSIENT};
}

static void pass_drained(struct exchange *x) {
    struct relay *r = x->user;
    client_resume(&r->call);
}

/* A raw answer: as much as there is goes to the client now. */
static void pass_on(struct relay *r, const struct client_response *in) {
    struct segment body = transient(in->body);
    struct response out = {
        .status = in->status,
        .content_type = http_header_find(in->headers, in->n_headers, STR("content-type")),
        .content_length = in->content_length,
    };
    out.headers = answer_headers(r, in, &out.n_headers);
    if (in->is_complete) {
        out.body = &body;
        out.n_body = 1;
        exchange_respond(take_exchange(r), &out);
        return;
    }
    exchange_on_drain(r->x, pass_drained);
    exchange_start(r->x, &out);
    if (exchange_write(r->x, &body, 1) > STREAM_QUEUE_MAX)
        client_pause(&r->call);
}

/* A container's error: its text becomes the message. */
static void answer_container_error(struct relay *r, int code, str body) {
    str text = str_trim(body);
    if (text.n == 0)
        text = str_format(&r->x->arena, "the container answered with status %d", code);
    answer_error(r, code, text);
}

static void release(struct segment s) {
    if (s.life == SEGMENT_OWNED)
        s.release(s.release_arg);
}

/* Answers a predict: the container's JSON object with the model's names put in at its end. */
static void answer_predict(struct relay *r, int code, struct segment body) {
    static const char blanks[] = " \t\r\n";
    str s = {.p = body.p, .n = body.n};
    size_t from = 0;
    if (code < 200 || code > 299) {
        answer_container_error(r, code, s);
        release(body);
        return;
    }
    while (s.n > 0 && memchr(blanks, s.p[s.n - 1], 4))
        s.n--;
    bool ends_well = s.n > 0 && s.p[s.n - 1] == '}';
    s.n -= ends_well;
    while (s.n > 0 && memchr(blanks, s.p[s.n - 1], 4))
        s.n--;
    while (from < s.n && memchr(blanks, s.p[from], 4))
        from++;
    if (!ends_well || from >= s.n || s.p[from] != '{') {
        answer_error(r, 500, STR("the container's answer is not a JSON object"));
        release(body);
        return;
    }
    bool is_empty = from + 1 == s.n;
    str splice = str_slice(r->model->splice, is_empty, r->model->splice.n);
    body.n = s.n;
    struct segment segments[] = {body, SEGMENT_STR(splice)};
    exchange_respond(take_exchange(r),
                     &(struct response){.status = code,
                                        .content_type = STR("application/json; charset=UTF-8"),
                                        .body = segments,
                                        .n_body = 2});
}

static bool may_repeat(const struct relay *r) {
    if (r->has_sent_pieces || r->n_reached >= ATTEMPTS_MAX || !r->x || r->x->status)
        return false;
    if (r->kind == RELAY_CONTROL)
        return str_eq(r->x->method, STR("GET")) || str_eq(r->x->method, STR("HEAD"));
    return r->model->route->is_idempotent;
}

/* --- the call's events --- */

static void on_response(struct client_call *call, const struct client_response *in) {
    struct relay *r = call->user;
    int64_t now = loop_now_ns(r->home->loop);
    if (r->kind != RELAY_CONTROL && in->status == 503 && r->model->n_backends > 1 &&
        may_repeat(r)) {
        backend_failed(r->backend, now);
        r->wants_again = true; /* its body is read and dropped */
        return;
    }
    backend_succeeded(r->backend, now - r->attempt_ns, now);
    if (r->kind != RELAY_PREDICT) {
        pass_on(r, in);
    } else if (in->is_complete) {
        answer_predict(r, in->status, transient(in->body));
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
    if (r->kind != RELAY_PREDICT) {
        struct segment s = transient(bytes);
        if (exchange_write(r->x, &s, 1) > STREAM_QUEUE_MAX)
            client_pause(call);
    } else if (buffer_append_str(&r->answer, bytes, NULL) != STATUS_OK) {
        answer_error(r, 500, STR("the container's answer is too large"));
        client_cancel(call);
    }
}

/* The answer is whole. */
static void finish(struct relay *r) {
    if (r->x && r->kind != RELAY_PREDICT) {
        exchange_finish(take_exchange(r));
    } else if (r->x) {
        struct buffer answer = r->answer;
        r->answer = (struct buffer){0};
        answer_predict(r, r->status,
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
        exchange_abort(take_exchange(r));
        relay_free(r);
    } else if (result == CALL_CANCELLED) {
        answer_error(r, 499, STR("the client has gone"));
        relay_free(r);
    } else {
        fail(r, result == CALL_TIMED_OUT ? 504 : result == CALL_BAD_RESPONSE ? 502 : 503, text);
    }
}

static void on_done(struct client_call *call, call_result result, const struct error *err) {
    struct relay *r = call->user;
    bool was_reached = result != CALL_CONNECT_FAILED && result != CALL_NOT_SENT;
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
    r->wants_again = false;
    r->status = 0;
    bool again = result != CALL_CANCELLED && result != CALL_TIMED_OUT &&
                 (was_reached ? may_repeat(r) : !r->has_sent_pieces && r->x->status == 0);
    if (again)
        attempt(r);
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

/* Sends the request, or holds it. The last thing that its caller does: the relay may be over. */
static void attempt(struct relay *r) {
    int64_t now = loop_now_ns(r->home->loop);
    if (r->deadline_ns <= now) {
        fail(r, 504, STR("the deadline has passed before the request could be sent"));
        return;
    }
    if (r->kind != RELAY_CONTROL && !follow_table(r)) {
        fail(r, 503, STR("the endpoint has no deployed model any more"));
        return;
    }
    struct backend *b = choose_backend(r);
    if (!b) {
        hold_on(r);
        return;
    }
    r->tried[r->n_tried++] = b;
    r->backend = b;
    r->attempt_ns = now;
    b->n_in_flight++;
    struct segment body = SEGMENT_STR(r->x->body);
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

static void pass_piece(struct exchange *x, str bytes, bool is_last) {
    struct relay *r = x->user;
    struct segment s = transient(bytes);
    r->has_sent_pieces = true;
    if (client_write(&r->call, &s, 1, is_last) > STREAM_QUEUE_MAX)
        exchange_pause(x);
}

/* The replica has taken what it was given: the head first. */
static void take_pieces(struct client_call *call) {
    struct relay *r = call->user;
    if (r->x)
        exchange_resume(r->x);
}

/* The request's headers for the server behind. Credentials are for the gateway and control. */
static void choose_headers(struct relay *r) {
    struct exchange *x = r->x;
    r->headers = arena_array(&x->arena, struct http_header, x->n_headers);
    for (size_t i = 0; i < x->n_headers; i++) {
        str name = x->headers[i].name;
        bool is_kept = !is_hop_by_hop(name, x->headers, x->n_headers);
        if (r->kind != RELAY_CONTROL)
            is_kept &=
                !http_name_eq(name, STR("authorization")) && !http_name_eq(name, STR("cookie"));
        if (r->kind == RELAY_PREDICT) /* its answer is read here */
            is_kept &= !http_name_eq(name, STR("accept-encoding"));
        if (is_kept)
            r->headers[r->n_headers++] = x->headers[i];
    }
}

/* "/v1/NAME:predict": the endpoint's name and what to do with the answer. False: not a predict. */
static bool parse_predict(const struct exchange *x, str *name, relay_kind *kind, struct arena *a) {
    static const str prefixes[] = {{"/v1/", 4}, {"/v1beta1/", 9}, {"/ui/", 4}};
    str path;
    if (!str_eq(x->method, STR("POST")) || !uri_decode(&path, x->path, false, a))
        return false;
    ptrdiff_t colon = str_find_last(path, ':');
    if (colon < 0)
        return false;
    str verb = str_slice(path, (size_t)colon + 1, path.n);
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (!str_starts(path, prefixes[i]))
            continue;
        *name = str_slice(path, prefixes[i].n, (size_t)colon);
        *kind = str_eq(verb, STR("predict")) ? RELAY_PREDICT : RELAY_RAW;
        return *kind == RELAY_PREDICT || str_eq(verb, STR("rawPredict")) ||
               str_eq(verb, STR("streamRawPredict")); /* raw answers are passed on as they come */
    }
    return false;
}

static str origin_target(struct exchange *x) {
    if (str_starts(x->target, STR("/")))
        return x->target;
    return x->query.n ? str_format(&x->arena, "%.*s?%.*s", STR_ARG(x->path), STR_ARG(x->query))
                      : x->path;
}

/* The body is there, or will be streamed. */
static void dispatch(struct exchange *x, bool is_streamed) {
    struct gateway_loop *home = loop_user(x->loop);
    relay_kind kind = RELAY_CONTROL;
    str name;
    const struct table_endpoint *e = NULL;
    if (parse_predict(x, &name, &kind, &x->arena))
        e = table_find(home->table, name);
    const struct table_model *m = e ? table_pick_model(&home->backends, e) : NULL;
    struct relay *r = relay_new(x, m ? kind : RELAY_CONTROL); /* without a model control says why */
    int64_t timeout_ms = m ? e->route->timeout_ms : CONTROL_TIMEOUT_MS;
    r->deadline_ns = x->started_ns + timeout_ms * NS_PER_MS;
    if (m) {
        use_table(r, home->table);
        r->endpoint = e;
        r->model = m;
    } else {
        r->target = origin_target(x);
    }
    choose_headers(r);
    r->is_streamed = is_streamed;
    if (is_streamed) {
        r->call.on_drain = take_pieces;
        exchange_pause(x);
        exchange_stream(x, pass_piece);
    }
    attempt(r);
}

static void collected(struct exchange *x) {
    dispatch(x, false);
}

static void refuse(struct exchange *x, int code, str text) {
    str body = error_body(&x->arena, code, text);
    exchange_respond(x, &(struct response){.status = code,
                                           .content_type = STR("application/json; charset=UTF-8"),
                                           .body = &SEGMENT_STR(body),
                                           .n_body = 1});
}

void relay_handle(void *arg, struct exchange *x) {
    (void)arg;
    if (x->content_length > PREDICT_SIZE_MAX)
        refuse(x, 413, STR("the request's body is over 64 MiB"));
    else if (x->content_length > REPLAY_SIZE_MAX)
        dispatch(x, true);
    else
        exchange_collect(x, REPLAY_SIZE_MAX, collected);
}
