/* Ragged attention, forward and backward: see attention.h. */
#include "worker/model/attention.h"

#include "worker/model/gemm.h"

#include <math.h>

static float scale_of(const struct wk_attention *a)
{
    return 1.0F / sqrtf((float)(a->d / (size_t)a->heads));
}

void wk_attention_forward(
        const struct wk_run *run, float *context, float *probs, const struct wk_attention *a)
{
    size_t dh = a->d / (size_t)a->heads;
    for (int s = 0; s < a->segments; s++) {
        size_t q0 = (size_t)a->q_offset[s], k0 = (size_t)a->k_offset[s];
        size_t nq = (size_t)a->q_offset[s + 1] - q0, nk = (size_t)a->k_offset[s + 1] - k0;
        for (size_t h = 0; h < a->d; h += dh) {
            const float *q = a->q + q0 * a->q_stride + h, *k = a->k + k0 * a->k_stride + h,
                        *v = a->v + k0 * a->k_stride + h;
            wk_gemm(WK_PLAIN, WK_TRANSPOSED, probs, nk, q, a->q_stride, k, a->k_stride, nq, nk, dh, false);
            run->v->softmax(probs, nk, scale_of(a), nq, nk);
            wk_gemm(WK_PLAIN, WK_PLAIN, context + q0 * a->d + h, a->d, probs, nk, v, a->k_stride, nq, dh, nk,
                    false);
            if (run->training)
                probs += nq * nk;
        }
    }
}

/* One segment, head and tag: from dc, the gradient of the context, to those of q, k and v. p: what forward
 * kept. */
static void head_backward(const struct wk_run *run, float *dq, size_t dq_stride, float *dk, float *dv,
        size_t dk_stride, const float *dc, const float *p, const float *q, const float *k, const float *v,
        const struct wk_attention *a, size_t nq, size_t nk, float *scratch)
{
    size_t dh = a->d / (size_t)a->heads;
    wk_gemm(WK_TRANSPOSED, WK_PLAIN, dv, dk_stride, p, nk, dc, a->d, nk, dh, nq, false); /* context = p v */
    wk_gemm(WK_PLAIN, WK_TRANSPOSED, scratch, nk, dc, a->d, v, a->k_stride, nq, nk, dh, false);
    run->v->softmax_backward(scratch, p, scale_of(a), nq, nk); /* p = softmax(scale q kᵀ) */
    wk_gemm(WK_PLAIN, WK_PLAIN, dq, dq_stride, scratch, nk, k, a->k_stride, nq, dh, nk, false);
    wk_gemm(WK_TRANSPOSED, WK_PLAIN, dk, dk_stride, scratch, nk, q, a->q_stride, nk, dh, nq, false);
}

void wk_attention_backward(const struct wk_run *run, int tags, const struct wk_attention_gradient *g,
        const float *dcontext, const float *probs, const struct wk_attention *a, float *scratch)
{
    size_t dh = a->d / (size_t)a->heads, context_tag = (size_t)a->q_offset[a->segments] * a->d;
    for (int s = 0; s < a->segments; s++) {
        size_t q0 = (size_t)a->q_offset[s], k0 = (size_t)a->k_offset[s];
        size_t nq = (size_t)a->q_offset[s + 1] - q0, nk = (size_t)a->k_offset[s + 1] - k0;
        for (size_t h = 0; h < a->d; h += dh) {
            for (size_t t = 0; t < (size_t)tags; t++) {
                size_t key = t * g->dk_tag + k0 * g->dk_stride + h;
                head_backward(run, g->dq + t * g->dq_tag + q0 * g->dq_stride + h, g->dq_stride, g->dk + key,
                        g->dv + key, g->dk_stride, dcontext + t * context_tag + q0 * a->d + h, probs,
                        a->q + q0 * a->q_stride + h, a->k + k0 * a->k_stride + h, a->v + k0 * a->k_stride + h,
                        a, nq, nk, scratch);
            }
            probs += nq * nk;
        }
    }
}

double wk_attention_flops(const struct wk_attention *a)
{
    double flops = 0.0;
    for (int s = 0; s < a->segments; s++)
        flops += 4.0 * (a->q_offset[s + 1] - a->q_offset[s]) * (a->k_offset[s + 1] - a->k_offset[s]) *
                 (double)a->d;
    return flops;
}
