/* clock.h - time, injected so that tests can own it.
 *
 * Deadlines are absolute nanoseconds of the monotonic clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

enum { NS_PER_US = 1000, NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

struct clock {
    int64_t (*now_ns)(const struct clock *c); /* monotonic */
};

/* The machine's CLOCK_MONOTONIC. */
const struct clock *clock_system(void);

static inline int64_t clock_now(const struct clock *c) {
    return c->now_ns(c);
}

/* What the calling thread has computed so far, waiting not counted. A system call, unlike now. */
int64_t thread_cpu_ns(void);

/* For tests: stands still until it is advanced. */
struct fake_clock {
    struct clock base;
    int64_t now_ns;
};
void fake_clock_init(struct fake_clock *c, int64_t now_ns);
void fake_clock_advance(struct fake_clock *c, int64_t by_ns);

/* Wall time, nanoseconds since 1970: for time stamps that people and wires see. */
int64_t wall_now_ns(void);

enum { WALL_TEXT_SIZE = 32 };
/* RFC 3339 in UTC with microseconds, "2026-11-24T08:45:13.123456Z"; returns `out`. */
char *wall_format(int64_t ns, char out[WALL_TEXT_SIZE]);

#endif
