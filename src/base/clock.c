#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t system_now(const struct clock *c) {
    (void)c;
    return read_clock(CLOCK_MONOTONIC);
}

const struct clock *clock_system(void) {
    static const struct clock c = {.now_ns = system_now};
    return &c;
}

static int64_t fake_now(const struct clock *c) {
    return ((const struct fake_clock *)c)->now_ns;
}

int64_t thread_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

void fake_clock_init(struct fake_clock *c, int64_t now_ns) {
    *c = (struct fake_clock){.base = {.now_ns = fake_now}, .now_ns = now_ns};
}

void fake_clock_advance(struct fake_clock *c, int64_t by_ns) {
    c->now_ns += by_ns;
}

int64_t wall_now_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

char *wall_format(int64_t ns, char out[WALL_TEXT_SIZE]) {
    time_t seconds = (time_t)(ns / NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char date[21];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, WALL_TEXT_SIZE, "%s.%06dZ", date, (int)(ns % NS_PER_S / 1000));
    return out;
}
