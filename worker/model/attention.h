#pragma once
/* Scaled dot-product attention (Vaswani et al. 2017) over ragged segments: the queries of segment s attend to
 * the keys of segment s, over its true length, head by head. Self-attention and cross-attention differ only
 * in where queries and keys come from.
 *
 *     softmax(q kᵀ / √(d / H)) v                              per segment and head, heads side by side in the d columns
 */
#include "worker/model/run.h"

#include <stddef.h>

struct wk_attention {
    const float *q;                 /* (q_offset[segments], d), rows q_stride apart */
    const float *k, *v;             /* (k_offset[segments], d), rows k_stride apart */
    size_t q_stride, k_stride;      /* floats */
    const int *q_offset, *k_offset; /* (segments + 1,) rows */
    int segments, heads;
    size_t d;
};

/* wk_attention_forward: context = attention. Training keeps all probabilities, one (queries, keys) matrix
 * after the other by segment and head; else probs needs room for the largest of them. Shapes: context
 * (q_offset[segments], d). A team shares out the heads of all segments, while training. */
void wk_attention_forward(
        const struct wk_run *run, float *context, float *probs, const struct wk_attention *a);

/* Gradients of q, k and v, written (not added) for each tag; tag t's begin t * stride floats after the first.
 */
struct wk_attention_gradient {
    float *dq, *dk, *dv;         /* shapes and row strides as q, k, v unless given here */
    size_t dq_stride, dk_stride; /* floats between rows */
    size_t dq_tag, dk_tag;       /* floats between tags */
};

/* wk_attention_backward inverts wk_attention_forward. Shapes: dcontext (q rows, d) per tag, stacked; scratch:
 * the largest (queries, keys) matrix, for each thread of the run's team. */
void wk_attention_backward(const struct wk_run *run, int tags, const struct wk_attention_gradient *g,
        const float *dcontext, const float *probs, const struct wk_attention *a, float *scratch);

/* wk_attention_flops counts the matrix products' floating-point operations of one forward; a backward has
 * twice as many per tag. */
double wk_attention_flops(const struct wk_attention *a);
