/* What rounding took away: see residual.h. */
#include "worker/residual.h"

#include "common/memory.h"

struct wk_residual {
    const struct sl_layout *layout;
    sl_bf16 *kept; /* (sl_layout_gradient_floats,) */
};

enum sl_status wk_residual_create(
        struct wk_residual **ret_residual, const struct sl_layout *layout, struct sl_error *err)
{
    size_t count = sl_layout_gradient_floats(layout);
    struct wk_residual *residual = sl_alloc(1, sizeof(*residual));
    if (residual != NULL)
        *residual = (struct wk_residual){layout, sl_alloc_aligned(count, sizeof(sl_bf16))};
    if (residual == NULL || residual->kept == NULL) {
        wk_residual_destroy(residual);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for what is kept of %zu numbers", count);
    }
    *ret_residual = residual;
    return SL_OK;
}

void wk_residual_destroy(struct wk_residual *residual)
{
    if (residual == NULL)
        return;
    sl_free(residual->kept);
    sl_free(residual);
}

enum sl_status wk_residual_encode(struct wk_residual *residual, int b, int tag, const float *values,
        bool skipped, struct sl_buffer **ret_buffer, enum sl_encoding *ret_encoding, struct sl_error *err)
{
    const struct sl_block *block = &residual->layout->blocks[b];
    sl_bf16 *kept = residual->kept + sl_layout_gradient_at(residual->layout, tag, block->offset);
    bool lines = block->sparse || skipped; /* zeros are no lines */
    struct sl_buffer *buffer = sl_buffer_create_unset(
            lines ? sl_encoding_bf16_lines_size(values, block->count) : sl_encoding_bf16_size(block->count));
    if (buffer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a push");
    if (lines)
        sl_encoding_put_bf16_lines(values, kept, block->count, buffer->data);
    else
        sl_encoding_put_bf16(values, kept, block->count, buffer->data);
    *ret_buffer = buffer;
    *ret_encoding = lines ? SL_ENCODING_BF16_LINES : SL_ENCODING_BF16;
    return SL_OK;
}
