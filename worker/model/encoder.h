#pragma once
/* A stack of transformer layers over ragged segments, for ViT (pre-norm) and BERT (post-norm), forward and
 * backward.
 *
 * Both are the same chain; only where a residual starts differs. Node l stands before layer l, node `layers`
 * after the last:
 *
 *     h[l]     = LayerNorm(sum[l])                                      sum[0]: the embeddings
 *     mid[l]   = from[l]    + attention(h[l])                           from[l]    = sum[l] (pre-norm) or h[l] (post-norm)
 *     hmid[l]  = LayerNorm(mid[l])
 *     sum[l+1] = frommid[l] + ffn(hmid[l])                              frommid[l] = mid[l] (pre-norm) or hmid[l] (post-norm)
 *
 * The norm of node l is layer l's first one in a pre-norm stack (the final norm at l = layers), and in a
 * post-norm stack the norm at the end of layer l − 1 (that of the embeddings at l = 0). The output is
 * h[layers].
 *
 * Where only the first row of each segment is wanted from the last layer (ViT's [CLS]), `first_only` computes
 * queries, feed-forward and output for these rows alone, and no keys and values (single_query.h): segments must then be `period` rows each,
 * and the stack pre-norm.
 */
#include "common/layout.h"
#include "worker/model/attention.h"
#include "worker/model/dropout.h"
#include "worker/model/ffn.h"
#include "worker/model/single_query.h"

struct wk_encoder_layer {
    size_t begin; /* of its parameters, which follow each other */
    struct wk_linear_at qkv, out;
    struct wk_norm_at mid;
    struct wk_ffn ffn;
};

struct wk_encoder {
    size_t d;
    int heads, layers;
    bool pre_norm, first_only;
    size_t period;     /* rows of each segment with first_only */
    size_t per_item;   /* rows per item of the batch's input: for dropout */
    size_t max_length; /* rows of the longest segment */
    struct wk_dropout dropout;
    int lowest; /* place from which on something trains, in the order of the forward pass: see encoder.c. Below 0: the input has a gradient */
    struct wk_encoder_layer *layer; /* (layers,) */
    struct wk_norm_at *node;        /* (layers + 1,) */
};

/* Activations of one node and of the layer after it. */
struct wk_encoder_node {
    float *sum, *h, *mean, *rstd;
    float *qkv; /* (R, 3 d); with first_only in the last layer (R / period, wk_single_query_floats) */
    float *probs, *context, *mid, *hmid, *mean_mid, *rstd_mid, *u;
    uint8_t *mask_attention, *mask_ffn;
};

struct wk_encoder_state {
    struct wk_encoder_node *node; /* (layers + 1,) */
    uint8_t *mask_embedding;
    float *scratch;                 /* of the feed-forward; in backward also of attention */
    float *g, *d, *dqkv, *dcontext; /* backward: gradients per tag, see encoder.c */
    const int *offset;              /* (segments + 1,) rows: set by each forward */
    const int *item_offset;         /* (B + 1,) items of each sample: set by each forward */
    int segments;
    size_t rows; /* of this batch */
};

/* wk_encoder_init fills layer and node from names. prefix is everything before the layer's number; the names
 * are those of HF's ViT with pre_norm, else of its BERT. The other fields must be set. Errors: NO_MEMORY;
 * USAGE without a layer. */
SL_MUST_USE enum sl_status wk_encoder_init(struct wk_encoder *encoder, const struct sl_layout *layout,
        const char *prefix, size_t mlp, struct sl_error *err);
void wk_encoder_fini(struct wk_encoder *encoder);

/* wk_encoder_find_lowest is called when all of layer and node are set; input_frozen: nothing that node[0].sum comes from trains. */
void wk_encoder_find_lowest(struct wk_encoder *encoder, bool input_frozen);
/* wk_encoder_frozen says whether nothing trains, the input included: then backward does not look at dh. */
bool wk_encoder_frozen(const struct wk_encoder *encoder);

SL_MUST_USE enum sl_status wk_encoder_state_init(
        struct wk_encoder_state *state, const struct wk_encoder *encoder, struct sl_error *err);
void wk_encoder_state_fini(struct wk_encoder_state *state);

/* wk_encoder_plan takes memory for up to `rows` rows: what must last from kept, what
 * may be overwritten after the encoder is done from scratch. tags: of the backward, 0 when not training. */
void wk_encoder_plan(struct wk_encoder_state *state, const struct wk_encoder *encoder, size_t rows, int tags,
        struct wk_arena *kept, struct wk_arena *scratch);

/* wk_encoder_forward computes from state->node[0].sum, which the caller has filled, to h[layers], which it
 * returns. offset: rows of the segments; item_offset: items of the samples, for dropout. Both are borrowed
 * until backward is done. Shapes: result (R, d), or (segments, d) with first_only. */
const float *wk_encoder_forward(const struct wk_run *run, const struct wk_encoder *encoder,
        struct wk_encoder_state *state, const int *offset, int segments, const int *item_offset);

/* wk_encoder_backward takes the gradient of the result in dh and returns that of node[0].sum, in the state's
 * scratch, or NULL where nothing before it trains: the pass ends at the lowest place that does. Inverts wk_encoder_forward. Shapes: dh as the result, return (R, d), per tag, stacked. */
float *wk_encoder_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_encoder *encoder, struct wk_encoder_state *state, const float *dh);

/* wk_encoder_flops counts the matrix products of a forward (tags 0), or of a backward with so many tags, over `rows` rows, whose segments' squared
 * lengths add up to squares. */
double wk_encoder_flops(const struct wk_encoder *encoder, size_t rows, double squares, int tags);
