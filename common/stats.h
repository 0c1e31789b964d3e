#pragma once
/* What a run of slots adds to a step besides gradients: sums of losses, scores and hits. Workers send them,
 * the coordinator joins them by the same tree as gradients (doubles have an order of addition too), and
 * modulation reads the scores.
 *
 * Branches are modalities in config order, then the fused one.
 */
#include "common/config.h"

#include <stdbool.h>
#include <stdint.h>

struct sl_step_stats {
    int count;                    /* samples */
    double weight_sum;            /* of class weights: what losses and gradients are divided by in the end */
    double loss[SL_BRANCHES_MAX]; /* sums of (class-weighted, smoothed) cross-entropies, not yet times
                                     loss.weight */
    double score[SL_MODALITIES_MAX];  /* sums of softmax(logits_m)[y] */
    int64_t correct[SL_BRANCHES_MAX]; /* argmax == label */
    double coefficient
            [SL_MODALITIES_MAX]; /* modulation.statistics slot: sums over samples of their slot's k; else 0 */
};

/* sl_step_stats_add does sum += x, field by field. */
void sl_step_stats_add(struct sl_step_stats *sum, const struct sl_step_stats *x);

/* sl_step_stats_finite says whether every sum is a finite number. */
bool sl_step_stats_finite(const struct sl_step_stats *stats);
