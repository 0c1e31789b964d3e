/* A snapshot: gathered from all servers, then written by the loop. */
#include "ps/coordinator_parts.h"

#include "common/mutant.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- snapshots ---- */

enum sl_status ps_coordinator_start_snapshot(struct ps_coordinator *c, struct sl_error *err)
{
    struct ps_action *action = ps_coordinator_add_action(c, PS_ACTION_SNAPSHOT);
    action->best = c->snapshot_best;
    c->snapshot_wanted = false;
    c->snapshot_best = false;
    c->snapshot_busy = true;
    c->snapshot_step = c->training.step;
    c->blocks_missing = c->options.layout->block_count;
    memset(c->block_saved, 0, (size_t)c->options.layout->block_count);
    return ps_coordinator_send_servers(c, ps_coordinator_message_to_send(c, SL_MESSAGE_SAVE), err);
}

void ps_coordinator_on_saved(struct ps_coordinator *c, int rank, const struct sl_message *m)
{
    if (c->blocks_missing == 0 || m->version != c->snapshot_step ||
            m->block >= (uint32_t)c->options.layout->block_count || c->owners[m->block] != rank ||
            c->block_saved[m->block] ||
            m->frames[0].size != c->options.layout->blocks[m->block].count * sizeof(float))
        return;
    c->block_saved[m->block] = 1;
    ps_coordinator_add_action(c, PS_ACTION_SAVED_BLOCK);
    if (--c->blocks_missing ==
            (sl_mutant("coordinator: a snapshot is written before all blocks are in") ? 1 : 0))
        ps_coordinator_add_action(c, PS_ACTION_SNAPSHOT_WRITE);
}

enum sl_status ps_coordinator_on_snapshot_written(
        struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (c->blocks_missing > 0) { /* it could not even be begun */
        c->blocks_missing = 0;
        ps_coordinator_add_action(c, PS_ACTION_SNAPSHOT_DROP);
    }
    c->snapshot_busy = false;
    if (event->status != SL_OK) {
        ps_coordinator_add_note(c, PS_ACTION_WARN,
                "the snapshot of step %" PRId64 " could not be written: %s", c->snapshot_step, event->text);
        c->snapshot_step = -1; /* another one of the same step may be tried */
        if (c->finish_after_save && !c->snapshot_wanted &&
                (c->finish_status == SL_OK || c->finish_status == SL_STOPPED)) {
            c->finish_status = event->status;
            (void)snprintf(c->finish_text, sizeof(c->finish_text),
                    "the last snapshot could not be written: %s", event->text);
        }
    }
    return c->state == STATE_SAVING ? ps_coordinator_proceed(c, err) : SL_OK;
}
