/* The JSON writer: see json.h. */
#include "common/json.h"

#include "common/utf8.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sl_json_init(struct sl_json *json, size_t limit)
{
    memset(json, 0, sizeof(*json));
    sl_text_init(&json->buffer, limit);
}

void sl_json_fini(struct sl_json *json)
{
    sl_text_fini(&json->buffer);
}

void sl_json_reset(struct sl_json *json)
{
    sl_text_reset(&json->buffer);
    json->depth = 0;
    json->filled[0] = false;
}

static void put(struct sl_json *json, const char *bytes, size_t size)
{
    sl_text_put(&json->buffer, bytes, size);
}

static void put_line(struct sl_json *json)
{
    put(json, "\n", 1);
    for (int i = 0; i < json->depth; i++)
        put(json, "  ", 2);
}

static void put_escaped(struct sl_json *json, unsigned char byte)
{
    static const char *const shorts[] = {
            ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    if (byte == '"' || byte == '\\') {
        char text[2] = {'\\', (char)byte};
        put(json, text, 2);
    } else if (byte < sizeof(shorts) / sizeof(shorts[0]) && shorts[byte] != NULL) {
        put(json, shorts[byte], 2);
    } else {
        char text[8];
        int length = snprintf(text, sizeof(text), "\\u%04x", byte);
        put(json, text, (size_t)length);
    }
}

static void put_string(struct sl_json *json, const char *value, size_t size)
{
    put(json, "\"", 1);
    size_t plain = 0, at = 0; /* [plain, at) needs no escape */
    while (at < size) {
        unsigned char byte = (unsigned char)value[at];
        size_t length = sl_utf8_next(value + at, size - at, NULL);
        bool escape = length == 1 && (byte < 0x20 || byte == 0x7F || byte == '"' || byte == '\\');
        if (length != 0 && !escape) {
            at += length;
            continue;
        }
        put(json, value + plain, at - plain);
        if (length == 0)
            put(json, "\xEF\xBF\xBD", 3); /* U+FFFD */
        else
            put_escaped(json, byte);
        plain = ++at;
    }
    put(json, value + plain, at - plain);
    put(json, "\"", 1);
}

/* what stands before a value: a separator and the key */
static void begin_value(struct sl_json *json, const char *key)
{
    bool in_object = json->depth > 0 && json->closer[json->depth - 1] == '}';
    assert(in_object == (key != NULL) || json->buffer.status != SL_OK);
    if (json->filled[json->depth])
        put(json, json->depth == 0 ? "\n" : ",", 1);
    if (json->pretty && json->depth > 0)
        put_line(json);
    json->filled[json->depth] = true;
    if (key == NULL)
        return;
    put_string(json, key, strlen(key));
    put(json, json->pretty ? ": " : ":", json->pretty ? 2 : 1);
}

static void open_level(struct sl_json *json, const char *key, char opener, char closer)
{
    begin_value(json, key);
    if (json->depth == SL_JSON_DEPTH_MAX && json->buffer.status == SL_OK)
        json->buffer.status = SL_FAILED;
    if (json->buffer.status != SL_OK)
        return;
    put(json, &opener, 1);
    json->closer[json->depth++] = closer;
    json->filled[json->depth] = false;
}

void sl_json_object(struct sl_json *json, const char *key)
{
    open_level(json, key, '{', '}');
}

void sl_json_array(struct sl_json *json, const char *key)
{
    open_level(json, key, '[', ']');
}

void sl_json_end(struct sl_json *json)
{
    if (json->buffer.status != SL_OK)
        return;
    assert(json->depth > 0);
    bool filled = json->filled[json->depth];
    json->depth--;
    if (json->pretty && filled)
        put_line(json);
    put(json, &json->closer[json->depth], 1);
}

void sl_json_string_n(struct sl_json *json, const char *key, const char *value, size_t size)
{
    begin_value(json, key);
    put_string(json, value, size);
}

void sl_json_raw(struct sl_json *json, const char *key, const char *text)
{
    begin_value(json, key);
    put(json, text, strlen(text));
}

void sl_json_string(struct sl_json *json, const char *key, const char *value)
{
    if (value == NULL)
        sl_json_null(json, key);
    else
        sl_json_string_n(json, key, value, strlen(value));
}

void sl_json_int(struct sl_json *json, const char *key, int64_t value)
{
    char text[SL_JSON_NUMBER_MAX];
    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    sl_json_raw(json, key, text);
}

void sl_json_uint(struct sl_json *json, const char *key, uint64_t value)
{
    char text[SL_JSON_NUMBER_MAX];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    sl_json_raw(json, key, text);
}

void sl_json_float(struct sl_json *json, const char *key, float value)
{
    char text[SL_JSON_NUMBER_MAX];
    sl_json_raw(json, key, isfinite(value) ? sl_format_float(text, value) : "null");
}

void sl_json_double(struct sl_json *json, const char *key, double value)
{
    char text[SL_JSON_NUMBER_MAX];
    sl_json_raw(json, key, isfinite(value) ? sl_format_double(text, value) : "null");
}

void sl_json_bool(struct sl_json *json, const char *key, bool value)
{
    sl_json_raw(json, key, value ? "true" : "false");
}

void sl_json_null(struct sl_json *json, const char *key)
{
    sl_json_raw(json, key, "null");
}

enum sl_status sl_json_finish(
        struct sl_json *json, const char **ret_text, size_t *ret_size, struct sl_error *err)
{
    assert(json->depth == 0 || json->buffer.status != SL_OK);
    enum sl_status s = sl_text_finish(&json->buffer, ret_text, ret_size, err);
    if (s != SL_OK)
        (void)sl_error_context(err, "JSON of at most %d levels", SL_JSON_DEPTH_MAX);
    return s;
}

enum sl_status sl_json_print(struct sl_json *json, struct sl_error *err)
{
    const char *text = NULL;
    enum sl_status s = sl_json_finish(json, &text, NULL, err);
    if (s == SL_OK)
        (void)puts(text);
    return s;
}

/* A decimal of at most FLT_DIG (DBL_DIG) digits survives the way into the number and back, so if such a short one exists, the first try
 * finds it: %g drops the zeros at its end. */
const char *sl_format_float(char *text, float value)
{
    for (int digits = FLT_DIG; digits <= FLT_DECIMAL_DIG; digits++) {
        (void)snprintf(text, SL_JSON_NUMBER_MAX, "%.*g", digits, (double)value);
        if (!isfinite(value) || strtof(text, NULL) == value)
            break;
    }
    return text;
}

const char *sl_format_double(char *text, double value)
{
    for (int digits = DBL_DIG; digits <= DBL_DECIMAL_DIG; digits++) {
        (void)snprintf(text, SL_JSON_NUMBER_MAX, "%.*g", digits, value);
        if (!isfinite(value) || strtod(text, NULL) == value)
            break;
    }
    return text;
}
