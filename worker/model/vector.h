#pragma once
/* Elementwise kernels: everything in forward and backward that is not a matrix product, fused so that a row
 * is read once while it lies in cache. The same code (vector_code.h) is compiled for plain vectors of 4
 * lanes, for AVX2 with FMA and for AVX-512; the first use of wk_vector() picks one by what the CPU can do.
 * The bits of a result depend on that choice, and on nothing else.
 *
 *     const struct wk_vector *v = wk_vector();
 *     v->norm(h, mean, rstd, x, gamma, beta, rows, n);
 *
 * Shapes: matrices are row-major (rows, n) without gaps unless a stride is given. `tags` gradients of the
 * same activations lie `tag_stride` floats apart (see run.h). Arguments may alias only where a comment says
 * so. Nothing here allocates or fails; NaN stays NaN. Dropout masks are rows of (n + 7) / 8 bytes, bit i % 8
 * of byte i / 8 set where element i is kept; mask NULL keeps all.
 */
#include "worker/model/sgemm.h"

#include <stddef.h>
#include <stdint.h>

#define WK_NORM_EPS 1e-12F /* of every LayerNorm, as ViT and BERT have it */
#define WK_TAGS_MAX 2

struct wk_vector {
    const char *name; /* "plain", "avx2", "avx512" */

    /* sgemm: the matrix product for this instruction set; NULL: OpenBLAS's is as good. gemm.h is its caller. */
    wk_sgemm *sgemm;

    /* exp: y = e^x. Relative error at most 2e-7 for x in [-86, 88]; exactly 0 below -86.6; above 88.3 it
     * stays at e^88.3. y may be x. Source: Cody & Waite range reduction, degree-6 polynomial. */
    void (*exp)(float *y, const float *x, size_t n);

    /* gelu: y = u + bias, act = y Φ(y), the exact (erf) form. Error of Φ at most 2e-7. Shapes: act, u (rows,
     * n), bias (n,). Source: Hendrycks & Gimpel 2016; erfc(z) e^(z²) as a polynomial in 1 / (1 + 0.33 z). */
    void (*gelu)(float *act, const float *u, const float *bias, size_t rows, size_t n);

    /* gelu_backward computes act once more and turns, for each tag, the gradient of act in d into that of u,
     * adding its column sums to dbias[tag] unless that is NULL. Inverts gelu. Shapes: act, u (rows, n), d (rows, n) per tag,
     * bias, dbias[tag] (n,). */
    void (*gelu_backward)(float *act, float *d, float *const dbias[], const float *u, const float *bias,
            size_t rows, size_t n, int tags, size_t tag_stride);

    /* bias: y += bias, row by row. Shapes: y (rows, n) with rows `stride` apart, bias (n,). */
    void (*bias)(float *y, size_t stride, const float *bias, size_t rows, size_t n);

    /* add_norm: sum = residual + dropout(sum + bias), norm = LayerNorm(sum): the end of an attention or
     * feed-forward, whose matrix product lies in sum. Rows of residual are residual_stride floats apart. norm
     * NULL: no LayerNorm. Shapes: sum, norm (rows, n), mean, rstd (rows,). */
    void (*add_norm)(float *sum, float *norm, float *mean, float *rstd, const float *bias,
            const float *residual, size_t residual_stride, const uint8_t *mask, float scale,
            const float *gamma, const float *beta, size_t rows, size_t n);

    /* norm: y = LayerNorm(x) with the statistics kept for backward. y may be x. Source: Ba et al. 2016. */
    void (*norm)(float *y, float *mean, float *rstd, const float *x, const float *gamma, const float *beta,
            size_t rows, size_t n);

    /* norm_backward: for each tag dx = (or, with add, +=) gradient of x from that of y in dy; adds to
     * dgamma[tag], dbeta[tag], unless both are NULL. dx may be dy. Inverts norm. Shapes: dx, dy (rows, n) per tag, x (rows, n),
     * mean, rstd (rows,). */
    void (*norm_backward)(float *dx, const float *dy, float *const dgamma[], float *const dbeta[],
            const float *x, const float *mean, const float *rstd, const float *gamma, size_t rows, size_t n,
            int tags, size_t tag_stride, int add);

    /* softmax: each row x ← softmax(scale x), in place. Rows `stride` apart. */
    void (*softmax)(float *x, size_t stride, float scale, size_t rows, size_t n);

    /* softmax_backward: dp ← scale · p ∘ (dp − Σ dp ∘ p): the gradient of the scores before scaling, in
     * place. Inverts softmax. */
    void (*softmax_backward)(float *dp, const float *p, float scale, size_t rows, size_t n);

    /* drop: y = scale · x where kept, else 0. y may be x. */
    void (*drop)(float *y, const float *x, const uint8_t *mask, float scale, size_t rows, size_t n);

    /* column_sum: sum += Σ over rows of x, rows `stride` apart, in order of rows. Shapes: sum (n,). */
    void (*column_sum)(float *sum, const float *x, size_t stride, size_t rows, size_t n);

    /* axpy: y += a x. */
    void (*axpy)(float *y, const float *x, float a, size_t n);
};

/* wk_vector gives the table for this CPU. SHELFLIFE_VECTOR=plain|avx2|avx512 in the environment asks for less
 * than the CPU can do; a wish that it cannot fulfil is ignored. Thread: any. */
const struct wk_vector *wk_vector(void);

/* wk_vector_variant gives the index-th table that this CPU can run, the plainest first, or NULL after the
 * last: for tests. */
const struct wk_vector *wk_vector_variant(int index);
