#pragma once
/* The `features` extractor: rows that were computed elsewhere (audio, faces, engagement) through linear,
 * GELU, linear, LayerNorm. */
#include "common/layout.h"
#include "worker/model/dropout.h"
#include "worker/model/ffn.h"

struct wk_features {
    int modality;
    struct wk_ffn ffn;
    struct wk_norm_at norm;
    struct wk_dropout dropout; /* of the second linear's output */
};

struct wk_features_state {
    float *u;                          /* (R, d): see ffn.h */
    float *sum, *output, *mean, *rstd; /* (R, d), (R, d), (R,), (R,) */
    uint8_t *mask;
    float *scratch, *g; /* g: (R, d) per tag */
};

void wk_features_init(struct wk_features *features, const struct sl_config *config, int modality,
        const struct sl_layout *layout);

/* wk_features_plan takes memory for up to `rows` rows. tags: of the backward, 0 when not training. */
void wk_features_plan(struct wk_features_state *state, const struct wk_features *features, size_t rows,
        int tags, struct wk_arena *kept, struct wk_arena *scratch);

/* wk_features_forward gives the features of the batch's rows. Shapes: result (R, d). */
const float *wk_features_forward(
        const struct wk_run *run, const struct wk_features *features, struct wk_features_state *state);

/* wk_features_frozen says whether no parameter trains: then backward does not look at dx. */
bool wk_features_frozen(const struct wk_features *features);

/* wk_features_backward adds the gradients of all parameters that train. Inverts wk_features_forward. Shapes: dx (R, d)
 * per tag, stacked. */
void wk_features_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_features *features, struct wk_features_state *state, const float *dx);

/* wk_features_flops: matrix products of a forward, or of a backward with so many tags. */
double wk_features_flops(const struct wk_features *features, const struct wk_batch *batch, int tags);
