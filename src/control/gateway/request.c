/* request.c - what a client asks the gateway for: which endpoint, in which form, with which headers
 * and body. */
#include <string.h>

#include "base/clock.h"
#include "control/gateway/http_body.h"
#include "control/gateway/relay_internal.h"
#include "net/uri.h"

static void pass_piece(struct exchange *x, str bytes, bool is_last) {
    struct relay *r = x->user;
    struct segment s = {.p = bytes.p, .n = bytes.n, .life = SEGMENT_TRANSIENT};
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
    r->headers = arena_array(&x->arena, struct http_header, x->n_headers + 1);
    for (size_t i = 0; i < x->n_headers; i++) {
        str name = x->headers[i].name;
        bool is_kept = !is_hop_by_hop(name, x->headers, x->n_headers);
        if (r->kind != RELAY_CONTROL)
            is_kept &=
                !http_name_eq(name, STR("authorization")) && !http_name_eq(name, STR("cookie"));
        if (relay_is_collected(r)) /* its answer is read here */
            is_kept &= !http_name_eq(name, STR("accept-encoding"));
        if (r->kind == RELAY_WRAPPED) /* that of the wrapping */
            is_kept &= !http_name_eq(name, STR("content-type"));
        if (is_kept)
            r->headers[r->n_headers++] = x->headers[i];
    }
    if (r->inner_type.n)
        r->headers[r->n_headers++] = (struct http_header){STR("Content-Type"), r->inner_type};
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

/* Takes the body out of its wrapping, if it is in one: $alt=json is what generated clients add. The
 * relay is over when this fails. */
static bool unwrap(struct relay *r) {
    struct exchange *x = r->x;
    struct http_body inner;
    struct error err;
    str alt;
    if (r->kind != RELAY_RAW || !uri_query_get(&alt, x->query, STR("$alt"), &x->arena))
        return true;
    status st = http_body_read(&inner, x->body, &x->arena, &err);
    if (st == STATUS_NOT_FOUND)
        return true;
    if (st != STATUS_OK) {
        relay_fail(r, 400, str_copy(&x->arena, str_from_c(err.text)));
        return false;
    }
    r->kind = RELAY_WRAPPED;
    r->is_list = str_ends(x->path, STR("streamRawPredict"));
    r->body = inner.data;
    r->inner_type = inner.content_type;
    return true;
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
    r->body = x->body;
    if (m) {
        relay_aim(r, home->table, e, m);
    } else {
        r->target = origin_target(x);
    }
    if (!is_streamed && !unwrap(r))
        return;
    choose_headers(r);
    r->is_streamed = is_streamed;
    if (is_streamed) {
        r->call.on_drain = take_pieces;
        exchange_pause(x);
        exchange_stream(x, pass_piece);
    }
    relay_attempt(r);
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
