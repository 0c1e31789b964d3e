#pragma once
/* What `shelflife inspect` says of a whole dataset (worker/dataset/survey.h): as text, as JSON lines, as one HTML file. */
#include "common/text.h"
#include "worker/dataset/survey.h"

#define DP_THUMBS_PER_LABEL 8
#define DP_THUMBS_MAX 240
#define DP_HTML_MAX (64U << 20) /* bytes */

/* A sample as the report shows it: its picture, where there is one, and its title. */
struct dp_thumb {
    char *title, *id; /* owned */
    uint8_t *jpeg;    /* of the first frame; NULL without one */
    size_t jpeg_size;
};

/* Samples of the first split, evenly chosen of each label. Zero it to begin. */
struct dp_thumbs {
    int modality; /* whose frames are shown, -1 = no modality has frames */
    int image;
    uint64_t strides[SL_LABELS_MAX], seen[SL_LABELS_MAX];
    int counts[SL_LABELS_MAX];
    struct dp_thumb items[SL_LABELS_MAX][DP_THUMBS_PER_LABEL];
    int total;
};

/* dp_thumbs_begin chooses every how many samples of a label are taken. index: of the first split. */
void dp_thumbs_begin(struct dp_thumbs *thumbs, const struct sl_config *config, const struct wk_index *index);
/* dp_thumbs_take keeps a sample of the first split if it is one of the chosen. Errors: NO_MEMORY, FAILED. */
SL_MUST_USE enum sl_status dp_thumbs_take(
        struct dp_thumbs *thumbs, const struct wk_sample *sample, struct sl_error *err);
void dp_thumbs_fini(struct dp_thumbs *thumbs);

/* dp_print_clean writes text to standard output, cut to `columns` with "…"; each control character and broken byte becomes '?'. */
void dp_print_clean(const char *text, int columns);

/* dp_report_print writes what is alike, for people. Every text of the dataset is cleaned of control characters. */
void dp_report_print(const struct wk_survey *survey);
/* dp_report_print_json: one object. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_report_print_json(const struct wk_survey *survey, struct sl_error *err);
/* dp_report_html appends one page that needs nothing else: no script, no link; every text of the dataset is escaped. name: of the dataset. */
void dp_report_html(struct sl_text *page, const struct wk_survey *survey, const struct dp_thumbs *thumbs,
        const char *name);
