#pragma once
/* Self-attention in which the first row of each segment asks alone (ViT's [CLS] in the last layer), without forming keys and values. With x_j the rows of a segment, q its query and W_h the rows of a
 * weight that belong to head h:
 *
 *     score_j   = q_h · (W_key,h x_j + b_key,h) = t_h · x_j + (the same for all j, which softmax takes out)          t_h = W_key,hᵀ q_h
 *     context_h = Σ p_j (W_value,h x_j + b_value,h) = W_value,h z_h + b_value,h                                      z_h = Σ p_j x_j
 *
 * Per segment that is 4 L H D + 4 D² operations instead of 4 L D² + 4 L D: less wherever a head is wider than one number, so there is no other way beside it. The gradient of b_key is zero
 * by the same argument, and nothing is added to it.
 */
#include "worker/model/kernels.h"

struct wk_single_query {
    size_t d, length; /* rows of each segment */
    int heads;
    struct wk_linear_at query, key, value;
};

/* wk_single_query_floats is what each segment needs: in forward to be kept for backward, in backward scratch for each tag. */
size_t wk_single_query_floats(const struct wk_single_query *single);

/* wk_single_query_forward: context = attention of the first rows. Training keeps all probabilities, a row for each head of each segment; else probs needs room for one segment's. Shapes: context
 * (segments, d), kept (segments, wk_single_query_floats), probs (segments, H, L), x (segments * L, d). A team shares out the segments, while training. */
void wk_single_query_forward(const struct wk_run *run, const struct wk_single_query *single, float *context,
        float *kept, float *probs, const float *x, size_t segments);

/* wk_single_query_backward adds the gradients of weights and biases, of what is not frozen, and sets dx unless it is NULL. Inverts wk_single_query_forward. Shapes: dx (segments * L, d), dcontext (segments, d) and scratch (segments,
 * wk_single_query_floats) per tag, stacked; dprobs (H, L) for each thread of the run's team. */
void wk_single_query_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_single_query *single, float *dx, const float *dcontext, const float *kept,
        const float *probs, const float *x, size_t segments, float *scratch, float *dprobs);

/* wk_single_query_flops counts the matrix products of a forward (tags 0), or of a backward with so many tags. input: it has a dx. */
double wk_single_query_flops(const struct wk_single_query *single, size_t segments, int tags, bool input);
