#pragma once
/* Gives the rows of a manifest to splits in place of what their lines say: finds out which belong together, then split.h decides.
 *
 *     s = wk_allot_create(&allot, &options, "clips", err);
 *     s = wk_allot_add(allot, row, line_text, line_size, line_number, err);    // rows are numbered 0, 1, 2 …
 *     s = wk_allot_finish(allot, label_count, splits, err);
 *
 * Rows belong together when their titles are twins (twins.h), when their videos are the same bytes, or when a key of their own ("_series") has the same value. So what is there twice is not in two
 * splits.
 */
#include "common/error.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/split.h"

#include <stdbool.h>

#define WK_ALLOT_KEYS_MAX 8

struct wk_allot_options {
    struct wk_split_options split;
    bool titles, videos;
    int key_count;
    char keys[WK_ALLOT_KEYS_MAX][SL_NAME_MAX];
};

/* wk_allot_parse_together reads "titles,videos,_series" or "none". Errors: USAGE. */
SL_MUST_USE enum sl_status wk_allot_parse_together(
        struct wk_allot_options *options, const char *text, struct sl_error *err);
/* wk_allot_describe: one line that says all of the options, by which a resumed import knows them. Owns: sl_free it; NULL when memory is out. */
char *wk_allot_describe(const struct wk_allot_options *options);

struct wk_allot;

/* wk_allot_create: options are borrowed until destroy. base_dir is where relative paths of videos start. Owns: *ret_allot. */
SL_MUST_USE enum sl_status wk_allot_create(struct wk_allot **ret_allot,
        const struct wk_allot_options *options, const char *base_dir, struct sl_error *err);
void wk_allot_destroy(struct wk_allot *allot);
void wk_allot_destroy_auto(struct wk_allot **allot);

/* wk_allot_add notes a row that has a label. Errors: BAD_DATA when it is to be split by time and has none; NO_MEMORY. */
SL_MUST_USE enum sl_status wk_allot_add(struct wk_allot *allot, const struct wk_manifest_row *row,
        const char *line, size_t size, uint32_t number, struct sl_error *err);

/* wk_allot_finish. Shapes: ret_splits (rows,). A video that cannot be read is like no other. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_allot_finish(
        struct wk_allot *allot, int label_count, uint8_t *ret_splits, struct sl_error *err);
