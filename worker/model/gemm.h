#pragma once
/* The one door to sgemm: the house's own where the CPU has one (sgemm.h), else OpenBLAS's. Through it a benchmark can see every product that a model does: which
 * shapes, how often, how long. Training sets no probe and pays one load per product.
 *
 *     wk_gemm(WK_TRANSPOSED, WK_PLAIN, dw, in, dy, out, x, in, out, in, rows, true);      // dw += dyᵀ x
 */
#include <stdbool.h>
#include <stddef.h>

#define WK_PLAIN false
#define WK_TRANSPOSED true

/* What was multiplied: c (m, n) = op(a) (m, k) op(b) (k, n), or += with add. */
struct wk_gemm_shape {
    bool a_transposed, b_transposed, add;
    size_t m, n, k;
};

/* A pair of functions that are called around every product, on the thread that does it. No clock is read here:
 * that is the observer's business. */
struct wk_gemm_probe {
    void (*begin)(void *context);
    void (*end)(void *context, const struct wk_gemm_shape *shape);
    void *context;
};

/* wk_gemm does c = op(a) op(b), or += with add. Rows of each matrix lie its stride apart, as stored. Shapes: c
 * (m, n), op(a) (m, k), op(b) (k, n). */
void wk_gemm(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a, size_t a_stride,
        const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add);

/* wk_gemm_blas is OpenBLAS's, whatever the CPU has: for comparisons. No probe sees it. */
void wk_gemm_blas(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a,
        size_t a_stride, const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add);

/* wk_gemm_observe sets the probe of the whole process; NULL takes it away. Borrows probe until then. Thread:
 * only while no product runs. */
void wk_gemm_observe(const struct wk_gemm_probe *probe);
