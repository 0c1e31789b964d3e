/* Synthetic samples, vocabularies and datasets: see synthetic.h. */
#include "deploy/bench/synthetic.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/text.h"
#include "worker/dataset/dataset.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/record.h"
#include "worker/dataset/shard.h"

#include <string.h>

#define VOCABULARY_ROWS 2000
#define VOCABULARY_BYTES_MAX ((size_t)64 << 20)
#define DATASET_BYTES ((size_t)64 << 20)
#define SAMPLES_MOST 1024
#define SPECIAL_TOKENS 5 /* [PAD] [UNK] [CLS] [SEP] [MASK] */

/* ---- vocabularies ---- */

static int rows_of(const struct sl_modality_config *modality)
{
    if (modality->vocab_size > 0)
        return modality->vocab_size;
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    struct sl_error ignored = {0};
    if (sl_file_read(&text, &size, modality->vocab, VOCABULARY_BYTES_MAX, &ignored) != SL_OK)
        return VOCABULARY_ROWS;
    int rows = 0;
    for (size_t i = 0; i < size; i++)
        rows += text[i] == '\n';
    return rows < SPECIAL_TOKENS ? VOCABULARY_ROWS : rows;
}

static enum sl_status write_vocabulary(const char *path, int rows, struct sl_error *err)
{
    SL_AUTO(sl_text_fini) struct sl_text text;
    const char *bytes = NULL;
    size_t size = 0;
    sl_text_init(&text, VOCABULARY_BYTES_MAX);
    sl_text_printf(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = SPECIAL_TOKENS; i < rows; i++)
        sl_text_printf(&text, "w%d\n", i);
    enum sl_status status = sl_text_finish(&text, &bytes, &size, err);
    return status == SL_OK ? sl_file_write_atomic(path, bytes, size, err) : status;
}

enum sl_status dp_synthetic_vocabularies(struct sl_config *config, const char *dir, struct sl_error *err)
{
    for (int m = 0; m < config->modality_count; m++) {
        struct sl_modality_config *modality = &config->modalities[m];
        if (modality->kind != SL_KIND_BERT)
            continue;
        int rows = rows_of(modality);
        SL_AUTO_FREE char *path = sl_strdup_printf("%s/vocab-%s.txt", dir, modality->name);
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        if (strlen(path) >= sizeof(modality->vocab))
            return sl_fail(err, SL_USAGE, "the path of the temporary folder %s is too long", dir);
        memcpy(modality->vocab, path, strlen(path) + 1);
        modality->vocab_size = rows < SPECIAL_TOKENS ? SPECIAL_TOKENS : rows;
        enum sl_status status = write_vocabulary(modality->vocab, modality->vocab_size, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* ---- samples ---- */

static enum sl_status draw_frames(struct wk_sample_input *input, const struct sl_modality_config *modality,
        const struct sl_random *random, struct sl_error *err)
{
    size_t side = (size_t)modality->image, count = (size_t)modality->frames * side * side * 3;
    input->items = modality->frames;
    input->frames = sl_alloc(count, 1);
    if (input->frames == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %d frames", modality->frames);
    uint32_t words[4] = {0};
    for (size_t i = 0; i < count; i++) {
        size_t x = i / 3 % side, y = i / 3 / side % side;
        if (i % 16 == 0)
            sl_random_u32x4(random, i / 16, words);
        uint32_t grain = words[i / 4 % 4] >> (8 * (i % 4)) & 15U;
        input->frames[i] = (uint8_t)(32 + 100 * x / side + 100 * y / side + grain);
    }
    return SL_OK;
}

static enum sl_status draw_tokens(struct wk_sample_input *input, const struct sl_modality_config *modality,
        const struct sl_random *random, struct sl_error *err)
{
    int n = modality->max_tokens, words = modality->vocab_size - SPECIAL_TOKENS;
    input->items = n;
    input->tokens = sl_alloc((size_t)n, sizeof(*input->tokens));
    if (input->tokens == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %d tokens", n);
    for (int i = 0; i < n; i++)
        input->tokens[i] =
                words > 0 ? SPECIAL_TOKENS + (int32_t)sl_random_below(random, (uint64_t)i, (uint64_t)words)
                          : 1;
    input->tokens[0] = 2;
    input->tokens[n - 1] = 3;
    return SL_OK;
}

static enum sl_status draw_features(struct wk_sample_input *input, const struct sl_modality_config *modality,
        const struct sl_random *random, struct sl_error *err)
{
    size_t count = (size_t)modality->max_items * (size_t)modality->input;
    input->items = modality->max_items;
    input->features = sl_alloc(count, sizeof(*input->features));
    if (input->features == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu features", count);
    for (size_t i = 0; i < count; i++)
        input->features[i] = sl_random_float(random, i) - 0.5F;
    return SL_OK;
}

enum sl_status dp_synthetic_sample(
        struct wk_sample *ret_sample, const struct sl_config *config, uint64_t index, struct sl_error *err)
{
    struct wk_sample sample = {
            .label = (int)(index % (uint64_t)config->label_count), .published_s = INT64_MIN, .index = index};
    sample.id = sl_strdup_printf("synthetic-%06llu", (unsigned long long)index);
    sample.title = sl_strdup("");
    enum sl_status status = SL_OK;
    if (sample.id == NULL || sample.title == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory for a sample");
    for (int m = 0; m < config->modality_count && status == SL_OK; m++) {
        const struct sl_modality_config *modality = &config->modalities[m];
        struct sl_random random = sl_random_make(config->seed, SL_RANDOM_SAMPLE, index, (uint64_t)m);
        if (modality->kind == SL_KIND_VIT)
            status = draw_frames(&sample.inputs[m], modality, &random, err);
        else if (modality->kind == SL_KIND_BERT)
            status = draw_tokens(&sample.inputs[m], modality, &random, err);
        else
            status = draw_features(&sample.inputs[m], modality, &random, err);
    }
    if (status == SL_OK)
        *ret_sample = sample;
    else
        wk_sample_fini(&sample);
    return status;
}

/* ---- a dataset ---- */

static size_t sample_bytes(const struct sl_config *config)
{
    size_t bytes = 64;
    for (int m = 0; m < config->modality_count; m++) {
        const struct sl_modality_config *modality = &config->modalities[m];
        if (modality->kind == SL_KIND_VIT)
            bytes += (size_t)modality->frames * (size_t)modality->image * (size_t)modality->image * 3;
        else if (modality->kind == SL_KIND_BERT)
            bytes += (size_t)modality->max_tokens * 2;
        else
            bytes += (size_t)modality->max_items * (size_t)modality->input * sizeof(float);
    }
    return bytes;
}

static uint64_t sample_count(const struct sl_config *config)
{
    uint64_t count = DATASET_BYTES / sample_bytes(config);
    uint64_t least = 2 * (uint64_t)config->batch.slots * (uint64_t)config->batch.slot_size;
    count = count > SAMPLES_MOST ? SAMPLES_MOST : count;
    return count < least ? least : count;
}

static enum sl_status put_sample(
        struct wk_shard_writer *writer, const struct sl_config *config, uint64_t index, struct sl_error *err)
{
    struct wk_sample sample = {0};
    SL_AUTO_FREE uint8_t *bytes = NULL;
    size_t size = 0;
    enum sl_status status = dp_synthetic_sample(&sample, config, index, err);
    if (status == SL_OK)
        status = wk_record_pack(&bytes, &size, &sample, config, index, err);
    if (status == SL_OK)
        status = wk_shard_writer_put(writer, index, WK_ENTRY_SAMPLE, sample.label, bytes, size, err);
    wk_sample_fini(&sample);
    return status;
}

static enum sl_status write_shard(struct wk_index_shard *ret_line, const struct sl_config *config,
        const char *dir, struct sl_error *err)
{
    struct wk_shard_writer *writer = NULL;
    SL_AUTO_FREE char *shard = sl_path_join(dir, "shard-00000");
    SL_AUTO_FREE char *file = shard == NULL ? NULL : sl_path_join(shard, WK_SHARD_FILE);
    if (file == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_file_make_directories(shard, err);
    if (status == SL_OK)
        status = wk_shard_writer_open(&writer, shard, config, err);
    for (uint64_t i = 0; i < sample_count(config) && status == SL_OK; i++)
        status = put_sample(writer, config, i, err);
    if (status == SL_OK)
        status = wk_shard_writer_commit(writer, err);
    if (status == SL_OK) {
        const struct wk_shard_summary *summary = wk_shard_writer_summary(writer);
        *ret_line = (struct wk_index_shard){
                .name = "shard-00000", .count = summary->count, .hash = summary->hash};
        memcpy(ret_line->labels, summary->labels, sizeof(ret_line->labels));
    }
    wk_shard_writer_close(writer);
    ret_line->size = sl_file_size(file);
    return status;
}

enum sl_status dp_synthetic_dataset(const struct sl_config *config, const char *dir, struct sl_error *err)
{
    SL_AUTO(wk_index_destroy_auto) struct wk_index *index = NULL;
    uint64_t hashes[SL_MODALITIES_MAX];
    struct wk_index_shard line = {0};
    enum sl_status status = write_shard(&line, config, dir, err);
    if (status == SL_OK)
        status = wk_config_vocab_hashes(hashes, config, err);
    if (status == SL_OK)
        status = wk_index_begin(&index, config, hashes, wk_split_name(WK_SPLIT_TRAIN), err);
    if (status == SL_OK)
        status = wk_index_add_shard(index, &line, err);
    return status == SL_OK ? wk_index_save(index, dir, err) : status;
}
