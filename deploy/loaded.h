#pragma once
/* A snapshot ready to predict with: its config, its layout, its parameters and the model, all from its own folder.
 *
 *     SL_AUTO(dp_loaded_close_auto) struct dp_loaded *loaded = NULL;
 *     enum sl_status s = dp_loaded_open(&loaded, "runs/a/snapshots/best", err);
 */
#include "common/config.h"
#include "common/layout.h"
#include "ps/manifest.h"
#include "worker/model/model.h"

struct dp_loaded {
    struct sl_config *config;
    struct sl_layout *layout;
    struct wk_model *model;
    float *params; /* (layout->count,) */
    int64_t step;
    char path[SL_PATH_MAX];
};

/* dp_loaded_open verifies and loads. A run's folder stands for its best snapshot, or the newest when none is marked so. Owns: *ret_loaded. Errors: NOT_FOUND,
 * BAD_DATA (damaged: says what), MISMATCH, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_loaded_open(
        struct dp_loaded **ret_loaded, const char *path, struct sl_error *err);
void dp_loaded_close(struct dp_loaded *loaded);
void dp_loaded_close_auto(struct dp_loaded **loaded);
