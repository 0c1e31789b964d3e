/* The plain twins of kernels.c: the formulas, one element after the other, for tests. */
#include "ps/kernels.h"

#include <float.h>
#include <math.h>

static float at(const float *x, size_t i)
{
    return x == NULL ? 0.0F : x[i];
}

static float flush(float x)
{
    return fabsf(x) < FLT_MIN ? 0.0F : x;
}

static void combine(float *restrict ret_g, float *restrict ret_bound, const float *unimodal,
        const float *fused, size_t n, const struct ps_factors *factors)
{
    for (size_t i = 0; i < n; i++) {
        float g = factors->scale * (factors->unimodal * at(unimodal, i) + factors->fused * at(fused, i));
        float r = factors->scale * (at(unimodal, i) + at(fused, i));
        ret_g[i] = g;
        ret_bound[i] = fmaxf(fabsf(g), fabsf(r));
    }
}

/* Element i into lane i % 16, then the lanes in order. */
struct lanes {
    float update2[16], params2[16];
};

static float square(float x)
{
    return fabsf(x) < 1.1e-19F ? 0.0F : x * x;
}

static void take_away(struct lanes *lanes, float *w, float minus, size_t i)
{
    *w -= minus;
    lanes->update2[i % 16] += square(minus);
    lanes->params2[i % 16] += square(*w);
}

static void join(struct sl_block_change *change, const struct lanes *lanes)
{
    struct sl_block_change total = {0};
    for (int lane = 0; lane < 16; lane++) {
        total.update2 += (double)lanes->update2[lane];
        total.params2 += (double)lanes->params2[lane];
    }
    change->update2 += total.update2;
    change->params2 += total.params2;
}

static void adamw(float *restrict params, float *restrict m, float *restrict v, const float *restrict g,
        const float *restrict second, size_t n, const struct ps_factors *factors,
        struct sl_block_change *change)
{
    struct lanes lanes = {0};
    for (size_t i = 0; i < n; i++) {
        float old = params[i];
        m[i] = flush(factors->beta1 * m[i] + factors->one_minus_beta1 * g[i]);
        v[i] = flush(factors->beta2 * v[i] + factors->one_minus_beta2 * (second[i] * second[i]));
        float m_hat = m[i] * factors->inverse_bias1;
        float root = sqrtf(v[i]) * factors->inverse_sqrt_bias2;
        take_away(&lanes, &params[i], factors->rate * (m_hat / (root + factors->eps) + factors->decay * old),
                i);
    }
    join(change, &lanes);
}

static void sgd(float *restrict params, float *restrict m, const float *restrict g, size_t n,
        const struct ps_factors *factors, struct sl_block_change *change)
{
    struct lanes lanes = {0};
    for (size_t i = 0; i < n; i++) {
        float old = params[i];
        m[i] = flush(factors->momentum * m[i] + g[i] + factors->decay * old);
        take_away(&lanes, &params[i], factors->rate * m[i], i);
    }
    join(change, &lanes);
}

static void measure(struct sl_block_sums *sums, const float *unimodal, const float *fused, size_t n)
{
    double norm2[8] = {0}, dot[8] = {0}, unimodal2[8] = {0}, fused2[8] = {0};
    for (size_t i = 0; i < n; i++) {
        double u = (double)at(unimodal, i), f = (double)at(fused, i);
        norm2[i % 8] += (u + f) * (u + f);
        dot[i % 8] += u * f;
        unimodal2[i % 8] += u * u;
        fused2[i % 8] += f * f;
    }
    struct sl_block_sums total = {0};
    for (int lane = 0; lane < 8; lane++) {
        total.norm2 += norm2[lane];
        total.dot += dot[lane];
        total.unimodal2 += unimodal2[lane];
        total.fused2 += fused2[lane];
    }
    sums->norm2 += total.norm2;
    sums->dot += total.dot;
    sums->unimodal2 += total.unimodal2;
    sums->fused2 += total.fused2;
}

static void add(float *sum, const float *more, size_t n)
{
    for (size_t i = 0; sum != NULL && i < n; i++)
        sum[i] += more[i];
}

static void add_measure(struct sl_block_sums *sums, float *unimodal, const float *more_unimodal, float *fused,
        const float *more_fused, size_t n)
{
    add(unimodal, more_unimodal, n);
    add(fused, more_fused, n);
    measure(sums, unimodal, fused, n);
}

const struct ps_kernels *ps_kernels_reference(void)
{
    static const struct ps_kernels kernels = {"reference", combine, adamw, sgd, measure, add_measure};
    return &kernels;
}
