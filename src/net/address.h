/* address.h - where to listen or connect: "127.0.0.1:8000", "[::1]:8000", "localhost:8000",
 * ":8000" (loopback), "unix:/run/x.sock". */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/status.h"
#include "base/str.h"

struct net_address {
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    } sa;
    socklen_t size;
};

/* Numeric addresses, "localhost" and unix paths only: never asks a name server, so loop
 * threads may call it. INVALID_ARGUMENT names what was found. */
NODISCARD status net_address_parse(struct net_address *out, str text, struct error *err);

/* As net_address_parse(), and also host names (blocks). UNAVAILABLE: the name is not known. */
NODISCARD status net_address_resolve(struct net_address *out, str text, struct error *err);

enum { NET_ADDRESS_TEXT_SIZE = 128 };
/* The form that net_address_parse() reads; returns `out`. */
char *net_address_format(const struct net_address *a, char out[NET_ADDRESS_TEXT_SIZE]);

bool net_address_is_loopback(const struct net_address *a); /* unix sockets too */
int net_address_port(const struct net_address *a);         /* 0: a unix socket */

/* Opens a listening socket, non-blocking and close-on-exec. ALREADY_EXISTS: the address is in
 * use; PERMISSION_DENIED. A unix path that nobody listens on any more is replaced. */
NODISCARD status net_listen(int *fd, const struct net_address *a, struct error *err);

/* The address that a listening socket is bound to (a port 0 has become a real one). */
NODISCARD status net_address_of_socket(struct net_address *out, int fd, struct error *err);

#endif
