#pragma once
/* The latest steps of a run as `top` draws them: what came over the socket, and before it what stands in RUN/metrics.jsonl.
 *
 *     dp_trail_read(&trail, "runs/first/metrics.jsonl", &run);        // a late watcher sees the past too
 *     dp_trail_add(&trail, step);
 *     dp_trail_curve(&trail, DP_TRAIL_LOSS, 0, places, values);
 */
#include "common/config.h"
#include "proto/status.pb-c.h"

#define DP_TRAIL_STEPS 4096
#define DP_TRAIL_TAIL (4 << 20) /* bytes of metrics.jsonl that are read, from its end */

/* UPDATE: what a step changed of the branch's own parameters, as a share of them (norms). */
enum dp_trail_kind { DP_TRAIL_LOSS, DP_TRAIL_RATIO, DP_TRAIL_COEFFICIENT, DP_TRAIL_UPDATE, DP_TRAIL_KINDS };

struct dp_trail_step {
    int64_t step;
    float values[DP_TRAIL_KINDS][SL_BRANCHES_MAX]; /* NaN beyond what the run has */
};

/* A ring; zero to begin. */
struct dp_trail {
    struct dp_trail_step *steps; /* (DP_TRAIL_STEPS,), from the first one on */
    int first, count;
};

void dp_trail_fini(struct dp_trail *trail);
void dp_trail_clear(struct dp_trail *trail);

/* dp_trail_add takes a step; steps that are not after the last one take back those from it on: the run was rolled back or resumed. Nothing when memory is out. */
void dp_trail_add(struct dp_trail *trail, const Shelflife__Status__Step *step);

/* dp_trail_read adds the steps at the end of a metrics file, if there is one; lines that make no sense are passed over. */
void dp_trail_read(struct dp_trail *trail, const char *path, const Shelflife__Status__Run *run);

/* dp_trail_curve spreads the steps over `places` values, means where several fall into one; NaN where none does. */
void dp_trail_curve(
        const struct dp_trail *trail, enum dp_trail_kind kind, int branch, int places, double *ret_values);

/* dp_trail_range gives the least and the largest finite value of the first `branches` curves; false when there is none. */
bool dp_trail_range(const struct dp_trail *trail, enum dp_trail_kind kind, int branches, double *ret_low,
        double *ret_high);
