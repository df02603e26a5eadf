/* log.h - one logfmt line per event on stderr.
 *
 *     log_info("repository", "model loaded", "model=%s version=%d", name, version);
 *     ts=2026-11-24T08:45:13.123456Z level=info mod=repository msg="model loaded" model=a version=1
 *
 * Libraries return, programs log: base codec tensor ops plan kernels compiler engine net
 * never call this. Values that may hold spaces or quotes go through log_quote(). Any thread:
 * a line is one write(2). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/attr.h"

typedef enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG } log_level;

void log_set_level(log_level most_verbose); /* at start, before threads; default LOG_INFO */
log_level log_get_level(void);

/* `fields` is a printf format of "key=value" words, or "" for none. */
void log_event(log_level level, const char *mod, const char *msg, const char *fields, ...)
    ATTR_PRINTF(4, 5);

#define log_error(mod, msg, ...) log_event(LOG_ERROR, mod, msg, __VA_ARGS__)
#define log_warn(mod, msg, ...)  log_event(LOG_WARN, mod, msg, __VA_ARGS__)
#define log_info(mod, msg, ...)  log_event(LOG_INFO, mod, msg, __VA_ARGS__)
#define log_debug(mod, msg, ...)                                                                   \
    do {                                                                                           \
        if (log_get_level() >= LOG_DEBUG)                                                          \
            log_event(LOG_DEBUG, mod, msg, __VA_ARGS__);                                           \
    } while (0)

enum { LOG_QUOTE_SIZE = 600 };
/* `text` in double quotes with \" \\ \n and control bytes escaped, cut to fit; returns `out`. */
char *log_quote(const char *text, char out[LOG_QUOTE_SIZE]);

#endif
