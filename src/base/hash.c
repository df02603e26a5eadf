#include "base/hash.h"

#include <string.h>

static const uint64_t K = 0x9e3779b97f4a7c15u;

/* The high and the low half of a 128-bit product carry every input bit. */
static uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t read64(const unsigned char *p) {
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed) {
    const unsigned char *p = bytes;
    uint64_t a = seed ^ K, b = mix(seed + K, K), rest = size;
    for (; rest >= 32; rest -= 32, p += 32) {
        a = mix(read64(p) ^ K, read64(p + 8) ^ a);
        b = mix(read64(p + 16) ^ (K >> 1), read64(p + 24) ^ b);
    }
    for (; rest >= 8; rest -= 8, p += 8)
        a = mix(read64(p) ^ K, a);
    uint64_t tail = 0;
    if (rest)
        memcpy(&tail, p, rest);
    return mix(mix(a ^ tail, b ^ K), size ^ K);
}
