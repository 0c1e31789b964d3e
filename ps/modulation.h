#pragma once
/* The heart of the method: how strongly each modality's unimodal branch may pull its extractor in this step.
 *
 *     rho_m = s_m / mean of s_o over the other modalities
 *     k_m   = 1                            where rho_m <= 1
 *             1 - tanh(alpha (rho_m - 1))  where rho_m > 1, form excess (continuous at balance)
 *             1 - tanh(alpha rho_m)        where rho_m > 1, form ratio (as OGM, CVPR 2022: jumps at balance)
 *
 * Scores are sums over the whole global batch. Only the unimodal branch on extractors is scaled by k; heads,
 * the fused branch and the fusion are not (docs/design.md says why). Pure: same state and scores, same bits;
 * no clock, no file.
 *
 *     ps_modulation_step(&state, &config->modulation…, step, stats.score, ratios, coefficients);
 *
 * Statistics `mean` keep exponential means over steps of every s_m and of every mean over the others apart,
 * and divide the means: a mean of ratios would let one near-empty denominator rule for many steps. Both means
 * start at 0 and decay alike, so that their ratio needs no correction for the start.
 */
#include "common/config.h"
#include "common/error.h"

#include <stdint.h>

/* What a ratio over others that score (next to) nothing is cut to: tanh is 1 long before. */
#define PS_RATIO_MAX 1e6

struct ps_modulation_config {
    enum sl_modulation_form form;
    double alpha;
    enum sl_statistics statistics;
    double decay;       /* of the exponential means, for SL_STATISTICS_MEAN: in [0, 1) */
    double dead_zone;   /* k = 1 where |ln rho| < dead_zone */
    double floor;       /* least k */
    int64_t start, end; /* steps [start, end) in which k applies; end -1 = none */
};

/* What lives from step to step and goes into snapshots. Plain data: zeroed to begin. */
struct ps_modulation {
    int64_t count;                         /* steps that were averaged */
    double numerator[SL_MODALITIES_MAX];   /* exponential mean of s_m */
    double denominator[SL_MODALITIES_MAX]; /* exponential mean of the mean of the others */
};

/* ps_modulation_from_config takes the modulation part of a config. */
struct ps_modulation_config ps_modulation_from_config(const struct sl_config *config);

/* ps_modulation_step takes the scores of one step's global batch and gives ratios and coefficients. Shapes:
 * scores, ret_ratios, ret_coefficients (modality_count,), modality_count in [2, SL_MODALITIES_MAX]. Outside
 * the window, and with form none, ratios and means go on and coefficients are 1. Others that score nothing at
 * all: the ratio is PS_RATIO_MAX, or 1 when the modality itself scores nothing either. Errors: DIVERGED for a
 * score that is not finite or is negative; then the state is as before and nothing is written. */
SL_MUST_USE enum sl_status ps_modulation_step(struct ps_modulation *state,
        const struct ps_modulation_config *config, int64_t step, const double *scores, int modality_count,
        double *ret_ratios, double *ret_coefficients, struct sl_error *err);

/* ps_modulation_coefficient is k for one ratio: form, dead zone and floor, without the window. */
double ps_modulation_coefficient(const struct ps_modulation_config *config, double ratio);
