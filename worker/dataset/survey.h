#pragma once
/* What a person should know of a dataset before training on it: how classes and lengths are spread over the splits, what is there twice, and what of validation and
 * test is in training too.
 *
 *     SL_AUTO(wk_survey_destroy_auto) struct wk_survey *survey = NULL;
 *     enum sl_status s = wk_survey_create(&survey, WK_TWINS_SIMILARITY, err);
 *     s = wk_survey_add(survey, dataset, config, NULL, NULL, err);     // each split, in the order train, validation, test
 *     s = wk_survey_compare(survey, err);                              // then counts and pairs are there
 *
 * Two samples are alike for one of three reasons: the same id; the same content (frames of all `vit` modalities; without such a modality all arrays of `features`; without those, all
 * tokens); titles that are twins (twins.h). Every record is read once; in memory are some 150 bytes a sample and its title.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/dataset.h"

#include <stdbool.h>
#include <stdint.h>

#define WK_SURVEY_SPLITS_MAX 8
#define WK_SURVEY_PAIRS_MAX 12 /* kept of each kind */

enum wk_alike { WK_ALIKE_ID, WK_ALIKE_CONTENT, WK_ALIKE_TITLE };
#define WK_ALIKES 3

/* One sample as it is remembered. id and title are 0-terminated; title may be "". */
struct wk_survey_sample {
    const char *id, *title; /* valid after wk_survey_compare */
    size_t id_at, title_at;
    uint64_t index, content; /* of its split; hash */
    int64_t published_s;     /* INT64_MIN when unknown */
    int16_t label;
    uint8_t split;
};

/* How many items (frames, tokens, rows) samples have. */
struct wk_survey_lengths {
    uint64_t *counts; /* (most + 1,) samples by items */
    int most;         /* that there can be */
};

struct wk_survey_split {
    char name[16];
    char dir[256]; /* cut where longer */
    uint64_t count, labels[SL_LABELS_MAX];
    uint64_t undated;
    int64_t oldest_s, newest_s; /* of those that have a time */
    struct wk_survey_lengths lengths[SL_MODALITIES_MAX];
};

/* Samples of split b that are like one of split a, and some of them. For a == b: those that are not the first of their kind. */
struct wk_survey_alike {
    uint64_t count, conflicts; /* conflicts: whose labels differ */
    int pair_count;
    uint32_t pairs[WK_SURVEY_PAIRS_MAX][2]; /* numbers of samples: of a, of b */
};

/* Fields are for reading only. */
struct wk_survey {
    int label_count, modality_count, split_count;
    char labels[SL_LABELS_MAX][SL_NAME_MAX], modalities[SL_MODALITIES_MAX][SL_NAME_MAX];
    enum sl_kind kinds[SL_MODALITIES_MAX];
    struct wk_survey_split splits[WK_SURVEY_SPLITS_MAX];
    struct wk_survey_sample *samples; /* (sample_count,) split after split */
    uint32_t sample_count;
    struct wk_survey_alike alike[WK_ALIKES][WK_SURVEY_SPLITS_MAX][WK_SURVEY_SPLITS_MAX];
    uint64_t held_out; /* samples of all splits but the first */
    uint64_t leaked;   /* of these, those that are like one of the first for any reason */
    uint64_t cut;      /* of wk_twins_cut */
    struct wk_survey_private *hidden;
};

/* Called now and then while records are read. */
typedef void wk_survey_progress(void *context, uint64_t done);
/* Called with every sample that is read, for thumbnails. */
typedef enum sl_status wk_survey_look(
        void *context, int split, const struct wk_sample *sample, struct sl_error *err);

struct wk_survey_watch {
    wk_survey_progress *progress; /* either may be NULL */
    wk_survey_look *look;
    void *context;
};

SL_MUST_USE enum sl_status wk_survey_create(
        struct wk_survey **ret_survey, double similarity, struct sl_error *err);
void wk_survey_destroy(struct wk_survey *survey);
void wk_survey_destroy_auto(struct wk_survey **survey);

/* wk_survey_add reads a whole split, which was opened with config. dir is for people. watch may be NULL. Errors: USAGE for labels or modalities that are not those of the splits
 * before, or too many splits; as wk_dataset_read. */
SL_MUST_USE enum sl_status wk_survey_add(struct wk_survey *survey, struct wk_dataset *dataset,
        const struct sl_config *config, const char *dir, const struct wk_survey_watch *watch,
        struct sl_error *err);

/* wk_survey_compare finds what is alike. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_survey_compare(struct wk_survey *survey, struct sl_error *err);

/* wk_survey_quantile gives the least number of items that share of a split's samples do not exceed. */
int wk_survey_quantile(const struct wk_survey_lengths *lengths, uint64_t count, double share);
const char *wk_alike_name(enum wk_alike alike); /* "same id", "same content", "near-identical title" */
