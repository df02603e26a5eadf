#include "net/http1.h"

#include <string.h>

/* RFC 9110 token characters. */
static const bool token_chars[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1};

static const bool not_host_chars[256] = {
    [' '] = 1, ['\t'] = 1, ['/'] = 1, ['\\'] = 1, ['@'] = 1, ['?'] = 1, ['#'] = 1, [','] = 1};

static http1_result bad(struct http1_error *e, int status, const char *text) {
    *e = (struct http1_error){.status = status, .text = text};
    return HTTP1_BAD;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool http_name_eq(str a, str b) {
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] != b.p[i] && lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

str http_header_find(const struct http_header *headers, size_t n, str name) {
    for (size_t i = 0; i < n; i++)
        if (http_name_eq(headers[i].name, name))
            return headers[i].value;
    return (str){0};
}

/* --- the end of the head --- */

static http1_result too_large(const struct http1_scan *s, bool is_request, struct http1_error *e) {
    if (s->n_lines == 0 && is_request)
        return bad(e, 414, "the request line is too long");
    return bad(e, 431, "the headers are too large");
}

http1_result http1_scan(struct http1_scan *s, const char *p, size_t n, bool is_request,
                        struct http1_error *e) {
    while (s->at < n) {
        if (is_request && s->at == s->start && p[s->at] != '\r' && p[s->at] != '\n' &&
            !token_chars[(unsigned char)p[s->at]])
            return bad(e, 400, "not an HTTP request");
        const char *lf = memchr(p + s->at, '\n', n - s->at);
        size_t at = lf ? (size_t)(lf - p) : n;
        if (at - s->start >= HTTP1_HEAD_SIZE_MAX)
            return too_large(s, is_request, e);
        if (!lf) {
            s->at = n;
            break;
        }
        if (at == s->line || p[at - 1] != '\r')
            return bad(e, 400, "a line ends without CR");
        bool is_empty = at - 1 == s->line;
        s->at = s->line = at + 1;
        if (!is_empty) {
            if (s->n_lines++ > HTTP1_HEADERS_MAX)
                return bad(e, 431, "there are too many headers");
        } else if (s->n_lines > 0) {
            return HTTP1_OK;
        } else if (!is_request || s->n_empty++ >= HTTP1_EMPTY_LINES_MAX) {
            return bad(e, 400, "an empty line where the first line should be");
        } else {
            s->start = s->at;
        }
    }
    return HTTP1_MORE;
}

/* --- lines --- */

static uint64_t load64(const char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

#define EACH_BYTE(x) (0x0101010101010101u * (x))

/* True when no byte is a control character (a tab is fine). */
static bool is_text(const char *p, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x = load64(p + i), del = x ^ EACH_BYTE(0x7f);
        uint64_t below = (x - EACH_BYTE(0x20)) & ~x, is_del = (del - EACH_BYTE(1)) & ~del;
        if ((below | is_del) & EACH_BYTE(0x80))
            break; /* perhaps: look at each */
    }
    for (; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* True when every byte may stand in a request target. */
static bool is_target(str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f)
            return false;
    return s.n > 0;
}

static str trim_blanks(const char *from, const char *to) {
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return (str){.p = from, .n = (size_t)(to - from)};
}

static bool parse_length(str s, int64_t *out) {
    if (s.n == 0 || s.n > 18) /* 18 digits fit an int64_t */
        return false;
    int64_t length = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        length = length * 10 + (s.p[i] - '0');
    }
    *out = length;
    return true;
}

/* What a head says about itself, gathered header by header. */
struct facts {
    struct http1_head *head;
    str host;
    size_t n_hosts, n_codings;
    bool says_close, says_keep_alive, is_request;
};

static http1_result note_connection(struct facts *f, str value) {
    str option;
    while (str_next(&value, ',', &option)) {
        option = str_trim(option);
        f->says_close |= http_name_eq(option, STR("close"));
        f->says_keep_alive |= http_name_eq(option, STR("keep-alive"));
    }
    return HTTP1_OK;
}

static http1_result note_length(struct facts *f, str value, struct http1_error *e) {
    if (f->head->content_length >= 0)
        return bad(e, 400, "Content-Length is given twice");
    if (!parse_length(value, &f->head->content_length))
        return bad(e, 400, "Content-Length is not a number of bytes");
    return HTTP1_OK;
}

static http1_result note_coding(struct facts *f, str value, struct http1_error *e) {
    if (f->n_codings++ > 0)
        return bad(e, 400, "Transfer-Encoding is given twice");
    if (!http_name_eq(value, STR("chunked")))
        return bad(e, f->is_request ? 501 : 400, "the only Transfer-Encoding known is chunked");
    f->head->is_chunked = true;
    return HTTP1_OK;
}

static http1_result note_header(struct facts *f, const struct http_header *h,
                                struct http1_error *e) {
    switch (h->name.n) {
    case 4:
        if (http_name_eq(h->name, STR("host"))) {
            f->n_hosts++;
            f->host = h->value;
        }
        return HTTP1_OK;
    case 6:
        if (f->is_request && http_name_eq(h->name, STR("expect"))) {
            if (!http_name_eq(h->value, STR("100-continue")))
                return bad(e, 417, "the only Expect known is 100-continue");
            f->head->expects_continue = true;
        }
        return HTTP1_OK;
    case 10:
        return http_name_eq(h->name, STR("connection")) ? note_connection(f, h->value) : HTTP1_OK;
    case 14:
        return http_name_eq(h->name, STR("content-length")) ? note_length(f, h->value, e)
                                                            : HTTP1_OK;
    case 17:
        return http_name_eq(h->name, STR("transfer-encoding")) ? note_coding(f, h->value, e)
                                                               : HTTP1_OK;
    default:
        return HTTP1_OK;
    }
}

static http1_result parse_header(struct http_header *out, str line, struct http1_error *e) {
    size_t n = 0;
    while (n < line.n && token_chars[(unsigned char)line.p[n]])
        n++;
    if (n == 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
        return bad(e, 400, "a header is folded over two lines");
    if (n == 0 || n == line.n || line.p[n] != ':')
        return bad(e, 400, "a header's name is not a token followed by a colon");
    if (!is_text(line.p + n + 1, line.n - n - 1))
        return bad(e, 400, "a header's value holds control characters");
    out->name = (str){.p = line.p, .n = n};
    out->value = trim_blanks(line.p + n + 1, line.p + line.n);
    return HTTP1_OK;
}

static http1_result parse_headers(struct facts *f, const char *at, size_t n, struct arena *a,
                                  struct http1_error *e) {
    struct http1_head *head = f->head;
    head->content_length = -1;
    head->headers = arena_array(a, struct http_header, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *lf = rawmemchr(at, '\n'); /* the scan has counted them */
        str line = {.p = at, .n = (size_t)(lf - at) - 1};
        at = lf + 1;
        if (parse_header(&head->headers[i], line, e) != HTTP1_OK ||
            note_header(f, &head->headers[i], e) != HTTP1_OK)
            return HTTP1_BAD;
    }
    head->n_headers = n;
    if (head->is_chunked && head->content_length >= 0)
        return bad(e, 400, "Content-Length and Transfer-Encoding are both given");
    if (head->is_chunked && head->version_minor == 0)
        return bad(e, 400, "Transfer-Encoding in HTTP/1.0");
    head->keep_alive = !f->says_close && (head->version_minor > 0 || f->says_keep_alive);
    return HTTP1_OK;
}

/* --- requests --- */

static http1_result parse_version(int *minor, str s, struct http1_error *e) {
    bool is_http = s.n == 8 && memcmp(s.p, "HTTP/", 5) == 0 && s.p[6] == '.' && s.p[5] >= '0' &&
                   s.p[5] <= '9' && s.p[7] >= '0' && s.p[7] <= '9';
    if (!is_http)
        return bad(e, 400, "the first line does not name an HTTP version");
    if (s.p[5] != '1')
        return bad(e, 505, "the HTTP version is not 1.0 or 1.1");
    *minor = s.p[7] != '0';
    return HTTP1_OK;
}

/* "http://host/path": cuts the target down to the path and gives the host. */
static str take_authority(str *target) {
    size_t from = str_starts(*target, STR("http://"))    ? 7
                  : str_starts(*target, STR("https://")) ? 8
                                                         : 0;
    if (from == 0)
        return (str){0};
    str rest = str_slice(*target, from, target->n);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    *target = str_slice(rest, n, rest.n);
    return str_slice(rest, 0, n);
}

static http1_result parse_target(struct http1_head *h, str *authority, struct http1_error *e) {
    if (!is_target(h->target))
        return bad(e, 400, "the request target holds bytes that must be escaped");
    if (h->target.n > HTTP1_TARGET_SIZE_MAX)
        return bad(e, 414, "the request target is too long");
    if (str_eq_c(h->method, "CONNECT"))
        return bad(e, 501, "CONNECT is not supported");
    str t = h->target;
    *authority = take_authority(&t);
    bool is_asterisk = str_eq_c(t, "*") && str_eq_c(h->method, "OPTIONS");
    if (!is_asterisk && t.n > 0 && t.p[0] != '/' && !(authority->p && t.p[0] == '?'))
        return bad(e, 400, "the request target does not start with a slash");
    if (t.n == 0 && !authority->p)
        return bad(e, 400, "the request target is empty");
    ptrdiff_t question = str_find(t, '?');
    h->path = question < 0 ? t : str_slice(t, 0, (size_t)question);
    h->query = question < 0 ? STR("") : str_slice(t, (size_t)question + 1, t.n);
    if (h->path.n == 0)
        h->path = STR("/");
    return HTTP1_OK;
}

static http1_result parse_request_line(struct http1_head *h, str line, str *authority,
                                       struct http1_error *e) {
    ptrdiff_t first = str_find(line, ' '), last = str_find_last(line, ' ');
    if (first <= 0 || first == last)
        return bad(e, 400, "the request line is not METHOD TARGET VERSION");
    h->method = str_slice(line, 0, (size_t)first);
    h->target = str_slice(line, (size_t)first + 1, (size_t)last);
    for (size_t i = 0; i < h->method.n; i++)
        if (!token_chars[(unsigned char)h->method.p[i]])
            return bad(e, 400, "the method is not a token");
    if (parse_version(&h->version_minor, str_slice(line, (size_t)last + 1, line.n), e) != HTTP1_OK)
        return HTTP1_BAD;
    if (h->method.n > HTTP1_METHOD_SIZE_MAX)
        return bad(e, 501, "the method is not known");
    return parse_target(h, authority, e);
}

static http1_result check_host(const struct facts *f, str authority, struct http1_error *e) {
    if (f->n_hosts > 1)
        return bad(e, 400, "Host is given twice");
    if (f->n_hosts == 0 && f->head->version_minor > 0)
        return bad(e, 400, "Host is missing");
    for (size_t i = 0; i < f->host.n; i++)
        if (not_host_chars[(unsigned char)f->host.p[i]])
            return bad(e, 400, "Host is not a host");
    if (authority.p && f->n_hosts == 1 && !http_name_eq(authority, f->host))
        return bad(e, 400, "Host and the request target name two hosts");
    return HTTP1_OK;
}

static str first_line(const struct http1_scan *scan, const char *p) {
    const char *from = p + scan->start, *lf = rawmemchr(from, '\n');
    return (str){.p = from, .n = (size_t)(lf - from) - 1};
}

http1_result http1_parse_request(struct http1_head *out, const struct http1_scan *scan,
                                 const char *p, struct arena *a, struct http1_error *e) {
    struct http1_head h = {0};
    struct facts f = {.head = &h, .is_request = true};
    str line = first_line(scan, p), authority = {0};
    if (parse_request_line(&h, line, &authority, e) != HTTP1_OK ||
        parse_headers(&f, line.p + line.n + 2, scan->n_lines - 1, a, e) != HTTP1_OK ||
        check_host(&f, authority, e) != HTTP1_OK)
        return HTTP1_BAD;
    *out = h;
    return HTTP1_OK;
}

/* --- responses --- */

http1_result http1_parse_response(struct http1_head *out, const struct http1_scan *scan,
                                  const char *p, struct arena *a, struct http1_error *e) {
    struct http1_head h = {0};
    struct facts f = {.head = &h};
    str line = first_line(scan, p);
    if (line.n < 12 || line.p[8] != ' ' || (line.n > 12 && line.p[12] != ' '))
        return bad(e, 400, "the first line is not VERSION STATUS REASON");
    if (parse_version(&h.version_minor, str_slice(line, 0, 8), e) != HTTP1_OK)
        return HTTP1_BAD;
    int64_t status;
    if (!str_to_int64(str_slice(line, 9, 12), &status) || status < 100 || status > 999 ||
        !is_text(line.p, line.n))
        return bad(e, 400, "the status is not a number of three digits");
    h.status = (int)status;
    if (parse_headers(&f, line.p + line.n + 2, scan->n_lines - 1, a, e) != HTTP1_OK)
        return HTTP1_BAD;
    *out = h;
    return HTTP1_OK;
}

/* --- bodies --- */

enum { SIZE, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, LAST_LF };

struct http1_body http1_request_body(const struct http1_head *h) {
    if (h->is_chunked)
        return (struct http1_body){.framing = HTTP1_CHUNKED};
    if (h->content_length > 0)
        return (struct http1_body){.framing = HTTP1_LENGTH, .left = (uint64_t)h->content_length};
    return (struct http1_body){.framing = HTTP1_NO_BODY};
}

struct http1_body http1_response_body(const struct http1_head *h, bool is_head_request) {
    if (is_head_request || h->status < 200 || h->status == 204 || h->status == 304)
        return (struct http1_body){.framing = HTTP1_NO_BODY};
    if (h->is_chunked || h->content_length >= 0)
        return http1_request_body(h);
    return (struct http1_body){.framing = HTTP1_UNTIL_CLOSE};
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static http1_result size_char(struct http1_body *b, char c, struct http1_error *e) {
    int digit = hex_digit(c);
    if (digit >= 0 && b->n_seen < HTTP1_CHUNK_DIGITS_MAX) {
        b->left = b->left << 4 | (uint64_t)digit;
        b->n_seen++;
        return HTTP1_OK;
    }
    if (c != '\r' || b->n_seen == 0)
        return bad(e, 400, "a chunk's size is not a hexadecimal number alone on its line");
    b->state = SIZE_LF;
    return HTTP1_OK;
}

static http1_result trailer_char(struct http1_body *b, char c, struct http1_error *e) {
    if (++b->n_seen > HTTP1_TRAILERS_SIZE_MAX)
        return bad(e, 431, "the trailers are too large");
    if (c == '\r')
        b->state = b->state == TRAILER_START ? LAST_LF : TRAILER_LF;
    else if (!is_text(&c, 1))
        return bad(e, 400, "a trailer holds control characters");
    else
        b->state = TRAILER;
    return HTTP1_OK;
}

/* One byte of what stands around the chunks. HTTP1_END: it was the last. */
static http1_result frame_char(struct http1_body *b, char c, struct http1_error *e) {
    if (b->state == SIZE)
        return size_char(b, c, e);
    if (b->state == TRAILER_START || b->state == TRAILER)
        return trailer_char(b, c, e);
    if (c != (b->state == DATA_CR ? '\r' : '\n'))
        return bad(e, 400, "a chunk does not end in CR LF");
    if (b->state == LAST_LF)
        return HTTP1_END;
    if (b->state == SIZE_LF)
        b->state = b->left > 0 ? DATA : TRAILER_START; /* the size 0 is the last */
    else if (b->state == TRAILER_LF)
        b->state = TRAILER_START;
    else
        b->state = b->state == DATA_CR ? DATA_LF : SIZE;
    if (b->state == SIZE)
        b->n_seen = 0;
    return HTTP1_OK;
}

/* Takes at most b->left bytes. */
static http1_result take_data(struct http1_body *b, const char *p, size_t n, size_t *used,
                              str *data) {
    size_t size = n < b->left ? n : (size_t)b->left;
    *data = (str){.p = p, .n = size};
    *used += size;
    b->left -= size;
    return HTTP1_OK;
}

static http1_result chunked_next(struct http1_body *b, const char *p, size_t n, size_t *used,
                                 str *data, struct http1_error *e) {
    while (*used < n) {
        if (b->state == DATA) {
            take_data(b, p + *used, n - *used, used, data);
            if (b->left == 0)
                b->state = DATA_CR;
            return HTTP1_OK;
        }
        http1_result r = frame_char(b, p[(*used)++], e);
        if (r == HTTP1_END)
            b->framing = HTTP1_NO_BODY;
        if (r != HTTP1_OK)
            return r;
    }
    return HTTP1_MORE;
}

http1_result http1_body_next(struct http1_body *b, const char *p, size_t n, size_t *used, str *data,
                             struct http1_error *e) {
    *used = 0;
    switch (b->framing) {
    case HTTP1_NO_BODY:
        return HTTP1_END;
    case HTTP1_LENGTH:
        if (b->left == 0)
            return HTTP1_END;
        return n == 0 ? HTTP1_MORE : take_data(b, p, n, used, data);
    case HTTP1_CHUNKED:
        return chunked_next(b, p, n, used, data, e);
    case HTTP1_UNTIL_CLOSE:
        *data = (str){.p = p, .n = n};
        *used = n;
        return n == 0 ? HTTP1_MORE : HTTP1_OK;
    }
    return HTTP1_BAD;
}

/* --- names of statuses --- */

const char *http_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {100, "Continue"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {424, "Failed Dependency"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}
