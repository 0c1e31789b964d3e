/* See importer.h. */
#include "worker/dataset/importer.h"

#include "common/file.h"
#include "common/memory.h"
#include "worker/dataset/features.h"
#include "worker/dataset/record.h"
#include "worker/dataset/tokenizer.h"
#include "worker/dataset/vocab.h"

#include <string.h>

struct wk_importer {
    const struct sl_config *config;
    char *base_dir;
    struct wk_decoder_limits limits;
    struct wk_decoder *decoder; /* NULL until the first video */
    struct wk_features *features;
    struct wk_vocab *vocabs[SL_MODALITIES_MAX];
};

static enum sl_status load_vocabs(struct wk_importer *importer, struct sl_error *err)
{
    const struct sl_config *config = importer->config;
    for (int m = 0; m < config->modality_count; m++) {
        const struct sl_modality_config *modality = &config->modalities[m];
        if (modality->kind != SL_KIND_BERT)
            continue;
        enum sl_status status = wk_vocab_load(&importer->vocabs[m], modality->vocab, err);
        if (status == SL_NO_MEMORY)
            return status;
        if (status != SL_OK) {
            (void)sl_error_context(err, "modality %s", modality->name);
            return err != NULL ? err->status = SL_USAGE : SL_USAGE;
        }
        if (wk_vocab_size(importer->vocabs[m]) != modality->vocab_size)
            return sl_fail(err, SL_USAGE, "modality %s: %s has %d tokens, the config says vocab_size %d",
                    modality->name, modality->vocab, wk_vocab_size(importer->vocabs[m]),
                    modality->vocab_size);
    }
    return SL_OK;
}

enum sl_status wk_importer_create(struct wk_importer **ret_importer, const struct sl_config *config,
        const char *base_dir, const struct wk_decoder_limits *limits, struct sl_error *err)
{
    SL_AUTO(wk_importer_destroy_auto) struct wk_importer *importer = sl_alloc(1, sizeof(*importer));
    if (importer == NULL || (importer->base_dir = sl_strdup(base_dir)) == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    importer->config = config;
    if (limits != NULL)
        importer->limits = *limits;
    enum sl_status status = wk_features_create(&importer->features, err);
    if (status == SL_OK)
        status = load_vocabs(importer, err);
    if (status == SL_OK)
        *ret_importer = SL_TAKE(importer);
    return status;
}

void wk_importer_destroy(struct wk_importer *importer)
{
    if (importer == NULL)
        return;
    wk_decoder_destroy(importer->decoder);
    wk_features_destroy(importer->features);
    for (int m = 0; m < SL_MODALITIES_MAX; m++)
        wk_vocab_destroy(importer->vocabs[m]);
    sl_free(importer->base_dir);
    sl_free(importer);
}

void wk_importer_destroy_auto(struct wk_importer **importer)
{
    wk_importer_destroy(*importer);
}

const struct wk_vocab *wk_importer_vocab(const struct wk_importer *importer, int modality)
{
    return modality >= 0 && modality < SL_MODALITIES_MAX ? importer->vocabs[modality] : NULL;
}

static enum sl_status import_video(struct wk_importer *importer, const struct wk_manifest_row *row,
        const struct sl_modality_config *modality, struct wk_sample_input *input, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    if (importer->decoder == NULL)
        status = wk_decoder_create(&importer->decoder, &importer->limits, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE char *path = sl_path_join(importer->base_dir, row->video);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    SL_AUTO(wk_clip_fini) struct wk_clip clip = {0};
    status = wk_decoder_run(importer->decoder, path, modality->image, modality->frames, &clip, err);
    if (status == SL_BAD_DATA)
        return sl_error_context(err, "video %s", row->video);
    if (status != SL_OK)
        return status;
    input->items = clip.items;
    input->frames = SL_TAKE(clip.frames);
    return SL_OK;
}

/* own: the modality's own text, NULL = title, ocr and asr. */
static enum sl_status import_text(const struct wk_vocab *vocab, const struct wk_manifest_row *row,
        const char *own, const struct sl_modality_config *modality, struct wk_sample_input *input,
        struct sl_error *err)
{
    struct wk_text pieces[WK_TEXT_FIELDS];
    int count = 0;
    if (own != NULL)
        pieces[count++] = (struct wk_text){own, strlen(own)};
    for (int i = 0; i < WK_TEXT_FIELDS && own == NULL; i++) {
        if (row->texts[i] != NULL)
            pieces[count++] = (struct wk_text){row->texts[i], strlen(row->texts[i])};
    }
    SL_AUTO_FREE int32_t *ids = sl_alloc((size_t)modality->max_tokens, sizeof(*ids));
    if (ids == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    input->items = wk_tokenizer_encode(vocab, modality->lower_case, pieces, count, modality->max_tokens, ids);
    input->tokens = SL_TAKE(ids);
    return SL_OK;
}

static enum sl_status import_input(struct wk_importer *importer, const struct wk_manifest_row *row, int m,
        struct wk_sample_input *input, struct sl_error *err)
{
    const struct sl_modality_config *modality = &importer->config->modalities[m];
    enum sl_status status = SL_OK;
    switch (modality->kind) {
    case SL_KIND_VIT:
        return import_video(importer, row, modality, input, err);
    case SL_KIND_BERT:
        if (row->arrays[m].path != NULL) {
            status = wk_features_read_tokens(importer->features, importer->base_dir, &row->arrays[m],
                    importer->vocabs[m], modality->max_tokens, &input->tokens, &input->items, err);
            return status == SL_BAD_DATA ? sl_error_context(err, "modality %s", modality->name) : status;
        }
        return import_text(importer->vocabs[m], row, row->own_texts[m], modality, input, err);
    case SL_KIND_FEATURES:
        status = wk_features_read(importer->features, importer->base_dir, &row->arrays[m], modality->input,
                modality->max_items, &input->features, &input->items, err);
        return status == SL_BAD_DATA ? sl_error_context(err, "modality %s", modality->name) : status;
    }
    return sl_fail(err, SL_FAILED, "modality %s has no known kind", modality->name);
}

/* The first text there is, cut between characters where it is longer than a record keeps. */
static char *choose_title(const struct wk_manifest_row *row)
{
    const char *text = "";
    for (int i = WK_TEXT_FIELDS - 1; i >= 0; i--) {
        if (row->texts[i] != NULL && row->texts[i][0] != '\0')
            text = row->texts[i];
    }
    size_t length = strlen(text);
    if (length > WK_RECORD_TEXT_MAX) {
        length = WK_RECORD_TEXT_MAX;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    char *copy = sl_alloc(length + 1, 1);
    if (copy != NULL)
        memcpy(copy, text, length);
    return copy;
}

enum sl_status wk_import_given(struct wk_importer *importer, const struct wk_manifest_row *row,
        struct wk_sample_input *given, struct wk_sample *ret_sample, struct sl_error *err)
{
    const struct sl_config *config = importer->config;
    enum sl_status status = SL_OK;
    for (int m = 0; m < config->modality_count && status == SL_OK; m++)
        if (given[m].items == 0)
            status = wk_manifest_check_input(row, config, m, err);
    if (status != SL_OK)
        return status;
    SL_AUTO(wk_sample_fini)
    struct wk_sample sample = {.label = row->label,
            .published_s = row->published_s,
            .id = sl_strdup(row->id),
            .title = choose_title(row)};
    if (sample.id == NULL || sample.title == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (int m = 0; m < config->modality_count && status == SL_OK; m++)
        if (given[m].items == 0)
            status = import_input(importer, row, m, &sample.inputs[m], err);
    if (status != SL_OK)
        return status;
    for (int m = 0; m < config->modality_count; m++)
        if (given[m].items > 0)
            sample.inputs[m] = given[m];
    memset(given, 0, SL_MODALITIES_MAX * sizeof(*given));
    *ret_sample = sample;
    memset(&sample, 0, sizeof(sample));
    return SL_OK;
}

enum sl_status wk_import_row(struct wk_importer *importer, const struct wk_manifest_row *row,
        struct wk_sample *ret_sample, struct sl_error *err)
{
    struct wk_sample_input none[SL_MODALITIES_MAX] = {{0}};
    return wk_import_given(importer, row, none, ret_sample, err);
}
