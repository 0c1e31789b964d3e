#pragma once
/* Steps whose gradients are coming in to a server, and which steps are applied already.
 *
 *     ps_incoming_begin(&incoming, version);                                 // every step before it is applied
 *     s = ps_incoming_open(&incoming, step, slots, &r, err);                 // the first gradient of a step
 *     … r->reduction, r->sums, r->blocks_whole …
 *     ps_incoming_note_applied(&incoming, step);                             // what comes of it from now on changes nothing
 *     r->open = false;
 *
 * What a step needs is made when it is opened first and kept for later ones. Applied steps are remembered within a window beyond the first that is not applied.
 * Thread: one; a reduction may use a team.
 */
#include "common/message.h"
#include "common/team.h"
#include "ps/reduction.h"

#define PS_OPEN_MAX 64     /* steps that are open at a time */
#define PS_WINDOW_MAX 4096 /* a step is opened at most so far beyond the first that is not applied */

struct ps_incoming_step {
    bool open;
    int64_t step;
    uint32_t slots;
    int blocks_whole;                  /* of ours that are trained */
    struct ps_reduction *reduction;    /* made when first needed, kept */
    struct sl_buffer *sums;            /* struct sl_block_sums (block_count,) in our blocks' order */
    char problem[SL_MESSAGE_TEXT_MAX]; /* the first gradient that is not finite */
};

struct ps_incoming {
    const struct sl_layout *layout;
    struct sl_team *team;
    uint32_t max_slots;
    int block_count; /* of ours */
    struct ps_incoming_step steps[PS_OPEN_MAX];
    int open_max; /* steps that may be open at a time */
    int64_t low;  /* every step before it is applied … */
    uint64_t applied[PS_WINDOW_MAX /
                     64]; /* … and of [low, low + PS_WINDOW_MAX) those with a bit, at step % PS_WINDOW_MAX */
};

/* All zero but layout (borrowed), max_slots, block_count and open_max is an empty one. */
void ps_incoming_fini(struct ps_incoming *incoming);
/* ps_incoming_use_team lets a team add from now on; NULL = the caller alone. Borrows team. */
void ps_incoming_use_team(struct ps_incoming *incoming, struct sl_team *team);
/* ps_incoming_begin: every step before `step` is applied, and none other. */
void ps_incoming_begin(struct ps_incoming *incoming, int64_t step);

/* ps_incoming_find borrows an open step, or gives NULL. */
struct ps_incoming_step *ps_incoming_find(struct ps_incoming *incoming, int64_t step);
/* ps_incoming_open opens one of so many slots, with sums of zero. That there is room is the caller's to know (asserted). Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_incoming_open(struct ps_incoming *incoming, int64_t step, uint32_t slots,
        struct ps_incoming_step **ret_step, struct sl_error *err);

/* Steps from low on must lie within the window. */
bool ps_incoming_is_applied(const struct ps_incoming *incoming, int64_t step);
void ps_incoming_note_applied(struct ps_incoming *incoming, int64_t step);
