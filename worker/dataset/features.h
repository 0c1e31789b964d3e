#pragma once
/* Arrays of `features` modalities from .npy and safetensors files into rows of float32.
 *
 * A sample's array is (T, input), or (input,) for one row. It is the whole of an .npy, row `row` of a stacked .npy ((N, T, input) or (N, input)), or
 * a tensor of a safetensors file by name (the only one when no name is given). More than max_items rows: that many are taken evenly.
 * A value that is not finite is refused.
 */
#include "common/error.h"
#include "worker/dataset/manifest.h"

#define WK_FEATURES_MAX (1 << 26) /* numbers of one sample's array in its file */

/* Keeps the file of the last call open: rows of one stacked array come one after the other. */
struct wk_features;

SL_MUST_USE enum sl_status wk_features_create(struct wk_features **ret_features, struct sl_error *err);
void wk_features_destroy(struct wk_features *features);

/* wk_features_read reads the array that a manifest row names, with dir before a relative path. Shapes: *ret_values (*ret_items, input). Owns: *ret_values,
 * sl_free it. Errors: BAD_DATA (file, what is wrong), NO_MEMORY. */
SL_MUST_USE enum sl_status wk_features_read(struct wk_features *features, const char *dir,
        const struct wk_manifest_array *array, int input, int max_items, float **ret_values, int *ret_items,
        struct sl_error *err);
