/* See dataset.h. */
#include "worker/dataset/dataset.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/search.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/record.h"
#include "worker/dataset/vocab.h"

#include <stdlib.h>
#include <string.h>

struct wk_dataset {
    char *dir;
    const struct sl_config *config; /* or NULL */
    struct wk_index *index;
    struct wk_shard **shards; /* (index->shard_count,), NULL = not here */
    uint64_t *shard_counts;   /* (shard_count,) samples, as the manifest says */
    uint64_t *begins;         /* (shard_count + 1,) index of each shard's first sample */
};

enum sl_status wk_config_vocab_hashes(
        uint64_t *ret_hashes, const struct sl_config *config, struct sl_error *err)
{
    memset(ret_hashes, 0, SL_MODALITIES_MAX * sizeof(*ret_hashes));
    for (int m = 0; m < config->modality_count; m++) {
        if (config->modalities[m].kind != SL_KIND_BERT)
            continue;
        struct wk_vocab *vocab = NULL;
        enum sl_status status = wk_vocab_load(&vocab, config->modalities[m].vocab, err);
        if (status != SL_OK) {
            (void)sl_error_context(err, "modality %s", config->modalities[m].name);
            if (status != SL_NO_MEMORY)
                status = SL_USAGE;
            if (err != NULL)
                err->status = status;
            return status;
        }
        ret_hashes[m] = wk_vocab_hash(vocab);
        wk_vocab_destroy(vocab);
    }
    return SL_OK;
}

/* Why a folder without manifest is no dataset, as exactly as can be told. */
static enum sl_status explain_missing(const char *dir, struct sl_error *err)
{
    if (!sl_file_is_directory(dir))
        return sl_fail(err, SL_BAD_DATA, "dataset %s does not exist; make it with `shelflife import`", dir);
    for (int i = 0; i < WK_SPLITS; i++) {
        SL_AUTO_FREE char *inside =
                sl_strdup_printf("%s/%s/" WK_INDEX_FILE, dir, wk_split_name((enum wk_split)i));
        if (inside != NULL && sl_file_size(inside) >= 0)
            return sl_fail(err, SL_BAD_DATA, "%s holds splits, not samples; %s/%s is one", dir, dir,
                    wk_split_name((enum wk_split)i));
    }
    SL_AUTO_FREE char *parent = sl_strdup_printf("%s/../import.json", dir);
    SL_AUTO_FREE char *self = sl_strdup_printf("%s/import.json", dir);
    if ((parent != NULL && sl_file_size(parent) >= 0) || (self != NULL && sl_file_size(self) >= 0))
        return sl_fail(err, SL_BAD_DATA,
                "dataset %s has no %s: its import did not finish; run the same import again", dir,
                WK_INDEX_FILE);
    return sl_fail(err, SL_BAD_DATA, "%s has no %s: it is not a dataset; make one with `shelflife import`",
            dir, WK_INDEX_FILE);
}

static enum sl_status open_index(struct wk_dataset *dataset, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dataset->dir, WK_INDEX_FILE);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (sl_file_size(path) < 0)
        return explain_missing(dataset->dir, err);
    enum sl_status status = wk_index_load(&dataset->index, dataset->dir, err);
    if (status != SL_OK)
        return status;
    if (dataset->index->count == 0 && dataset->config != NULL)
        return sl_fail(err, SL_BAD_DATA,
                "dataset %s is empty: %llu lines were rejected, see rejects.jsonl beside it", dataset->dir,
                (unsigned long long)dataset->index->rejects);
    return SL_OK;
}

static enum sl_status check_fit(const struct wk_dataset *dataset, struct sl_error *err)
{
    if (dataset->config == NULL)
        return SL_OK;
    uint64_t vocab_hashes[SL_MODALITIES_MAX];
    enum sl_status status = wk_config_vocab_hashes(vocab_hashes, dataset->config, err);
    if (status != SL_OK)
        return status;
    return wk_index_check_config(dataset->index, dataset->config, vocab_hashes, dataset->dir, err);
}

static enum sl_status open_shard(struct wk_dataset *dataset, uint32_t i, bool partial, struct sl_error *err)
{
    const struct wk_index_shard *stated = &dataset->index->shards[i];
    SL_AUTO_FREE char *dir = sl_path_join(dataset->dir, stated->name);
    if (dir == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    dataset->shard_counts[i] = stated->count;
    dataset->begins[i + 1] = dataset->begins[i] + stated->count;
    if (!sl_file_is_directory(dir) && partial)
        return SL_OK;
    if (!sl_file_is_directory(dir))
        return sl_fail(err, SL_BAD_DATA,
                "dataset %s lacks %s, which its manifest lists; import the dataset again", dataset->dir,
                stated->name);
    enum sl_status status = wk_shard_open(&dataset->shards[i], dir, stated->size, err);
    if (status == SL_NOT_FOUND && err != NULL)
        err->status = SL_BAD_DATA;
    if (status != SL_OK)
        return status == SL_NOT_FOUND ? SL_BAD_DATA : status;
    if (wk_shard_count(dataset->shards[i]) != stated->count)
        return sl_fail(err, SL_BAD_DATA,
                "%s has %llu samples, the manifest says %llu; import the dataset again", dir,
                (unsigned long long)wk_shard_count(dataset->shards[i]), (unsigned long long)stated->count);
    return SL_OK;
}

static enum sl_status open_shards(struct wk_dataset *dataset, bool partial, struct sl_error *err)
{
    uint32_t shards = dataset->index->shard_count, here = 0;
    dataset->shards = sl_alloc(shards, sizeof(struct wk_shard *));
    dataset->shard_counts = sl_alloc(shards, sizeof(uint64_t));
    dataset->begins = sl_alloc((size_t)shards + 1, sizeof(uint64_t));
    if (dataset->shards == NULL || dataset->shard_counts == NULL || dataset->begins == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < shards; i++) {
        enum sl_status status = open_shard(dataset, i, partial, err);
        if (status != SL_OK)
            return status;
        here += dataset->shards[i] != NULL;
    }
    if (here == 0 && shards > 0)
        return sl_fail(err, SL_BAD_DATA, "dataset %s has none of the %u shards that its manifest lists",
                dataset->dir, shards);
    return SL_OK;
}

static enum sl_status open_dataset(struct wk_dataset **ret_dataset, const char *dir,
        const struct sl_config *config, bool partial, struct sl_error *err)
{
    SL_AUTO(wk_dataset_close_auto) struct wk_dataset *dataset = sl_alloc(1, sizeof(*dataset));
    if (dataset == NULL || (dataset->dir = sl_strdup(dir)) == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    dataset->config = config;
    enum sl_status status = open_index(dataset, err);
    if (status == SL_OK)
        status = check_fit(dataset, err);
    if (status == SL_OK)
        status = open_shards(dataset, partial, err);
    if (status == SL_OK)
        *ret_dataset = SL_TAKE(dataset);
    return status;
}

enum sl_status wk_dataset_open(struct wk_dataset **ret_dataset, const char *dir,
        const struct sl_config *config, struct sl_error *err)
{
    return open_dataset(ret_dataset, dir, config, false, err);
}

enum sl_status wk_dataset_open_part(struct wk_dataset **ret_dataset, const char *dir,
        const struct sl_config *config, struct sl_error *err)
{
    return open_dataset(ret_dataset, dir, config, true, err);
}

uint32_t wk_dataset_shard_count(const struct wk_dataset *dataset)
{
    return dataset->index->shard_count;
}

const uint64_t *wk_dataset_shard_counts(const struct wk_dataset *dataset)
{
    return dataset->shard_counts;
}

bool wk_dataset_has_shard(const struct wk_dataset *dataset, uint32_t shard)
{
    return shard < dataset->index->shard_count && dataset->shards[shard] != NULL;
}

void wk_dataset_close(struct wk_dataset *dataset)
{
    if (dataset == NULL)
        return;
    for (uint32_t i = 0; dataset->shards != NULL && i < dataset->index->shard_count; i++)
        wk_shard_close(dataset->shards[i]);
    sl_free(dataset->shards);
    sl_free(dataset->begins);
    sl_free(dataset->shard_counts);
    wk_index_destroy(dataset->index);
    sl_free(dataset->dir);
    sl_free(dataset);
}

void wk_dataset_close_auto(struct wk_dataset **dataset)
{
    wk_dataset_close(*dataset);
}

uint64_t wk_dataset_count(const struct wk_dataset *dataset)
{
    return dataset->index->count;
}

uint64_t wk_dataset_label_count(const struct wk_dataset *dataset, int label)
{
    const struct wk_index *index = dataset->index;
    if (dataset->config == NULL)
        return label >= 0 && label < index->label_count ? index->label_counts[label] : 0;
    if (label < 0 || label >= dataset->config->label_count)
        return 0;
    for (int k = 0; k < index->label_count; k++) {
        if (strcmp(index->labels[k], dataset->config->labels[label].name) == 0)
            return index->label_counts[k];
    }
    return 0;
}

uint64_t wk_dataset_fingerprint(const struct wk_dataset *dataset)
{
    return dataset->index->fingerprint;
}

const struct wk_index *wk_dataset_index(const struct wk_dataset *dataset)
{
    return dataset->index;
}

/* The shard that holds a sample: the last one that begins at or before it and is not empty. */
static uint32_t find_shard(const struct wk_dataset *dataset, uint64_t index)
{
    return sl_search_last(dataset->begins, dataset->index->shard_count, index);
}

static enum sl_status peek(struct wk_dataset *dataset, uint64_t index, uint32_t *ret_shard,
        const void **ret_bytes, size_t *ret_size, uint64_t *ret_key, struct sl_error *err)
{
    if (index >= dataset->index->count)
        return sl_fail(err, SL_USAGE, "dataset %s has %llu samples, number %llu was asked for", dataset->dir,
                (unsigned long long)dataset->index->count, (unsigned long long)index);
    *ret_shard = find_shard(dataset, index);
    if (dataset->shards[*ret_shard] == NULL)
        return sl_fail(err, SL_BAD_DATA, "dataset %s: %s is not on this machine", dataset->dir,
                dataset->index->shards[*ret_shard].name);
    return wk_shard_peek(dataset->shards[*ret_shard], WK_ENTRY_SAMPLE, index - dataset->begins[*ret_shard],
            ret_bytes, ret_size, ret_key, err);
}

enum sl_status wk_dataset_read(
        struct wk_dataset *dataset, uint64_t index, struct wk_sample *ret_sample, struct sl_error *err)
{
    uint32_t shard = 0;
    const void *bytes = NULL;
    size_t size = 0;
    uint64_t key = 0;
    if (dataset->config == NULL)
        return sl_fail(err, SL_USAGE, "dataset %s was opened without a config", dataset->dir);
    enum sl_status status = peek(dataset, index, &shard, &bytes, &size, &key, err);
    if (status == SL_OK)
        status = wk_record_unpack(ret_sample, bytes, size, dataset->config, key, err);
    if (status == SL_OK)
        ret_sample->index = index;
    else if (status != SL_USAGE)
        (void)sl_error_context(err, "%s/%s, entry %llu", dataset->dir, dataset->index->shards[shard].name,
                (unsigned long long)key);
    return status;
}

enum sl_status wk_dataset_find(
        struct wk_dataset *dataset, const char *id, uint64_t *ret_index, struct sl_error *err)
{
    for (uint64_t i = 0; i < dataset->index->count; i++) {
        uint32_t shard = find_shard(dataset, i);
        if (dataset->shards[shard] == NULL)
            continue;
        const void *bytes = NULL;
        size_t size = 0;
        uint64_t key = 0;
        char found[WK_MANIFEST_ID_MAX + 1];
        enum sl_status status = peek(dataset, i, &shard, &bytes, &size, &key, err);
        if (status == SL_OK)
            status = wk_record_id(found, sizeof(found), NULL, 0, bytes, size, err);
        if (status != SL_OK)
            return sl_error_context(err, "%s/%s, entry %llu", dataset->dir,
                    dataset->index->shards[shard].name, (unsigned long long)key);
        if (strcmp(found, id) == 0) {
            *ret_index = i;
            return SL_OK;
        }
    }
    return sl_fail(err, SL_NOT_FOUND, "dataset %s has no sample \"%.200s\"", dataset->dir, id);
}

static int find_label(const struct wk_index *index, const char *name)
{
    for (int k = 0; k < index->label_count; k++) {
        if (strcmp(index->labels[k], name) == 0)
            return k;
    }
    return -1;
}

enum sl_status wk_dataset_verify(struct wk_dataset *dataset, uint32_t shard, struct sl_error *err)
{
    const struct wk_index_shard *stated = &dataset->index->shards[shard];
    uint64_t hash = 0, labels[SL_LABELS_MAX] = {0};
    if (dataset->shards[shard] == NULL)
        return sl_fail(err, SL_BAD_DATA, "dataset %s: %s is not on this machine", dataset->dir, stated->name);
    for (uint64_t i = 0; i < stated->count; i++) {
        const void *bytes = NULL;
        size_t size = 0;
        uint64_t key = 0, checksum = 0;
        char name[SL_NAME_MAX];
        enum sl_status status =
                wk_shard_peek(dataset->shards[shard], WK_ENTRY_SAMPLE, i, &bytes, &size, &key, err);
        if (status == SL_OK)
            status = wk_record_verify(&checksum, bytes, size, key, err);
        if (status == SL_OK)
            status = wk_record_id(NULL, 0, name, sizeof(name), bytes, size, err);
        if (status != SL_OK)
            return sl_error_context(
                    err, "%s/%s, entry %llu", dataset->dir, stated->name, (unsigned long long)key);
        hash = wk_shard_fold(hash, key, checksum);
        int label = find_label(dataset->index, name);
        if (label >= 0)
            labels[label]++;
    }
    if (hash != stated->hash)
        return sl_fail(err, SL_BAD_DATA, "%s/%s: its records are not those that the manifest was made with",
                dataset->dir, stated->name);
    if (memcmp(labels, stated->labels, sizeof(labels)) != 0)
        return sl_fail(err, SL_BAD_DATA, "%s/%s: its label counts are not those of the manifest",
                dataset->dir, stated->name);
    return SL_OK;
}
