/* Ratios and coefficients: see coefficient.h. */
#include "common/coefficient.h"

#include <assert.h>
#include <math.h>

static double form_excess(const struct sl_modulation_config *config, double ratio)
{
    return ratio > 1.0 ? 1.0 - tanh(config->alpha * (ratio - 1.0)) : 1.0;
}

static double form_ratio(const struct sl_modulation_config *config, double ratio)
{
    return ratio > 1.0 ? 1.0 - tanh(config->alpha * ratio) : 1.0;
}

/* Works on the inverse, r: what the others score for each of its own. */
static double form_mlb(const struct sl_modulation_config *config, double ratio)
{
    double inverse = ratio > 1.0 / SL_RATIO_MAX ? 1.0 / ratio : SL_RATIO_MAX;
    double beta = inverse > 1.0 ? config->beta_max : 2.0;
    return 1.0 + (beta - 1.0) * tanh(config->alpha * (inverse - 1.0));
}

double sl_coefficient(const struct sl_modulation_config *config, double ratio)
{
    double k = 1.0;
    if (isnan(ratio) || (ratio > 0.0 && fabs(log(ratio)) < config->dead_zone))
        return 1.0;
    switch (config->form) {
    case SL_FORM_EXCESS:
        k = form_excess(config, ratio);
        break;
    case SL_FORM_RATIO:
        k = form_ratio(config, ratio);
        break;
    case SL_FORM_MLB:
        k = form_mlb(config, ratio);
        break;
    case SL_FORM_PARETO:
    case SL_FORM_CONSTANT:
    case SL_FORM_REPLAY:
    case SL_FORM_NONE:
        return 1.0;
    }
    return k < config->floor ? config->floor : k;
}

bool sl_coefficient_compares(const struct sl_modulation_config *config, int modality_count, int m)
{
    bool other = false;
    for (int o = 0; o < modality_count; o++)
        other = other || (o != m && !config->unscored[o]);
    return other && !config->unscored[m];
}

/* Subtracting s_m from the total would leave rounding errors where the others are small. */
double sl_coefficient_others(
        const struct sl_modulation_config *config, const double *scores, int modality_count, int m)
{
    assert(sl_coefficient_compares(config, modality_count, m));
    double sum = 0.0;
    int others = 0;
    for (int o = 0; o < modality_count; o++) {
        if (o == m || config->unscored[o])
            continue;
        sum += scores[o];
        others++;
    }
    return sum / others;
}

double sl_coefficient_ratio(double own, double others)
{
    if (!(own > 0.0))
        return others > 0.0 ? 0.0 : 1.0;
    double ratio = others > 0.0 ? own / others : SL_RATIO_MAX;
    return ratio < SL_RATIO_MAX ? ratio : SL_RATIO_MAX;
}

double sl_coefficient_of_scores(
        const struct sl_modulation_config *config, const double *scores, int modality_count, int m)
{
    if (!sl_coefficient_compares(config, modality_count, m))
        return 1.0;
    double others = sl_coefficient_others(config, scores, modality_count, m);
    return sl_coefficient(config, sl_coefficient_ratio(scores[m], others));
}
