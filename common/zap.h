#pragma once
/* The door of an encrypted transport: answers ZeroMQ's question "may the owner of this key come in?" (ZAP, rfc.zeromq.org/spec/27).
 * Without somebody who answers, ZeroMQ lets every key in. For transport.c.
 *
 *     sl_zap_start(&zap, context, "keys/allowed", server_key, err);      // before the first bind
 *     … zmq_ctx_term(context) …
 *     sl_zap_join(zap);
 *
 * Thread: its own, which owns its socket; it ends when the context does and not before, so that no key is ever let in unasked.
 */
#include "common/error.h"

#include <stdint.h>

#define SL_ZAP_DOMAIN "shelflife"

struct sl_zap;

/* sl_zap_start returns when the door stands. Besides those in the folder, other servers may come in: own_key is the public key of all of them. Owns: *ret_zap. Errors: KEYS as sl_allow_list_open, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_zap_start(struct sl_zap **ret_zap, void *context, const char *allowed_dir,
        const char *own_key, struct sl_error *err);

/* sl_zap_join waits for the thread's end, after the context's. NULL is fine. */
void sl_zap_join(struct sl_zap *zap);

/* sl_zap_refused counts the keys that were turned away. Thread: any. */
uint64_t sl_zap_refused(const struct sl_zap *zap);
