#pragma once
/* A small model with all three kinds of extractor, and samples for it, made in memory. */
#include "tests/unit/model/numbers.h"

#include "common/memory.h"
#include "worker/model/batch.h"
#include "worker/model/model.h"

#include <stdio.h>
#include <string.h>

#define VISUAL 0
#define TEXT 1
#define AUDIO 2
#define FUSED 3

#define FRAMES 3
#define IMAGE 8
#define TOKENS 7
#define ROWS 4
#define INPUT 5
#define VOCAB 23

static inline struct sl_config *make_config(float dropout)
{
    static const float mean[] = {0.5F, 0.4F, 0.3F}, std[] = {0.5F, 0.6F, 0.7F};
    struct sl_config *config = sl_alloc(1, sizeof(*config));
    assert_non_null(config);
    config->label_count = 4;
    config->modality_count = 3;
    config->modalities[VISUAL] = (struct sl_modality_config){.name = "visual",
            .kind = SL_KIND_VIT,
            .image = IMAGE,
            .patch = 4,
            .hidden = 18,
            .layers = 2,
            .heads = 3,
            .mlp = 20,
            .frames = FRAMES,
            .dropout = dropout};
    memcpy(config->modalities[VISUAL].mean, mean, sizeof(mean));
    memcpy(config->modalities[VISUAL].std, std, sizeof(std));
    config->modalities[TEXT] = (struct sl_modality_config){.name = "text",
            .kind = SL_KIND_BERT,
            .vocab_size = VOCAB,
            .hidden = 16,
            .layers = 2,
            .heads = 2,
            .mlp = 24,
            .max_tokens = TOKENS,
            .max_position = TOKENS + 2,
            .dropout = dropout};
    config->modalities[AUDIO] = (struct sl_modality_config){.name = "audio",
            .kind = SL_KIND_FEATURES,
            .input = INPUT,
            .hidden = 11,
            .max_items = ROWS,
            .dropout = dropout};
    config->fusion.dim = 12;
    config->fusion.heads = 2;
    config->fusion.layers = 2;
    config->fusion.mlp = 14;
    config->fusion.dropout = dropout;
    for (int b = 0; b <= FUSED; b++)
        config->loss.weight[b] = 1.0F;
    return config;
}

/* What a sample owns, so that tests can spoil it. */
struct own_sample {
    struct wk_sample sample;
    char id[32];
    uint8_t frames[FRAMES * IMAGE * IMAGE * 3];
    int32_t tokens[TOKENS];
    float features[ROWS * INPUT];
};

/* Sample `index`: its contents and its numbers of frames, tokens and rows depend on index alone. */
static inline void make_sample(struct own_sample *own, int index)
{
    struct sl_random r = sl_random_make((uint64_t)index, SL_RANDOM_TEST, 1, 0);
    (void)snprintf(own->id, sizeof(own->id), "sample-%d", index);
    own->sample = (struct wk_sample){.id = own->id, .label = index % 4, .index = (uint64_t)index * 1000003};
    for (size_t i = 0; i < sizeof(own->frames); i++)
        own->frames[i] = (uint8_t)sl_random_u32(&r, i);
    for (size_t i = 0; i < TOKENS; i++)
        own->tokens[i] = (int32_t)sl_random_below(&r, 100000 + i, VOCAB);
    fill(own->features, ROWS * INPUT, (uint64_t)index, 1.0F);
    own->sample.inputs[VISUAL] = (struct wk_sample_input){.items = 1 + index % FRAMES, .frames = own->frames};
    own->sample.inputs[TEXT] =
            (struct wk_sample_input){.items = 2 + index % (TOKENS - 1), .tokens = own->tokens};
    own->sample.inputs[AUDIO] =
            (struct wk_sample_input){.items = 1 + (index + 1) % ROWS, .features = own->features};
}

static inline void add_sample(struct wk_batch *batch, const struct sl_config *config, int index)
{
    struct own_sample own;
    struct sl_error err = {0};
    make_sample(&own, index);
    if (wk_batch_add(batch, config, &own.sample, &err) != SL_OK)
        fail_msg("%s", err.text);
}

static inline struct wk_batch *make_batch(const struct sl_config *config, int first, int count)
{
    struct sl_error err = {0};
    struct wk_batch *batch = NULL;
    if (wk_batch_create(&batch, config, count, &err) != SL_OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < count; i++)
        add_sample(batch, config, first + i);
    return batch;
}
