#pragma once
/* A dataset for reading: one split that an import has finished, checked against the config at opening.
 *
 *     SL_AUTO(wk_dataset_close_auto) struct wk_dataset *dataset = NULL;
 *     enum sl_status s = wk_dataset_open(&dataset, "data/train", config, err);
 *     struct wk_sample sample = {0};
 *     s = wk_dataset_read(dataset, index, &sample, err);       // 0 <= index < wk_dataset_count(dataset)
 *     wk_sample_fini(&sample);
 *
 * Samples are numbered in the order of the manifest's lines, whatever they were imported with. Every read verifies the record's checksum.
 * Thread: after opening any number of threads may read.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/index.h"
#include "worker/dataset/sample.h"

#include <stdbool.h>
#include <stdint.h>

struct wk_dataset;

/* wk_dataset_open checks manifest and shards: every file there, of the stated size, with a sound structure and the stated number of
 * samples; labels, kinds, shapes and vocabularies as in the config. config NULL opens for looking only: nothing is compared and
 * wk_dataset_read is not allowed. config is borrowed until close. Owns: *ret_dataset. Errors: BAD_DATA (what, where, what to do;
 * also for a dataset without samples), NO_MEMORY. */
SL_MUST_USE enum sl_status wk_dataset_open(struct wk_dataset **ret_dataset, const char *dir,
        const struct sl_config *config, struct sl_error *err);
/* wk_dataset_open_part is the same for a machine that has some of the shards: folders that are missing are left out, and samples in them cannot be read. */
SL_MUST_USE enum sl_status wk_dataset_open_part(struct wk_dataset **ret_dataset, const char *dir,
        const struct sl_config *config, struct sl_error *err);
void wk_dataset_close(struct wk_dataset *dataset);
void wk_dataset_close_auto(struct wk_dataset **dataset);

uint64_t wk_dataset_count(const struct wk_dataset *dataset);
/* wk_dataset_label_count counts the samples of a label of the config (of the index when there is no config). */
uint64_t wk_dataset_label_count(const struct wk_dataset *dataset, int label);
/* wk_dataset_fingerprint covers all records in order: the same for the same manifest, config and videos. */
uint64_t wk_dataset_fingerprint(const struct wk_dataset *dataset);
uint32_t wk_dataset_shard_count(const struct wk_dataset *dataset);
/* wk_dataset_shard_counts borrows the samples of each shard, as the manifest says. Shapes: (shard count,). */
const uint64_t *wk_dataset_shard_counts(const struct wk_dataset *dataset);
bool wk_dataset_has_shard(const struct wk_dataset *dataset, uint32_t shard); /* it can be read here */
const struct wk_index *wk_dataset_index(const struct wk_dataset *dataset);

/* wk_dataset_read reads one sample into the config's shapes (record.h); ret_sample->index is index. Owns: wk_sample_fini(ret_sample). Errors: BAD_DATA naming
 * shard and entry, USAGE for an index that does not exist, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_dataset_read(
        struct wk_dataset *dataset, uint64_t index, struct wk_sample *ret_sample, struct sl_error *err);

/* wk_dataset_find gives the index of the sample with that id; reads all ids. Errors: NOT_FOUND, BAD_DATA. */
SL_MUST_USE enum sl_status wk_dataset_find(
        struct wk_dataset *dataset, const char *id, uint64_t *ret_index, struct sl_error *err);

/* wk_dataset_verify reads every record of a shard and compares checksums, hash and label counts with the manifest. Errors: BAD_DATA with the first
 * difference. */
SL_MUST_USE enum sl_status wk_dataset_verify(
        struct wk_dataset *dataset, uint32_t shard, struct sl_error *err);

/* wk_config_vocab_hashes fills the vocabulary hashes of a config's modalities, 0 where there is none. Shapes: ret_hashes (SL_MODALITIES_MAX,).
 * Errors: USAGE when a vocabulary cannot be read. */
SL_MUST_USE enum sl_status wk_config_vocab_hashes(
        uint64_t *ret_hashes, const struct sl_config *config, struct sl_error *err);
