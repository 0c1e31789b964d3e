#pragma once
/* What makes messages arrive: for each peer an ordered, acknowledged, resent stream on top of a transport that may lose, double and reorder, and the
 * news that a peer is gone. Pure: messages and the time in, messages and news out; no socket, clock or thread.
 *
 *     outbox ─▶ sl_links_send ─▶ [window] ─▶ sl_links_next_outgoing ─▶ socket or simulator
 *     socket or simulator ─▶ sl_links_receive ─▶ in order, once ─▶ sl_links_next_event ─▶ core
 *
 * A process has an incarnation, drawn anew at every start and whenever it begins anew. A link is between two incarnations and begins with sequence 1; it never comes back
 * after its end: who is still talking on it is told RESET, and begins anew with another incarnation. So a restarted process, a paused one that comes back
 * late and a copy that the network kept for an hour are all the same case.
 *
 * - Each message carries the sender's incarnation, the receiver's (0 until known), its sequence and how far the sender has received (ack). Messages of sequence 0 (ALIVE, RESET)
 *   are outside the order.
 * - The receiver delivers the next one in order, keeps those that come too early for their turn (within the window), and drops duplicates.
 * - The sender keeps what is not acknowledged, at most a window of it on its way. When nothing was acknowledged for resend_us (twice the time that acknowledgements take, if
 *   that is longer; doubling each time; at most 8 times resend_us) it goes back: it sends the first message again and, as soon as anything is heard, the rest of the window.
 *   A link that we opened begins like that, too: one message until the peer is heard, so that a peer that is not there yet is not flooded.
 * - Nothing to send for heartbeat_us: ALIVE. Something received and nothing sent back for SL_LINKS_ACK_US, or SL_LINKS_ACK_COUNT messages or SL_LINKS_ACK_SIZE bytes, or a duplicate: ALIVE too. A link that we
 *   opened says nothing before its first message.
 * - Nothing heard for timeout_us since our first message (from the coordinator: since its first answer; how long to wait for that is the core's choice), or unreachable for unreachable_us
 *   without hearing anything, or RESET, or another incarnation where we connected to, or a queue beyond its bounds, or an acknowledgement of what was never sent: GONE, once.
 *
 * A loop takes everything from its sockets before it calls tick: a process that was paused then does not blame the others for its own silence.
 *
 *     sl_links_open(links, SL_COORDINATOR, now, err);
 *     sl_links_send(links, SL_COORDINATOR, &hello, now, err);
 *     while (sl_links_next_outgoing(links, now, &to, &message))
 *         if (sl_socket_send(…, message) == SL_NOT_FOUND) sl_links_unreachable(links, to, now); // at once: what is not followed by it counts as sent
 */
#include "common/outbox.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_LINKS_WINDOW_COUNT 256        /* messages on their way to one peer */
#define SL_LINKS_WINDOW_SIZE (64U << 20) /* bytes, but always one message */
#define SL_LINKS_EARLY_SIZE (256U << 20) /* bytes that came before their turn, of all peers together */
#define SL_LINKS_ACK_US 10000
#define SL_LINKS_ACK_COUNT 32
#define SL_LINKS_ACK_SIZE (SL_LINKS_WINDOW_SIZE / 4) /* bytes: the window is never full for long */
#define SL_LINKS_BURIED_MAX 4096                     /* incarnations that are remembered as gone */

struct sl_links;

struct sl_links_options {
    uint64_t incarnation; /* ours */
    bool accept;          /* a first message from an unknown peer opens a link */
    int links_max;        /* further ones are answered RESET */
    int64_t heartbeat_us, timeout_us, resend_us, unreachable_us;
    uint64_t queue_size_max; /* bytes that may wait for one peer */
};

/* sl_links_create makes an empty set. Owns: *ret_links. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_links_create(
        struct sl_links **ret_links, const struct sl_links_options *options, struct sl_error *err);
void sl_links_destroy(struct sl_links *links); /* NULL is fine */

/* sl_links_open begins a link to a peer that we connect to; one that is open stays, one that has ended is GONE at once. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_links_open(
        struct sl_links *links, struct sl_address peer, int64_t now_us, struct sl_error *err);
/* sl_links_close ends a link without news: what waits is dropped, its incarnation is buried, the peer is told RESET, messages of
 * it that nobody has taken from next_event are dropped. Who wants a last message to arrive empties next_outgoing first. No link: nothing happens. */
void sl_links_close(struct sl_links *links, struct sl_address peer);
/* sl_links_close_all does so for every link, and drops all news: a rollback. */
void sl_links_close_all(struct sl_links *links);

/* sl_links_send queues a message. Owns: takes *message, always. Errors: NOT_FOUND (no such link: dropped, its end was told or is about to be), NO_MEMORY. */
SL_MUST_USE enum sl_status sl_links_send(struct sl_links *links, struct sl_address to,
        struct sl_message **message, int64_t now_us, struct sl_error *err);
/* sl_links_receive takes what the transport brought; from: the role and id that the transport knows (for what we connected to, the address that we gave it).
 * Owns: takes *message, always. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_links_receive(struct sl_links *links, struct sl_address from,
        struct sl_message **message, int64_t now_us, struct sl_error *err);
/* sl_links_unreachable notes that the transport has no way to the peer now. */
void sl_links_unreachable(struct sl_links *links, struct sl_address peer, int64_t now_us);
/* sl_links_tick does what is due: resends, signs of life, acknowledgements, ends. Cheap when nothing is due. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_links_tick(struct sl_links *links, int64_t now_us, struct sl_error *err);

enum sl_link_event_kind { SL_LINK_MESSAGE, SL_LINK_GONE };

struct sl_link_event {
    enum sl_link_event_kind kind;
    struct sl_address from;
    struct sl_message *message;     /* MESSAGE: owned by the taker */
    char text[SL_MESSAGE_TEXT_MAX]; /* GONE: why, for people */
};

/* sl_links_next_event gives what happened, in order; false when there is nothing. */
bool sl_links_next_event(struct sl_links *links, struct sl_link_event *ret_event);
/* sl_links_next_outgoing gives what is to be sent now; false when there is nothing. message: borrowed until the next call of any function. The message is complete (incarnation, peer, sequence, ack). */
bool sl_links_next_outgoing(struct sl_links *links, int64_t now_us, struct sl_address *ret_to,
        const struct sl_message **ret_message);

int64_t sl_links_wake_us(const struct sl_links *links); /* when tick is due at the latest */

struct sl_links_totals {
    int open;
    uint64_t queued;         /* messages that wait to be sent or acknowledged, now */
    uint64_t sent, received; /* bytes (sl_message_size), ever */
    uint64_t messages_sent, messages_received, resent, duplicates, early, resets;
};
struct sl_links_totals sl_links_totals(const struct sl_links *links);
