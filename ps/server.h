#pragma once
/* What a server decides about its blocks: when a pushed node counts, when the step is reduced, when to apply it, whom to send parameters.
 * Pure: messages in, messages out; the arithmetic is in table.h and reduction.h.
 *
 *     PUSH ─▶ joined in the reduction tree, acknowledged; a block that is whole is measured while it is in cache
 *             all blocks whole ─▶ REDUCED to the coordinator
 *     COMMIT ─▶ every block updated ─▶ APPLIED to the coordinator, waiting PULLs answered
 *     PULL ─▶ answered at once when that version stands, kept when it is still to come
 */
#include "common/config.h"
#include "common/layout.h"
#include "common/outbox.h"
#include "ps/table.h"

struct ps_server;

/* ps_server_create serves the blocks of table, from the version that they have. layout and table outlive the server. cluster: mark of this run's messages. Owns: *ret_server. */
SL_MUST_USE enum sl_status ps_server_create(struct ps_server **ret_server, const struct sl_config *config,
        const struct sl_layout *layout, struct ps_table *table, uint64_t cluster, struct sl_error *err);
void ps_server_destroy(struct ps_server *server);

/* ps_server_step handles one PUSH, PULL or COMMIT; other kinds are ignored. Its frames may be taken (frame_count becomes 0). outbox is cleared first.
 * Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_server_step(struct ps_server *server, struct sl_address from,
        struct sl_message *message, struct sl_outbox *outbox, struct sl_error *err);

int64_t ps_server_version(const struct ps_server *server); /* steps applied to all blocks */
uint64_t ps_server_dropped(
        const struct ps_server *server); /* messages that did not count: duplicates, late or senseless ones */
