#pragma once
/* Gradients of a run's slots become those of its nodes, block by block, while backward passes go on: a block of a node is whole when the last of the node's slots has passed the block's layers.
 *
 *     wk_joining_begin(joining, slots, cuts, cut_count);
 *     wk_joining_enter(joining, slot, &gradients);                    // before the slot's backward pass
 *     if (wk_joining_add(joining, slot, block)) … of the cut, too …   // the pass adds nothing more to the block
 *     gradients = wk_joining_take(joining, cut);                      // all its slots are done
 *
 * The sums of a node lie in the buffer of its first slot. Whoever comes second to a pair of blocks adds it, left + right as the reduction tree has it (common/tree.h), so the bits do not depend on who that is. The buffer of a
 * right child is released when its last block was added and its slot's pass is over, which may yet write where nobody adds anything (frozen blocks): no more of them are held than by adding whole gradients.
 * Thread: any, but begin and clear only while no slot is being computed.
 */
#include "common/buffer.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/spent.h"
#include "common/stats.h"
#include "common/tree.h"

struct wk_joining;

/* What a node has besides gradients. */
struct wk_node_sums {
    struct sl_step_stats stats;
    uint64_t compute_us;
    struct sl_spent spent; /* the kinds of compute threads, and PULL */
};

/* wk_joining_create is for steps of up to max_slots slots. layout outlives it. Owns: *ret_joining. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_joining_create(struct wk_joining **ret_joining, const struct sl_layout *layout,
        uint32_t max_slots, struct sl_error *err);
void wk_joining_destroy(struct wk_joining *joining); /* with all gradients; NULL is fine */

/* wk_joining_begin begins a run in a step of `slots` slots that is cut into these nodes, when nothing of the one before is left. Borrows cuts until the next begin. */
void wk_joining_begin(struct wk_joining *joining, uint32_t slots, const struct sl_node *cuts, int cut_count);
/* wk_joining_clear releases all gradients: of a run that was cancelled. */
void wk_joining_clear(struct wk_joining *joining);

/* wk_joining_left borrows the gradients of a slot's left sibling if all of it is done and it waits for this slot alone; else NULL. Whoever gets them may add the slot's own to them, range by range, and then enters without a buffer. */
struct sl_buffer *wk_joining_left(struct wk_joining *joining, uint32_t slot);
/* wk_joining_enter gives a slot its gradients, sl_layout_gradient_floats, which its backward pass fills; *gradients NULL: each block is in the left sibling's when it is added. Owns: takes *gradients. */
void wk_joining_enter(struct wk_joining *joining, uint32_t slot, struct sl_buffer **gradients);
/* wk_joining_add joins a block that the slot's backward pass is done with, as far up as its siblings are there. True: the block of the cut that the slot belongs to is whole. Each block once, a frozen one never. */
bool wk_joining_add(struct wk_joining *joining, uint32_t slot, int block);

/* wk_joining_deposit joins what a slot has besides gradients, whose blocks have all been added: its pass is over. True: all slots of the cut are done, *sums are the cut's; else *sums wait inside. */
bool wk_joining_deposit(struct wk_joining *joining, uint32_t slot, struct wk_node_sums *sums);

/* wk_joining_cut is the node of the run's cut that a slot belongs to. */
struct sl_node wk_joining_cut(const struct wk_joining *joining, uint32_t slot);
/* wk_joining_peek borrows the gradients that the sums of a node lie in. Only blocks that are whole may be read while slots are being computed. */
struct sl_buffer *wk_joining_peek(struct wk_joining *joining, struct sl_node node);
/* wk_joining_take gives the gradients of a cut whose blocks are all whole; in frozen ones anything may lie. Owns: the caller. */
struct sl_buffer *wk_joining_take(struct wk_joining *joining, struct sl_node cut);
