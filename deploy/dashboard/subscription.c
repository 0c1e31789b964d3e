/* A subscriber to a status socket: see subscription.h. */
#include "deploy/dashboard/subscription.h"

#include "common/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <zmq.h>

#define MESSAGE_MAX ((int64_t)4 << 20) /* bytes */
#define MEMORY_MAX                                                                                           \
    ((size_t)64 << 20) /* bytes of one unpacked message: many empty parts cost more than their bytes */
#define QUEUE_MAX 1024 /* messages; beyond, the publisher drops */

struct dp_subscription {
    void *socket;
    char *endpoint;
};

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

static bool set_options(void *socket, const struct sl_keys *keys)
{
    int64_t largest = MESSAGE_MAX;
    bool good = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof(largest)) == 0;
    good = good && set_int(socket, ZMQ_LINGER, 0) && set_int(socket, ZMQ_RCVHWM, QUEUE_MAX);
    good = good && set_int(socket, ZMQ_HEARTBEAT_IVL, 2000) && set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, 10000);
    good = good && set_int(socket, ZMQ_HANDSHAKE_IVL, 5000);
    good = good && set_int(socket, ZMQ_RECONNECT_IVL, 200) && set_int(socket, ZMQ_RECONNECT_IVL_MAX, 5000);
    good = good && zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0) == 0;
    if (keys == NULL || !good)
        return good;
    return zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, sl_keys_server(keys), SL_KEY_TEXT_SIZE) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, sl_keys_public(keys), SL_KEY_TEXT_SIZE) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, sl_keys_secret(keys), SL_KEY_TEXT_SIZE) == 0;
}

enum sl_status dp_subscription_open(struct dp_subscription **ret_subscription, void *context,
        const char *endpoint, const struct sl_keys *keys, struct sl_error *err)
{
    struct dp_subscription *subscription = sl_alloc(1, sizeof(*subscription));
    if (subscription == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a subscription");
    subscription->endpoint = sl_strdup(endpoint);
    subscription->socket = zmq_socket(context, ZMQ_SUB);
    bool good = subscription->endpoint != NULL && subscription->socket != NULL &&
                set_options(subscription->socket, keys) && zmq_connect(subscription->socket, endpoint) == 0;
    if (!good) {
        enum sl_status status =
                sl_fail(err, SL_FAILED, "cannot listen to %s: %s", endpoint, zmq_strerror(zmq_errno()));
        dp_subscription_close(subscription);
        return status;
    }
    *ret_subscription = subscription;
    return SL_OK;
}

void dp_subscription_close(struct dp_subscription *subscription)
{
    if (subscription == NULL)
        return;
    if (subscription->socket != NULL)
        (void)zmq_close(subscription->socket);
    sl_free(subscription->endpoint);
    sl_free(subscription);
}

/* ---- unpacking within a budget ---- */

static void *budget_alloc(void *left_bytes, size_t size)
{
    size_t *left = left_bytes;
    if (size > *left)
        return NULL;
    *left -= size;
    return sl_alloc(size, 1);
}

static void budget_free(void *left_bytes, void *pointer)
{
    (void)left_bytes;
    sl_free(pointer);
}

static enum sl_status unpack(
        struct dp_news *news, const char *topic, const void *bytes, size_t size, struct sl_error *err)
{
    size_t left = MEMORY_MAX;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &left};
    *news = (struct dp_news){0};
    bool good = false;
    if (strcmp(topic, "status") == 0) {
        news->kind = DP_NEWS_STATUS;
        news->status = shelflife__status__status__unpack(&allocator, size, bytes);
        good = news->status != NULL;
    } else if (strcmp(topic, "step") == 0) {
        news->kind = DP_NEWS_STEP;
        news->step = shelflife__status__step__unpack(&allocator, size, bytes);
        good = news->step != NULL;
    } else if (strcmp(topic, "validation") == 0) {
        news->kind = DP_NEWS_VALIDATION;
        news->validation = shelflife__status__validation__unpack(&allocator, size, bytes);
        good = news->validation != NULL;
    } else if (strcmp(topic, "event") == 0) {
        news->kind = DP_NEWS_EVENT;
        news->event = shelflife__status__event__unpack(&allocator, size, bytes);
        good = news->event != NULL;
    }
    return good ? SL_OK
                : sl_fail(err, SL_BAD_DATA,
                          "a message of topic \"%s\" and %zu bytes is not one of a status socket", topic,
                          size);
}

void dp_news_fini(struct dp_news *news)
{
    size_t left = 0;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &left};
    if (news->status != NULL)
        shelflife__status__status__free_unpacked(news->status, &allocator);
    if (news->step != NULL)
        shelflife__status__step__free_unpacked(news->step, &allocator);
    if (news->validation != NULL)
        shelflife__status__validation__free_unpacked(news->validation, &allocator);
    if (news->event != NULL)
        shelflife__status__event__free_unpacked(news->event, &allocator);
    *news = (struct dp_news){0};
}

/* ---- taking ---- */

static bool more_parts(void *socket)
{
    int more = 0;
    size_t size = sizeof(more);
    return zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) == 0 && more != 0;
}

static void skip_rest(void *socket)
{
    while (more_parts(socket)) {
        zmq_msg_t part;
        (void)zmq_msg_init(&part);
        int got = zmq_msg_recv(&part, socket, ZMQ_DONTWAIT);
        (void)zmq_msg_close(&part);
        if (got < 0)
            return;
    }
}

enum sl_status dp_subscription_take(
        struct dp_subscription *subscription, struct dp_news *ret_news, struct sl_error *err)
{
    char topic[32];
    int length = zmq_recv(subscription->socket, topic, sizeof(topic), ZMQ_DONTWAIT);
    if (length < 0)
        return errno == EAGAIN || errno == EINTR
                       ? SL_AGAIN
                       : sl_fail(err, SL_FAILED, "%s: %s", subscription->endpoint, zmq_strerror(errno));
    if (length >= (int)sizeof(topic) || !more_parts(subscription->socket)) {
        skip_rest(subscription->socket);
        return sl_fail(err, SL_BAD_DATA, "a message of %s has no topic and body", subscription->endpoint);
    }
    topic[length] = 0;
    zmq_msg_t body;
    (void)zmq_msg_init(&body);
    enum sl_status status = SL_BAD_DATA;
    if (zmq_msg_recv(&body, subscription->socket, ZMQ_DONTWAIT) < 0)
        (void)sl_fail(err, status, "a message of %s broke off", subscription->endpoint);
    else if (more_parts(subscription->socket))
        (void)sl_fail(err, status, "a message of %s has more than two parts", subscription->endpoint);
    else
        status = unpack(ret_news, topic, zmq_msg_data(&body), zmq_msg_size(&body), err);
    skip_rest(subscription->socket);
    (void)zmq_msg_close(&body);
    return status;
}

void *dp_subscription_socket(const struct dp_subscription *subscription)
{
    return subscription->socket;
}

const char *dp_subscription_endpoint(const struct dp_subscription *subscription)
{
    return subscription->endpoint;
}
