/* Ragged attention, forward and backward: see attention.h. */
#include "worker/model/attention.h"

#include "worker/model/blas.h"
#include "worker/model/gemm.h"

#include <math.h>

static float scale_of(const struct wk_attention *a)
{
    return 1.0F / sqrtf((float)(a->d / (size_t)a->heads));
}

/* One head of one segment: the rows of its queries and keys, its first column, and where its probabilities are kept. */
struct head {
    size_t q0, k0, nq, nk, column, probs;
};

static struct head head_at(const struct wk_attention *a, int part)
{
    struct head head = {.column = (size_t)(part % a->heads) * (a->d / (size_t)a->heads)};
    int segment = part / a->heads;
    for (int s = 0; s <= segment; s++) {
        head.q0 = (size_t)a->q_offset[s];
        head.k0 = (size_t)a->k_offset[s];
        head.nq = (size_t)a->q_offset[s + 1] - head.q0;
        head.nk = (size_t)a->k_offset[s + 1] - head.k0;
        head.probs += head.nq * head.nk * (size_t)(s < segment ? a->heads : part % a->heads);
    }
    return head;
}

struct forward {
    const struct wk_run *run;
    const struct wk_attention *a;
    float *context, *probs;
};

static void forward_head(void *context, int part, int member)
{
    (void)member;
    const struct forward *f = context;
    const struct wk_attention *a = f->a;
    struct head at = head_at(a, part);
    size_t dh = a->d / (size_t)a->heads;
    const float *q = a->q + at.q0 * a->q_stride + at.column, *k = a->k + at.k0 * a->k_stride + at.column,
                *v = a->v + at.k0 * a->k_stride + at.column;
    float *probs = f->run->training ? f->probs + at.probs : f->probs;
    wk_blas_single();
    wk_gemm(WK_PLAIN, WK_TRANSPOSED, probs, at.nk, q, a->q_stride, k, a->k_stride, at.nq, at.nk, dh, false);
    f->run->v->softmax(probs, at.nk, scale_of(a), at.nq, at.nk);
    wk_gemm(WK_PLAIN, WK_PLAIN, f->context + at.q0 * a->d + at.column, a->d, probs, at.nk, v, a->k_stride,
            at.nq, dh, at.nk, false);
}

void wk_attention_forward(
        const struct wk_run *run, float *context, float *probs, const struct wk_attention *a)
{
    struct forward f = {run, a, context, probs};
    /* without training all heads write into the same probabilities, one after the other */
    sl_team_run(run->training ? run->team : NULL, a->segments * a->heads, forward_head, &f);
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

struct backward {
    const struct wk_run *run;
    const struct wk_attention *a;
    const struct wk_attention_gradient *g;
    const float *dcontext, *probs;
    float *scratch;
    size_t largest; /* floats of scratch per thread */
    int tags;
};

static void backward_head(void *context, int part, int member)
{
    const struct backward *b = context;
    const struct wk_attention *a = b->a;
    const struct wk_attention_gradient *g = b->g;
    struct head at = head_at(a, part);
    size_t context_tag = (size_t)a->q_offset[a->segments] * a->d;
    wk_blas_single();
    for (size_t t = 0; t < (size_t)b->tags; t++) {
        size_t key = t * g->dk_tag + at.k0 * g->dk_stride + at.column;
        head_backward(b->run, g->dq + t * g->dq_tag + at.q0 * g->dq_stride + at.column, g->dq_stride,
                g->dk + key, g->dv + key, g->dk_stride,
                b->dcontext + t * context_tag + at.q0 * a->d + at.column, b->probs + at.probs,
                a->q + at.q0 * a->q_stride + at.column, a->k + at.k0 * a->k_stride + at.column,
                a->v + at.k0 * a->k_stride + at.column, a, at.nq, at.nk,
                b->scratch + (size_t)member * b->largest);
    }
}

void wk_attention_backward(const struct wk_run *run, int tags, const struct wk_attention_gradient *g,
        const float *dcontext, const float *probs, const struct wk_attention *a, float *scratch)
{
    struct backward b = {run, a, g, dcontext, probs, scratch, 0, tags};
    for (int s = 0; s < a->segments; s++) {
        size_t matrix =
                (size_t)(a->q_offset[s + 1] - a->q_offset[s]) * (size_t)(a->k_offset[s + 1] - a->k_offset[s]);
        b.largest = matrix > b.largest ? matrix : b.largest;
    }
    sl_team_run(run->team, a->segments * a->heads, backward_head, &b);
}

double wk_attention_flops(const struct wk_attention *a)
{
    double flops = 0.0;
    for (int s = 0; s < a->segments; s++)
        flops += 4.0 * (a->q_offset[s + 1] - a->q_offset[s]) * (a->k_offset[s + 1] - a->k_offset[s]) *
                 (double)a->d;
    return flops;
}
