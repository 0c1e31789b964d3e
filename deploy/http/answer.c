/* Answers over libmicrohttpd: see answer.h. */
#include "deploy/http/answer.h"

#include <stdint.h>
#include <string.h>

void dp_answer_headers(struct MHD_Response *response, const char *type, const char *cache)
{
    static const char *const always[][2] = {
            {"X-Content-Type-Options", "nosniff"},
            {"Referrer-Policy", "no-referrer"},
            {"Cross-Origin-Resource-Policy", "same-origin"},
            {"Cross-Origin-Opener-Policy", "same-origin"},
            {"X-Frame-Options", "DENY"},
            {"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
                                        "'self'; connect-src 'self'; "
                                        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    };
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        (void)MHD_add_response_header(response, always[i][0], always[i][1]);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, cache);
}

struct MHD_Response *dp_answer_copy(const char *bytes, size_t size)
{
    return MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_MUST_COPY);
}

enum MHD_Result dp_answer_send(
        struct MHD_Connection *connection, unsigned code, struct MHD_Response *response)
{
    if (response == NULL)
        return MHD_NO;
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result dp_answer_text(struct MHD_Connection *connection, unsigned code, const char *text,
        const char *header, const char *value)
{
    struct MHD_Response *response = dp_answer_copy(text, strlen(text));
    if (response != NULL) {
        dp_answer_headers(response, "text/plain; charset=utf-8", "no-store");
        if (code == MHD_HTTP_UNAUTHORIZED)
            (void)MHD_add_response_header(
                    response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"shelflife\"");
        if (header != NULL)
            (void)MHD_add_response_header(response, header, value);
        if (code != MHD_HTTP_OK)
            (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    return dp_answer_send(connection, code, response);
}

static enum MHD_Result too_large(struct MHD_Connection *connection)
{
    return dp_answer_text(
            connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "the answer is too large\n", NULL, NULL);
}

enum MHD_Result dp_answer_json(struct MHD_Connection *connection, unsigned code, struct sl_json *json)
{
    const char *text = NULL;
    size_t size = 0;
    if (sl_json_finish(json, &text, &size, NULL) != SL_OK)
        return too_large(connection);
    struct MHD_Response *response = dp_answer_copy(text, size);
    if (response != NULL)
        dp_answer_headers(response, "application/json", "no-store");
    return dp_answer_send(connection, code, response);
}

enum MHD_Result dp_answer_metrics(struct MHD_Connection *connection, struct sl_text *text)
{
    const char *bytes = NULL;
    size_t size = 0;
    if (sl_text_finish(text, &bytes, &size, NULL) != SL_OK)
        return too_large(connection);
    struct MHD_Response *response = dp_answer_copy(bytes, size);
    if (response != NULL)
        dp_answer_headers(response, "text/plain; version=0.0.4; charset=utf-8", "no-store");
    return dp_answer_send(connection, MHD_HTTP_OK, response);
}
