#pragma once
/* Gradient buffers that are used again and again: one holds both tags of a whole flat vector. Giving one out zeroes what backward writes;
 * releasing the last reference (maybe in ZeroMQ's thread) brings it back. */
#include "common/buffer.h"
#include "common/error.h"
#include "common/layout.h"

struct wk_gradient_pool;

/* wk_gradient_pool_create makes an empty pool. layout outlives it. Owns: *ret_pool. */
SL_MUST_USE enum sl_status wk_gradient_pool_create(
        struct wk_gradient_pool **ret_pool, const struct sl_layout *layout, struct sl_error *err);
/* wk_gradient_pool_destroy frees it, or leaves that to the last buffer that comes back: a server in the same process may hold gradients longer than the worker
 * lives. NULL is fine. */
void wk_gradient_pool_destroy(struct wk_gradient_pool *pool);

/* wk_gradient_pool_take gives a buffer of SL_TAGS * layout->count floats: [0, extractor_end) of the unimodal and [head_end, count) of the
 * fused vector are zero. Errors: NO_MEMORY. Thread: any. */
SL_MUST_USE enum sl_status wk_gradient_pool_take(
        struct wk_gradient_pool *pool, struct sl_buffer **ret_buffer, struct sl_error *err);

/* wk_gradient_add adds the part that backward writes: sum += x, both tags. Shapes: (SL_TAGS * layout->count,). */
void wk_gradient_add(const struct sl_layout *layout, float *sum, const float *x);
