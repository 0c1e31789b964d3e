/* The server's loops: see kernels.h. Each body is written once, as an inline function that the compiler
 * expands into one wrapper for each instruction set. The wrappers are picked by hand: ifunc resolvers, as
 * target_clones makes them, run before the sanitizers are ready. */
#include "ps/kernels.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define BODY static inline __attribute__((always_inline)) void

/* flush makes subnormal numbers zero. The first moment of a word that no longer comes up would otherwise stay
 * subnormal for ever, and arithmetic on those is a hundred times slower. Where it matters (against eps) they
 * are zero anyway. */
static inline __attribute__((always_inline)) float flush(float x)
{
    return fabsf(x) < FLT_MIN ? 0.0F : x;
}

/* The modulated gradient of an element, and what enters v squared: the larger of it and the unmodulated one, or itself. What a loop has is
 * known when it is compiled. */
struct combined {
    float g, second;
};

static inline __attribute__((always_inline)) struct combined combine(
        float u, float f, const struct ps_factors *c, bool has_u, bool has_f, bool bound)
{
    float sum = 0.0F, whole = 0.0F;
    if (has_u && has_f) {
        sum = c->unimodal * u + c->fused * f;
        whole = u + f;
    } else if (has_u || has_f) {
        sum = has_u ? c->unimodal * u : c->fused * f;
        whole = has_u ? u : f;
    }
    float g = c->scale * sum, a = fabsf(g), b = fabsf(c->scale * whole);
    return (struct combined){g, bound ? (a > b ? a : b) : g};
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

BODY adamw_run(float *restrict params, float *restrict m, float *restrict v, const float *restrict u,
        const float *restrict f, size_t n, const struct ps_factors *factors, struct sl_block_change *change,
        bool has_u, bool has_f, bool bound)
{
    const struct ps_factors c = *factors;
    struct change_lanes lanes = {0};
    size_t i = 0;
    for (; i + CHANGE_LANES <= n; i += CHANGE_LANES)
        for (int lane = 0; lane < CHANGE_LANES; lane++) {
            size_t at = i + (size_t)lane;
            struct combined x = combine(has_u ? u[at] : 0.0F, has_f ? f[at] : 0.0F, &c, has_u, has_f, bound);
            adamw_element(&params[at], &m[at], &v[at], x.g, x.second, &c, &lanes, lane);
        }
    for (int lane = 0; i < n; i++, lane++) {
        struct combined x = combine(has_u ? u[i] : 0.0F, has_f ? f[i] : 0.0F, &c, has_u, has_f, bound);
        adamw_element(&params[i], &m[i], &v[i], x.g, x.second, &c, &lanes, lane);
    }
    join_change(change, &lanes);
}

BODY adamw_tags(float *params, float *m, float *v, const float *u, const float *f, size_t n,
        const struct ps_factors *factors, struct sl_block_change *change, bool bound)
{
    if (u != NULL && f != NULL)
        adamw_run(params, m, v, u, f, n, factors, change, true, true, bound);
    else if (u != NULL)
        adamw_run(params, m, v, u, NULL, n, factors, change, true, false, bound);
    else if (f != NULL)
        adamw_run(params, m, v, NULL, f, n, factors, change, false, true, bound);
    else
        adamw_run(params, m, v, NULL, NULL, n, factors, change, false, false, bound);
}

BODY adamw_body(float *params, float *m, float *v, const float *u, const float *f, size_t n,
        const struct ps_factors *factors, struct sl_block_change *change)
{
    if (factors->bound)
        adamw_tags(params, m, v, u, f, n, factors, change, true);
    else
        adamw_tags(params, m, v, u, f, n, factors, change, false);
}

static inline __attribute__((always_inline)) void sgd_element(float *restrict params, float *restrict m,
        float g, const struct ps_factors *c, struct change_lanes *lanes, int lane)
{
    float w = *params;
    float mi = flush(c->momentum * *m + g + c->decay * w);
    *m = mi;
    *params = change_element(lanes, lane, w, c->rate * mi);
}

BODY sgd_run(float *restrict params, float *restrict m, const float *restrict u, const float *restrict f,
        size_t n, const struct ps_factors *factors, struct sl_block_change *change, bool has_u, bool has_f)
{
    const struct ps_factors c = *factors;
    struct change_lanes lanes = {0};
    size_t i = 0;
    for (; i + CHANGE_LANES <= n; i += CHANGE_LANES)
        for (int lane = 0; lane < CHANGE_LANES; lane++) {
            size_t at = i + (size_t)lane;
            struct combined x = combine(has_u ? u[at] : 0.0F, has_f ? f[at] : 0.0F, &c, has_u, has_f, false);
            sgd_element(&params[at], &m[at], x.g, &c, &lanes, lane);
        }
    for (int lane = 0; i < n; i++, lane++) {
        struct combined x = combine(has_u ? u[i] : 0.0F, has_f ? f[i] : 0.0F, &c, has_u, has_f, false);
        sgd_element(&params[i], &m[i], x.g, &c, &lanes, lane);
    }
    join_change(change, &lanes);
}

BODY sgd_body(float *params, float *m, const float *u, const float *f, size_t n,
        const struct ps_factors *factors, struct sl_block_change *change)
{
    if (u != NULL && f != NULL)
        sgd_run(params, m, u, f, n, factors, change, true, true);
    else if (u != NULL)
        sgd_run(params, m, u, NULL, n, factors, change, true, false);
    else if (f != NULL)
        sgd_run(params, m, NULL, f, n, factors, change, false, true);
    else
        sgd_run(params, m, NULL, NULL, n, factors, change, false, false);
}

/* Sums of squares and products go into lanes of floats, as wide as what comes from memory, and from there into doubles after each run of MEASURED_AT_ONCE elements:
 * doubles alone would take twice the time that the memory does. Plain arrays with fixed bounds: gcc keeps them in registers on every instruction set, which it
 * does not with vector types wider than the set's own (a tenth of the speed). */
#define LANES 16
#define MEASURED_AT_ONCE 256
#define SQUARES_MAX                                                                                          \
    1e37 /* up to here no lane of floats has overflowed, nor have those of norm2, which are at most twice as much */

struct lanes {
    float norm2[LANES], dot[LANES], unimodal2[LANES], fused2[LANES];
};

static inline __attribute__((always_inline)) void add_element(struct lanes *lanes, int lane, float u, float f)
{
    float r = u + f;
    lanes->norm2[lane] += r * r;
    lanes->dot[lane] += u * f;
    lanes->unimodal2[lane] += u * u;
    lanes->fused2[lane] += f * f;
}

/* What is done before a sum is measured; known when it is compiled. */
enum adding {
    ADD_NOTHING,
    ADD_MORE, /* sum += more */
    ADD_FROM  /* sum = from + more */
};

/* One element of a sum, after what is still to be added. */
static inline __attribute__((always_inline)) float take_element(
        float *sum, const float *from, const float *more, size_t i, enum adding adding)
{
    if (adding == ADD_MORE)
        sum[i] += more[i];
    else if (adding == ADD_FROM)
        sum[i] = from[i] + more[i];
    return sum[i];
}

static inline __attribute__((always_inline)) struct sl_block_sums join_lanes(const struct lanes *lanes)
{
    struct sl_block_sums total = {0};
    for (int lane = 0; lane < LANES; lane++) {
        total.norm2 += (double)lanes->norm2[lane];
        total.dot += (double)lanes->dot[lane];
        total.unimodal2 += (double)lanes->unimodal2[lane];
        total.fused2 += (double)lanes->fused2[lane];
    }
    return total;
}

static inline __attribute__((always_inline)) void add_sums(
        struct sl_block_sums *sums, const struct sl_block_sums *more)
{
    sums->norm2 += more->norm2;
    sums->dot += more->dot;
    sums->unimodal2 += more->unimodal2;
    sums->fused2 += more->fused2;
}

/* The same of a run whose squares leave float's range, or that has a number that is not finite. */
static struct sl_block_sums measure_large(const float *u, const float *f, size_t n)
{
    struct sl_block_sums total = {0};
    for (size_t i = 0; i < n; i++) {
        double x = u == NULL ? 0.0 : (double)u[i], y = f == NULL ? 0.0 : (double)f[i], r = x + y;
        total.norm2 += r * r;
        total.dot += x * y;
        total.unimodal2 += x * x;
        total.fused2 += y * y;
    }
    return total;
}

BODY measure_run(struct sl_block_sums *sums, float *restrict u, const float *from_u, const float *more_u,
        float *restrict f, const float *from_f, const float *more_f, size_t n, bool has_u, bool has_f,
        enum adding adding)
{
    struct lanes lanes = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            size_t at = i + (size_t)lane;
            add_element(&lanes, lane, has_u ? take_element(u, from_u, more_u, at, adding) : 0.0F,
                    has_f ? take_element(f, from_f, more_f, at, adding) : 0.0F);
        }
    for (int lane = 0; i < n; i++, lane++)
        add_element(&lanes, lane, has_u ? take_element(u, from_u, more_u, i, adding) : 0.0F,
                has_f ? take_element(f, from_f, more_f, i, adding) : 0.0F);
    struct sl_block_sums total = join_lanes(&lanes);
    if (!(total.unimodal2 + total.fused2 <= SQUARES_MAX))
        total = measure_large(has_u ? u : NULL, has_f ? f : NULL, n);
    add_sums(sums, &total);
}

/* Where a sum is missing the other one's pointers stand for it, and are not followed; the same goes for `from` and `more`. */
BODY measure_tags(struct sl_block_sums *sums, float *u, const float *from_u, const float *more_u, float *f,
        const float *from_f, const float *more_f, size_t n, bool has_u, bool has_f, enum adding adding)
{
    struct sl_block_sums total = {0};
    for (size_t i = 0; i < n; i += MEASURED_AT_ONCE) {
        size_t now = n - i < MEASURED_AT_ONCE ? n - i : MEASURED_AT_ONCE;
        measure_run(&total, u + i, from_u + i, more_u + i, f + i, from_f + i, more_f + i, now, has_u, has_f,
                adding);
    }
    add_sums(sums, &total);
}

BODY measure_present(struct sl_block_sums *sums, float *u, const float *from_u, const float *more_u, float *f,
        const float *from_f, const float *more_f, size_t n, enum adding adding)
{
    if (u != NULL && f != NULL)
        measure_tags(sums, u, from_u, more_u, f, from_f, more_f, n, true, true, adding);
    else if (u != NULL)
        measure_tags(sums, u, from_u, more_u, u, from_u, more_u, n, true, false, adding);
    else if (f != NULL)
        measure_tags(sums, f, from_f, more_f, f, from_f, more_f, n, false, true, adding);
}

BODY measure_body(struct sl_block_sums *sums, const float *unimodal, const float *fused, size_t n)
{
    /* nothing is added, so nothing is written */
    float *u = (float *)(uintptr_t)unimodal, *f = (float *)(uintptr_t)fused;
    measure_present(sums, u, u, u, f, f, f, n, ADD_NOTHING);
}

BODY add_measure_body(struct sl_block_sums *sums, float *u, const float *from_u, const float *more_u,
        float *f, const float *from_f, const float *more_f, size_t n)
{
    if (from_u == NULL && from_f == NULL)
        measure_present(sums, u, u, more_u, f, f, more_f, n, ADD_MORE);
    else
        measure_present(sums, u, from_u, more_u, f, from_f, more_f, n, ADD_FROM);
}

/* one wrapper for each body and instruction set */
#define KERNELS(suffix, attribute)                                                                           \
    attribute static void adamw_##suffix(float *restrict params, float *restrict m, float *restrict v,       \
            const float *unimodal, const float *fused, size_t n, const struct ps_factors *factors,           \
            struct sl_block_change *change)                                                                  \
    {                                                                                                        \
        adamw_body(params, m, v, unimodal, fused, n, factors, change);                                       \
    }                                                                                                        \
    attribute static void sgd_##suffix(float *restrict params, float *restrict m, const float *unimodal,     \
            const float *fused, size_t n, const struct ps_factors *factors, struct sl_block_change *change)  \
    {                                                                                                        \
        sgd_body(params, m, unimodal, fused, n, factors, change);                                            \
    }                                                                                                        \
    attribute static void measure_##suffix(                                                                  \
            struct sl_block_sums *sums, const float *unimodal, const float *fused, size_t n)                 \
    {                                                                                                        \
        measure_body(sums, unimodal, fused, n);                                                              \
    }                                                                                                        \
    attribute static void add_measure_##suffix(struct sl_block_sums *sums, float *unimodal,                  \
            const float *from_unimodal, const float *more_unimodal, float *fused, const float *from_fused,   \
            const float *more_fused, size_t n)                                                               \
    {                                                                                                        \
        add_measure_body(sums, unimodal, from_unimodal, more_unimodal, fused, from_fused, more_fused, n);    \
    }                                                                                                        \
    static const struct ps_kernels kernels_##suffix = {                                                      \
            #suffix, adamw_##suffix, sgd_##suffix, measure_##suffix, add_measure_##suffix};

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
