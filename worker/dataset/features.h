#pragma once
/* Arrays that others have made, from .npy and safetensors files: rows of float32 for `features` modalities, token ids for `bert`.
 *
 * A sample's array is the whole of an .npy or a tensor of a safetensors file (by name; the only one when no name is given), or, with a row, one of a stack of
 * arrays: row `row` of its first dimension. Features are (T, input), (T, a, b) where a · b = input, or (input,) for one row, of any number type; more than max_items rows: that many are taken evenly; a
 * value that is not finite is refused. Token ids are (L,), whole numbers.
 */
#include "common/error.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/vocab.h"

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

/* wk_features_shape tells what an array of that shape is to a sample: rows of `input` numbers, which its last dimensions make up, or token ids, which are one row of any
 * length: input 0. name stands for it in errors. Errors: BAD_DATA. */
SL_MUST_USE enum sl_status wk_features_shape(int64_t *ret_items, int64_t *ret_width, const int64_t *shape,
        int rank, int input, const char *name, struct sl_error *err);

/* wk_features_frame_tokens is what wk_features_read_tokens does with ids that are in memory. Shapes: ids (count,). name stands for them in errors. */
SL_MUST_USE enum sl_status wk_features_frame_tokens(const int64_t *ids, int64_t count,
        const struct wk_vocab *vocab, int max_tokens, const char *name, int32_t **ret_tokens, int *ret_count,
        struct sl_error *err);

/* wk_features_read_tokens reads token ids: [PAD] at the end is dropped, [CLS] and [SEP] are put around them where they are missing, what is over max_tokens is cut off
 * before the last [SEP], as for texts. Shapes: *ret_tokens (*ret_count,), 2 … max_tokens. Owns: *ret_tokens, sl_free it. Errors: BAD_DATA, also for an id that the
 * vocabulary does not have; NO_MEMORY. */
SL_MUST_USE enum sl_status wk_features_read_tokens(struct wk_features *features, const char *dir,
        const struct wk_manifest_array *array, const struct wk_vocab *vocab, int max_tokens,
        int32_t **ret_tokens, int *ret_count, struct sl_error *err);
