#pragma once
/* The `vit` extractor: each frame through a ViT (Dosovitskiy et al. 2021) of its own, its [CLS] after the
 * final norm, and a learned temporal embedding by the frame's position. Frames are packed: R frames of all
 * samples, N = P + 1 rows each, [CLS] first. Only [CLS] rows pass the last layer's feed-forward: nothing
 * reads the others. */
#include "worker/model/encoder.h"

struct wk_vit {
    struct wk_encoder encoder;
    int modality;
    size_t patches, patch_floats;            /* P; 3 * patch * patch */
    struct wk_place cls, position, temporal; /* (d,), (N, d), (frames, d) */
    struct wk_linear_at patch;               /* the convolution as a matrix (d, 3 * patch * patch) */
};

struct wk_vit_state {
    struct wk_encoder_state encoder;
    int *offset;    /* (R + 1,): first row of each frame */
    float *output;  /* (R, d) */
    float *scratch; /* patch rows of some frames */
};

SL_MUST_USE enum sl_status wk_vit_init(struct wk_vit *vit, const struct sl_config *config, int modality,
        const struct sl_layout *layout, struct sl_error *err);
void wk_vit_fini(struct wk_vit *vit);

/* wk_vit_plan takes memory for up to `frames` frames. tags: of the backward, 0 when not training. */
void wk_vit_plan(struct wk_vit_state *state, const struct wk_vit *vit, size_t frames, int tags,
        struct wk_arena *kept, struct wk_arena *scratch);

/* wk_vit_forward gives the features of the batch's frames. Shapes: result (R, d). */
const float *wk_vit_forward(const struct wk_run *run, const struct wk_vit *vit, struct wk_vit_state *state);

/* wk_vit_frozen says whether no parameter trains: then backward does not look at dx. */
bool wk_vit_frozen(const struct wk_vit *vit);

/* wk_vit_backward adds the gradients of all parameters that train. Inverts wk_vit_forward. Shapes: dx (R, d) per tag,
 * stacked. */
void wk_vit_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_vit *vit,
        struct wk_vit_state *state, const float *dx);

/* wk_vit_flops: matrix products of a forward, or of a backward with so many tags. */
double wk_vit_flops(const struct wk_vit *vit, const struct wk_batch *batch, int tags);
