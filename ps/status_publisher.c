/* The thread with the status socket: see status_publisher.h. */
#include "ps/status_publisher.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/transport.h"
#include "common/zap.h"

#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#define READ_MAX 256         /* subscriptions that are read at once */
#define LESS_URGENT 10       /* nice: a tenth of a training thread's share where there are too few cores */
#define BIND_AGAIN_US 100000 /* a socket that was closed gives its port back a moment later */

struct item {
    enum ps_topic topic;
    void *bytes;
    size_t size;
};

struct ps_publisher {
    struct sl_status_place place;
    const struct sl_keys *keys;
    pthread_t thread;
    bool started;
    int wake_fd;
    atomic_bool stop;
    atomic_uint_fast64_t dropped, resets;
    sem_t ready;
    enum sl_status status; /* of the start, before ready */
    struct sl_error error;
    /* the ring */
    pthread_mutex_t mutex;
    struct item ring[PS_PUBLISHER_RING];
    int first, count;
    /* the thread's own */
    void *context, *socket, *monitor;
    struct sl_zap *zap;
    unsigned monitors; /* for names */
    struct item last;  /* Status */
    bool wanted;       /* somebody new wants the last Status */
    uint64_t garbage;  /* since the socket was opened */
    int connections;
    bool bound;
    int64_t rest_until_us, bind_us, sign_us;
};

static const char *const names[] = {[PS_TOPIC_STATUS] = "status",
        [PS_TOPIC_STEP] = "step",
        [PS_TOPIC_VALIDATION] = "validation",
        [PS_TOPIC_EVENT] = "event"};
#define TOPIC_COUNT (sizeof(names) / sizeof(names[0]))

/* ---- the ring ---- */

static struct item take_at(struct ps_publisher *p, int offset)
{
    struct item taken = p->ring[(p->first + offset) % PS_PUBLISHER_RING];
    for (int i = offset; i + 1 < p->count; i++)
        p->ring[(p->first + i) % PS_PUBLISHER_RING] = p->ring[(p->first + i + 1) % PS_PUBLISHER_RING];
    p->count--;
    return taken;
}

/* Returns what had to leave; its bytes are NULL when nothing had to. */
static struct item make_room(struct ps_publisher *p, enum ps_topic topic)
{
    for (int i = 0; topic == PS_TOPIC_STATUS && i < p->count; i++)
        if (p->ring[(p->first + i) % PS_PUBLISHER_RING].topic == PS_TOPIC_STATUS)
            return take_at(p, i);
    if (p->count < PS_PUBLISHER_RING)
        return (struct item){0};
    atomic_fetch_add(&p->dropped, 1);
    struct item oldest = p->ring[p->first];
    p->first = (p->first + 1) % PS_PUBLISHER_RING;
    p->count--;
    return oldest;
}

static void wake(struct ps_publisher *p)
{
    uint64_t one = 1;
    if (write(p->wake_fd, &one, sizeof(one)) < 0)
        return; /* full: it is awake */
}

void ps_publisher_put(struct ps_publisher *p, enum ps_topic topic, void *bytes, size_t size)
{
    (void)pthread_mutex_lock(&p->mutex);
    struct item left = make_room(p, topic);
    p->ring[(p->first + p->count) % PS_PUBLISHER_RING] = (struct item){topic, bytes, size};
    p->count++;
    (void)pthread_mutex_unlock(&p->mutex);
    sl_free(left.bytes);
    wake(p);
}

static bool take(struct ps_publisher *p, struct item *ret_item)
{
    (void)pthread_mutex_lock(&p->mutex);
    bool some = p->count > 0;
    if (some) {
        *ret_item = p->ring[p->first];
        p->first = (p->first + 1) % PS_PUBLISHER_RING;
        p->count--;
    }
    (void)pthread_mutex_unlock(&p->mutex);
    return some;
}

/* ---- the socket ---- */

static int set_int(void *handle, int option, int value)
{
    return zmq_setsockopt(handle, option, &value, sizeof(value));
}

static int set_options(struct ps_publisher *p)
{
    void *h = p->socket;
    int64_t size_max = PS_PUBLISHER_SUBSCRIPTION_MAX;
    int bad = zmq_setsockopt(h, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max));
    bad |= set_int(
            h, ZMQ_XPUB_VERBOSE, 1); /* every subscription is told, so that every newcomer gets a Status */
    bad |= set_int(h, ZMQ_SNDHWM, PS_PUBLISHER_QUEUE);
    bad |= set_int(h, ZMQ_RCVHWM, PS_PUBLISHER_QUEUE);
    bad |= set_int(h, ZMQ_LINGER, PS_PUBLISHER_LINGER_MS);
    bad |= set_int(h, ZMQ_HEARTBEAT_IVL, 2000);
    bad |= set_int(h, ZMQ_HEARTBEAT_TIMEOUT, 10000);
    bad |= set_int(h, ZMQ_HEARTBEAT_TTL, 20000);
    bad |= set_int(h, ZMQ_HANDSHAKE_IVL, 5000);
    bad |= set_int(h, ZMQ_IPV6, strchr(p->place.endpoint, '[') != NULL);
    if (p->keys != NULL) {
        bad |= set_int(h, ZMQ_CURVE_SERVER, 1);
        bad |= zmq_setsockopt(h, ZMQ_ZAP_DOMAIN, SL_ZAP_DOMAIN, strlen(SL_ZAP_DOMAIN));
        bad |= zmq_setsockopt(h, ZMQ_CURVE_SECRETKEY, sl_keys_secret(p->keys), SL_KEY_TEXT_SIZE);
    }
    return bad;
}

static int open_monitor(struct ps_publisher *p)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "inproc://connections-%u", p->monitors++);
    p->monitor = zmq_socket(p->context, ZMQ_PAIR);
    if (p->monitor == NULL)
        return -1;
    int bad = set_int(p->monitor, ZMQ_LINGER, 0);
    bad |= set_int(p->monitor, ZMQ_RCVHWM, 0); /* a full queue would stop ZeroMQ's thread */
    return bad | zmq_socket_monitor(p->socket, name, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED) |
           zmq_connect(p->monitor, name);
}

static void close_socket(struct ps_publisher *p)
{
    if (p->socket != NULL) {
        (void)zmq_socket_monitor(p->socket, NULL, 0); /* first: ZeroMQ's thread would wait for its reader */
        (void)zmq_close(p->socket);
    }
    if (p->monitor != NULL)
        (void)zmq_close(p->monitor);
    p->socket = p->monitor = NULL;
    p->connections = 0;
    p->garbage = 0;
    p->bound = false;
}

static enum sl_status open_socket(struct ps_publisher *p, struct sl_error *err)
{
    p->socket = zmq_socket(p->context, ZMQ_XPUB);
    if (p->socket != NULL && set_options(p) == 0 && open_monitor(p) == 0)
        return SL_OK;
    enum sl_status status =
            sl_fail(err, SL_FAILED, "cannot prepare the status socket: %s", zmq_strerror(zmq_errno()));
    close_socket(p);
    return status;
}

/* Binds to place.endpoint; port 0 becomes the one that was given, which stays the same when it is bound again. */
static enum sl_status bind_socket(struct ps_publisher *p, struct sl_error *err)
{
    char address[SL_STATUS_ENDPOINT_MAX + 1];
    size_t length = (size_t)snprintf(address, sizeof(address), "%s", p->place.endpoint);
    bool any = strncmp(address, "tcp://", 6) == 0 && length > 2 && strcmp(address + length - 2, ":0") == 0;
    if (any)
        address[length - 1] = '*'; /* what ZeroMQ calls port 0 */
    size_t size = sizeof(p->place.endpoint);
    int bad = zmq_bind(p->socket, address);
    if (bad == 0 && any)
        bad = zmq_getsockopt(p->socket, ZMQ_LAST_ENDPOINT, p->place.endpoint, &size);
    if (bad != 0)
        return sl_fail(err, SL_FAILED, "cannot publish on cluster.status %s: %s%s", address,
                zmq_strerror(zmq_errno()), zmq_errno() == EADDRINUSE ? SL_PORT_TAKEN_HINT : "");
    p->bound = true;
    return SL_OK;
}

static void send_item(struct ps_publisher *p, const struct item *item)
{
    const char *name = names[item->topic];
    if (p->socket != NULL && zmq_send(p->socket, name, strlen(name), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        (void)zmq_send(p->socket, item->bytes, item->size, ZMQ_DONTWAIT);
}

static void send_all(struct ps_publisher *p)
{
    uint64_t wakes;
    (void)!read(p->wake_fd, &wakes, sizeof(wakes));
    for (struct item item; take(p, &item);) {
        send_item(p, &item);
        if (item.topic == PS_TOPIC_STATUS) {
            sl_free(p->last.bytes);
            p->last = item;
            p->wanted = false;
        } else {
            sl_free(item.bytes);
        }
    }
    if (p->wanted && p->last.bytes != NULL) {
        send_item(p, &p->last);
        p->wanted = false;
    }
}

/* ---- strangers ---- */

/* Is it the beginning of a topic, as a subscription may be? */
static bool is_topic(const char *text, size_t size)
{
    for (size_t i = 0; i < TOPIC_COUNT; i++)
        if (size <= strlen(names[i]) && memcmp(names[i], text, size) == 0)
            return true;
    return false;
}

static void note_subscription(struct ps_publisher *p, const char *bytes, size_t size)
{
    bool known = size >= 1 && (bytes[0] == 0 || bytes[0] == 1) && is_topic(bytes + 1, size - 1);
    p->garbage += !known;
    p->wanted |= known && bytes[0] == 1 && (size == 1 || bytes[1] == 's');
}

/* A bounded number at a time; what is left waits, in the end at the sender's. */
static void read_subscriptions(struct ps_publisher *p, int64_t now_us)
{
    char bytes[PS_PUBLISHER_SUBSCRIPTION_MAX];
    int count = 0, size = 0;
    while (count < READ_MAX && (size = zmq_recv(p->socket, bytes, sizeof(bytes), ZMQ_DONTWAIT)) >= 0) {
        note_subscription(p, bytes, (size_t)size < sizeof(bytes) ? (size_t)size : sizeof(bytes));
        count++;
    }
    if (count > 0)
        p->rest_until_us = now_us + PS_PUBLISHER_REST_MS * 1000;
}

static void count_connections(struct ps_publisher *p)
{
    unsigned char bytes[6], address[SL_STATUS_ENDPOINT_MAX];
    for (int size; (size = zmq_recv(p->monitor, bytes, sizeof(bytes), ZMQ_DONTWAIT)) >= 0;) {
        uint16_t event = 0;
        memcpy(&event, bytes, sizeof(event));
        (void)zmq_recv(p->monitor, address, sizeof(address), ZMQ_DONTWAIT);
        p->connections += event == ZMQ_EVENT_ACCEPTED;
        p->connections -= event == ZMQ_EVENT_DISCONNECTED && p->connections > 0;
    }
}

static void guard(struct ps_publisher *p, int64_t now_us)
{
    struct sl_error problem;
    if (p->garbage > PS_PUBLISHER_GARBAGE_MAX) {
        sl_log(SL_LOG_WARN, "status", "status-flooded", "endpoint=%s messages=%" PRIu64, p->place.endpoint,
                p->garbage);
        atomic_fetch_add(&p->resets, 1);
        (void)set_int(p->socket, ZMQ_LINGER, 0);
        close_socket(p);
        p->bind_us = now_us + BIND_AGAIN_US;
        return;
    }
    if (p->bound && p->connections > PS_PUBLISHER_CONNECTIONS_MAX) {
        sl_log(SL_LOG_WARN, "status", "status-crowded", "endpoint=%s connections=%d", p->place.endpoint,
                p->connections);
        p->bound = zmq_unbind(p->socket, p->place.endpoint) != 0;
        p->bind_us = now_us + BIND_AGAIN_US;
    }
    if (p->bound || now_us < p->bind_us || p->connections > PS_PUBLISHER_CONNECTIONS_MAX / 2)
        return;
    p->bind_us = now_us + BIND_AGAIN_US;
    if (p->socket != NULL || open_socket(p, &problem) == SL_OK)
        (void)!bind_socket(p, &problem); /* in use still: again in a moment */
}

/* ---- the thread ---- */

static void wait_for_work(struct ps_publisher *p)
{
    int64_t now_us = sl_clock_monotonic_us();
    bool resting = now_us < p->rest_until_us;
    int64_t timeout_us = p->sign_us - now_us;
    if (resting && p->rest_until_us - now_us < timeout_us)
        timeout_us = p->rest_until_us - now_us;
    if (!p->bound && timeout_us > BIND_AGAIN_US)
        timeout_us = BIND_AGAIN_US;
    zmq_pollitem_t items[3] = {{.fd = p->wake_fd, .events = ZMQ_POLLIN}};
    int count = 1;
    if (p->socket != NULL)
        items[count++] = (zmq_pollitem_t){.socket = p->monitor, .events = ZMQ_POLLIN};
    if (p->socket != NULL && !resting)
        items[count++] = (zmq_pollitem_t){.socket = p->socket, .events = ZMQ_POLLIN};
    (void)zmq_poll(items, count, timeout_us > 0 ? timeout_us / 1000 + 1 : 0);
}

static void serve(struct ps_publisher *p)
{
    while (!atomic_load(&p->stop)) {
        wait_for_work(p);
        int64_t now_us = sl_clock_monotonic_us();
        if (p->socket != NULL) {
            count_connections(p);
            if (now_us >= p->rest_until_us)
                read_subscriptions(p, now_us);
        }
        send_all(p);
        guard(p, now_us);
        if (now_us >= p->sign_us) {
            sl_status_place_touch(&p->place);
            p->sign_us = now_us + SL_STATUS_SIGN_SECONDS * (int64_t)1000000;
        }
    }
    send_all(p);
}

static enum sl_status open_door(struct ps_publisher *p, struct sl_error *err)
{
    p->context = zmq_ctx_new();
    if (p->context == NULL)
        return sl_fail(err, SL_FAILED, "cannot start ZeroMQ: %s", zmq_strerror(zmq_errno()));
    if (p->keys != NULL) {
        SL_AUTO_FREE char *allowed = sl_path_join(sl_keys_folder(p->keys), "allowed");
        if (allowed == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
        enum sl_status status = sl_zap_start(&p->zap, p->context, allowed, sl_keys_public(p->keys), err);
        if (status != SL_OK)
            return status;
    }
    enum sl_status status = open_socket(p, err);
    return status == SL_OK ? bind_socket(p, err) : status;
}

static void *run(void *argument)
{
    struct ps_publisher *p = argument;
    /* Linux gives each thread a priority of its own, and ZeroMQ's threads, which begin with the first socket, inherit this one: a flood of subscriptions takes little
     * from training even where all cores compute. */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + LESS_URGENT);
    p->status = open_door(p, &p->error);
    if (p->status == SL_OK)
        p->status = sl_status_place_write(&p->place, &p->error);
    p->sign_us = sl_clock_monotonic_us() + SL_STATUS_SIGN_SECONDS * (int64_t)1000000;
    bool good = p->status == SL_OK;
    (void)sem_post(&p->ready);
    if (good)
        serve(p);
    close_socket(p);
    while (p->context != NULL && zmq_ctx_term(p->context) != 0 && zmq_errno() == EINTR)
        continue;
    sl_zap_join(p->zap);
    return NULL;
}

enum sl_status ps_publisher_open(
        struct ps_publisher **ret_publisher, const struct ps_publisher_options *options, struct sl_error *err)
{
    struct ps_publisher *p = sl_alloc(1, sizeof(*p));
    if (p == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the status");
    p->place = *options->place;
    p->keys = options->keys;
    (void)pthread_mutex_init(&p->mutex, NULL);
    (void)sem_init(&p->ready, 0, 0);
    (void)snprintf(p->place.endpoint, sizeof(p->place.endpoint), "%s", options->endpoint);
    if (p->keys != NULL)
        (void)snprintf(p->place.public_key, sizeof(p->place.public_key), "%s", sl_keys_public(p->keys));
    p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum sl_status status = p->wake_fd < 0 ? sl_fail_errno(err, "cannot make an event descriptor") : SL_OK;
    if (status == SL_OK && pthread_create(&p->thread, NULL, run, p) != 0)
        status = sl_fail(err, SL_FAILED, "cannot start the status thread");
    else if (status == SL_OK)
        p->started = true;
    while (p->started && sem_wait(&p->ready) != 0)
        continue; /* a signal; the thread posts whether it succeeds or not */
    if (status == SL_OK && p->status != SL_OK)
        status = sl_fail(err, p->status, "%s", p->error.text);
    if (status != SL_OK) {
        ps_publisher_close(p);
        return status;
    }
    *ret_publisher = p;
    return SL_OK;
}

void ps_publisher_close(struct ps_publisher *p)
{
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    if (p->started) {
        wake(p);
        (void)pthread_join(p->thread, NULL);
    }
    for (struct item item; take(p, &item);)
        sl_free(item.bytes);
    sl_free(p->last.bytes);
    if (p->wake_fd >= 0)
        (void)close(p->wake_fd);
    (void)sem_destroy(&p->ready);
    (void)pthread_mutex_destroy(&p->mutex);
    sl_free(p);
}

const struct sl_status_place *ps_publisher_place(const struct ps_publisher *p)
{
    return &p->place;
}

uint64_t ps_publisher_dropped(const struct ps_publisher *p)
{
    return atomic_load(&p->dropped);
}

uint64_t ps_publisher_resets(const struct ps_publisher *p)
{
    return atomic_load(&p->resets);
}
