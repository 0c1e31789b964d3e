#pragma once
/* Which samples train, which validate and which test: by class or by time, with groups that stay together. Pure: the same rows and options give the same splits.
 *
 *     struct wk_split_options options;
 *     enum sl_status s = wk_split_parse(&options, "stratified:80,10,10", err);
 *     s = wk_split_assign(splits, rows, count, label_count, &options, err);
 *
 * stratified: every class is shared out in the same proportions, as closely as groups allow: groups are given away one by one, the largest first and equal ones in an order that follows from the seed,
 * each to the split that lacks most of its classes.
 * time: the oldest train, the newest test. A group counts as its newest member, so that nothing in training is newer than what the next split begins with; what was published
 * in the same second stays together.
 */
#include "common/error.h"
#include "worker/dataset/manifest.h"

#include <stddef.h>
#include <stdint.h>

enum wk_split_way { WK_SPLIT_AS_GIVEN, WK_SPLIT_STRATIFIED, WK_SPLIT_BY_TIME };

struct wk_split_options {
    enum wk_split_way way;
    double shares[WK_SPLITS]; /* their sum is 1 */
    uint64_t seed;
};

struct wk_split_row {
    uint32_t group;      /* the number of some row of the group */
    int label;           /* 0 … label_count − 1 */
    int64_t published_s; /* by time: must be known */
};

/* wk_split_parse reads "stratified:80,10,10" or "time:0.9,0.1": two or three numbers of any sum, for train, validation, test; without them 80, 10, 10. The seed is left alone. Errors: USAGE. */
SL_MUST_USE enum sl_status wk_split_parse(
        struct wk_split_options *options, const char *text, struct sl_error *err);

/* wk_split_assign. Shapes: ret_splits (count,), rows (count,). Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_split_assign(uint8_t *ret_splits, const struct wk_split_row *rows,
        uint32_t count, int label_count, const struct wk_split_options *options, struct sl_error *err);
