/* guard.h - a mapped file that somebody cuts short costs an error, not the process.
 *
 * `cp new.plan model.plan` cuts the old file under the mappings of whoever runs it; the next read
 * there is a SIGBUS. A program that calls guard_install() reads zeroes instead, in mappings that
 * are under a guard, and their owners ask guard_is_cut() before they believe what they computed. A
 * library leaves signals to its host: without guard_install() nothing changes. Any thread. */
#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

enum { GUARDS_MAX = 4096 };

void guard_install(void); /* at the start of the program */

struct guard;

/* Guards the mapping at p, page-aligned. NULL when GUARDS_MAX are in use: it is not guarded. */
struct guard *guard_add(const void *p, size_t size);
void guard_remove(struct guard *g); /* before the mapping goes; NULL is fine */

/* Has a read met the end of the file? From the first such page on the mapping is zeroes. */
bool guard_is_cut(const struct guard *g); /* NULL: false */

#endif
