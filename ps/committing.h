#pragma once
/* A commit under way: a server's blocks go from one version to the next piece by piece, those that a forward pass reads first before the others, so that the first can be on their way while the rest is updated.
 *
 *     ps_committing_begin(&committing, …);
 *     while (ps_committing_going(&committing)) {
 *         s = ps_committing_advance(&committing, team, floats, &first, err);
 *         … committing.blocks[first … committing.next - 1] stand at the new version …
 *     }
 *
 * A block is at one version or the other, never between. What the update did to each block is written to changes.
 * Thread: one; the threads of the team update different blocks of a piece.
 */
#include "common/error.h"
#include "common/message.h"
#include "common/team.h"
#include "ps/reduction.h"
#include "ps/table.h"

struct ps_committing {
    struct ps_table *table;
    struct ps_reduction *reduction; /* whose sums are applied and dropped */
    const struct sl_layout *layout;
    const int *blocks; /* (count,) in the order in which they are updated */
    const int *place;  /* (layout->block_count,): where a block's change goes */
    int count, next;   /* those before next are updated */
    int64_t version;   /* from which they go */
    struct sl_commit commit;
    struct sl_block_change *changes; /* (count,) */
    /* of a piece: 1 = one of its blocks was out of memory, with this status and error */
    _Atomic int failed;
    enum sl_status status;
    struct sl_error error;
};

static inline bool ps_committing_going(const struct ps_committing *c)
{
    return c->next < c->count;
}

/* ps_committing_advance updates the next blocks, of about so many floats for each thread of the team, one at least. ret_first: index in blocks of the first of them. Errors: as ps_table_apply. */
SL_MUST_USE enum sl_status ps_committing_advance(struct ps_committing *committing, struct sl_team *team,
        size_t floats, int *ret_first, struct sl_error *err);
