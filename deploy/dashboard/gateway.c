/* The web server: see gateway.h. */
#include "deploy/dashboard/gateway.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/text.h"
#include "deploy/dashboard/assets.h"
#include "deploy/http/answer.h"
#include "deploy/http/connection.h"
#include "deploy/http/deadlines.h"
#include "deploy/http/guard.h"
#include "deploy/http/listener.h"
#include "deploy/http/token.h"

#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)16 << 20)
#define REQUEST_MAX ((size_t)16 << 10)
#define IDLE_S 15
#define REQUEST_US 10000000 /* for a request to be whole, and between two */

struct dp_gateway {
    struct MHD_Daemon *daemon;
    struct dp_deadlines *deadlines;
    struct dp_feed *feed;
    struct dp_hub *hub;
    char *token, *allow_host;
    char url[DP_URL_MAX];
};

typedef struct MHD_Connection connection_t;
typedef struct MHD_Response response_t;

/* ---- answers ---- */

static enum MHD_Result send_asset(connection_t *connection, const struct dp_asset *asset)
{
    const char *known =
            MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH);
    bool fresh = known != NULL && strcmp(known, asset->etag) == 0;
    response_t *response = MHD_create_response_from_buffer(
            fresh ? 0 : asset->size, (void *)(uintptr_t)asset->bytes, MHD_RESPMEM_PERSISTENT);
    if (response != NULL) {
        dp_answer_headers(response, asset->type, "no-cache");
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, asset->etag);
    }
    return dp_answer_send(connection, fresh ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, response);
}

/* ---- the API ---- */

static const char *argument(connection_t *connection, const char *name)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
    return value == NULL ? "" : value;
}

static enum MHD_Result answer_runs(struct dp_gateway *gateway, connection_t *connection)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, ANSWER_MAX);
    dp_feed_runs(gateway->feed, &json);
    return dp_answer_json(connection, MHD_HTTP_OK, &json);
}

static enum MHD_Result no_such_run(connection_t *connection)
{
    return dp_answer_text(connection, MHD_HTTP_NOT_FOUND, "no such run: /api/runs lists them\n", NULL, NULL);
}

static enum MHD_Result answer_of_run(struct dp_gateway *gateway, connection_t *connection,
        bool (*write)(struct dp_feed *feed, const char *name, struct sl_json *json))
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, ANSWER_MAX);
    if (!write(gateway->feed, argument(connection, "run"), &json))
        return no_such_run(connection);
    return dp_answer_json(connection, MHD_HTTP_OK, &json);
}

static enum MHD_Result answer_metrics(struct dp_gateway *gateway, connection_t *connection)
{
    SL_AUTO(sl_text_fini) struct sl_text text;
    sl_text_init(&text, ANSWER_MAX);
    dp_feed_metrics(gateway->feed, &text);
    return dp_answer_metrics(connection, &text);
}

static void sleep_connection(void *connection)
{
    MHD_suspend_connection(connection);
}

static void wake_connection(void *connection)
{
    MHD_resume_connection(connection);
}

static const struct dp_stream_calls stream_calls = {.sleep = sleep_connection, .wake = wake_connection};

static ssize_t read_stream(void *stream, uint64_t position, char *bytes, size_t size)
{
    (void)position;
    long got = dp_stream_read(stream, bytes, size);
    return got < 0 ? MHD_CONTENT_READER_END_OF_STREAM : (ssize_t)got;
}

static void close_stream(void *stream)
{
    dp_stream_close(stream);
}

static enum MHD_Result answer_events(struct dp_gateway *gateway, connection_t *connection)
{
    const char *run = argument(connection, "run");
    struct dp_stream *stream = NULL;
    struct sl_error err = {0};
    if (!dp_feed_has(gateway->feed, run))
        return no_such_run(connection);
    if (dp_hub_open(&stream, gateway->hub, run, &stream_calls, connection, &err) != SL_OK)
        return dp_answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, err.text, NULL, NULL);
    response_t *response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32 << 10, read_stream, stream, close_stream);
    if (response == NULL)
        dp_stream_close(stream);
    else
        dp_answer_headers(response, "text/event-stream", "no-store");
    if (response != NULL)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    return dp_answer_send(connection, MHD_HTTP_OK, response);
}

/* ---- who may ask ---- */

static bool has_token(const struct dp_gateway *gateway, connection_t *connection)
{
    const char *cookie = MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, DP_COOKIE);
    return gateway->token == NULL ||
           dp_guard_bearer(
                   MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION),
                   gateway->token) ||
           (cookie != NULL && dp_guard_equal(gateway->token, cookie));
}

/* /?token=… with the right token: the cookie, and away from an address that holds a secret. */
static enum MHD_Result welcome(const struct dp_gateway *gateway, connection_t *connection)
{
    char cookie[DP_TOKEN_MAX + 128];
    response_t *response = dp_answer_copy("", 0);
    if (response != NULL) {
        (void)snprintf(cookie, sizeof(cookie), "%s=%s; HttpOnly; SameSite=Strict; Path=/", DP_COOKIE,
                gateway->token);
        dp_answer_headers(response, "text/plain; charset=utf-8", "no-store");
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, cookie);
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, "/");
    }
    return dp_answer_send(connection, MHD_HTTP_SEE_OTHER, response);
}

static enum MHD_Result route(struct dp_gateway *gateway, connection_t *connection, const char *path)
{
    const struct dp_asset *asset = dp_asset_find(path);
    if (asset != NULL)
        return send_asset(connection, asset);
    if (strcmp(path, "/api/runs") == 0)
        return answer_runs(gateway, connection);
    if (strcmp(path, "/api/status") == 0)
        return answer_of_run(gateway, connection, dp_feed_status);
    if (strcmp(path, "/api/history") == 0)
        return answer_of_run(gateway, connection, dp_feed_history);
    if (strcmp(path, "/api/events") == 0)
        return answer_events(gateway, connection);
    if (strcmp(path, "/metrics") == 0)
        return answer_metrics(gateway, connection);
    return dp_answer_text(
            connection, MHD_HTTP_NOT_FOUND, "nothing here: the dashboard is at /\n", NULL, NULL);
}

static enum MHD_Result decide(
        struct dp_gateway *gateway, connection_t *connection, const char *path, const char *method)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return dp_answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                "only GET and HEAD: nothing here can be changed\n", MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    if (!dp_guard_host(host, gateway->allow_host))
        return dp_answer_text(connection, MHD_HTTP_MISDIRECTED_REQUEST,
                "this dashboard answers to an IP address or localhost; start it with --allow-host NAME for "
                "another name\n",
                NULL, NULL);
    const char *given = argument(connection, "token");
    if (gateway->token != NULL && strcmp(path, "/") == 0 && given[0] != 0 &&
            dp_guard_equal(gateway->token, given))
        return welcome(gateway, connection);
    if (!has_token(gateway, connection))
        return dp_answer_text(connection, MHD_HTTP_UNAUTHORIZED,
                "this dashboard wants a token: open /?token=TOKEN once, or send Authorization: Bearer "
                "TOKEN\n",
                NULL, NULL);
    return route(gateway, connection, path);
}

/* ---- libmicrohttpd's calls ---- */

static enum MHD_Result on_request(void *context, connection_t *connection, const char *path,
        const char *method, const char *version, const char *body, size_t *body_size, void **state)
{
    struct dp_gateway *gateway = context;
    (void)version;
    (void)body;
    if (*state == NULL) { /* the headers are there */
        *state = gateway;
        dp_deadlines_answering(gateway->deadlines, dp_connection_slot(connection));
        const char *length =
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
        const char *coded =
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
        if ((length != NULL && strcmp(length, "0") != 0) || coded != NULL)
            return dp_answer_text(
                    connection, MHD_HTTP_CONTENT_TOO_LARGE, "no request here has a body\n", NULL, NULL);
        return MHD_YES;
    }
    if (*body_size != 0)
        return MHD_NO;
    return decide(gateway, connection, path, method);
}

static void on_completed(
        void *context, connection_t *connection, void **state, enum MHD_RequestTerminationCode code)
{
    struct dp_gateway *gateway = context;
    (void)state;
    (void)code;
    dp_deadlines_waiting(gateway->deadlines, dp_connection_slot(connection), sl_clock_monotonic_us());
}

static enum sl_status start(struct dp_gateway *gateway, int fd, struct sl_error *err)
{
    unsigned flags =
            MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    gateway->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, gateway, MHD_OPTION_EXTERNAL_LOGGER,
            dp_connection_silent, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
            (unsigned)DP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MAX, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
            gateway, MHD_OPTION_NOTIFY_CONNECTION, dp_connection_notify, gateway->deadlines,
            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    return gateway->daemon != NULL
                   ? SL_OK
                   : sl_fail(err, SL_FAILED, "cannot start the web server on %s", gateway->url);
}

enum sl_status dp_gateway_create(struct dp_gateway **ret_gateway, const struct dp_gateway_options *options,
        struct dp_feed *feed, struct dp_hub *hub, struct sl_error *err)
{
    struct dp_gateway *gateway = sl_alloc(1, sizeof(*gateway));
    if (gateway == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the web server");
    gateway->feed = feed;
    gateway->hub = hub;
    gateway->token = options->token == NULL ? NULL : sl_strdup(options->token);
    gateway->allow_host = options->allow_host == NULL ? NULL : sl_strdup(options->allow_host);
    SL_AUTO_CLOSE int fd = -1;
    enum sl_status status = SL_OK;
    if ((options->token != NULL && gateway->token == NULL) ||
            (options->allow_host != NULL && gateway->allow_host == NULL))
        status = sl_fail(err, SL_NO_MEMORY, "out of memory for the web server");
    if (status == SL_OK)
        status = dp_deadlines_create(&gateway->deadlines, DP_CONNECTIONS_MAX, REQUEST_US, err);
    if (status == SL_OK)
        status = dp_listen(&fd, gateway->url, options->bind, options->token != NULL, err);
    if (status == SL_OK)
        status = start(gateway, fd, err);
    if (status != SL_OK) {
        dp_gateway_destroy(gateway);
        return status;
    }
    fd = -1; /* libmicrohttpd's now */
    *ret_gateway = gateway;
    return SL_OK;
}

void dp_gateway_destroy(struct dp_gateway *gateway)
{
    if (gateway == NULL)
        return;
    dp_hub_stop(gateway->hub); /* a suspended connection would never end */
    if (gateway->daemon != NULL)
        MHD_stop_daemon(gateway->daemon);
    dp_deadlines_destroy(gateway->deadlines);
    dp_token_free(gateway->token);
    sl_free(gateway->allow_host);
    sl_free(gateway);
}

void dp_gateway_look(struct dp_gateway *gateway)
{
    (void)dp_deadlines_expire(gateway->deadlines, sl_clock_monotonic_us());
}

const char *dp_gateway_url(const struct dp_gateway *gateway)
{
    return gateway->url;
}
