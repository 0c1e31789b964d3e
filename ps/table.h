#pragma once
/* The parameters that a server owns: values, moments and version of each of its blocks of the layout.
 *
 *     s = ps_table_measure(table, block, grads, &sums, err);            // DIVERGED names the parameter
 *     … the coordinator turns the sums of all blocks into clip, rate and coefficients …
 *     s = ps_table_apply(table, block, version, &commit, grads, err);   // version + 1 stands
 *     struct sl_buffer *params = ps_table_share(table, block);          // for many messages, without a copy
 *
 * A block's values and moments lie in counted buffers, so that messages and snapshots on their way keep the version that they took:
 * apply writes in place when nobody else holds a buffer, else into a new one. So a snapshot costs no copy at once: only the blocks
 * that are updated before it is written. Memory that came from elsewhere (a received message) is never written either: inproc hands
 * over the sender's own bytes.
 *
 * A block is owned from the start and has values once they were loaded or put (ps_table_loaded); all that looks at values or moments
 * needs that (asserted). Blocks do not know each other: different threads may work on different blocks. Frozen parameters and the gaps
 * between parameters are neither measured nor changed; of a block of nothing else only the version goes up.
 */
#include "common/buffer.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/message.h"
#include "common/team.h"
#include "ps/optimiser.h"

struct ps_table;

/* ps_table_create makes a table for block_count of the layout's blocks, at version 0 and without values yet; blocks NULL = all of them.
 * Owns: *ret_table; borrows layout, which outlives it, and copies the rest. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_table_create(struct ps_table **ret_table, const struct sl_layout *layout,
        const struct ps_optimiser *optimiser, const int *blocks, int block_count, struct sl_error *err);
void ps_table_destroy(struct ps_table *table);
void ps_table_destroy_auto(struct ps_table **table);

/* ps_table_load takes the table's part of whole flat vectors and sets all versions. Shapes: (layout->count,);
 * m, v NULL = zero. Errors: NO_MEMORY with the bytes that were wanted. */
SL_MUST_USE enum sl_status ps_table_load(struct ps_table *table, const float *params, const float *m,
        const float *v, int64_t version, struct sl_error *err);

/* ps_table_put sets one owned block from frames, whose buffers it shares: nothing is copied until the next update, but for bytes that
 * are not aligned for floats or only part of their buffer. Shapes: each (block->count,) floats; m, v NULL (or without a buffer) = zero, v
 * is ignored without a second moment. Owns: retains what it takes; after an error the block is as before. Errors: BAD_DATA for
 * another size, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_table_put(struct ps_table *table, int block, const struct sl_frame *params,
        const struct sl_frame *m, const struct sl_frame *v, int64_t version, struct sl_error *err);

/* The buffers of one block. Shapes: each (block->count,) floats. */
struct ps_block_state {
    struct sl_buffer *params, *m, *v; /* m, v NULL: zero, or no second moment */
};
void ps_block_state_fini(struct ps_block_state *state); /* releases them */

/* ps_table_capture gives the block's buffers as they are now, for a snapshot: nobody writes them any more. Owns: one reference each, fini
 * it; v NULL without a second moment. */
struct ps_block_state ps_table_capture(const struct ps_table *table, int block);

/* ps_table_copy puts what the table has of the parameters into whole flat vectors: for tests, which compare them. Shapes: (layout->count,);
 * m, v may be NULL; without a second moment (SGD) v is not touched. */
void ps_table_copy(const struct ps_table *table, float *ret_params, float *ret_m, float *ret_v);

/* ps_table_measure gives the sums over a block's reduced gradient, before any division. Shapes: grads[tag]
 * (block->count,), NULL = zero. Errors: DIVERGED when a number is not finite (or beyond 1e36): the text has
 * step, parameter and count. */
SL_MUST_USE enum sl_status ps_table_measure(const struct ps_table *table, int block,
        const float *const grads[SL_TAGS], struct sl_block_sums *ret_sums, struct sl_error *err);

/* The last addition of a block's gradient, which is done while it is measured. Shapes: (block->count,) each. */
struct ps_last_sum {
    float *sum[SL_TAGS];        /* NULL = zero. Written only where there is something to add */
    const float *more[SL_TAGS]; /* added to sum; NULL = nothing */
    const float *from
            [SL_TAGS]; /* where there is something to add: what it is added to instead, and sum is overwritten; NULL = sum itself */
};

/* ps_table_add_measure adds `more` to `sum` (or to `from`, into `sum`) where parameters are trained, and measures the result, in one pass over memory. The
 * parts of a block are cut by its length alone, so that any team gives the same bits. Errors: as ps_table_measure; the
 * additions are done then too. */
SL_MUST_USE enum sl_status ps_table_add_measure(const struct ps_table *table, struct sl_team *team, int block,
        const struct ps_last_sum *last, struct sl_block_sums *ret_sums, struct sl_error *err);

/* ps_table_apply updates a block from version to version + 1. Shapes: as ps_table_measure. Thread: one at a
 * time for a block. Errors: STALE when the block is not at that version (then it is as before), NO_MEMORY
 * (the same). */
SL_MUST_USE enum sl_status ps_table_apply(struct ps_table *table, int block, int64_t version,
        const struct sl_commit *commit, const float *const grads[SL_TAGS], struct sl_error *err);

/* ps_table_change is what the last update did to the block's trained values; zeros before the first. */
struct sl_block_change ps_table_change(const struct ps_table *table, int block);

/* ps_table_changed_since: ret_lines, a bit for each line as common/encoding.h has it, are those in which the block differs from what it was at version `held`, and maybe others; none at all where nothing
 * changed. False where it is not known: of a version to come, of one before the values came from elsewhere, of an old one or of a block without rows of tables, whose updates change all of it. Shapes:
 * ret_lines (sl_encoding_bitmap_size,). */
bool ps_table_changed_since(const struct ps_table *table, int block, int64_t held, unsigned char *ret_lines);

/* ps_table_share gives one more reference to the block's values as they are now. Owns: sl_buffer_release it.
 */
struct sl_buffer *ps_table_share(const struct ps_table *table, int block);

bool ps_table_owns(const struct ps_table *table, int block);       /* false for a number that is no block */
bool ps_table_loaded(const struct ps_table *table, int block);     /* owned, and its values are there */
int64_t ps_table_version(const struct ps_table *table, int block); /* updates applied to it */
bool ps_table_has_second(const struct ps_table *table);            /* the optimiser keeps a second moment */
