/* What a model says of one sample: see prediction.h. */
#include "deploy/scoring/prediction.h"

#include <math.h>

static void softmax(const float *logits, float *probabilities, int count, int *ret_best)
{
    double sum = 0.0;
    *ret_best = 0;
    for (int k = 1; k < count; k++)
        if (logits[k] > logits[*ret_best])
            *ret_best = k;
    for (int k = 0; k < count; k++)
        sum += exp((double)logits[k] - (double)logits[*ret_best]);
    for (int k = 0; k < count; k++)
        probabilities[k] = (float)(exp((double)logits[k] - (double)logits[*ret_best]) / sum);
}

void dp_prediction_take(struct dp_prediction *ret_prediction, const struct wk_workspace *workspace,
        const struct sl_config *config, int sample)
{
    for (int b = 0; b <= config->modality_count; b++)
        softmax(wk_model_logits(workspace, b) + (size_t)sample * (size_t)config->label_count,
                ret_prediction->probabilities[b], config->label_count, &ret_prediction->label[b]);
}

bool dp_expiry(int64_t *ret_expires_s, const struct sl_label_config *label, int64_t published_s)
{
    return label->duration_s != SL_DURATION_INFINITE && published_s != INT64_MIN &&
           !__builtin_add_overflow(published_s, label->duration_s, ret_expires_s);
}

void dp_expiry_text(char text[SL_TIME_TEXT_MAX], const struct sl_label_config *label, int64_t published_s)
{
    struct sl_error ignored = {0};
    int64_t at = 0;
    text[0] = 0;
    if (dp_expiry(&at, label, published_s))
        (void)!sl_time_format(text, SL_TIME_TEXT_MAX, at, &ignored);
}

void dp_prediction_json(struct sl_json *json, const struct sl_config *config,
        const struct dp_prediction *prediction, int64_t published_s)
{
    int fused = config->modality_count;
    const struct sl_label_config *label = &config->labels[prediction->label[fused]];
    char expires[SL_TIME_TEXT_MAX];
    dp_expiry_text(expires, label, published_s);
    sl_json_string(json, "label", label->name);
    sl_json_float(json, "probability", prediction->probabilities[fused][prediction->label[fused]]);
    if (label->duration_s == SL_DURATION_INFINITE)
        sl_json_null(json, "duration_s");
    else
        sl_json_int(json, "duration_s", label->duration_s);
    sl_json_bool(json, "evergreen", label->duration_s == SL_DURATION_INFINITE);
    sl_json_string(json, "expires", expires[0] != 0 ? expires : NULL);
    sl_json_object(json, "branches");
    for (int b = 0; b <= fused; b++) {
        sl_json_object(json, sl_config_branch_name(config, b));
        sl_json_string(json, "label", config->labels[prediction->label[b]].name);
        sl_json_object(json, "probabilities");
        for (int k = 0; k < config->label_count; k++)
            sl_json_float(json, config->labels[k].name, prediction->probabilities[b][k]);
        sl_json_end(json);
        sl_json_end(json);
    }
    sl_json_end(json);
}
