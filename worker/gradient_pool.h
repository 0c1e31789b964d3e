#pragma once
/* Gradient buffers that are used again and again: one holds a whole flat vector for each tag, or the one of exchange early. Giving one out zeroes what backward writes;
 * releasing the last reference (maybe in ZeroMQ's thread) brings it back. */
#include "common/buffer.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/stats.h"
#include "common/team.h"

struct wk_gradient_pool;

/* wk_gradient_pool_create makes an empty pool. layout outlives it. Owns: *ret_pool. */
SL_MUST_USE enum sl_status wk_gradient_pool_create(
        struct wk_gradient_pool **ret_pool, const struct sl_layout *layout, struct sl_error *err);
/* wk_gradient_pool_destroy frees it, or leaves that to the last buffer that comes back: a server in the same process may hold gradients longer than the worker
 * lives. NULL is fine. */
void wk_gradient_pool_destroy(struct wk_gradient_pool *pool);

/* wk_gradient_pool_take gives a buffer of sl_layout_gradient_floats, zero where backward writes, which a team (NULL = the caller alone) makes it. Errors: NO_MEMORY.
 * Thread: any. */
SL_MUST_USE enum sl_status wk_gradient_pool_take(struct wk_gradient_pool *pool, struct sl_team *team,
        struct sl_buffer **ret_buffer, struct sl_error *err);

/* The parts of a gradient that backward writes: [0, extractor_end) of the unimodal and [head_end, count) of the fused vector; all of the one of
 * exchange early. Units: floats. */
struct wk_gradient_range {
    size_t offset, count;
};
/* wk_gradient_ranges gives how many there are. */
int wk_gradient_ranges(const struct sl_layout *layout, struct wk_gradient_range ret_ranges[SL_TAGS]);

/* wk_gradient_add_block adds the gradients that exist for a block: sum += x. Shapes: (sl_layout_gradient_floats,). */
void wk_gradient_add_block(const struct sl_layout *layout, int block, float *sum, const float *x);

/* wk_gradient_hash is over what two workers must agree on of a node: the parts that backward writes, and the statistics. Shapes: (sl_layout_gradient_floats,). */
uint64_t wk_gradient_hash(
        const struct sl_layout *layout, const float *gradients, const struct sl_step_stats *stats);
