#pragma once
/* The web server of the dashboard: HTTP/1.1 by libmicrohttpd, GET and HEAD only.
 *
 *     dp_gateway_create(&gateway, &options, feed, hub, err);
 *     printf("%s\n", dp_gateway_url(gateway));
 *     … dp_gateway_look(gateway) every second …
 *     dp_gateway_destroy(gateway);
 *
 * Paths: / and the files of the page, /api/runs, /api/status?run=, /api/history?run=, /api/events?run= (server-sent events), /metrics (Prometheus).
 * Limits: DP_CONNECTIONS_MAX connections, DP_STREAMS_MAX of them event streams, 16 KiB of request, 10 s for a request to arrive, 15 s without progress.
 * Thread: libmicrohttpd's own one; create, look and destroy belong to the caller's.
 */
#include "common/error.h"
#include "deploy/dashboard/feed.h"
#include "deploy/dashboard/hub.h"

#define DP_CONNECTIONS_MAX 64

struct dp_gateway;

struct dp_gateway_options {
    const char *bind;       /* ADDRESS:PORT, [ADDRESS]:PORT; port 0 = any */
    const char *token;      /* NULL = none: only for loopback */
    const char *allow_host; /* one more name for the Host header, NULL = none */
};

/* Errors: USAGE (not an address; not loopback without a token), FAILED (port in use, may not be used). Owns: borrows feed and hub, copies the options. */
SL_MUST_USE enum sl_status dp_gateway_create(struct dp_gateway **ret_gateway,
        const struct dp_gateway_options *options, struct dp_feed *feed, struct dp_hub *hub,
        struct sl_error *err);
void dp_gateway_destroy(struct dp_gateway *gateway); /* streams are ended first. NULL is fine */

/* dp_gateway_look cuts off connections that are too slow. */
void dp_gateway_look(struct dp_gateway *gateway);
const char *dp_gateway_url(const struct dp_gateway *gateway); /* http://127.0.0.1:41234/ */
