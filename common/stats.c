/* Sums over slots: see stats.h. */
#include "common/stats.h"

#include <math.h>

void sl_step_stats_add(struct sl_step_stats *sum, const struct sl_step_stats *x)
{
    sum->count += x->count;
    sum->weight_sum += x->weight_sum;
    for (int b = 0; b < SL_BRANCHES_MAX; b++) {
        sum->loss[b] += x->loss[b];
        sum->correct[b] += x->correct[b];
    }
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        sum->score[m] += x->score[m];
        sum->coefficient[m] += x->coefficient[m];
    }
}

bool sl_step_stats_finite(const struct sl_step_stats *stats)
{
    bool finite = isfinite(stats->weight_sum);
    for (int b = 0; b < SL_BRANCHES_MAX; b++)
        finite = finite && isfinite(stats->loss[b]);
    for (int m = 0; m < SL_MODALITIES_MAX; m++)
        finite = finite && isfinite(stats->score[m]) && isfinite(stats->coefficient[m]);
    return finite;
}
