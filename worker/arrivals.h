#pragma once
/* Parameters that come block by block while forward passes that read them have begun: who needs a block waits for it.
 *
 *     wk_arrivals_begin(arrivals, here);                   // a run some of whose parameters are still coming
 *     wk_arrivals_add(arrivals, block);                    // its bytes are there                                    (the loop's thread)
 *     wk_arrivals_wait(arrivals, begin, end);              // before [begin, end) of them is read                    (compute threads)
 *     if (!wk_arrivals_whole(arrivals)) …                  // the run was given up: what was computed means nothing
 *
 * What was written before wk_arrivals_add may be read after wk_arrivals_wait.
 * Thread: any; begin only while nobody waits.
 */
#include "common/error.h"
#include "common/layout.h"

#include <stdbool.h>

struct wk_arrivals;

/* layout outlives it. Owns: *ret_arrivals. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_arrivals_create(
        struct wk_arrivals **ret_arrivals, const struct sl_layout *layout, struct sl_error *err);
void wk_arrivals_destroy(struct wk_arrivals *arrivals); /* NULL is fine */

/* wk_arrivals_begin says which blocks are there. Shapes: here (block_count,), NULL = all. */
void wk_arrivals_begin(struct wk_arrivals *arrivals, const unsigned char *here);
/* wk_arrivals_add: a block that was missing (asserted) is there. */
void wk_arrivals_add(struct wk_arrivals *arrivals, int block);
/* wk_arrivals_give_up wakes all who wait, and lets nobody wait any more until the next begin. */
void wk_arrivals_give_up(struct wk_arrivals *arrivals);

/* wk_arrivals_wait returns when all blocks of [begin, end) are there, or it was given up. Returns how long it waited, in microseconds. */
uint64_t wk_arrivals_wait(struct wk_arrivals *arrivals, size_t begin, size_t end);
/* wk_arrivals_whole: all blocks are there. */
bool wk_arrivals_whole(const struct wk_arrivals *arrivals);
