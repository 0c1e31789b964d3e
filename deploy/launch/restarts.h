#pragma once
/* When a launcher starts a process again, and when it gives up. The numbers are pure; dp_newest_step reads a file.
 *
 *     if (dp_restart_worthwhile(exit_code) && dp_restarts_plan(&restarts, dp_newest_step(run), now))
 *         … at restarts.due_us: dp_restarts_begin(&restarts, now), and start it …
 *
 * A life was fruitful if the run has reached steps that it had never reached before, as metrics.jsonl tells: one step is enough in a long life, DP_FRUITFUL_STEPS are wanted
 * of one that was shorter than DP_SOON_US: who always dies a step or two after it came does not bring the run to its end. A process that dies more than
 * DP_FRUITLESS_MAX times without a fruitful life in between will die again: giving up says so. The first restart comes at once; who dies soon after is started again
 * after pauses that double.
 */
#include <stdbool.h>
#include <stdint.h>

#define DP_FRUITLESS_MAX 3
#define DP_FRUITFUL_STEPS 10
#define DP_SOON_US 10000000 /* a life that was shorter died soon */
#define DP_PAUSE_MIN_US 250000
#define DP_PAUSE_MAX_US 30000000

/* All zero to begin. Fields are for reading only, but for over. */
struct dp_restarts {
    int fruitless;    /* in a row */
    int64_t step;     /* the newest one at the last death */
    int64_t begun_us; /* of the last restart, 0 = none yet */
    int64_t pause_us, due_us;
    bool planned; /* for due_us */
    bool over;    /* it has ended for good */
};

/* dp_restart_worthwhile: exit codes as a shell gives them. Those from 128 on are signals, stops with a snapshot, and lost clusters. */
bool dp_restart_worthwhile(int exit_code);
/* dp_restarts_plan notes a death and sets due_us; false = give up. newest_step: -1 when it is not known. */
bool dp_restarts_plan(struct dp_restarts *restarts, int64_t newest_step, int64_t now_us);
void dp_restarts_begin(struct dp_restarts *restarts, int64_t now_us);

/* dp_newest_step reads the last step in RUN/metrics.jsonl, -1 when there is none. */
int64_t dp_newest_step(const char *run);
