#include "control/gateway/http_body.h"

#include "codec/base64.h"
#include "codec/json.h"
#include "codec/json_writer.h"

static const struct json_value *either(const struct json_value *v, const char *camel,
                                       const char *snake) {
    const struct json_value *found = json_get(v, camel);
    return found ? found : json_get(v, snake);
}

status http_body_read(struct http_body *out, str text, struct arena *a, struct error *err) {
    CLEANUP(buffer_done) struct buffer data = {.size_max = text.n};
    struct json_value *root;
    str encoded = STR(""), type = STR("");
    if (json_parse(&root, a, text, err) != STATUS_OK)
        return error_set(err, STATUS_NOT_FOUND, "not JSON");
    const struct json_value *body =
        root->type == JSON_OBJECT ? either(root, "httpBody", "http_body") : NULL;
    if (!body || body->type != JSON_OBJECT)
        return error_set(err, STATUS_NOT_FOUND, "no \"httpBody\"");
    json_to_str(either(body, "contentType", "content_type"), &type);
    json_to_str(json_get(body, "data"), &encoded);
    if (base64_decode(&data, encoded, BASE64_STANDARD, err) != STATUS_OK) {
        buffer_clear(&data);
        if (base64_decode(&data, encoded, BASE64_URL, err) != STATUS_OK)
            return error_wrap(err, STATUS_INVALID_ARGUMENT, "Invalid value at 'http_body.data'");
    }
    *out = (struct http_body){.content_type = type, .data = str_copy(a, buffer_str(&data))};
    return STATUS_OK;
}

status http_body_write(struct buffer *out, const struct http_body *body, bool is_list,
                       struct error *err) {
    CLEANUP(buffer_done) struct buffer encoded = {.size_max = out->size_max};
    struct json_writer w;
    TRY(base64_encode(&encoded, body->data.p, body->data.n, BASE64_STANDARD, err));
    json_writer_init(&w, out, err);
    if (is_list)
        json_begin_array(&w);
    json_begin_object(&w);
    json_member_string(&w, "contentType", body->content_type);
    json_member_string(&w, "data", buffer_str(&encoded));
    json_end_object(&w);
    if (is_list)
        json_end_array(&w);
    return json_writer_finish(&w);
}
