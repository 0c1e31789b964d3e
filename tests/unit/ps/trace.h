#pragma once
/* What a core wants done, as a line of text: tests of the cores state what they expect in these words.
 *
 *     w7<welcome 0; w7<assign train 0-4 of 4 at 0; joined
 *
 * w7< is a message to worker 7, s9< one to server 9, c< one to the coordinator; words without an arrow are actions. "at" is a step, "on" a version (told where it is not the
 * step's number). */
#include "common/outbox.h"
#include "common/text.h"
#include "ps/coordinator.h"

static inline void trace_separate(struct sl_text *text)
{
    if (text->size > 0)
        sl_text_printf(text, "; ");
}

static inline void trace_message(struct sl_text *text, const struct sl_outgoing *item)
{
    static const char *const phases[SL_PHASE_COUNT] = {"train", "validate", "skip", "audit", "score"};
    const struct sl_message *m = item->message;
    trace_separate(text);
    if (item->to.role == SL_ROLE_COORDINATOR)
        sl_text_printf(text, "c<");
    else
        sl_text_printf(text, "%c%d<", item->to.role == SL_ROLE_WORKER ? 'w' : 's', (int)item->to.id);
    sl_text_printf(text, "%s", sl_message_name(m->kind));
    switch (m->kind) {
    case SL_MESSAGE_WELCOME:
        sl_text_printf(text, " %u", m->rank);
        break;
    case SL_MESSAGE_ASSIGN:
        sl_text_printf(
                text, " %s %u-%u of %u at %d", phases[m->phase], m->begin, m->end, m->slots, (int)m->step);
        if (m->version != m->step)
            sl_text_printf(text, " on %d", (int)m->version);
        break;
    case SL_MESSAGE_ACK:
    case SL_MESSAGE_PUSH:
        sl_text_printf(
                text, " %u.%u of block %u at %d", m->node.level, m->node.index, m->block, (int)m->step);
        break;
    case SL_MESSAGE_PARAMS:
    case SL_MESSAGE_SAVED:
        sl_text_printf(text, " %u on %d", m->block, (int)m->version);
        break;
    case SL_MESSAGE_COMMIT:
    case SL_MESSAGE_APPLIED:
        sl_text_printf(text, " %d to %d", (int)m->step, (int)m->version);
        break;
    case SL_MESSAGE_REDUCED:
        sl_text_printf(text, " %d", (int)m->step);
        break;
    case SL_MESSAGE_LOADED:
    case SL_MESSAGE_SAVE:
        sl_text_printf(text, " %d", (int)m->version);
        break;
    default:
        break;
    }
}

static inline void trace_outbox(struct sl_text *text, const struct sl_outbox *outbox)
{
    for (int i = 0; i < outbox->count; i++)
        trace_message(text, &outbox->items[i]);
}

static inline void trace_action(struct sl_text *text, const struct ps_action *action)
{
    static const char *const names[] = {[PS_ACTION_LOAD] = "load",
            [PS_ACTION_READY] = "ready",
            [PS_ACTION_STEP] = "step",
            [PS_ACTION_VALIDATION] = "validation",
            [PS_ACTION_SNAPSHOT] = "snapshot",
            [PS_ACTION_SAVED_BLOCK] = "saved",
            [PS_ACTION_SNAPSHOT_WRITE] = "write",
            [PS_ACTION_SNAPSHOT_DROP] = "drop",
            [PS_ACTION_RESTORE] = "restore",
            [PS_ACTION_CLOSE] = "close",
            [PS_ACTION_JOINED] = "joined",
            [PS_ACTION_LOST] = "lost",
            [PS_ACTION_REFUSED] = "refused",
            [PS_ACTION_WARN] = "warn",
            [PS_ACTION_FINISH] = "finish"};
    trace_separate(text);
    sl_text_printf(text, "%s", names[action->kind]);
    if (action->kind == PS_ACTION_LOAD)
        sl_text_printf(text, " %u", action->rank);
    if (action->kind == PS_ACTION_STEP)
        sl_text_printf(text, " %d", (int)action->record.step);
    if ((action->kind == PS_ACTION_SNAPSHOT || action->kind == PS_ACTION_VALIDATION) && action->best)
        sl_text_printf(text, " best");
    if (action->kind == PS_ACTION_FINISH)
        sl_text_printf(text, " %s", sl_status_name(action->status));
}

static inline void trace_updates(struct sl_text *text, const struct ps_updates *updates)
{
    trace_outbox(text, &updates->outbox);
    for (int i = 0; i < updates->action_count; i++)
        trace_action(text, &updates->actions[i]);
}
