/* Snapshots to predict with: see loaded.h. */
#include "deploy/scoring/loaded.h"

#include "common/file.h"
#include "common/memory.h"
#include "ps/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* PATH, PATH/snapshots/best, …/latest, PATH/best, PATH/latest. */
void dp_loaded_resolve(char *resolved, const char *path)
{
    static const char *const places[] = {"", "/snapshots/best", "/snapshots/latest", "/best", "/latest"};
    char manifest[SL_PATH_MAX + 64];
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        (void)snprintf(resolved, SL_PATH_MAX, "%s%s", path, places[i]);
        (void)snprintf(manifest, sizeof(manifest), "%s/manifest.json", resolved);
        if (sl_file_size(manifest) >= 0)
            return;
    }
    (void)snprintf(resolved, SL_PATH_MAX, "%s", path);
}

static void identify(struct dp_loaded *loaded, const struct ps_manifest *manifest)
{
    loaded->step = manifest->training.step;
    loaded->created_s = manifest->created_s;
    loaded->config_hash = manifest->config_hash;
    for (int i = 0; i < manifest->file_count; i++)
        if (strcmp(manifest->files[i].name, "model.safetensors") == 0)
            (void)snprintf(loaded->weights, sizeof(loaded->weights), "%016" PRIx64 "%016" PRIx64,
                    manifest->files[i].hash.high, manifest->files[i].hash.low);
}

static enum sl_status load_params(
        struct dp_loaded *loaded, const struct ps_saved *saved, struct sl_error *err)
{
    char config[SL_PATH_MAX + 64];
    (void)snprintf(config, sizeof(config), "%s/config.yaml", loaded->path);
    enum sl_status status = sl_config_load(&loaded->config, config, NULL, 0, err);
    if (status == SL_OK)
        status = sl_layout_create(&loaded->layout, loaded->config, SL_BLOCK_FLOATS, err);
    if (status == SL_OK)
        status = wk_model_create(&loaded->model, loaded->config, loaded->layout, err);
    if (status != SL_OK)
        return status;
    loaded->params = sl_alloc_aligned(loaded->layout->count, sizeof(float));
    if (loaded->params == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu parameters", loaded->layout->count);
    return ps_saved_load(saved, loaded->layout, loaded->params, NULL, NULL, err);
}

enum sl_status dp_loaded_open(struct dp_loaded **ret_loaded, const char *path, struct sl_error *err)
{
    SL_AUTO(dp_loaded_close_auto) struct dp_loaded *loaded = sl_alloc(1, sizeof(*loaded));
    SL_AUTO(ps_saved_close_auto) struct ps_saved *saved = NULL;
    if (loaded == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a snapshot");
    if (strlen(path) + 32 > SL_PATH_MAX)
        return sl_fail(err, SL_USAGE, "the snapshot's path is too long");
    dp_loaded_resolve(loaded->path, path);
    enum sl_status status = ps_saved_open(&saved, loaded->path, err);
    if (status == SL_OK) {
        identify(loaded, ps_saved_manifest(saved));
        status = load_params(loaded, saved, err);
    }
    if (status == SL_OK)
        *ret_loaded = SL_TAKE(loaded);
    return status;
}

void dp_loaded_close(struct dp_loaded *loaded)
{
    if (loaded == NULL)
        return;
    wk_model_destroy(loaded->model);
    sl_layout_destroy(loaded->layout);
    sl_config_destroy(loaded->config);
    sl_free(loaded->params);
    sl_free(loaded);
}

void dp_loaded_close_auto(struct dp_loaded **loaded)
{
    dp_loaded_close(*loaded);
}
