#pragma once
/* The fusion: each modality's features projected to a common width; N layers in which each modality's tokens
 * attend to the tokens of all OTHER modalities (in config order), then a feed-forward, both pre-norm with
 * residuals; at the end a LayerNorm and a mean per modality, side by side into one linear layer.
 *
 *     x[m]  = project(features[m])
 *     z[m]  = x[m] + attention(LN_query(x[m]), LN_context(x[others of m]))
 *     x'[m] = z[m] + ffn(LN_ffn(z[m]))                            all streams read the layer's inputs
 *
 * It belongs to the fused branch alone, so its backward carries one tag. Dropout: of projection, attention
 * and feed-forward outputs.
 */
#include "common/layout.h"
#include "worker/model/attention.h"
#include "worker/model/dropout.h"
#include "worker/model/ffn.h"

struct wk_fusion_stream {
    struct wk_norm_at norm_query, norm_context, norm_ffn;
    struct wk_linear_at query, key_value, out; /* key_value: (2 d, d) */
    struct wk_ffn ffn;
};

struct wk_fusion {
    int modalities, layers, heads;
    size_t d, classes;
    size_t width[SL_MODALITIES_MAX]; /* of each modality's features */
    int max_items[SL_MODALITIES_MAX];
    struct wk_linear_at project[SL_MODALITIES_MAX], head;
    struct wk_norm_at norm[SL_MODALITIES_MAX];
    struct wk_fusion_stream *stream; /* (layers, modalities) */
    float dropout;
};

/* Activations of one modality in one layer; R: its rows, C: rows of all others. */
struct wk_fusion_node {
    float *x;                                             /* (R, d): the layer's input */
    float *query_in, *query_mean, *query_rstd, *q;        /* (R, d), (R,), (R,), (R, d) */
    float *context_in, *context_mean, *context_rstd, *kv; /* (C, d), (C,), (C,), (C, 2 d) */
    float *probs, *context, *z, *hz, *z_mean, *z_rstd, *u;
    uint8_t *mask_attention, *mask_ffn;
};

struct wk_fusion_state {
    struct wk_fusion_node *node; /* (layers + 1, modalities): of the last only x */
    uint8_t *mask_projection[SL_MODALITIES_MAX];
    int *context_offset[SL_MODALITIES_MAX]; /* (B + 1,): rows of the others, sample by sample */
    float *normed[SL_MODALITIES_MAX], *mean[SL_MODALITIES_MAX], *rstd[SL_MODALITIES_MAX]; /* the final norm */
    float *pooled;                                                                        /* (B, M d) */
    float *scratch, *dpooled;                                                             /* (B, M d) */
    float *g[SL_MODALITIES_MAX], *next[SL_MODALITIES_MAX]; /* backward: (R, d) each */
    float *dq, *dkv, *dcontext, *d; /* backward of one stream: (R, d), (C, 2 d), (R, d), (R or C, d) */
};

SL_MUST_USE enum sl_status wk_fusion_init(struct wk_fusion *fusion, const struct sl_config *config,
        const struct sl_layout *layout, const int *max_items, struct sl_error *err);
void wk_fusion_fini(struct wk_fusion *fusion);
SL_MUST_USE enum sl_status wk_fusion_state_init(
        struct wk_fusion_state *state, const struct wk_fusion *fusion, struct sl_error *err);
void wk_fusion_state_fini(struct wk_fusion_state *state);

/* wk_fusion_plan takes memory for up to `samples` samples. */
void wk_fusion_plan(struct wk_fusion_state *state, const struct wk_fusion *fusion, int samples, bool training,
        struct wk_arena *kept, struct wk_arena *scratch);

/* wk_fusion_forward computes the fused logits from the features of all modalities. Shapes: logits (B, K),
 * features[m] (R_m, width_m). */
void wk_fusion_forward(const struct wk_run *run, const struct wk_fusion *fusion,
        struct wk_fusion_state *state, float *logits, const float *const features[]);

/* wk_fusion_backward adds the gradients of the fusion's parameters into the one tag and writes those of the
 * features into dfeatures[m], NULL = not needed. Inverts wk_fusion_forward. Shapes: dlogits (B, K), dfeatures[m] (R_m, width_m).
 */
void wk_fusion_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_fusion *fusion,
        struct wk_fusion_state *state, float *const dfeatures[], const float *dlogits,
        const float *const features[]);

/* wk_fusion_layer_begin is where the parameters of a layer begin; those behind the last one are the norms'. Units: floats. */
size_t wk_fusion_layer_begin(const struct wk_fusion *fusion, int l);

/* wk_fusion_flops: matrix products of a forward (needed NULL), or of a backward that gives the gradients of those modalities' features that are needed. */
double wk_fusion_flops(const struct wk_fusion *fusion, const struct wk_batch *batch, const bool needed[]);
