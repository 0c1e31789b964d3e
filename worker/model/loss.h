#pragma once
/* Softmax cross-entropy with label smoothing and class weights, and what is counted beside it.
 *
 *     loss(b) = w_y · ((1 − ε) · −log p_y + ε · mean over classes of −log p_k)
 *
 * As PyTorch's, except that a class weight multiplies the whole smoothed loss of a sample, where PyTorch
 * weights the smoothing part class by class: so the sum of weights is Σ w_y and nothing else. Sums, not
 * means: whoever adds up all slots divides by the sum of weights.
 */
#include <stdint.h>

struct wk_loss {
    double loss, score, weight_sum; /* score: Σ softmax(logits)[y], unweighted */
    int64_t correct;                /* first largest logit == label */
    int count;                      /* samples with a label */
};

/* wk_loss_forward adds up over the batch; where dlogits is not NULL it becomes scale times the gradient of
 * the summed loss. A label below 0 counts nothing and has no gradient. Not finite logits give a loss that is
 * not finite. Computed in double: K is small. Shapes: logits, dlogits (B, K), labels (B,), class_weights (K,)
 * or NULL = 1. */
void wk_loss_forward(struct wk_loss *ret_loss, float *dlogits, const float *logits, const int *labels,
        const float *class_weights, int batch, int classes, float smoothing, float scale);
