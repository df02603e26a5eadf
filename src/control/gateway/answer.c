/* answer.c - what the client gets: the gateway's own errors, and a replica's answer in the form of
 * the call that was made. */
#include <stdlib.h>
#include <string.h>

#include "codec/json_writer.h"
#include "control/gateway/http_body.h"
#include "control/gateway/relay_internal.h"

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

void answer_error(struct relay *r, int code, str text) {
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

/* --- answers of a replica --- */

bool is_hop_by_hop(str name, const struct http_header *headers, size_t n) {
    static const char *const names[] = {"connection",        "keep-alive",      "te",     "trailer",
                                        "transfer-encoding", "upgrade",         "expect", "host",
                                        "content-length",    "proxy-connection"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (http_name_eq(name, str_from_c(names[i])))
            return true;
    for (size_t i = 0; i < n; i++) {
        str listed = headers[i].value, option;
        while (http_name_eq(headers[i].name, STR("connection")) && str_next(&listed, ',', &option))
            if (http_name_eq(str_trim(option), name))
                return true;
    }
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

static void pass_drained(struct exchange *x) {
    struct relay *r = x->user;
    client_resume(&r->call);
}

void answer_pass_on(struct relay *r, const struct client_response *in) {
    struct segment body = SEGMENT_TRANSIENT_STR(in->body);
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

/* Answers a predict: the container's JSON object with the model's names put in at its end. */
static void answer_predict(struct relay *r, int code, struct segment body) {
    static const char blanks[] = " \t\r\n";
    str s = {.p = body.p, .n = body.n};
    size_t from = 0;
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
        segments_release(&body, 1);
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

/* Answers a wrapped rawPredict. */
static void answer_wrapped(struct relay *r, int code, struct segment body) {
    struct buffer text = {.size_max = 2 * (size_t)ANSWER_SIZE_MAX};
    struct http_body http_body = {.content_type = r->answer_type,
                                  .data = {.p = body.p, .n = body.n}};
    struct error err;
    status st = http_body_write(&text, &http_body, r->is_list, &err);
    segments_release(&body, 1);
    if (st != STATUS_OK) {
        buffer_done(&text);
        answer_error(r, 500, str_from_c(err.text));
        return;
    }
    struct segment all = {
        .p = text.p, .n = text.n, .life = SEGMENT_OWNED, .release = free, .release_arg = text.p};
    exchange_respond(take_exchange(r),
                     &(struct response){.status = code,
                                        .content_type = STR("application/json; charset=UTF-8"),
                                        .headers = r->model->headers,
                                        .n_headers = ARRAY_LEN(r->model->headers),
                                        .body = &all,
                                        .n_body = 1});
}

void answer_collected(struct relay *r, int code, struct segment body) {
    if (code >= 200 && code <= 299) {
        if (r->kind == RELAY_WRAPPED)
            answer_wrapped(r, code, body);
        else
            answer_predict(r, code, body);
        return;
    }
    answer_container_error(r, code, (str){.p = body.p, .n = body.n});
    segments_release(&body, 1);
}
