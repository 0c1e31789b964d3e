#pragma once
/* Samples out of nothing, as large as a config allows: pictures of slow gradients with grain, random words, random features.
 * For measuring; nothing can be learned from them. */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/sample.h"

/* dp_synthetic_vocabularies writes dir/vocab-NAME.txt for every modality of kind bert and makes the config use them. Rows: the config's vocab_size, else those of
 * its vocabulary if that is there, else 2000. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_synthetic_vocabularies(
        struct sl_config *config, const char *dir, struct sl_error *err);

/* dp_synthetic_sample makes the index-th sample. Owns: wk_sample_fini(ret_sample). Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_synthetic_sample(
        struct wk_sample *ret_sample, const struct sl_config *config, uint64_t index, struct sl_error *err);

/* dp_synthetic_dataset writes a split of one shard to dir: about 64 MiB, at least two steps' samples. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_synthetic_dataset(
        const struct sl_config *config, const char *dir, struct sl_error *err);
