/* The server's loops: see kernels.h. Each body is written once, as an inline function that the compiler
 * expands into one wrapper for each instruction set. The wrappers are picked by hand: ifunc resolvers, as
 * target_clones makes them, run before the sanitizers are ready. */
#include "ps/kernels.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define BODY static inline __attribute__((always_inline)) void
#define LANES 8

typedef float lanes_f __attribute__((vector_size(LANES * sizeof(float))));
typedef double lanes_d __attribute__((vector_size(LANES * sizeof(double))));

/* flush makes subnormal numbers zero. The first moment of a word that no longer comes up would otherwise stay
 * subnormal for ever, and arithmetic on those is a hundred times slower. Where it matters (against eps) they
 * are zero anyway. */
static inline __attribute__((always_inline)) float flush(float x)
{
    return fabsf(x) < FLT_MIN ? 0.0F : x;
}

BODY combine_body(float *restrict ret_g, float *restrict ret_bound, const float *restrict u,
        const float *restrict f, size_t n, const struct ps_factors *factors)
{
    const float scale = factors->scale, k = factors->coefficient;
    if (u != NULL && f != NULL) {
        for (size_t i = 0; i < n; i++) {
            float g = scale * (k * u[i] + f[i]), r = scale * (u[i] + f[i]);
            float a = fabsf(g), b = fabsf(r);
            ret_g[i] = g;
            ret_bound[i] = a > b ? a : b;
        }
        return;
    }
    if (u == NULL && f == NULL) {
        memset(ret_g, 0, n * sizeof(float));
        memset(ret_bound, 0, n * sizeof(float));
        return;
    }
    const float *restrict x = u != NULL ? u : f;
    const float k_one = u != NULL ? k : 1.0F;
    for (size_t i = 0; i < n; i++) {
        float g = scale * (k_one * x[i]), r = scale * x[i];
        float a = fabsf(g), b = fabsf(r);
        ret_g[i] = g;
        ret_bound[i] = a > b ? a : b;
    }
}

/* Loshchilov & Hutter 2019, algorithm 2, with the decay inside
 * the bracket: w <- w - rate (m^ / (sqrt(v^) + eps) + decay w). */
BODY adamw_body(float *restrict params, float *restrict m, float *restrict v, const float *restrict g,
        const float *restrict second, size_t n, const struct ps_factors *factors)
{
    const struct ps_factors c = *factors;
    for (size_t i = 0; i < n; i++) {
        float mi = flush(c.beta1 * m[i] + c.one_minus_beta1 * g[i]);
        float vi = flush(c.beta2 * v[i] + c.one_minus_beta2 * (second[i] * second[i]));
        float direction = (mi * c.inverse_bias1) / (sqrtf(vi) * c.inverse_sqrt_bias2 + c.eps);
        float w = params[i];
        m[i] = mi;
        v[i] = vi;
        params[i] = w - c.rate * (direction + c.decay * w);
    }
}

BODY sgd_body(float *restrict params, float *restrict m, const float *restrict g, size_t n,
        const struct ps_factors *factors)
{
    const struct ps_factors c = *factors;
    for (size_t i = 0; i < n; i++) {
        float w = params[i];
        float mi = flush(c.momentum * m[i] + g[i] + c.decay * w);
        m[i] = mi;
        params[i] = w - c.rate * mi;
    }
}

static inline __attribute__((always_inline)) double add_lanes(const lanes_d *lanes)
{
    double sum = 0.0;
    for (int i = 0; i < LANES; i++)
        sum += (*lanes)[i];
    return sum;
}

BODY measure_body(struct sl_block_sums *sums, const float *restrict u, const float *restrict f, size_t n)
{
    lanes_d norm2 = {0}, dot = {0}, unimodal2 = {0}, fused2 = {0};
    for (size_t i = 0; i < n; i += LANES) {
        size_t left = n - i < LANES ? n - i : LANES;
        lanes_f a = {0}, b = {0};
        if (u != NULL)
            memcpy(&a, u + i, left == LANES ? sizeof(a) : left * sizeof(float));
        if (f != NULL)
            memcpy(&b, f + i, left == LANES ? sizeof(b) : left * sizeof(float));
        lanes_d x = __builtin_convertvector(a, lanes_d), y = __builtin_convertvector(b, lanes_d), r = x + y;
        norm2 += r * r;
        dot += x * y;
        unimodal2 += x * x;
        fused2 += y * y;
    }
    sums->norm2 += add_lanes(&norm2);
    sums->dot += add_lanes(&dot);
    sums->unimodal2 += add_lanes(&unimodal2);
    sums->fused2 += add_lanes(&fused2);
}

/* one wrapper for each body and instruction set */
#define KERNELS(suffix, attribute)                                                                           \
    attribute static void combine_##suffix(float *restrict ret_g, float *restrict ret_bound,                 \
            const float *unimodal, const float *fused, size_t n, const struct ps_factors *factors)           \
    {                                                                                                        \
        combine_body(ret_g, ret_bound, unimodal, fused, n, factors);                                         \
    }                                                                                                        \
    attribute static void adamw_##suffix(float *restrict params, float *restrict m, float *restrict v,       \
            const float *restrict g, const float *restrict second, size_t n,                                 \
            const struct ps_factors *factors)                                                                \
    {                                                                                                        \
        adamw_body(params, m, v, g, second, n, factors);                                                     \
    }                                                                                                        \
    attribute static void sgd_##suffix(float *restrict params, float *restrict m, const float *restrict g,   \
            size_t n, const struct ps_factors *factors)                                                      \
    {                                                                                                        \
        sgd_body(params, m, g, n, factors);                                                                  \
    }                                                                                                        \
    attribute static void measure_##suffix(                                                                  \
            struct sl_block_sums *sums, const float *unimodal, const float *fused, size_t n)                 \
    {                                                                                                        \
        measure_body(sums, unimodal, fused, n);                                                              \
    }                                                                                                        \
    static const struct ps_kernels kernels_##suffix = {                                                      \
            #suffix, combine_##suffix, adamw_##suffix, sgd_##suffix, measure_##suffix};

KERNELS(plain, )
#if defined(__x86_64__)
KERNELS(avx2, __attribute__((target("avx2"))))
KERNELS(avx512, __attribute__((target("avx512f"))))
#endif

const struct ps_kernels *ps_kernels_at(int index)
{
    const struct ps_kernels *found[3];
    int count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        found[count++] = &kernels_avx512;
    if (__builtin_cpu_supports("avx2"))
        found[count++] = &kernels_avx2;
#endif
    found[count++] = &kernels_plain;
    return index >= 0 && index < count ? found[index] : NULL;
}

const struct ps_kernels *ps_kernels_best(void)
{
    return ps_kernels_at(0);
}
