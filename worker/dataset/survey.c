/* What is in a dataset: see survey.h. */
#include "worker/dataset/survey.h"

#include "common/memory.h"
#include "worker/dataset/twins.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define COMPARED_MAX 500 /* titles of a group that one is compared with */

struct wk_survey_private {
    struct wk_twins *twins; /* of titles, by number of sample */
    double similarity;
    char *texts; /* ids and titles, each with its 0 */
    size_t text_size, text_room;
    uint32_t room;
    uint32_t *groups[WK_ALIKES]; /* (sample_count,) */
};

enum sl_status wk_survey_create(struct wk_survey **ret_survey, double similarity, struct sl_error *err)
{
    SL_AUTO(wk_survey_destroy_auto) struct wk_survey *survey = sl_alloc(1, sizeof(*survey));
    if (survey == NULL || (survey->hidden = sl_alloc(1, sizeof(*survey->hidden))) == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    survey->hidden->similarity = similarity;
    enum sl_status status = wk_twins_create(&survey->hidden->twins, similarity, err);
    if (status == SL_OK)
        *ret_survey = SL_TAKE(survey);
    return status;
}

void wk_survey_destroy(struct wk_survey *survey)
{
    if (survey == NULL)
        return;
    if (survey->hidden != NULL) {
        wk_twins_destroy(survey->hidden->twins);
        sl_free(survey->hidden->texts);
        for (int r = 0; r < WK_ALIKES; r++)
            sl_free(survey->hidden->groups[r]);
    }
    for (int s = 0; s < WK_SURVEY_SPLITS_MAX; s++)
        for (int m = 0; m < SL_MODALITIES_MAX; m++)
            sl_free(survey->splits[s].lengths[m].counts);
    sl_free(survey->hidden);
    sl_free(survey->samples);
    sl_free(survey);
}

void wk_survey_destroy_auto(struct wk_survey **survey)
{
    wk_survey_destroy(*survey);
}

const char *wk_alike_name(enum wk_alike alike)
{
    static const char *const names[WK_ALIKES] = {"same id", "same content", "near-identical title"};
    return names[alike];
}

int wk_survey_quantile(const struct wk_survey_lengths *lengths, uint64_t count, double share)
{
    uint64_t sum = 0, wanted = (uint64_t)ceil(share * (double)count);
    for (int i = 0; i <= lengths->most; i++) {
        sum += lengths->counts[i];
        if (sum >= wanted && sum > 0)
            return i;
    }
    return lengths->most;
}

/* ---- reading ---- */

static enum sl_status keep_text(
        struct wk_survey_private *hidden, const char *text, size_t *ret_at, struct sl_error *err)
{
    size_t size = strlen(text) + 1;
    if (hidden->text_room - hidden->text_size < size) {
        size_t room = 2 * hidden->text_room + size + 65536;
        char *larger = sl_realloc(hidden->texts, room, 1);
        if (larger == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for the titles of a dataset");
        hidden->texts = larger;
        hidden->text_room = room;
    }
    memcpy(hidden->texts + hidden->text_size, text, size);
    *ret_at = hidden->text_size;
    hidden->text_size += size;
    return SL_OK;
}

/* Which modalities make up the content: of all of the most telling kind that there is. */
static enum sl_kind content_kind(const struct sl_config *config)
{
    enum sl_kind kind = SL_KIND_BERT;
    for (int m = 0; m < config->modality_count; m++) {
        if (config->modalities[m].kind == SL_KIND_VIT)
            return SL_KIND_VIT;
        if (config->modalities[m].kind == SL_KIND_FEATURES)
            kind = SL_KIND_FEATURES;
    }
    return kind;
}

static uint64_t hash_content(const struct sl_config *config, const struct wk_sample *sample)
{
    enum sl_kind kind = content_kind(config);
    uint64_t hash = 0;
    for (int m = 0; m < config->modality_count; m++) {
        const struct sl_modality_config *modality = &config->modalities[m];
        const struct wk_sample_input *input = &sample->inputs[m];
        size_t items = (size_t)input->items;
        if (modality->kind != kind)
            continue;
        if (kind == SL_KIND_VIT)
            hash = XXH3_64bits_withSeed(
                    input->frames, items * (size_t)modality->image * (size_t)modality->image * 3, hash);
        else if (kind == SL_KIND_FEATURES)
            hash = XXH3_64bits_withSeed(
                    input->features, items * (size_t)modality->input * sizeof(*input->features), hash);
        else
            hash = XXH3_64bits_withSeed(input->tokens, items * sizeof(*input->tokens), hash);
    }
    return hash;
}

static enum sl_status add_sample(struct wk_survey *survey, int s, const struct sl_config *config,
        const struct wk_sample *sample, struct sl_error *err)
{
    struct wk_survey_private *hidden = survey->hidden;
    struct wk_survey_split *split = &survey->splits[s];
    if (survey->sample_count == hidden->room) {
        uint32_t room = hidden->room == 0 ? 1024 : hidden->room * 2;
        struct wk_survey_sample *samples = sl_realloc(survey->samples, room, sizeof(*samples));
        if (samples == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %u samples", room);
        survey->samples = samples;
        hidden->room = room;
    }
    struct wk_survey_sample *kept = &survey->samples[survey->sample_count];
    *kept = (struct wk_survey_sample){.index = sample->index,
            .content = hash_content(config, sample),
            .published_s = sample->published_s,
            .label = (int16_t)sample->label,
            .split = (uint8_t)s};
    enum sl_status status = keep_text(hidden, sample->id, &kept->id_at, err);
    if (status == SL_OK)
        status = keep_text(hidden, sample->title, &kept->title_at, err);
    if (status == SL_OK)
        status = wk_twins_add(hidden->twins, sample->title, strlen(sample->title), err);
    if (status != SL_OK)
        return status;
    survey->sample_count++;
    split->count++;
    if (sample->label >= 0)
        split->labels[sample->label]++;
    for (int m = 0; m < config->modality_count; m++) {
        int items = sample->inputs[m].items, most = split->lengths[m].most;
        split->lengths[m].counts[items < most ? items : most]++;
    }
    if (sample->published_s == INT64_MIN) {
        split->undated++;
        return SL_OK;
    }
    bool first = split->count == split->undated + 1;
    split->oldest_s = first || sample->published_s < split->oldest_s ? sample->published_s : split->oldest_s;
    split->newest_s = first || sample->published_s > split->newest_s ? sample->published_s : split->newest_s;
    return SL_OK;
}

static int most_items(const struct sl_modality_config *modality)
{
    return modality->kind == SL_KIND_VIT    ? modality->frames
           : modality->kind == SL_KIND_BERT ? modality->max_tokens
                                            : modality->max_items;
}

/* The first split says what labels and modalities there are. */
static enum sl_status take_shape(
        struct wk_survey *survey, const struct sl_config *config, const char *dir, struct sl_error *err)
{
    bool first = survey->split_count == 0;
    bool same =
            config->label_count == survey->label_count && config->modality_count == survey->modality_count;
    for (int k = 0; k < config->label_count; k++) {
        if (first)
            memcpy(survey->labels[k], config->labels[k].name, sizeof(survey->labels[k]));
        same = same && strcmp(survey->labels[k], config->labels[k].name) == 0;
    }
    for (int m = 0; m < config->modality_count; m++) {
        if (first) {
            memcpy(survey->modalities[m], config->modalities[m].name, sizeof(survey->modalities[m]));
            survey->kinds[m] = config->modalities[m].kind;
        }
        same = same && strcmp(survey->modalities[m], config->modalities[m].name) == 0 &&
               survey->kinds[m] == config->modalities[m].kind;
    }
    if (!first && !same)
        return sl_fail(err, SL_USAGE, "%s has other labels or modalities than %s: they cannot be compared",
                dir, survey->splits[0].dir);
    survey->label_count = config->label_count;
    survey->modality_count = config->modality_count;
    return SL_OK;
}

static enum sl_status begin_split(struct wk_survey *survey, const struct wk_dataset *dataset,
        const struct sl_config *config, const char *dir, struct sl_error *err)
{
    if (survey->split_count == WK_SURVEY_SPLITS_MAX)
        return sl_fail(err, SL_USAGE, "more than %d splits cannot be compared", WK_SURVEY_SPLITS_MAX);
    enum sl_status status = take_shape(survey, config, dir, err);
    if (status != SL_OK)
        return status;
    struct wk_survey_split *split = &survey->splits[survey->split_count];
    (void)snprintf(split->name, sizeof(split->name), "%s", wk_dataset_index(dataset)->split);
    (void)snprintf(split->dir, sizeof(split->dir), "%s", dir);
    for (int m = 0; m < config->modality_count; m++) {
        split->lengths[m].most = most_items(&config->modalities[m]);
        split->lengths[m].counts = sl_alloc((size_t)split->lengths[m].most + 1, sizeof(uint64_t));
        if (split->lengths[m].counts == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
    }
    survey->split_count++;
    return SL_OK;
}

enum sl_status wk_survey_add(struct wk_survey *survey, struct wk_dataset *dataset,
        const struct sl_config *config, const char *dir, const struct wk_survey_watch *watch,
        struct sl_error *err)
{
    static const struct wk_survey_watch nobody;
    if (watch == NULL)
        watch = &nobody;
    enum sl_status status = begin_split(survey, dataset, config, dir, err);
    int s = survey->split_count - 1;
    for (uint64_t i = 0; i < wk_dataset_count(dataset) && status == SL_OK; i++) {
        SL_AUTO(wk_sample_fini) struct wk_sample sample = {0};
        status = wk_dataset_read(dataset, i, &sample, err);
        if (status == SL_OK)
            status = add_sample(survey, s, config, &sample, err);
        if (status == SL_OK && watch->look != NULL)
            status = watch->look(watch->context, s, &sample, err);
        if (watch->progress != NULL)
            watch->progress(watch->context, survey->sample_count);
    }
    return status;
}

/* ---- comparing ---- */

struct keyed {
    uint64_t key;
    uint32_t sample;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

/* Samples of equal keys are one group, named by its first. */
static void group_by_key(uint32_t *groups, struct keyed *all, uint32_t count)
{
    qsort(all, count, sizeof(*all), compare_keyed);
    for (uint32_t i = 0; i < count; i++)
        groups[all[i].sample] =
                i > 0 && all[i].key == all[i - 1].key ? groups[all[i - 1].sample] : all[i].sample;
}

static enum sl_status group_all(struct wk_survey *survey, struct sl_error *err)
{
    struct wk_survey_private *hidden = survey->hidden;
    uint32_t count = survey->sample_count;
    SL_AUTO_FREE struct keyed *all = sl_alloc(count, sizeof(*all));
    bool there = all != NULL;
    for (int r = 0; r < WK_ALIKES; r++)
        there = (hidden->groups[r] = sl_alloc(count, sizeof(uint32_t))) != NULL && there;
    if (!there)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %u samples", count);
    for (uint32_t i = 0; i < count; i++) {
        const char *id = hidden->texts + survey->samples[i].id_at;
        all[i] = (struct keyed){XXH3_64bits(id, strlen(id)), i};
    }
    group_by_key(hidden->groups[WK_ALIKE_ID], all, count);
    for (uint32_t i = 0; i < count; i++)
        all[i] = (struct keyed){survey->samples[i].content, i};
    group_by_key(hidden->groups[WK_ALIKE_CONTENT], all, count);
    enum sl_status status = wk_twins_find(hidden->twins, err);
    for (uint32_t i = 0; i < count && status == SL_OK; i++)
        hidden->groups[WK_ALIKE_TITLE][i] = wk_twins_group(hidden->twins, i);
    survey->cut = wk_twins_cut(hidden->twins);
    return status;
}

/* The one of [begin, end) of a group that is most like the sample; -1 when none is near enough. Ids and contents of a group are all the same. */
static int64_t nearest(const struct wk_survey *survey, enum wk_alike reason, const struct keyed *begin,
        uint32_t count, uint32_t sample)
{
    if (reason != WK_ALIKE_TITLE)
        return count > 0 ? (int64_t)begin[0].sample : -1;
    double best = 0.0;
    int64_t found = -1;
    for (uint32_t i = 0; i < count && i < COMPARED_MAX && best < 1.0; i++) {
        double similarity = wk_twins_similarity(survey->hidden->twins, begin[i].sample, sample);
        if (similarity > best) {
            best = similarity;
            found = begin[i].sample;
        }
    }
    return best >= survey->hidden->similarity - 1e-9 || count > COMPARED_MAX ? found : -1;
}

static void note(struct wk_survey *survey, enum wk_alike reason, uint32_t first, uint32_t sample)
{
    const struct wk_survey_sample *a = &survey->samples[first], *b = &survey->samples[sample];
    struct wk_survey_alike *alike = &survey->alike[reason][a->split][b->split];
    alike->count++;
    alike->conflicts += a->label != b->label;
    if (alike->pair_count == WK_SURVEY_PAIRS_MAX)
        return;
    alike->pairs[alike->pair_count][0] = first;
    alike->pairs[alike->pair_count][1] = sample;
    alike->pair_count++;
}

/* One group, in the order of samples, so split after split: each is compared with those of every split up to its own that come before it. */
static void note_group(struct wk_survey *survey, enum wk_alike reason, const struct keyed *group,
        uint32_t count, unsigned char *leaked)
{
    uint32_t begins[WK_SURVEY_SPLITS_MAX + 1] = {0};
    for (uint32_t i = 0; i < count; i++)
        begins[survey->samples[group[i].sample].split + 1]++;
    for (int s = 0; s < WK_SURVEY_SPLITS_MAX; s++)
        begins[s + 1] += begins[s];
    for (uint32_t i = 1; i < count; i++) {
        uint32_t sample = group[i].sample;
        int split = survey->samples[sample].split;
        for (int s = 0; s <= split; s++) {
            uint32_t end = s == split ? i : begins[s + 1];
            int64_t other = nearest(survey, reason, group + begins[s], end - begins[s], sample);
            if (other < 0)
                continue;
            note(survey, reason, (uint32_t)other, sample);
            leaked[sample] |= s == 0 && split > 0;
        }
    }
}

static enum sl_status count_alike(struct wk_survey *survey, struct sl_error *err)
{
    uint32_t count = survey->sample_count;
    SL_AUTO_FREE unsigned char *leaked = sl_alloc(count, 1);
    SL_AUTO_FREE struct keyed *all = sl_alloc(count, sizeof(*all));
    if (leaked == NULL || all == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %u samples", count);
    for (int r = 0; r < WK_ALIKES; r++) {
        for (uint32_t i = 0; i < count; i++)
            all[i] = (struct keyed){survey->hidden->groups[r][i], i};
        qsort(all, count, sizeof(*all), compare_keyed);
        for (uint32_t begin = 0, end = 0; begin < count; begin = end) {
            for (end = begin + 1; end < count && all[end].key == all[begin].key; end++)
                continue;
            note_group(survey, (enum wk_alike)r, all + begin, end - begin, leaked);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        survey->held_out += survey->samples[i].split > 0;
        survey->leaked += leaked[i];
    }
    return SL_OK;
}

enum sl_status wk_survey_compare(struct wk_survey *survey, struct sl_error *err)
{
    for (uint32_t i = 0; i < survey->sample_count; i++) {
        survey->samples[i].id = survey->hidden->texts + survey->samples[i].id_at;
        survey->samples[i].title = survey->hidden->texts + survey->samples[i].title_at;
    }
    enum sl_status status = group_all(survey, err);
    return status == SL_OK ? count_alike(survey, err) : status;
}
