/* Parameters as safetensors: see weights.h. */
#include "deploy/export/weights.h"

#include "common/memory.h"

static enum sl_status sink_write(void *context, const void *bytes, size_t size, struct sl_error *err)
{
    return dp_file_write(context, bytes, size, err);
}

struct sl_sink dp_weights_sink(struct dp_file *file)
{
    return (struct sl_sink){.write = sink_write, .context = file};
}

enum sl_status dp_weights_write(struct dp_file *file, const struct dp_loaded *loaded,
        const struct dp_metadata *metadata, struct sl_error *err)
{
    const struct sl_layout *layout = loaded->layout;
    struct sl_metadata texts[DP_METADATA_MAX + 1] = {{"format", "pt"}}; /* what PyTorch's loaders look for */
    struct sl_sink sink = dp_weights_sink(file);
    SL_AUTO_FREE struct sl_tensor_view *views = sl_alloc((size_t)layout->param_count, sizeof(*views));
    if (views == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a table of %d parameters", layout->param_count);
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        views[p] = (struct sl_tensor_view){.name = param->name,
                .dtype = SL_DTYPE_F32,
                .rank = param->rank,
                .data = loaded->params + param->offset};
        for (int i = 0; i < param->rank; i++)
            views[p].shape[i] = param->shape[i];
    }
    for (int i = 0; i < metadata->count; i++)
        texts[i + 1] = (struct sl_metadata){metadata->key[i], metadata->value[i]};
    return sl_safetensors_write(&sink, views, layout->param_count, texts, metadata->count + 1, err);
}
