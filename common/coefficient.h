#pragma once
/* From scores to ratios to coefficients, for whoever holds scores: the server for a whole global batch (ps/modulation.h), and a worker for one slot
 * where a study asks for that (modulation.statistics: slot). Only formulas, no state.
 *
 *     rho_m = s_m / mean of s_o over the other modalities, sums first
 *
 *     form excess   k_m = 1 - tanh(alpha (rho_m - 1))                      where rho_m > 1, else 1: continuous at balance
 *     form ratio    k_m = 1 - tanh(alpha rho_m)                            where rho_m > 1, else 1: jumps at balance
 *     form mlb      k_m = 1 + (beta_m - 1) tanh(alpha (1 / rho_m - 1))     beta_m = beta_max where rho_m < 1, else 2: the leader is slowed, the follower sped up
 *     others        k_m = 1: their coefficients do not follow from ratios
 *
 * Sources: ratio: Peng et al., Balanced Multimodal Learning via On-the-fly Gradient Modulation, CVPR 2022, eq. 9 and 10. excess: the same with the argument that vanishes
 * at balance, as Wei et al., On-the-fly Modulation for Balanced Multimodal Learning, T-PAMI 2024, eq. 11 has it. mlb: Kontras et al., Improving Multimodal Learning with
 * Multi-Loss Gradient Modulation, BMVC 2024.
 *
 * A modality whose loss has weight 0 has a head that learns nothing, and so a score that says nothing: it is left out, on both sides of the ratio.
 */
#include "common/config.h"

/* What a ratio over others that score (next to) nothing is cut to: tanh is 1 long before. */
#define SL_RATIO_MAX 1e6

/* sl_coefficient is k for one ratio: form, dead zone and floor, without the window. A ratio that is not a number gives 1. */
double sl_coefficient(const struct sl_modulation_config *config, double ratio);

/* sl_coefficient_compares says whether modality m has a ratio: it is scored, and so is another. */
bool sl_coefficient_compares(const struct sl_modulation_config *config, int modality_count, int m);

/* sl_coefficient_others is the mean score of the other scored modalities, added in config order. Needs sl_coefficient_compares (asserted). */
double sl_coefficient_others(
        const struct sl_modulation_config *config, const double *scores, int modality_count, int m);

/* sl_coefficient_ratio is own / others with an answer for nothing at all: 1 for 0 / 0, at most SL_RATIO_MAX. */
double sl_coefficient_ratio(double own, double others);

/* sl_coefficient_of_scores is k of modality m for these scores alone: 1 where it has no ratio. Shapes: scores (modality_count,). */
double sl_coefficient_of_scores(
        const struct sl_modulation_config *config, const double *scores, int modality_count, int m);
