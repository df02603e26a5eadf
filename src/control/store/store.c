#include "control/store/store.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

enum { SCHEMA_VERSION = 1, BUSY_WAIT_MS = 2000 };

/* Watches read at most this many revisions at once. */
enum { WATCH_REVISIONS_MAX = 1000 };

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_GET,
    SQL_LIST,
    SQL_COUNT,
    SQL_PUT,
    SQL_DELETE,
    SQL_EVENT_ADD,
    SQL_EVENT_TRIM,
    SQL_EVENT_LIST,
    SQL_N,
};

static const char *const sql_texts[SQL_N] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_GET] = "SELECT value, revision FROM entry WHERE key = ?1",
    [SQL_LIST] = "SELECT key, value, revision FROM entry WHERE key > ?1 AND key >= ?2 AND key < ?3"
                 " ORDER BY key LIMIT ?4",
    [SQL_COUNT] = "SELECT count(*) FROM entry WHERE key >= ?1 AND key < ?2",
    [SQL_PUT] = "INSERT INTO entry (key, value, revision) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3",
    [SQL_DELETE] = "DELETE FROM entry WHERE key = ?1",
    [SQL_EVENT_ADD] = "INSERT INTO event (revision, ordinal, key) VALUES (?1, ?2, ?3)",
    [SQL_EVENT_TRIM] = "DELETE FROM event WHERE revision <= ?1",
    [SQL_EVENT_LIST] = "SELECT event.key, entry.value, entry.revision, event.revision"
                       " FROM event LEFT JOIN entry ON entry.key = event.key"
                       " WHERE event.revision > ?1 AND event.revision <= ?2"
                       " AND event.key >= ?3 AND event.key < ?4"
                       " ORDER BY event.revision, event.ordinal",
};

static const char schema[] =
    "CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE event (revision INTEGER, ordinal INTEGER, key TEXT NOT NULL,"
    " PRIMARY KEY (revision, ordinal)) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

struct store {
    struct mutex lock;   /* guards all below, the connection too */
    struct cond changed; /* a commit was made, or a watch is woken */
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_N];
    int64_t revision;
};

struct store_watch {
    struct store *store;
    char prefix[STORE_KEY_MAX + 1];
    int64_t since;
    bool is_woken; /* under store->lock */
};

static status db_status(int code) {
    switch (code & 0xff) {
    case SQLITE_FULL:
        return STATUS_RESOURCE_EXHAUSTED;
    case SQLITE_NOMEM:
        return STATUS_RESOURCE_EXHAUSTED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return STATUS_DATA_LOSS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return STATUS_FAILED_PRECONDITION;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return STATUS_PERMISSION_DENIED;
    default:
        return STATUS_INTERNAL;
    }
}

static status db_error(struct store *s, const char *what, struct error *err) {
    int code = sqlite3_extended_errcode(s->db);
    if ((code & 0xff) == SQLITE_FULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "There is no space left on the disk of the control plane's data.");
    if (db_status(code) == STATUS_DATA_LOSS)
        return error_set(err, STATUS_DATA_LOSS,
                         "The control plane's data are damaged (%s, sqlite %d): put a copy of "
                         "state.db back, or move it away to begin anew.",
                         sqlite3_errmsg(s->db), code);
    return error_set(err, db_status(code), "%s: %s (sqlite %d)", what, sqlite3_errmsg(s->db), code);
}

static sqlite3_stmt *sql(struct store *s, enum statement which) {
    sqlite3_stmt *q = s->statements[which];
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    return q;
}

static void bind_text(sqlite3_stmt *q, int at, str text) {
    sqlite3_bind_text(q, at, text.n ? text.p : "", (int)text.n, SQLITE_TRANSIENT);
}

static str column(struct arena *a, sqlite3_stmt *q, int at) {
    const char *p = sqlite3_column_blob(q, at);
    return str_copy(a, (str){.p = p ? p : "", .n = (size_t)sqlite3_column_bytes(q, at)});
}

/* Runs a statement that gives no rows. */
static status run(struct store *s, sqlite3_stmt *q, const char *what, struct error *err) {
    int code = sqlite3_step(q);
    status st = code == SQLITE_DONE ? STATUS_OK : db_error(s, what, err);
    sqlite3_reset(q);
    return st;
}

static status execute(struct store *s, const char *text, struct error *err) {
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK ? STATUS_OK
                                                                    : db_error(s, "store", err);
}

static int64_t query_number(struct store *s, const char *text) {
    sqlite3_stmt *q = NULL;
    int64_t number = -1;
    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        number = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return number;
}

static status key_check(str key, struct error *err) {
    if (key.n == 0 || key.n > STORE_KEY_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "key of %zu bytes, wanted 1 to %d", key.n,
                         STORE_KEY_MAX);
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return error_set(err, STATUS_INVALID_ARGUMENT, "key has byte 0x%02x at %zu",
                             (unsigned char)key.p[i], i);
    return STATUS_OK;
}

/* The first key after all that start with `prefix`: no key holds a DEL. */
static str prefix_end(str prefix, char out[STORE_KEY_MAX + 2]) {
    size_t n = prefix.n < STORE_KEY_MAX ? prefix.n : STORE_KEY_MAX;
    if (n)
        memcpy(out, prefix.p, n);
    out[n] = 0x7f;
    out[n + 1] = '\0';
    return (str){.p = out, .n = n + 1};
}

static status open_locked(struct store *s, const char *path, struct error *err) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return db_error(s, path, err);
    sqlite3_busy_timeout(s->db, BUSY_WAIT_MS);
    /* Exclusive: a second process that opens the file is told so, and no shared memory. */
    TRY(execute(s,
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;",
                err));
    int64_t version = query_number(s, "PRAGMA user_version");
    if (version == 0) {
        TRY(execute(s, "BEGIN EXCLUSIVE", err));
        TRY(execute(s, schema, err));
        TRY(execute(s, "COMMIT", err));
    } else if (version != SCHEMA_VERSION) {
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "%s has layout %lld, this program reads %d", path, (long long)version,
                         SCHEMA_VERSION);
    }
    /* Takes the lock for good. */
    TRY(execute(s, "BEGIN IMMEDIATE; COMMIT", err));
    for (int i = 0; i < SQL_N; i++)
        if (sqlite3_prepare_v3(s->db, sql_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &s->statements[i], NULL) != SQLITE_OK)
            return db_error(s, sql_texts[i], err);
    s->revision = query_number(s, "SELECT coalesce(max(revision), 0) FROM event");
    return s->revision >= 0 ? STATUS_OK : db_error(s, path, err);
}

status store_open(struct store **out, const char *path, struct error *err) {
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    mutex_init(&s->lock);
    cond_init(&s->changed);
    status st = open_locked(s, path, err);
    if (st != STATUS_OK) {
        store_close(s);
        return error_wrap(err, st, "open the store \"%s\"", path);
    }
    *out = s;
    return STATUS_OK;
}

void store_close(struct store *s) {
    if (!s)
        return;
    for (int i = 0; i < SQL_N; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    cond_done(&s->changed);
    mutex_done(&s->lock);
    free(s);
}

status store_get(struct store *s, struct arena *a, str key, struct store_entry *out,
                 struct error *err) {
    TRY(key_check(key, err));
    mutex_lock(&s->lock);
    sqlite3_stmt *q = sql(s, SQL_GET);
    bind_text(q, 1, key);
    int code = sqlite3_step(q);
    status st = STATUS_OK;
    if (code == SQLITE_ROW)
        *out = (struct store_entry){.key = str_copy(a, key),
                                    .value = column(a, q, 0),
                                    .revision = sqlite3_column_int64(q, 1)};
    else if (code == SQLITE_DONE)
        st = error_set(err, STATUS_NOT_FOUND, "no key \"%.*s\"", STR_ARG(key));
    else
        st = db_error(s, "read", err);
    sqlite3_reset(q);
    mutex_unlock(&s->lock);
    return st;
}

status store_list(struct store *s, struct arena *a, const struct store_range *range,
                  struct store_entry **out, size_t *n, struct error *err) {
    size_t limit = range->limit && range->limit < STORE_LIST_MAX ? range->limit : STORE_LIST_MAX;
    if (range->prefix.n > STORE_KEY_MAX || range->after.n > STORE_KEY_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "prefix of %zu bytes, wanted at most %d",
                         range->prefix.n > range->after.n ? range->prefix.n : range->after.n,
                         STORE_KEY_MAX);
    char end[STORE_KEY_MAX + 2];
    struct store_entry *entries = arena_array(a, struct store_entry, limit);
    size_t n_entries = 0;
    mutex_lock(&s->lock);
    sqlite3_stmt *q = sql(s, SQL_LIST);
    bind_text(q, 1, range->after);
    bind_text(q, 2, range->prefix);
    bind_text(q, 3, prefix_end(range->prefix, end));
    sqlite3_bind_int64(q, 4, (int64_t)limit);
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW && n_entries < limit)
        entries[n_entries++] = (struct store_entry){.key = column(a, q, 0),
                                                    .value = column(a, q, 1),
                                                    .revision = sqlite3_column_int64(q, 2)};
    status st = code == SQLITE_DONE || code == SQLITE_ROW ? STATUS_OK : db_error(s, "list", err);
    sqlite3_reset(q);
    mutex_unlock(&s->lock);
    TRY(st);
    *out = entries;
    *n = n_entries;
    return STATUS_OK;
}

status store_count(struct store *s, str prefix, size_t *n, struct error *err) {
    if (prefix.n > STORE_KEY_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "prefix of %zu bytes, wanted at most %d",
                         prefix.n, STORE_KEY_MAX);
    char end[STORE_KEY_MAX + 2];
    mutex_lock(&s->lock);
    sqlite3_stmt *q = sql(s, SQL_COUNT);
    bind_text(q, 1, prefix);
    bind_text(q, 2, prefix_end(prefix, end));
    status st = STATUS_OK;
    if (sqlite3_step(q) == SQLITE_ROW)
        *n = (size_t)sqlite3_column_int64(q, 0);
    else
        st = db_error(s, "count", err);
    sqlite3_reset(q);
    mutex_unlock(&s->lock);
    return st;
}

/* The revision that `key` has now, 0 when it is not there. */
static status revision_locked(struct store *s, str key, int64_t *out, struct error *err) {
    sqlite3_stmt *q = sql(s, SQL_GET);
    bind_text(q, 1, key);
    int code = sqlite3_step(q);
    *out = code == SQLITE_ROW ? sqlite3_column_int64(q, 1) : 0;
    status st = code == SQLITE_ROW || code == SQLITE_DONE ? STATUS_OK : db_error(s, "read", err);
    sqlite3_reset(q);
    return st;
}

static status expect_locked(struct store *s, const struct store_change *c, int64_t *found,
                            struct error *err) {
    TRY(revision_locked(s, c->key, found, err));
    if (c->expected == STORE_ANY || c->expected == *found)
        return STATUS_OK;
    if (c->expected == STORE_ABSENT)
        return error_set(err, STATUS_ALREADY_EXISTS, "key \"%.*s\" is there already",
                         STR_ARG(c->key));
    return error_set(err, STATUS_ABORTED, "key \"%.*s\" is at revision %lld, expected %lld",
                     STR_ARG(c->key), (long long)*found, (long long)c->expected);
}

static status event_add_locked(struct store *s, int64_t revision, size_t ordinal, str key,
                               struct error *err) {
    sqlite3_stmt *q = sql(s, SQL_EVENT_ADD);
    sqlite3_bind_int64(q, 1, revision);
    sqlite3_bind_int64(q, 2, (int64_t)ordinal);
    bind_text(q, 3, key);
    return run(s, q, "write", err);
}

static status change_locked(struct store *s, const struct store_change *c, int64_t revision,
                            size_t ordinal, bool *is_changed, struct error *err) {
    int64_t found;
    TRY(expect_locked(s, c, &found, err));
    if (c->op == STORE_CHECK || (c->op == STORE_DELETE && found == 0))
        return STATUS_OK;
    *is_changed = true;
    sqlite3_stmt *q = sql(s, c->op == STORE_PUT ? SQL_PUT : SQL_DELETE);
    bind_text(q, 1, c->key);
    if (c->op == STORE_PUT) {
        sqlite3_bind_blob(q, 2, c->value.n ? c->value.p : "", (int)c->value.n, SQLITE_STATIC);
        sqlite3_bind_int64(q, 3, revision);
    }
    TRY(run(s, q, "write", err));
    return event_add_locked(s, revision, ordinal, c->key, err);
}

static status changes_locked(struct store *s, const struct store_change *changes, size_t n,
                             bool *is_changed, struct error *err) {
    int64_t revision = s->revision + 1;
    for (size_t i = 0; i < n; i++)
        TRY(change_locked(s, &changes[i], revision, i, is_changed, err));
    sqlite3_stmt *trim = sql(s, SQL_EVENT_TRIM);
    sqlite3_bind_int64(trim, 1, revision - STORE_HISTORY_MAX);
    TRY(run(s, trim, "trim", err));
    return run(s, sql(s, SQL_COMMIT), "commit", err);
}

static status commit_locked(struct store *s, const struct store_change *changes, size_t n,
                            int64_t *revision, struct error *err) {
    bool is_changed = false;
    TRY(run(s, sql(s, SQL_BEGIN), "begin", err));
    status st = changes_locked(s, changes, n, &is_changed, err);
    if (st != STATUS_OK) {
        struct error ignored; /* the first error is the one that says why */
        if (!sqlite3_get_autocommit(s->db) &&
            run(s, sql(s, SQL_ROLLBACK), "roll back", &ignored) != STATUS_OK)
            return STATUS_INTERNAL;
        return st;
    }
    if (is_changed) {
        s->revision++;
        cond_broadcast(&s->changed);
    }
    if (revision)
        *revision = s->revision;
    return STATUS_OK;
}

status store_commit(struct store *s, const struct store_change *changes, size_t n,
                    int64_t *revision, struct error *err) {
    if (n > STORE_CHANGES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a commit of %zu changes, at most %d", n,
                         STORE_CHANGES_MAX);
    for (size_t i = 0; i < n; i++) {
        TRY(key_check(changes[i].key, err));
        if (changes[i].op == STORE_PUT && changes[i].value.n > STORE_VALUE_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                             "the value of \"%.*s\" is %zu bytes, at most %d",
                             STR_ARG(changes[i].key), changes[i].value.n, STORE_VALUE_MAX);
    }
    mutex_lock(&s->lock);
    status st = commit_locked(s, changes, n, revision, err);
    mutex_unlock(&s->lock);
    return st;
}

status store_put(struct store *s, str key, str value, int64_t expected, int64_t *revision,
                 struct error *err) {
    struct store_change c = {.op = STORE_PUT, .key = key, .value = value, .expected = expected};
    return store_commit(s, &c, 1, revision, err);
}

status store_delete(struct store *s, str key, int64_t expected, struct error *err) {
    struct store_change c = {.op = STORE_DELETE, .key = key, .expected = expected};
    return store_commit(s, &c, 1, NULL, err);
}

int64_t store_revision(struct store *s) {
    mutex_lock(&s->lock);
    int64_t revision = s->revision;
    mutex_unlock(&s->lock);
    return revision;
}

status store_watch(struct store_watch **out, struct store *s, str prefix, int64_t since,
                   struct error *err) {
    if (prefix.n > STORE_KEY_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "prefix of %zu bytes, wanted at most %d",
                         prefix.n, STORE_KEY_MAX);
    struct store_watch *w = calloc(1, sizeof *w);
    if (!w)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    w->store = s;
    w->since = since;
    if (prefix.n)
        memcpy(w->prefix, prefix.p, prefix.n);
    *out = w;
    return STATUS_OK;
}

void store_watch_free(struct store_watch *w) {
    free(w);
}

static status events_locked(struct store_watch *w, struct arena *a, int64_t until,
                            struct store_entry **out, size_t *n, struct error *err) {
    struct store *s = w->store;
    char end[STORE_KEY_MAX + 2];
    str prefix = str_from_c(w->prefix);
    size_t n_max = (size_t)(until - w->since) * STORE_CHANGES_MAX, n_entries = 0, capacity = 0;
    struct store_entry *entries = NULL;
    sqlite3_stmt *q = sql(s, SQL_EVENT_LIST);
    sqlite3_bind_int64(q, 1, w->since);
    sqlite3_bind_int64(q, 2, until);
    bind_text(q, 3, prefix);
    bind_text(q, 4, prefix_end(prefix, end));
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW && n_entries < n_max) {
        if (n_entries == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            struct store_entry *more = arena_array(a, struct store_entry, capacity);
            if (n_entries)
                memcpy(more, entries, n_entries * sizeof *more);
            entries = more;
        }
        bool is_deleted = sqlite3_column_type(q, 1) == SQLITE_NULL;
        entries[n_entries++] = (struct store_entry){
            .key = column(a, q, 0),
            .value = is_deleted ? STR("") : column(a, q, 1),
            .revision = sqlite3_column_int64(q, is_deleted ? 3 : 2),
            .is_deleted = is_deleted,
        };
    }
    status st = code == SQLITE_DONE || code == SQLITE_ROW ? STATUS_OK : db_error(s, "watch", err);
    sqlite3_reset(q);
    *out = entries;
    *n = n_entries;
    return st;
}

static status next_locked(struct store_watch *w, struct arena *a, int64_t deadline_ns,
                          struct store_entry **out, size_t *n, struct error *err) {
    struct store *s = w->store;
    for (;;) {
        while (s->revision == w->since && !w->is_woken)
            if (!cond_wait_until(&s->changed, &s->lock, deadline_ns))
                break;
        if (s->revision == w->since) {
            w->is_woken = false;
            return STATUS_OK;
        }
        if (w->since < s->revision - STORE_HISTORY_MAX)
            return error_set(err, STATUS_OUT_OF_RANGE,
                             "watch from revision %lld, the history begins at %lld",
                             (long long)w->since, (long long)(s->revision - STORE_HISTORY_MAX));
        int64_t until = s->revision;
        if (until > w->since + WATCH_REVISIONS_MAX)
            until = w->since + WATCH_REVISIONS_MAX;
        TRY(events_locked(w, a, until, out, n, err));
        w->since = until;
        if (*n > 0)
            return STATUS_OK;
    }
}

status store_watch_next(struct store_watch *w, struct arena *a, int64_t deadline_ns,
                        struct store_entry **out, size_t *n, struct error *err) {
    *out = NULL;
    *n = 0;
    mutex_lock(&w->store->lock);
    status st = next_locked(w, a, deadline_ns, out, n, err);
    mutex_unlock(&w->store->lock);
    return st;
}

void store_watch_skip(struct store_watch *w) {
    mutex_lock(&w->store->lock);
    w->since = w->store->revision;
    mutex_unlock(&w->store->lock);
}

void store_watch_wake(struct store_watch *w) {
    mutex_lock(&w->store->lock);
    w->is_woken = true;
    cond_broadcast(&w->store->changed);
    mutex_unlock(&w->store->lock);
}
