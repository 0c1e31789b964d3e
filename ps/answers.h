#pragma once
/* What PARAMS carry of a block for a worker that says which version it holds: nothing where nothing changed since, the lines that did where they are known and few, else all as it lies.
 *
 *     s = ps_answers_put(&answers, block, held, params, err);     // a frame, its encoding, what it is relative to, the block's version
 *
 * A whole block is shared by all answers and never copied. Changed lines are looked for and written once for all who hold the same version, and kept until the block is asked for in another way: at most half of
 * a block for each block with rows of a table.
 * Thread: one. */
#include "common/error.h"
#include "common/layout.h"
#include "common/message.h"
#include "ps/table.h"

struct ps_answer; /* of a block, the last one */

struct ps_answers {
    const struct ps_table *table;
    const struct sl_layout *layout;
    struct ps_answer *last;    /* (block_count,) */
    unsigned char *lines;      /* as many as any block has */
    struct sl_buffer *nothing; /* for frames without bytes */
};

/* ps_answers_init is for the blocks that the table owns. Borrows table and layout. Errors: NO_MEMORY; fini it then too. */
SL_MUST_USE enum sl_status ps_answers_init(struct ps_answers *answers, const struct ps_table *table,
        const struct sl_layout *layout, struct sl_error *err);
void ps_answers_fini(struct ps_answers *answers);

/* ps_answers_put fills PARAMS for who holds a version of the block, -1 = none, or says so: of a version that cannot be it gets all. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_answers_put(
        struct ps_answers *answers, int block, int64_t held, struct sl_message *params, struct sl_error *err);
