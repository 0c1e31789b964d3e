#pragma once
/* Joins what workers push into the step's gradient, block by block, along the slot tree of common/tree.h.
 *
 * A worker pushes the sum of one node of the tree. As soon as both children of a node are there, their sums
 * are added into one buffer and stand for the parent, up to the root; a child that covers no slot is skipped.
 * Whatever the order of arrival and whoever computed what, the same pairs are added: the same bits.
 *
 *     s = ps_reduction_push(reduction, block, node, frames, err);   // STALE: all of it was there already
 *     if (ps_reduction_whole(reduction, block))
 *         last = ps_reduction_last(reduction, block);               // add and measure in one pass, then:
 *     ps_reduction_joined(reduction, block);
 *     ps_reduction_peek(reduction, block, grads);                   // until drop or reset
 *
 * The addition that yields the root is left open, so that whoever measures the sums does it in the same pass over memory; peek does it where
 * nobody else has.
 *
 * First result wins: a node whose slots are all covered already is dropped. A node that covers some slot anew
 * replaces the narrower ones below it (a worker died after pushing part of its run and another computes the
 * whole run): they cannot have been joined with anything outside. Memory: at most one pair of buffers for
 * each slot and block, most often one for each block and worker. Pure memory: no clock, no thread. Shares
 * nothing between blocks: different threads may work on different blocks.
 */
#include "common/buffer.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/team.h"
#include "common/tree.h"
#include "ps/table.h"

struct ps_reduction;

/* ps_reduction_create is for steps of up to max_slots slots. Owns: *ret_reduction; borrows layout, which
 * outlives it. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_reduction_create(struct ps_reduction **ret_reduction,
        const struct sl_layout *layout, uint32_t max_slots, struct sl_error *err);
/* ps_reduction_use_team lets a team do the additions from now on; NULL = the caller alone. Borrows team. */
void ps_reduction_use_team(struct ps_reduction *reduction, struct sl_team *team);
void ps_reduction_destroy(struct ps_reduction *reduction);
void ps_reduction_destroy_auto(struct ps_reduction **reduction);

/* ps_reduction_reset drops everything and begins a step of `slots` slots, 1 … max_slots (asserted). */
void ps_reduction_reset(struct ps_reduction *reduction, uint32_t slots);

/* ps_reduction_push adds one node's sums for one block. Owns: takes the frames, also when it fails;
 * frames[tag].buffer NULL = no gradient (a node without samples), which adds nothing. A buffer that nobody
 * else holds is added into; others are left as they are, and the sum of two of those goes into a new one. Errors: STALE (dropped: all its slots are there),
 * BAD_DATA (no such block or node; a size that is not the block's; a tag that it does not have), NO_MEMORY
 * (after it only reset and destroy are allowed). */
SL_MUST_USE enum sl_status ps_reduction_push(struct ps_reduction *reduction, uint32_t block,
        struct sl_node node, struct sl_frame frames[SL_TAGS], struct sl_error *err);

/* ps_reduction_whole says whether all slots of the step are in, also after ps_reduction_drop. */
bool ps_reduction_whole(const struct ps_reduction *reduction, int block);

/* ps_reduction_last borrows the last addition of a whole block that was not dropped (asserted): nothing to add when it is done already or the root was
 * pushed as it is; such a sum must not be written. ps_reduction_joined says that it was done. */
struct ps_last_sum ps_reduction_last(const struct ps_reduction *reduction, int block);
void ps_reduction_joined(struct ps_reduction *reduction, int block);

/* ps_reduction_peek borrows the sums of a whole block that was not dropped (asserted), after the last addition. Shapes: ret_grads[tag]
 * (block->count,), NULL = zero. */
void ps_reduction_peek(struct ps_reduction *reduction, int block, const float *ret_grads[SL_TAGS]);

/* ps_reduction_drop frees the sums of a block that was applied; later pushes to it are STALE until the next
 * reset. */
void ps_reduction_drop(struct ps_reduction *reduction, int block);

/* ps_reduction_held gives the buffers held now by all blocks: for status and for tests of the bound. */
int ps_reduction_held(const struct ps_reduction *reduction);
