#pragma once
/* What the dashboard knows: a thread that finds runs, listens to their status sockets, follows their metrics.jsonl, and posts what is new to the hub. The
 * gateway asks it for texts.
 *
 *     dp_feed_create(&feed, "runs", NULL, hub, err);
 *     dp_feed_history(feed, "a", &json);           // any thread
 *     dp_feed_destroy(feed);
 *
 * It reads only: a socket it subscribes to, files it opens for reading. Thread: its own, with everything below one lock that is held for milliseconds.
 *
 * Posted events, each a JSON object: "pulse" twice a second or so ({"link","heard","now"}), "status", "steps" ({"steps":[…]}, what came in a quarter of a second),
 * "validation", "event".
 */
#include "common/error.h"
#include "common/json.h"
#include "deploy/dashboard/hub.h"

struct dp_feed;

/* dp_feed_create begins to read: source is a run's folder, a folder of runs, or an endpoint. Owns: borrows hub. keys: a folder with client.key and server.pub, NULL: none. Errors: NOT_FOUND, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_feed_create(struct dp_feed **ret_feed, const char *source, const char *keys,
        struct dp_hub *hub, struct sl_error *err);
void dp_feed_destroy(struct dp_feed *feed); /* NULL is fine */

/* dp_feed_runs writes {"source":…,"runs":[{"name","link","state","step",…}]}, the newest first. */
void dp_feed_runs(struct dp_feed *feed, struct sl_json *json);
/* These write one run's texts; false when there is no run of that name. */
bool dp_feed_status(struct dp_feed *feed, const char *name, struct sl_json *json);
bool dp_feed_history(struct dp_feed *feed, const char *name, struct sl_json *json);
bool dp_feed_has(struct dp_feed *feed, const char *name);
/* dp_feed_metrics writes all runs for Prometheus. */
void dp_feed_metrics(struct dp_feed *feed, struct sl_text *text);
