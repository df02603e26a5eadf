#include "codec/number_run.h"

#include <math.h>
#include <string.h>

#include "base/isa.h"
#include "codec/number.h"
#include "codec/number_run_internal.h"

/* Where the fast way got nowhere it is not asked again before so many numbers. */
enum { SINGLES = 8 };

struct run {
    const char *p, *behind, *end; /* next to read; behind the last number */
    char *to;
    size_t n_left;
};

static inline const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

/* Reads one number and the comma behind it. False: the run ends. */
static inline bool read_one(struct run *r) {
    struct number n;
    const char *q = number_scan(r->p, r->end, &n);
    if (!q)
        return false;
    float v = number_to_f32(&n, r->p, q);
    if (isinf(v))
        return false;
    memcpy(r->to, &v, sizeof v);
    r->to += sizeof v;
    r->n_left--;
    r->behind = r->p = q;
    if (q == r->end || *q != ',')
        return false;
    r->p = skip_space(r->p + 1, r->end);
    return true;
}

/* Reads numbers and the commas behind them. False: not a single one. */
static inline bool read_many(struct run *r, str text) {
    const char *p = r->p;
    size_t n = number_read_f32_avx2(&p, text, r->to, r->n_left);
    if (!n)
        return false;
    r->to += n * sizeof(float);
    r->n_left -= n;
    r->behind = p - (p[-1] == ' ' ? 2 : 1);
    r->p = skip_space(p, r->end);
    return true;
}

size_t number_run_read_f32(const char **at, str text, char *to, size_t n_max) {
    struct run r = {.p = *at, .behind = *at, .end = text.p + text.n, .to = to, .n_left = n_max};
    bool fast = isa_host() >= ISA_AVX2, goes_on = true;
    while (r.n_left && goes_on) {
        size_t singles = !fast ? SIZE_MAX : read_many(&r, text) ? 1 : SINGLES;
        for (; r.n_left && goes_on && singles; singles--)
            goes_on = read_one(&r);
    }
    *at = r.behind;
    return n_max - r.n_left;
}

char *number_run_write_f32(char *out, const char *from, size_t n) {
    if (isa_host() >= ISA_AVX2)
        return number_write_f32_avx2(out, from, n);
    for (; n; n--, from += sizeof(float)) {
        float v;
        memcpy(&v, from, sizeof v);
        out += number_format_f32(out, v);
        *out++ = ',';
    }
    return out;
}
