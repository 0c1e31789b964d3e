/* Pooling over the rows of a sample: see pool.h. */
#include "worker/model/pool.h"

#include <string.h>

void wk_pool_mean(
        const struct wk_run *run, float *pooled, size_t stride, const float *x, const int *offset, size_t d)
{
    for (int b = 0; b < run->batch->count; b++, pooled += stride) {
        float share = 1.0F / (float)(offset[b + 1] - offset[b]);
        memset(pooled, 0, d * sizeof(*pooled));
        for (int r = offset[b]; r < offset[b + 1]; r++)
            run->v->axpy(pooled, x + (size_t)r * d, share, d);
    }
}

void wk_pool_mean_backward(
        const struct wk_run *run, float *dx, const float *dpooled, size_t stride, const int *offset, size_t d)
{
    for (int b = 0; b < run->batch->count; b++, dpooled += stride) {
        float share = 1.0F / (float)(offset[b + 1] - offset[b]);
        for (int r = offset[b]; r < offset[b + 1]; r++) {
            memset(dx + (size_t)r * d, 0, d * sizeof(*dx));
            run->v->axpy(dx + (size_t)r * d, dpooled, share, d);
        }
    }
}

void wk_pool_first(const struct wk_run *run, float *pooled, const float *x, const int *offset, size_t d)
{
    for (int b = 0; b < run->batch->count; b++)
        memcpy(pooled + (size_t)b * d, x + (size_t)offset[b] * d, d * sizeof(*x));
}

void wk_pool_first_backward(
        const struct wk_run *run, float *dx, const float *dpooled, const int *offset, size_t d)
{
    memset(dx, 0, (size_t)offset[run->batch->count] * d * sizeof(*dx));
    for (int b = 0; b < run->batch->count; b++)
        memcpy(dx + (size_t)offset[b] * d, dpooled + (size_t)b * d, d * sizeof(*dx));
}
