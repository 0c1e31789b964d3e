#pragma once
/* What a model says of one sample: a label and probabilities for each branch; and the expiry time that follows from it.
 *
 *     wk_model_forward(…, workspace, &stats);
 *     dp_prediction_take(&prediction, workspace, config, 0);
 *     dp_prediction_json(&json, config, &prediction, published_s);      // "label":"day","probability":0.98,…
 *
 * Who shows it in whatever form takes it from here, so that `predict` and `serve` say the same to the bit.
 */
#include "common/clock.h"
#include "common/config.h"
#include "common/json.h"
#include "worker/model/model.h"

#include <stdbool.h>

/* By branch: the modalities in the config's order, then the fused one. */
struct dp_prediction {
    int label[SL_BRANCHES_MAX];
    float probabilities[SL_BRANCHES_MAX][SL_LABELS_MAX]; /* (branches, K) */
};

/* dp_prediction_take makes it from the logits of the last forward, of one of its samples. */
void dp_prediction_take(struct dp_prediction *ret_prediction, const struct wk_workspace *workspace,
        const struct sl_config *config, int sample);

/* dp_expiry gives publication + duration; false when the label never expires or the publication time is not known (INT64_MIN). Units: seconds of unix time. */
bool dp_expiry(int64_t *ret_expires_s, const struct sl_label_config *label, int64_t published_s);
/* dp_expiry_text is the same as text, "" for none. */
void dp_expiry_text(char text[SL_TIME_TEXT_MAX], const struct sl_label_config *label, int64_t published_s);

/* dp_prediction_json writes the members of an object that is open. */
void dp_prediction_json(struct sl_json *json, const struct sl_config *config,
        const struct dp_prediction *prediction, int64_t published_s);
