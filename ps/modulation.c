/* Ratios and coefficients over steps: see modulation.h. */
#include "ps/modulation.h"

#include <assert.h>
#include <math.h>

static enum sl_status check_scores(int64_t step, const double *scores, int count, struct sl_error *err)
{
    for (int m = 0; m < count; m++)
        if (!(scores[m] >= 0.0 && isfinite(scores[m])))
            return sl_fail(err, SL_DIVERGED,
                    "step %lld: the score of modality %d is %g: the model's outputs are no longer finite",
                    (long long)step, m, scores[m]);
    return SL_OK;
}

bool ps_modulation_open(const struct sl_modulation_config *config, int64_t step)
{
    return step >= config->start && (config->end < 0 || step < config->end);
}

bool ps_modulation_foregone(const struct sl_modulation_config *config, int64_t step)
{
    bool from_ratios =
            config->form == SL_FORM_EXCESS || config->form == SL_FORM_RATIO || config->form == SL_FORM_MLB;
    return !from_ratios || !ps_modulation_open(config, step);
}

void ps_modulation_expect(const struct ps_modulation *state, const struct sl_modulation_config *config,
        int64_t step, int modality_count, double *ret_coefficients)
{
    for (int m = 0; m < modality_count; m++) {
        bool known = state->count > 0 && sl_coefficient_compares(config, modality_count, m);
        ret_coefficients[m] = 1.0;
        if (known && ps_modulation_open(config, step))
            ret_coefficients[m] =
                    sl_coefficient(config, sl_coefficient_ratio(state->numerator[m], state->denominator[m]));
    }
}

enum sl_status ps_modulation_step(struct ps_modulation *state, const struct sl_modulation_config *config,
        int64_t step, const double *scores, int modality_count, double *ret_ratios, double *ret_coefficients,
        struct sl_error *err)
{
    assert(modality_count >= 2 && modality_count <= SL_MODALITIES_MAX);
    enum sl_status s = check_scores(step, scores, modality_count, err);
    if (s != SL_OK)
        return s;
    bool mean = config->statistics == SL_STATISTICS_MEAN, open = ps_modulation_open(config, step);
    for (int m = 0; m < modality_count; m++) {
        ret_ratios[m] = ret_coefficients[m] = 1.0;
        if (!sl_coefficient_compares(config, modality_count, m))
            continue;
        double others = sl_coefficient_others(config, scores, modality_count, m);
        double *numerator = &state->numerator[m], *denominator = &state->denominator[m];
        *numerator = config->decay * *numerator + (1.0 - config->decay) * scores[m];
        *denominator = config->decay * *denominator + (1.0 - config->decay) * others;
        ret_ratios[m] = mean ? sl_coefficient_ratio(*numerator, *denominator)
                             : sl_coefficient_ratio(scores[m], others);
        if (open)
            ret_coefficients[m] = sl_coefficient(config, ret_ratios[m]);
    }
    state->count++;
    return SL_OK;
}
