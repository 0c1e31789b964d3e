#pragma once
/* Matrix products with weights (the small ones of attention are in attention.c). A linear layer is y = x Wᵀ +
 * b with W (out, in), as PyTorch has it; the three products of its forward and backward are named after what
 * they yield. Rows of a matrix may be any distance ≥ its width apart.
 *
 * Products over very many rows are cut into even chunks of wk_chunk rows where an elementwise kernel follows, so
 * that the kernel finds the rows in cache.
 *
 * A large product is cut into tiles, which the threads of a team share out. OpenBLAS's bits depend on the shape of a
 * call, so the tiles follow from the product's shape alone and are the same for one thread. BLAS must be on one
 * thread: see blas.h.
 */
#include "worker/model/blas.h"
#include "worker/model/run.h"

#include <stddef.h>

/* wk_chunk_most is the largest number of rows to work on at a time for rows of `width` floats: enough that packing the
 * weights costs little beside the product, else few enough that the rows stay in a level 2 cache. wk_chunk is the
 * number for `rows` rows, of which no chunk is left with a few. */
size_t wk_chunk_most(size_t width);
size_t wk_chunk(size_t width, size_t rows);

/* wk_product_forward: y = x Wᵀ. Shapes: y (rows, out), x (rows, in), w (out, in). */
void wk_product_forward(const struct wk_run *run, float *y, size_t y_stride, const float *x, size_t x_stride,
        const float *w, size_t rows, size_t out, size_t in);

/* wk_product_input: dx = dy W, or dx += dy W with add. Shapes as above. */
void wk_product_input(const struct wk_run *run, float *dx, size_t dx_stride, const float *dy,
        size_t dy_stride, const float *w, size_t rows, size_t out, size_t in, bool add);

/* wk_product_weight: dw += dyᵀ x. Shapes: dw (out, in). */
void wk_product_weight(const struct wk_run *run, float *dw, const float *dy, size_t dy_stride, const float *x,
        size_t x_stride, size_t rows, size_t out, size_t in);

/* wk_linear_forward: y = x Wᵀ + b, chunk by chunk. y and x without gaps. */
void wk_linear_forward(const struct wk_run *run, float *y, const float *x, struct wk_linear_at at,
        size_t rows, size_t out, size_t in);

/* wk_linear_gradient adds the gradients of weight and bias for one tag, of what is not frozen. Shapes: dy (rows, out), x (rows, in). */
void wk_linear_gradient(const struct wk_run *run, const struct wk_tags *tags, int tag, struct wk_linear_at at,
        const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t rows, size_t out,
        size_t in);

/* wk_linear_backward adds the gradients of weight and bias for each tag and, where dx is not NULL, sets dx =
 * dy W (add: +=). Inverts wk_linear_forward. Shapes: dy (rows, out), dx (rows, in) per tag, stacked. */
void wk_linear_backward(const struct wk_run *run, const struct wk_tags *tags, float *dx, const float *dy,
        const float *x, struct wk_linear_at at, size_t rows, size_t out, size_t in, bool add);

/* wk_linear_flops counts the matrix products of a forward (tags 0), or of a backward with so many tags. input: it has a dx. */
double wk_linear_flops(struct wk_linear_at at, size_t rows, size_t out, size_t in, int tags, bool input);
