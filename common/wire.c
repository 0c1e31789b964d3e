/* Links and the sockets below them: see wire.h. */
#include "common/wire.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/shared_heap.h"

#include <assert.h>
#include <string.h>

#define CONNECTIONS_MAX (SL_SERVERS_MAX + 1)
#define STREAK_MAX 64

struct sl_wire {
    struct sl_transport *transport;
    enum sl_role role;
    struct sl_links_options options;
    struct sl_links *links; /* NULL before begin and after end */
    struct sl_socket *bound;
    struct sl_address *peers;   /* (connection_count,), sorted: whom a socket leads to */
    struct sl_socket **sockets; /* (connection_count,), and one place more for the bound one */
    int connection_count, capacity;
    int asked,
            streak; /* the socket to ask next, and how many messages in a row came from it: nobody starves */
    int sharing;    /* peers that frames go to by shared memory, when it was last told */
    struct sl_links_totals past; /* of incarnations that are over */
};

void sl_wire_share_memory(const struct sl_config *config)
{
    struct sl_error problem = {0};
    char quoted[SL_ERROR_TEXT_MAX];
    if (config->cluster.shared_memory == SL_SHARED_MEMORY_OFF)
        return;
    if (sl_shared_heap_open((uint64_t)config->cluster.shared_memory_mib << 20, &problem) != SL_OK)
        sl_log(SL_LOG_WARN, "transport", "no-shared-memory", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), problem.text));
}

enum sl_status sl_wire_create(struct sl_wire **ret_wire, struct sl_transport *transport, enum sl_role role,
        const struct sl_links_options *options, struct sl_error *err)
{
    struct sl_wire *wire = sl_alloc(1, sizeof(*wire));
    if (wire == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for connections");
    wire->transport = transport;
    wire->role = role;
    wire->options = *options;
    *ret_wire = wire;
    return SL_OK;
}

void sl_wire_destroy(struct sl_wire *wire)
{
    if (wire == NULL)
        return;
    sl_wire_end(wire);
    sl_socket_close(wire->bound);
    sl_free(wire->peers);
    sl_free(wire->sockets);
    sl_free(wire);
}

enum sl_status sl_wire_begin(struct sl_wire *wire, uint64_t incarnation, struct sl_error *err)
{
    sl_wire_end(wire);
    wire->options.incarnation = incarnation;
    return sl_links_create(&wire->links, &wire->options, err);
}

void sl_wire_end(struct sl_wire *wire)
{
    struct sl_error ignored = {0};
    if (wire->links != NULL) {
        int64_t now_us = sl_clock_monotonic_us();
        (void)!sl_wire_close_all(wire, now_us, &ignored);
        wire->past = sl_wire_totals(wire);
        wire->past.open = 0;
        wire->past.queued = 0;
    }
    for (int i = 0; i < wire->connection_count; i++)
        sl_socket_close(wire->sockets[i]);
    wire->connection_count = 0;
    sl_links_destroy(wire->links);
    wire->links = NULL;
}

enum sl_status sl_wire_bind(struct sl_wire *wire, const char *endpoint, struct sl_error *err)
{
    assert(wire->bound == NULL);
    return sl_socket_bind(&wire->bound, wire->transport, endpoint, err);
}

struct sl_socket *sl_wire_bound(const struct sl_wire *wire)
{
    return wire->bound;
}

/* ---- connections ---- */

static bool is_before(struct sl_address a, struct sl_address b)
{
    return a.role != b.role ? a.role < b.role : a.id < b.id;
}

/* The first connection that is not before the peer. */
static int find_place(const struct sl_wire *wire, struct sl_address peer)
{
    int low = 0, high = wire->connection_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (is_before(wire->peers[middle], peer))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum sl_status make_room(struct sl_wire *wire, struct sl_error *err)
{
    if (wire->connection_count == CONNECTIONS_MAX)
        return sl_fail(err, SL_USAGE, "more than %d connections", CONNECTIONS_MAX);
    if (wire->connection_count < wire->capacity)
        return SL_OK;
    int capacity = wire->capacity == 0 ? 8 : 2 * wire->capacity;
    struct sl_address *peers = sl_realloc(wire->peers, (size_t)capacity, sizeof(*peers));
    if (peers != NULL)
        wire->peers = peers;
    struct sl_socket **sockets = sl_realloc(wire->sockets, (size_t)capacity + 1, sizeof(struct sl_socket *));
    if (sockets != NULL)
        wire->sockets = sockets;
    if (peers == NULL || sockets == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %d connections", capacity);
    wire->capacity = capacity;
    return SL_OK;
}

enum sl_status sl_wire_connect(struct sl_wire *wire, const char *endpoint, struct sl_address peer,
        int64_t now_us, struct sl_error *err)
{
    int at = find_place(wire, peer);
    if (at < wire->connection_count && sl_address_equal(wire->peers[at], peer))
        return SL_OK;
    struct sl_socket *socket = NULL;
    enum sl_status status = make_room(wire, err);
    if (status == SL_OK)
        status = sl_socket_connect(
                &socket, wire->transport, endpoint, wire->role, wire->options.incarnation, peer, err);
    if (status != SL_OK)
        return status;
    size_t behind = (size_t)(wire->connection_count - at);
    memmove(wire->peers + at + 1, wire->peers + at, behind * sizeof(*wire->peers));
    memmove((void *)(wire->sockets + at + 1), (void *)(wire->sockets + at),
            behind * sizeof(struct sl_socket *));
    wire->peers[at] = peer;
    wire->sockets[at] = socket;
    wire->connection_count++;
    return sl_links_open(wire->links, peer, now_us, err);
}

/* Whom we connected to is reached that way, all others through what is bound. */
static struct sl_socket *route(const struct sl_wire *wire, struct sl_address to)
{
    int at = find_place(wire, to);
    bool connected = at < wire->connection_count && sl_address_equal(wire->peers[at], to);
    return connected ? wire->sockets[at] : wire->bound;
}

/* ---- out ---- */

enum sl_status sl_wire_send(struct sl_wire *wire, struct sl_address to, struct sl_message **message,
        int64_t now_us, struct sl_error *err)
{
    struct sl_error problem = {0};
    enum sl_status status = sl_links_send(wire->links, to, message, now_us, &problem);
    if (status == SL_NOT_FOUND || status == SL_OK)
        return SL_OK;
    return sl_fail(err, status, "%s", problem.text);
}

static enum sl_status send_due(struct sl_wire *wire, int64_t now_us, struct sl_error *err)
{
    struct sl_address to;
    const struct sl_message *message = NULL;
    while (sl_links_next_outgoing(wire->links, now_us, &to, &message)) {
        struct sl_socket *socket = route(wire, to);
        struct sl_error problem = {0};
        enum sl_status status = socket == NULL ? SL_NOT_FOUND : sl_socket_send(socket, to, message, &problem);
        if (status == SL_NOT_FOUND)
            sl_links_unreachable(wire->links, to, now_us);
        else if (status != SL_OK)
            return sl_fail(err, status, "%s", problem.text);
    }
    return SL_OK;
}

enum sl_status sl_wire_flush(struct sl_wire *wire, int64_t now_us, struct sl_error *err)
{
    if (wire->links == NULL)
        return SL_OK;
    enum sl_status status = sl_links_tick(wire->links, now_us, err);
    return status == SL_OK ? send_due(wire, now_us, err) : status;
}

enum sl_status sl_wire_close(
        struct sl_wire *wire, struct sl_address peer, int64_t now_us, struct sl_error *err)
{
    enum sl_status status = send_due(wire, now_us, err); /* a refusal should be read before its end */
    sl_links_close(wire->links, peer);
    return status == SL_OK ? send_due(wire, now_us, err) : status;
}

enum sl_status sl_wire_close_all(struct sl_wire *wire, int64_t now_us, struct sl_error *err)
{
    enum sl_status status = send_due(wire, now_us, err);
    sl_links_close_all(wire->links);
    return status == SL_OK ? send_due(wire, now_us, err) : status;
}

/* ---- in ---- */

enum sl_status sl_wire_wait(
        struct sl_wire *wire, const int *fds, int fd_count, int64_t until_us, struct sl_error *err)
{
    int count = wire->connection_count;
    struct sl_socket *alone[1], **sockets = wire->sockets == NULL ? alone : wire->sockets;
    int64_t now_us = sl_clock_monotonic_us();
    if (wire->bound != NULL)
        sockets[count++] = wire->bound;
    if (wire->links != NULL) {
        enum sl_status status = send_due(wire, now_us, err);
        if (status != SL_OK)
            return status;
        if (sl_links_wake_us(wire->links) < until_us)
            until_us = sl_links_wake_us(wire->links);
    }
    uint64_t ready = 0;
    return sl_transport_wait(sockets, count, fds, fd_count,
            until_us <= now_us ? 0 : (until_us - now_us + 999) / 1000, &ready, err);
}

static enum sl_status receive_from(struct sl_wire *wire, struct sl_socket *socket, int64_t now_us,
        struct sl_address *ret_from, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *message = NULL;
    enum sl_status status = sl_socket_receive(socket, ret_from, &message, err);
    if (status != SL_OK || wire->links == NULL)
        return status; /* nobody to tell: this process is between two lives */
    return sl_links_receive(wire->links, *ret_from, &message, now_us, err);
}

enum sl_status sl_wire_receive(
        struct sl_wire *wire, int64_t now_us, struct sl_address *ret_from, struct sl_error *err)
{
    int count = wire->connection_count + (wire->bound != NULL);
    for (int i = 0; i <= count && count > 0; i++) {
        int at = wire->asked % count;
        struct sl_socket *socket = at < wire->connection_count ? wire->sockets[at] : wire->bound;
        enum sl_status status = receive_from(wire, socket, now_us, ret_from, err);
        bool stay = status != SL_AGAIN && ++wire->streak < STREAK_MAX;
        if (!stay) {
            wire->asked = (at + 1) % count;
            wire->streak = 0;
        }
        if (status != SL_AGAIN)
            return status;
    }
    return SL_AGAIN;
}

/* ---- queries ---- */

bool sl_wire_next_event(struct sl_wire *wire, struct sl_link_event *ret_event)
{
    return wire->links != NULL && sl_links_next_event(wire->links, ret_event);
}

enum sl_status sl_wire_check(struct sl_wire *wire, struct sl_error *err)
{
    enum sl_status worst = SL_OK;
    for (int i = 0; i < wire->connection_count; i++) {
        struct sl_error problem = {0};
        enum sl_status status = sl_socket_check(wire->sockets[i], &problem);
        if (status == SL_OK || (status == SL_AGAIN && worst != SL_OK))
            continue;
        worst = sl_fail(err, status, "%s", problem.text);
        if (status != SL_AGAIN)
            return worst;
    }
    return worst;
}

void sl_wire_tell_sharing(struct sl_wire *wire)
{
    int sharing = wire->bound == NULL ? 0 : sl_socket_sharing(wire->bound);
    for (int i = 0; i < wire->connection_count; i++)
        sharing += sl_socket_sharing(wire->sockets[i]);
    if (sharing != wire->sharing)
        sl_log(SL_LOG_INFO, "transport", "shared-memory", "peers=%d", sharing);
    wire->sharing = sharing;
}

struct sl_links_totals sl_wire_totals(const struct sl_wire *wire)
{
    struct sl_links_totals sum = wire->past;
    if (wire->links == NULL)
        return sum;
    struct sl_links_totals now = sl_links_totals(wire->links);
    sum.open = now.open;
    sum.queued = now.queued;
    sum.sent += now.sent;
    sum.received += now.received;
    sum.messages_sent += now.messages_sent;
    sum.messages_received += now.messages_received;
    sum.resent += now.resent;
    sum.duplicates += now.duplicates;
    sum.early += now.early;
    sum.resets += now.resets;
    return sum;
}
