#pragma once
/* Streams of server-sent events: what the feed posts goes to every stream of that run. Each stream has a queue of bounded length; one whose reader is too slow
 * is ended, and the browser connects again and starts from the present. Posting never waits.
 *
 *     dp_hub_post(hub, "runs/a", "status", text, size);                  // the feed's thread
 *     s = dp_hub_open(&stream, hub, "runs/a", &calls, connection, err);    // the gateway's thread
 *     got = dp_stream_read(stream, bytes, size);
 *
 * Thread: any; the lock is held for copying only. The calls happen with the lock held and must not call back.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

#define DP_STREAMS_MAX 24
#define DP_STREAM_QUEUE_MAX 1024              /* messages */
#define DP_STREAM_BYTES_MAX ((size_t)4 << 20) /* in one queue */

struct dp_hub;
struct dp_stream;

/* What a stream does with its connection: called with the hub's lock held. */
struct dp_stream_calls {
    void (*sleep)(void *context); /* nothing to send now */
    void (*wake)(void *context);  /* there is again; only after sleep */
};

SL_MUST_USE enum sl_status dp_hub_create(struct dp_hub **ret_hub, struct sl_error *err);
void dp_hub_destroy(struct dp_hub *hub); /* all streams are closed. NULL is fine */

/* dp_hub_post formats "event: NAME\ndata: TEXT\n\n" for every stream of the run; run NULL: for all. text has no newline. */
void dp_hub_post(struct dp_hub *hub, const char *run, const char *event, const char *text, size_t size);
/* dp_hub_stop ends every stream, now and in future. */
void dp_hub_stop(struct dp_hub *hub);
bool dp_hub_watched(struct dp_hub *hub, const char *run); /* whether anybody reads this run */

/* dp_hub_open makes a stream. Owns: *ret_stream, close it; calls and context outlive it. Errors: AGAIN when there are too many, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_hub_open(struct dp_stream **ret_stream, struct dp_hub *hub, const char *run,
        const struct dp_stream_calls *calls, void *context, struct sl_error *err);
void dp_stream_close(struct dp_stream *stream);
/* dp_stream_read copies what is queued, up to size bytes: 0 when there is nothing (then sleep was called), -1 when the stream has ended. */
long dp_stream_read(struct dp_stream *stream, char *bytes, size_t size);
