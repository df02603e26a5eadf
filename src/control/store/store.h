/* store.h - what the control plane remembers: keys, values, revisions, compare-and-swap, watch.
 *
 * To the rest of the program this is all there is: no SQL leaves this folder. Every commit is
 * one step from revision N to N + 1, all of its changes or none, and is on the disk when the
 * call returns (a kill -9 or a power cut after that loses nothing).
 *
 * Keys are printable ASCII without spaces; lists and watches come by prefix, in byte order.
 * Any thread; one commit at a time, inside. A call may block for a disk write: never on a
 * loop thread. */
#ifndef CONTROL_STORE_STORE_H
#define CONTROL_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/status.h"
#include "base/str.h"

enum {
    STORE_KEY_MAX = 1024,      /* bytes */
    STORE_VALUE_MAX = 4 << 20, /* bytes */
    STORE_CHANGES_MAX = 64,    /* of one commit */
    STORE_HISTORY_MAX = 10000, /* revisions that a watch can look back */
    STORE_LIST_MAX = 1000,     /* entries that one store_list() gives */
};

/* What a change expects its key's revision to be, when it is not a number > 0. */
enum { STORE_ANY = -1, STORE_ABSENT = 0 };

struct store_entry {
    str key, value;
    int64_t revision; /* of the commit that wrote the value */
    bool is_deleted;  /* only from a watch; the value is empty then */
};

typedef enum store_op {
    STORE_PUT,
    STORE_DELETE, /* a key that is not there: nothing to do, unless `expected` says otherwise */
    STORE_CHECK,  /* changes nothing: the commit stands or falls with `expected` */
} store_op;

struct store_change {
    store_op op;
    str key, value;
    int64_t expected;
};

struct store;

/* Opens the file `path`, which is made where it is missing. FAILED_PRECONDITION: another
 * process has it open, or a newer culmen wrote it. DATA_LOSS: it is damaged. */
NODISCARD status store_open(struct store **out, const char *path, struct error *err);
void store_close(struct store *s);
DEFINE_CLEANUP(struct store, store_close)

/* The value is copied into `a`. NOT_FOUND. */
NODISCARD status store_get(struct store *s, struct arena *a, str key, struct store_entry *out,
                           struct error *err);

/* The entries whose key starts with `prefix` and is greater than `after` (empty: from the
 * first), at most `limit` and STORE_LIST_MAX (0: that). */
struct store_range {
    str prefix, after;
    size_t limit;
};

/* Copied into `a`, in the order of keys. Fewer than the limit is the end. */
NODISCARD status store_list(struct store *s, struct arena *a, const struct store_range *range,
                            struct store_entry **out, size_t *n, struct error *err);

/* How many keys start with `prefix`. */
NODISCARD status store_count(struct store *s, str prefix, size_t *n, struct error *err);

/* All changes or none. ABORTED: a key is not at the expected revision; ALREADY_EXISTS: it is
 * there and was expected not to be; RESOURCE_EXHAUSTED: no space on the disk, or over a limit.
 * `revision` (may be NULL) is the new one. */
NODISCARD status store_commit(struct store *s, const struct store_change *changes, size_t n,
                              int64_t *revision, struct error *err);

NODISCARD status store_put(struct store *s, str key, str value, int64_t expected, int64_t *revision,
                           struct error *err);
NODISCARD status store_delete(struct store *s, str key, int64_t expected, struct error *err);

int64_t store_revision(struct store *s);

/* The changes under a prefix after revision `since`. A watch belongs to one thread and ends
 * before its store. */
struct store_watch;
NODISCARD status store_watch(struct store_watch **out, struct store *s, str prefix, int64_t since,
                             struct error *err);
void store_watch_free(struct store_watch *w);
DEFINE_CLEANUP(struct store_watch, store_watch_free)

/* Waits until there is a change, `deadline_ns` (monotonic) passes, or the watch is woken; the
 * latter two give n = 0. A key that changed several times comes several times, each with the
 * value that it has now. OUT_OF_RANGE: it looked back further than STORE_HISTORY_MAX;
 * store_watch_skip() and list anew. */
NODISCARD status store_watch_next(struct store_watch *w, struct arena *a, int64_t deadline_ns,
                                  struct store_entry **out, size_t *n, struct error *err);

/* Goes on from the present revision, leaving out what was not looked at. */
void store_watch_skip(struct store_watch *w);

/* Makes one store_watch_next() return early. Any thread. */
void store_watch_wake(struct store_watch *w);

#endif
