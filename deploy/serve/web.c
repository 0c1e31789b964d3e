/* HTTP: see web.h. */
#include "deploy/serve/web.h"

#include "common/clock.h"
#include "common/memory.h"
#include "deploy/http/answer.h"
#include "deploy/http/connection.h"
#include "deploy/http/deadlines.h"
#include "deploy/http/guard.h"
#include "deploy/http/listener.h"
#include "deploy/http/token.h"
#include "deploy/serve/form.h"
#include "deploy/serve/reply.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)4 << 20)
#define IDLE_S 60
#define CONNECTION_BYTES ((size_t)64 << 10) /* headers, and the pieces in which a body comes */
#define FORM_BYTES ((size_t)32 << 10)       /* of a form's own header lines */

typedef struct MHD_Connection connection_t;

struct dp_web {
    struct MHD_Daemon *daemon;
    struct dp_deadlines *deadlines;
    struct dp_service *service;
    char *token, *allow_host;
    size_t request_max;
    size_t held; /* bytes of bodies; libmicrohttpd's thread alone */
    atomic_int busy;
    int listener; /* to be closed after quiescing, -1 = none */
    char url[DP_URL_MAX];
};

/* One request from its headers to its answer. */
struct exchange {
    struct dp_web *web;
    connection_t *connection;
    struct MHD_PostProcessor *post; /* NULL: the body is JSON */
    struct dp_form form;
    bool counted;  /* asks for a prediction */
    unsigned code; /* not 0: the answer is this problem */
    char problem[SL_ERROR_TEXT_MAX];
    struct dp_job *job; /* NULL until the body is whole */
    bool submitted;     /* and in busy */
    atomic_bool done;
};

/* ---- answers ---- */

static enum MHD_Result send_problem(
        struct dp_web *web, connection_t *connection, unsigned code, const char *id, const char *text)
{
    const char *json_text = NULL;
    size_t size = 0;
    char retry[16];
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, ANSWER_MAX);
    dp_reply_error_json(&json, id, text);
    if (sl_json_finish(&json, &json_text, &size, NULL) != SL_OK)
        return MHD_NO;
    struct MHD_Response *response = dp_answer_copy(json_text, size);
    if (response == NULL)
        return MHD_NO;
    dp_answer_headers(response, "application/json", "no-store");
    if (code == MHD_HTTP_UNAUTHORIZED)
        (void)MHD_add_response_header(
                response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"shelflife\"");
    if (code == MHD_HTTP_SERVICE_UNAVAILABLE) {
        (void)snprintf(retry, sizeof(retry), "%d", dp_service_retry_s(web->service));
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, retry);
    }
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD, POST");
    if (code != MHD_HTTP_UNPROCESSABLE_CONTENT && code != MHD_HTTP_BAD_REQUEST)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    return dp_answer_send(connection, code, response);
}

static enum MHD_Result answer_health(struct dp_web *web, connection_t *connection)
{
    bool stopping = dp_service_stopping(web->service);
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, ANSWER_MAX);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "status", stopping ? "stopping" : "serving");
    dp_service_figures_json(web->service, &json);
    sl_json_end(&json);
    return dp_answer_json(connection, stopping ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, &json);
}

static enum MHD_Result answer_model(struct dp_web *web, connection_t *connection)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, ANSWER_MAX);
    sl_json_object(&json, NULL);
    dp_service_model_json(web->service, &json);
    sl_json_uint(&json, "max_request_bytes", web->request_max);
    dp_service_figures_json(web->service, &json);
    sl_json_end(&json);
    return dp_answer_json(connection, MHD_HTTP_OK, &json);
}

static enum MHD_Result answer_metrics(struct dp_web *web, connection_t *connection)
{
    SL_AUTO(sl_text_fini) struct sl_text text;
    sl_text_init(&text, ANSWER_MAX);
    dp_service_prometheus(web->service, &text);
    return dp_answer_metrics(connection, &text);
}

static enum MHD_Result answer_get(struct dp_web *web, connection_t *connection, const char *path)
{
    if (strcmp(path, "/health") == 0)
        return answer_health(web, connection);
    if (strcmp(path, "/v1/model") == 0)
        return answer_model(web, connection);
    if (strcmp(path, "/metrics") == 0)
        return answer_metrics(web, connection);
    return send_problem(web, connection, MHD_HTTP_NOT_FOUND, NULL,
            "nothing here: POST /v1/predict, GET /v1/model, /health, /metrics");
}

static enum MHD_Result answer_job(struct exchange *x)
{
    const struct dp_job *job = x->job;
    if (job->status != SL_OK)
        return send_problem(
                x->web, x->connection, dp_reply_code(job->status), job->request.id, job->error.text);
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, ANSWER_MAX);
    dp_reply_json(&json, job);
    return dp_answer_json(x->connection, MHD_HTTP_OK, &json);
}

/* ---- who may ask ---- */

/* Gives 0, or the code of a refusal and its text. /health tells nothing that needs a token, and probes have none. */
static unsigned refuse(
        const struct dp_web *web, connection_t *connection, const char *path, const char **ret_text)
{
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    const char *authorization =
            MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (web->token == NULL && !dp_guard_host(host, web->allow_host)) {
        *ret_text = "this server answers to an IP address or localhost; start it with --allow-host NAME for "
                    "another name";
        return MHD_HTTP_MISDIRECTED_REQUEST;
    }
    if (web->token != NULL && strcmp(path, "/health") != 0 && !dp_guard_bearer(authorization, web->token)) {
        *ret_text = "this server wants a token: send Authorization: Bearer TOKEN";
        return MHD_HTTP_UNAUTHORIZED;
    }
    return 0;
}

/* ---- a body ---- */

static void set_problem(struct exchange *x, unsigned code, const char *text)
{
    if (x->code != 0)
        return; /* the first one is the cause */
    x->code = code;
    (void)snprintf(x->problem, sizeof(x->problem), "%s", text);
}

static void take_piece(struct exchange *x, const char *name, bool begins, const char *bytes, size_t size)
{
    struct sl_error err = {0};
    struct dp_web *web = x->web;
    if (web->held + size > DP_WEB_BODIES * web->request_max) {
        set_problem(x, MHD_HTTP_SERVICE_UNAVAILABLE,
                "too many bytes of requests are on their way; try again later");
        return;
    }
    enum sl_status status = dp_form_part(&x->form, name, begins, bytes, size, &err);
    if (status == SL_OK)
        web->held += size;
    else if (status == SL_AGAIN)
        set_problem(x, MHD_HTTP_CONTENT_TOO_LARGE, err.text);
    else
        set_problem(x, dp_reply_code(status), err.text);
}

static enum MHD_Result on_form(void *context, enum MHD_ValueKind kind, const char *key, const char *file,
        const char *type, const char *encoding, const char *bytes, uint64_t offset, size_t size)
{
    struct exchange *x = context;
    (void)kind;
    (void)file;
    (void)type;
    (void)encoding;
    take_piece(x, key == NULL ? "" : key, offset == 0, bytes, size);
    return x->code == 0 ? MHD_YES : MHD_NO;
}

static void on_body(struct exchange *x, const char *bytes, size_t size)
{
    if (x->code != 0)
        return; /* read and dropped */
    if (x->post == NULL)
        take_piece(x, DP_FORM_REQUEST, x->form.count == 0, bytes, size);
    else if (MHD_post_process(x->post, bytes, size) == MHD_NO)
        set_problem(
                x, MHD_HTTP_BAD_REQUEST, "the form cannot be read; expected multipart/form-data (RFC 7578)");
}

/* What the headers alone can decide. */
static void look_at_headers(struct exchange *x)
{
    connection_t *connection = x->connection;
    const char *length =
            MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    struct sl_error err = {0};
    if (length != NULL && strtoull(length, NULL, 10) > x->web->request_max + FORM_BYTES) {
        (void)sl_fail(&err, SL_USAGE, "the request has %s bytes; at most %zu are taken (--max-request-mb)",
                length, x->web->request_max);
        set_problem(x, MHD_HTTP_CONTENT_TOO_LARGE, err.text);
    } else if (type != NULL && strncasecmp(type, "multipart/form-data", 19) == 0) {
        x->post = MHD_create_post_processor(connection, FORM_BYTES, on_form, x);
        if (x->post == NULL)
            set_problem(x, MHD_HTTP_BAD_REQUEST, "the form's Content-Type names no boundary");
    } else if (type == NULL || strncasecmp(type, "application/json", 16) != 0) {
        set_problem(x, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
                "expected Content-Type application/json or multipart/form-data");
    }
}

static void on_done(struct dp_job *job)
{
    struct exchange *x = job->context;
    atomic_store(&x->done, true);
    MHD_resume_connection(x->connection);
}

/* The whole body is there: to the service. The connection sleeps first, since the answer may be there before submit returns. */
static enum MHD_Result submit(struct exchange *x)
{
    struct sl_error err = {0};
    x->job = dp_job_create(on_done, x);
    if (x->job == NULL)
        return MHD_NO;
    enum sl_status status = dp_form_finish(&x->form, x->job, &err);
    if (status == SL_OK) {
        MHD_suspend_connection(x->connection);
        x->submitted = true;
        (void)atomic_fetch_add(&x->web->busy, 1);
        status = dp_service_submit(x->web->service, x->job, &err);
        if (status == SL_OK)
            return MHD_YES;
        set_problem(x, dp_reply_code(status), err.text);
        MHD_resume_connection(x->connection); /* comes back with code set */
        return MHD_YES;
    }
    dp_service_count(x->web->service, status);
    return send_problem(x->web, x->connection, dp_reply_code(status), NULL, err.text);
}

/* ---- libmicrohttpd's calls ---- */

static struct exchange *begin(struct dp_web *web, connection_t *connection)
{
    struct exchange *x = sl_alloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    x->web = web;
    x->connection = connection;
    atomic_init(&x->done, false);
    dp_form_init(&x->form, web->request_max);
    return x;
}

/* Whether a refused request is answered with its body unread. The connection ends with that, and a client that is still sending may never see the answer: so bodies of
 * a common size are read and dropped first. One who asks before sending, or announces very much, is told at once. */
static bool answer_at_once(const struct exchange *x, bool has_body)
{
    const char *length =
            MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return !has_body ||
           MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) != NULL ||
           (length != NULL && strtoull(length, NULL, 10) > DP_WEB_BODIES * x->web->request_max);
}

static enum MHD_Result answer_problem(struct exchange *x)
{
    if (x->counted && !x->submitted)
        dp_service_count(x->web->service, x->code == MHD_HTTP_SERVICE_UNAVAILABLE ? SL_AGAIN : SL_USAGE);
    return send_problem(x->web, x->connection, x->code, NULL, x->problem);
}

static enum MHD_Result on_whole_body(struct exchange *x)
{
    if (x->submitted && x->code == 0)
        return atomic_load(&x->done) ? answer_job(x) : MHD_YES;
    if (x->code == 0 && x->post != NULL && MHD_destroy_post_processor(SL_TAKE(x->post)) != MHD_YES)
        set_problem(x, MHD_HTTP_BAD_REQUEST, "the form ends before its last part does");
    dp_deadlines_answering(x->web->deadlines, dp_connection_slot(x->connection));
    return x->code == 0 ? submit(x) : answer_problem(x);
}

static enum MHD_Result on_headers(
        struct dp_web *web, connection_t *connection, const char *path, const char *method, void **state)
{
    const char *text = NULL;
    bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    bool post = strcmp(method, MHD_HTTP_METHOD_POST) == 0, predict = strcmp(path, "/v1/predict") == 0;
    struct exchange *x = begin(web, connection);
    if (x == NULL)
        return MHD_NO;
    *state = x;
    unsigned code = refuse(web, connection, path, &text);
    if (code == 0 && (predict ? !post : !get)) {
        code = MHD_HTTP_METHOD_NOT_ALLOWED;
        text = predict ? "/v1/predict takes POST" : "only /v1/predict takes POST, the others GET";
    }
    if (code != 0)
        set_problem(x, code, text);
    x->counted = predict && post;
    if (x->counted && code == 0)
        look_at_headers(x);
    return x->code != 0 && answer_at_once(x, !get) ? answer_problem(x) : MHD_YES;
}

static enum MHD_Result on_request(void *context, connection_t *connection, const char *path,
        const char *method, const char *version, const char *body, size_t *body_size, void **state)
{
    struct dp_web *web = context;
    struct exchange *x = *state;
    (void)version;
    if (x == NULL)
        return on_headers(web, connection, path, method, state);
    if (!x->counted && x->code == 0)
        return *body_size != 0 ? MHD_NO : answer_get(web, connection, path);
    if (*body_size > 0) {
        on_body(x, body, *body_size);
        *body_size = 0;
        return MHD_YES;
    }
    return on_whole_body(x);
}

static void on_completed(
        void *context, connection_t *connection, void **state, enum MHD_RequestTerminationCode code)
{
    struct dp_web *web = context;
    struct exchange *x = *state;
    (void)code;
    dp_deadlines_waiting(web->deadlines, dp_connection_slot(connection), sl_clock_monotonic_us());
    *state = NULL;
    if (x == NULL)
        return;
    if (x->post != NULL)
        (void)MHD_destroy_post_processor(x->post);
    web->held -= x->form.size;
    dp_form_fini(&x->form);
    dp_job_destroy(x->job);
    if (x->submitted)
        (void)atomic_fetch_sub(&web->busy, 1);
    sl_free(x);
}

/* ---- beginning and end ---- */

static enum sl_status start(struct dp_web *web, int fd, struct sl_error *err)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_ERROR_LOG | MHD_USE_ITC;
    web->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, web, MHD_OPTION_EXTERNAL_LOGGER,
            dp_connection_silent, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
            (unsigned)DP_WEB_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
            web, MHD_OPTION_NOTIFY_CONNECTION, dp_connection_notify, web->deadlines,
            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    return web->daemon != NULL ? SL_OK
                               : sl_fail(err, SL_FAILED, "cannot start the web server on %s", web->url);
}

static enum sl_status copy_options(
        struct dp_web *web, const struct dp_web_options *options, struct sl_error *err)
{
    web->request_max = options->request_max;
    web->token = options->token == NULL ? NULL : sl_strdup(options->token);
    web->allow_host = options->allow_host == NULL ? NULL : sl_strdup(options->allow_host);
    if ((options->token != NULL && web->token == NULL) ||
            (options->allow_host != NULL && web->allow_host == NULL))
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the web server");
    return SL_OK;
}

enum sl_status dp_web_create(struct dp_web **ret_web, const struct dp_web_options *options,
        struct dp_service *service, struct sl_error *err)
{
    struct dp_web *web = sl_alloc(1, sizeof(*web));
    if (web == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the web server");
    SL_AUTO_CLOSE int fd = -1;
    web->service = service;
    web->listener = -1;
    atomic_init(&web->busy, 0);
    enum sl_status status = copy_options(web, options, err);
    if (status == SL_OK)
        status = dp_deadlines_create(&web->deadlines, DP_WEB_CONNECTIONS_MAX, options->receive_us, err);
    if (status == SL_OK)
        status = dp_listen(&fd, web->url, options->bind, options->token != NULL, err);
    if (status == SL_OK)
        status = start(web, fd, err);
    if (status != SL_OK) {
        dp_web_destroy(web);
        return status;
    }
    fd = -1; /* libmicrohttpd's now */
    *ret_web = web;
    return SL_OK;
}

void dp_web_destroy(struct dp_web *web)
{
    if (web == NULL)
        return;
    if (web->daemon != NULL)
        MHD_stop_daemon(web->daemon);
    if (web->listener >= 0)
        (void)close(web->listener);
    dp_deadlines_destroy(web->deadlines);
    dp_token_free(web->token);
    sl_free(web->allow_host);
    sl_free(web);
}

void dp_web_look(struct dp_web *web)
{
    (void)dp_deadlines_expire(web->deadlines, sl_clock_monotonic_us());
}

void dp_web_quiesce(struct dp_web *web)
{
    if (web->listener < 0)
        web->listener = MHD_quiesce_daemon(web->daemon);
}

int dp_web_busy(struct dp_web *web)
{
    return atomic_load(&web->busy);
}

const char *dp_web_url(const struct dp_web *web)
{
    return web->url;
}
