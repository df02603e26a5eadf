#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static log_level level_max = LOG_INFO;

void log_set_level(log_level most_verbose) {
    level_max = most_verbose;
}

log_level log_get_level(void) {
    return level_max;
}

char *log_quote(const char *text, char out[LOG_QUOTE_SIZE]) {
    size_t n = 0;
    out[n++] = '"';
    for (; *text && n < LOG_QUOTE_SIZE - 7; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c == '\n') {
            out[n++] = '\\';
            out[n++] = 'n';
        } else if (c < 0x20 || c == 0x7f) {
            n += (size_t)snprintf(out + n, 5, "\\x%02x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}

void log_event(log_level level, const char *mod, const char *msg, const char *fields, ...) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if (level > level_max)
        return;
    char line[2048], ts[WALL_TEXT_SIZE], quoted[LOG_QUOTE_SIZE];
    int n = snprintf(line, sizeof line, "ts=%s level=%s mod=%s msg=%s",
                     wall_format(wall_now_ns(), ts), names[level], mod, log_quote(msg, quoted));
    if (*fields && n < (int)sizeof line - 2) {
        line[n++] = ' ';
        va_list ap;
        va_start(ap, fields);
        n += vsnprintf(line + n, sizeof line - (size_t)n, fields, ap);
        va_end(ap);
    }
    if (n > (int)sizeof line - 1)
        n = (int)sizeof line - 1;
    line[n++] = '\n';
    /* A log line that cannot be written has nowhere to be reported. */
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}
