#pragma once
/* Matrix products with weights (the small ones of attention are in attention.c). A linear layer is y = x Wᵀ +
 * b with W (out, in), as PyTorch has it; the three products of its forward and backward are named after what
 * they yield. Rows of a matrix may be any distance ≥ its width apart.
 *
 * Products over many rows are cut into chunks of wk_chunk rows where an elementwise kernel follows, so that
 * the kernel finds the rows in cache. BLAS must be on one thread: see blas.h.
 */
#include "worker/model/blas.h"
#include "worker/model/run.h"

#include <stddef.h>

/* wk_chunk is the number of rows to work on at a time for rows of `width` floats: enough that packing the
 * weights is cheap, few enough that the rows stay in a level 2 cache. */
size_t wk_chunk(size_t width);

/* wk_product_forward: y = x Wᵀ. Shapes: y (rows, out), x (rows, in), w (out, in). */
void wk_product_forward(float *y, size_t y_stride, const float *x, size_t x_stride, const float *w,
        size_t rows, size_t out, size_t in);

/* wk_product_input: dx = dy W, or dx += dy W with add. Shapes as above. */
void wk_product_input(float *dx, size_t dx_stride, const float *dy, size_t dy_stride, const float *w,
        size_t rows, size_t out, size_t in, bool add);

/* wk_product_weight: dw += dyᵀ x. Shapes: dw (out, in). */
void wk_product_weight(float *dw, const float *dy, size_t dy_stride, const float *x, size_t x_stride,
        size_t rows, size_t out, size_t in);

/* wk_linear_forward: y = x Wᵀ + b, chunk by chunk. y and x without gaps. */
void wk_linear_forward(const struct wk_run *run, float *y, const float *x, struct wk_linear_at at,
        size_t rows, size_t out, size_t in);

/* wk_linear_backward adds the gradients of weight and bias for each tag and, where dx is not NULL, sets dx =
 * dy W (add: +=). Inverts wk_linear_forward. Shapes: dy (rows, out), dx (rows, in) per tag, stacked. */
void wk_linear_backward(const struct wk_run *run, const struct wk_tags *tags, float *dx, const float *dy,
        const float *x, struct wk_linear_at at, size_t rows, size_t out, size_t in, bool add);
