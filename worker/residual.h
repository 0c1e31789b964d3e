#pragma once
/* What bf16 took away from a worker's gradients on their way (cluster.wire: bf16), one number for each number of a gradient: it is added to the next gradient of the same block that
 * this worker pushes, so that over many steps nothing is lost (error feedback). In float32 there is none.
 *
 *     wk_residual_encode(residual, b, SL_TAG_FUSED, values, false, &buffer, &encoding, err);     what a push carries instead of values
 *
 * It belongs to one life of a core: one that begins anew begins with zeros, for what was kept before a rollback is of steps that are computed again. Which worker keeps what follows from
 * who computed which slots, so that with bf16 the bits of training depend on that.
 * Thread: one. */
#include "common/buffer.h"
#include "common/encoding.h"
#include "common/layout.h"

struct wk_residual;

/* wk_residual_create makes zeros, two bytes for each number of a gradient. layout outlives it. Owns: *ret_residual. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_residual_create(
        struct wk_residual **ret_residual, const struct sl_layout *layout, struct sl_error *err);
void wk_residual_destroy(struct wk_residual *residual); /* NULL is fine */

/* wk_residual_encode makes the frame of one tag's gradient of a block. A dense block goes whole with what was kept of it. Of a block with rows of tables the lines that are not all zero go, and what was kept of the others
 * stays until they come again; so, with `skipped`, does all of any block: slots without samples say nothing about a number. Owns: *ret_buffer, one reference. Shapes: values
 * (block count,). Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_residual_encode(struct wk_residual *residual, int block, int tag,
        const float *values, bool skipped, struct sl_buffer **ret_buffer, enum sl_encoding *ret_encoding,
        struct sl_error *err);
