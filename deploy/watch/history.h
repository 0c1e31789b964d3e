#pragma once
/* The latest steps of a run as `top` draws them: what came over the socket, and before it what stands in RUN/metrics.jsonl.
 *
 *     dp_history_read(&history, "runs/first/metrics.jsonl", &run);        // a late watcher sees the past too
 *     dp_history_add(&history, step);
 *     dp_history_curve(&history, DP_HISTORY_LOSS, 0, places, values);
 */
#include "common/config.h"
#include "proto/status.pb-c.h"

#define DP_HISTORY_STEPS 4096
#define DP_HISTORY_TAIL (4 << 20) /* bytes of metrics.jsonl that are read, from its end */

enum dp_history_kind { DP_HISTORY_LOSS, DP_HISTORY_RATIO, DP_HISTORY_COEFFICIENT, DP_HISTORY_KINDS };

struct dp_history_step {
    int64_t step;
    float values[DP_HISTORY_KINDS][SL_BRANCHES_MAX]; /* NaN beyond what the run has */
};

/* A ring; zero to begin. */
struct dp_history {
    struct dp_history_step *steps; /* (DP_HISTORY_STEPS,), from the first one on */
    int first, count;
};

void dp_history_fini(struct dp_history *history);
void dp_history_clear(struct dp_history *history);

/* dp_history_add takes a step; steps that are not after the last one take back those from it on: the run was rolled back or resumed. Nothing when memory is out. */
void dp_history_add(struct dp_history *history, const Shelflife__Status__Step *step);

/* dp_history_read adds the steps at the end of a metrics file, if there is one; lines that make no sense are passed over. */
void dp_history_read(struct dp_history *history, const char *path, const Shelflife__Status__Run *run);

/* dp_history_curve spreads the steps over `places` values, means where several fall into one; NaN where none does. */
void dp_history_curve(const struct dp_history *history, enum dp_history_kind kind, int branch, int places,
        double *ret_values);

/* dp_history_range gives the least and the largest finite value of the first `branches` curves; false when there is none. */
bool dp_history_range(const struct dp_history *history, enum dp_history_kind kind, int branches,
        double *ret_low, double *ret_high);
