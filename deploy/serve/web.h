#pragma once
/* The HTTP side of `shelflife serve`, by libmicrohttpd.
 *
 *     POST /v1/predict    JSON, or a form with the parts request (JSON), video (a file), MODALITY (.npy)
 *     GET  /v1/model      which snapshot answers, labels, what the model takes, figures
 *     GET  /health        200 while it serves, 503 while it stops
 *     GET  /metrics       for Prometheus
 *
 * Limits: DP_WEB_CONNECTIONS_MAX connections, a request's bytes and seconds to arrive by options, all bodies together DP_WEB_BODIES times one; beyond them 413 or 503.
 * A connection waits for its answer suspended: no thread waits with it. Thread: libmicrohttpd's own one; create, look, quiesce, destroy belong to the caller's.
 */
#include "deploy/serve/service.h"

#define DP_WEB_CONNECTIONS_MAX 512
#define DP_WEB_BODIES 8

struct dp_web;

struct dp_web_options {
    const char *bind;  /* ADDRESS:PORT */
    const char *token; /* NULL = none: only for loopback */
    const char
            *allow_host; /* one more name for the Host header, NULL = none; with a token every name is fine */
    size_t request_max;  /* bytes of a body */
    int64_t receive_us;  /* for a request to be whole */
};

/* Errors: USAGE (not an address; not loopback without a token), FAILED (port in use). Owns: *ret_web; borrows service, copies the options. */
SL_MUST_USE enum sl_status dp_web_create(struct dp_web **ret_web, const struct dp_web_options *options,
        struct dp_service *service, struct sl_error *err);
/* dp_web_destroy ends all connections. The service must have nothing in flight. NULL is fine. */
void dp_web_destroy(struct dp_web *web);

/* dp_web_look cuts off connections whose request is too slow to arrive. */
void dp_web_look(struct dp_web *web);
/* dp_web_quiesce takes no new connections from now on; dp_web_busy counts whole requests whose answer is not out yet. */
void dp_web_quiesce(struct dp_web *web);
int dp_web_busy(struct dp_web *web);
const char *dp_web_url(const struct dp_web *web); /* http://127.0.0.1:41234/ */
