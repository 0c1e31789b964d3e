#pragma once
/* One sample as it lies in a dataset and as predict makes it from a video: frames, token ids or feature rows for each modality.
 * Plain data with owned arrays; the same struct comes out of the reader (dataset.h) and of the importer (import.h). */
#include "common/config.h"

#include <stdint.h>

#define WK_LABEL_NONE (-1)

/* One modality of one sample; which fields are used follows from the modality's kind in the config. */
struct wk_sample_input {
    int items;       /* frames, tokens or feature rows that are present: >= 1 */
    uint8_t *frames; /* vit: (items, image, image, 3), R G B */
    int32_t *tokens; /* bert: (items,), [CLS] first, [SEP] last */
    float *features; /* features: (items, input) */
};

struct wk_sample {
    char *id;
    char *title;         /* what was tokenised, for people; may be "" */
    int label;           /* index into the config's labels, or WK_LABEL_NONE */
    int64_t published_s; /* unix time, INT64_MIN when unknown */
    uint64_t index;      /* of the sample in its dataset: the key of its random numbers */
    struct wk_sample_input inputs[SL_MODALITIES_MAX];
};

/* wk_sample_fini frees what the sample owns and zeroes it. */
void wk_sample_fini(struct wk_sample *sample);
