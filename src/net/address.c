#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { HOST_SIZE = 256, LISTEN_BACKLOG = 4096 };

static status parse_unix(struct net_address *out, str path, struct error *err) {
    struct net_address a = {.sa.un.sun_family = AF_UNIX};
    if (path.n == 0 || path.n >= sizeof a.sa.un.sun_path)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unix path \"%.*s\" is %zu bytes, wanted 1 to %zu", STR_ARG(path), path.n,
                         sizeof a.sa.un.sun_path - 1);
    memcpy(a.sa.un.sun_path, path.p, path.n);
    a.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    *out = a;
    return STATUS_OK;
}

/* Splits "host:port"; host loses its brackets. */
static status split(str text, char host[HOST_SIZE], int64_t *port, struct error *err) {
    ptrdiff_t colon = str_find_last(text, ':');
    str h = str_slice(text, 0, colon < 0 ? 0 : (size_t)colon);
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = str_slice(h, 1, h.n - 1);
    if (colon < 0 || h.n >= HOST_SIZE ||
        !str_to_int64(str_slice(text, (size_t)colon + 1, text.n), port) || *port < 0 ||
        *port > 65535)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "address \"%.*s\" is not HOST:PORT or unix:PATH", STR_ARG(text));
    memcpy(host, h.p, h.n);
    host[h.n] = '\0';
    return STATUS_OK;
}

static bool numeric(struct net_address *out, const char *host, int64_t port) {
    struct net_address a = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a.sa.storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a.sa.storage;
    const char *text = !*host || strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        a.size = sizeof *v4;
    } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        a.size = sizeof *v6;
    } else {
        return false;
    }
    *out = a;
    return true;
}

status net_address_parse(struct net_address *out, str text, struct error *err) {
    if (str_starts(text, STR("unix:")))
        return parse_unix(out, str_slice(text, 5, text.n), err);
    char host[HOST_SIZE];
    int64_t port;
    TRY(split(text, host, &port, err));
    if (!numeric(out, host, port))
        return error_set(err, STATUS_INVALID_ARGUMENT, "address \"%.*s\": \"%s\" is not an IP",
                         STR_ARG(text), host);
    return STATUS_OK;
}

status net_address_resolve(struct net_address *out, str text, struct error *err) {
    if (str_starts(text, STR("unix:")))
        return parse_unix(out, str_slice(text, 5, text.n), err);
    char host[HOST_SIZE];
    int64_t port;
    TRY(split(text, host, &port, err));
    if (numeric(out, host, port))
        return STATUS_OK;
    char service[8];
    snprintf(service, sizeof service, "%d", (int)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    int e = getaddrinfo(host, service, &hints, &found);
    if (e != 0)
        return error_set(err, STATUS_UNAVAILABLE, "host \"%s\": %s", host, gai_strerror(e));
    *out = (struct net_address){.size = found->ai_addrlen};
    memcpy(&out->sa, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return STATUS_OK;
}

char *net_address_format(const struct net_address *a, char out[NET_ADDRESS_TEXT_SIZE]) {
    char host[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->sa.storage;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->sa.storage;
    if (a->sa.any.sa_family == AF_UNIX) {
        snprintf(out, NET_ADDRESS_TEXT_SIZE, "unix:%s",
                 a->size > sizeof(sa_family_t) ? a->sa.un.sun_path : "");
    } else if (a->sa.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(out, NET_ADDRESS_TEXT_SIZE, "[%s]:%d", host, ntohs(v6->sin6_port));
    } else {
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(out, NET_ADDRESS_TEXT_SIZE, "%s:%d", host, ntohs(v4->sin_port));
    }
    return out;
}

bool net_address_is_loopback(const struct net_address *a) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->sa.storage;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->sa.storage;
    if (a->sa.any.sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    if (a->sa.any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    return a->sa.any.sa_family == AF_UNIX;
}

int net_address_port(const struct net_address *a) {
    if (a->sa.any.sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&a->sa.storage)->sin_port);
    if (a->sa.any.sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&a->sa.storage)->sin6_port);
    return 0;
}

/* A socket file that refuses connections is left over from a dead process. */
static bool remove_stale(const struct net_address *a) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_stale = fd >= 0 && connect(fd, &a->sa.any, a->size) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return is_stale && unlink(a->sa.un.sun_path) == 0;
}

status net_listen(int *fd, const struct net_address *a, struct error *err) {
    char text[NET_ADDRESS_TEXT_SIZE];
    int family = a->sa.any.sa_family, one = 1;
    int s = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return error_set(err, file_status(errno), "socket: %s", strerror(errno));
    if (family != AF_UNIX) {
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted ones inherit it */
    }
    int e = bind(s, &a->sa.any, a->size) == 0 ? 0 : errno;
    if (e == EADDRINUSE && family == AF_UNIX && remove_stale(a))
        e = bind(s, &a->sa.any, a->size) == 0 ? 0 : errno;
    if (e == 0 && listen(s, LISTEN_BACKLOG) != 0)
        e = errno;
    if (e == 0) {
        *fd = s;
        return STATUS_OK;
    }
    close(s);
    return error_set(err, e == EADDRINUSE ? STATUS_ALREADY_EXISTS : file_status(e),
                     "listen on %s: %s", net_address_format(a, text), strerror(e));
}

status net_address_of_socket(struct net_address *out, int fd, struct error *err) {
    struct net_address a = {.size = sizeof a.sa};
    if (getsockname(fd, &a.sa.any, &a.size) != 0)
        return error_set(err, file_status(errno), "getsockname of %d: %s", fd, strerror(errno));
    *out = a;
    return STATUS_OK;
}
