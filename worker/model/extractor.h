#pragma once
/* One modality's extractor, whatever its kind: the switch from the config's kind to vit.h, bert.h or
 * features.h. */
#include "worker/model/bert.h"
#include "worker/model/features.h"
#include "worker/model/vit.h"

struct wk_extractor {
    enum sl_kind kind;
    size_t d;        /* floats of a row of its output */
    int max_items;   /* rows of a sample at most */
    bool pool_first; /* the head reads row 0 of a sample; else the mean of its rows */
    union {
        struct wk_vit vit;
        struct wk_bert bert;
        struct wk_features features;
    };
};

struct wk_extractor_state {
    const float *output; /* (R, d): of the last forward */
    union {
        struct wk_vit_state vit;
        struct wk_bert_state bert;
        struct wk_features_state features;
    };
};

SL_MUST_USE enum sl_status wk_extractor_init(struct wk_extractor *extractor, const struct sl_config *config,
        int modality, const struct sl_layout *layout, struct sl_error *err);
void wk_extractor_fini(struct wk_extractor *extractor);
SL_MUST_USE enum sl_status wk_extractor_state_init(
        struct wk_extractor_state *state, const struct wk_extractor *extractor, struct sl_error *err);
void wk_extractor_state_fini(struct wk_extractor_state *state, const struct wk_extractor *extractor);

/* wk_extractor_plan takes memory for up to `samples` samples. tags: of the backward, 0 when not training. */
void wk_extractor_plan(struct wk_extractor_state *state, const struct wk_extractor *extractor, int samples,
        int tags, struct wk_arena *kept, struct wk_arena *scratch);

/* wk_extractor_forward sets state->output. */
void wk_extractor_forward(
        const struct wk_run *run, const struct wk_extractor *extractor, struct wk_extractor_state *state);

/* wk_extractor_frozen says whether no parameter trains: then backward does not look at dx. */
bool wk_extractor_frozen(const struct wk_extractor *extractor);

/* wk_extractor_backward adds the gradients of all parameters of the extractor that train. Inverts wk_extractor_forward.
 * Shapes: dx (R, d) per tag, stacked. */
void wk_extractor_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_extractor *extractor, struct wk_extractor_state *state, const float *dx);

/* wk_extractor_layers gives the layers of which a backward pass tells one by one; where the parameters of each begin: wk_extractor_layer_begin. Those before the first are the embeddings'. Units: floats. */
int wk_extractor_layers(const struct wk_extractor *extractor);
size_t wk_extractor_layer_begin(const struct wk_extractor *extractor, int layer);

/* wk_extractor_flops: matrix products of a forward (tags 0), or of a backward with so many tags. */
double wk_extractor_flops(const struct wk_extractor *extractor, const struct wk_batch *batch, int tags);
