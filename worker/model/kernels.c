/* Matrix products on OpenBLAS: see kernels.h. */
#include "worker/model/kernels.h"

#include "worker/model/gemm.h"

#define CHUNK_FLOATS ((size_t)256 * 1024) /* 1 MiB: half of a common level 2 cache */
#define CHUNK_LEAST 256 /* rows: below, packing the weights for each chunk costs more than the cache saves */

size_t wk_chunk(size_t width)
{
    size_t rows = CHUNK_FLOATS / (width == 0 ? 1 : width);
    return rows < CHUNK_LEAST ? CHUNK_LEAST : rows;
}

void wk_product_forward(float *y, size_t y_stride, const float *x, size_t x_stride, const float *w,
        size_t rows, size_t out, size_t in)
{
    if (rows == 0)
        return;
    wk_gemm(WK_PLAIN, WK_TRANSPOSED, y, y_stride, x, x_stride, w, in, rows, out, in, false);
}

void wk_product_input(float *dx, size_t dx_stride, const float *dy, size_t dy_stride, const float *w,
        size_t rows, size_t out, size_t in, bool add)
{
    if (rows == 0)
        return;
    wk_gemm(WK_PLAIN, WK_PLAIN, dx, dx_stride, dy, dy_stride, w, in, rows, in, out, add);
}

void wk_product_weight(float *dw, const float *dy, size_t dy_stride, const float *x, size_t x_stride,
        size_t rows, size_t out, size_t in)
{
    if (rows == 0)
        return;
    wk_gemm(WK_TRANSPOSED, WK_PLAIN, dw, in, dy, dy_stride, x, x_stride, out, in, rows, true);
}

void wk_linear_forward(const struct wk_run *run, float *y, const float *x, struct wk_linear_at at,
        size_t rows, size_t out, size_t in)
{
    size_t chunk = wk_chunk(out);
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        wk_product_forward(y + r * out, out, x + r * in, in, run->params + at.weight, n, out, in);
        run->v->bias(y + r * out, out, run->params + at.bias, n, out);
    }
}

void wk_linear_backward(const struct wk_run *run, const struct wk_tags *tags, float *dx, const float *dy,
        const float *x, struct wk_linear_at at, size_t rows, size_t out, size_t in, bool add)
{
    for (int t = 0; t < tags->count; t++) {
        const float *d = dy + (size_t)t * rows * out;
        wk_product_weight(tags->grads[t] + at.weight, d, out, x, in, rows, out, in);
        run->v->column_sum(tags->grads[t] + at.bias, d, out, rows, out);
    }
    if (dx != NULL)
        wk_product_input(dx, in, dy, out, run->params + at.weight, (size_t)tags->count * rows, out, in, add);
}
