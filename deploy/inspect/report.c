/* The survey of a dataset as text and JSON, and the samples that a page shows: see report.h. */
#include "deploy/inspect/report.h"

#include "common/json.h"
#include "common/memory.h"
#include "common/utf8.h"
#include "worker/dataset/frames.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define THUMB_QUALITY 80
#define SHOWN_PAIRS 3 /* of each kind, in text */

/* ---- samples to show ---- */

void dp_thumbs_begin(struct dp_thumbs *thumbs, const struct sl_config *config, const struct wk_index *index)
{
    thumbs->modality = -1;
    for (int m = config->modality_count - 1; m >= 0; m--) {
        if (config->modalities[m].kind != SL_KIND_VIT)
            continue;
        thumbs->modality = m;
        thumbs->image = config->modalities[m].image;
    }
    for (int k = 0; k < index->label_count; k++)
        thumbs->strides[k] = (index->label_counts[k] + DP_THUMBS_PER_LABEL - 1) / DP_THUMBS_PER_LABEL;
}

enum sl_status dp_thumbs_take(struct dp_thumbs *thumbs, const struct wk_sample *sample, struct sl_error *err)
{
    int k = sample->label;
    if (k < 0 || thumbs->counts[k] == DP_THUMBS_PER_LABEL || thumbs->total == DP_THUMBS_MAX)
        return SL_OK;
    if (thumbs->strides[k] > 1 && thumbs->seen[k]++ % thumbs->strides[k] != 0)
        return SL_OK;
    struct dp_thumb *thumb = &thumbs->items[k][thumbs->counts[k]++];
    thumbs->total++;
    thumb->title = sl_strdup(sample->title);
    thumb->id = sl_strdup(sample->id);
    if (thumb->title == NULL || thumb->id == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (thumbs->modality < 0)
        return SL_OK;
    return wk_jpeg_encode(&thumb->jpeg, &thumb->jpeg_size, sample->inputs[thumbs->modality].frames,
            thumbs->image, THUMB_QUALITY, err);
}

void dp_thumbs_fini(struct dp_thumbs *thumbs)
{
    for (int k = 0; k < SL_LABELS_MAX; k++) {
        for (int i = 0; i < thumbs->counts[k]; i++) {
            sl_free(thumbs->items[k][i].title);
            sl_free(thumbs->items[k][i].id);
            sl_free(thumbs->items[k][i].jpeg);
        }
        thumbs->counts[k] = 0;
    }
}

/* ---- text ---- */

void dp_print_clean(const char *text, int columns)
{
    size_t size = sl_utf8_cut(text, columns);
    for (size_t at = 0; at < size;) {
        uint32_t point = 0;
        size_t length = sl_utf8_next(text + at, size - at, &point);
        if (length > 0 && sl_utf8_is_text(text + at, length))
            (void)fwrite(text + at, 1, length, stdout);
        else
            (void)putchar('?');
        at += length > 0 ? length : 1;
    }
    if (text[size] != '\0')
        (void)fputs("…", stdout);
}

static void print_sample(const struct wk_survey *survey, uint32_t number)
{
    const struct wk_survey_sample *sample = &survey->samples[number];
    printf("      %-10s ", survey->splits[sample->split].name);
    dp_print_clean(sample->id, 40);
    printf("  [");
    dp_print_clean(sample->label >= 0 ? survey->labels[sample->label] : "none", 40);
    printf("]  ");
    dp_print_clean(sample->title, 70);
    printf("\n");
}

static void print_alike(const struct wk_survey *survey, enum wk_alike reason, int a, int b)
{
    const struct wk_survey_alike *alike = &survey->alike[reason][a][b];
    if (alike->count == 0)
        return;
    if (a == b)
        printf("  %-22s %8" PRIu64 " of %s are there more than once", wk_alike_name(reason), alike->count,
                survey->splits[b].name);
    else
        printf("  %-22s %8" PRIu64 " of %s are in %s too", wk_alike_name(reason), alike->count,
                survey->splits[b].name, survey->splits[a].name);
    printf(alike->conflicts > 0 ? ", %" PRIu64 " under another label\n" : "\n", alike->conflicts);
    for (int i = 0; i < alike->pair_count && i < SHOWN_PAIRS; i++) {
        print_sample(survey, alike->pairs[i][0]);
        print_sample(survey, alike->pairs[i][1]);
        if (i + 1 < alike->pair_count && i + 1 < SHOWN_PAIRS)
            printf("\n");
    }
}

void dp_report_print(const struct wk_survey *survey)
{
    printf("alike: %" PRIu64 " of %" PRIu64 " held-out samples (%.2f %%) are like one of %s\n",
            survey->leaked, survey->held_out,
            survey->held_out > 0 ? 100.0 * (double)survey->leaked / (double)survey->held_out : 0.0,
            survey->splits[0].name);
    for (int r = 0; r < WK_ALIKES; r++) {
        for (int b = 1; b < survey->split_count; b++)
            for (int a = 0; a < b; a++)
                print_alike(survey, (enum wk_alike)r, a, b);
        for (int a = 0; a < survey->split_count; a++)
            print_alike(survey, (enum wk_alike)r, a, a);
    }
    if (survey->cut > 0)
        printf("  in %" PRIu64 " places more titles were near than are compared one by one\n", survey->cut);
}

/* ---- JSON ---- */

static void put_sample(struct sl_json *json, const struct wk_survey *survey, uint32_t number)
{
    const struct wk_survey_sample *sample = &survey->samples[number];
    sl_json_object(json, NULL);
    sl_json_string(json, "split", survey->splits[sample->split].name);
    sl_json_string(json, "id", sample->id);
    sl_json_string(json, "label", sample->label >= 0 ? survey->labels[sample->label] : NULL);
    sl_json_string(json, "title", sample->title);
    sl_json_end(json);
}

static void put_alike(
        struct sl_json *json, const struct wk_survey *survey, enum wk_alike reason, int a, int b)
{
    const struct wk_survey_alike *alike = &survey->alike[reason][a][b];
    if (alike->count == 0)
        return;
    sl_json_object(json, NULL);
    sl_json_string(json, "reason", wk_alike_name(reason));
    sl_json_string(json, "of", survey->splits[b].name);
    sl_json_string(json, "in", survey->splits[a].name);
    sl_json_uint(json, "count", alike->count);
    sl_json_uint(json, "conflicts", alike->conflicts);
    sl_json_array(json, "pairs");
    for (int i = 0; i < alike->pair_count; i++) {
        sl_json_array(json, NULL);
        put_sample(json, survey, alike->pairs[i][0]);
        put_sample(json, survey, alike->pairs[i][1]);
        sl_json_end(json);
    }
    sl_json_end(json);
    sl_json_end(json);
}

enum sl_status dp_report_print_json(const struct wk_survey *survey, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 64 << 20);
    sl_json_object(&json, NULL);
    sl_json_uint(&json, "held_out", survey->held_out);
    sl_json_uint(&json, "leaked", survey->leaked);
    sl_json_uint(&json, "cut", survey->cut);
    sl_json_array(&json, "alike");
    for (int r = 0; r < WK_ALIKES; r++)
        for (int b = 0; b < survey->split_count; b++)
            for (int a = 0; a <= b; a++)
                put_alike(&json, survey, (enum wk_alike)r, a, b);
    sl_json_end(&json);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}
