/* The body of the elementwise kernels, included once by each of vector_plain.c, vector_avx2.c and
 * vector_avx512.c, and by nothing else. The including file gives
 *     LANES                                      floats of a register
 *     vf, vi                                     vectors of LANES float and int32_t
 *     splat(x) fma_(a, b, c) max_(a, b)          as the names say; fma_ may round twice where the CPU has no FMA; max_(a, b) is b if either is NaN
 *     load_part(p, n) store_part(p, v, n)        the first n < LANES lanes, the others 0 or left alone
 *     TABLE, TABLE_NAME                          the name of the table to define and the text in it
 *     TABLE_SGEMM                                the matrix product that goes with it, or NULL
 * Reductions keep one accumulator per lane and add the lanes in one fixed order at the end. */
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef float vf_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE vf load(const float *p)
{
    return (vf) * (const vf_unaligned *)p;
}

INLINE void store(float *p, vf v)
{
    *(vf_unaligned *)p = v;
}

/* Lanes [i, i + LANES) of a row of n: whole where they are all inside. Every loop over a row steps by LANES
 * and uses these. */
INLINE vf load_at(const float *p, size_t i, size_t n)
{
    return i + LANES <= n ? load(p + i) : load_part(p + i, n - i);
}

INLINE void store_at(float *p, vf v, size_t i, size_t n)
{
    if (i + LANES <= n)
        store(p + i, v);
    else
        store_part(p + i, v, n - i);
}

INLINE vf select_(vi condition, vf yes, vf no)
{
    return (vf)((condition & (vi)yes) | (~condition & (vi)no));
}

/* Lanes past the end of the row become 0, so that they add nothing to a sum. */
INLINE vf inside(vf v, size_t i, size_t n)
{
    if (i + LANES <= n)
        return v;
    vi lane;
    for (int l = 0; l < LANES; l++)
        lane[l] = i + (size_t)l < n ? -1 : 0;
    return (vf)(lane & (vi)v);
}

INLINE float sum_lanes(vf v)
{
    float lanes[LANES];
    memcpy(lanes, &v, sizeof(lanes));
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lanes[l] += lanes[l + width];
    return lanes[0];
}

/* e^x for x = k ln 2 + r, |r| <= ln 2 / 2: a polynomial for e^r, k added to the exponent's bits. */
INLINE vf exp_(vf x)
{
    const vf magic = splat(
            12582912.0F); /* 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits */
    vi tiny = x < splat(-86.6F);
    vf y = max_(splat(-86.6F), x);
    y = select_(y > splat(88.3F), splat(88.3F), y);
    vf k = fma_(y, splat(1.44269504088896341F), magic);
    vi exponent =
            (vi)((vu)k << 23); /* the low bits of k's pattern are the integer; the rest is shifted out */
    k -= magic;
    vf r = fma_(k, splat(-0.693359375F),
            y); /* ln 2 in two parts: the first has few bits, so that k times it is exact */
    r = fma_(k, splat(2.12194440e-4F), r);
    vf p = splat(1.9875691500e-4F);
    p = fma_(p, r, splat(1.3981999507e-3F));
    p = fma_(p, r, splat(8.3334519073e-3F));
    p = fma_(p, r, splat(4.1665795894e-2F));
    p = fma_(p, r, splat(1.6666665459e-1F));
    p = fma_(p, r, splat(5.0000001201e-1F));
    p = fma_(p * r, r, r + splat(1.0F));
    return select_(tiny, splat(0.0F), (vf)((vi)p + exponent));
}

/* Φ(x) and the density φ(x) of the standard normal. Φ(-|x|) = erfc(|x| / √2) / 2 keeps its relative accuracy
 * in the lower tail. */
INLINE vf normal(vf x, vf *ret_density)
{
    vf a = (vf)((vi)x & ((vi)splat(-0.0F) ^ -1));
    vf e = exp_(splat(-0.5F) * x * x);
    vf t = splat(1.0F) / fma_(a, splat(0.33F * 0.70710678118654752F), splat(1.0F));
    vf p = splat(-0.135928814F);
    p = fma_(p, t, splat(0.462688299F));
    p = fma_(p, t, splat(-0.355439059F));
    p = fma_(p, t, splat(0.412541718F));
    p = fma_(p, t, splat(0.0450105821F));
    p = fma_(p, t, splat(0.201923845F));
    p = fma_(p, t, splat(0.182837238F));
    p = fma_(p, t, splat(0.18636611F));
    vf tail = splat(0.5F) * p * t * e;
    *ret_density = splat(0.398942280401432678F) * e;
    return select_(x > splat(0.0F), splat(1.0F) - tail, tail);
}

/* All ones in the lanes whose bit in a dropout mask is set. */
INLINE vi kept(const uint8_t *mask, size_t i)
{
    vi lane, zero = {0};
    for (int l = 0; l < LANES; l++)
        lane[l] = 1 << l;
    uint32_t bits = mask[i / 8];
#if LANES == 4
    bits >>= i % 8;
#elif LANES == 16
    bits |= (uint32_t)mask[i / 8 + 1] << 8; /* masks are padded: see dropout.h */
#endif
    return ((zero + (int)bits) & lane) != zero;
}

static void exp_rows(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        store_at(y, exp_(load_at(x, i, n)), i, n);
}

static void gelu(
        float *restrict act, const float *restrict u, const float *restrict bias, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, act += n, u += n) {
        for (size_t i = 0; i < n; i += LANES) {
            vf density, x = load_at(u, i, n) + load_at(bias, i, n);
            store_at(act, x * normal(x, &density), i, n);
        }
    }
}

static void gelu_backward(float *restrict act, float *restrict d, float *const dbias[],
        const float *restrict u, const float *restrict bias, size_t rows, size_t n, int tags,
        size_t tag_stride)
{
    for (size_t r = 0; r < rows; r++, act += n, u += n, d += n) {
        for (size_t i = 0; i < n; i += LANES) {
            vf density, x = load_at(u, i, n) + load_at(bias, i, n);
            vf cdf = normal(x, &density);
            vf slope = fma_(x, density, cdf);
            store_at(act, x * cdf, i, n);
            for (int t = 0; t < tags; t++) {
                float *row = d + (size_t)t * tag_stride;
                vf g = load_at(row, i, n) * slope;
                store_at(row, g, i, n);
                if (dbias[t] != NULL)
                    store_at(dbias[t], load_at(dbias[t], i, n) + g, i, n);
            }
        }
    }
}

static void add_bias(float *restrict y, size_t stride, const float *restrict bias, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, y += stride)
        for (size_t i = 0; i < n; i += LANES)
            store_at(y, load_at(y, i, n) + load_at(bias, i, n), i, n);
}

/* The second and third pass of a LayerNorm over one row, after its sum is known. y may be x. */
INLINE void norm_row(float *y, float *ret_mean, float *ret_rstd, const float *x, float sum,
        const float *gamma, const float *beta, size_t n)
{
    float mean = sum / (float)n;
    vf squares = splat(0.0F), m = splat(mean);
    for (size_t i = 0; i < n; i += LANES) {
        vf c = inside(load_at(x, i, n) - m, i, n);
        squares = fma_(c, c, squares);
    }
    float rstd = 1.0F / sqrtf(sum_lanes(squares) / (float)n + WK_NORM_EPS);
    vf scale = splat(rstd);
    for (size_t i = 0; i < n; i += LANES) {
        vf hat = (load_at(x, i, n) - m) * scale;
        store_at(y, fma_(hat, load_at(gamma, i, n), load_at(beta, i, n)), i, n);
    }
    *ret_mean = mean;
    *ret_rstd = rstd;
}

static void add_norm(float *sum, float *norm_out, float *mean, float *rstd, const float *bias,
        const float *residual, size_t residual_stride, const uint8_t *mask, float scale, const float *gamma,
        const float *beta, size_t rows, size_t n)
{
    vf s = splat(scale);
    for (size_t r = 0; r < rows; r++, sum += n, residual += residual_stride) {
        vf total = splat(0.0F);
        for (size_t i = 0; i < n; i += LANES) {
            vf y = load_at(sum, i, n) + load_at(bias, i, n);
            if (mask != NULL)
                y = (vf)(kept(mask, i) & (vi)(y * s));
            y += load_at(residual, i, n);
            store_at(sum, y, i, n);
            total += y; /* lanes past the end are 0: so are all three terms */
        }
        if (mask != NULL)
            mask += (n + 7) / 8;
        if (norm_out != NULL) {
            norm_row(norm_out, mean + r, rstd + r, sum, sum_lanes(total), gamma, beta, n);
            norm_out += n;
        }
    }
}

static void norm(float *y, float *mean, float *rstd, const float *x, const float *gamma, const float *beta,
        size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, y += n, x += n) {
        vf total = splat(0.0F);
        for (size_t i = 0; i < n; i += LANES)
            total += load_at(x, i, n);
        norm_row(y, mean + r, rstd + r, x, sum_lanes(total), gamma, beta, n);
    }
}

/* One row of one tag: with x̂ = (x − mean) rstd and g = dy γ, dx = rstd (g − mean(g) − x̂ mean(g x̂)). dgamma and dbeta NULL: nothing is summed up. */
INLINE void norm_backward_row(float *dx, const float *dy, float *restrict dgamma, float *restrict dbeta,
        const float *restrict x, float mean, float rstd, const float *restrict gamma, size_t n, int add)
{
    vf m = splat(mean), s = splat(rstd), sum = splat(0.0F), dot = splat(0.0F);
    for (size_t i = 0; i < n; i += LANES) {
        vf d = load_at(dy, i, n), hat = (load_at(x, i, n) - m) * s, g = d * load_at(gamma, i, n);
        if (dgamma != NULL) {
            store_at(dgamma, fma_(d, hat, load_at(dgamma, i, n)), i, n);
            store_at(dbeta, load_at(dbeta, i, n) + d, i, n);
        }
        sum += g;
        dot = fma_(g, hat, dot);
    }
    vf a = splat(sum_lanes(sum) / (float)n), b = splat(sum_lanes(dot) / (float)n);
    for (size_t i = 0; i < n; i += LANES) {
        vf hat = (load_at(x, i, n) - m) * s, g = load_at(dy, i, n) * load_at(gamma, i, n);
        vf v = (g - a - hat * b) * s;
        store_at(dx, add ? load_at(dx, i, n) + v : v, i, n);
    }
}

static void norm_backward(float *dx, const float *dy, float *const dgamma[], float *const dbeta[],
        const float *x, const float *mean, const float *rstd, const float *gamma, size_t rows, size_t n,
        int tags, size_t tag_stride, int add)
{
    for (size_t r = 0; r < rows; r++)
        for (int t = 0; t < tags; t++) {
            size_t at = (size_t)t * tag_stride + r * n;
            if (dgamma[t] == NULL) /* a loop of its own */
                norm_backward_row(dx + at, dy + at, NULL, NULL, x + r * n, mean[r], rstd[r], gamma, n, add);
            else
                norm_backward_row(
                        dx + at, dy + at, dgamma[t], dbeta[t], x + r * n, mean[r], rstd[r], gamma, n, add);
        }
}

static void softmax(float *x, size_t stride, float scale, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, x += stride) {
        float peak = x[0];
        vf top = splat(peak);
        for (size_t i = 0; i + LANES <= n; i += LANES)
            top = max_(top, load(x + i));
        float lanes[LANES];
        memcpy(lanes, &top, sizeof(lanes));
        for (int l = 0; l < LANES; l++)
            peak = lanes[l] > peak ? lanes[l] : peak;
        for (size_t i = n / LANES * LANES; i < n; i++)
            peak = x[i] > peak ? x[i] : peak;
        vf p = splat(peak), s = splat(scale), total = splat(0.0F);
        for (size_t i = 0; i < n; i += LANES) {
            vf e = inside(exp_((load_at(x, i, n) - p) * s), i, n);
            store_at(x, e, i, n);
            total += e;
        }
        vf inverse = splat(1.0F / sum_lanes(total));
        for (size_t i = 0; i < n; i += LANES)
            store_at(x, load_at(x, i, n) * inverse, i, n);
    }
}

static void softmax_backward(float *restrict dp, const float *restrict p, float scale, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, dp += n, p += n) {
        vf dot = splat(0.0F), s = splat(scale);
        for (size_t i = 0; i < n; i += LANES)
            dot = fma_(load_at(dp, i, n), load_at(p, i, n), dot);
        vf d = splat(sum_lanes(dot));
        for (size_t i = 0; i < n; i += LANES)
            store_at(dp, load_at(p, i, n) * (load_at(dp, i, n) - d) * s, i, n);
    }
}

static void drop(float *y, const float *x, const uint8_t *mask, float scale, size_t rows, size_t n)
{
    vf s = splat(scale);
    for (size_t r = 0; r < rows; r++, y += n, x += n, mask += (n + 7) / 8)
        for (size_t i = 0; i < n; i += LANES)
            store_at(y, (vf)(kept(mask, i) & (vi)(load_at(x, i, n) * s)), i, n);
}

static void column_sum(float *restrict sum, const float *restrict x, size_t stride, size_t rows, size_t n)
{
    /* some rows at a time, so that memory is read nearly in order and the sums are loaded seldom; the order
     * of rows stays */
    for (size_t first = 0; first < rows; first += 8) {
        size_t end = first + 8 < rows ? first + 8 : rows;
        for (size_t i = 0; i < n; i += LANES) {
            vf total = load_at(sum, i, n);
            for (size_t r = first; r < end; r++)
                total += load_at(x + r * stride, i, n);
            store_at(sum, total, i, n);
        }
    }
}

static void axpy(float *restrict y, const float *restrict x, float a, size_t n)
{
    vf s = splat(a);
    for (size_t i = 0; i < n; i += LANES)
        store_at(y, fma_(load_at(x, i, n), s, load_at(y, i, n)), i, n);
}

const struct wk_vector TABLE = {
        .name = TABLE_NAME,
        .sgemm = TABLE_SGEMM,
        .exp = exp_rows,
        .gelu = gelu,
        .gelu_backward = gelu_backward,
        .bias = add_bias,
        .add_norm = add_norm,
        .norm = norm,
        .norm_backward = norm_backward,
        .softmax = softmax,
        .softmax_backward = softmax_backward,
        .drop = drop,
        .column_sum = column_sum,
        .axpy = axpy,
};
