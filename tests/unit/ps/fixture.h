#pragma once
/* A small model for tests of the server: two modalities of features and a fusion, cut into small blocks, and random vectors. */
#include "common/config.h"
#include "common/layout.h"
#include "common/memory.h"
#include "common/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_BLOCK 256 /* floats */

/* fixture_config gives a config as sl_config_load would, without a file. Owns: free it with sl_free. */
static inline struct sl_config *fixture_config(void)
{
    struct sl_config *config = sl_alloc(1, sizeof(*config));
    assert_non_null(config);
    config->label_count = 3;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(config->labels[i].name, SL_NAME_MAX, "label%d", i);
        config->labels[i].duration_s = 3600 * (i + 1);
    }
    config->modality_count = 2;
    static const char *const names[] = {"visual", "text"};
    for (int m = 0; m < 2; m++) {
        struct sl_modality_config *modality = &config->modalities[m];
        (void)snprintf(modality->name, SL_NAME_MAX, "%s", names[m]);
        modality->kind = SL_KIND_FEATURES;
        modality->hidden = 24 + 16 * m;
        modality->input = 20 + m;
        modality->max_items = 6;
    }
    config->fusion.dim = 24;
    config->fusion.heads = 2;
    config->fusion.layers = 1;
    config->fusion.mlp = 32;
    for (int b = 0; b < 3; b++)
        config->loss.weight[b] = 1.0F;
    config->modulation.alpha = 0.5;
    config->modulation.decay = 0.9;
    config->modulation.end = -1;
    config->optimiser.lr = 1e-3F;
    config->optimiser.beta1 = 0.9F;
    config->optimiser.beta2 = 0.999F;
    config->optimiser.eps = 1e-8F;
    config->optimiser.weight_decay = 0.05F;
    config->optimiser.momentum = 0.9F;
    config->optimiser.clip_norm = 1.0F;
    config->batch.slots = 8;
    config->batch.slot_size = 4;
    config->epochs = 2;
    config->seed = 7;
    return config;
}

static inline struct sl_layout *fixture_layout(const struct sl_config *config, size_t block_floats)
{
    struct sl_layout *layout = NULL;
    struct sl_error err = {0};
    if (sl_layout_create(&layout, config, block_floats, &err) != SL_OK)
        fail_msg("%s", err.text);
    return layout;
}

/* fixture_vector gives n normal numbers times scale that depend on stream alone. Owns: sl_free it. */
static inline float *fixture_vector(size_t n, uint64_t stream, float scale)
{
    float *x = sl_alloc_aligned(n, sizeof(float));
    assert_non_null(x);
    struct sl_random random = sl_random_make(1, SL_RANDOM_TEST, stream, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * sl_random_normal(&random, i);
    return x;
}
