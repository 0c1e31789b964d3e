/* One stream: see link.h. */
#include "common/link.h"

#include "common/memory.h"
#include "common/mutant.h"

#include <assert.h>
#include <stdio.h>

#define RING_MIN 16
#define BACK_OFF_MAX 8 /* times resend_us */
#define PROBES 4       /* in unreachable_us */

struct sl_link *sl_link_create(
        struct sl_address peer, const struct sl_links_options *options, int64_t now_us, bool opened)
{
    struct sl_link *link = sl_alloc(1, sizeof(*link));
    if (link == NULL)
        return NULL;
    link->peer = peer;
    link->opened = opened;
    link->incarnation = peer.id; /* 0 for the coordinator: it says so itself */
    link->base = link->cursor = link->next = link->expected = 1;
    link->probing = opened;
    link->interval_us = options->resend_us;
    link->heard_us = opened ? SL_LINK_NEVER : now_us;
    link->heartbeat_at = opened ? SL_LINK_NEVER : now_us + options->heartbeat_us;
    link->ack_at = link->resend_at = link->unreachable_us = link->probe_at = SL_LINK_NEVER;
    return link;
}

static struct sl_link_entry *entry_of(const struct sl_link *link, uint64_t sequence)
{
    return &link->ring[sequence & (link->capacity - 1)];
}

void sl_link_drop(struct sl_link *link)
{
    for (uint32_t i = 0; link->early != NULL && i < SL_LINKS_WINDOW_COUNT; i++)
        sl_message_destroy(link->early[i]);
    sl_free(SL_TAKE(link->early));
    link->early_size = 0;
    for (uint64_t s = link->base; s < link->next; s++)
        sl_message_destroy(entry_of(link, s)->message);
    link->base = link->cursor = link->next;
    link->queued_size = link->flight_size = 0;
    sl_free(SL_TAKE(link->ring));
    link->capacity = 0;
}

static enum sl_status grow(struct sl_link *link, struct sl_error *err)
{
    uint64_t capacity = link->capacity == 0 ? RING_MIN : 2 * link->capacity;
    struct sl_link_entry *ring = sl_alloc(capacity, sizeof(*ring));
    if (ring == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a queue of %llu messages",
                (unsigned long long)capacity);
    for (uint64_t s = link->base; s < link->next; s++)
        ring[s & (capacity - 1)] = *entry_of(link, s);
    sl_free(link->ring);
    link->ring = ring;
    link->capacity = capacity;
    return SL_OK;
}

enum sl_status sl_link_append(
        struct sl_link *link, struct sl_message *message, int64_t now_us, struct sl_error *err)
{
    if (link->next - link->base == link->capacity) {
        enum sl_status status = grow(link, err);
        if (status != SL_OK) {
            sl_message_destroy(message);
            return status;
        }
    }
    if (link->heard_us == SL_LINK_NEVER)
        link->heard_us = now_us; /* from the first word on silence counts */
    *entry_of(link, link->next) = (struct sl_link_entry){message, sl_message_size(message), 0};
    link->queued_size += sl_message_size(message);
    link->next++;
    return SL_OK;
}

bool sl_link_can_send(const struct sl_link *link)
{
    if (link->cursor == link->next)
        return false;
    if (link->cursor == link->base)
        return true;
    return !link->probing &&
           (link->cursor - link->base < SL_LINKS_WINDOW_COUNT || sl_mutant("links: there is no window")) &&
           link->flight_size + entry_of(link, link->cursor)->size <= SL_LINKS_WINDOW_SIZE;
}

struct sl_message *sl_link_take_next(struct sl_link *link, int64_t now_us, bool *ret_again)
{
    assert(sl_link_can_send(link));
    struct sl_link_entry *entry = entry_of(link, link->cursor);
    *ret_again = link->cursor <= link->sent;
    if (*ret_again)
        entry->sent_us = SL_LINK_NEVER; /* its acknowledgement no longer tells how long the way is */
    else
        entry->sent_us = now_us;
    if (link->cursor == link->base)
        link->resend_at = now_us + link->interval_us;
    entry->message->sequence = link->cursor;
    link->flight_size += entry->size;
    link->sent = link->cursor > link->sent ? link->cursor : link->sent;
    link->cursor++;
    return entry->message;
}

void sl_link_note_sent(struct sl_link *link, const struct sl_links_options *options, int64_t now_us)
{
    link->alive = false;
    link->unacknowledged = 0;
    link->unacknowledged_size = 0;
    link->ack_at = SL_LINK_NEVER;
    if (link->heard || !link->opened)
        link->heartbeat_at = now_us + options->heartbeat_us;
}

/* The way there and back, as long as queues are now: a slow network gets more patience before everything is sent again. */
static void adapt(struct sl_link *link, int64_t round_us, int64_t resend_us)
{
    int64_t interval = round_us > resend_us * BACK_OFF_MAX / 2 ? resend_us * BACK_OFF_MAX : 2 * round_us;
    link->interval_us = interval > resend_us ? interval : resend_us;
}

bool sl_link_acknowledge(
        struct sl_link *link, uint64_t ack, const struct sl_links_options *options, int64_t now_us)
{
    if (ack > link->sent)
        return false;
    if (ack < link->base)
        return true;
    for (; link->base <= ack; link->base++) {
        struct sl_link_entry *entry = entry_of(link, link->base);
        if (entry->sent_us != SL_LINK_NEVER)
            adapt(link, now_us - entry->sent_us, options->resend_us);
        link->queued_size -= entry->size;
        if (link->base < link->cursor)
            link->flight_size -= entry->size;
        sl_message_destroy(SL_TAKE(entry->message));
    }
    if (link->cursor < link->base)
        link->cursor = link->base;
    link->resend_at = now_us + link->interval_us;
    return true;
}

void sl_link_note_heard(struct sl_link *link, int64_t now_us)
{
    if (!link->heard && link->opened)
        link->heartbeat_at = now_us;
    link->heard = true;
    link->heard_us = now_us;
    link->probing = false;
    link->unreachable_us = link->probe_at = SL_LINK_NEVER;
}

void sl_link_note_received(struct sl_link *link, size_t size, bool at_once, int64_t now_us)
{
    link->unacknowledged++;
    link->unacknowledged_size += size;
    if (at_once || link->unacknowledged >= SL_LINKS_ACK_COUNT ||
            link->unacknowledged_size >= SL_LINKS_ACK_SIZE)
        link->alive = true;
    else if (link->ack_at == SL_LINK_NEVER)
        link->ack_at = now_us + SL_LINKS_ACK_US;
}

void sl_link_keep_early(struct sl_link *link, struct sl_message **message, uint64_t size_max)
{
    uint64_t sequence = (*message)->sequence;
    size_t size = sl_message_size(*message);
    if (sequence - link->expected >= SL_LINKS_WINDOW_COUNT || link->early_size + size > size_max)
        return;
    if (link->early == NULL)
        link->early = sl_alloc(SL_LINKS_WINDOW_COUNT, sizeof(struct sl_message *));
    if (link->early == NULL || link->early[sequence % SL_LINKS_WINDOW_COUNT] != NULL)
        return;
    link->early[sequence % SL_LINKS_WINDOW_COUNT] = SL_TAKE(*message);
    link->early_size += size;
}

struct sl_message *sl_link_take_early(struct sl_link *link)
{
    if (link->early == NULL || link->early[link->expected % SL_LINKS_WINDOW_COUNT] == NULL)
        return NULL;
    struct sl_message *message = SL_TAKE(link->early[link->expected % SL_LINKS_WINDOW_COUNT]);
    link->early_size -= sl_message_size(message);
    return message;
}

void sl_link_go_back(struct sl_link *link)
{
    if (!sl_mutant("links: nothing is sent again"))
        link->cursor = link->base;
    link->flight_size = 0;
    link->resend_at = SL_LINK_NEVER;
    link->probing = true;
}

void sl_link_note_unreachable(struct sl_link *link, const struct sl_links_options *options, int64_t now_us)
{
    link->probing = true;
    if (link->unreachable_us == SL_LINK_NEVER)
        link->unreachable_us = now_us;
    link->probe_at = now_us + options->unreachable_us / PROBES + 1;
}

static int64_t sum(int64_t since_us, int64_t duration_us)
{
    return since_us == SL_LINK_NEVER ? SL_LINK_NEVER : since_us + duration_us;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How long we wait for a coordinator that never answered is for the core to say. */
static int64_t end_us(const struct sl_link *link, const struct sl_links_options *options)
{
    if (link->peer.role == SL_ROLE_COORDINATOR && !link->heard)
        return SL_LINK_NEVER;
    return sum(link->heard_us, options->timeout_us);
}

int64_t sl_link_due_us(const struct sl_link *link, const struct sl_links_options *options)
{
    int64_t due = earlier(end_us(link, options), sum(link->unreachable_us, options->unreachable_us));
    due = earlier(due, earlier(link->ack_at, link->heartbeat_at));
    if (link->cursor > link->base)
        due = earlier(due, link->resend_at);
    return earlier(due, link->probe_at);
}

bool sl_link_tick(struct sl_link *link, const struct sl_links_options *options, int64_t now_us)
{
    if (end_us(link, options) <= now_us || sum(link->unreachable_us, options->unreachable_us) <= now_us) {
        bool silent = end_us(link, options) <= now_us;
        int64_t since = silent ? link->heard_us : link->unreachable_us;
        (void)snprintf(link->reason, sizeof(link->reason),
                silent ? "nothing was heard from it for %.1f s" : "its connection has been gone for %.1f s",
                (double)(now_us - since) * 1e-6);
        return false;
    }
    if (link->ack_at <= now_us || link->heartbeat_at <= now_us) {
        link->alive = true;
        link->ack_at = SL_LINK_NEVER;
        link->heartbeat_at = now_us + options->heartbeat_us;
    }
    if (link->cursor > link->base && link->resend_at <= now_us) {
        sl_link_go_back(link);
        link->interval_us = earlier(2 * link->interval_us, BACK_OFF_MAX * options->resend_us);
    }
    if (link->probe_at <= now_us) {
        sl_link_go_back(link);
        link->alive = true;
        link->probe_at = now_us + options->unreachable_us / PROBES + 1;
    }
    return true;
}
