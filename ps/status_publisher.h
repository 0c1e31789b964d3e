#pragma once
/* Publishes ready-packed messages to whoever subscribes. For status.c.
 *
 *     s = ps_publisher_open(&publisher, &options, err);
 *     ps_publisher_put(publisher, PS_TOPIC_STEP, bytes, size);       // never waits
 *     ps_publisher_close(publisher);
 *
 * What strangers can do to it is bounded: a subscriber that does not read loses messages after PS_PUBLISHER_QUEUE of them; subscriptions and garbage are read at a limited
 * pace, and after PS_PUBLISHER_GARBAGE_MAX of them everybody is disconnected once (who means well comes back by itself); beyond PS_PUBLISHER_CONNECTIONS_MAX
 * connections nobody new is let in until some have left, so that they cannot use up the process's descriptors.
 * Thread: its own owns the ZeroMQ context and socket; put and close belong to the caller's.
 */
#include "common/error.h"
#include "common/keys.h"
#include "common/status_place.h"

#include <stddef.h>
#include <stdint.h>

#define PS_PUBLISHER_RING 64  /* messages on their way to the thread */
#define PS_PUBLISHER_QUEUE 64 /* messages on their way to one subscriber */
#define PS_PUBLISHER_SUBSCRIPTION_MAX                                                                        \
    1024 /* bytes of what a subscriber may send; the handshake of CURVE takes up to 512 */
#define PS_PUBLISHER_GARBAGE_MAX 4096 /* subscriptions to topics that do not exist, and other messages */
#define PS_PUBLISHER_CONNECTIONS_MAX 256
#define PS_PUBLISHER_REST_MS 20 /* between two readings of subscriptions */
#define PS_PUBLISHER_LINGER_MS 500

enum ps_topic { PS_TOPIC_STATUS, PS_TOPIC_STEP, PS_TOPIC_VALIDATION, PS_TOPIC_EVENT };

struct ps_publisher;

/* endpoint: where to listen, port 0 for any. place: what RUN/status.json shall say; its endpoint and key are filled in. */
struct ps_publisher_options {
    const char *endpoint;
    const struct sl_keys *keys; /* a server's, NULL = not encrypted; outlives the publisher */
    const struct sl_status_place *place;
};

/* ps_publisher_open binds and writes the run's file. Errors: FAILED with the endpoint and why, KEYS, DISK, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_publisher_open(struct ps_publisher **ret_publisher,
        const struct ps_publisher_options *options, struct sl_error *err);
/* ps_publisher_close sends what was put, for at most PS_PUBLISHER_LINGER_MS. NULL is fine. */
void ps_publisher_close(struct ps_publisher *publisher);

/* ps_publisher_put hands a message over. Owns: takes bytes (sl_free). When the ring is full the oldest message is dropped; a Status replaces one that still
 * waits. Whoever subscribes later gets the last Status at once. */
void ps_publisher_put(struct ps_publisher *publisher, enum ps_topic topic, void *bytes, size_t size);

/* ps_publisher_place borrows where it can be heard. */
const struct sl_status_place *ps_publisher_place(const struct ps_publisher *publisher);
/* Counts so far. Thread: any. */
uint64_t ps_publisher_dropped(const struct ps_publisher *publisher); /* messages, because the ring was full */
uint64_t ps_publisher_resets(
        const struct ps_publisher *publisher); /* times that everybody was disconnected */
