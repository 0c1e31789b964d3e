/* Listening to a run: see status_client.h. */
#include "common/status_client.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/proto_unpack.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define TOPIC_MAX 16                    /* bytes */
#define UNPACKED_MAX ((size_t)32 << 20) /* bytes that one message may become in memory */
#define RECEIVE_QUEUE 256 /* messages: a listener that sleeps for long loses the newest, not its memory */
#define LOOK_INTERVAL_US 1000000 /* between two looks at the run's file */
#define CUT_PAUSE_US 1000000     /* ZeroMQ's own new attempt would have begun long before */
#define CUT_LOOK_MS 100
#define CUT_TEXT "%s sends more than %d MiB at once, or what is no message"

struct sl_status_client {
    struct sl_status_place place;
    struct sl_keys *keys; /* NULL = not encrypted */
    unsigned topics;
    void *context, *socket, *monitor;
    unsigned monitors;         /* for names */
    ProtobufCMessage *message; /* the last one given out */
    uint64_t dropped;
    int64_t opened_us, heard_us, looked_us; /* monotonic; 0 = never */
    double heard;                           /* Unix seconds */
    char state[32];                         /* as the last Status said */
    char finished[SL_STATUS_REASON_MAX];    /* not empty: the last Status said so */
    struct sl_error refused;                /* not OK: we are never let in */
    int handshakes_broken;
    int64_t cut_us; /* when ZeroMQ gave up the connection, and did not begin another so far; 0 = it did not */
    uint64_t cuts;  /* how often that was final */
    bool file_missing; /* at the last look */
};

static const struct {
    const char *name;
    const ProtobufCMessageDescriptor *descriptor;
    unsigned bit;
} topics[] = {
        [SL_NEWS_STATUS] = {"status", &shelflife__status__status__descriptor, 0},
        [SL_NEWS_STEP] = {"step", &shelflife__status__step__descriptor, SL_STATUS_STEPS},
        [SL_NEWS_VALIDATION] = {"validation", &shelflife__status__validation__descriptor,
                SL_STATUS_VALIDATIONS},
        [SL_NEWS_EVENT] = {"event", &shelflife__status__event__descriptor, SL_STATUS_EVENTS},
};
#define TOPIC_COUNT ((int)(sizeof(topics) / sizeof(topics[0])))

/* ---- open and close ---- */

static int set_int(void *handle, int option, int value)
{
    return zmq_setsockopt(handle, option, &value, sizeof(value));
}

static int set_options(const struct sl_status_client *client)
{
    void *h = client->socket;
    int64_t size_max = SL_STATUS_MESSAGE_MAX;
    int bad = zmq_setsockopt(h, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max));
    bad |= set_int(h, ZMQ_LINGER, 0);
    bad |= set_int(h, ZMQ_RCVHWM, RECEIVE_QUEUE);
    bad |= set_int(h, ZMQ_HEARTBEAT_IVL, 2000);
    bad |= set_int(h, ZMQ_HEARTBEAT_TIMEOUT, 10000);
    bad |= set_int(h, ZMQ_HANDSHAKE_IVL, 5000);
    bad |= set_int(h, ZMQ_RECONNECT_IVL, 100);
    bad |= set_int(h, ZMQ_RECONNECT_IVL_MAX, 2000);
    bad |= set_int(h, ZMQ_IPV6, 1);
    if (client->keys != NULL) {
        bad |= zmq_setsockopt(h, ZMQ_CURVE_SERVERKEY, sl_keys_server(client->keys), SL_KEY_TEXT_SIZE);
        bad |= zmq_setsockopt(h, ZMQ_CURVE_PUBLICKEY, sl_keys_public(client->keys), SL_KEY_TEXT_SIZE);
        bad |= zmq_setsockopt(h, ZMQ_CURVE_SECRETKEY, sl_keys_secret(client->keys), SL_KEY_TEXT_SIZE);
    }
    for (int i = 0; i < TOPIC_COUNT; i++)
        if (topics[i].bit == 0 || (client->topics & topics[i].bit) != 0)
            bad |= zmq_setsockopt(h, ZMQ_SUBSCRIBE, topics[i].name, strlen(topics[i].name));
    return bad;
}

/* ZeroMQ tells of failed handshakes and of connections on a socket of their own and nowhere else. */
static int open_monitor(struct sl_status_client *client)
{
    char name[64];
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                 ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_CONNECTED;
    (void)snprintf(name, sizeof(name), "inproc://handshakes-%u", client->monitors++);
    client->monitor = zmq_socket(client->context, ZMQ_PAIR);
    if (client->monitor == NULL)
        return -1;
    int bad = set_int(client->monitor, ZMQ_LINGER, 0);
    bad |= set_int(client->monitor, ZMQ_RCVHWM, 0); /* a full queue would stop ZeroMQ's thread */
    return bad | zmq_socket_monitor(client->socket, name, events) | zmq_connect(client->monitor, name);
}

static void disconnect(struct sl_status_client *client)
{
    if (client->socket != NULL) {
        (void)zmq_socket_monitor(client->socket, NULL, 0);
        (void)zmq_close(client->socket);
    }
    if (client->monitor != NULL)
        (void)zmq_close(client->monitor);
    client->socket = client->monitor = NULL;
}

static enum sl_status connect_socket(struct sl_status_client *client, struct sl_error *err)
{
    client->socket = zmq_socket(client->context, ZMQ_SUB);
    if (client->socket != NULL && set_options(client) == 0 && open_monitor(client) == 0 &&
            zmq_connect(client->socket, client->place.endpoint) == 0) {
        client->opened_us = sl_clock_monotonic_us();
        return SL_OK;
    }
    enum sl_status status = sl_fail(
            err, SL_FAILED, "cannot listen to %s: %s", client->place.endpoint, zmq_strerror(zmq_errno()));
    disconnect(client);
    return status;
}

static enum sl_status check_keys(
        const struct sl_status_place *place, const struct sl_keys *keys, struct sl_error *err)
{
    if (place->public_key[0] != 0 && keys == NULL)
        return sl_fail(err, SL_KEYS,
                "the run in %s is encrypted: give a folder with its server.pub and an allowed client.key "
                "(--keys "
                "DIR)",
                place->folder);
    if (place->public_key[0] == 0 && place->folder[0] != 0 && keys != NULL)
        return sl_fail(err, SL_KEYS, "the run in %s is not encrypted, and keys were given: leave --keys away",
                place->folder);
    if (keys != NULL && place->public_key[0] != 0 && strcmp(place->public_key, sl_keys_server(keys)) != 0)
        return sl_fail(err, SL_KEYS, "the run in %s has another key than %s/server.pub", place->folder,
                sl_keys_folder(keys));
    return SL_OK;
}

enum sl_status sl_status_client_open(struct sl_status_client **ret_client,
        const struct sl_status_place *place, const char *keys, unsigned wanted, struct sl_error *err)
{
    struct sl_status_client *client = sl_alloc(1, sizeof(*client));
    if (client == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a listener");
    client->place = *place;
    client->topics = wanted;
    enum sl_status status = keys != NULL ? sl_keys_load(&client->keys, keys, SL_KEYS_CLIENT, err) : SL_OK;
    if (status == SL_OK)
        status = check_keys(place, client->keys, err);
    if (status == SL_OK && (client->context = zmq_ctx_new()) == NULL)
        status = sl_fail(err, SL_FAILED, "cannot start ZeroMQ: %s", zmq_strerror(zmq_errno()));
    if (status == SL_OK)
        status = connect_socket(client, err);
    if (status != SL_OK) {
        sl_status_client_close(client);
        return status;
    }
    *ret_client = client;
    return SL_OK;
}

void sl_status_client_close(struct sl_status_client *client)
{
    if (client == NULL)
        return;
    disconnect(client);
    while (client->context != NULL && zmq_ctx_term(client->context) != 0 && zmq_errno() == EINTR)
        continue; /* a signal is no reason to leave ZeroMQ's threads behind */
    sl_proto_free(client->message);
    sl_keys_destroy(client->keys);
    sl_free(client);
}

/* ---- handshakes ---- */

/* A handshake that breaks off without a reason may do so because the other side is just ending: three in a row are no accident. */
static void note_handshake(struct sl_status_client *client, unsigned event, uint32_t value)
{
    const char *endpoint = client->place.endpoint,
               *keys = client->keys != NULL ? sl_keys_folder(client->keys) : "";
    struct sl_error *err = &client->refused;
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        client->handshakes_broken = 0;
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        err->status = sl_fail(err, SL_KEYS,
                "the run at %s does not let this key in: copy %s/client.pub into the folder allowed of its "
                "keys",
                endpoint, keys);
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
               value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
        err->status = sl_fail(err, SL_KEYS,
                client->keys != NULL
                        ? "the run at %s does not use keys: leave --keys away"
                        : "the run at %s wants keys: give a folder with its server.pub and an allowed "
                          "client.key (--keys DIR)",
                endpoint);
    } else if (++client->handshakes_broken >= 3) {
        if (client->keys != NULL)
            err->status = sl_fail(err, SL_KEYS,
                    "%s breaks handshakes off: is %s/server.pub its own, and does it use keys?", endpoint,
                    keys);
        else
            err->status = sl_fail(err, SL_FAILED,
                    "%s breaks handshakes off: either it wants keys (--keys DIR) or it is no run of "
                    "Shelflife",
                    endpoint);
    }
}

/* ZeroMQ connects again by itself, except when what came broke its protocol or was larger than SL_STATUS_MESSAGE_MAX: then there is an end of the connection and no new attempt. */
static void note_connection(struct sl_status_client *client, unsigned event)
{
    client->cut_us = event == ZMQ_EVENT_DISCONNECTED ? sl_clock_monotonic_us() : 0;
}

/* An event is two parts: number and value, then an address. */
static void take_monitored(struct sl_status_client *client)
{
    unsigned char bytes[6], address[256];
    for (int size; (size = zmq_recv(client->monitor, bytes, sizeof(bytes), ZMQ_DONTWAIT)) >= 0;) {
        uint16_t event = 0;
        uint32_t value = 0;
        memcpy(&event, bytes, sizeof(event));
        memcpy(&value, bytes + sizeof(event), sizeof(value));
        (void)zmq_recv(client->monitor, address, sizeof(address), ZMQ_DONTWAIT);
        bool connection = event == ZMQ_EVENT_DISCONNECTED || event == ZMQ_EVENT_CONNECT_RETRIED ||
                          event == ZMQ_EVENT_CONNECTED;
        if (size == (int)sizeof(bytes) && connection)
            note_connection(client, event);
        else if (size == (int)sizeof(bytes))
            note_handshake(client, event, value);
    }
}

/* ---- receive ---- */

static int find_topic(const char *bytes, size_t size)
{
    for (int i = 0; i < TOPIC_COUNT; i++)
        if (strlen(topics[i].name) == size && memcmp(topics[i].name, bytes, size) == 0)
            return i;
    return -1;
}

static void note_status(struct sl_status_client *client, const Shelflife__Status__Status *status)
{
    bool finished = status->state != NULL && strcmp(status->state, "finished") == 0;
    (void)snprintf(client->state, sizeof(client->state), "%s", status->state != NULL ? status->state : "");
    client->finished[0] = 0;
    if (finished)
        (void)snprintf(client->finished, sizeof(client->finished), "%s",
                status->finished != NULL && status->finished[0] != 0 ? status->finished : "no reason given");
}

/* Takes one whole message. Returns the topic, -1 for one that makes no sense, -2 when there is none. */
static int receive(struct sl_status_client *client, zmq_msg_t *payload)
{
    char name[TOPIC_MAX];
    int size = zmq_recv(client->socket, name, sizeof(name), ZMQ_DONTWAIT);
    if (size < 0)
        return -2;
    int more = 0, topic = size <= TOPIC_MAX ? find_topic(name, (size_t)size) : -1, parts = 1;
    size_t more_size = sizeof(more);
    while (zmq_getsockopt(client->socket, ZMQ_RCVMORE, &more, &more_size) == 0 && more != 0) {
        if (zmq_msg_recv(payload, client->socket, ZMQ_DONTWAIT) < 0)
            return -1;
        parts++;
    }
    return parts == 2 ? topic : -1;
}

static bool take_message(
        struct sl_status_client *client, int topic, zmq_msg_t *payload, struct sl_status_news *ret_news)
{
    if (topic < 0 || zmq_msg_size(payload) > SL_STATUS_MESSAGE_MAX)
        return false;
    client->message = sl_proto_unpack(
            topics[topic].descriptor, zmq_msg_data(payload), zmq_msg_size(payload), UNPACKED_MAX);
    if (client->message == NULL)
        return false;
    client->heard_us = sl_clock_monotonic_us();
    client->heard = (double)sl_clock_wall_us() * 1e-6;
    *ret_news = (struct sl_status_news){.kind = (enum sl_news_kind)topic, .message = client->message};
    if (topic == SL_NEWS_STATUS)
        note_status(client, ret_news->status);
    return true;
}

/* Returns OK, AGAIN when nothing is there. */
static enum sl_status take_one(struct sl_status_client *client, struct sl_status_news *ret_news)
{
    for (;;) {
        zmq_msg_t payload;
        (void)zmq_msg_init(&payload);
        int topic = receive(client, &payload);
        bool good = topic != -2 && take_message(client, topic, &payload, ret_news);
        (void)zmq_msg_close(&payload);
        if (good)
            return SL_OK;
        if (topic == -2)
            return SL_AGAIN;
        client->dropped++;
    }
}

/* After a pause, so that somebody who sends such things all the time is not asked all the time. */
static enum sl_status connect_if_cut(struct sl_status_client *client, struct sl_error *err)
{
    if (client->cut_us == 0 || sl_clock_monotonic_us() - client->cut_us < CUT_PAUSE_US)
        return SL_OK;
    client->cut_us = 0;
    client->cuts++;
    client->dropped++;
    disconnect(client);
    return connect_socket(client, err);
}

enum sl_status sl_status_client_next(struct sl_status_client *client, int64_t timeout_ms,
        struct sl_status_news *ret_news, struct sl_error *err)
{
    int64_t end_us = sl_clock_monotonic_us() + timeout_ms * 1000;
    sl_proto_free(client->message);
    client->message = NULL;
    if (client->socket == NULL) /* the run came back and could not be connected to */
        return sl_fail(err, SL_FAILED, "cannot listen to %s any more", client->place.endpoint);
    for (;;) {
        take_monitored(client);
        if (client->refused.status != SL_OK)
            return sl_fail(err, client->refused.status, "%s", client->refused.text);
        enum sl_status status = connect_if_cut(client, err);
        if (status != SL_OK)
            return status;
        if (take_one(client, ret_news) == SL_OK)
            return SL_OK;
        int64_t left_ms = (end_us - sl_clock_monotonic_us() + 999) / 1000;
        if (left_ms <= 0)
            return SL_TIMEOUT;
        zmq_pollitem_t items[] = {{.socket = client->socket, .events = ZMQ_POLLIN},
                {.socket = client->monitor, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, 2, client->cut_us != 0 && left_ms > CUT_LOOK_MS ? CUT_LOOK_MS : left_ms) < 0)
            return zmq_errno() == EINTR ? SL_TIMEOUT
                                        : sl_fail(err, SL_FAILED, "cannot wait for %s: %s",
                                                  client->place.endpoint, zmq_strerror(zmq_errno()));
    }
}

int sl_status_client_fd(const struct sl_status_client *client)
{
    int fd = -1;
    size_t size = sizeof(fd);
    if (client->socket == NULL || zmq_getsockopt(client->socket, ZMQ_FD, &fd, &size) != 0)
        return -1;
    return fd;
}

/* ---- life ---- */

static void start_again(struct sl_status_client *client, const struct sl_status_place *place)
{
    struct sl_error ignored;
    disconnect(client);
    client->place = *place;
    client->heard_us = 0;
    client->state[0] = client->finished[0] = 0;
    client->handshakes_broken = 0;
    client->cut_us = 0;
    client->cuts = 0;
    client->refused = (struct sl_error){0};
    client->refused.status = check_keys(place, client->keys, &client->refused);
    (void)!connect_socket(client, &ignored); /* next reports it */
}

/* Has the run been started again, or has it ended and we missed its last words? Returns false when its file is gone. */
static bool look_at_file(struct sl_status_client *client)
{
    struct sl_status_place place;
    struct sl_error problem;
    if (client->place.folder[0] == 0)
        return true;
    enum sl_status status = sl_status_place_read(&place, client->place.folder, &problem);
    if (status != SL_OK)
        return status != SL_NOT_FOUND && status != SL_USAGE;
    if (place.started != client->place.started || strcmp(place.endpoint, client->place.endpoint) != 0)
        start_again(client, &place);
    else
        client->place = place;
    return true;
}

double sl_status_client_heard(const struct sl_status_client *client)
{
    return client->heard > client->place.sign ? client->heard : client->place.sign;
}

static enum sl_run_life say_gone(
        const struct sl_status_client *client, char *text, size_t size, const char *how)
{
    char when[SL_TIME_TEXT_MAX];
    double heard = sl_status_client_heard(client);
    if (heard > 0.0 && sl_time_format(when, sizeof(when), (int64_t)heard, NULL) == SL_OK)
        (void)snprintf(text, size, "this run is gone: %s (last heard %s)", how, when);
    else
        (void)snprintf(text, size, "this run is gone: %s", how);
    return SL_LIFE_GONE;
}

static enum sl_run_life judge_silence(
        const struct sl_status_client *client, int64_t silence_us, bool file, char *text, size_t size)
{
    char how[512];
    const struct sl_status_place *place = &client->place;
    if (place->ended) {
        (void)snprintf(text, size, "finished: %s", place->reason);
        return SL_LIFE_FINISHED;
    }
    if (!file)
        return say_gone(client, text, size, "its folder is no more");
    if (sl_status_place_dead(place)) {
        (void)snprintf(how, sizeof(how), "its process %lld on %s ended without a word", (long long)place->pid,
                place->host);
        return say_gone(client, text, size, how);
    }
    if (silence_us > (int64_t)SL_STATUS_GONE_MS * 1000 && client->cuts > 0) {
        (void)snprintf(how, sizeof(how), CUT_TEXT, place->endpoint, SL_STATUS_MESSAGE_MAX >> 20);
        return say_gone(client, text, size, how);
    }
    if (silence_us > (int64_t)SL_STATUS_GONE_MS * 1000) {
        (void)snprintf(how, sizeof(how), "nobody answers at %s", place->endpoint);
        return say_gone(client, text, size, how);
    }
    enum sl_run_life life = client->heard_us == 0 ? SL_LIFE_CONNECTING : SL_LIFE_QUIET;
    if (client->cuts > 0) {
        int used = snprintf(text, size, "no news for %lld s: ", (long long)(silence_us / 1000000));
        if (used > 0 && (size_t)used < size)
            (void)snprintf(text + used, size - (size_t)used, CUT_TEXT ": listening again", place->endpoint,
                    SL_STATUS_MESSAGE_MAX >> 20);
        return life;
    }
    if (life == SL_LIFE_CONNECTING) {
        (void)snprintf(text, size, "connecting to %s", place->endpoint);
        return life;
    }
    (void)snprintf(text, size, "no news for %lld s", (long long)(silence_us / 1000000));
    return SL_LIFE_QUIET;
}

enum sl_run_life sl_status_client_life(struct sl_status_client *client, char *text, size_t size)
{
    int64_t now_us = sl_clock_monotonic_us();
    int64_t silence_us = now_us - (client->heard_us != 0 ? client->heard_us : client->opened_us);
    if (client->finished[0] == 0 && client->heard_us != 0 &&
            silence_us < (int64_t)SL_STATUS_QUIET_MS * 1000) {
        (void)snprintf(text, size, "%s", client->state);
        return SL_LIFE_LIVE;
    }
    if (client->looked_us == 0 || now_us - client->looked_us >= LOOK_INTERVAL_US) {
        client->looked_us = now_us;
        client->file_missing = !look_at_file(client);
        silence_us = now_us - (client->heard_us != 0 ? client->heard_us : client->opened_us);
    }
    if (client->finished[0] != 0) {
        (void)snprintf(text, size, "finished: %s", client->finished);
        return SL_LIFE_FINISHED;
    }
    return judge_silence(client, silence_us, !client->file_missing, text, size);
}

const struct sl_status_place *sl_status_client_place(const struct sl_status_client *client)
{
    return &client->place;
}

uint64_t sl_status_client_dropped(const struct sl_status_client *client)
{
    return client->dropped;
}
