/* Any bytes as a checkpoint for each kind of extractor: refused with a line, or every value that was taken is finite. */
#include "common/layout.h"
#include "common/memory.h"
#include "ps/pretrained.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_config(struct sl_config *config)
{
    config->modality_count = 3;
    config->modalities[0] = (struct sl_modality_config){.name = "a",
            .kind = SL_KIND_VIT,
            .hidden = 2,
            .layers = 1,
            .heads = 1,
            .mlp = 2,
            .image = 4,
            .patch = 2,
            .frames = 2};
    config->modalities[1] = (struct sl_modality_config){.name = "b",
            .kind = SL_KIND_BERT,
            .hidden = 2,
            .layers = 1,
            .heads = 1,
            .mlp = 2,
            .vocab_size = 5,
            .max_tokens = 3,
            .max_position = 3};
    config->modalities[2] =
            (struct sl_modality_config){.name = "c", .kind = SL_KIND_FEATURES, .hidden = 2, .input = 3};
    config->label_count = 2;
    config->fusion.dim = config->fusion.heads = config->fusion.layers = config->fusion.mlp = 1;
}

static void load(
        const struct sl_config *config, const struct sl_layout *layout, const struct sl_safetensors *file)
{
    struct sl_error err = {0};
    struct ps_pretrained done;
    float *params = sl_alloc_aligned(layout->count, sizeof(*params));
    assert(params != NULL);
    for (int m = 0; m < config->modality_count; m++) {
        sl_layout_initialise(layout, 1, params);
        if (ps_pretrained_load(config, m, layout, file, "input", params, &done, &err) != SL_OK) {
            assert(err.text[0] != '\0');
            continue;
        }
        assert(done.tensors > 0);
        for (size_t i = 0; i < layout->count; i++)
            assert(!isnan(params[i]));
    }
    sl_free(params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sl_config config;
    static struct sl_layout *layout; /* made once: it does not depend on the input */
    struct sl_safetensors *file = NULL;
    struct sl_error err = {0};
    if (layout == NULL) {
        make_config(&config);
        if (sl_layout_create(&layout, &config, SL_BLOCK_FLOATS, &err) != SL_OK)
            return 0;
    }
    if (sl_safetensors_open_memory(&file, data, size, "input", &err) != SL_OK)
        return 0;
    load(&config, layout, file);
    sl_safetensors_close(file);
    return 0;
}
