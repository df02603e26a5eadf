/* load PORT RATE SECONDS CONNECTIONS BODY_SIZE PATH - open-loop load: request i is due at
 * start + i/RATE, whatever happened to those before it, and its latency counts from when it was due
 * (no coordinated omission). Prints one line of JSON, times in microseconds. Exit status 1 when a
 * request failed. A connection that closes is opened again and its request counts as failed. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_SIZE_MAX = 1 << 20, EVENTS_MAX = 256 };

struct connection {
    int fd;
    bool is_busy;
    double due_us;
    size_t n_read, n_written;
    char *reply;
};

static char *request;
static size_t request_size;
static int epoll_fd;
static struct sockaddr_in address = {.sin_family = AF_INET};

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static bool dial(struct connection *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    return true;
}

static void write_more(struct connection *c) {
    while (c->is_busy && c->n_written < request_size) {
        ssize_t n = send(c->fd, request + c->n_written, request_size - c->n_written, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        c->n_written += (size_t)n;
    }
}

typedef enum outcome { WAITS, GOOD, BAD } outcome;

/* Reads; a whole reply ends the request. Replies have a Content-Length. */
static outcome read_more(struct connection *c) {
    for (;;) {
        ssize_t n = recv(c->fd, c->reply + c->n_read, REPLY_SIZE_MAX - 1 - c->n_read, 0);
        if (n < 0 && errno == EAGAIN)
            return WAITS;
        if (n <= 0)
            return BAD;
        c->n_read += (size_t)n;
        c->reply[c->n_read] = '\0';
        char *end = strstr(c->reply, "\r\n\r\n");
        char *length = end ? strcasestr(c->reply, "\r\ncontent-length:") : NULL;
        if (!end || !length)
            continue;
        size_t size = (size_t)(end + 4 - c->reply) + strtoul(length + 17, NULL, 10);
        if (c->n_read >= size)
            return strncmp(c->reply + 8, " 200", 4) == 0 ? GOOD : BAD;
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 7)
        return fprintf(stderr, "usage: load PORT RATE SECONDS CONNECTIONS BODY_SIZE PATH\n"), 2;
    double rate = atof(argv[2]), seconds = atof(argv[3]);
    size_t n_connections = strtoul(argv[4], NULL, 10), body_size = strtoul(argv[5], NULL, 10);
    size_t total = (size_t)(rate * seconds), n_sent = 0, n_good = 0, n_bad = 0, n_free = 0;
    prctl(PR_SET_TIMERSLACK, 1);
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    request = malloc(body_size + 1024);
    request_size = (size_t)sprintf(request,
                                   "POST %.512s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                   "application/json\r\nContent-Length: %zu\r\n\r\n",
                                   argv[6], body_size);
    memset(request + request_size, '1', body_size);
    request_size += body_size;
    epoll_fd = epoll_create1(0);
    struct connection *all = calloc(n_connections, sizeof *all);
    struct connection **spare = calloc(n_connections, sizeof *spare);
    double *latencies = calloc(total, sizeof *latencies);
    for (size_t i = 0; i < n_connections; i++) {
        all[i].reply = malloc(REPLY_SIZE_MAX);
        if (!dial(&all[i]))
            return perror("connect"), 1;
        spare[n_free++] = &all[i];
    }
    double start = now_us() + 2000, gap = 1e6 / rate, end = start + seconds * 1e6 + 15e6;
    while (n_good + n_bad < total && now_us() < end) {
        while (n_sent < total && n_free > 0 && start + (double)n_sent * gap <= now_us()) {
            struct connection *c = spare[--n_free];
            c->due_us = start + (double)n_sent++ * gap;
            c->is_busy = true;
            c->n_read = c->n_written = 0;
            if (c->fd < 0 && !dial(c)) {
                n_bad++;
                c->is_busy = false;
                spare[n_free++] = c;
                continue;
            }
            write_more(c);
        }
        double wait_us = n_sent < total && n_free ? start + (double)n_sent * gap - now_us() : 5e4;
        struct timespec wait = {.tv_nsec = wait_us > 0 ? (long)(wait_us * 1e3) % 1000000000 : 0};
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_pwait2(epoll_fd, events, EVENTS_MAX, &wait, NULL);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                write_more(c);
            outcome o = events[i].events & ~(uint32_t)EPOLLOUT ? read_more(c) : WAITS;
            if (o == WAITS)
                continue;
            if (o == GOOD && c->is_busy)
                latencies[n_good++] = now_us() - c->due_us;
            else if (c->is_busy)
                n_bad++;
            if (o == BAD) {
                close(c->fd);
                c->fd = -1;
            }
            if (c->is_busy)
                spare[n_free++] = c;
            c->is_busy = false;
        }
    }
    n_bad += n_sent - n_good - n_bad;
    qsort(latencies, n_good, sizeof *latencies, compare);
    double elapsed = (now_us() - start) / 1e6;
    printf("{\"sent\": %zu, \"ok\": %zu, \"failed\": %zu, \"p50\": %.1f, \"p90\": %.1f, \"p99\": "
           "%.1f, \"max\": %.1f, \"rate\": %.0f}\n",
           n_sent, n_good, n_bad, n_good ? latencies[n_good / 2] : 0,
           n_good ? latencies[n_good * 9 / 10] : 0, n_good ? latencies[n_good * 99 / 100] : 0,
           n_good ? latencies[n_good - 1] : 0, (double)n_good / elapsed);
    return n_bad > 0;
}
