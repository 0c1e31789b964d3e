#pragma once
/* A small config of two modalities of features, as sl_config_load would give it, for tests of the worker. */
#include "common/config.h"
#include "common/layout.h"
#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_BLOCK 1024 /* floats */
#define FIXTURE_SLOTS 7
#define FIXTURE_SLOT_SIZE 2

/* Owns: free it with sl_free. */
static inline struct sl_config *fixture_config(void)
{
    struct sl_config *config = sl_alloc(1, sizeof(*config));
    assert_non_null(config);
    config->label_count = 3;
    for (int k = 0; k < 3; k++) {
        (void)snprintf(config->labels[k].name, SL_NAME_MAX, "label%d", k);
        config->labels[k].duration_s = 3600 * (k + 1);
    }
    config->modality_count = 2;
    for (int m = 0; m < 2; m++) {
        struct sl_modality_config *modality = &config->modalities[m];
        (void)snprintf(modality->name, SL_NAME_MAX, "%s", m == 0 ? "visual" : "audio");
        modality->kind = SL_KIND_FEATURES;
        modality->input = 5 + m;
        modality->hidden = 16;
        modality->max_items = 3;
        modality->dropout = 0.1F;
    }
    config->fusion.dim = 16;
    config->fusion.heads = 2;
    config->fusion.layers = 1;
    config->fusion.mlp = 16;
    for (int b = 0; b < 3; b++)
        config->loss.weight[b] = 1.0F;
    config->batch.slots = FIXTURE_SLOTS;
    config->batch.slot_size = FIXTURE_SLOT_SIZE;
    config->epochs = 2;
    config->seed = 7;
    return config;
}

static inline struct sl_layout *fixture_layout(const struct sl_config *config)
{
    struct sl_layout *layout = NULL;
    struct sl_error err = {0};
    if (sl_layout_create(&layout, config, FIXTURE_BLOCK, &err) != SL_OK)
        fail_msg("%s", err.text);
    return layout;
}
