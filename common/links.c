/* The set of a process's links and the rules by which they begin and end: see links.h. What goes on within one is in link.c. */
#include "common/links.h"

#include "common/link.h"
#include "common/link_set.h"
#include "common/memory.h"
#include "common/mutant.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define RESETS_MAX 1024  /* that wait to be sent; further ones are not said, who needs them asks again */
#define EVENTS_MAX 65536 /* messages that wait for the core; further ones are not taken and come again */

struct reset {
    struct sl_address to;
    uint64_t peer;
};

struct sl_links {
    struct sl_links_options options;
    struct sl_link_set set;
    struct sl_link *ready_first, *ready_last; /* have something to send, in turns */
    struct sl_link_event_node *event_first, *event_last;
    int event_count;
    struct sl_link *handed; /* whose message left last: it was reachable unless we are told otherwise */
    struct reset *resets;   /* (reset_capacity,), a ring */
    uint32_t reset_first, reset_count, reset_capacity;
    struct sl_address *buried; /* (SL_LINKS_BURIED_MAX,), a ring */
    uint32_t buried_count, buried_next;
    uint64_t early_size; /* bytes of all links' */
    struct sl_links_totals totals;
    struct sl_message sign; /* RESET or ALIVE on its way out */
};

enum sl_status sl_links_create(
        struct sl_links **ret_links, const struct sl_links_options *options, struct sl_error *err)
{
    assert(options->incarnation != 0 && options->heartbeat_us > 0 && options->timeout_us > 0);
    assert(options->resend_us > 0 && options->unreachable_us > 0 && options->links_max >= 0);
    SL_AUTO_FREE struct sl_links *links = sl_alloc(1, sizeof(*links));
    if (links == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for links");
    links->options = *options;
    links->reset_capacity =
            options->links_max > RESETS_MAX ? (uint32_t)options->links_max : (uint32_t)RESETS_MAX;
    links->resets = sl_alloc(links->reset_capacity, sizeof(*links->resets));
    links->buried = sl_alloc(SL_LINKS_BURIED_MAX, sizeof(*links->buried));
    if (links->resets == NULL || links->buried == NULL) {
        sl_free(links->resets);
        sl_free(links->buried);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for links");
    }
    *ret_links = SL_TAKE(links);
    return SL_OK;
}

/* ---- those that have something to send ---- */

static void make_ready(struct sl_links *links, struct sl_link *link)
{
    if (link->ready || !(link->alive || sl_link_can_send(link)))
        return;
    link->ready = true;
    link->ready_next = NULL;
    link->ready_previous = links->ready_last;
    if (links->ready_last != NULL)
        links->ready_last->ready_next = link;
    else
        links->ready_first = link;
    links->ready_last = link;
}

static void unready(struct sl_links *links, struct sl_link *link)
{
    if (!link->ready)
        return;
    link->ready = false;
    if (link->ready_previous != NULL)
        link->ready_previous->ready_next = link->ready_next;
    else
        links->ready_first = link->ready_next;
    if (link->ready_next != NULL)
        link->ready_next->ready_previous = link->ready_previous;
    else
        links->ready_last = link->ready_previous;
}

/* After whatever happened to a link: it may have become due earlier, or have something to send. */
static void changed(struct sl_links *links, struct sl_link *link)
{
    int64_t due = sl_link_due_us(link, &links->options);
    if (due < link->due_us)
        sl_link_set_move(&links->set, link, due);
    make_ready(links, link);
}

/* ---- news ---- */

static void add_event(struct sl_links *links, struct sl_link_event_node *node)
{
    node->next = NULL;
    if (links->event_last != NULL)
        links->event_last->next = node;
    else
        links->event_first = node;
    links->event_last = node;
    links->event_count++;
}

/* GONE's node is the beginning of its link. */
static void free_event(struct sl_link_event_node *node)
{
    sl_message_destroy(node->message);
    sl_free(node);
}

/* Drops messages of this peer that no core has taken yet; peer NULL: all news of all. */
static void drop_events(struct sl_links *links, const struct sl_address *peer)
{
    struct sl_link_event_node *node = links->event_first, *next = NULL;
    links->event_first = links->event_last = NULL;
    links->event_count = 0;
    for (; node != NULL; node = next) {
        next = node->next;
        if (peer == NULL || (node->kind == SL_LINK_MESSAGE && sl_address_equal(node->from, *peer)))
            free_event(node);
        else
            add_event(links, node);
    }
}

bool sl_links_next_event(struct sl_links *links, struct sl_link_event *ret_event)
{
    struct sl_link_event_node *node = links->event_first;
    if (node == NULL)
        return false;
    links->event_first = node->next;
    if (node->next == NULL)
        links->event_last = NULL;
    links->event_count--;
    ret_event->kind = node->kind;
    ret_event->from = node->from;
    ret_event->message = SL_TAKE(node->message);
    ret_event->text[0] = 0;
    if (node->kind == SL_LINK_GONE)
        (void)snprintf(ret_event->text, sizeof(ret_event->text), "%s", ((struct sl_link *)node)->reason);
    free_event(node);
    return true;
}

/* ---- beginnings and ends ---- */

static bool is_buried(const struct sl_links *links, struct sl_address peer)
{
    for (uint32_t i = 0; i < links->buried_count; i++)
        if (sl_address_equal(links->buried[i], peer))
            return true;
    return false;
}

static void bury(struct sl_links *links, struct sl_address peer)
{
    links->buried[links->buried_next] = peer;
    links->buried_next = (links->buried_next + 1) % SL_LINKS_BURIED_MAX;
    if (links->buried_count < SL_LINKS_BURIED_MAX)
        links->buried_count++;
}

/* An incarnation of 0 cannot be told: RESET counts only for the one that it names. */
static void tell_reset(struct sl_links *links, struct sl_address to, uint64_t peer)
{
    if (peer == 0 || links->reset_count == links->reset_capacity)
        return;
    uint32_t at = (links->reset_first + links->reset_count++) % links->reset_capacity;
    links->resets[at] = (struct reset){to, peer};
}

/* Takes the link out of everything; what is left of it is the caller's. */
static void detach(struct sl_links *links, struct sl_link *link)
{
    unready(links, link);
    sl_link_set_remove(&links->set, link);
    links->early_size -= link->early_size;
    sl_link_drop(link);
    bury(links, link->peer);
    if (links->handed == link)
        links->handed = NULL;
}

/* Ends a link with news, whose text is in link->reason. */
static void end(struct sl_links *links, struct sl_link *link, bool tell)
{
    detach(links, link);
    if (tell)
        tell_reset(links, link->peer, link->incarnation);
    link->gone.kind = SL_LINK_GONE;
    link->gone.from = link->peer;
    add_event(links, &link->gone);
}

static void end_because(struct sl_links *links, struct sl_link *link, bool tell, const char *reason)
{
    (void)snprintf(link->reason, sizeof(link->reason), "%s", reason);
    end(links, link, tell);
}

static enum sl_status begin(struct sl_links *links, struct sl_link **ret_link, struct sl_address peer,
        int64_t now_us, bool opened, struct sl_error *err)
{
    enum sl_status status = sl_link_set_reserve(&links->set, err);
    if (status != SL_OK)
        return status;
    struct sl_link *link = sl_link_create(peer, &links->options, now_us, opened);
    if (link == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a link");
    link->due_us = sl_link_due_us(link, &links->options);
    sl_link_set_add(&links->set, link);
    *ret_link = link;
    return SL_OK;
}

enum sl_status sl_links_open(
        struct sl_links *links, struct sl_address peer, int64_t now_us, struct sl_error *err)
{
    struct sl_link *link = sl_link_set_find(&links->set, peer);
    if (link != NULL)
        return SL_OK;
    enum sl_status status = begin(links, &link, peer, now_us, true, err);
    if (status == SL_OK && is_buried(links, peer))
        end_because(links, link, false, "the link to it has ended before");
    return status;
}

void sl_links_close(struct sl_links *links, struct sl_address peer)
{
    struct sl_link *link = sl_link_set_find(&links->set, peer);
    if (link == NULL)
        return;
    detach(links, link);
    tell_reset(links, peer, link->incarnation);
    sl_free(link);
    drop_events(links, &peer);
}

void sl_links_close_all(struct sl_links *links)
{
    struct sl_link *link = NULL;
    while ((link = sl_link_set_first(&links->set)) != NULL) {
        detach(links, link);
        tell_reset(links, link->peer, link->incarnation);
        sl_free(link);
    }
    drop_events(links, NULL);
}

void sl_links_destroy(struct sl_links *links)
{
    if (links == NULL)
        return;
    sl_links_close_all(links);
    sl_link_set_fini(&links->set);
    sl_free(links->resets);
    sl_free(links->buried);
    sl_free(links);
}

/* ---- out ---- */

enum sl_status sl_links_send(struct sl_links *links, struct sl_address to, struct sl_message **message,
        int64_t now_us, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *taken = SL_TAKE(*message);
    struct sl_link *link = sl_link_set_find(&links->set, to);
    if (link == NULL)
        return sl_fail(err, SL_NOT_FOUND, "there is no link for a %s", sl_message_name(taken->kind));
    uint64_t size = link->queued_size + sl_message_size(taken);
    if (link->next > link->base && size > links->options.queue_size_max) {
        (void)snprintf(link->reason, sizeof(link->reason),
                "%.1f MiB wait for it, more than the %.1f MiB that are allowed", (double)size / (1 << 20),
                (double)links->options.queue_size_max / (1 << 20));
        end(links, link, true);
        return sl_fail(err, SL_NOT_FOUND, "the link has ended: too much waits for it");
    }
    enum sl_status status = sl_link_append(link, SL_TAKE(taken), now_us, err);
    if (status == SL_OK)
        changed(links, link);
    return status;
}

/* What was handed out and not called unreachable has found a way. */
static void settle(struct sl_links *links)
{
    if (links->handed != NULL)
        links->handed->unreachable_us = links->handed->probe_at = SL_LINK_NEVER;
    links->handed = NULL;
}

static void make_sign(struct sl_links *links, enum sl_message_kind kind, uint64_t peer)
{
    links->sign = (struct sl_message){.kind = kind, .incarnation = links->options.incarnation, .peer = peer};
}

static const struct sl_message *give_out(struct sl_links *links, struct sl_link *link, int64_t now_us)
{
    struct sl_message *message = &links->sign;
    if (sl_link_can_send(link)) {
        bool again = false;
        message = sl_link_take_next(link, now_us, &again);
        links->totals.resent += again;
        message->incarnation = links->options.incarnation;
        message->peer = link->incarnation;
    } else {
        make_sign(links, SL_MESSAGE_ALIVE, link->incarnation);
    }
    message->ack = link->expected - 1;
    sl_link_note_sent(link, &links->options, now_us);
    links->handed = link;
    changed(links, link); /* in turns: it goes to the end of those that are ready */
    return message;
}

bool sl_links_next_outgoing(struct sl_links *links, int64_t now_us, struct sl_address *ret_to,
        const struct sl_message **ret_message)
{
    settle(links);
    struct sl_link *link = links->ready_first;
    if (links->reset_count > 0) {
        struct reset reset = links->resets[links->reset_first];
        links->reset_first = (links->reset_first + 1) % links->reset_capacity;
        links->reset_count--;
        links->totals.resets++;
        make_sign(links, SL_MESSAGE_RESET, reset.peer);
        *ret_to = reset.to;
        *ret_message = &links->sign;
    } else if (link != NULL) {
        unready(links, link);
        *ret_to = link->peer;
        *ret_message = give_out(links, link, now_us);
    } else {
        return false;
    }
    links->totals.messages_sent++;
    links->totals.sent += sl_message_size(*ret_message);
    return true;
}

void sl_links_unreachable(struct sl_links *links, struct sl_address peer, int64_t now_us)
{
    struct sl_link *link = sl_link_set_find(&links->set, peer);
    if (link == NULL)
        return;
    if (links->handed == link)
        links->handed = NULL;
    sl_link_note_unreachable(link, &links->options, now_us);
    changed(links, link);
}

/* ---- in ---- */

/* Puts the next message into the core's queue. When there is no room it is not taken: it will come again. */
static enum sl_status deliver(struct sl_links *links, struct sl_link *link, struct sl_message **message,
        int64_t now_us, struct sl_error *err)
{
    if (links->event_count >= EVENTS_MAX)
        return SL_OK;
    struct sl_link_event_node *node = sl_alloc(1, sizeof(*node));
    if (node == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message that came");
    size_t size = sl_message_size(*message);
    node->kind = SL_LINK_MESSAGE;
    node->from = link->peer;
    node->message = SL_TAKE(*message);
    add_event(links, node);
    link->expected++;
    sl_link_note_received(link, size, false, now_us);
    return SL_OK;
}

/* Its turn has come, and that of those that came before it. */
static enum sl_status deliver_all(struct sl_links *links, struct sl_link *link, struct sl_message **message,
        int64_t now_us, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *next = SL_TAKE(*message);
    enum sl_status status = SL_OK;
    while (next != NULL && status == SL_OK) {
        uint64_t before = link->early_size, expected = link->expected;
        status = deliver(links, link, &next, now_us, err);
        if (link->expected == expected)
            break;
        next = sl_link_take_early(link);
        links->early_size -= before - link->early_size;
    }
    return status;
}

static void keep(struct sl_links *links, struct sl_link *link, struct sl_message **message)
{
    uint64_t before = link->early_size;
    sl_link_keep_early(link, message, SL_LINKS_EARLY_SIZE - links->early_size + before);
    links->early_size += link->early_size - before;
    links->totals.early++;
}

/* A message of a link, from the right incarnation to the right incarnation. */
static enum sl_status take_in(struct sl_links *links, struct sl_link *link, struct sl_message **message,
        int64_t now_us, struct sl_error *err)
{
    const struct sl_message *m = *message;
    enum sl_status status = SL_OK;
    sl_link_note_heard(link, now_us);
    if (!sl_link_acknowledge(link, m->ack, &links->options, now_us)) {
        end_because(links, link, true, "it acknowledged messages that were never sent to it");
        return SL_OK;
    }
    bool ordered = m->kind != SL_MESSAGE_ALIVE && m->sequence > 0;
    if (ordered && m->sequence > link->expected && sl_mutant("links: a gap does not matter"))
        link->expected = m->sequence;
    if (ordered && m->sequence == link->expected) {
        status = deliver_all(links, link, message, now_us, err);
    } else if (ordered && m->sequence < link->expected && sl_mutant("links: a duplicate is delivered")) {
        status = deliver(links, link, message, now_us, err);
        link->expected--;
    } else if (ordered && m->sequence < link->expected) {
        links->totals.duplicates++;
        sl_link_note_received(link, 0, true, now_us); /* our acknowledgement was lost, or is late */
    } else if (ordered) {
        keep(links, link, message);
    }
    changed(links, link);
    return status;
}

/* Decision table for a message of a peer without a link:
 *   RESET                                                    → nothing
 *   the first one, to us or to nobody in particular, and we
 *   take links, there is room, and its sender is not buried  → a link begins
 *   any other                                                → it is told RESET */
static enum sl_status take_unknown(struct sl_links *links, struct sl_address from,
        struct sl_message **message, int64_t now_us, struct sl_error *err)
{
    const struct sl_message *m = *message;
    if (m->kind == SL_MESSAGE_RESET)
        return SL_OK;
    bool ours = m->peer == 0 || m->peer == links->options.incarnation;
    bool first = m->sequence == 1 && m->kind != SL_MESSAGE_ALIVE && m->ack == 0;
    bool takes = links->options.accept && links->set.count < links->options.links_max;
    if (!ours || !first || !takes || from.role == SL_ROLE_COORDINATOR || m->incarnation != from.id ||
            from.id == 0 || is_buried(links, from)) {
        tell_reset(links, from, m->incarnation);
        return SL_OK;
    }
    struct sl_link *link = NULL;
    enum sl_status status = begin(links, &link, from, now_us, false, err);
    return status == SL_OK ? take_in(links, link, message, now_us, err) : status;
}

/* Decision table for a message of a peer with a link:
 *   to another incarnation of ours                     → dropped: a RESET would end this link, which is sound
 *   RESET                                              → the link ends
 *   to nobody in particular, on a link that we opened  → dropped: the other side knows us before it can say anything
 *   of another incarnation, where we connected to      → the link ends, who is there now is told RESET
 *   of another incarnation, else                       → dropped: its address says otherwise
 *   else                                               → taken in */
static enum sl_status take_known(struct sl_links *links, struct sl_link *link, struct sl_message **message,
        int64_t now_us, struct sl_error *err)
{
    const struct sl_message *m = *message;
    bool to_us = m->peer == links->options.incarnation;
    if (m->kind == SL_MESSAGE_RESET && sl_mutant("links: RESET is ignored"))
        return SL_OK;
    if (m->incarnation == 0 || (!to_us && (m->peer != 0 || link->opened || m->kind == SL_MESSAGE_RESET)))
        return SL_OK;
    bool same = link->incarnation == 0 || m->incarnation == link->incarnation;
    if (!same && !link->opened)
        return SL_OK;
    if (m->kind == SL_MESSAGE_RESET) {
        end_because(links, link, false, "it does not know us any more: it was started again or gave us up");
        return SL_OK;
    }
    if (!same) {
        link->incarnation = m->incarnation;
        end_because(links, link, true, "it was started again");
        return SL_OK;
    }
    link->incarnation = m->incarnation;
    return take_in(links, link, message, now_us, err);
}

enum sl_status sl_links_receive(struct sl_links *links, struct sl_address from, struct sl_message **message,
        int64_t now_us, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *taken = SL_TAKE(*message);
    links->totals.messages_received++;
    links->totals.received += sl_message_size(taken);
    struct sl_link *link = sl_link_set_find(&links->set, from);
    return link != NULL ? take_known(links, link, &taken, now_us, err)
                        : take_unknown(links, from, &taken, now_us, err);
}

/* ---- time ---- */

enum sl_status sl_links_tick(struct sl_links *links, int64_t now_us, struct sl_error *err)
{
    (void)err;
    struct sl_link *link = NULL;
    while ((link = sl_link_set_first(&links->set)) != NULL && link->due_us <= now_us) {
        if (!sl_link_tick(link, &links->options, now_us)) {
            end(links, link, true);
            continue;
        }
        sl_link_set_move(&links->set, link, sl_link_due_us(link, &links->options));
        make_ready(links, link);
    }
    return SL_OK;
}

int64_t sl_links_wake_us(const struct sl_links *links)
{
    const struct sl_link *link = sl_link_set_first(&links->set);
    return link == NULL ? SL_LINK_NEVER : link->due_us;
}

struct sl_links_totals sl_links_totals(const struct sl_links *links)
{
    struct sl_links_totals totals = links->totals;
    totals.open = links->set.count;
    for (int i = 0; i < links->set.count; i++)
        totals.queued += links->set.heap[i]->next - links->set.heap[i]->base;
    return totals;
}
