/* uri.h - the parts of a request target: percent-decoding, path segments, query parameters. */
#ifndef NET_URI_H
#define NET_URI_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/str.h"

/* Decodes %XX (and '+' as a space where `is_query`). The result is `s` itself when there is
 * nothing to decode. False: a broken escape, or an escaped NUL. */
bool uri_decode(str *out, str s, bool is_query, struct arena *a);

/* Splits off the next segment of a path: "/v2/models" gives "v2", "models". False at the end.
 * Not decoded, so an escaped slash stays inside its segment. */
bool uri_path_next(str *path, str *segment);

/* The first value of parameter `name` in a query, decoded. False: not there, or broken. */
bool uri_query_get(str *out, str query, str name, struct arena *a);

#endif
