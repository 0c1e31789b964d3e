#pragma once
/* The `bert` extractor: token ids through a BERT encoder (Devlin et al. 2019), every token's last hidden
 * state. Tokens of all samples are packed one after the other; each sample is a segment, so attention sees no
 * padding. Token type is 0 throughout. */
#include "worker/model/encoder.h"

struct wk_bert {
    struct wk_encoder encoder;
    int modality;
    struct wk_place word, position, type; /* the tables: (vocab, d), (max_position, d), (2, d) */
};

struct wk_bert_state {
    struct wk_encoder_state encoder;
};

SL_MUST_USE enum sl_status wk_bert_init(struct wk_bert *bert, const struct sl_config *config, int modality,
        const struct sl_layout *layout, struct sl_error *err);
void wk_bert_fini(struct wk_bert *bert);

/* wk_bert_plan takes memory for up to `tokens` tokens. tags: of the backward, 0 when not training. */
void wk_bert_plan(struct wk_bert_state *state, const struct wk_bert *bert, size_t tokens, int tags,
        struct wk_arena *kept, struct wk_arena *scratch);

/* wk_bert_forward gives the features of the batch's tokens. Shapes: result (R, d). */
const float *wk_bert_forward(
        const struct wk_run *run, const struct wk_bert *bert, struct wk_bert_state *state);

/* wk_bert_frozen says whether no parameter trains: then backward does not look at dx. */
static inline bool wk_bert_frozen(const struct wk_bert *bert)
{
    return wk_encoder_frozen(&bert->encoder);
}

/* wk_bert_backward adds the gradients of all parameters that train; those of the tables go to the rows that were read.
 * Inverts wk_bert_forward. Shapes: dx (R, d) per tag, stacked. */
void wk_bert_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_bert *bert,
        struct wk_bert_state *state, const float *dx);

/* wk_bert_flops: matrix products of a forward, or of a backward with so many tags. */
double wk_bert_flops(const struct wk_bert *bert, const struct wk_batch *batch, int tags);
