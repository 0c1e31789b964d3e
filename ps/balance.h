#pragma once
/* What a step's commit does to each extractor: coefficients become factors.
 *
 * With u the gradient of a modality's own loss and f that of the fused loss, both on its extractor, an update is made from
 *
 *     g = unimodal u + fused f        and the step is scaled by `update`
 *
 *     modulation.scale   unimodal   fused   update
 *     unimodal           k          1       1        the method: only the unimodal branch is held back
 *     gradient           k          k       1        the whole gradient, as Kontras et al. do; AdamW with second_moment modulated takes most of it out again
 *     update             1          1       k        the extractor's learning rate, as Yao & Mihalcea, Modality-specific Learning Rates, Findings of ACL 2022
 *
 *     form pareto        weights from the angle between u and f, per extractor; needs no scores:
 *         u . f > 0      unimodal = fused = gamma
 *         else           w_f = (|u|^2 - u . f) / (|u|^2 + |f|^2 - 2 u . f), w_u = 1 - w_f: the shortest w_u u + w_f f, which does not go against either;
 *                        c = max(1, |u + f| / |2 (w_u u + w_f f)|); unimodal = 2 gamma c w_u, fused = 2 gamma c w_f
 *
 * Source of pareto: Wei & Hu, MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance, ICML 2024, algorithm 1; two tasks, so that the shortest point has this
 * closed form (Desideri 2012). Their program rescales each tensor alone; here the norms are the whole extractor's, as in the paper. Where u and f point exactly against each other no direction helps both,
 * and the rescaling would blow up rounding errors: then the sum is left as it is.
 *
 * Heads and the fusion are never touched. Pure.
 */
#include "common/message.h"

#include <stdint.h>

/* Sums over one extractor's gradients. Any common factor of u and f is fine. */
struct ps_angle {
    double dot;               /* u . f */
    double unimodal2, fused2; /* |u|^2, |f|^2 */
};

/* Coefficients by step, from a file (replay.h): study arms that replay or shuffle another run's. Zeroed: none. */
struct ps_replay {
    double *values; /* (steps, modality_count) */
    int64_t steps;  /* the last row holds on after them */
};

/* ps_balance_pareto gives both branches' factors for one extractor. */
void ps_balance_pareto(const struct ps_angle *angle, double gamma, double *ret_unimodal, double *ret_fused);

/* ps_balance_factors sets a commit's factors of every modality, and in coefficients what the record should say: k, or pareto's factor of the unimodal branch.
 * Shapes: coefficients (modality_count,) as from ps_modulation_step, angles (modality_count,). replay: NULL but for form replay. */
void ps_balance_factors(const struct sl_modulation_config *config, int64_t step, int modality_count,
        const struct ps_angle *angles, const struct ps_replay *replay, double *coefficients,
        struct sl_commit *commit);
