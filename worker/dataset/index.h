#pragma once
/* The manifest.json of a dataset (one split): what lies in it and what it fits.
 *
 *     DATASET/import.json             what the import was begun with (import.h)
 *     DATASET/rejects.jsonl           lines that gave no sample
 *     DATASET/SPLIT/manifest.json     this file
 *     DATASET/SPLIT/vocab-NAME.txt    the vocabulary of each text modality, as it was
 *     DATASET/SPLIT/shard-00000/      data.mdb and shard.json, the shard's line of the manifest
 *
 * Numbers that must agree are checked at reading: counts and label counts against the shards', the fingerprint against the shards'
 * hashes. Any bytes are an error at worst (fuzzed).
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/shard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WK_INDEX_FILE "manifest.json"
#define WK_INDEX_VERSION 1
#define WK_INDEX_SIZE_MAX (64U << 20) /* bytes of the file */
#define WK_SHARDS_MAX 1000000
#define WK_SHARD_NAME_MAX 32

struct wk_index_shard {
    char name[WK_SHARD_NAME_MAX];
    uint64_t count, rejects;        /* samples; lines that gave none */
    uint64_t hash;                  /* of keys and checksums, see shard.h */
    int64_t size;                   /* bytes of data.mdb */
    uint64_t labels[SL_LABELS_MAX]; /* samples by label */
};

/* What a modality was imported as. */
struct wk_index_modality {
    char name[SL_NAME_MAX];
    enum sl_kind kind;
    int image, frames, jpeg_quality; /* vit */
    enum sl_storage storage;
    int max_tokens, vocab_size; /* bert */
    bool lower_case;
    uint64_t vocab_hash;
    int input, max_items; /* features */
};

struct wk_index {
    char split[16];
    uint64_t count, rejects;
    int64_t size;         /* bytes of all shards */
    uint64_t fingerprint; /* of all samples in order: two datasets with the same one train alike */
    int label_count;
    char labels[SL_LABELS_MAX][SL_NAME_MAX];
    uint64_t label_counts[SL_LABELS_MAX];
    int modality_count;
    struct wk_index_modality modalities[SL_MODALITIES_MAX];
    uint32_t shard_count;
    struct wk_index_shard *shards;
};

/* wk_index_begin makes an index without shards of the config's labels and modalities. vocab_hashes by modality, 0 where there is none. */
SL_MUST_USE enum sl_status wk_index_begin(struct wk_index **ret_index, const struct sl_config *config,
        const uint64_t *vocab_hashes, const char *split, struct sl_error *err);
/* wk_index_add_shard appends one and adds up. */
SL_MUST_USE enum sl_status wk_index_add_shard(
        struct wk_index *index, const struct wk_index_shard *shard, struct sl_error *err);
void wk_index_destroy(struct wk_index *index);
void wk_index_destroy_auto(struct wk_index **index);

/* wk_index_parse reads a manifest.json; name stands for it in errors. Owns: *ret_index. Errors: BAD_DATA, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_index_parse(
        struct wk_index **ret_index, const char *text, size_t size, const char *name, struct sl_error *err);
SL_MUST_USE enum sl_status wk_index_load(struct wk_index **ret_index, const char *dir, struct sl_error *err);
SL_MUST_USE enum sl_status wk_index_save(const struct wk_index *index, const char *dir, struct sl_error *err);

/* The line of one shard, kept in its folder: wk_index_shard_save, and wk_index_shard_load with the number of labels. */
SL_MUST_USE enum sl_status wk_index_shard_save(
        const struct wk_index_shard *shard, int label_count, const char *dir, struct sl_error *err);
SL_MUST_USE enum sl_status wk_index_shard_load(
        struct wk_index_shard *ret_shard, int label_count, const char *dir, struct sl_error *err);

/* wk_index_check_config tells whether a dataset fits a config: labels, kinds, shapes, vocabularies. vocab_hashes as above. Errors: BAD_DATA
 * naming dir, what differs and what to do. */
SL_MUST_USE enum sl_status wk_index_check_config(const struct wk_index *index, const struct sl_config *config,
        const uint64_t *vocab_hashes, const char *dir, struct sl_error *err);

/* wk_index_settings gives the labels and modalities of a config as JSON text: what an import must not change half-way. Owns: sl_free it. */
SL_MUST_USE enum sl_status wk_index_settings(
        char **ret_text, const struct wk_index *index, struct sl_error *err);

/* wk_kind_name gives "vit", "bert" or "features". Never NULL. */
const char *wk_kind_name(enum sl_kind kind);
