#pragma once
/* A process's place in the cluster: its links and the sockets below them. What both loops do alike: receive, hand on in order, send what is due.
 *
 *     sl_wire_create(&wire, transport, SL_ROLE_WORKER, &links, err);
 *     sl_wire_begin(wire, incarnation, err);
 *     sl_wire_connect(wire, "tcp://10.0.0.1:5555", SL_COORDINATOR, now, err);
 *     sl_wire_send(wire, SL_COORDINATOR, &hello, now, err);
 *     for (;;) {
 *         sl_wire_wait(wire, fds, 2, wake_us, err);
 *         while ((status = sl_wire_receive(wire, now, &from, &problem)) != SL_AGAIN) …   // what was dropped is told
 *         sl_wire_flush(wire, now, err);
 *         while (sl_wire_next_event(wire, &event)) …                                     // to the core
 *     }
 *
 * To begin anew (sl_wire_begin again) closes what was connected and all links; what is bound stays, so that a server's endpoint does not change.
 * Thread: one.
 */
#include "common/config.h"
#include "common/links.h"
#include "common/transport.h"

struct sl_wire;

/* sl_wire_share_memory makes the memory that peers of this machine can be shown, before buffers are made, if the config has it so. Without it all goes through sockets,
 * which is slower and no fault: the log says so. */
void sl_wire_share_memory(const struct sl_config *config);

/* sl_wire_create makes one without sockets and links. The links' options hold for every begin; their incarnation is ignored. Owns: *ret_wire; borrows transport. */
SL_MUST_USE enum sl_status sl_wire_create(struct sl_wire **ret_wire, struct sl_transport *transport,
        enum sl_role role, const struct sl_links_options *options, struct sl_error *err);
void sl_wire_destroy(struct sl_wire *wire); /* NULL is fine */

/* sl_wire_begin makes new links of that incarnation. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_wire_begin(struct sl_wire *wire, uint64_t incarnation, struct sl_error *err);
/* sl_wire_end tells every peer that this incarnation is over, sends that, and closes what was connected. Before begin: nothing happens. */
void sl_wire_end(struct sl_wire *wire);

/* sl_wire_bind listens, once. Errors: as sl_socket_bind. */
SL_MUST_USE enum sl_status sl_wire_bind(struct sl_wire *wire, const char *endpoint, struct sl_error *err);
struct sl_socket *sl_wire_bound(const struct sl_wire *wire); /* borrowed; NULL = none */
/* sl_wire_connect connects to a peer and opens the link. Errors: as sl_socket_connect, USAGE for more than SL_SERVERS_MAX + 1. */
SL_MUST_USE enum sl_status sl_wire_connect(struct sl_wire *wire, const char *endpoint, struct sl_address peer,
        int64_t now_us, struct sl_error *err);

/* sl_wire_send queues a message. A peer without a link is not an error: its end is or was told. Owns: takes *message, always. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_wire_send(struct sl_wire *wire, struct sl_address to,
        struct sl_message **message, int64_t now_us, struct sl_error *err);
/* sl_wire_close ends the link to a peer after what is due for it was sent. */
SL_MUST_USE enum sl_status sl_wire_close(
        struct sl_wire *wire, struct sl_address peer, int64_t now_us, struct sl_error *err);
/* sl_wire_close_all ends all links: a rollback. What is connected stays connected. */
SL_MUST_USE enum sl_status sl_wire_close_all(struct sl_wire *wire, int64_t now_us, struct sl_error *err);

/* sl_wire_wait sends what may be sent, then waits until a message may be there, a descriptor can be read, something is due or until_us is past. */
SL_MUST_USE enum sl_status sl_wire_wait(
        struct sl_wire *wire, const int *fds, int fd_count, int64_t until_us, struct sl_error *err);
/* sl_wire_receive takes one message from a socket to its link. Errors: AGAIN (there is none), BAD_DATA or MISMATCH (one was dropped; ret_from sent it, id 0 = nobody of
 * this protocol; go on), NO_MEMORY, FAILED. */
SL_MUST_USE enum sl_status sl_wire_receive(
        struct sl_wire *wire, int64_t now_us, struct sl_address *ret_from, struct sl_error *err);
/* sl_wire_next_event gives what happened on the links; see sl_links_next_event. */
bool sl_wire_next_event(struct sl_wire *wire, struct sl_link_event *ret_event);
/* sl_wire_flush does what is due and sends what may be sent; ask for events after it. Errors: NO_MEMORY, FAILED. */
SL_MUST_USE enum sl_status sl_wire_flush(struct sl_wire *wire, int64_t now_us, struct sl_error *err);

/* sl_wire_check tells whether those that we connected to let us in; see sl_socket_check. */
SL_MUST_USE enum sl_status sl_wire_check(struct sl_wire *wire, struct sl_error *err);
/* sl_wire_tell_sharing logs with how many peers frames are handed over in shared memory, when it is another number than the last time. */
void sl_wire_tell_sharing(struct sl_wire *wire);
/* sl_wire_totals counts over all incarnations. */
struct sl_links_totals sl_wire_totals(const struct sl_wire *wire);
