/* str.h - a view of bytes that are text: pointer and length, no NUL promised.
 *
 * A str borrows; what it points into must outlive it. Immutable. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"

typedef struct str {
    const char *p;
    size_t n;
} str;

/* A str of a string literal. */
#define STR(literal) ((str){.p = "" literal, .n = sizeof(literal) - 1})

/* For printf: printf("%.*s", STR_ARG(s)). Only for texts below 2 GB. */
#define STR_ARG(s) (int)(s).n, (s).p

str str_from_c(const char *s); /* NULL gives the empty str */
bool str_eq(str a, str b);
bool str_eq_c(str a, const char *b);
bool str_starts(str s, str prefix);
bool str_ends(str s, str suffix);
int str_compare(str a, str b); /* as strcmp: bytes, then length */

/* Index of the first / last `c` in s, or -1. */
ptrdiff_t str_find(str s, char c);
ptrdiff_t str_find_last(str s, char c);

/* The part of s that [from, to) covers; both are clipped to s.n. */
str str_slice(str s, size_t from, size_t to);

/* s without leading and trailing spaces, tabs, CR and LF. */
str str_trim(str s);

/* Splits off the text before the first `sep` into *head and leaves the rest in *s;
 * without a `sep` everything is head. False when *s is used up (p is NULL). */
bool str_next(str *s, char sep, str *head);

/* A whole decimal number, nothing around it. False: not a number or out of range. */
bool str_to_int64(str s, int64_t *out);
bool str_to_double(str s, double *out);

/* Write at `to`, which has room, and return the end; no NUL. Safe between fork and exec. */
enum { STR_U64_SIZE = 20 };
char *str_put(char *to, str s);
char *str_put_u64(char *to, uint64_t value);

/* Makes n bytes fit for a terminal and for JSON, in place: control characters (escape sequences
 * of a hostile file's names) and what is no UTF-8 become '?', line ends and tabs a space. */
void str_make_printable(char *p, size_t n);

/* Bytes of the character that `s`, which is not empty, begins with; 0: not printable in that
 * sense. */
size_t str_printable_size(str s);

/* A copy of `s` in `a` that is printable in that sense. */
str str_printable(struct arena *a, str s);

/* Copies into `a`; the copy ends in a NUL that n does not count. */
str str_copy(struct arena *a, str s);
str str_format(struct arena *a, const char *fmt, ...) ATTR_PRINTF(2, 3);

#endif
