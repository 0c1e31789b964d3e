#pragma once
/* Frames between processes of one machine without copying them: a channel for each pair of sockets that find that they are on one machine. The transport alone
 * knows of it. Instead of a frame's bytes a message then carries a reference: a place in the sender's segment (shared_heap.h), which the receiver has mapped, read-only.
 *
 *   finding each other   A socket that is bound also listens on a unix socket in the abstract namespace, named after its port. One that has connected looks for that name
 *                        once it hears from its peer. Both send each other a page of notes as a descriptor (SCM_RIGHTS): whoever can do that is on the same
 *                        kernel. Other users are turned away (SO_PEERCRED); in other network namespaces the name is not there. Then everything goes through sockets.
 *   proof                Who answers at the name need not be who answers at the address. So each side writes a random number into its page of notes, and when that number has
 *                        come back in a header over ZeroMQ, its peer there, which has the right keys, is who has mapped the page. Only then it is given our segment.
 *   lending              A loan has a number, from 1 upwards, and holds a reference to its buffer. The receiver writes the number into the page when it has read the frame:
 *                        no message is needed. Messages may get lost, but one channel's arrive in order: a number that was passed over will not come any more and is returned too.
 *   the end              The unix socket is kept open as long as one side reads what is the other's. Its end is the other process's end, or its last word: all loans come back. A socket
 *                        that is closed while something of its is lent leaves the channel behind; every wait looks after such channels.
 *
 * What a peer writes is not trusted: a reference out of the segment's bounds or out of order is BAD_DATA; the segment must be memory, sealed against shrinking. The
 * bytes may change while they are read if the peer breaks the rules: only tensors travel like this (sl_share_allows), whose bytes can be anything.
 * Thread: a share belongs to its socket's thread; borrowed frames may be released on any thread.
 */
#include "common/error.h"
#include "common/message.h"
#include "common/outbox.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_SHARE_CHANNELS_MAX 64 /* of one socket; further peers use sockets */
#define SL_SHARE_LOANS_MAX 4096  /* of one channel; further frames are sent as bytes */
#define SL_SHARE_SIZE_MAX ((uint64_t)1 << 44)
#define SL_REFERENCE_SIZE 24 /* bytes of a reference: number, offset, size, little-endian */

struct sl_share;

/* sl_share_listen is for a bound socket, sl_share_connect for one that is connected as role and incarnation; endpoint is ZeroMQ's. sl_shared_heap_open comes first. NULL: no sharing, because memory is
 * out, the name is taken, or the endpoint is none that one machine's processes share. */
struct sl_share *sl_share_listen(const char *endpoint);
struct sl_share *sl_share_connect(const char *endpoint, enum sl_role role, uint64_t incarnation);
void sl_share_close(struct sl_share *share); /* NULL is fine, here and below */

/* sl_share_fd is a descriptor that can be read when sl_share_tend has something to do; -1 for NULL. */
int sl_share_fd(const struct sl_share *share);
/* sl_share_tend takes what has come on the unix sockets: greetings and ends. */
void sl_share_tend(struct sl_share *share);
/* sl_share_collect takes the loans that were returned; cheap when nothing is lent. */
void sl_share_collect(struct sl_share *share);
void sl_share_collect_abandoned(void); /* of channels whose socket is closed */

/* sl_share_allows tells whether frames of this kind may be references. */
bool sl_share_allows(enum sl_message_kind kind);
/* sl_share_proof is what a header to this peer says, 0 = nothing. */
uint64_t sl_share_proof(const struct sl_share *share, struct sl_address peer);
/* sl_share_heard takes what a header from this peer says. */
void sl_share_heard(struct sl_share *share, struct sl_address peer, uint64_t proof);

/* sl_share_lend writes a reference to the frame; false: send its bytes. The frame's buffer is retained until it is returned. */
bool sl_share_lend(struct sl_share *share, struct sl_address peer, const struct sl_frame *frame,
        unsigned char reference[SL_REFERENCE_SIZE]);
/* sl_share_borrow turns a reference into a frame. Owns: *ret_frame, whose buffer is read_only; releasing it returns the loan. Errors: BAD_DATA, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_share_borrow(struct sl_share *share, struct sl_address peer,
        const unsigned char *reference, size_t size, struct sl_frame *ret_frame, struct sl_error *err);

/* sl_share_peers counts those that frames are lent to. */
int sl_share_peers(const struct sl_share *share);
/* sl_share_lent counts the loans of all channels that are not returned yet: for tests. */
int sl_share_lent(const struct sl_share *share);
