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

#define DP_WEIGHTS_TEXT_MAX 33

struct dp_loaded {
    struct sl_config *config;
    struct sl_layout *layout;
    struct wk_model *model;
    float *params;           /* (layout->count,) */
    int64_t step, created_s; /* of training; unix time of writing */
    uint64_t config_hash;
    char weights
            [DP_WEIGHTS_TEXT_MAX]; /* checksum of its parameters' file, as hexadecimal digits: the same text, the same answers */
    char path[SL_PATH_MAX];
};

/* dp_loaded_resolve finds the snapshot's folder that dp_loaded_open would take for path. Shapes: resolved has SL_PATH_MAX bytes. */
void dp_loaded_resolve(char *resolved, const char *path);

/* dp_loaded_open verifies and loads. A run's folder stands for its best snapshot, or the newest when none is marked so. Owns: *ret_loaded. Errors: NOT_FOUND,
 * BAD_DATA (damaged: says what), MISMATCH, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_loaded_open(
        struct dp_loaded **ret_loaded, const char *path, struct sl_error *err);
void dp_loaded_close(struct dp_loaded *loaded);
void dp_loaded_close_auto(struct dp_loaded **loaded);
