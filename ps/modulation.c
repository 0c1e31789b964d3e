/* Ratios and coefficients: see modulation.h. */
#include "ps/modulation.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

struct ps_modulation_config ps_modulation_from_config(const struct sl_config *config)
{
    struct ps_modulation_config modulation = {
            .form = config->modulation.form,
            .alpha = config->modulation.alpha,
            .statistics = config->modulation.statistics,
            .decay = config->modulation.decay,
            .dead_zone = config->modulation.dead_zone,
            .floor = config->modulation.floor,
            .start = config->modulation.start,
            .end = config->modulation.end,
    };
    return modulation;
}

double ps_modulation_coefficient(const struct ps_modulation_config *config, double ratio)
{
    if (config->form == SL_FORM_NONE || !(ratio > 1.0) || log(ratio) < config->dead_zone)
        return 1.0;
    double x = config->form == SL_FORM_RATIO ? ratio : ratio - 1.0;
    double k = 1.0 - tanh(config->alpha * x);
    return k < config->floor ? config->floor : k;
}

/* divide is numerator / denominator with an answer for nothing at all. */
static double divide(double numerator, double denominator)
{
    if (!(numerator > 0.0))
        return denominator > 0.0 ? 0.0 : 1.0;
    double ratio = denominator > 0.0 ? numerator / denominator : PS_RATIO_MAX;
    return ratio < PS_RATIO_MAX ? ratio : PS_RATIO_MAX;
}

static enum sl_status check_scores(int64_t step, const double *scores, int count, struct sl_error *err)
{
    for (int m = 0; m < count; m++)
        if (!(scores[m] >= 0.0 && isfinite(scores[m])))
            return sl_fail(err, SL_DIVERGED,
                    "step %lld: the score of modality %d is %g: the model's outputs are no longer finite",
                    (long long)step, m, scores[m]);
    return SL_OK;
}

/* mean_of_others adds in config order and leaves m out: scores[0 … m-1], scores[m+1 …]. Subtracting s_m from
 * the total would leave rounding errors where the others are small. */
static double mean_of_others(const double *scores, int count, int m)
{
    double sum = 0.0;
    for (int o = 0; o < count; o++)
        if (o != m)
            sum += scores[o];
    return sum / (count - 1);
}

enum sl_status ps_modulation_step(struct ps_modulation *state, const struct ps_modulation_config *config,
        int64_t step, const double *scores, int modality_count, double *ret_ratios, double *ret_coefficients,
        struct sl_error *err)
{
    assert(modality_count >= 2 && modality_count <= SL_MODALITIES_MAX);
    enum sl_status s = check_scores(step, scores, modality_count, err);
    if (s != SL_OK)
        return s;
    bool mean = config->statistics == SL_STATISTICS_MEAN;
    bool open = step >= config->start && (config->end < 0 || step < config->end);
    for (int m = 0; m < modality_count; m++) {
        double others = mean_of_others(scores, modality_count, m);
        double *numerator = &state->numerator[m], *denominator = &state->denominator[m];
        *numerator = config->decay * *numerator + (1.0 - config->decay) * scores[m];
        *denominator = config->decay * *denominator + (1.0 - config->decay) * others;
        ret_ratios[m] = mean ? divide(*numerator, *denominator) : divide(scores[m], others);
        ret_coefficients[m] = open ? ps_modulation_coefficient(config, ret_ratios[m]) : 1.0;
    }
    state->count++;
    return SL_OK;
}
