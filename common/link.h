#pragma once
/* One link of links.h: the stream to a peer (what waits, what is on its way, when to send it again) and from it (what comes next, what is
 * to be acknowledged). Knows nothing of other links; links.c keeps the set, and the rules by which links begin and end. Private to the two.
 *
 *     base ≤ cursor ≤ next: [base, cursor) is on its way, [cursor, next) waits. sent is the highest sequence that ever left; after going back cursor lies below it.
 */
#include "common/links.h"

#define SL_LINK_NEVER INT64_MAX
#define SL_LINK_REASON_MAX 128

struct sl_link_entry {
    struct sl_message *message;
    size_t size;
    int64_t sent_us; /* the first time */
};

struct sl_link_event_node {
    struct sl_link_event_node *next;
    enum sl_link_event_kind kind;
    struct sl_address from;
    struct sl_message *message;
};

struct sl_link {
    struct sl_link_event_node
            gone; /* first: the link becomes the news of its end, which therefore needs no memory */
    char reason[SL_LINK_REASON_MAX];
    struct sl_address peer;
    uint64_t incarnation; /* of the peer, 0 = not known yet */
    bool heard;           /* something has come from it */
    bool opened;          /* by us */

    struct sl_link_entry *ring; /* (capacity,), a power of two; sequence s lies at s % capacity */
    uint64_t capacity, base, cursor, next, sent;
    uint64_t queued_size, flight_size; /* bytes in [base, next) and [base, cursor) */
    bool probing;                      /* one message at a time, until something is heard */
    int64_t interval_us;               /* of resending, now */
    uint64_t expected;                 /* the sequence that is delivered next */
    struct sl_message *
            *early; /* (SL_LINKS_WINDOW_COUNT,) or NULL: came before its turn; sequence s lies at s % count */
    uint64_t early_size;     /* bytes in it */
    uint32_t unacknowledged; /* messages since we sent something */
    uint64_t unacknowledged_size;
    bool alive; /* a sign of life is to be sent */

    int64_t heard_us, ack_at, heartbeat_at, resend_at, unreachable_us,
            probe_at; /* SL_LINK_NEVER = not running */

    int64_t due_us; /* links.c: its place in the heap of deadlines and in the list of those that have something to send */
    int heap_index;
    bool ready;
    struct sl_link *ready_next, *ready_previous;
};

/* sl_link_create makes a link that has heard and sent nothing, or NULL. */
struct sl_link *sl_link_create(
        struct sl_address peer, const struct sl_links_options *options, int64_t now_us, bool opened);
void sl_link_drop(struct sl_link *link); /* destroys what waits, in both directions */

/* sl_link_append takes the message. Errors: NO_MEMORY: the message is destroyed. */
SL_MUST_USE enum sl_status sl_link_append(
        struct sl_link *link, struct sl_message *message, int64_t now_us, struct sl_error *err);
/* sl_link_can_send tells whether a message of the queue may leave now. */
bool sl_link_can_send(const struct sl_link *link);
/* sl_link_take_next moves on by the message that may leave now and borrows it. ret_again: it has left before. */
struct sl_message *sl_link_take_next(struct sl_link *link, int64_t now_us, bool *ret_again);
/* sl_link_note_sent notes that something with an acknowledgement leaves. */
void sl_link_note_sent(struct sl_link *link, const struct sl_links_options *options, int64_t now_us);
/* sl_link_acknowledge drops what has arrived. false: it never was sent. */
bool sl_link_acknowledge(
        struct sl_link *link, uint64_t ack, const struct sl_links_options *options, int64_t now_us);
/* sl_link_note_heard notes that the peer lives and can be reached. */
void sl_link_note_heard(struct sl_link *link, int64_t now_us);
/* sl_link_note_unreachable notes that there is no way to it now; it is tried a few times more before that is its end. */
void sl_link_note_unreachable(struct sl_link *link, const struct sl_links_options *options, int64_t now_us);
/* sl_link_note_received notes a message of that size (bytes) that is to be acknowledged; at once: now. */
void sl_link_note_received(struct sl_link *link, size_t size, bool at_once, int64_t now_us);
/* sl_link_keep_early keeps a message that came before its turn; when it cannot (out of the window, there already, no memory, more bytes than size_max in
 * all) it is left to the caller: it will come again. */
void sl_link_keep_early(struct sl_link *link, struct sl_message **message, uint64_t size_max);
/* sl_link_take_early gives the message whose turn it is, if it came early; else NULL. */
struct sl_message *sl_link_take_early(struct sl_link *link);
/* sl_link_go_back sends the first message again, and the others when something is heard. */
void sl_link_go_back(struct sl_link *link);
/* sl_link_due_us is when sl_link_tick has something to do. */
int64_t sl_link_due_us(const struct sl_link *link, const struct sl_links_options *options);
/* sl_link_tick does it. false: the link is over, reason says why. Afterwards due_us lies after now. */
bool sl_link_tick(struct sl_link *link, const struct sl_links_options *options, int64_t now_us);
