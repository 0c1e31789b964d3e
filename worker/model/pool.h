#pragma once
/* From the rows of each sample to one row: their mean, or the first of them; and back. */
#include "worker/model/run.h"

/* wk_pool_mean: pooled[b] = mean of the rows [offset[b], offset[b + 1]) of x, summed in order. Rows of pooled
 * are `stride` apart. Shapes: pooled (B, d), x (offset[B], d). Every sample has a row. */
void wk_pool_mean(
        const struct wk_run *run, float *pooled, size_t stride, const float *x, const int *offset, size_t d);

/* wk_pool_mean_backward inverts wk_pool_mean: dx[r] = dpooled[b] / rows of b. */
void wk_pool_mean_backward(const struct wk_run *run, float *dx, const float *dpooled, size_t stride,
        const int *offset, size_t d);

/* wk_pool_first and wk_pool_first_backward: the same with the first row instead of the mean. */
void wk_pool_first(const struct wk_run *run, float *pooled, const float *x, const int *offset, size_t d);
void wk_pool_first_backward(
        const struct wk_run *run, float *dx, const float *dpooled, const int *offset, size_t d);
