#pragma once
/* The heart of the method: how strongly each modality's unimodal branch may pull its extractor in this step. common/coefficient.h has the formulas;
 * here are the statistics over steps and the window around them.
 *
 * Scores are sums over the whole global batch. What the coefficients then scale is decided in balance.h. Pure: same state and scores, same bits; no clock, no file.
 *
 *     ps_modulation_step(&state, &config->modulation, step, stats.score, modalities, ratios, coefficients, err);
 *
 * Statistics `mean` keep exponential means over steps of every s_m and of every mean over the others apart,
 * and divide the means: a mean of ratios would let one near-empty denominator rule for many steps. Both means
 * start at 0 and decay alike, so that their ratio needs no correction for the start.
 */
#include "common/coefficient.h"
#include "common/error.h"

#include <stdint.h>

/* What lives from step to step and goes into snapshots. Plain data: zeroed to begin. */
struct ps_modulation {
    int64_t count;                         /* steps that were averaged */
    double numerator[SL_MODALITIES_MAX];   /* exponential mean of s_m */
    double denominator[SL_MODALITIES_MAX]; /* exponential mean of the mean of the others */
};

/* ps_modulation_step takes the scores of one step's global batch and gives ratios and coefficients. Shapes:
 * scores, ret_ratios, ret_coefficients (modality_count,), modality_count in [2, SL_MODALITIES_MAX]. Outside
 * the window, and with forms that do not follow from ratios, ratios and means go on and coefficients are 1. Others that score nothing at
 * all: the ratio is SL_RATIO_MAX, or 1 when the modality itself scores nothing either. A modality that is not scored (loss weight 0), or alone is: ratio
 * and coefficient are 1. Errors: DIVERGED for a
 * score that is not finite or is negative; then the state is as before and nothing is written. */
SL_MUST_USE enum sl_status ps_modulation_step(struct ps_modulation *state,
        const struct sl_modulation_config *config, int64_t step, const double *scores, int modality_count,
        double *ret_ratios, double *ret_coefficients, struct sl_error *err);

/* ps_modulation_open says whether a step lies in the window in which coefficients apply. */
bool ps_modulation_open(const struct sl_modulation_config *config, int64_t step);

/* ps_modulation_foregone says whether the scores of a step do not matter for its coefficients: outside the window, and with forms that do not follow from ratios. */
bool ps_modulation_foregone(const struct sl_modulation_config *config, int64_t step);

/* ps_modulation_expect gives what ps_modulation_step would, but from the means of the steps before alone: for exchange early where steps overlap and nobody waits for scores. 1 before the first. Shapes as
 * ps_modulation_step. */
void ps_modulation_expect(const struct ps_modulation *state, const struct sl_modulation_config *config,
        int64_t step, int modality_count, double *ret_coefficients);
