#pragma once
/* A batch is what the model reads: the samples of one slot, ragged. Only what is present is stored: no padding, so no work on padding.
 *
 * Each modality has `rows` items (frames, tokens, feature rows) of all samples one after the other; sample b owns the rows
 * [offset[b], offset[b + 1]). position[r] is the item's place in its sample before anything was left out: it picks the learned
 * temporal or position embedding.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/sample.h"

#include <stdint.h>

struct wk_batch_input {
    int rows;      /* R: items of all samples */
    int *offset;   /* (B + 1,) */
    int *position; /* (R,) */
    float *values; /* vit: (R, P, 3 * patch * patch) normalised patches, P row-major over the image, each channel-row-column as the
                      convolution's weight has it; features: (R, input) */
    int32_t *tokens; /* bert: (R,) */
};

struct wk_batch {
    int count;     /* B: samples; may be 0 for an empty slot */
    int *labels;   /* (B,) */
    uint64_t *ids; /* (B,) sample index in the dataset: key of dropout */
    struct wk_batch_input inputs[SL_MODALITIES_MAX];
    int capacity; /* samples that fit */
    size_t size;  /* bytes of all arrays */
};

/* wk_batch_create allocates for up to capacity samples of the config's largest shapes. Owns: *ret_batch. */
SL_MUST_USE enum sl_status wk_batch_create(
        struct wk_batch **ret_batch, const struct sl_config *config, int capacity, struct sl_error *err);
void wk_batch_destroy(struct wk_batch *batch);
size_t wk_batch_size(const struct wk_batch *batch); /* bytes that it was made with */

/* wk_batch_clear makes it empty; wk_batch_add appends one sample, normalising frames into patches. Errors: BAD_DATA when the sample does
 * not fit the config (items, token ids, a value that is not finite): the text names sample and modality; the batch is as before. */
void wk_batch_clear(struct wk_batch *batch);
SL_MUST_USE enum sl_status wk_batch_add(struct wk_batch *batch, const struct sl_config *config,
        const struct wk_sample *sample, struct sl_error *err);
