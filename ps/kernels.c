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
    const float scale = factors->scale, k = factors->unimodal, c = factors->fused;
    if (u != NULL && f != NULL) {
        for (size_t i = 0; i < n; i++) {
            float g = scale * (k * u[i] + c * f[i]), r = scale * (u[i] + f[i]);
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
    const float factor = u != NULL ? k : c;
    for (size_t i = 0; i < n; i++) {
        float g = scale * (factor * x[i]), r = scale * x[i];
        float a = fabsf(g), b = fabsf(r);
        ret_g[i] = g;
        ret_bound[i] = a > b ? a : b;
    }
}

/* What an update does to its values: element i of a run goes into lane i % CHANGE_LANES. Floats in lanes as wide as the update itself cost it little; a run is short
 * enough (a chunk of the optimiser) for their sums to keep five digits, which is plenty for a figure that people look at. What is
 * so small that its square would be subnormal counts as nothing. */
#define CHANGE_LANES 16
#define CHANGE_MIN 1.1e-19F

struct change_lanes {
    float update2[CHANGE_LANES], params2[CHANGE_LANES];
};

static inline __attribute__((always_inline)) float square(float x)
{
    float y = fabsf(x) < CHANGE_MIN ? 0.0F : x;
    return y * y;
}

static inline __attribute__((always_inline)) float change_element(
        struct change_lanes *lanes, int lane, float w, float minus)
{
    float after = w - minus;
    lanes->update2[lane] += square(minus);
    lanes->params2[lane] += square(after);
    return after;
}

static inline __attribute__((always_inline)) void join_change(
        struct sl_block_change *change, const struct change_lanes *lanes)
{
    struct sl_block_change total = {0};
    for (int lane = 0; lane < CHANGE_LANES; lane++) {
        total.update2 += (double)lanes->update2[lane];
        total.params2 += (double)lanes->params2[lane];
    }
    change->update2 += total.update2;
    change->params2 += total.params2;
}

/* Loshchilov & Hutter 2019, algorithm 2, with the decay inside
 * the bracket: w <- w - rate (m^ / (sqrt(v^) + eps) + decay w). */
static inline __attribute__((always_inline)) void adamw_element(float *restrict params, float *restrict m,
        float *restrict v, float g, float second, const struct ps_factors *c, struct change_lanes *lanes,
        int lane)
{
    float mi = flush(c->beta1 * *m + c->one_minus_beta1 * g);
    float vi = flush(c->beta2 * *v + c->one_minus_beta2 * (second * second));
    float direction = (mi * c->inverse_bias1) / (sqrtf(vi) * c->inverse_sqrt_bias2 + c->eps);
    float w = *params;
    *m = mi;
    *v = vi;
    *params = change_element(lanes, lane, w, c->rate * (direction + c->decay * w));
}

BODY adamw_body(float *restrict params, float *restrict m, float *restrict v, const float *restrict g,
        const float *restrict second, size_t n, const struct ps_factors *factors,
        struct sl_block_change *change)
{
    const struct ps_factors c = *factors;
    struct change_lanes lanes = {0};
    size_t i = 0;
    for (; i + CHANGE_LANES <= n; i += CHANGE_LANES)
        for (int lane = 0; lane < CHANGE_LANES; lane++) {
            size_t at = i + (size_t)lane;
            adamw_element(&params[at], &m[at], &v[at], g[at], second[at], &c, &lanes, lane);
        }
    for (int lane = 0; i < n; i++, lane++)
        adamw_element(&params[i], &m[i], &v[i], g[i], second[i], &c, &lanes, lane);
    join_change(change, &lanes);
}

static inline __attribute__((always_inline)) void sgd_element(float *restrict params, float *restrict m,
        float g, const struct ps_factors *c, struct change_lanes *lanes, int lane)
{
    float w = *params;
    float mi = flush(c->momentum * *m + g + c->decay * w);
    *m = mi;
    *params = change_element(lanes, lane, w, c->rate * mi);
}

BODY sgd_body(float *restrict params, float *restrict m, const float *restrict g, size_t n,
        const struct ps_factors *factors, struct sl_block_change *change)
{
    const struct ps_factors c = *factors;
    struct change_lanes lanes = {0};
    size_t i = 0;
    for (; i + CHANGE_LANES <= n; i += CHANGE_LANES)
        for (int lane = 0; lane < CHANGE_LANES; lane++)
            sgd_element(
                    &params[i + (size_t)lane], &m[i + (size_t)lane], g[i + (size_t)lane], &c, &lanes, lane);
    for (int lane = 0; i < n; i++, lane++)
        sgd_element(&params[i], &m[i], g[i], &c, &lanes, lane);
    join_change(change, &lanes);
}

/* Element i of a run goes into lane i % LANES. Plain arrays with fixed bounds: gcc keeps them in registers on every instruction set, which it
 * does not with vector types wider than the set's own (a tenth of the speed). */
struct lanes {
    double norm2[LANES], dot[LANES], unimodal2[LANES], fused2[LANES];
};

static inline __attribute__((always_inline)) void add_element(struct lanes *lanes, int lane, float u, float f)
{
    double x = (double)u, y = (double)f, r = x + y;
    lanes->norm2[lane] += r * r;
    lanes->dot[lane] += x * y;
    lanes->unimodal2[lane] += x * x;
    lanes->fused2[lane] += y * y;
}

BODY measure_run(struct lanes *restrict into, const float *restrict u, const float *restrict f, size_t n,
        bool has_u, bool has_f)
{
    struct lanes lanes = *into;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            add_element(&lanes, lane, has_u ? u[i + (size_t)lane] : 0.0F, has_f ? f[i + (size_t)lane] : 0.0F);
    for (int lane = 0; i < n; i++, lane++)
        add_element(&lanes, lane, has_u ? u[i] : 0.0F, has_f ? f[i] : 0.0F);
    *into = lanes;
}

BODY measure_tags(struct lanes *lanes, const float *u, const float *f, size_t n)
{
    if (u != NULL && f != NULL)
        measure_run(lanes, u, f, n, true, true);
    else if (u != NULL)
        measure_run(lanes, u, u, n, true, false);
    else if (f != NULL)
        measure_run(lanes, f, f, n, false, true);
}

BODY add_run(float *restrict sum, const float *restrict more, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += more[i];
}

static inline __attribute__((always_inline)) void add_lanes(
        struct sl_block_sums *sums, const struct lanes *lanes)
{
    struct sl_block_sums total = {0};
    for (int lane = 0; lane < LANES; lane++) {
        total.norm2 += lanes->norm2[lane];
        total.dot += lanes->dot[lane];
        total.unimodal2 += lanes->unimodal2[lane];
        total.fused2 += lanes->fused2[lane];
    }
    sums->norm2 += total.norm2;
    sums->dot += total.dot;
    sums->unimodal2 += total.unimodal2;
    sums->fused2 += total.fused2;
}

BODY measure_body(struct sl_block_sums *sums, const float *u, const float *f, size_t n)
{
    struct lanes lanes = {0};
    measure_tags(&lanes, u, f, n);
    add_lanes(sums, &lanes);
}

#define ADDED_AT_ONCE 1024 /* elements: four runs of them lie in a level 1 cache. A multiple of LANES */

/* Some elements are added, then measured while they are in the nearest cache: one pass over memory. Both in one loop would be one the compiler does not make vectors of. */
BODY add_measure_body(
        struct sl_block_sums *sums, float *u, const float *more_u, float *f, const float *more_f, size_t n)
{
    struct lanes lanes = {0};
    for (size_t i = 0; i < n; i += ADDED_AT_ONCE) {
        size_t now = n - i < ADDED_AT_ONCE ? n - i : ADDED_AT_ONCE;
        if (u != NULL)
            add_run(u + i, more_u + i, now);
        if (f != NULL)
            add_run(f + i, more_f + i, now);
        measure_tags(&lanes, u == NULL ? NULL : u + i, f == NULL ? NULL : f + i, now);
    }
    add_lanes(sums, &lanes);
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
            const struct ps_factors *factors, struct sl_block_change *change)                                \
    {                                                                                                        \
        adamw_body(params, m, v, g, second, n, factors, change);                                             \
    }                                                                                                        \
    attribute static void sgd_##suffix(float *restrict params, float *restrict m, const float *restrict g,   \
            size_t n, const struct ps_factors *factors, struct sl_block_change *change)                      \
    {                                                                                                        \
        sgd_body(params, m, g, n, factors, change);                                                          \
    }                                                                                                        \
    attribute static void measure_##suffix(                                                                  \
            struct sl_block_sums *sums, const float *unimodal, const float *fused, size_t n)                 \
    {                                                                                                        \
        measure_body(sums, unimodal, fused, n);                                                              \
    }                                                                                                        \
    attribute static void add_measure_##suffix(struct sl_block_sums *sums, float *unimodal,                  \
            const float *more_unimodal, float *fused, const float *more_fused, size_t n)                     \
    {                                                                                                        \
        add_measure_body(sums, unimodal, more_unimodal, fused, more_fused, n);                               \
    }                                                                                                        \
    static const struct ps_kernels kernels_##suffix = {#suffix, combine_##suffix, adamw_##suffix,            \
            sgd_##suffix, measure_##suffix, add_measure_##suffix};

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
