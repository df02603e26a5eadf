/* http.c - the HTTP port: from an exchange to the handler of its route, and the access log. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/protocol/route.h"

void route_dispatch(struct service *s, str method, str path, struct exchange *x) {
    struct route_call *c = arena_new(&x->arena, struct route_call);
    route_handler handler = NULL;
    c->service = s;
    switch (route_find(method, path, &x->arena, c, &handler)) {
    case ROUTE_FOUND:
        handler(c, x);
        return;
    case ROUTE_WRONG_METHOD:
        reply_error_http(x, 405, "Method Not Allowed");
        return;
    case ROUTE_NOT_FOUND:
        reply_error_http(x, 404, "Not Found");
        return;
    }
}

/* One line a request, once its last byte is on its way. */
static void log_access(void *arg) {
    const struct exchange *x = arg;
    char peer[NET_ADDRESS_TEXT_SIZE], target[LOG_QUOTE_SIZE], method[32];
    char text[512];
    size_t n = x->target.n < sizeof text - 1 ? x->target.n : sizeof text - 1;
    memcpy(text, x->target.p, n);
    text[n] = 0;
    n = x->method.n < sizeof method - 1 ? x->method.n : sizeof method - 1;
    memcpy(method, x->method.p, n);
    method[n] = 0;
    log_info("access", method,
             "target=%s status=%d us=%" PRId64 " in=%" PRIu64 " out=%" PRIu64 " peer=%s%s",
             log_quote(text, target), x->status,
             (clock_now(clock_system()) - x->started_ns) / NS_PER_US, x->bytes_in, x->bytes_out,
             net_address_format(exchange_peer(x), peer), x->is_cancelled ? " cancelled=1" : "");
}

void service_log_access(struct service *s, struct exchange *x) {
    if (s->has_access_log)
        arena_defer(&x->arena, log_access, x);
}

void service_handle_http(void *arg, struct exchange *x) {
    struct service *s = arg;
    service_log_access(s, x);
    route_dispatch(s, x->method, x->path, x);
}
