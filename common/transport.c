/* ZeroMQ sockets with limits: see transport.h. Why each option is set is said where it is set; all of them guard against a silent loss or an
 * unbounded wait that ZeroMQ's defaults allow. */
#include "common/transport.h"

#include "common/codec.h"
#include "common/endpoint.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/share.h"
#include "common/shared_heap.h"
#include "common/zap.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define ROUTING_ID_SIZE                                                                                      \
    9 /* a letter for the role, because ids that begin with 0 are ZeroMQ's own, and the incarnation */
#define ENDPOINT_MAX 256
#define LINGER_MS 2000
#define RECEIVE_QUEUE 64 /* messages per peer: beyond that the sender is slowed down by TCP */

/* Bytes that the kernel takes at a time over loopback, where it would take megabytes: the reader then finds them in the cache. Less than a few segments of 64 KiB would wait for delayed
 * acknowledgements; between machines what TCP chooses is right. */
#define LOOPBACK_SEND_BUFFER (256 << 10)

#define RECONNECT_LEAST_MS 50
#define RECONNECT_SPREAD_MS 101
#define RECONNECT_MOST_MS 2000

/* ThreadSanitizer does not see the order that ZeroMQ's queues make between threads; these two tell it where a buffer goes and comes back, and, over inproc, where
 * the bytes themselves change hands without being copied. */
#if defined(__SANITIZE_THREAD__)
#define SEES_THREADS 1
#elif defined(__has_feature)
#define SEES_THREADS __has_feature(thread_sanitizer)
#else
#define SEES_THREADS 0
#endif
#if SEES_THREADS
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define HAND_OVER(pointer) __tsan_release((void *)(uintptr_t)(pointer))
#define TAKE_BACK(pointer) __tsan_acquire((void *)(uintptr_t)(pointer))
#else
#define HAND_OVER(pointer) (void)(pointer)
#define TAKE_BACK(pointer) (void)(pointer)
#endif

struct sl_transport {
    void *context;
    const struct sl_keys *keys; /* NULL = not encrypted */
    struct sl_zap *zap;         /* who may come in, NULL without a server's keys */
    atomic_uint monitor_count;  /* for names */
    bool shares;
};

/* What became of the latest handshake. */
enum handshake {
    HANDSHAKE_NONE,
    HANDSHAKE_DONE,
    HANDSHAKE_BROKEN_OFF,
    HANDSHAKE_NOT_ALLOWED,
    HANDSHAKE_OTHER_SECURITY,
    HANDSHAKE_SENSELESS
};

struct sl_socket {
    struct sl_transport *transport;
    void *handle;
    void *monitor; /* tells of handshakes; NULL over inproc, where there are none */
    bool router;
    struct sl_address peer; /* whom it is connected to */
    enum handshake handshake;
    uint64_t failed;        /* handshakes, but for those that zap counts */
    struct sl_share *share; /* with processes of this machine; NULL = none */
    char endpoint[ENDPOINT_MAX];
};

static enum sl_status fail_zmq(struct sl_error *err, const char *what, const char *endpoint)
{
    return sl_fail(err, SL_FAILED, "cannot %s %s: %s%s", what, endpoint, zmq_strerror(zmq_errno()),
            zmq_errno() == EADDRINUSE ? SL_PORT_TAKEN_HINT : "");
}

enum sl_status sl_transport_create(struct sl_transport **ret_transport, struct sl_error *err)
{
    struct sl_transport *transport = sl_alloc(1, sizeof(*transport));
    if (transport == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the transport");
    transport->context = zmq_ctx_new();
    if (transport->context == NULL) {
        sl_free(transport);
        return sl_fail(err, SL_FAILED, "cannot start ZeroMQ: %s", zmq_strerror(zmq_errno()));
    }
    *ret_transport = transport;
    return SL_OK;
}

enum sl_status sl_transport_create_secure(
        struct sl_transport **ret_transport, const struct sl_keys *keys, struct sl_error *err)
{
    struct sl_transport *transport = NULL;
    enum sl_status status = sl_transport_create(&transport, err);
    if (status != SL_OK)
        return status;
    transport->keys = keys;
    if (keys != NULL && sl_keys_role(keys) == SL_KEYS_SERVER) {
        SL_AUTO_FREE char *allowed = sl_path_join(sl_keys_folder(keys), "allowed");
        status = allowed == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for a path")
                                 : sl_zap_start(&transport->zap, transport->context, allowed,
                                           sl_keys_public(keys), err);
    }
    if (status != SL_OK) {
        sl_transport_destroy(transport);
        return status;
    }
    *ret_transport = transport;
    return SL_OK;
}

void sl_transport_share(struct sl_transport *transport)
{
    transport->shares = true;
}

void sl_transport_destroy(struct sl_transport *transport)
{
    if (transport == NULL)
        return;
    while (zmq_ctx_term(transport->context) != 0 && zmq_errno() == EINTR)
        continue; /* a signal is no reason to leave ZeroMQ's threads behind */
    sl_zap_join(transport->zap);
    sl_free(transport);
}

static int set_int(void *handle, int option, int value)
{
    return zmq_setsockopt(handle, option, &value, sizeof(value));
}

static int set_options(const struct sl_socket *socket, const char *endpoint)
{
    void *h = socket->handle;
    int64_t size_max = SL_FRAME_SIZE_MAX; /* without it a nine-byte header can ask for gigabytes */
    int bad = zmq_setsockopt(h, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max));
    bad |= set_int(h, ZMQ_LINGER, LINGER_MS); /* the default waits for ever at exit */
    bad |= set_int(h, ZMQ_SNDHWM,
            0); /* see the header: queues hold references, the cores bound them; a full ROUTER would drop */
    bad |= set_int(h, ZMQ_RCVHWM, RECEIVE_QUEUE);
    if (sl_endpoint_is_local(endpoint))
        bad |= set_int(h, ZMQ_SNDBUF, LOOPBACK_SEND_BUFFER);
    bad |= set_int(h, ZMQ_HEARTBEAT_IVL, 2000); /* a peer that vanished without FIN is noticed */
    bad |= set_int(h, ZMQ_HEARTBEAT_TIMEOUT, 10000);
    bad |= set_int(h, ZMQ_HEARTBEAT_TTL, 20000);
    bad |= set_int(h, ZMQ_HANDSHAKE_IVL, 5000); /* half-open connections do not pile up */
    if (socket->router) {
        bad |= set_int(h, ZMQ_ROUTER_MANDATORY, 1); /* an unroutable message is an error instead of nothing */
        bad |= set_int(h, ZMQ_ROUTER_HANDOVER, 1);  /* a reconnecting peer takes its place back */
    }
    return bad;
}

/* The same pair is a server's identity towards those who connect and towards the servers that it connects to itself. */
static int set_keys(const struct sl_socket *socket)
{
    const struct sl_keys *keys = socket->transport->keys;
    void *h = socket->handle;
    if (keys == NULL)
        return 0;
    int bad = 0;
    if (socket->router) {
        bad |= set_int(h, ZMQ_CURVE_SERVER, 1);
        bad |= zmq_setsockopt(h, ZMQ_ZAP_DOMAIN, SL_ZAP_DOMAIN,
                strlen(SL_ZAP_DOMAIN)); /* without a domain keys are not checked */
    } else {
        bad |= zmq_setsockopt(h, ZMQ_CURVE_SERVERKEY, sl_keys_server(keys), SL_KEY_TEXT_SIZE);
        bad |= zmq_setsockopt(h, ZMQ_CURVE_PUBLICKEY, sl_keys_public(keys), SL_KEY_TEXT_SIZE);
    }
    return bad | zmq_setsockopt(h, ZMQ_CURVE_SECRETKEY, sl_keys_secret(keys), SL_KEY_TEXT_SIZE);
}

/* ZeroMQ tells of failed handshakes on a socket of their own and nowhere else. */
static int open_monitor(struct sl_socket *socket, const char *endpoint)
{
    if (strncmp(endpoint, "inproc://", 9) == 0)
        return 0;
    char name[64];
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    (void)snprintf(name, sizeof(name), "inproc://handshakes-%u",
            atomic_fetch_add(&socket->transport->monitor_count, 1));
    socket->monitor = zmq_socket(socket->transport->context, ZMQ_PAIR);
    if (socket->monitor == NULL)
        return -1;
    int bad = set_int(socket->monitor, ZMQ_LINGER, 0);
    bad |= set_int(socket->monitor, ZMQ_RCVHWM, 0); /* a full queue would stop ZeroMQ's thread */
    return bad | zmq_socket_monitor(socket->handle, name, events) | zmq_connect(socket->monitor, name);
}

static enum sl_status open_socket(struct sl_socket **ret_socket, struct sl_transport *transport, bool router,
        const char *endpoint, struct sl_error *err)
{
    struct sl_socket *socket = sl_alloc(1, sizeof(*socket));
    if (socket == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a socket");
    socket->transport = transport;
    socket->router = router;
    socket->handle = zmq_socket(transport->context, router ? ZMQ_ROUTER : ZMQ_DEALER);
    if (socket->handle == NULL || set_options(socket, endpoint) != 0 || set_keys(socket) != 0 ||
            open_monitor(socket, endpoint) != 0) {
        enum sl_status status = fail_zmq(err, "prepare a socket for", endpoint);
        sl_socket_close(socket);
        return status;
    }
    *ret_socket = socket;
    return SL_OK;
}

enum sl_status sl_socket_bind(struct sl_socket **ret_socket, struct sl_transport *transport,
        const char *endpoint, struct sl_error *err)
{
    struct sl_socket *socket = NULL;
    if (transport->keys != NULL && sl_keys_role(transport->keys) != SL_KEYS_SERVER)
        return sl_fail(err, SL_KEYS, "cannot listen on %s with a client's keys (%s)", endpoint,
                sl_keys_folder(transport->keys));
    enum sl_status status = open_socket(&socket, transport, true, endpoint, err);
    if (status != SL_OK)
        return status;
    char address[ENDPOINT_MAX];
    size_t length = strlen(endpoint);
    if (length >= sizeof(address)) {
        sl_socket_close(socket);
        return sl_fail(err, SL_USAGE, "the endpoint is longer than %d bytes", ENDPOINT_MAX - 1);
    }
    memcpy(address, endpoint, length + 1);
    if (strncmp(address, "tcp://", 6) == 0 && length > 2 && strcmp(address + length - 2, ":0") == 0)
        address[length - 1] = '*'; /* what ZeroMQ calls port 0 */
    size_t size = sizeof(socket->endpoint);
    if (zmq_bind(socket->handle, address) != 0 ||
            zmq_getsockopt(socket->handle, ZMQ_LAST_ENDPOINT, socket->endpoint, &size) != 0) {
        status = fail_zmq(err, "listen on", endpoint);
        sl_socket_close(socket);
        return status;
    }
    if (transport->shares)
        socket->share = sl_share_listen(socket->endpoint);
    *ret_socket = socket;
    return SL_OK;
}

static void make_routing_id(unsigned char id[ROUTING_ID_SIZE], enum sl_role role, uint64_t incarnation)
{
    id[0] = role == SL_ROLE_SERVER ? 's' : 'w';
    memcpy(id + 1, &incarnation, sizeof(incarnation));
}

static bool read_routing_id(struct sl_address *ret_address, const unsigned char *id, size_t size)
{
    if (size != ROUTING_ID_SIZE || (id[0] != 's' && id[0] != 'w'))
        return false;
    ret_address->role = id[0] == 's' ? SL_ROLE_SERVER : SL_ROLE_WORKER;
    memcpy(&ret_address->id, id + 1, sizeof(ret_address->id));
    return ret_address->id != 0;
}

/* Who we are, and when to try again after a connection was lost: ZeroMQ doubles the pause and adds chance to it, but all that were cut off by the same event would still begin alike. */
static int set_identity(void *handle, enum sl_role role, uint64_t incarnation)
{
    unsigned char id[ROUTING_ID_SIZE];
    struct sl_random random = sl_random_make(incarnation, SL_RANDOM_NETWORK, 0, 0);
    int pause_ms = RECONNECT_LEAST_MS + (int)sl_random_below(&random, 0, RECONNECT_SPREAD_MS);
    make_routing_id(id, role, incarnation);
    int bad = zmq_setsockopt(handle, ZMQ_ROUTING_ID, id, sizeof(id));
    bad |= set_int(handle, ZMQ_RECONNECT_IVL, pause_ms);
    return bad | set_int(handle, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MOST_MS);
}

enum sl_status sl_socket_connect(struct sl_socket **ret_socket, struct sl_transport *transport,
        const char *endpoint, enum sl_role role, uint64_t incarnation, struct sl_address peer,
        struct sl_error *err)
{
    assert((role == SL_ROLE_WORKER || role == SL_ROLE_SERVER) && incarnation != 0);
    struct sl_socket *socket = NULL;
    enum sl_status status = open_socket(&socket, transport, false, endpoint, err);
    if (status != SL_OK)
        return status;
    socket->peer = peer;
    (void)snprintf(socket->endpoint, sizeof(socket->endpoint), "%s", endpoint);
    if (set_identity(socket->handle, role, incarnation) != 0 || zmq_connect(socket->handle, endpoint) != 0) {
        status = fail_zmq(err, "connect to", endpoint);
        sl_socket_close(socket);
        return status;
    }
    if (transport->shares)
        socket->share = sl_share_connect(endpoint, role, incarnation);
    *ret_socket = socket;
    return SL_OK;
}

void sl_socket_close(struct sl_socket *socket)
{
    if (socket == NULL)
        return;
    sl_share_close(socket->share);
    if (!socket->router && socket->handshake > HANDSHAKE_DONE)
        (void)set_int(socket->handle, ZMQ_LINGER, 0); /* nobody will take what still waits */
    if (socket->monitor != NULL)
        (void)zmq_socket_monitor(socket->handle, NULL,
                0); /* first: ZeroMQ's thread would wait for ever for a reader that is gone */
    if (socket->handle != NULL)
        (void)zmq_close(socket->handle);
    if (socket->monitor != NULL)
        (void)zmq_close(socket->monitor);
    sl_free(socket);
}

const char *sl_socket_endpoint(const struct sl_socket *socket)
{
    return socket->endpoint;
}

int sl_socket_sharing(const struct sl_socket *socket)
{
    return sl_share_peers(socket->share);
}

int sl_socket_lent(const struct sl_socket *socket)
{
    return sl_share_lent(socket->share);
}

/* ---- handshakes ---- */

static void note_handshake(struct sl_socket *socket, unsigned event, uint32_t value)
{
    bool ours =
            event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH && socket->transport->zap != NULL; /* counted there */
    socket->failed += event != ZMQ_EVENT_HANDSHAKE_SUCCEEDED && !ours;
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        socket->handshake = HANDSHAKE_DONE;
    else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        socket->handshake = HANDSHAKE_NOT_ALLOWED;
    else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        socket->handshake = HANDSHAKE_BROKEN_OFF;
    else
        socket->handshake = value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH ? HANDSHAKE_OTHER_SECURITY
                                                                                : HANDSHAKE_SENSELESS;
}

/* An event is two parts: number and value, then an address. */
static void take_handshakes(struct sl_socket *socket)
{
    unsigned char bytes[6], address[ENDPOINT_MAX];
    int size = 0;
    while (socket->monitor != NULL &&
            (size = zmq_recv(socket->monitor, bytes, sizeof(bytes), ZMQ_DONTWAIT)) >= 0) {
        uint16_t event = 0;
        uint32_t value = 0;
        memcpy(&event, bytes, sizeof(event));
        memcpy(&value, bytes + sizeof(event), sizeof(value));
        (void)zmq_recv(socket->monitor, address, sizeof(address), ZMQ_DONTWAIT);
        if (size == (int)sizeof(bytes))
            note_handshake(socket, event, value);
    }
}

enum sl_status sl_socket_check(struct sl_socket *socket, struct sl_error *err)
{
    take_handshakes(socket);
    const struct sl_keys *keys = socket->transport->keys;
    switch (socket->handshake) {
    case HANDSHAKE_NONE:
    case HANDSHAKE_DONE:
        return SL_OK;
    case HANDSHAKE_NOT_ALLOWED:
        return sl_fail(err, SL_KEYS,
                "the server at %s does not let this key in: copy %s/client.pub into the folder allowed of "
                "its keys",
                socket->endpoint, keys != NULL ? sl_keys_folder(keys) : "");
    case HANDSHAKE_OTHER_SECURITY:
        if (keys != NULL)
            return sl_fail(err, SL_KEYS,
                    "the server at %s does not use keys, we do (%s): set cluster.keys for both or for "
                    "neither",
                    socket->endpoint, sl_keys_folder(keys));
        return sl_fail(err, SL_KEYS,
                "the server at %s wants keys: set cluster.keys to a folder with server.pub and client.key",
                socket->endpoint);
    case HANDSHAKE_BROKEN_OFF:
        if (keys == NULL)
            return sl_fail(err, SL_AGAIN,
                    "the server at %s breaks handshakes off: if it wants keys, set cluster.keys; else it is "
                    "no server of Shelflife",
                    socket->endpoint);
        return sl_fail(err, SL_AGAIN,
                "the server at %s breaks handshakes off: is %s/server.pub its own, and does it use keys?",
                socket->endpoint, sl_keys_folder(keys));
    case HANDSHAKE_SENSELESS:
        break;
    }
    return sl_fail(err, keys != NULL ? SL_KEYS : SL_FAILED,
            "what answers at %s is no server of Shelflife, or its keys do not fit ours", socket->endpoint);
}

uint64_t sl_socket_refused(struct sl_socket *socket)
{
    take_handshakes(socket);
    return socket->failed + (socket->transport->zap != NULL ? sl_zap_refused(socket->transport->zap) : 0);
}

/* ---- send ---- */

/* Runs in ZeroMQ's own thread when the frame has left. */
static void frame_sent(void *data, void *hint)
{
    (void)data;
    TAKE_BACK(hint);
    sl_buffer_release(hint);
}

static int send_part(void *handle, const void *bytes, size_t size, int flags)
{
    int sent = -1;
    do
        sent = zmq_send(handle, bytes, size, flags | ZMQ_DONTWAIT);
    while (sent < 0 && zmq_errno() == EINTR);
    return sent < 0 ? -1 : 0;
}

/* What a message carries where a frame lies in memory that the receiver has mapped. */
struct references {
    unsigned char bytes[SL_MESSAGE_FRAMES_MAX][SL_REFERENCE_SIZE];
};

/* Lends what can be lent of the message's frames, and says so in its header. */
static void lend_frames(struct sl_socket *socket, struct sl_address to, struct sl_message *message,
        struct references *references)
{
    message->proof = sl_share_proof(socket->share, to);
    message->shared = 0;
    for (int i = 0; i < message->frame_count && sl_share_allows(message->kind); i++)
        if (message->encoding[i] == SL_ENCODING_DENSE && /* others are read by their structure */
                sl_share_lend(socket->share, to, &message->frames[i], references->bytes[i]))
            message->shared |= 1U << i;
}

static int send_frame(void *handle, const struct sl_frame *frame, int flags)
{
    if (frame->size < SL_ZERO_COPY_MIN)
        return send_part(handle, frame->data, frame->size, flags);
    zmq_msg_t part;
    HAND_OVER(frame->buffer);
    HAND_OVER(frame->data);
    if (zmq_msg_init_data(
                &part, (void *)frame->data, frame->size, frame_sent, sl_buffer_retain(frame->buffer)) != 0) {
        sl_buffer_release(frame->buffer);
        return -1;
    }
    int sent = -1;
    do
        sent = zmq_msg_send(&part, handle, flags | ZMQ_DONTWAIT);
    while (sent < 0 && zmq_errno() == EINTR);
    if (sent < 0)
        (void)zmq_msg_close(&part); /* gives our reference back through frame_sent */
    return sent < 0 ? -1 : 0;
}

enum sl_status sl_socket_send(struct sl_socket *socket, struct sl_address to,
        const struct sl_message *message, struct sl_error *err)
{
    unsigned char header[SL_HEADER_SIZE_MAX];
    struct references references;
    struct sl_message shared; /* only its head is used */
    size_t size = 0;
    for (int i = 0; i < message->frame_count; i++)
        if (message->frames[i].size > SL_FRAME_SIZE_MAX)
            return sl_fail(err, SL_FAILED, "a %s frame of %zu bytes is over the limit of %d",
                    sl_message_name(message->kind), message->frames[i].size, SL_FRAME_SIZE_MAX);
    if (socket->share != NULL) {
        shared = *message;
        lend_frames(socket, socket->router ? to : socket->peer, &shared, &references);
        message = &shared;
    }
    enum sl_status status = sl_codec_encode(message, header, &size, err);
    if (status != SL_OK)
        return status;
    if (socket->router) {
        unsigned char id[ROUTING_ID_SIZE];
        make_routing_id(id, to.role, to.id);
        if (send_part(socket->handle, id, sizeof(id), ZMQ_SNDMORE) != 0)
            return sl_fail(err, zmq_errno() == EHOSTUNREACH ? SL_NOT_FOUND : SL_FAILED, "cannot send %s: %s",
                    sl_message_name(message->kind), zmq_strerror(zmq_errno()));
    }
    int bad = send_part(socket->handle, header, size, message->frame_count > 0 ? ZMQ_SNDMORE : 0);
    if (bad != 0 && zmq_errno() == EAGAIN) /* over inproc the way ends with the other side */
        return sl_fail(err, SL_NOT_FOUND, "cannot send %s: %s is gone", sl_message_name(message->kind),
                socket->endpoint);
    for (int i = 0; bad == 0 && i < message->frame_count; i++) {
        int flags = i + 1 < message->frame_count ? ZMQ_SNDMORE : 0;
        bool lent = (message->shared >> i & 1) != 0;
        bad = lent ? send_part(socket->handle, references.bytes[i], SL_REFERENCE_SIZE, flags)
                   : send_frame(socket->handle, &message->frames[i], flags);
    }
    if (bad != 0)
        return sl_fail(err, SL_FAILED, "cannot send %s: %s", sl_message_name(message->kind),
                zmq_strerror(zmq_errno()));
    return SL_OK;
}

/* ---- receive ---- */

static void free_part(void *context)
{
    zmq_msg_t *part = context;
    (void)zmq_msg_close(part);
    sl_free(part);
}

/* Takes the next part of the current message. Returns bytes, -1 with zmq_errno. */
static int receive_part(void *handle, zmq_msg_t *part)
{
    int size = -1;
    do
        size = zmq_msg_recv(part, handle, ZMQ_DONTWAIT);
    while (size < 0 && zmq_errno() == EINTR);
    return size;
}

static void drop_rest(void *handle, bool more)
{
    while (more) {
        zmq_msg_t part;
        (void)zmq_msg_init(&part);
        more = receive_part(handle, &part) >= 0 && zmq_msg_more(&part);
        (void)zmq_msg_close(&part);
    }
}

/* Moves a part into a counted buffer: as it lies when its floats are aligned, else as a copy. */
static struct sl_buffer *adopt_part(zmq_msg_t *part)
{
    size_t size = zmq_msg_size(part);
    TAKE_BACK(zmq_msg_data(part));
    if ((uintptr_t)zmq_msg_data(part) % sizeof(double) != 0) {
        struct sl_buffer *copy = sl_buffer_create(size);
        if (copy != NULL && size > 0)
            memcpy(copy->data, zmq_msg_data(part), size);
        return copy;
    }
    zmq_msg_t *kept = sl_alloc(1, sizeof(*kept));
    if (kept == NULL)
        return NULL;
    (void)zmq_msg_init(kept);
    (void)zmq_msg_move(kept, part);
    struct sl_buffer *buffer = sl_buffer_adopt(zmq_msg_data(kept), size, free_part, kept);
    if (buffer == NULL)
        free_part(kept);
    return buffer;
}

/* Owns: the part stays the caller's. */
static enum sl_status take_frame(struct sl_socket *socket, struct sl_address from, zmq_msg_t *part,
        struct sl_message *message, struct sl_error *err)
{
    struct sl_frame *frame = &message->frames[message->frame_count];
    if ((message->shared >> message->frame_count & 1) != 0) {
        if (!sl_share_allows(message->kind) || message->encoding[message->frame_count] != SL_ENCODING_DENSE)
            return sl_fail(err, SL_BAD_DATA, "%s came with a reference to shared memory",
                    sl_message_name(message->kind));
        enum sl_status status =
                sl_share_borrow(socket->share, from, zmq_msg_data(part), zmq_msg_size(part), frame, err);
        message->frame_count += status == SL_OK;
        return status;
    }
    struct sl_buffer *buffer = adopt_part(part);
    if (buffer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a frame");
    *frame = (struct sl_frame){buffer, buffer->data, buffer->size};
    message->frame_count++;
    return SL_OK;
}

static enum sl_status receive_frames(struct sl_socket *socket, struct sl_address from, bool *more,
        struct sl_message *message, struct sl_error *err)
{
    while (*more) {
        if (message->frame_count == SL_MESSAGE_FRAMES_MAX)
            return sl_fail(err, SL_BAD_DATA, "%s came with more than %d frames",
                    sl_message_name(message->kind), SL_MESSAGE_FRAMES_MAX);
        zmq_msg_t part;
        (void)zmq_msg_init(&part);
        if (receive_part(socket->handle, &part) < 0) {
            *more = false;
            (void)zmq_msg_close(&part);
            return sl_fail(err, SL_BAD_DATA, "a message broke off: %s", zmq_strerror(zmq_errno()));
        }
        *more = zmq_msg_more(&part);
        enum sl_status status = take_frame(socket, from, &part, message, err);
        (void)zmq_msg_close(&part);
        if (status != SL_OK)
            return status;
    }
    return sl_codec_check_frames(message, err);
}

/* The routing id names the sender's role and incarnation, which its header must repeat. */
static enum sl_status receive_peer(
        void *handle, struct sl_address *ret_from, bool *more, struct sl_error *err)
{
    zmq_msg_t part;
    (void)zmq_msg_init(&part);
    if (receive_part(handle, &part) < 0) {
        (void)zmq_msg_close(&part);
        return zmq_errno() == EAGAIN
                       ? SL_AGAIN
                       : sl_fail(err, SL_FAILED, "cannot receive: %s", zmq_strerror(zmq_errno()));
    }
    *more = zmq_msg_more(&part);
    bool ours = read_routing_id(ret_from, zmq_msg_data(&part), zmq_msg_size(&part));
    (void)zmq_msg_close(&part);
    if (ours && *more)
        return SL_OK;
    return sl_fail(err, SL_BAD_DATA, "a peer that is not of this protocol sent something");
}

/* Who sent what is dropped: ZeroMQ knows the address, and the key's name that zap gave. It does not tell them with the routing id. */
static void name_sender(zmq_msg_t *header, struct sl_error *err)
{
    const char *address = zmq_msg_gets(header, "Peer-Address"), *key = zmq_msg_gets(header, "User-Id");
    if (address != NULL && key != NULL && key[0] != 0)
        (void)!sl_error_context(err, "from %s with the key of %s", address, key);
    else if (address != NULL)
        (void)!sl_error_context(err, "from %s", address);
}

static enum sl_status receive_header(
        void *handle, zmq_msg_t *header, struct sl_message **ret_message, bool *more, struct sl_error *err)
{
    *more = false;
    if (receive_part(handle, header) < 0)
        return zmq_errno() == EAGAIN
                       ? SL_AGAIN
                       : sl_fail(err, SL_FAILED, "cannot receive: %s", zmq_strerror(zmq_errno()));
    *more = zmq_msg_more(header);
    return sl_codec_decode(ret_message, zmq_msg_data(header), zmq_msg_size(header), err);
}

enum sl_status sl_socket_receive(struct sl_socket *socket, struct sl_address *ret_from,
        struct sl_message **ret_message, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *message = NULL;
    struct sl_address from = socket->peer;
    bool more = false;
    zmq_msg_t header;
    (void)zmq_msg_init(&header);
    enum sl_status status = socket->router ? receive_peer(socket->handle, &from, &more, err) : SL_OK;
    if (status == SL_OK)
        status = receive_header(socket->handle, &header, &message, &more, err);
    if (status == SL_OK)
        status = receive_frames(socket, from, &more, message, err);
    if (status == SL_OK && socket->router && message->incarnation != from.id)
        status = sl_fail(err, SL_BAD_DATA, "a %s message names another sender than its connection",
                sl_message_name(message->kind));
    drop_rest(socket->handle, more);
    if (status == SL_BAD_DATA || status == SL_MISMATCH) {
        *ret_from = from;
        name_sender(&header, err);
    }
    (void)zmq_msg_close(&header);
    if (status != SL_OK)
        return status;
    sl_share_heard(socket->share, from, message->proof);
    message->proof = 0;
    message->shared = 0;
    *ret_from = from;
    *ret_message = SL_TAKE(message);
    return SL_OK;
}

enum sl_status sl_transport_wait(struct sl_socket *const *sockets, int socket_count, const int *fds,
        int fd_count, int64_t timeout_ms, uint64_t *ret_ready, struct sl_error *err)
{
    assert(socket_count + fd_count <= SL_WAIT_MAX);
    zmq_pollitem_t items[2 * SL_WAIT_MAX];
    int count = socket_count + fd_count;
    for (int i = 0; i < socket_count; i++)
        items[i] = (zmq_pollitem_t){.socket = sockets[i]->handle, .events = ZMQ_POLLIN};
    for (int i = 0; i < fd_count; i++)
        items[socket_count + i] = (zmq_pollitem_t){.fd = fds[i], .events = ZMQ_POLLIN};
    for (int i = 0; i < socket_count; i++) {
        sl_share_collect(sockets[i]->share);
        if (sockets[i]->share != NULL)
            items[count++] = (zmq_pollitem_t){.fd = sl_share_fd(sockets[i]->share), .events = ZMQ_POLLIN};
    }
    sl_share_collect_abandoned();
    *ret_ready = 0;
    int ready = zmq_poll(items, count, timeout_ms);
    if (ready < 0 && zmq_errno() != EINTR)
        return sl_fail(err, SL_FAILED, "cannot wait for messages: %s", zmq_strerror(zmq_errno()));
    for (int i = 0; ready > 0 && i < socket_count + fd_count && i < 64; i++)
        if (items[i].revents != 0)
            *ret_ready |= (uint64_t)1 << i;
    for (int i = 0, at = socket_count + fd_count; ready > 0 && i < socket_count; i++)
        if (sockets[i]->share != NULL && items[at++].revents != 0)
            sl_share_tend(sockets[i]->share);
    return SL_OK;
}
