#pragma once
/* Messages over ZeroMQ: a ROUTER that the coordinator's process and every further server bind, DEALERs that workers and servers connect. The same code for tcp://, ipc:// and inproc://.
 *
 *     sl_transport_create(&transport, err);
 *     sl_socket_bind(&router, transport, "tcp://127.0.0.1:0", err);
 *     sl_socket_connect(&dealer, transport, endpoint, SL_ROLE_WORKER, incarnation, SL_COORDINATOR, err);
 *     sl_transport_wait(&router, 1, &wake_fd, 1, 500, &ready);
 *     while (sl_socket_receive(router, &from, &message, err) != SL_AGAIN) …
 *
 * The transport may lose messages: with a connection goes what was on its way. links.h, above it, makes up for that.
 * Limits, all explicit: a frame has at most SL_FRAME_SIZE_MAX bytes, a message SL_MESSAGE_FRAMES_MAX frames. Sending never blocks: the send queue holds references to the
 * caller's buffers, and links.h bounds how many are on their way to one peer, so ZeroMQ's own high-water mark is off for sending. A peer that is gone is NOT_FOUND.
 * Over inproc:// frames are not copied: what arrives are the sender's own bytes, and nobody writes them.
 * With keys (keys.h) everything that leaves or comes over tcp:// and ipc:// is encrypted with CURVE, a server lets in whom its keys allow, and a client
 * talks to nobody but its server. ZeroMQ itself would say nothing when that fails: sl_socket_check and sl_socket_refused do.
 * Thread: a socket is made, used and closed by one thread. A transport may be shared.
 */
#include "common/error.h"
#include "common/keys.h"
#include "common/message.h"
#include "common/outbox.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_FRAME_SIZE_MAX (64 << 20)      /* bytes */
#define SL_ZERO_COPY_MIN (64 << 10)       /* smaller frames are copied: cheaper than the bookkeeping */
#define SL_WAIT_MAX (SL_SERVERS_MAX + 16) /* sockets and descriptors of one wait */

/* What to do when a port cannot be bound because somebody has it. */
#define SL_PORT_TAKEN_HINT                                                                                   \
    ": another program has this port, perhaps another run; take another one, or port 0 for any that is free"

struct sl_transport;
struct sl_socket;

SL_MUST_USE enum sl_status sl_transport_create(struct sl_transport **ret_transport, struct sl_error *err);
/* sl_transport_create_secure is the same with keys; NULL: none. Starts a thread that decides who comes in when they are a server's. Owns: borrows keys,
 * which outlive the transport. Errors: KEYS when the folder of those allowed cannot be read. */
SL_MUST_USE enum sl_status sl_transport_create_secure(
        struct sl_transport **ret_transport, const struct sl_keys *keys, struct sl_error *err);
/* sl_transport_destroy waits up to two seconds for what is still being sent. All sockets must be closed before. NULL is fine. */
void sl_transport_destroy(struct sl_transport *transport);
/* sl_transport_share lets sockets that are opened from now on hand large frames to processes of the same machine and user without copying them: share.h. Only those
 * that lie in the segment of shared_heap.h, which must be open; all else, and all to peers elsewhere, is sent as before. What comes like that is read_only. */
void sl_transport_share(struct sl_transport *transport);

/* sl_socket_bind listens; port 0 (or *) takes a free one, see sl_socket_endpoint. Errors: FAILED with the endpoint and why (in use, no such address),
 * KEYS when the transport's keys are a client's. */
SL_MUST_USE enum sl_status sl_socket_bind(struct sl_socket **ret_socket, struct sl_transport *transport,
        const char *endpoint, struct sl_error *err);
/* sl_socket_connect connects (in the background, again and again with growing pauses, over inproc:// also before the other side listens). role (worker or server) and
 * incarnation (not 0) are who we are to the other side; peer is what the other side is called here. */
SL_MUST_USE enum sl_status sl_socket_connect(struct sl_socket **ret_socket, struct sl_transport *transport,
        const char *endpoint, enum sl_role role, uint64_t incarnation, struct sl_address peer,
        struct sl_error *err);
void sl_socket_close(struct sl_socket *socket); /* NULL is fine */

/* sl_socket_endpoint borrows the bound address with its real port. */
const char *sl_socket_endpoint(const struct sl_socket *socket);
/* sl_socket_sharing counts the peers that frames are handed over to without copying. */
int sl_socket_sharing(const struct sl_socket *socket);
/* sl_socket_lent counts frames that were handed over without copying and have not been read to the end. */
int sl_socket_lent(const struct sl_socket *socket);

/* sl_socket_check tells whether a connected socket is let in. Errors: KEYS when it never will be (our key is not allowed, or only one side uses keys);
 * AGAIN while handshakes break off for a reason that may pass: err says which, for a caller that gives up in the end; FAILED when the peer is
 * something else altogether. OK also while nobody answers. */
SL_MUST_USE enum sl_status sl_socket_check(struct sl_socket *socket, struct sl_error *err);
/* sl_socket_refused counts the handshakes that failed on a bound socket, keys that were turned away among them. */
uint64_t sl_socket_refused(struct sl_socket *socket);

/* sl_socket_send puts the message on its way; frames of SL_ZERO_COPY_MIN bytes and more are sent from where they lie and must not change any more.
 * to: the receiver on a bound socket, ignored on a connected one. Errors: NOT_FOUND (no such peer, or none any more), FAILED. */
SL_MUST_USE enum sl_status sl_socket_send(struct sl_socket *socket, struct sl_address to,
        const struct sl_message *message, struct sl_error *err);

/* sl_socket_receive takes one message if there is one. ret_from: the sender's role and incarnation on a bound socket, which the header's incarnation repeats; on a connected one
 * the peer that connect was given (whose incarnation is the header's, and for links.h to judge).
 * Errors: AGAIN (nothing there), BAD_DATA or MISMATCH (a message was dropped; err says why and who sent it, ret_from too, with id 0 when that is nobody of
 * this protocol; go on). Owns: *ret_message. */
SL_MUST_USE enum sl_status sl_socket_receive(struct sl_socket *socket, struct sl_address *ret_from,
        struct sl_message **ret_message, struct sl_error *err);

/* sl_transport_wait waits until a socket or descriptor can be read, a signal comes, or the time is over. ret_ready: bit i for socket i, then descriptors; only the
 * first 64 have one. */
SL_MUST_USE enum sl_status sl_transport_wait(struct sl_socket *const *sockets, int socket_count,
        const int *fds, int fd_count, int64_t timeout_ms, uint64_t *ret_ready, struct sl_error *err);
