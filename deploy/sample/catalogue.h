#pragma once
/* What is written about the clips: the manifest for `shelflife import`, the key to what each clip shows, and the summary with the shares
 * and the attainable accuracies.
 *
 *     manifest.jsonl   {"id","video","title","label","published","split"} per clip
 *     signs.jsonl      {"id","split","label","text","picture"}: whose signs the title and the picture show, null = none
 *     summary.json     how the clips were drawn and what can be reached
 *
 *     struct dp_catalogue catalogue = dp_catalogue_count(seed, clips);
 *     dp_catalogue_print(stdout, &catalogue);
 */
#include "common/json.h"
#include "deploy/sample/plan.h"

#include <stdio.h>

#define DP_CATALOGUE_FORMAT "shelflife-sample" /* "format" of summary.json */

/* Counts and the ideal reader's hits of a run. Plain data. */
struct dp_catalogue {
    uint64_t seed;
    int clips;
    int counts[DP_SPLITS][DP_LABELS];
    int split_clips[DP_SPLITS];
    struct dp_attainable attainable;       /* by the shares */
    struct dp_attainable ideal[DP_SPLITS]; /* by the draws of a split: mean hits; 0 where it has no clips */
    struct dp_attainable ideal_all;
};

struct dp_catalogue dp_catalogue_count(uint64_t seed, int clips);

/* These add to a text; what goes wrong shows in sl_json_finish. */
void dp_catalogue_manifest(struct sl_json *json, uint64_t seed, int clips);
void dp_catalogue_signs(struct sl_json *json, uint64_t seed, int clips);
void dp_catalogue_summary(struct sl_json *json, const struct dp_catalogue *catalogue);

/* dp_catalogue_print writes the summary as a table for people. */
void dp_catalogue_print(FILE *stream, const struct dp_catalogue *catalogue);
