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

/* Element i of the modulated gradient, and of the larger of both. */
static float modulated(const float *unimodal, const float *fused, size_t i, const struct ps_factors *factors)
{
    return factors->scale * (factors->unimodal * at(unimodal, i) + factors->fused * at(fused, i));
}

static float bound(const float *unimodal, const float *fused, size_t i, const struct ps_factors *factors)
{
    float r = factors->scale * (at(unimodal, i) + at(fused, i));
    return fmaxf(fabsf(modulated(unimodal, fused, i, factors)), fabsf(r));
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

static void adamw(float *restrict params, float *restrict m, float *restrict v, const float *unimodal,
        const float *fused, size_t n, const struct ps_factors *factors, struct sl_block_change *change)
{
    struct lanes lanes = {0};
    for (size_t i = 0; i < n; i++) {
        float old = params[i], g = modulated(unimodal, fused, i, factors);
        float second = factors->bound ? bound(unimodal, fused, i, factors) : g;
        m[i] = flush(factors->beta1 * m[i] + factors->one_minus_beta1 * g);
        v[i] = flush(factors->beta2 * v[i] + factors->one_minus_beta2 * (second * second));
        float m_hat = m[i] * factors->inverse_bias1;
        float root = sqrtf(v[i]) * factors->inverse_sqrt_bias2;
        take_away(&lanes, &params[i], factors->rate * (m_hat / (root + factors->eps) + factors->decay * old),
                i);
    }
    join(change, &lanes);
}

static void sgd(float *restrict params, float *restrict m, const float *unimodal, const float *fused,
        size_t n, const struct ps_factors *factors, struct sl_block_change *change)
{
    struct lanes lanes = {0};
    for (size_t i = 0; i < n; i++) {
        float old = params[i];
        m[i] = flush(
                factors->momentum * m[i] + modulated(unimodal, fused, i, factors) + factors->decay * old);
        take_away(&lanes, &params[i], factors->rate * m[i], i);
    }
    join(change, &lanes);
}

#define RUN 256

static struct sl_block_sums measure_run(const float *unimodal, const float *fused, size_t begin, size_t end)
{
    float norm2[16] = {0}, dot[16] = {0}, unimodal2[16] = {0}, fused2[16] = {0};
    struct sl_block_sums total = {0}, large = {0};
    for (size_t i = begin; i < end; i++) {
        float u = at(unimodal, i), f = at(fused, i), r = u + f;
        double x = (double)u, y = (double)f;
        norm2[i % 16] += r * r;
        dot[i % 16] += u * f;
        unimodal2[i % 16] += u * u;
        fused2[i % 16] += f * f;
        large.norm2 += (x + y) * (x + y);
        large.dot += x * y;
        large.unimodal2 += x * x;
        large.fused2 += y * y;
    }
    for (int lane = 0; lane < 16; lane++) {
        total.norm2 += (double)norm2[lane];
        total.dot += (double)dot[lane];
        total.unimodal2 += (double)unimodal2[lane];
        total.fused2 += (double)fused2[lane];
    }
    return total.unimodal2 + total.fused2 <= 1e37 ? total : large;
}

static void measure(struct sl_block_sums *sums, const float *unimodal, const float *fused, size_t n)
{
    struct sl_block_sums total = {0};
    for (size_t begin = 0; begin < n; begin += RUN) {
        struct sl_block_sums run = measure_run(unimodal, fused, begin, n - begin < RUN ? n : begin + RUN);
        total.norm2 += run.norm2;
        total.dot += run.dot;
        total.unimodal2 += run.unimodal2;
        total.fused2 += run.fused2;
    }
    sums->norm2 += total.norm2;
    sums->dot += total.dot;
    sums->unimodal2 += total.unimodal2;
    sums->fused2 += total.fused2;
}

static void add(float *sum, const float *from, const float *more, size_t n)
{
    for (size_t i = 0; sum != NULL && i < n; i++)
        sum[i] = (from == NULL ? sum[i] : from[i]) + more[i];
}

static void add_measure(struct sl_block_sums *sums, float *unimodal, const float *from_unimodal,
        const float *more_unimodal, float *fused, const float *from_fused, const float *more_fused, size_t n)
{
    add(unimodal, from_unimodal, more_unimodal, n);
    add(fused, from_fused, more_fused, n);
    measure(sums, unimodal, fused, n);
}

const struct ps_kernels *ps_kernels_reference(void)
{
    static const struct ps_kernels kernels = {"reference", adamw, sgd, measure, add_measure};
    return &kernels;
}
