#pragma once
/* When a process that has no coordinator tries again, and when it gives up. Pure: times in, times out.
 *
 *     sl_rejoin_begin(&rejoin, join_us, now);
 *     … sl_rejoin_left_us(&rejoin, now) is how long this attempt may look for the coordinator …
 *     again_us = sl_rejoin_lost(&rejoin, welcomed, now);
 *
 * The patience of cluster.join_ms begins at the start and whenever a coordinator that had let us in is lost; attempts in between do not renew it. The first attempt
 * after a while of work comes at once, further ones after pauses that double up to SL_REJOIN_PAUSE_MAX_US.
 */
#include <stdbool.h>
#include <stdint.h>

#define SL_REJOIN_PAUSE_MIN_US 100000
#define SL_REJOIN_PAUSE_MAX_US 2000000
#define SL_REJOIN_STEADY_US 1000000 /* who was in for so long may come back without a pause */

/* Fields are for reading only. */
struct sl_rejoin {
    int64_t join_us, begun_us, deadline_us, pause_us;
};

void sl_rejoin_begin(struct sl_rejoin *rejoin, int64_t join_us, int64_t now_us);
/* sl_rejoin_lost gives when to try again. welcomed: this attempt had been let in. */
int64_t sl_rejoin_lost(struct sl_rejoin *rejoin, bool welcomed, int64_t now_us);
/* sl_rejoin_again notes that the next attempt begins now. */
void sl_rejoin_again(struct sl_rejoin *rejoin, int64_t now_us);
/* sl_rejoin_left_us gives the patience that is left, at least 0. */
int64_t sl_rejoin_left_us(const struct sl_rejoin *rejoin, int64_t now_us);
