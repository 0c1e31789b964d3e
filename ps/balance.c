/* Coefficients become factors: see balance.h. */
#include "ps/balance.h"

#include "ps/modulation.h"

#include <assert.h>
#include <math.h>

#define OPPOSITE 1e-6 /* |2 (w_u u + w_f f)|^2 below this share of |u + f|^2: no direction helps both */

void ps_balance_pareto(const struct ps_angle *angle, double gamma, double *ret_unimodal, double *ret_fused)
{
    *ret_unimodal = *ret_fused = gamma;
    if (!(angle->dot <= 0.0 && angle->unimodal2 > 0.0 && angle->fused2 > 0.0))
        return;
    double w_f = (angle->unimodal2 - angle->dot) / (angle->unimodal2 + angle->fused2 - 2.0 * angle->dot);
    double w_u = 1.0 - w_f;
    double shortest2 =
            4.0 * (w_u * w_u * angle->unimodal2 + w_f * w_f * angle->fused2 + 2.0 * w_u * w_f * angle->dot);
    double sum2 = angle->unimodal2 + angle->fused2 + 2.0 * angle->dot;
    if (!(shortest2 > OPPOSITE * sum2))
        return;
    double rescale = sum2 > shortest2 ? sqrt(sum2 / shortest2) : 1.0;
    *ret_unimodal = 2.0 * gamma * rescale * w_u;
    *ret_fused = 2.0 * gamma * rescale * w_f;
}

/* The coefficient of the forms whose coefficients do not follow from this step's scores. */
static double given(const struct sl_modulation_config *config, int64_t step, int modality_count, int m,
        const struct ps_replay *replay)
{
    if (config->form == SL_FORM_CONSTANT)
        return config->constant.values[m];
    assert(replay != NULL && replay->steps > 0);
    int64_t row = step < replay->steps ? step : replay->steps - 1;
    return replay->values[row * modality_count + m];
}

void ps_balance_factors(const struct sl_modulation_config *config, int64_t step, int modality_count,
        const struct ps_angle *angles, const struct ps_replay *replay, double *coefficients,
        struct sl_commit *commit)
{
    bool open = ps_modulation_open(config, step);
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        commit->coefficient[m] = commit->fused[m] = commit->update[m] = 1.0;
        if (m >= modality_count || !open || config->statistics == SL_STATISTICS_SLOT)
            continue; /* by slot: what arrives is modulated already */
        if (config->form == SL_FORM_PARETO) {
            ps_balance_pareto(&angles[m], config->gamma, &commit->coefficient[m], &commit->fused[m]);
            coefficients[m] = commit->coefficient[m];
            continue;
        }
        if (config->form == SL_FORM_CONSTANT || config->form == SL_FORM_REPLAY)
            coefficients[m] = given(config, step, modality_count, m, replay);
        double k = coefficients[m];
        if (config->scale == SL_SCALE_UPDATE)
            commit->update[m] = k;
        else
            commit->coefficient[m] = k;
        if (config->scale == SL_SCALE_GRADIENT)
            commit->fused[m] = k;
    }
}
