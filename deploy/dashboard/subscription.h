#pragma once
/* One subscriber to a run's status socket: two-part messages, a topic and a message of proto/status.proto, checked and unpacked within a budget of memory.
 *
 *     dp_subscription_open(&subscription, context, "tcp://127.0.0.1:4711", keys, err);
 *     while (dp_subscription_take(subscription, &news, err) == SL_OK)
 *         … news.kind, news.status … dp_news_fini(&news);
 *
 * A subscriber only listens: the publisher drops what a slow one does not take, so nothing here can hold up a run.
 * Thread: the one that opened it.
 */
#include "common/error.h"
#include "common/keys.h"
#include "proto/status.pb-c.h"

enum dp_news_kind { DP_NEWS_STATUS, DP_NEWS_STEP, DP_NEWS_VALIDATION, DP_NEWS_EVENT };

/* One message; the pointer of its kind is set. */
struct dp_news {
    enum dp_news_kind kind;
    Shelflife__Status__Status *status;
    Shelflife__Status__Step *step;
    Shelflife__Status__Validation *validation;
    Shelflife__Status__Event *event;
};

struct dp_subscription;

/* dp_subscription_open connects in the background, again and again. context is ZeroMQ's; keys: NULL for none. Errors: FAILED (no such address), NO_MEMORY. */
SL_MUST_USE enum sl_status dp_subscription_open(struct dp_subscription **ret_subscription, void *context,
        const char *endpoint, const struct sl_keys *keys, struct sl_error *err);
void dp_subscription_close(struct dp_subscription *subscription); /* NULL is fine */

/* dp_subscription_take gives the next message. Errors: AGAIN (none), BAD_DATA (one was dropped; go on), FAILED. Owns: news, dp_news_fini it. */
SL_MUST_USE enum sl_status dp_subscription_take(
        struct dp_subscription *subscription, struct dp_news *ret_news, struct sl_error *err);
void dp_news_fini(struct dp_news *news);

void *dp_subscription_socket(const struct dp_subscription *subscription); /* for zmq_poll */
const char *dp_subscription_endpoint(const struct dp_subscription *subscription);
