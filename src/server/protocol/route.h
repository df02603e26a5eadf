/* route.h - from method and path to a handler. */
#ifndef SERVER_PROTOCOL_ROUTE_H
#define SERVER_PROTOCOL_ROUTE_H

#include "server/protocol/service.h"

/* What a route's pattern caught. Lives in the exchange's arena. */
struct route_call {
    struct service *service;
    str model;       /* decoded */
    int64_t version; /* -1: not in the path */
    str name;        /* $r */
    str version_text;
    bool is_vertex;    /* came by the predict route */
    str header_length; /* vertex: the JSON header's size as the MIME type says it */
};

typedef void (*route_handler)(struct route_call *c, struct exchange *x);

#define ROUTE(method, pattern, handler) void handler(struct route_call *c, struct exchange *x);
#include "server/protocol/routes.def"
#undef ROUTE

typedef enum route_result { ROUTE_FOUND, ROUTE_NOT_FOUND, ROUTE_WRONG_METHOD } route_result;

/* Finds the route of `path`; method.n == 0: any method will do. */
route_result route_find(str method, str path, struct arena *a, struct route_call *out,
                        route_handler *handler);

/* The loaded version that the path names. NOT_FOUND, UNAVAILABLE with Triton's texts. */
NODISCARD status route_find_model(const struct route_call *c, struct model_version **out,
                                  struct error *err);

/* The handler of the HTTP port for a path; also what the predict route's redirect leads to. */
void route_dispatch(struct service *s, str method, str path, struct exchange *x);

#endif
