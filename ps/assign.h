#pragma once
/* Who should compute what next: shares of the free units in proportion to speed, and stragglers whose run is worth giving to somebody else too. Pure arithmetic on
 * roster.h and open_step.h; nothing here affects the bits of a result.
 */
#include "ps/open_step.h"
#include "ps/roster.h"

/* ps_assign_idle says whether a worker has nothing left to do that counts. */
bool ps_assign_idle(const struct ps_worker *worker);

/* ps_assign_share gives the units that an idle worker should take of a step now: false = none. among_idle: all that is free is shared among the idle workers (a step that
 * everybody waits for); else each takes the part of the whole step that its speed is of all workers' (steps that overlap). A worker so slow that its share rounds to nothing
 * gets one unit every 16th step, so that it can show that it recovered; one with shards of its own always gets one. Among the idle, until a first run
 * is over, and while one of a worker that has just joined goes on, nobody gets more than two units for each of its threads: the first to join does not take a whole step from those who come a moment later. */
bool ps_assign_share(const struct ps_roster *roster, const struct ps_open_step *step, int worker,
        bool among_idle, uint32_t *ret_begin, uint32_t *ret_end);

/* ps_assign_overdue says whether a busy worker's run has taken longer than factor times what it, or the mean worker, usually needs, and than least_us. While no
 * speed was ever known: than 15 times least_us. */
bool ps_assign_overdue(
        const struct ps_roster *roster, int worker, int64_t now_us, double factor, int64_t least_us);

/* ps_assign_straggler gives the worker whose run is the most overdue and has no shadow, audits left aside. -1 = none. */
int ps_assign_straggler(const struct ps_roster *roster, int64_t now_us, double factor, int64_t least_us);

/* ps_assign_rest gives the first stretch of a worker's run that is not done. */
bool ps_assign_rest(
        const struct ps_open_step *step, const struct ps_run *run, uint32_t *ret_begin, uint32_t *ret_end);

/* ps_assign_learn takes the time of a run that is over into the worker's mean; with exchange early together with the scoring of such a run. */
void ps_assign_learn(struct ps_roster *roster, int worker, int64_t now_us);
/* ps_assign_learn_scoring keeps the time of a run of scoring for the run of training that follows. */
void ps_assign_learn_scoring(struct ps_roster *roster, int worker, int64_t now_us);
