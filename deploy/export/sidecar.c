/* The preprocessing sidecar and the metadata: see sidecar.h. */
#include "deploy/export/sidecar.h"

#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "deploy/export/network.h"
#include "worker/dataset/vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX ((size_t)1 << 20) /* bytes of a JSON text */

/* ".vocab-NAME.txt" */
static void vocab_suffix(const struct sl_modality_config *m, char *text, size_t size)
{
    (void)snprintf(text, size, ".vocab-%s.txt", m->name);
}

static enum sl_status take_json(struct sl_json *json, char **ret_text, struct sl_error *err)
{
    const char *text = NULL;
    enum sl_status status = sl_json_finish(json, &text, NULL, err);
    if (status != SL_OK)
        return status;
    *ret_text = sl_strdup(text);
    return *ret_text == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory") : SL_OK;
}

/* ---- the sidecar ---- */

static void put_duration(struct sl_json *json, const char *key, int64_t duration_s)
{
    if (duration_s == SL_DURATION_INFINITE)
        sl_json_null(json, key);
    else
        sl_json_int(json, key, duration_s);
}

static void put_labels(struct sl_json *json, const struct sl_config *config)
{
    sl_json_array(json, "labels");
    for (int k = 0; k < config->label_count; k++) {
        sl_json_object(json, NULL);
        sl_json_string(json, "name", config->labels[k].name);
        put_duration(json, "duration_s", config->labels[k].duration_s);
        sl_json_end(json);
    }
    sl_json_end(json);
}

static void put_three(struct sl_json *json, const char *key, const float values[3])
{
    sl_json_array(json, key);
    for (int c = 0; c < 3; c++)
        sl_json_float(json, NULL, values[c]);
    sl_json_end(json);
}

static void put_vit(struct sl_json *json, const struct sl_modality_config *m, bool graph)
{
    sl_json_int(json, "image", m->image);
    sl_json_string(json, "colour", "R G B");
    sl_json_string(json, "resize",
            "the whole picture, turned upright as the file says, to image x image, bicubic, without keeping "
            "its shape");
    sl_json_object(json, "sampling");
    sl_json_string(json, "rule", "centres");
    sl_json_int(json, "frames", m->frames);
    sl_json_string(json, "text",
            "the clip is cut into `frames` equal parts; of each the picture shown at its middle; a picture "
            "that would come twice comes once");
    sl_json_end(json);
    sl_json_object(json, "normalisation");
    put_three(json, "mean", m->mean);
    put_three(json, "std", m->std);
    sl_json_string(json, "formula", "(byte / 255 - mean) / std");
    sl_json_bool(json, "inside_graph", graph);
    sl_json_end(json);
}

static enum sl_status put_bert(struct sl_json *json, const struct sl_modality_config *m,
        const struct dp_files *files, struct sl_error *err)
{
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    char suffix[SL_NAME_MAX + 16], name[SL_PATH_MAX + SL_NAME_MAX + 16];
    enum sl_status status = wk_vocab_load(&vocab, m->vocab, err);
    if (status != SL_OK)
        return sl_error_context(err, "modality %s", m->name);
    vocab_suffix(m, suffix, sizeof(suffix));
    dp_files_name(files, suffix, name, sizeof(name));
    sl_json_object(json, "tokenizer");
    sl_json_string(json, "kind", "BertTokenizer (WordPiece)");
    sl_json_string(json, "vocabulary", name);
    sl_json_int(json, "vocabulary_size", m->vocab_size);
    sl_json_bool(json, "lower_case", m->lower_case);
    sl_json_bool(json, "strip_accents", m->lower_case);
    sl_json_bool(json, "cjk_characters_apart", true);
    sl_json_int(json, "max_tokens", m->max_tokens);
    sl_json_array(json, "fields");
    sl_json_string(json, NULL, "title");
    sl_json_string(json, NULL, "ocr");
    sl_json_string(json, NULL, "asr");
    sl_json_end(json);
    sl_json_string(json, "text",
            "[CLS], then the tokens of each field that has any, each field followed by [SEP]; what is "
            "over max_tokens is cut off and the last token is [SEP]");
    sl_json_object(json, "special_ids");
    for (int s = 0; s < WK_SPECIALS; s++)
        if (wk_vocab_special(vocab, (enum wk_special)s) >= 0)
            sl_json_int(
                    json, wk_special_name((enum wk_special)s), wk_vocab_special(vocab, (enum wk_special)s));
    sl_json_end(json);
    sl_json_end(json);
    return SL_OK;
}

static void put_features(struct sl_json *json, const struct sl_modality_config *m)
{
    sl_json_int(json, "columns", m->input);
    sl_json_object(json, "sampling");
    sl_json_string(json, "rule", "centres");
    sl_json_int(json, "rows", m->max_items);
    sl_json_string(json, "text",
            "of more rows than that, number floor((2 k + 1) n / (2 rows)) of n for k = 0, 1, ...");
    sl_json_end(json);
}

/* The shape as the graph declares it: numbers, and names for what is free. */
static void put_shape(struct sl_json *json, const struct sl_modality_config *m)
{
    sl_json_array(json, "shape");
    sl_json_string(json, NULL, "batch");
    sl_json_string(json, NULL, dp_network_items_name(m));
    if (m->kind == SL_KIND_VIT) {
        sl_json_int(json, NULL, m->image);
        sl_json_int(json, NULL, m->image);
        sl_json_int(json, NULL, 3);
    } else if (m->kind == SL_KIND_FEATURES) {
        sl_json_int(json, NULL, m->input);
    }
    sl_json_end(json);
}

static enum sl_status put_input(struct sl_json *json, const struct sl_modality_config *m,
        const struct dp_files *files, bool graph, struct sl_error *err)
{
    static const char *const kinds[] = {
            [SL_KIND_VIT] = "vit", [SL_KIND_BERT] = "bert", [SL_KIND_FEATURES] = "features"};
    static const char *const types[] = {
            [SL_KIND_VIT] = "uint8", [SL_KIND_BERT] = "int64", [SL_KIND_FEATURES] = "float32"};
    char mask[SL_NAME_MAX + 8];
    enum sl_status status = SL_OK;
    (void)snprintf(mask, sizeof(mask), "%s.mask", m->name);
    sl_json_object(json, NULL);
    sl_json_string(json, "name", m->name);
    sl_json_string(json, "kind", kinds[m->kind]);
    if (graph) {
        sl_json_string(json, "mask", mask);
        sl_json_string(json, "type", types[m->kind]);
        put_shape(json, m);
    }
    sl_json_int(json, "max_items", dp_network_items(m));
    if (m->kind == SL_KIND_VIT)
        put_vit(json, m, graph);
    else if (m->kind == SL_KIND_BERT)
        status = put_bert(json, m, files, err);
    else
        put_features(json, m);
    sl_json_end(json);
    return status;
}

static void put_outputs(struct sl_json *json, const struct sl_config *config)
{
    char name[SL_NAME_MAX + 32];
    sl_json_array(json, "outputs");
    for (int b = 0; b <= config->modality_count; b++) {
        const char *branch = sl_config_branch_name(config, b);
        sl_json_object(json, NULL);
        sl_json_string(json, "branch", branch);
        (void)snprintf(name, sizeof(name), "logits.%s", branch);
        sl_json_string(json, "logits", name);
        (void)snprintf(name, sizeof(name), "probabilities.%s", branch);
        sl_json_string(json, "probabilities", name);
        sl_json_end(json);
    }
    sl_json_end(json);
}

enum sl_status dp_sidecar_text(char **ret_text, const struct dp_loaded *loaded, const struct dp_files *files,
        bool graph, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    const struct sl_config *config = loaded->config;
    char name[SL_PATH_MAX];
    sl_json_init(&json, TEXT_MAX);
    json.pretty = true;
    dp_files_name(files, "", name, sizeof(name));
    sl_json_object(&json, NULL);
    sl_json_string(&json, "format", "shelflife-preprocessing");
    sl_json_int(&json, "version", 1);
    sl_json_string(&json, "model", name);
    sl_json_string(&json, "producer", "shelflife " SHELFLIFE_VERSION);
    sl_json_int(&json, "step", loaded->step);
    put_labels(&json, config);
    sl_json_array(&json, "inputs");
    for (int m = 0; m < config->modality_count; m++) {
        enum sl_status status = put_input(&json, &config->modalities[m], files, graph, err);
        if (status != SL_OK)
            return status;
    }
    sl_json_end(&json);
    if (graph)
        put_outputs(&json, config);
    sl_json_end(&json);
    return take_json(&json, ret_text, err);
}

static enum sl_status copy_vocab(
        struct dp_files *files, const struct sl_modality_config *m, struct sl_error *err)
{
    SL_AUTO_FREE char *bytes = NULL;
    size_t size = 0;
    struct dp_file *file = NULL;
    char suffix[SL_NAME_MAX + 16];
    vocab_suffix(m, suffix, sizeof(suffix));
    enum sl_status status = sl_file_read(&bytes, &size, m->vocab, WK_VOCAB_FILE_MAX, err);
    if (status == SL_OK)
        status = dp_files_add(files, suffix, &file, err);
    return status == SL_OK ? dp_file_write(file, bytes, size, err) : status;
}

enum sl_status dp_sidecar_write(
        struct dp_files *files, const struct dp_loaded *loaded, const char *text, struct sl_error *err)
{
    struct dp_file *file = NULL;
    enum sl_status status = dp_files_add(files, ".json", &file, err);
    if (status == SL_OK)
        status = dp_file_write(file, text, strlen(text), err);
    if (status == SL_OK)
        status = dp_file_write(file, "\n", 1, err);
    for (int m = 0; m < loaded->config->modality_count && status == SL_OK; m++)
        if (loaded->config->modalities[m].kind == SL_KIND_BERT)
            status = copy_vocab(files, &loaded->config->modalities[m], err);
    return status;
}

/* ---- metadata ---- */

enum sl_status dp_metadata_add(
        struct dp_metadata *metadata, const char *key, const char *value, struct sl_error *err)
{
    char *copy = metadata->count < DP_METADATA_MAX ? sl_strdup(value) : NULL;
    if (copy == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the metadata");
    metadata->key[metadata->count] = key;
    metadata->value[metadata->count++] = copy;
    return SL_OK;
}

void dp_metadata_fini(struct dp_metadata *metadata)
{
    for (int i = 0; i < metadata->count; i++)
        sl_free(metadata->value[i]);
    metadata->count = 0;
}

static enum sl_status add_labels(
        struct dp_metadata *metadata, const struct sl_config *config, bool durations, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    const char *text = NULL;
    sl_json_init(&json, TEXT_MAX);
    sl_json_array(&json, NULL);
    for (int k = 0; k < config->label_count; k++) {
        if (durations)
            put_duration(&json, NULL, config->labels[k].duration_s);
        else
            sl_json_string(&json, NULL, config->labels[k].name);
    }
    sl_json_end(&json);
    enum sl_status status = sl_json_finish(&json, &text, NULL, err);
    return status == SL_OK ? dp_metadata_add(metadata, durations ? "durations_s" : "labels", text, err)
                           : status;
}

/* Where datasets, runs and keys lie is nobody's business who gets the model. */
static enum sl_status add_config(
        struct dp_metadata *metadata, const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO_FREE struct sl_config *copy = sl_alloc(1, sizeof(*copy));
    SL_AUTO_FREE char *text = NULL;
    if (copy == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the config");
    *copy = *config;
    (void)snprintf(copy->dataset.train, sizeof(copy->dataset.train), "dataset/train");
    copy->dataset.validation[0] = 0;
    (void)snprintf(copy->snapshots.dir, sizeof(copy->snapshots.dir), "run");
    copy->cluster.keys[0] = 0;
    for (int m = 0; m < copy->modality_count; m++) {
        struct sl_modality_config *modality = &copy->modalities[m];
        modality->init[0] = 0;
        if (modality->kind == SL_KIND_BERT)
            (void)snprintf(
                    modality->vocab, sizeof(modality->vocab), "vocab-%s.txt", config->modalities[m].name);
    }
    enum sl_status status = sl_config_dump(&text, copy, err);
    return status == SL_OK ? dp_metadata_add(metadata, "config", text, err) : status;
}

enum sl_status dp_metadata_make(
        struct dp_metadata *ret_metadata, const struct dp_loaded *loaded, struct sl_error *err)
{
    struct dp_metadata metadata = {0};
    char step[32];
    (void)snprintf(step, sizeof(step), "%" PRId64, loaded->step);
    enum sl_status status = dp_metadata_add(&metadata, "producer", "shelflife " SHELFLIFE_VERSION, err);
    if (status == SL_OK)
        status = dp_metadata_add(&metadata, "step", step, err);
    if (status == SL_OK)
        status = add_labels(&metadata, loaded->config, false, err);
    if (status == SL_OK)
        status = add_labels(&metadata, loaded->config, true, err);
    if (status == SL_OK)
        status = add_config(&metadata, loaded->config, err);
    if (status != SL_OK) {
        dp_metadata_fini(&metadata);
        return status;
    }
    *ret_metadata = metadata;
    return SL_OK;
}
